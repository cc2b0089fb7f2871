"""Product of two activations, element by element or by channel. Twin: multiply.c.

y[r, i] = clamp(zero + rescale((a[r, i] - zero_a) (b[i] - zero_b))), where b has as many elements
as a (one r) or one a channel (r: the places of the map, as squeeze-and-excitation has it). The
output's scale follows what the product puts out where that of a factor moves. An error keeps its
scale on the way to either factor.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from insitu.errors import ModelError
from insitu.fixed_point import F32, rescale, split_ratio
from insitu.graph.builder import Builder
from insitu.graph.model import Array, Bound, Call, CCall, Graph, Node, OpDef, TensorType, Value
from insitu.graph.rules import Arrays, Attributes, Quantizations, Tensors, Types, Values, of_shape
from insitu.ops.activations.clip import bounds_of, clip_error, with_clip
from insitu.ops.numerics.arguments import pointers, rescaled
from insitu.ops.numerics.by_type import bit_exact, by_type, clamped, is_float, suffix
from insitu.ops.numerics.outputs import error, put_out
from insitu.ops.numerics.quantization import centred, scale_of
from insitu.ops.numerics.ranges import observed_too, quantize_rescaled
from insitu.ops.numerics.sums import sum_of


def _infer(attributes: Attributes, inputs: Tensors) -> Types:
    a, b = inputs
    by_channel = ((a.shape[-1],), (1, 1, a.shape[-1])) if len(a.shape) == 3 else ()
    if b.shape != a.shape and b.shape not in by_channel:
        raise ModelError(
            f"{a.name}{list(a.shape)} cannot be multiplied by {b.name}{list(b.shape)}; the second "
            "factor has the first one's shape, or one element a channel of a map"
        )
    return observed_too(attributes, TensorType(a.shape, a.dtype))


def _aligned(a: Array, b: Array) -> Array:
    """b[batch, c] as b[batch, 1, 1, c] beside a map."""
    return b.reshape(b.shape[0], *[1] * (a.ndim - b.ndim), *b.shape[1:])


def _float(attributes: Attributes, inputs: Arrays) -> Arrays:
    a, b = inputs
    return [np.clip(a * _aligned(a, b), *bounds_of(attributes))]


def _exact_float(node: Node, inputs: Values, outputs: Quantizations) -> Arrays:
    return [clamped(inputs[0].array * inputs[1].array, bounds_of(node.attributes))]


def _integer(node: Node, inputs: Values, outputs: Quantizations) -> Arrays:
    (a, b), y_q = inputs, outputs[0]
    assert y_q is not None
    ratio = F32(scale_of(a) / F32(y_q.scale)) * scale_of(b)
    v = rescale(centred(a) * centred(b), *split_ratio(float(ratio)))
    return put_out(node, v, y_q)


def _vjp(builder: Builder, node: Node, dy: str, wanted: frozenset[str]) -> dict[str, str]:
    dy = clip_error(builder, node, dy)
    gradients = {}
    rules = (("a", "b", multiply_grad), ("b", "a", multiply_grad_factor))
    for index, (own, other, op) in enumerate(rules, start=1):
        if own not in wanted:
            continue
        gradients[own] = builder.gradient(
            op,
            node,
            (dy, node[other]),
            name=f"grad{index}",
            output=f"d{index}",
            attributes={"shape": builder.tensors[node[own]].shape},
        )
    return gradients


def _sizes(large: int, factor: int) -> dict[str, int]:
    """Fields of insitu_multiply_params_t."""
    return {"repeats": large // factor, "size": factor}


def _c_call(node: Node, graph: Graph) -> CCall:
    return CCall(
        function="insitu_multiply_s8",
        params_type="insitu_multiply_params_t",
        params=_sizes(graph.operand(node, "a").size, graph.operand(node, "b").size),
        arguments=rescaled(node),
    )


def _float_c(node: Node, graph: Graph) -> CCall:
    low, high = bounds_of(node.attributes)
    sizes = _sizes(graph.operand(node, "a").size, graph.operand(node, "b").size)
    return CCall(
        function="insitu_multiply_f32",
        params_type="insitu_multiply_f32_params_t",
        params={"sizes": sizes, "min": low, "max": high},
        arguments=pointers(node),
    )


multiply: OpDef = OpDef(
    name="multiply",
    operands=("a", "b"),
    infer=_infer,
    float_reference=_float,
    integer_reference=bit_exact(_integer, _exact_float),
    vjp=_vjp,
    quantize=lambda quantizer, node: quantize_rescaled(quantizer, node, {}),
    absorb={"clip": with_clip},
    c_call=by_type(_c_call, _float_c),
    in_place=((0, 0), (0, 1)),
)
"""y = a b; attribute clip: an activation function's bounds."""


