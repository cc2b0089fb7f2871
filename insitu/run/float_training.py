"""float training step, samples -> weights and accuracy: the yardstick of quantized training.

Invariant: the same samples, order and learning rates as the twin's stream; batch 1, plain SGD, in
numpy alone, so that a comparison needs no other framework.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from insitu.graph.evaluate import evaluate_float
from insitu.graph.model import Array, Graph, Kind
from insitu.graph.names import LEARNING_RATE
from insitu.run.stream import Progress

STEPS_BETWEEN_CALLS = 100


def trainable(graph: Graph, layers: frozenset[str]) -> Graph:
    """The float graph with the weights and biases of these layers as state.

    What `differentiate` makes of it is the step that `train_float` takes.
    """
    trained = {
        name
        for node in graph.nodes
        if node.op.weights and node.name in layers
        for name in node.inputs
        if name and graph.tensors[name].kind is Kind.CONSTANT
    }
    tensors = {
        name: replace(tensor, kind=Kind.STATE) if name in trained else tensor
        for name, tensor in graph.tensors.items()
    }
    return replace(graph, tensors=tensors)


def train_float(
    step: Graph, x: Array, y: Array, *, order: Array, rates: Array, progress: Progress | None = None
) -> dict[str, Array]:
    """The state after training.

    Args:
        step: a differentiated float graph; its inputs are a sample and its label.
        x, y: float32[n, *input shape], channels last, and labels[n].
        order, rates: sample and learning rate of each step.
    """
    state = {t.name: t.data for t in step.of_kind(Kind.STATE) if t.data is not None}
    image, label = step.inputs
    for done, (row, rate) in enumerate(zip(order, rates, strict=True), start=1):
        state[LEARNING_RATE] = np.asarray([rate], np.float32)
        given = {image: x[row : row + 1], label: y[row : row + 1]}
        values = evaluate_float(step, {**state, **given})
        state = {name: values[name] for name in state}
        if progress is not None and (done % STEPS_BETWEEN_CALLS == 0 or done == len(order)):
            progress(done, len(order))
    return state


def accuracy_float(graph: Graph, state: Mapping[str, Array], x: Array, y: Array) -> float:
    """The share of x[n, *input shape] that the forward graph predicts as y[n].

    Args:
        state: trained weights by name; empty for the graph's own.
    """
    own = {name: value for name, value in state.items() if name in graph.tensors}
    scores = evaluate_float(graph, {graph.inputs[0]: x, **own})[graph.outputs[0]]
    return float((scores.argmax(axis=1) == y).mean())
