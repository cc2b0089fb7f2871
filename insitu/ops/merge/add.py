"""Sum and difference of two activations, and the sum of two errors. Twin: add.c.

y = clamp(zero + ((a - zero_a) M_a +- (b - zero_b) M_b + 2^13) >> 14), M = round(2^14 scale /
scale_y): two scales meet on that of the output, which follows what it puts out where one of the
two moves. Where a tensor has several readers, their errors meet in `add_errors`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from insitu.errors import ConfigError, ModelError
from insitu.fixed_point import F32, round_clamp
from insitu.graph.builder import Builder
from insitu.graph.model import Array, CCall, Graph, Node, OpDef, Phase, QParams, Value
from insitu.graph.rules import Arrays, Attributes, Quantizations, Tensors, Types, Values, same_type
from insitu.ops.activations.clip import bounds_of, clip_error, with_clip
from insitu.ops.numerics.arguments import pointers, rescaled, size_call
from insitu.ops.numerics.by_type import bit_exact, by_type, clamped
from insitu.ops.numerics.outputs import error, put_out
from insitu.ops.numerics.quantization import centred, scale_of
from insitu.ops.numerics.ranges import UNCLIPPED, observed_too, quantize_rescaled

BITS = 14
"""Of a multiplier's fraction: both products are exact to 1/128 of a step."""

LARGEST_MULTIPLIER = 1 << 22
"""A ratio of 256, where a step of the input saturates 8 bits already; 2 x 255 x 2^22 < 2^31."""


def _infer(attributes: Attributes, inputs: Tensors) -> Types:
    a, b = inputs
    if a.shape != b.shape:
        raise ModelError(
            f"{a.name}{list(a.shape)} and {b.name}{list(b.shape)} differ in shape; both must agree"
        )
    return observed_too(attributes, *same_type(attributes, inputs))


def _sign(attributes: Attributes) -> int:
    return -1 if attributes.get("subtract") else 1


def _float(attributes: Attributes, inputs: Arrays) -> Arrays:
    y = inputs[0] + _sign(attributes) * inputs[1]
    return [np.clip(y, *attributes.get("clip", UNCLIPPED))]


def _exact_float(node: Node, inputs: Values, outputs: Quantizations) -> Arrays:
    a, b = inputs[0].array, inputs[1].array
    y = a - b if node.attributes.get("subtract") else a + b
    return [clamped(y, bounds_of(node.attributes))]


def brought(value: Value, y_q: QParams | None) -> Array:
    """A value in steps of the output's scale, times 2^14."""
    assert y_q is not None
    ratio = scale_of(value) / F32(y_q.scale)
    return centred(value) * int(round_clamp(ratio * F32(2.0**BITS), 0, LARGEST_MULTIPLIER))


def rounded(total: Array) -> Array:
    """What was times 2^14, halves up."""
    return (total + (1 << (BITS - 1))) >> BITS


def _integer(node: Node, inputs: Values, outputs: Quantizations) -> Arrays:
    a, b = (brought(value, outputs[0]) for value in inputs)
    return put_out(node, rounded(a + _sign(node.attributes) * b), outputs[0])


def _vjp(builder: Builder, node: Node, dy: str, wanted: frozenset[str]) -> dict[str, str]:
    dy = clip_error(builder, node, dy)
    gradients = {"a": dy, "b": dy}
    if node.attributes.get("subtract") and "b" in wanted:
        gradients["b"] = builder.gradient(negate, node, (dy,), name="negate", output="negate.y")
    return gradients


def _c_call(node: Node, graph: Graph) -> CCall:
    return CCall(
        function="insitu_add_s8",
        params_type="insitu_add_params_t",
        params={"size": graph.operand(node, "a").size, "sign": _sign(node.attributes)},
        arguments=rescaled(node),
    )


def _float_c(node: Node, graph: Graph) -> CCall:
    low, high = bounds_of(node.attributes)
    return CCall(
        function="insitu_subtract_f32" if node.attributes.get("subtract") else "insitu_add_f32",
        params_type="insitu_clip_params_t",
        params={"size": graph.operand(node, "a").size, "min": low, "max": high},
        arguments=pointers(node),
    )


add = OpDef(
    name="add",
    operands=("a", "b"),
    infer=_infer,
    float_reference=_float,
    integer_reference=bit_exact(_integer, _exact_float),
    vjp=_vjp,
    quantize=lambda quantizer, node: quantize_rescaled(
        quantizer, node, {"subtract": _sign(node.attributes) < 0}
    ),
    absorb={"clip": with_clip},
    scales=True,
    c_call=by_type(_c_call, _float_c),
    in_place=((0, 0), (0, 1)),
)
"""y = a + b, or a - b with attribute subtract; attribute clip: an activation function's bounds."""


negate = OpDef(
    name="negate",
    operands=("dy",),
    infer=same_type,
    float_reference=lambda attributes, inputs: [-inputs[0]],
    integer_reference=lambda node, inputs, outputs: [-inputs[0].array],
    c_call=by_type(size_call("insitu_negate_s8"), size_call("insitu_negate_f32")),
    in_place=((0, 0),),
)
"""dx = -dy: the error of what was subtracted; int8 errors lie in [-127, 127]."""


def emit_sum_of_errors(builder: Builder, x: str, first: str, second: str) -> str:
    """The error of a tensor `x` that two nodes read; its scale is the larger one of the two.

    Raises:
        ConfigError: one of the errors has a range that moves.
    """
    attributes: dict[str, Any] = {}
    q = builder.tensors[first].qparams
    other = builder.tensors[second].qparams
    if q is not None and other is not None:
        if q.range is not None or other.range is not None:
            raise ConfigError(
                f'"{x}" is read by several nodes; errors with a range that moves cannot meet; '
                "use the error range fixed"
            )
        scales = (F32(q.scale), F32(other.scale))
        q = q if scales[0] >= scales[1] else other
        attributes["multipliers"] = tuple(
            int(round_clamp(scale / F32(q.scale) * F32(2.0**BITS), 0, 1 << BITS))
            for scale in scales
        )
    maker = builder.producer(x)
    assert maker is not None, x
    (total,) = builder.node(
        add_errors,
        (first, second),
        name=f"{x}.join_errors",
        outputs=(f"{x}.error",),
        attributes=attributes,
        qparams=(q,),
        layer=maker.layer,
        phase=Phase.BACKWARD,
    )
    return total


def _integer_errors(node: Node, inputs: Values, outputs: Quantizations) -> Arrays:
    a, b = (value.array.astype(np.int64) for value in inputs)
    m_a, m_b = node.attributes["multipliers"]
    return [error(rounded(a * m_a + b * m_b))]


def _errors_c(node: Node, graph: Graph) -> CCall:
    first, second = node.attributes["multipliers"]
    return CCall(
        function="insitu_add_errors_s8",
        params_type="insitu_add_errors_params_t",
        params={"size": graph.operand(node, "a").size, "first": first, "second": second},
        arguments=pointers(node),
    )


add_errors = OpDef(
    name="add_errors",
    operands=("a", "b"),
    infer=_infer,
    float_reference=lambda attributes, inputs: [inputs[0] + inputs[1]],
    integer_reference=bit_exact(_integer_errors, _exact_float),
    c_call=by_type(_errors_c, _float_c),
    in_place=((0, 0), (0, 1)),
)
"""e = sat((a M_a + b M_b + 2^13) >> 14); attribute multipliers, 2^14 for the larger scale."""
