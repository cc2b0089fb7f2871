"""Sum and difference of two activations, and the sum of two errors. Twin: add.c.

y = clamp(zero + ((a - zero_a) M_a +- (b - zero_b) M_b + 2^13) >> 14), M = round(2^14 scale /
scale_y): two scales meet on that of the output, which follows what it puts out where one of the
two moves. Where a tensor has several readers, their errors meet in `add_errors`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from insitu.errors import ConfigError, ModelError
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
from insitu.ops.activations.clip import bounds_of, clip_error
from insitu.ops.layers.rows import UNCLIPPED, quantize_rescaled, reached
from insitu.ops.numerics.by_type import by_type, exact, held

BITS = 14
"""Of a multiplier's fraction: both products are exact to 1/128 of a step."""

LARGEST_MULTIPLIER = 1 << 22
"""A ratio of 256, where a step of the input saturates 8 bits already; 2 x 255 x 2^22 < 2^31."""


def _infer(attributes: Mapping[str, Any], inputs: Sequence[Tensor]) -> list[TensorType]:
    a, b = inputs
    if a.shape != b.shape:
        raise ModelError(
            f"{a.name}{list(a.shape)} and {b.name}{list(b.shape)} differ in shape; both must agree"
        )
    output = TensorType(a.shape, a.dtype)
    return [output, TensorType((2,), "int32")] if attributes.get("observe") else [output]


def _sign(attributes: Mapping[str, Any]) -> int:
    return -1 if attributes.get("subtract") else 1


def _float(attributes: Mapping[str, Any], inputs: Sequence[Array]) -> list[Array]:
    return [np.clip(inputs[0] + _sign(attributes) * inputs[1], *bounds_of(attributes))]


def _exact_float(
    node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]
) -> list[Array]:
    a, b = inputs[0].array, inputs[1].array
    y = a - b if node.attributes.get("subtract") else a + b
    return [held(y, bounds_of(node.attributes))]


def meeting_multiplier(q: QParams, y_q: QParams) -> int:
    """From the scale of an input to that of the output, in units of 2^-14."""
    ratio = F32(q.scale) / F32(y_q.scale)
    return int(round_clamp(ratio * F32(2.0**BITS), 0, LARGEST_MULTIPLIER))


def _integer(node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]) -> list[Array]:
    y_q = outputs[0]
    assert y_q is not None
    total = np.zeros(inputs[0].array.shape, np.int64)
    for value, sign in zip(inputs, (1, _sign(node.attributes)), strict=True):
        q = value.qparams
        assert q is not None
        multiplier = meeting_multiplier(q, y_q)
        total += sign * (value.array.astype(np.int64) - q.zero_point) * multiplier
    v = (total + (1 << (BITS - 1))) >> BITS
    y = np.clip(v + y_q.zero_point, y_q.clamp_min, y_q.clamp_max).astype(np.int8)
    return [y, reached(v)][: len(node.outputs)]


def _vjp(builder: Builder, node: Node, dy: str, wanted: frozenset[str]) -> dict[str, str]:
    dy = clip_error(builder, node, dy)
    gradients = {"a": dy, "b": dy}
    if node.attributes.get("subtract") and "b" in wanted:
        (gradients["b"],) = builder.node(
            negate,
            (dy,),
            name=f"{node.name}.negate",
            qparams=(builder.tensors[dy].qparams,),
            layer=node.layer,
            phase=Phase.BACKWARD,
        )
    return gradients


def _c_call(node: Node, graph: Graph) -> CCall:
    a, b = node.inputs
    y = node.outputs[0]
    observed = f"${node.outputs[1]}" if len(node.outputs) > 1 else "0"
    return CCall(
        function="insitu_add_s8",
        params_type="insitu_add_params_t",
        params={"size": graph.tensors[y].size, "sign": _sign(node.attributes)},
        arguments=(f"?{a}", f"?{b}", f"?{y}", f"${a}", f"${b}", f"${y}", observed),
    )


def _float_c(node: Node, graph: Graph) -> CCall:
    low, high = bounds_of(node.attributes)
    return CCall(
        function="insitu_subtract_f32" if node.attributes.get("subtract") else "insitu_add_f32",
        params_type="insitu_clip_params_t",
        params={"size": graph.tensors[node.outputs[0]].size, "min": low, "max": high},
        arguments=tuple(f"${name}" for name in (*node.inputs, node.outputs[0])),
    )


add = OpDef(
    name="add",
    operands=("a", "b"),
    infer=_infer,
    float_reference=_float,
    integer_reference=exact(_integer, _exact_float),
    vjp=_vjp,
    quantize=lambda quantizer, node: quantize_rescaled(
        quantizer, node, {"subtract": _sign(node.attributes) < 0}
    ),
    absorb={"clip": lambda attributes, clip: {**attributes, "clip": clip}},
    c_call=by_type(_c_call, _float_c),
    in_place=((0, 0), (0, 1)),
)
"""y = a + b, or a - b with attribute subtract; attribute clip: an activation function's bounds."""


def _negate_c(node: Node, graph: Graph) -> CCall:
    floating = graph.tensors[node.inputs[0]].dtype == "float32"
    return CCall(
        function="insitu_negate_f32" if floating else "insitu_negate_s8",
        params_type="insitu_size_params_t",
        params={"size": graph.tensors[node.inputs[0]].size},
        arguments=(f"${node.inputs[0]}", f"${node.outputs[0]}"),
    )


negate = OpDef(
    name="negate",
    operands=("dy",),
    infer=lambda attributes, inputs: [TensorType(inputs[0].shape, inputs[0].dtype)],
    float_reference=lambda attributes, inputs: [-inputs[0]],
    integer_reference=lambda node, inputs, outputs: [-inputs[0].array],
    c_call=_negate_c,
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
    (total,) = builder.node(
        add_errors,
        (first, second),
        name=f"{x}.join_errors",
        outputs=(f"{x}.error",),
        attributes=attributes,
        qparams=(q,),
        layer=builder.nodes[-1].layer,
        phase=Phase.BACKWARD,
    )
    return total


def _integer_errors(
    node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]
) -> list[Array]:
    a, b = (value.array.astype(np.int64) for value in inputs)
    m_a, m_b = node.attributes["multipliers"]
    total = (a * m_a + b * m_b + (1 << (BITS - 1))) >> BITS
    return [np.clip(total, -127, 127).astype(np.int8)]


def _errors_c(node: Node, graph: Graph) -> CCall:
    size = graph.tensors[node.outputs[0]].size
    pointers = tuple(f"${name}" for name in (*node.inputs, node.outputs[0]))
    if "multipliers" not in node.attributes:
        low, high = UNCLIPPED
        params: dict[str, Any] = {"size": size, "min": float(low), "max": float(high)}
        return CCall("insitu_add_f32", "insitu_clip_params_t", params, pointers)
    first, second = node.attributes["multipliers"]
    params = {"size": size, "first": first, "second": second}
    return CCall("insitu_add_errors_s8", "insitu_add_errors_params_t", params, pointers)


add_errors = OpDef(
    name="add_errors",
    operands=("a", "b"),
    infer=_infer,
    float_reference=lambda attributes, inputs: [inputs[0] + inputs[1]],
    integer_reference=exact(_integer_errors, _exact_float),
    c_call=_errors_c,
    in_place=((0, 0), (0, 1)),
)
"""e = sat((a M_a + b M_b + 2^13) >> 14); attribute multipliers, 2^14 for the larger scale."""
