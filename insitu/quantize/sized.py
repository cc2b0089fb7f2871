"""float graph, samples -> the same network as it is to be put in integers, with every range.

Invariant: `graph` computes what the network given does; `rounded` differs by what steps of weights
cost, where it is another graph.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, replace

from insitu.errors import PrecisionWarning
from insitu.graph.model import Array, Graph, Units
from insitu.graph.scheme import Scheme
from insitu.ops import LAYER_RULES
from insitu.quantize.assign import first_float, quantize_with_names
from insitu.quantize.branches import with_alike_branches
from insitu.quantize.calibrate import calibrate
from insitu.quantize.equalize import equalized
from insitu.quantize.rounding import on_grids
from insitu.quantize.units import input_units


@dataclass(frozen=True, eq=False)
class Sized:
    """A float network before it is quantized.

    Attributes:
        graph: with branches, and maybe channels, of one size.
        ranges: of every activation.
        units: of the input, None where one scale will do.
        rounded: the graph with weights on the grid that they will have; None: each to the nearest.
    """

    graph: Graph
    ranges: Mapping[str, tuple[float, float]]
    units: Units | None = None
    rounded: Graph | None = None

    def quantized(self, trained: Set[str], scheme: Scheme) -> tuple[Graph, dict[str, str]]:
        """The integer graph, and its names for the activations; see `quantize_with_names`."""
        graph = self.rounded or self.graph
        return quantize_with_names(graph, self.ranges, trained, scheme, self.units)


def size(
    graph: Graph,
    x: Array,
    trained: Set[str],
    scheme: Scheme,
    method: str,
    also: Callable[[str, Array], None] | None = None,
) -> Sized:
    """Branches of one size, units of the input, and ranges.

    Args:
        x: calibration samples[n, ...] in the graph's own layout.
        trained: names of the layers whose weights are to be trained.
        method, also: see `calibrate`.
    """
    ranges = calibrate(graph, x, method, also=also)
    if first_float(graph, trained, scheme.precision) == 0:
        return Sized(graph, ranges)
    alike = with_alike_branches(graph, ranges)
    if alike is not graph:
        graph, ranges = alike, calibrate(alike, x, method)
    units, own = input_units(graph, x, ranges, trained, method)
    return Sized(graph, own, units)


def refine(sized: Sized, x: Array, trained: Set[str], scheme: Scheme, method: str) -> Sized | None:
    """What deep networks need that lose much; None where nothing is frozen.

    The frozen part with channels of one size, ranges of least error, and steps of weights that make
    up for each other. Arguments as of `size`, which made `sized`.
    """
    border = first_float(sized.graph, trained, scheme.precision)
    if LAYER_RULES[scheme.preset] or border == 0:
        return None
    floats = {node.name for node in sized.graph.nodes[border:]}
    alike = equalized(sized.graph, x, trained | floats)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PrecisionWarning)  # said when `sized` was made
        better = size(alike, x, trained, scheme, "mse" if method == "minmax" else method)
    integers, _ = better.quantized(trained, scheme)
    rounded = on_grids(better.graph, integers, x, units=better.units is not None)
    return replace(better, rounded=rounded) if rounded is not sized.graph else None
