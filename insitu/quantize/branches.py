"""float graph, ranges -> the same network, whose branches are of one size where they meet.

Side by side they share one scale, in which a branch that is much smaller than another has a few
steps only, though what reads them may weigh it as much. The layer that makes it is scaled up, and
what reads it down. Invariant: the network computes the same.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from insitu.errors import PrecisionWarning
from insitu.fixed_point import F32
from insitu.graph.model import Array, Graph, Node, Units
from insitu.quantize.parameters import parameters_of, with_parameters
from insitu.quantize.units import FEW_STEPS, in_units, readers_of

Ranges = Mapping[str, tuple[float, float]]


def with_alike_branches(graph: Graph, ranges: Ranges) -> Graph:
    """The graph itself where all branches have steps enough, or where the smaller cannot change.

    Args:
        ranges: of every activation, see `calibrate`.
    """
    for node in graph.nodes:
        if "branches" not in node.op.absorb:
            continue
        widths = np.asarray([ranges[name][1] - ranges[name][0] for name in node.inputs])
        steps = widths / (ranges[node.outputs[0]][1] - ranges[node.outputs[0]][0]) * 256
        if (steps >= FEW_STEPS).all() or _is_quantized(graph, node):
            continue
        shapes = [graph.tensors[name].shape for name in node.inputs]
        small = [i for i, count in enumerate(steps) if count < FEW_STEPS]
        factors = np.where(steps < FEW_STEPS, widths / widths.max(), 1.0)
        scale = node.op.absorb["branches"](node.attributes, shapes, factors)
        cause = _fixed(graph, node, small) if scale is not None else "other axes meet"
        if cause is None:
            assert scale is not None
            graph = _scaled(graph, node, small, factors, scale)
        else:
            _warn(graph, node, int(steps.argmin()), (widths, steps), cause)
    return graph


def _is_quantized(graph: Graph, node: Node) -> bool:
    """Whether the network came with a quantization of what meets, or of a layer around it."""
    around = [graph.producer(name) for name in node.inputs]
    layers = [*readers_of(graph, node.outputs[0]).layers, *(n for n in around if n is not None)]
    names = [*node.inputs, *node.outputs, *(n["w"] for n in layers if n.op.weights)]
    return any(graph.tensors[name].qparams is not None for name in names)


def _fixed(graph: Graph, node: Node, small: list[int]) -> str | None:
    """Why the small branches cannot be scaled; None where they can."""
    readers = readers_of(graph, node.outputs[0])
    if readers.other is not None or not readers.layers:
        return f'"{readers.other.name}" reads them' if readers.other else "they are put out"
    for name in (node.inputs[i] for i in small):
        producer = graph.producer(name)
        if producer is None or "affine" not in producer.op.absorb or not producer.op.weights:
            return "no layer alone makes it"
        if len(graph.consumers(name)) > 1 or node.inputs.count(name) > 1 or name in graph.outputs:
            return "something else reads it too"
    bounds = node.attributes.get("clip", (0.0, np.inf))
    return None if set(bounds) <= {0.0, np.inf, -np.inf} else "its activation function has a bound"


def _scaled(graph: Graph, node: Node, small: list[int], factors: Array, scale: Array) -> Graph:
    """The small branches by 1 / factor, and what reads them by the factor."""
    units = Units(scale.astype(F32), np.zeros(len(scale), F32))
    graph = in_units(graph, units, node.outputs[0])
    for i in small:
        producer = graph.producer(node.inputs[i])
        assert producer is not None
        graph = scaled_layer(graph, producer, 1 / float(F32(factors[i])))
    return graph


def scaled_layer(graph: Graph, layer: Node, factor: float | Array) -> Graph:
    """With a layer whose outputs are so many times larger, or each so many times."""
    w, bias = parameters_of(graph, layer)
    rows = np.broadcast_to(factor, bias.shape)
    values = layer.op.absorb["affine"](w, bias, rows, np.zeros(len(bias)))
    return with_parameters(graph, with_scaled_clip(layer, factor), values, "alike")


def with_scaled_clip(node: Node, factor: float | Array) -> Node:
    """A node whose outputs are so many times larger: bounds other than 0 and none are so too."""
    clip = node.attributes.get("clip", ())
    if set(clip) <= {0.0, np.inf, -np.inf}:
        return node
    bounds = tuple(b if b == 0 else _number(np.multiply(b, factor)) for b in clip)
    return replace(node, attributes={**node.attributes, "clip": bounds})


def _number(bound: Any) -> float | tuple[float, ...]:
    return tuple(bound.tolist()) if np.ndim(bound) else float(bound)


def _warn(graph: Graph, node: Node, worst: int, sizes: tuple[Array, Array], cause: str) -> None:
    widths, steps = sizes
    warnings.warn(
        f'{graph.name}: {node.op.name} "{node.name}": branch {worst} of {len(steps)} has a range '
        f"of {widths[worst]:g} beside one of {widths.max():g}, so {steps[worst]:.1f} of their 256 "
        f"steps, and {cause}; put a normalization behind each branch, and train again",
        PrecisionWarning,
        stacklevel=3,
    )
