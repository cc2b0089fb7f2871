"""samples, float graph -> units of the input, where its channels are of unlike size.

8 bits that all channels share are too few where one is in hundreds and another in ones, or far from
0. There each gets a unit and an offset of its own, which the first layers' weights and biases take
up: the network computes the same of other numbers. Invariant: one scale stays where it does, unless
the network itself normalizes its input in front of layers that learn: then these are its units.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace

import numpy as np

from insitu.config import parse_calibration
from insitu.errors import PrecisionWarning
from insitu.fixed_point import F32
from insitu.graph.evaluate import evaluate_float
from insitu.graph.model import Array, Graph, Node, Units
from insitu.quantize.calibrate import range_of
from insitu.quantize.parameters import parameters_of, with_parameters

Ranges = Mapping[str, tuple[float, float]]

FEW_STEPS = 16
"""Of 256: a channel that has fewer is too coarse to learn from. 16 are 4 bits, about 20 dB."""

MUCH_NOISE = 0.01
"""Of a first layer's sums, as a share of their variance: 20 dB, where 8 bits leave 35 and more."""

WORTH = 4.0
"""Units are worth it where they make the noise so many times smaller: one bit."""

LOOKED_AT = 256
"""Samples on which the noise is measured, at most."""

FEW_VALUES = 32
"""Of a channel: fewer say nothing about its range."""

USUAL = 2.0**20
"""Samples beyond it, or below its reciprocal, lead products of scales out of float32."""


@dataclass(frozen=True)
class Readers:
    """Who reads the input, or another tensor.

    Attributes:
        path: the nodes from there to the first layers, these included.
        layers: the first layers, behind ops that keep channels apart.
        other: a node that is none of these, so that no units are possible; or None.
    """

    path: tuple[Node, ...]
    layers: tuple[Node, ...]
    other: Node | None

    @property
    def padded(self) -> Node | None:
        """A layer with a border of zeros beside its values, which allows no offsets."""
        return next((n for n in self.layers if any(n.attributes.get("padding", ()))), None)


def readers_of(graph: Graph, tensor: str | None = None) -> Readers:
    """The nodes that read a tensor, by default the input."""
    found = {tensor or graph.inputs[0]}
    path: list[Node] = []
    layers: list[Node] = []
    for node in graph.nodes:
        if found.isdisjoint(node.inputs):
            continue
        if "units" in node.op.absorb:
            layers.append(node)
        elif node.op.keeps_channels(node.attributes) and node.outputs[0] not in graph.outputs:
            found.add(node.outputs[0])
        else:
            return Readers((), (), node)
        path.append(node)
    return Readers(tuple(path), tuple(layers), None)


@dataclass(frozen=True, eq=False)
class _Channels:
    """What calibration saw of the input: values[n, channels], their ends, and the shared step."""

    values: Array
    low: Array
    high: Array
    step: float
    separate: bool  # channels of a map or signal; else features

    @property
    def coarse(self) -> Array:
        """Whether a channel that varies has too few steps of what all share."""
        span = self.high - self.low
        return np.asarray((span > 0) & (span < FEW_STEPS * self.step))

    @property
    def too_coarse(self) -> bool:
        """Whether one scale is too little: for a channel, or for half of the features.

        Features may be pixels, of which those at the border are dark, and should be.
        """
        count, varying = int(self.coarse.sum()), int((self.high > self.low).sum())
        return count > 0 if self.separate else count * 2 >= max(varying, 1)


def input_units(
    graph: Graph, x: Array, ranges: Ranges, trained: Set[str], method: str
) -> tuple[Units | None, Ranges]:
    """The units of the input's channels, and the ranges in them; None where one scale will do.

    Args:
        x: calibration samples[n, ...] in the graph's own layout.
        ranges: of every activation, see `calibrate`.
        trained: names of the layers whose weights are to be trained.
        method: of calibration.
    """
    name, readers = graph.inputs[0], readers_of(graph)
    channels = _channels(graph, x, ranges[name], method)
    weights = [graph.operand(node, "w") for node in readers.layers]
    quantized = any(tensor.qparams is not None for tensor in (graph.sample, *weights))
    if quantized or len(channels.values) < FEW_VALUES:
        return None, ranges
    if not readers.layers:
        _warn(graph, channels, readers, channels)
        return None, ranges
    learns = any(node.name in trained for node in readers.layers)
    given = graph.sample.units if learns else None
    units = given or _units(channels, offsets=readers.padded is None)
    own = range_of((x.astype(np.float64) - units.offset) / units.scale, method)
    if given is not None:
        return given, {**ranges, name: own}
    usual = 1 / USUAL < max(-ranges[name][0], ranges[name][1]) < USUAL
    finest = (own[1] - own[0]) / 255 * units.scale.min()
    if usual and channels.step < 2 * finest and not channels.coarse.any():
        return None, ranges
    one = _noise(graph, x, ranges[name], None, readers)
    each = _noise(graph, x, own, units, readers)
    helps = one > MUCH_NOISE and each * WORTH < one
    may_help = learns and channels.too_coarse and each * WORTH < max(one, WORTH * MUCH_NOISE)
    state = channels
    if not usual or helps or may_help:
        state, one, ranges = _in(units, channels, own), each, {**ranges, name: own}
    if readers.padded is not None and (learns or one > MUCH_NOISE):
        _warn(graph, channels, readers, state)
    return (None if state is channels else units), ranges


