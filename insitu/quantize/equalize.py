"""float graph, samples -> the same network, whose channels of a map are of one size.

All channels share the 256 steps of their map, of which a small channel has a few. A frozen layer
makes each channel larger by a factor, and what reads it takes the factor back (Nagel et al. 2019,
Data-free quantization), through sums, pools and any ReLU: a bound of 6 becomes one a channel, which
lies beyond the map's range. Invariant: the network computes the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass

import numpy as np

from insitu.fixed_point import F32
from insitu.graph.evaluate import evaluate_float
from insitu.graph.model import Array, Graph, Units
from insitu.quantize.branches import scaled_layer, with_scaled_clip
from insitu.quantize.units import with_columns

POWERS = (1.0, 0.75, 0.5, 0.25, 0.0)
"""Of how far a channel reaches: by 1 all reach equally far, by 0 nothing changes; those between
leave small channels room to grow."""

LARGEST_FACTOR = 8.0
"""With more, a channel that calibration saw little of is cut off too soon, and the weights that
take it back outweigh the others of their row."""

SAMPLES, BATCH = 128, 16
"""Of the calibration, evenly spaced, that are looked at, and at a time."""


def equalized(graph: Graph, x: Array, kept: Set[str]) -> Graph:
    """The graph itself where no map can change.

    The factors of one half of the samples are judged on the other, so that channels seldom seen
    keep room to grow.

    Args:
        x: calibration samples[n, ...] in the graph's own layout.
        kept: names of nodes whose outputs stay: of trained layers, and of what remains in float.
    """
    groups = list(_groups(graph, kept))
    names = {name for group in groups for name in group}
    some = x[np.linspace(0, len(x) - 1, min(len(x), SAMPLES)).round().astype(int)]
    if not names or len(some) < 2:
        return graph
    halves = some[::2], some[1::2]
    ends = [_ends(graph, half, names) for half in halves]
    lost = _lost(graph, halves[1], ends[0], groups) + _lost(graph, halves[0], ends[1], groups)
    both = {name: ends[0][name].joined(ends[1][name]) for name in names}
    for group, best in zip(groups, lost.argmin(axis=1), strict=True):
        factors = _factors(both, group, POWERS[best])
        if (factors < 1).any():
            graph = _scaled(graph, group, factors)
    return graph


def _groups(graph: Graph, kept: Set[str]) -> Iterator[tuple[str, ...]]:
    """The tensors that can only change together, without those that cannot change at all."""
    leader = {name: name for name in graph.tensors}
    fixed = {*graph.inputs, *graph.outputs}
    fixed |= {t.name for t in graph.tensors.values() if t.qparams is not None}

    def first(name: str) -> str:
        while leader[name] != name:
            name = leader[name]
        return name

    for node in graph.nodes:
        fixed.update(node.outputs if node.name in kept else ())
        maps = [name for name in node.inputs if graph.tensors[name].data is None]
        if node.op.scales or node.op.keeps_channels(node.attributes):
            for name in maps:
                leader[first(name)] = first(node.outputs[0])
        else:
            weights = [graph.tensors[node[key]] for key in node.op.weights]
            known = any(w.qparams is not None for w in weights)
            if known or "units" not in node.op.absorb:
                fixed.update(maps)
            if known or not {"affine", "units"} <= {*node.op.absorb}:
                fixed.update(node.outputs)
    members: dict[str, list[str]] = {}
    for node in graph.nodes:
        for name in node.outputs:
            members.setdefault(first(name), []).append(name)
    fixed = {first(name) for name in fixed}
    yield from (tuple(group) for name, group in members.items() if name not in fixed)


@dataclass(frozen=True, eq=False)
class _Ends:
    """Of the channels of a map: low[c] <= 0 <= high[c]."""

    low: Array
    high: Array

    def joined(self, other: _Ends) -> _Ends:
        """The outer ends of both."""
        return _Ends(np.minimum(self.low, other.low), np.maximum(self.high, other.high))

    @property
    def parts(self) -> Array:
        """How far each channel reaches, as a part of the map's range on that side."""
        sides = (np.abs(side) / (np.abs(side).max() or 1.0) for side in (self.low, self.high))
        return np.asarray(np.maximum(*sides))

    def on_grid(self, rows: Array, factors: Array) -> Array:
        """rows[n, c] on the 8-bit grid of the whole map, each channel divided by its factor."""
        step = (self.high.max() - self.low.min()) / 255 or 1.0
        zero = np.rint(-self.low.min() / step)
        grid = np.clip(np.rint(rows / (step * factors)), -zero, 255 - zero)
        return np.asarray(grid * (step * factors))


