"""training-step graph, samples -> state after training: the specification, in numpy.

Invariant: step by step the same bits as the generated C (`run.twin_library`, `run.emulator`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from insitu.fixed_point import F32, NO_BOUND, are_finite, range_qparams, seed_generator
from insitu.graph.model import Array, Ends, Graph, Kind, Node, Phase, QParams, Value
from insitu.graph.names import GENERATOR, LABEL, LEARNING_RATE


class Reference:
    """A model that runs the training-step graph of one network in numpy."""

    def __init__(self, graph: Graph, *, seed: int = 0) -> None:
        """Start from the initial state."""
        self.graph = graph
        self.seed = seed
        self.state: dict[str, Array] = {
            tensor.name: tensor.data.copy()
            for tensor in graph.of_kind(Kind.STATE)
            if tensor.data is not None
        }
        self.state[GENERATOR] = np.asarray([seed_generator(seed)], np.uint32)

    def predict(self, x: Array) -> Array:
        """x in the graph's own layout and type -> scores[classes] float32."""
        return self.forward(x)[self.graph.outputs[0]]

    def forward(self, x: Array) -> dict[str, Array]:
        """x in the graph's own layout and type -> every tensor's value, in its own type."""
        return self._execute({self.graph.inputs[0]: x}, lambda node: node.phase is Phase.FORWARD)

    def train_step(self, x: Array, label: int | Array, rate: float) -> float:
        """One training step; returns the loss before it, `NO_BOUND` where training has diverged.

        Args:
            label: the class, or targets[outputs] in the order of the scores.
        """
        self.state[LEARNING_RATE] = np.asarray([rate], F32)
        inputs = {self.graph.inputs[0]: x, LABEL: self._label(label)}
        values = self._execute(inputs, lambda node: True)
        loss = values.get(self.graph.outputs[1])
        return float(NO_BOUND if loss is None else loss[0])

    def _label(self, label: int | Array) -> Array:
        tensor = self.graph.tensors[LABEL]
        return np.asarray(label, tensor.dtype).reshape(tensor.shape)

    def _execute(
        self, inputs: Mapping[str, Array], runs: Callable[[Node], bool]
    ) -> dict[str, Array]:
        """Run nodes in order; quantization parameters are those in force at the start.

        Behind scores that are not finite nothing runs.
        """
        quantization = self._qparams_in_force()
        values = {t.name: t.data for t in self.graph.of_kind(Kind.CONSTANT) if t.data is not None}
        values.update(inputs)
        skipped = forward = False
        for node in self.graph.nodes:
            if not runs(node) or (skipped and node.phase is not Phase.APPLY):
                continue
            forward, before = node.phase is Phase.FORWARD, forward
            if before and not forward and not are_finite(values[self.graph.outputs[0]]):
                break
            assert node.op.integer_reference is not None, node.op.name
            arguments = [
                Value(self.state[n] if n in self.state else values[n], quantization[n])
                for n in node.inputs
                if n
            ]
            results = node.op.integer_reference(
                node, arguments, [quantization[n] for n in node.outputs]
            )
            for name, result in zip((*node.outputs, *node.updates), results, strict=True):
                (self.state if name in self.state else values)[name] = result
            if node.op.ends is Ends.BATCH_OPEN:
                if self.state[node.updates[0]].any():
                    break
            elif node.op.ends and not values[node.outputs[0]].any():
                skipped = True
        return values

    def _qparams_in_force(self) -> dict[str, QParams | None]:
        """Quantization of every tensor, with the ranges as the state has them."""
        in_force: dict[str, QParams | None] = {}
        for tensor in self.graph.tensors.values():
            q = tensor.qparams
            if q is not None and q.range is not None:
                low, high = self.state[q.range]
                q = replace(range_qparams(low, high, q.clip_min, q.clip_max), range=q.range)
            in_force[tensor.name] = q
        return in_force
