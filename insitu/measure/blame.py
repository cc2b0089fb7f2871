"""float network, its integer form, samples -> which part of quantization costs the scores most.

Each part's own error (the input's rounding; of a layer, that against its float form with the
quantized input) is put into the float network alone, and what comes out at the scores is compared:
so a layer is not blamed for what was lost before it, nor for an error that nobody sees. The part
that loses most is taken apart in the same way: its weights, its range, its biases.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from insitu.graph.evaluate import evaluate_float
from insitu.graph.model import Array, Graph, Node, QParams
from insitu.measure import causes
from insitu.run.reference import Reference

MOST = 0.5
"""A part with this share of the error of the scores is its cause."""


SAME_UNIT = 0.25
"""Stored weights that differ more from those in float, in energy, stand for others: for such, say,
that the scales of what the layer reads are folded into."""


@dataclass(frozen=True, kw_only=True)
class Cause:
    """What quantization loses most by.

    Attributes:
        kind: "input", "weights", "range" or "bias"; "sum" where no single part accounts for half.
        where: the layer, or "input", or "network".
        share: of the error of the scores that the parts make one by one.
        advice: what is wrong and what to do.
    """

    kind: str
    where: str
    share: float
    advice: str


def find_cause(
    graph: Graph, integers: Graph, names: Mapping[str, str], x: Array, q: Array
) -> Cause:
    """Of what the scores lose on these samples.

    Args:
        names: the integer graph's name for the float activations that it has.
        x: channels last, float. q: the same as the integer graph takes them.
    """
    run = _Run(graph, integers, names, x, q)
    parts = {node.name: run.own_error(node) for node in graph.nodes if node.outputs[0] in run.real}
    effects = {name: run.effect(y, error) for name, (y, error) in parts.items()}
    name = graph.inputs[0]
    effects["input"] = run.effect(name, run.real[name] - run.floats[name])
    total = sum(effects.values())
    worst = max(effects, key=effects.__getitem__)
    if total == 0 or effects[worst] < MOST * total:
        return _of_many(run, effects)
    share = effects[worst] / total
    if worst == "input":
        advice = causes.of_range(run.read(name), run.qparams(name), "features")
        return Cause(kind="input", where="input", share=share, advice=advice)
    node = next(node for node in graph.nodes if node.name == worst)
    kind = run.kind_of_error(node)
    before = run.unlike_input(node) if kind == "weights" else None
    if before is not None:
        return replace(before, share=share)
    return Cause(kind=kind, where=worst, share=share, advice=run.advice(node, kind))


def _of_many(run: _Run, effects: Mapping[str, float]) -> Cause:
    """Outliers stretch many ranges at once; else errors add up."""
    tensors = {"input": run.graph.inputs[0]}
    tensors |= {node.name: node.outputs[0] for node in run.graph.nodes}
    stretched = [name for name in tensors if name in effects and run.is_stretched(tensors[name])]
    total = sum(effects.values())
    share = sum(effects[name] for name in stretched) / total if total else 0.0
    if share >= MOST:
        first = stretched[0]
        advice = causes.of_outliers(run.read(tensors[first]), run.qparams(tensors[first]))
        return Cause(
            kind="input" if first == "input" else "range", where=first, share=share, advice=advice
        )
    largest = max(effects, key=effects.__getitem__)
    share = effects[largest] / total if total else 0.0
    return Cause(kind="sum", where="network", share=share, advice=causes.of_sum(largest, share))


class _Run:
    """Both networks' values on some samples, with a batch axis."""

    def __init__(
        self, graph: Graph, integers: Graph, names: Mapping[str, str], x: Array, q: Array
    ) -> None:
        self.graph, self.integers, self.names = graph, integers, names
        self.floats = evaluate_float(graph, {graph.inputs[0]: x.astype(np.float64)})
        reference, shape = Reference(integers), integers.sample.shape
        runs = [reference.forward(sample.reshape(shape)) for sample in q]
        self.real = {
            t: dequantize(np.stack([run[n] for run in runs]), integers.tensors[n].qparams)
            for t, n in names.items()
            if graph.tensors[t].data is None
        }

    def qparams(self, tensor: str) -> QParams | None:
        return self.integers.tensors[self.names[tensor]].qparams

    def read(self, tensor: str) -> Array:
        """A float tensor in the units of the integer network's."""
        return as_read(self.floats[tensor], self.qparams(tensor))

    def is_stretched(self, tensor: str) -> bool:
        return causes.is_stretched(self.read(tensor), self.qparams(tensor))

    def effect(self, tensor: str, error: Array) -> float:
        """What an error of a tensor makes of the output: its energy beside the sample's own.

        So a sample whose scores are far larger than all others' does not decide alone.
        """
        if not error.any():
            return 0.0
        changed = {tensor: self.floats[tensor] + error}
        for node in self.graph.nodes:
            if any(name in changed for name in node.inputs) and node.outputs[0] != tensor:
                changed |= dict(zip(node.outputs, self._float(node, changed), strict=True))
        output = self.graph.outputs[0]
        if output not in changed:
            return 0.0
        exact = self.floats[output].reshape(len(self.floats[output]), -1)
        lost = ((changed[output].reshape(exact.shape) - exact) ** 2).sum(axis=1)
        own = (exact**2).sum(axis=1)
        typical = float(np.median(own)) or 1.0
        return float((lost / (own + typical)).sum())

    def _float(self, node: Node, values: Mapping[str, Array]) -> list[Array]:
        """The float form of a node; what `values` lacks is as in the float network."""
        assert node.op.float_reference is not None, node.op.name
        known = [values.get(n, self.floats[n]) for n in node.inputs if n]
        return [np.asarray(y) for y in node.op.float_reference(node.attributes, known)]

    def own_error(self, node: Node) -> tuple[str, Array]:
        """The tensor that a layer makes, and its error with the quantized input given."""
        y = node.outputs[0]
        return y, self.real[y] - self._float(node, self.real)[0]

    def kind_of_error(self, node: Node) -> str:
        """Which part of a layer's own error the output sees most: weights, range or bias."""
        y, (exact, stepped, on_grid) = node.outputs[0], self._stages(node)
        effects = {
            "weights": self.effect(y, stepped - exact),
            "range": self.effect(y, on_grid - stepped),
            "bias": self.effect(y, self.real[y] - on_grid),
        }
        if self.stored_weights(node) is None and "w" in node:  # not told apart
            effects["weights"] = effects.pop("bias")
        return max(effects, key=effects.__getitem__)

    def _stages(self, node: Node) -> tuple[Array, Array, Array]:
        """A layer's output in float, with its weights as they are stored, and on its grid."""
        y = node.outputs[0]
        exact = stepped = self._float(node, self.real)[0]
        stored = self.stored_weights(node)
        if stored is not None:
            stepped = self._float(node, {**self.real, node["w"]: stored})[0]
        return exact, stepped, _rounded(stepped, self.qparams(y))

    def stored_weights(self, node: Node) -> Array | None:
        """What the integer network's weights mean; None where it has none of its own."""
        kept = self.integers.tensors.get(f"{node.name}.w")
        if kept is None or kept.data is None or kept.qparams is None or "w" not in node:
            return None
        exact, given = self.floats[node["w"]], self.qparams(node["x"])
        if kept.data.shape != exact.shape:
            return None
        stored = dequantize(kept.data.T, kept.qparams).T
        if given is not None and given.units is not None:
            if len(given.units.scale) != exact.shape[-1]:
                return None
            stored = stored / given.units.scale
        same_unit = ((stored - exact) ** 2).sum() < SAME_UNIT * (exact**2).sum()
        return stored if same_unit else None

    def unlike_input(self, node: Node) -> Cause | None:
        """What a layer's weights make up for, where what it reads has parts of unlike size.

        Weights of small features are large, so that those of large features are a step or less.
        """
        x = node["x"]
        q = self.qparams(x) if x in self.names else None
        maker = self.graph.producer(x)
        if q is None or not causes.are_unlike(self.read(x), q):
            return None
        parts, kind = ("features", "input") if maker is None else ("channels", "range")
        advice = causes.of_range(self.read(x), q, parts)
        return Cause(
            kind=kind, where="input" if maker is None else maker.name, share=0, advice=advice
        )

    def advice(self, node: Node, kind: str) -> str:
        y = node.outputs[0]
        if kind == "range":
            return causes.of_range(self.floats[y], self.qparams(y), "channels")
        if kind == "bias":
            off = np.abs(self.real[y] - self._stages(node)[2]).max()
            return causes.of_biases(self.floats[node["bias"]], float(off))
        scale = self.integers.tensors[f"{node.name}.w"].qparams
        assert scale is not None
        return causes.of_weights(self.floats[node["w"]], scale)


def dequantize(value: Array, q: QParams | None) -> Array:
    """What an integer tensor means, float64; several scales are those of the last axis."""
    wide = value.astype(np.float64)
    if q is None:
        return wide
    real = (wide - q.zero_point) * q.scale.astype(np.float64)
    return real if q.units is None else real * q.units.scale + q.units.offset


def as_read(value: Array, q: QParams | None) -> Array:
    """A sample's values in the units that the network reads."""
    return value if q is None or q.units is None else (value - q.units.offset) / q.units.scale


def _rounded(value: Array, q: QParams | None) -> Array:
    """A float tensor on the grid of its integers."""
    if q is None:
        return value
    grid = np.rint(value / q.scale.astype(np.float64)) + q.zero_point
    return dequantize(np.clip(grid, q.clamp_min, q.clamp_max), q)
