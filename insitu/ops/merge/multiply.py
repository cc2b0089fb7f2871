"""Product of two activations, element by element or by channel. Twin: multiply.c.

y[r, i] = clamp(zero + rescale((a[r, i] - zero_a) (b[i] - zero_b))), where b has as many elements
as a (one r) or one a channel (r: the places of the map, as squeeze-and-excitation has it). The
output's scale follows what the product puts out where that of a factor moves. An error keeps its
scale on the way to either factor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from insitu.errors import ModelError
from insitu.fixed_point import F32, rescale, split_ratio
from insitu.graph.builder import Builder
from insitu.graph.model import (
    Array,
    Bound,
    CCall,
    Graph,
    Node,
    OpDef,
    Phase,
    QParams,
    Tensor,
    TensorType,
    Value,
)
from insitu.ops.activations.clip import bounds_of, clip_error
from insitu.ops.layers.rows import quantize_rescaled, reached
from insitu.ops.numerics.by_type import by_type, exact, held, is_float, suffix
from insitu.ops.numerics.sums import sum_of


def _infer(attributes: Mapping[str, Any], inputs: Sequence[Tensor]) -> list[TensorType]:
    a, b = inputs
    by_channel = ((a.shape[-1],), (1, 1, a.shape[-1])) if len(a.shape) == 3 else ()
    if b.shape != a.shape and b.shape not in by_channel:
        raise ModelError(
            f"{a.name}{list(a.shape)} cannot be multiplied by {b.name}{list(b.shape)}; the second "
            "factor has the first one's shape, or one element a channel of a map"
        )
    output = TensorType(a.shape, a.dtype)
    return [output, TensorType((2,), "int32")] if attributes.get("observe") else [output]


def _aligned(a: Array, b: Array) -> Array:
    """b[batch, c] as b[batch, 1, 1, c] beside a map."""
    return b.reshape(b.shape[0], *[1] * (a.ndim - b.ndim), *b.shape[1:])


def _float(attributes: Mapping[str, Any], inputs: Sequence[Array]) -> list[Array]:
    a, b = inputs
    return [np.clip(a * _aligned(a, b), *bounds_of(attributes))]


def _exact_float(
    node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]
) -> list[Array]:
    return [held(inputs[0].array * inputs[1].array, bounds_of(node.attributes))]


def _centred(value: Value) -> Array:
    assert value.qparams is not None
    return value.array.astype(np.int64) - value.qparams.zero_point


def _integer(node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]) -> list[Array]:
    a_q, b_q, y_q = inputs[0].qparams, inputs[1].qparams, outputs[0]
    assert a_q is not None and b_q is not None and y_q is not None
    ratio = F32(F32(a_q.scale) / F32(y_q.scale)) * F32(b_q.scale)
    v = rescale(_centred(inputs[0]) * _centred(inputs[1]), *split_ratio(float(ratio)))
    y = np.clip(v + y_q.zero_point, y_q.clamp_min, y_q.clamp_max).astype(np.int8)
    return [y, reached(v)][: len(node.outputs)]


def _vjp(builder: Builder, node: Node, dy: str, wanted: frozenset[str]) -> dict[str, str]:
    dy = clip_error(builder, node, dy)
    gradients = {}
    rules = (("a", "b", multiply_grad), ("b", "a", multiply_grad_factor))
    for index, (own, other, op) in enumerate(rules, start=1):
        if own not in wanted:
            continue
        (gradients[own],) = builder.node(
            op,
            (dy, node[other]),
            name=f"{node.name}.grad{index}",
            outputs=(f"{node.name}.d{index}",),
            attributes={"shape": builder.tensors[node[own]].shape},
            qparams=(builder.tensors[dy].qparams,),
            layer=node.layer,
            phase=Phase.BACKWARD,
        )
    return gradients


def _sizes(large: Tensor, factor: Tensor) -> dict[str, int]:
    """Fields of insitu_multiply_params_t."""
    return {"repeats": large.size // factor.size, "size": factor.size}


def _c_call(node: Node, graph: Graph) -> CCall:
    a, b = node.inputs
    y = node.outputs[0]
    observed = f"${node.outputs[1]}" if len(node.outputs) > 1 else "0"
    return CCall(
        function="insitu_multiply_s8",
        params_type="insitu_multiply_params_t",
        params=_sizes(graph.tensors[a], graph.tensors[b]),
        arguments=(f"?{a}", f"?{b}", f"?{y}", f"${a}", f"${b}", f"${y}", observed),
    )


def _float_c(node: Node, graph: Graph) -> CCall:
    a, b = node.inputs
    low, high = bounds_of(node.attributes)
    sizes = _sizes(graph.tensors[a], graph.tensors[b])
    return CCall(
        function="insitu_multiply_f32",
        params_type="insitu_multiply_f32_params_t",
        params={"sizes": sizes, "min": low, "max": high},
        arguments=(f"${a}", f"${b}", f"${node.outputs[0]}"),
    )


multiply: OpDef = OpDef(
    name="multiply",
    operands=("a", "b"),
    infer=_infer,
    float_reference=_float,
    integer_reference=exact(_integer, _exact_float),
    vjp=_vjp,
    quantize=lambda quantizer, node: quantize_rescaled(quantizer, node, {}),
    absorb={"clip": lambda attributes, clip: {**attributes, "clip": clip}},
    c_call=by_type(_c_call, _float_c),
    in_place=((0, 0), (0, 1)),
)
"""y = a b; attribute clip: an activation function's bounds."""