def _error(total: Array, factor: Value) -> Array:
    """A sum of error times factor -> int8 on the error's own scale."""
    return error(rescale(total, *split_ratio(float(scale_of(factor)))))


def _integer_grad(node: Node, inputs: Values, outputs: Quantizations) -> Arrays:
    return [_error(inputs[0].array.astype(np.int64) * centred(inputs[1]), inputs[1])]


def _grad_c(function: str, small: Callable[[Node], str]) -> Call:
    """small: the name of the factor, of a node."""

    def c_call(node: Node, graph: Graph) -> CCall:
        quantization = () if is_float(node, graph) else (f"?{node['factor']}",)
        return CCall(
            function=f"{function}_{suffix(node, graph)}",
            params_type="insitu_multiply_params_t",
            params=_sizes(graph.operand(node, "dy").size, graph.tensors[small(node)].size),
            arguments=(*quantization, *pointers(node)),
        )

    return c_call


multiply_grad: OpDef = OpDef(
    name="multiply_grad",
    operands=("dy", "factor"),
    infer=of_shape,
    float_reference=lambda attributes, inputs: [inputs[0] * _aligned(inputs[0], inputs[1])],
    integer_reference=bit_exact(
        _integer_grad, lambda node, inputs, outputs: [inputs[0].array * inputs[1].array]
    ),
    c_call=_grad_c("insitu_multiply_grad", lambda node: node["factor"]),
    in_place=((0, 0),),
)
"""da = dy b. Inputs: dy, b. Attribute shape: that of a."""


def _float_grad_factor(attributes: Attributes, inputs: Arrays) -> Arrays:
    dy, a = inputs
    shape = tuple(attributes["shape"])
    products = (dy * a).reshape(len(dy), -1, int(np.prod(shape)))
    return [products.sum(axis=1).reshape(len(dy), *shape)]


def _integer_grad_factor(node: Node, inputs: Values, outputs: Quantizations) -> Arrays:
    shape = tuple(node.attributes["shape"])
    products = inputs[0].array.astype(np.int64) * centred(inputs[1])
    total = products.reshape(-1, int(np.prod(shape))).sum(axis=0)
    return [_error(total, inputs[1]).reshape(shape)]


def _exact_float_grad_factor(node: Node, inputs: Values, outputs: Quantizations) -> Arrays:
    """0 + the products in the order of the places."""
    shape = tuple(node.attributes["shape"])
    products = inputs[0].array * inputs[1].array
    return [sum_of(products.reshape(-1, int(np.prod(shape)))).reshape(shape)]


def _factor_bounds(node: Node, graph: Graph) -> list[Bound]:
    """|sum of e (a - zero)|."""
    if is_float(node, graph):
        return []
    places = graph.operand(node, "dy").size // graph.tensors[node.outputs[0]].size
    return [Bound(f"{node.name}: error over {places} places", 127 * 255 * places)]


multiply_grad_factor: OpDef = OpDef(
    name="multiply_grad_factor",
    operands=("dy", "factor"),
    infer=of_shape,
    float_reference=_float_grad_factor,
    integer_reference=bit_exact(_integer_grad_factor, _exact_float_grad_factor),
    bounds=_factor_bounds,
    c_call=_grad_c("insitu_multiply_grad_factor", lambda node: node.outputs[0]),
    in_place=((0, 0),),
)
"""db[i] = sum over r of dy[r, i] a[r, i]. Inputs: dy, a. Attribute shape: that of b."""
