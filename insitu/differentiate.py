"""forward graph -> training-step graph: loss, backward pass and weight updates as ordinary nodes.

Invariant: an input gradient is computed before its layer's weights are updated, and only where a
trained layer stands upstream; frozen layers behind it carry no update.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from insitu.errors import ModelError
from insitu.fixed_point import seed_generator
from insitu.graph.builder import Builder
from insitu.graph.model import Graph, Kind, Node, Phase, Role
from insitu.graph.names import GENERATOR, LEARNING_RATE
from insitu.graph.scheme import Scheme
from insitu.ops import TRAINING


def differentiate(
    graph: Graph, scheme: Scheme | None = None, *, rate: float = 0.01, seed: int = 0
) -> Graph:
    """Append loss, backward pass and updates for all weights that are state.

    Works on float and on integer graphs.

    Args:
        scheme: how gradients become steps; by default every sample updates in place.
        rate, seed: of a model that was only initialised.

    Raises:
        ModelError: an op on the way has no gradient.
    """
    builder = Builder(graph.name, graph, scheme=scheme)
    label = TRAINING.label(builder, graph.outputs[0])
    for name, value in (
        (LEARNING_RATE, np.asarray([rate], np.float32)),
        (GENERATOR, np.asarray([seed_generator(seed)], np.uint32)),
    ):
        builder.state(name, value, Role.SETTING)
    scores = graph.outputs[0]
    dy, loss = TRAINING.loss(builder, scores, label, integer=_ends_in_integers(graph))
    if not builder.scheme.in_place:
        TRAINING.count_batch(builder)
    errors = {scores: dy}
    needed = _with_gradient(graph)
    for node in reversed(graph.nodes):
        error = next((errors.pop(y) for y in node.outputs if y in errors), None)
        if error is None:
            continue
        wanted = frozenset(operand for operand, x in node.operands.items() if x in needed)
        if node.op.vjp is None:
            raise ModelError(
                f'{graph.name}: {node.op.name} "{node.name}" has no gradient, so nothing before '
                "it can be trained; train only layers behind it"
            )
        for operand, dx in node.op.vjp(builder, node, error, wanted).items():
            x = node[operand]
            if operand not in wanted:
                continue
            errors[x] = TRAINING.join_errors(builder, x, errors[x], dx) if x in errors else dx
    graph = builder.finish((scores, loss), keep=(LEARNING_RATE, GENERATOR))
    return _constant_where_still(_without_dead_nodes(graph))


def _ends_in_integers(graph: Graph) -> bool:
    """Whether the node that makes the scores reads quantized values."""
    last = graph.producer(graph.outputs[0])
    return last is not None and graph.tensors[last.inputs[0]].qparams is not None


def _with_gradient(graph: Graph) -> set[str]:
    """Tensors whose gradient is needed: trained weights, and activations that depend on them."""
    needed = set()
    for node in graph.nodes:
        if any(graph.operand(node, w).kind is Kind.STATE for w in node.op.weights):
            needed.add(node[node.op.weights[0]])
            needed.add(node.outputs[0])
        elif any(name in needed for name in node.inputs):
            needed.add(node.outputs[0])
    return needed


def _without_dead_nodes(graph: Graph) -> Graph:
    """The graph without nodes that change no state and whose outputs nobody reads.

    FORWARD nodes come first, so that a prediction is the beginning of a training step; APPLY nodes
    last, since they run after samples without an error too.
    """
    nodes: list[Node] = []
    read = set(graph.outputs)
    for node in reversed(graph.nodes):
        if node.updates or any(name in read for name in node.outputs):
            nodes.append(node)
            read.update(node.inputs)
    nodes.reverse()
    order = {Phase.FORWARD: 0, Phase.APPLY: 2}
    return graph.with_nodes(sorted(nodes, key=lambda node: order.get(node.phase, 1)))


def _constant_where_still(graph: Graph) -> Graph:
    """The graph with state that no node changes as constants, which need no RAM."""
    changed = {name for node in graph.nodes for name in node.updates}
    changed |= {LEARNING_RATE, GENERATOR}
    tensors = {
        name: replace(tensor, kind=Kind.CONSTANT)
        if tensor.kind is Kind.STATE and name not in changed
        else tensor
        for name, tensor in graph.tensors.items()
    }
    return replace(graph, tensors=tensors)
