"""Enlarging a map by repeating its elements, and the gradient. Twin: resize.c.

y[oy, ox, c] = x[oy // factor, ox // factor, c]; the output keeps the input's quantization, the
error its scale.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from insitu.errors import ModelError
from insitu.graph.builder import Builder
from insitu.graph.model import Array, Bound, Call, CCall, Graph, Node, OpDef, TensorType
from insitu.graph.rules import Arrays, Attributes, Quantizations, Tensors, Types, Values
from insitu.ops.numerics.arguments import pointers
from insitu.ops.numerics.by_type import bit_exact, is_float, suffix
from insitu.ops.numerics.outputs import error
from insitu.ops.numerics.quantization import keeps_quantization
from insitu.ops.numerics.sums import sum_of


def _infer(attributes: Attributes, inputs: Tensors) -> Types:
    x, (high, wide) = inputs[0], attributes["factor"]
    if len(x.shape) != 3:
        raise ModelError(f"x{list(x.shape)} is not a feature map; resize before the flatten")
    return [TensorType((x.shape[0] * high, x.shape[1] * wide, x.shape[2]), x.dtype)]


def _infer_grad(attributes: Attributes, inputs: Tensors) -> Types:
    (height, width, channels), (high, wide) = inputs[0].shape, attributes["factor"]
    return [TensorType((height // high, width // wide, channels), inputs[0].dtype)]


def _repeated(x: Array, factor: tuple[int, int]) -> Array:
    """x[..., h, w, c] -> y[..., h factor, w factor, c]."""
    return x.repeat(factor[0], axis=-3).repeat(factor[1], axis=-2)


def _blocks(dy: Array, factor: tuple[int, int]) -> Array:
    """dy[..., h factor, w factor, c] -> [..., h, w, c, places of the block in row order]."""
    *batch, height, width, channels = dy.shape
    high, wide = factor
    parts = dy.reshape(*batch, height // high, high, width // wide, wide, channels)
    parts = np.moveaxis(parts, (-4, -2), (-2, -1))
    return parts.reshape(*parts.shape[:-2], -1)


def _integer_grad(node: Node, inputs: Values, outputs: Quantizations) -> Arrays:
    total = _blocks(inputs[0].array.astype(np.int64), node.attributes["factor"]).sum(axis=-1)
    return [error(total)]


def _exact_float_grad(node: Node, inputs: Values, outputs: Quantizations) -> Arrays:
    return [sum_of(np.moveaxis(_blocks(inputs[0].array, node.attributes["factor"]), -1, 0))]


def _vjp(builder: Builder, node: Node, dy: str, wanted: frozenset[str]) -> dict[str, str]:
    return {"x": builder.gradient(resize_grad, node, (dy,), attributes=node.attributes)}


def _c_call(function: str, small: Callable[[Node], str]) -> Call:
    """small: the smaller map's name, of a node."""

    def c_call(node: Node, graph: Graph) -> CCall:
        height, width, channels = graph.tensors[small(node)].shape
        high, wide = node.attributes["factor"]
        size = {"height": height, "width": width, "channels": channels}
        return CCall(
            function=f"{function}_{suffix(node, graph)}",
            params_type="insitu_resize_params_t",
            params={**size, "factor_height": high, "factor_width": wide},
            arguments=pointers(node),
        )

    return c_call


def _grad_bounds(node: Node, graph: Graph) -> list[Bound]:
    """|sum of the block's errors|."""
    if is_float(node, graph):
        return []
    high, wide = node.attributes["factor"]
    return [Bound(f"{node.name}: sum of {high * wide} errors", 127 * high * wide)]


resize = OpDef(
    name="resize",
    infer=_infer,
    float_reference=lambda attributes, inputs: [_repeated(inputs[0], attributes["factor"])],
    integer_reference=lambda node, inputs, outputs: [
        _repeated(inputs[0].array, node.attributes["factor"])
    ],
    vjp=_vjp,
    quantize=keeps_quantization,
    c_call=_c_call("insitu_resize", lambda node: node["x"]),
)
"""Attribute factor: (height, width), whole numbers."""

resize_grad = OpDef(
    name="resize_grad",
    operands=("dy",),
    infer=_infer_grad,
    float_reference=lambda attributes, inputs: [
        _blocks(inputs[0], attributes["factor"]).sum(axis=-1)
    ],
    integer_reference=bit_exact(_integer_grad, _exact_float_grad),
    bounds=_grad_bounds,
    c_call=_c_call("insitu_resize_grad", lambda node: node.outputs[0]),
)
"""dx = the saturated sum of the errors of a block. Attribute factor."""
