"""Permute, reshape: the axes of a map change places, or memory is read by another shape.

Twin: layout.c. Formats with transpositions of their own need them; where a linear layer follows its
columns are permuted instead.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from insitu.errors import ModelError
from insitu.graph.builder import Builder
from insitu.graph.model import Array, CCall, Graph, Node, OpDef, TensorType
from insitu.graph.rules import Attributes, Quantizations, Tensors, Types, Values
from insitu.ops.numerics.arguments import pointers
from insitu.ops.numerics.by_type import suffix
from insitu.ops.numerics.quantization import keeps_quantization

if TYPE_CHECKING:
    from insitu.graph.rewriter import Rewriter


def _permuted(x: Array, attributes: Attributes) -> Array:
    """x[..., h, w, c] with its last three axes in another order."""
    batch = x.ndim - 3
    axes = (*range(batch), *(axis + batch for axis in attributes["order"]))
    return np.ascontiguousarray(x.transpose(axes))


def _infer_permute(attributes: Attributes, inputs: Tensors) -> Types:
    shape, order = inputs[0].shape, attributes["order"]
    if len(shape) != 3 or sorted(order) != [0, 1, 2]:
        raise ModelError(f"order {list(order)} does not order the axes of {list(shape)}")
    return [TensorType(tuple(shape[axis] for axis in order), inputs[0].dtype)]


def _infer_reshape(attributes: Attributes, inputs: Tensors) -> Types:
    shape = tuple(attributes["shape"])
    if math.prod(shape) != inputs[0].size:
        raise ModelError(
            f"shape {list(shape)} has {math.prod(shape)} elements but its input {inputs[0].size}; "
            "check the reshape"
        )
    return [TensorType(shape, inputs[0].dtype)]


def _permute_integer(node: Node, inputs: Values, outputs: Quantizations) -> list[Array]:
    return [_permuted(inputs[0].array, node.attributes)]


def _reshape_integer(node: Node, inputs: Values, outputs: Quantizations) -> list[Array]:
    return [inputs[0].array.reshape(node.attributes["shape"])]


def _permute_vjp(builder: Builder, node: Node, dy: str, wanted: frozenset[str]) -> dict[str, str]:
    back = tuple(node.attributes["order"].index(axis) for axis in range(3))
    return {"x": builder.gradient(permute, node, (dy,), attributes={"order": back})}


def _reshape_vjp(builder: Builder, node: Node, dy: str, wanted: frozenset[str]) -> dict[str, str]:
    shape = builder.tensors[node["x"]].shape
    return {"x": builder.gradient(reshape, node, (dy,), attributes={"shape": shape})}


def _simplify_permute(rewriter: Rewriter, node: Node) -> bool:
    """Disappear: into the transposition before it, or the columns of the layer behind."""
    x, order = rewriter.tensor(node["x"]), tuple(node.attributes["order"])
    if order == (0, 1, 2):
        return rewriter.bypass(node)
    moving = [axis for axis in order if x.shape[axis] != 1]
    if moving == sorted(moving):
        shape = rewriter.tensor(node.outputs[0]).shape
        rewriter.substitute(node, reshape, {}, {"shape": shape})
        return True
    before, consumer = rewriter.sole_producer(node), rewriter.sole_consumer(node)
    if before is not None and before.op is permute:
        first = before.attributes["order"]
        rewriter.replace(node, attributes={"order": tuple(first[axis] for axis in order)})
        return rewriter.bypass(before)
    if consumer is None or "permute" not in consumer.op.absorb:
        return False
    read = _permuted(np.arange(x.size).reshape(x.shape), node.attributes).reshape(-1)
    w = consumer.op.absorb["permute"](rewriter.data(consumer["w"]), np.argsort(read))
    rewriter.replace_data(consumer, "w", w, rewriter.tensor(consumer["w"]).qparams)
    return rewriter.bypass(node)


def _simplify_reshape(rewriter: Rewriter, node: Node) -> bool:
    """Disappear where nothing changes, where another follows, or before a linear layer."""
    x, y = rewriter.tensor(node["x"]), rewriter.tensor(node.outputs[0])
    consumer = rewriter.sole_consumer(node)
    reads_memory = consumer is not None and (
        "permute" in consumer.op.absorb or consumer.op is reshape
    )
    if x.shape == y.shape or reads_memory:
        return rewriter.bypass(node)
    return False


def _permute_call(node: Node, graph: Graph) -> CCall:
    """Sizes of y, and how far apart its neighbours along each axis lie in x."""
    shape, order = graph.operand(node, "x").shape, node.attributes["order"]
    steps = (shape[1] * shape[2], shape[2], 1)
    keys = ("height", "width", "channels")
    params = {key: shape[axis] for key, axis in zip(keys, order, strict=True)}
    params |= {f"{key}_step": steps[axis] for key, axis in zip(keys, order, strict=True)}
    function = f"insitu_permute_{suffix(node, graph)}"
    return CCall(function, "insitu_permute_params_t", params, pointers(node))


def _reshape_call(node: Node, graph: Graph) -> CCall:
    params = {"size": graph.tensors[node.outputs[0]].size}
    function = f"insitu_reshape_{suffix(node, graph)}"
    return CCall(function, "insitu_size_params_t", params, pointers(node))


permute: OpDef = OpDef(
    name="permute",
    infer=_infer_permute,
    float_reference=lambda attributes, inputs: [_permuted(inputs[0], attributes)],
    integer_reference=_permute_integer,
    vjp=_permute_vjp,
    quantize=keeps_quantization,
    simplify=_simplify_permute,
    c_call=_permute_call,
)
"""y[i, j, k]: its axis a is x's axis order[a]. Attribute order, a permutation of (0, 1, 2)."""

reshape: OpDef = OpDef(
    name="reshape",
    infer=_infer_reshape,
    float_reference=lambda attributes, inputs: [
        inputs[0].reshape(len(inputs[0]), *attributes["shape"])
    ],
    integer_reference=_reshape_integer,
    vjp=_reshape_vjp,
    quantize=keeps_quantization,
    simplify=_simplify_reshape,
    in_place=((0, 0),),
    c_call=_reshape_call,
)
"""The same elements in the order of memory. Attribute shape."""