def _each(graph: Graph, x: Array, names: Set[str], look: Callable[[str, Array], None]) -> None:
    """Show the values[n, c] of these tensors, in batches."""

    def observe(name: str, value: Array) -> None:
        if name in names:
            look(name, value.reshape(-1, value.shape[-1]))

    for start in range(0, len(x), BATCH):
        batch = x[start : start + BATCH].astype(np.float64)
        evaluate_float(graph, {graph.inputs[0]: batch}, observe=observe)


def _ends(graph: Graph, x: Array, names: Set[str]) -> dict[str, _Ends]:
    found: dict[str, _Ends] = {}

    def look(name: str, rows: Array) -> None:
        ends = _Ends(np.minimum(rows.min(axis=0), 0), np.maximum(rows.max(axis=0), 0))
        found[name] = ends.joined(found.get(name, ends))

    _each(graph, x, names, look)
    return found


def _factors(ends: dict[str, _Ends], group: Sequence[str], power: float) -> Array:
    """factors[c] <= 1 of the tensors of a group."""
    parts = np.max([ends[name].parts for name in group], axis=0)
    return np.asarray(np.maximum(parts**power, 1 / LARGEST_FACTOR), F32)


def _lost(graph: Graph, x: Array, ends: dict[str, _Ends], groups: Sequence[Sequence[str]]) -> Array:
    """[group, power]: squared error by variance, summed over channels and tensors."""
    factors = [[_factors(ends, group, power) for power in POWERS] for group in groups]
    index = {name: i for i, group in enumerate(groups) for name in group}
    error: dict[str, Array] = {}
    variance: dict[str, Array] = {}

    def look(name: str, rows: Array) -> None:
        found = [
            ((ends[name].on_grid(rows, f) - rows) ** 2).sum(axis=0) for f in factors[index[name]]
        ]
        error[name] = error.get(name, 0) + np.stack(found)
        variance[name] = variance.get(name, 0) + ((rows - rows.mean(axis=0)) ** 2).sum(axis=0)

    _each(graph, x, set(index), look)
    lost = np.zeros((len(groups), len(POWERS)))
    for name, i in index.items():
        live = variance[name] > 0
        lost[i] += np.minimum(error[name][:, live] / variance[name][live], 1).sum(axis=1)
    return lost


def _scaled(graph: Graph, group: tuple[str, ...], factors: Array) -> Graph:
    """The group's tensors, each channel divided by its factor."""
    units, larger = Units(factors, np.zeros_like(factors)), 1 / factors.astype(np.float64)
    members = {*group}
    for node in [n for n in graph.nodes if not members.isdisjoint((*n.inputs, *n.outputs))]:
        if node.outputs[0] in members and not node.op.weights:
            nodes = {n.name: n for n in graph.nodes}
            nodes[node.name] = with_scaled_clip(node, larger)
            graph = graph.with_nodes(tuple(nodes.values()))
        elif node.outputs[0] in members:
            graph = scaled_layer(graph, node, larger)
        if node.op.weights and node["x"] in members:
            now = next(n for n in graph.nodes if n.name == node.name)
            graph = with_columns(graph, now, units)
    return graph