def _infer_grad(attributes: Mapping[str, Any], inputs: Sequence[Tensor]) -> list[TensorType]:
    return [TensorType(tuple(attributes["shape"]), inputs[0].dtype)]


def _error(total: Array, factor: Value) -> Array:
    """A sum of error times factor -> int8 on the error's own scale."""
    assert factor.qparams is not None
    v = rescale(total, *split_ratio(float(F32(factor.qparams.scale))))
    return np.clip(v, -127, 127).astype(np.int8)


def _integer_grad(
    node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]
) -> list[Array]:
    return [_error(inputs[0].array.astype(np.int64) * _centred(inputs[1]), inputs[1])]


def _grad_c(node: Node, graph: Graph) -> CCall:
    dy, b = node.inputs
    quantization = () if is_float(node, graph) else (f"?{b}",)
    return CCall(
        function=f"insitu_multiply_grad_{suffix(node, graph)}",
        params_type="insitu_multiply_params_t",
        params=_sizes(graph.tensors[dy], graph.tensors[b]),
        arguments=(*quantization, f"${dy}", f"${b}", f"${node.outputs[0]}"),
    )


multiply_grad: OpDef = OpDef(
    name="multiply_grad",
    operands=("dy", "factor"),
    infer=_infer_grad,
    float_reference=lambda attributes, inputs: [inputs[0] * _aligned(inputs[0], inputs[1])],
    integer_reference=exact(
        _integer_grad, lambda node, inputs, outputs: [inputs[0].array * inputs[1].array]
    ),
    c_call=_grad_c,
    in_place=((0, 0),),
)
"""da = dy b. Inputs: dy, b. Attribute shape: that of a."""


def _float_grad_factor(attributes: Mapping[str, Any], inputs: Sequence[Array]) -> list[Array]:
    dy, a = inputs
    shape = tuple(attributes["shape"])
    products = (dy * a).reshape(len(dy), -1, int(np.prod(shape)))
    return [products.sum(axis=1).reshape(len(dy), *shape)]


def _integer_grad_factor(
    node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]
) -> list[Array]:
    shape = tuple(node.attributes["shape"])
    products = inputs[0].array.astype(np.int64) * _centred(inputs[1])
    total = products.reshape(-1, int(np.prod(shape))).sum(axis=0)
    return [_error(total, inputs[1]).reshape(shape)]


def _exact_float_grad_factor(
    node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]
) -> list[Array]:
    """0 + the products in the order of the places."""
    shape = tuple(node.attributes["shape"])
    products = inputs[0].array * inputs[1].array
    return [sum_of(products.reshape(-1, int(np.prod(shape)))).reshape(shape)]


def _factor_bounds(node: Node, graph: Graph) -> list[Bound]:
    """|sum of e (a - zero)|."""
    if is_float(node, graph):
        return []
    places = graph.tensors[node.inputs[0]].size // graph.tensors[node.outputs[0]].size
    return [Bound(f"{node.name}: error over {places} places", 127 * 255 * places)]


def _grad_factor_c(node: Node, graph: Graph) -> CCall:
    dy, a = node.inputs
    db = node.outputs[0]
    quantization = () if is_float(node, graph) else (f"?{a}",)
    return CCall(
        function=f"insitu_multiply_grad_factor_{suffix(node, graph)}",
        params_type="insitu_multiply_params_t",
        params=_sizes(graph.tensors[dy], graph.tensors[db]),
        arguments=(*quantization, f"${dy}", f"${a}", f"${db}"),
    )


multiply_grad_factor: OpDef = OpDef(
    name="multiply_grad_factor",
    operands=("dy", "factor"),
    infer=_infer_grad,
    float_reference=_float_grad_factor,
    integer_reference=exact(_integer_grad_factor, _exact_float_grad_factor),
    bounds=_factor_bounds,
    c_call=_grad_factor_c,
    in_place=((0, 0),),
)
"""db[i] = sum over r of dy[r, i] a[r, i]. Inputs: dy, a. Attribute shape: that of b."""
