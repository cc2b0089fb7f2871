"""Leaky and parametric ReLU and their gradient. Twins: prelu.c, activation_f32.c.

y = x where x > 0, else slope x, with one slope or one a channel. In integers the slope is an int16
of 2^-14, m = round_clamp(x_scale / y_scale slope, -2^22, 2^22), and
y = clamp(zero + ((x - zero_x) m + 2^13) >> 14), slope 2^14 where x > 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from insitu.errors import ModelError
from insitu.fixed_point import F32, round_clamp
from insitu.graph.builder import Builder
from insitu.graph.model import (
    Array,
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
from insitu.ops.activations.tables import SLOPE_BITS, observed, times_slope
from insitu.ops.layers.rows import quantize_rescaled, reached
from insitu.ops.numerics.by_type import exact, is_float

LARGEST_MULTIPLIER = 1 << 22
"""A ratio of 256, where a step of the input saturates 8 bits already; 255 x 2^22 < 2^31."""

ONE = 1 << SLOPE_BITS


def _infer(attributes: Mapping[str, Any], inputs: Sequence[Tensor]) -> list[TensorType]:
    x, slope = inputs[0], inputs[-1]
    if slope.size not in (1, x.shape[-1]):
        raise ModelError(
            f"x{list(x.shape)} has {x.shape[-1]} channels but slope{list(slope.shape)} has "
            f"{slope.size} numbers; give it one for each channel, or one for all"
        )
    output = TensorType(x.shape, x.dtype)
    return [output, TensorType((2,), "int32")] if attributes.get("observe") else [output]


def _float(attributes: Mapping[str, Any], inputs: Sequence[Array]) -> list[Array]:
    x, slope = inputs
    return [np.where(x > 0, x, slope * x)]


def _float_grad(attributes: Mapping[str, Any], inputs: Sequence[Array]) -> list[Array]:
    dy, x, slope = inputs
    return [np.where(x > 0, dy, slope * dy)]


def _integer(node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]) -> list[Array]:
    x_q, y_q, slope = inputs[0].qparams, outputs[0], inputs[1].array
    assert x_q is not None and y_q is not None
    x = inputs[0].array.astype(np.int64) - x_q.zero_point
    ratio = F32(x_q.scale) / F32(y_q.scale)
    m = round_clamp(ratio * slope.astype(F32), -LARGEST_MULTIPLIER, LARGEST_MULTIPLIER)
    whole = round_clamp(ratio * F32(ONE), 0, LARGEST_MULTIPLIER)
    v = (x * np.where(x > 0, whole, m) + ONE // 2) >> SLOPE_BITS
    y = np.clip(v + y_q.zero_point, y_q.clamp_min, y_q.clamp_max).astype(np.int8)
    return [y, reached(v)][: len(node.outputs)]


def _integer_grad(
    node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]
) -> list[Array]:
    dy, x, slope = inputs
    assert x.qparams is not None
    above = x.array.astype(np.int64) > x.qparams.zero_point
    return [times_slope(dy.array, np.where(above, ONE, slope.array.astype(np.int64)))]


def _exact_float(
    node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]
) -> list[Array]:
    return _float(node.attributes, [value.array for value in inputs])


def _exact_float_grad(
    node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]
) -> list[Array]:
    return _float_grad(node.attributes, [value.array for value in inputs])


def _vjp(builder: Builder, node: Node, dy: str, wanted: frozenset[str]) -> dict[str, str]:
    (dx,) = builder.node(
        prelu_grad,
        (dy, *node.inputs),
        name=f"{node.name}.grad",
        outputs=(f"{node.name}.dx",),
        qparams=(builder.tensors[dy].qparams,),
        layer=node.layer,
        phase=Phase.BACKWARD,
    )
    return {"x": dx}


def _quantize(quantizer: Any, node: Node) -> None:
    """The slopes become int16.

    Raises:
        ModelError: a slope is 2 or more, or -2 or less.
    """
    slope = quantizer.data(node.inputs[1]).astype(F32)
    steepest = float(np.abs(slope).max())
    if not steepest < 2:
        raise ModelError(
            f'prelu "{node.name}": has a slope of {steepest:g}, only slopes below 2 are '
            'available; train it with smaller ones, or use the precision "float32"'
        )
    data = round_clamp(slope * F32(ONE), -32768, 32767).astype(np.int16)
    quantizer.set(node.inputs[1], quantizer.builder.constant(f"{node.name}.slope", data))
    quantize_rescaled(quantizer, node, {})


def _params(node: Node, graph: Graph) -> dict[str, int]:
    """Fields of insitu_prelu_params_t: with one slope for all, all elements are one channel."""
    size, channels = (graph.tensors[name].size for name in (node.outputs[0], node.inputs[-1]))
    return {"positions": size // channels, "channels": channels}


def _c_call(node: Node, graph: Graph) -> CCall:
    x, slope = node.inputs
    y = node.outputs[0]
    floating = is_float(node, graph)
    tensors = (f"${x}", f"${slope}", f"${y}")
    return CCall(
        function="insitu_prelu_f32" if floating else "insitu_prelu_s8",
        params_type="insitu_prelu_params_t",
        params=_params(node, graph),
        arguments=tensors if floating else (f"?{x}", f"?{y}", *tensors, observed(node)),
    )


def _grad_c(node: Node, graph: Graph) -> CCall:
    dy, x, slope = node.inputs
    floating = is_float(node, graph)
    tensors = (f"${dy}", f"${x}", f"${slope}", f"${node.outputs[0]}")
    return CCall(
        function="insitu_prelu_grad_f32" if floating else "insitu_prelu_grad_s8",
        params_type="insitu_prelu_params_t",
        params=_params(node, graph),
        arguments=tensors if floating else (f"?{x}", *tensors),
    )


prelu = OpDef(
    name="prelu",
    operands=("x", "slope"),
    infer=_infer,
    float_reference=_float,
    integer_reference=exact(_integer, _exact_float),
    vjp=_vjp,
    quantize=_quantize,
    c_call=_c_call,
    in_place=((0, 0),),
)
"""y = x where x > 0, else slope x. Inputs: x, slope[1] or slope[channels]."""

prelu_grad = OpDef(
    name="prelu_grad",
    operands=("dy", "x", "slope"),
    infer=_infer,
    float_reference=_float_grad,
    integer_reference=exact(_integer_grad, _exact_float_grad),
    c_call=_grad_c,
    in_place=((0, 0),),
)
"""dx = dy where x > 0, else slope dy. Inputs: dy, x, slope."""
