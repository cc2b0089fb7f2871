"""float graph -> the same network with a fresh last layer for other classes: replace_head.

Invariant: the head starts with zeros, so that all classes are alike before the first sample; the
layers before it are as they were.
"""

from __future__ import annotations

from dataclasses import replace

from insitu.errors import ModelError
from insitu.graph.model import Graph, Node, Tensor


def replace_head(graph: Graph, classes: int) -> Graph:
    """The simplified graph with zeros for the weights and biases of `classes` scores.

    Raises:
        ModelError: the last layer is not one that can be replaced.
    """
    head = head_of(graph)
    assert head.op.fresh is not None
    data = head.op.fresh(head, graph, classes)
    tensors = dict(graph.tensors)
    names = {operand: _unused(graph, f"{head[operand]}.fresh") for operand in data}
    for operand, value in data.items():
        tensors[names[operand]] = Tensor(
            names[operand], value.shape, str(value.dtype), tensors[head[operand]].kind, value
        )
    inputs = tuple({**head.operands, **names}.values())
    fresh = replace(head, inputs=inputs)
    (kind,) = head.op.infer(head.attributes, [tensors[name] for name in inputs])
    scores = head.outputs[0]
    tensors[scores] = replace(tensors[scores], shape=kind.shape, qparams=None)
    nodes = tuple(fresh if node.name == head.name else node for node in graph.nodes)
    used = {name for node in nodes for name in (*node.inputs, *node.outputs)}
    used.update(graph.inputs)
    return replace(graph, nodes=nodes, tensors={k: t for k, t in tensors.items() if k in used})


def head_of(graph: Graph) -> Node:
    """The layer that gives the scores and can be replaced.

    Raises:
        ModelError: there is none.
    """
    scores = graph.outputs[0]
    node = graph.producer(scores)
    if node is None or node.op.fresh is None:
        last = "its input" if node is None else f'{node.op.name} "{node.name}"'
        raise ModelError(
            f"{graph.name}: the scores come from {last}, but only a linear layer can be replaced "
            "for other classes; end the network with one"
        )
    if "clip" in node.attributes:
        low, high = node.attributes["clip"]
        raise ModelError(
            f'{graph.name}: {node.op.name} "{node.name}" gives the scores through an activation '
            f"function that holds them to [{low:g}, {high:g}], which a head for other classes "
            "cannot learn behind; remove it"
        )
    if graph.consumers(scores):
        raise ModelError(
            f'{graph.name}: the scores of {node.op.name} "{node.name}" are read again by '
            f'"{graph.consumers(scores)[0].name}"; a head can be replaced only at the end'
        )
    return node


def _unused(graph: Graph, stem: str) -> str:
    name = stem
    while name in graph.tensors:
        name = f"{name}+"
    return name