def _in(units: Units, channels: _Channels, own: tuple[float, float]) -> _Channels:
    """The channels in units."""
    low, high = ((end - units.offset) / units.scale for end in (channels.low, channels.high))
    return replace(channels, low=low, high=high, step=(own[1] - own[0]) / 255)


def _channels(graph: Graph, x: Array, shared: tuple[float, float], method: str) -> _Channels:
    values = x.reshape(-1, x.shape[-1]).astype(np.float64)
    calibration = parse_calibration(method)
    rest = (100 - calibration.percentile) / 2
    low, high = np.percentile(values, (rest, 100 - rest), axis=0)
    return _Channels(values, low, high, (shared[1] - shared[0]) / 255, len(graph.sample.shape) == 3)


def _units(channels: _Channels, *, offsets: bool) -> Units:
    """Units in which all channels reach equally far from 0, and their root mean square is 1.

    An offset only where a channel does not hold 0, its middle. What never varies gets the median
    unit.
    """
    low, high = channels.low, channels.high
    widened = np.maximum(high, 0) - np.minimum(low, 0)
    far = offsets & (widened > (1 + 1 / FEW_STEPS) * (high - low))
    offset = np.where(far, (low + high) / 2, 0).astype(F32)
    reach = np.maximum(np.abs(low - offset), np.abs(high - offset))
    live = (reach > 0) & (high > low)
    if not live.any():
        return Units(np.ones_like(offset), np.zeros_like(offset))
    parts = (channels.values[:, live] - offset[live]) / reach[live]
    rms = np.sqrt(np.mean(np.clip(parts, -1, 1) ** 2))
    scale = np.where(live, reach, np.median(reach[live])) * rms
    return Units(scale.astype(F32), offset)


def _noise(
    graph: Graph, x: Array, bounds: tuple[float, float], units: Units | None, readers: Readers
) -> float:
    """What 8 bits of the input do to the first layers' sums: squared error by variance.

    The mean over the rows of a layer, each at most 1, and the largest of all layers.
    """
    some = x[np.linspace(0, len(x) - 1, min(len(x), LOOKED_AT)).round().astype(int)]
    real = some.astype(np.float64)
    shift, unit = (0.0, 1.0) if units is None else (units.offset, units.scale)
    step = (bounds[1] - bounds[0]) / 255
    zero = np.rint(-min(bounds[0], 0.0) / step)
    grid = np.clip(np.rint((real - shift) / unit / step), -zero, 255 - zero) * step
    nodes = tuple(
        replace(n, attributes={k: v for k, v in n.attributes.items() if k != "clip"})
        for n in readers.path
    )
    part, name = graph.with_nodes(nodes), graph.inputs[0]
    exact = evaluate_float(part, {name: real})
    got = evaluate_float(part, {name: grid * unit + shift})
    return max(_relative(exact[n.outputs[0]], got[n.outputs[0]]) for n in readers.layers)


def _relative(exact: Array, got: Array) -> float:
    rows = exact.reshape(-1, exact.shape[-1])
    error = ((got.reshape(rows.shape) - rows) ** 2).mean(axis=0)
    variance = rows.var(axis=0)
    live = variance > 0
    return float(np.minimum(error[live] / variance[live], 1).mean()) if live.any() else 0.0


def _warn(graph: Graph, channels: _Channels, readers: Readers, state: _Channels) -> None:
    """Say which channel stays too coarse in this state, and why."""
    if not state.too_coarse:
        return
    spans = np.where(state.coarse, state.high - state.low, np.inf)
    worst = int(spans.argmin())
    what = "channel" if channels.separate else "feature"
    cause, action = readers.other, "reads it as it is"
    if cause is None:
        cause, action = readers.padded, "pads it with zeros"
    assert cause is not None
    warnings.warn(
        f"{graph.name}: {what} {worst} of {len(spans)} of the input lies in "
        f"{channels.low[worst]:g} to {channels.high[worst]:g}, {spans[worst] / state.step:.1f} of "
        f'the 256 steps that all share, since {cause.op.name} "{cause.name}" {action}; bring all '
        f"{what}s of the samples to one size, around 0",
        PrecisionWarning,
        stacklevel=3,
    )


def in_units(graph: Graph, units: Units, tensor: str | None = None) -> Graph:
    """The graph for samples, or a tensor, in these units.

    The first layers behind it have taken up scale and offset.
    """
    for node in readers_of(graph, tensor).layers:
        graph = with_columns(graph, node, units)
    return graph


def with_columns(graph: Graph, layer: Node, units: Units) -> Graph:
    """The graph with a layer that reads its input in these units."""
    values = layer.op.absorb["units"](layer.attributes, *parameters_of(graph, layer), units)
    return with_parameters(graph, layer, values, "units")
