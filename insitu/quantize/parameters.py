"""A layer of a float graph with other weights and biases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from insitu.fixed_point import F32
from insitu.graph.model import Array, Graph, Kind, Node, QParams, Tensor


def parameters_of(graph: Graph, layer: Node) -> tuple[Array, Array]:
    """w and bias, float64."""
    w, bias = (np.asarray(graph.operand(layer, k).data, np.float64) for k in ("w", "bias"))
    return w, bias


def with_parameters(
    graph: Graph, layer: Node, values: tuple[Array, Array], why: str, scale: Array | None = None
) -> Graph:
    """The graph with a layer, by its name, that has these weights and biases.

    Args:
        values: w and bias.
        why: a word for the names of the tensors.
        scale: [o] of the grid that the weights lie on, where they do.
    """
    grids = None if scale is None else QParams(scale=scale), None
    tensors, names = dict(graph.tensors), dict(layer.operands)
    for operand, data, grid in zip(("w", "bias"), values, grids, strict=True):
        name = names[operand] = f"{layer[operand]}@{layer.name}.{why}"
        tensors[name] = Tensor(
            name, data.shape, "float32", Kind.CONSTANT, data.astype(F32), qparams=grid
        )
    new = replace(layer, inputs=tuple(names.values()))
    nodes = tuple(new if node.name == layer.name else node for node in graph.nodes)
    return replace(graph, tensors=tensors, nodes=nodes)
