"""Leaky and parametric ReLU and their gradient. Twins: prelu.c, activation_f32.c.

y = x where x > 0, else slope x, with one slope or one a channel. In integers the slope is an int16
of 2^-14, m = round_clamp(x_scale / y_scale slope, -2^22, 2^22), and
y = clamp(zero + ((x - zero_x) m + 2^13) >> 14), slope 2^14 where x > 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from insitu.errors import ModelError
from insitu.fixed_point import F32, round_clamp
from insitu.graph.builder import Builder
from insitu.graph.model import CCall, Graph, Node, OpDef
from insitu.graph.rules import Arrays, Attributes, Quantizations, Tensors, Types, Values, same_type
from insitu.ops.activations.tables import SLOPE_BITS, times_slope
from insitu.ops.numerics.arguments import observed, pointers
from insitu.ops.numerics.by_type import bit_exact, is_float, suffix
from insitu.ops.numerics.outputs import put_out
from insitu.ops.numerics.quantization import centred, scale_of
from insitu.ops.numerics.ranges import observed_too, quantize_rescaled

if TYPE_CHECKING:
    from insitu.quantize.assign import Quantizer

LARGEST_MULTIPLIER = 1 << 22
"""A ratio of 256, where a step of the input saturates 8 bits already; 255 x 2^22 < 2^31."""

ONE = 1 << SLOPE_BITS


def _infer(attributes: Attributes, inputs: Tensors) -> Types:
    x, slope = inputs[0], inputs[-1]
    if slope.size not in (1, x.shape[-1]):
        raise ModelError(
            f"x{list(x.shape)} has {x.shape[-1]} channels but slope{list(slope.shape)} has "
            f"{slope.size} numbers; give it one for each channel, or one for all"
        )
    return observed_too(attributes, *same_type(attributes, inputs))


def _float(attributes: Attributes, inputs: Arrays) -> Arrays:
    x, slope = inputs
    return [np.where(x > 0, x, slope * x)]


def _float_grad(attributes: Attributes, inputs: Arrays) -> Arrays:
    dy, x, slope = inputs
    return [np.where(x > 0, dy, slope * dy)]


def _integer(node: Node, inputs: Values, outputs: Quantizations) -> Arrays:
    (x_value, slope), y_q = inputs, outputs[0]
    assert y_q is not None
    x, ratio = centred(x_value), scale_of(x_value) / F32(y_q.scale)
    m = round_clamp(ratio * slope.array.astype(F32), -LARGEST_MULTIPLIER, LARGEST_MULTIPLIER)
    whole = round_clamp(ratio * F32(ONE), 0, LARGEST_MULTIPLIER)
    v = (x * np.where(x > 0, whole, m) + ONE // 2) >> SLOPE_BITS
    return put_out(node, v, y_q)


def _integer_grad(node: Node, inputs: Values, outputs: Quantizations) -> Arrays:
    dy, x, slope = inputs
    slopes = np.where(centred(x) > 0, ONE, slope.array.astype(np.int64))
    return [times_slope(dy.array, slopes)]


def _exact_float(node: Node, inputs: Values, outputs: Quantizations) -> Arrays:
    return _float(node.attributes, [value.array for value in inputs])


def _exact_float_grad(node: Node, inputs: Values, outputs: Quantizations) -> Arrays:
    return _float_grad(node.attributes, [value.array for value in inputs])


def _vjp(builder: Builder, node: Node, dy: str, wanted: frozenset[str]) -> dict[str, str]:
    return {"x": builder.gradient(prelu_grad, node, (dy, *node.inputs))}


def _quantize(quantizer: Quantizer, node: Node) -> None:
    """The slopes become int16.

    Raises:
        ModelError: a slope is 2 or more, or -2 or less.
    """
    slope = quantizer.data(node["slope"]).astype(F32)
    steepest = float(np.abs(slope).max())
    if not steepest < 2:
        raise ModelError(
            f'prelu "{node.name}": has a slope of {steepest:g}, only slopes below 2 are '
            'available; train it with smaller ones, or use the precision "float32"'
        )
    data = round_clamp(slope * F32(ONE), -32768, 32767).astype(np.int16)
    quantizer.set(node["slope"], quantizer.builder.constant(f"{node.name}.slope", data))
    quantize_rescaled(quantizer, node, {})


def _params(node: Node, graph: Graph) -> dict[str, int]:
    """Fields of insitu_prelu_params_t: with one slope for all, all elements are one channel."""
    size, channels = graph.tensors[node.outputs[0]].size, graph.operand(node, "slope").size
    return {"positions": size // channels, "channels": channels}


def _c_call(node: Node, graph: Graph) -> CCall:
    quantizations = (f"?{node['x']}", f"?{node.outputs[0]}")
    whole = (*quantizations, *pointers(node), observed(node))
    return CCall(
        function=f"insitu_prelu_{suffix(node, graph)}",
        params_type="insitu_prelu_params_t",
        params=_params(node, graph),
        arguments=pointers(node) if is_float(node, graph) else whole,
    )


def _grad_c(node: Node, graph: Graph) -> CCall:
    quantization = () if is_float(node, graph) else (f"?{node['x']}",)
    return CCall(
        function=f"insitu_prelu_grad_{suffix(node, graph)}",
        params_type="insitu_prelu_params_t",
        params=_params(node, graph),
        arguments=(*quantization, *pointers(node)),
    )


prelu = OpDef(
    name="prelu",
    operands=("x", "slope"),
    infer=_infer,
    float_reference=_float,
    integer_reference=bit_exact(_integer, _exact_float),
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
    integer_reference=bit_exact(_integer_grad, _exact_float_grad),
    c_call=_grad_c,
    in_place=((0, 0),),
)
"""dx = dy where x > 0, else slope dy. Inputs: dy, x, slope."""
