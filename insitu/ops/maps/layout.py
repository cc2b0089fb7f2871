"""Flatten, unflatten, identity: no arithmetic, only order. Twin: layout.c.

Formats that store channels first number the features of a flattened map differently from ours
(channels last); these ops keep the foreign numbering. Before a linear layer a flatten costs
nothing: the layer's columns are permuted instead, and it reads the map in memory order.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from insitu.errors import ModelError
from insitu.graph.builder import Builder
from insitu.graph.model import Array, Call, CCall, Graph, Node, OpDef, TensorType
from insitu.graph.rules import Arrays, Attributes, Quantizations, Tensors, Types, Values, same_type
from insitu.ops.numerics.arguments import pointers
from insitu.ops.numerics.by_type import suffix
from insitu.ops.numerics.quantization import keeps_quantization

if TYPE_CHECKING:
    from insitu.graph.rewriter import Rewriter


def channels_first(x: Array) -> Array:
    """x[batch, h, w, c] -> y[batch, c * h * w]."""
    return x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)


def channels_last(x: Array, shape: tuple[int, ...]) -> Array:
    """x[batch, c * h * w] -> y[batch, h, w, c]."""
    height, width, channels = shape
    return x.reshape(x.shape[0], channels, height, width).transpose(0, 2, 3, 1)


def _flatten_float(attributes: Attributes, inputs: Arrays) -> Arrays:
    x = inputs[0]
    return [channels_first(x) if x.ndim == 4 else x.reshape(x.shape[0], -1)]


def _unflatten_float(attributes: Attributes, inputs: Arrays) -> Arrays:
    return [channels_last(inputs[0], attributes["shape"])]


def _flatten_integer(node: Node, inputs: Values, outputs: Quantizations) -> Arrays:
    return [_flatten_float({}, [inputs[0].array[None]])[0][0]]


def _unflatten_integer(node: Node, inputs: Values, outputs: Quantizations) -> Arrays:
    return [channels_last(inputs[0].array[None], node.attributes["shape"])[0]]


def _infer_unflatten(attributes: Attributes, inputs: Tensors) -> Types:
    shape = tuple(attributes["shape"])
    if math.prod(shape) != inputs[0].size:
        raise ModelError(
            f"shape {list(shape)} has {math.prod(shape)} elements but its input "
            f"{inputs[0].size}; check the reshape"
        )
    return [TensorType(shape, inputs[0].dtype)]


def _flatten_vjp(builder: Builder, node: Node, dy: str, wanted: frozenset[str]) -> dict[str, str]:
    shape = builder.tensors[node["x"]].shape
    return {"x": builder.gradient(unflatten, node, (dy,), attributes={"shape": shape})}


def _unflatten_vjp(builder: Builder, node: Node, dy: str, wanted: frozenset[str]) -> dict[str, str]:
    return {"x": builder.gradient(flatten, node, (dy,))}


def _simplify_flatten(rewriter: Rewriter, node: Node) -> bool:
    """Disappear where order does not matter, or into the columns of the layer behind."""
    x = rewriter.tensor(node["x"])
    if len(x.shape) == 1:
        return rewriter.bypass(node)
    consumer = rewriter.sole_consumer(node)
    if consumer is None or "permute" not in consumer.op.absorb:
        return False
    order = np.argsort(channels_first(np.arange(x.size).reshape(1, *x.shape))[0])
    w = consumer.op.absorb["permute"](rewriter.data(consumer["w"]), order)
    rewriter.replace_data(consumer, "w", w, rewriter.tensor(consumer["w"]).qparams)
    return rewriter.bypass(node)


def _c_call(stem: str) -> Call:
    """Both directions walk the map [h, w, c]; which of x and y is the map differs."""

    def c_call(node: Node, graph: Graph) -> CCall:
        x, y = graph.operand(node, "x"), graph.tensors[node.outputs[0]]
        height, width, channels = (*(x if len(x.shape) == 3 else y).shape, 1, 1)[:3]
        return CCall(
            function=f"{stem}_{suffix(node, graph)}",
            params_type="insitu_layout_params_t",
            params={"height": height, "width": width, "channels": channels},
            arguments=pointers(node),
        )

    return c_call


flatten: OpDef = OpDef(
    name="flatten",
    infer=lambda attributes, inputs: [TensorType((inputs[0].size,), inputs[0].dtype)],
    float_reference=_flatten_float,
    integer_reference=_flatten_integer,
    vjp=_flatten_vjp,
    quantize=keeps_quantization,
    simplify=_simplify_flatten,
    c_call=_c_call("insitu_flatten"),
)
"""x[h, w, c] -> y[c * h * w], channels first. The gradient of unflatten."""

unflatten: OpDef = OpDef(
    name="unflatten",
    infer=_infer_unflatten,
    float_reference=_unflatten_float,
    integer_reference=_unflatten_integer,
    vjp=_unflatten_vjp,
    quantize=keeps_quantization,
    keeps_channels=lambda attributes: tuple(attributes["shape"][:2]) == (1, 1),
    c_call=_c_call("insitu_unflatten"),
)
"""x[c * h * w] -> y[h, w, c], reading channels first. Attribute shape = (h, w, c).

The gradient of flatten."""

identity = OpDef(
    name="identity",
    infer=same_type,
    float_reference=lambda attributes, inputs: [inputs[0]],
    simplify=lambda rewriter, node: rewriter.bypass(node),
)
"""y = x; simplified away."""
