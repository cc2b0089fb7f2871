"""float graph, its integer form, samples -> the float graph with frozen weights on their grids.

The nearest step of each weight is not the best row: an error of one weight is made up for by those
that are not rounded yet, as the inputs' covariance has it (Frantar et al. 2023, GPTQ), and what
remains of the mean by the bias. Invariant: a row that the nearest steps serve better keeps them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from insitu.graph.evaluate import evaluate_float
from insitu.graph.model import Array, Graph, Kind, Node
from insitu.quantize.parameters import parameters_of, with_parameters

SAMPLES, BATCH = 64, 4
"""Of the calibration, evenly spaced, that the covariances are made of, and at a time."""

POSITIONS = 2048
"""Of a map, at most, in a batch."""

LONGEST_ROW = 2048
"""A longer row keeps the nearest steps: its covariance would take 32 MB and more."""

DAMPING = 0.01
"""Of the mean variance, added to each, so that there is an inverse where inputs go together."""


def on_grids(graph: Graph, integers: Graph, x: Array, *, units: bool) -> Graph:
    """The graph with frozen weights w[o, ...] whose `qparams` say the steps that they lie on.

    The graph itself where none are frozen.

    Args:
        integers: made of the graph; its constant weights say what is frozen, and on which grid.
        x: calibration samples[n, ...] in the graph's own layout.
        units: whether the input has some; its readers then stay as they are.
    """
    grids = {node.name: scale for node, scale in _grids(graph, integers, units=units)}
    layers = [node for node in graph.nodes if node.name in grids]
    if not layers:
        return graph
    moments = {node.name: _Moments() for node in layers}
    readers: dict[str, list[Node]] = {}
    for node in layers:
        readers.setdefault(node["x"], []).append(node)

    def observe(name: str, value: Array) -> None:
        for node in readers.get(name, ()):
            moments[node.name].add(_columns(graph, node, value))

    some = x[np.linspace(0, len(x) - 1, min(len(x), SAMPLES)).round().astype(int)]
    for start in range(0, len(some), BATCH):
        batch = some[start : start + BATCH].astype(np.float64)
        observe(graph.inputs[0], batch)
        evaluate_float(graph, {graph.inputs[0]: batch}, observe=observe)
    for node in layers:
        scale = grids[node.name]
        values = _on_grid(parameters_of(graph, node), scale, moments[node.name])
        graph = with_parameters(graph, node, values, "rounded", scale)
    return graph


def _grids(graph: Graph, integers: Graph, *, units: bool) -> Iterator[tuple[Node, Array]]:
    """Layers that can be rounded, and the scale[o] of their rows."""
    for node in graph.nodes:
        if node.op.columns is None or (units and node["x"] == graph.inputs[0]):
            continue
        w, stored = graph.operand(node, "w"), integers.tensors.get(f"{node.name}.w")
        if w.qparams is not None or w.size // w.shape[0] > LONGEST_ROW:
            continue
        if stored is not None and stored.kind is Kind.CONSTANT and stored.qparams is not None:
            yield node, stored.qparams.scale


class _Moments:
    """Mean and covariance of what the rows of a layer multiply, by group."""

    def __init__(self) -> None:
        self.count, self._sum, self._products = 0, np.zeros(()), np.zeros(())

    def add(self, columns: Array) -> None:
        """columns[positions, groups, k]."""
        by_group = columns.swapaxes(0, 1)
        self.count += len(columns)
        self._sum = self._sum + by_group.sum(axis=1)
        self._products = self._products + by_group.swapaxes(1, 2) @ by_group

    @property
    def mean(self) -> Array:
        """[groups, k]."""
        return np.asarray(self._sum / self.count)

    @property
    def covariance(self) -> Array:
        """[groups, k, k] in units of the mean variance, damped so that it can be inverted."""
        mean = self.mean
        found = self._products / self.count - mean[:, :, None] * mean[:, None, :]
        variance = np.trace(found, axis1=1, axis2=2)[:, None, None] / found.shape[1]
        found = np.where(variance > 0, found / np.where(variance > 0, variance, 1.0), 0.0)
        return np.asarray(found + DAMPING * np.eye(found.shape[1]))


def _columns(graph: Graph, node: Node, x: Array) -> Array:
    """What the rows of a layer multiply, at positions evenly spaced."""
    assert node.op.columns is not None
    found = node.op.columns(node.attributes, x, graph.operand(node, "w").shape)
    return found[:: -(-len(found) // POSITIONS)]


def _on_grid(values: tuple[Array, Array], scale: Array, moments: _Moments) -> tuple[Array, Array]:
    """Weights on the grid scale[o], and biases that make up for the mean of what they lose."""
    w, bias = values
    mean = moments.mean
    rows, steps = w.reshape(*mean.shape[:1], -1, mean.shape[1]), scale.reshape(len(mean), -1, 1)
    chosen = best_steps(rows / steps, moments.covariance) * steps
    lost = np.einsum("gri,gi->gr", chosen - rows, mean)
    return chosen.reshape(w.shape), bias - lost.reshape(-1)


def nearest(steps: Array) -> Array:
    """The whole steps next to them, of 8 bits."""
    return np.asarray(np.clip(np.rint(steps), -127, 127))


def best_steps(exact: Array, covariance: Array) -> Array:
    """Rows[group, o, k] in steps of their grid -> whole steps that make a small error.

    Args:
        covariance: [group, k, k] of what the rows multiply, positive definite.
    """
    tried = nearest(exact), _compensated(exact, covariance)
    lost = [np.einsum("gri,gij,grj->gr", q - exact, covariance, q - exact) for q in tried]
    return np.where((lost[1] < lost[0])[..., None], tried[1], tried[0])


def _compensated(exact: Array, covariance: Array) -> Array:
    """One weight after another, the most varying inputs first: those left make up for it."""
    order = np.argsort(-np.diagonal(covariance, axis1=1, axis2=2), axis=1, kind="stable")
    left = np.take_along_axis(exact, order[:, None, :], axis=2)
    ordered = np.take_along_axis(covariance, order[:, :, None], axis=1)
    ordered = np.take_along_axis(ordered, order[:, None, :], axis=2)
    upper = np.linalg.cholesky(np.linalg.inv(ordered)).swapaxes(1, 2)
    for i in range(left.shape[2]):
        whole = nearest(left[:, :, i])
        error = (left[:, :, i] - whole) / upper[:, i, i, None]
        left[:, :, i] = whole
        left[:, :, i + 1 :] -= error[..., None] * upper[:, None, i, i + 1 :]
    back = np.argsort(order, axis=1)
    return np.take_along_axis(left, back[:, None, :], axis=2)
