"""What convolution and linear layers share: rows, their scales, and the range of the output.

A row is all weights that make one output channel. Twin: rows.c.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from insitu.errors import ModelError
from insitu.fixed_point import (
    BIAS_SCALE,
    BIAS_STEP_LIMIT,
    F32,
    accumulator_bias,
    affine_qparams,
    range_qparams,
    rescale,
    round_clamp,
    split_ratio,
    split_ratios,
)
from insitu.fixed_point import (
    follow_range as follow,
)
from insitu.graph.builder import Builder
from insitu.graph.model import (
    Array,
    Bound,
    CCall,
    Graph,
    Kind,
    Node,
    OpDef,
    Phase,
    QParams,
    Role,
    Tensor,
    TensorType,
    Value,
)

FRESH_RANGE = 4.0
"""A layer whose weights are all zero gets the range 4 / sqrt(fan in). Source: numerics."""

SMALLEST_ROW = 2.0**-8
"""Smallest scale of a row, relative to the layer's largest."""

UNCLIPPED = (-np.inf, np.inf)


def quantize_weights(w: Array, known: QParams | None = None) -> tuple[Array, Array]:
    """w[out, ...] float -> (int8 of the same shape, scale[out]): symmetric, max|row| = 127.

    A `known` scale[out] takes the place of max|row| / 127. A row of zeros gets the layer's median
    scale. No scale is below `SMALLEST_ROW` of the largest: beside the other rows nobody sees more,
    and the row's bias and error stay representable (a folded batch norm with gamma near 0 makes
    such rows).
    """
    rows = np.abs(w.reshape(w.shape[0], -1)).astype(F32)
    largest = rows.max(axis=1)
    alive = largest[largest > 0]
    spare = np.median(alive) if alive.size else FRESH_RANGE / np.sqrt(rows.shape[1])
    own = largest / F32(127.0) if known is None else known.scale
    scale = np.where(largest > 0, own, F32(spare) / F32(127.0)).astype(F32)
    scale = np.maximum(scale, max(scale.max() * F32(SMALLEST_ROW), F32(1e-20)))
    q = round_clamp(w.astype(F32) / scale.reshape(-1, *[1] * (w.ndim - 1)), -127, 127)
    return q.astype(np.int8), scale


@dataclass(frozen=True)
class QuantizedRows:
    """A layer's weights and biases in the integer graph, by tensor name."""

    w: str
    bias: str  # int32, units of 2^-20
    scale: str  # float32[out]
    scale_data: Array


def quantize_rows(quantizer: Any, node: Node) -> QuantizedRows:
    """Add weights, biases (units of 2^-20) and row scales of a layer to the integer graph.

    Raises:
        ModelError: a bias is larger than what these units hold.
    """
    builder: Builder = quantizer.builder
    kind = Kind.STATE if quantizer.is_trained(node) else Kind.CONSTANT
    w = node.inputs[1]
    q, scale = quantize_weights(quantizer.data(w), quantizer.known(w))
    real = quantizer.data(node.inputs[2]).astype(F32)
    largest, limit = float(np.abs(real).max()), 2**30 * float(BIAS_SCALE)
    if largest > limit:
        raise ModelError(
            f'{node.op.name} "{node.name}": a bias of {largest:g} is beyond the {limit:g} that a '
            "trained layer, and those behind it, can hold; scale the samples down, and the first "
            "layer's weights up"
        )
    bias = round_clamp(real / BIAS_SCALE, -(2**30), 2**30)
    layer: dict[str, Any] = {"layer": node.name, "kind": kind}
    return QuantizedRows(
        w=builder.state("w", q, Role.WEIGHT, qparams=QParams(scale=scale), **layer),
        bias=builder.state("bias", bias.astype(np.int32), Role.BIAS, **layer),
        scale=builder.constant(f"{node.name}.row_scale", scale),
        scale_data=scale,
    )


def quantize_layer(quantizer: Any, node: Node, op: OpDef, attributes: Mapping[str, Any]) -> None:
    """Emit the integer form of a layer: [row_parameters,] the layer itself [, follow_range].

    Where all scales are fixed the row parameters are constants; else they are computed by a node
    at every step. A trained layer's output range follows what the layer puts out.
    """
    builder: Builder = quantizer.builder
    x, trained = quantizer.quantized(node.inputs[0]), quantizer.is_trained(node)
    y_q = activation_qparams(
        quantizer, node, node.attributes.get("clip", UNCLIPPED), followed=trained
    )
    x_q = builder.tensors[x].qparams
    assert x_q is not None
    moving = trained or x_q.range is not None
    layer_inputs = (_moving_inputs if moving else _fixed_inputs)(quantizer, node, x, y_q)
    y = builder.node(
        op,
        layer_inputs,
        name=node.name,
        outputs=(f"{node.name}.y", f"{node.name}.observed"),
        attributes={**attributes, "observe": trained},
        qparams=(y_q, y_q),
        layer=node.name,
    )
    quantizer.set(node.outputs[0], y[0])
    if trained:
        emit_follow_range(builder, node, y_q, y[1])


def quantize_rescaled(quantizer: Any, node: Node, attributes: Mapping[str, Any]) -> None:
    """Emit an op without weights whose output has a scale of its own.

    Its range is the calibrated one where nothing before it moves, else it follows what the op
    puts out; then attribute observe asks for the second output, observed[2].
    """
    builder: Builder = quantizer.builder
    inputs = tuple(quantizer.quantized(name) for name in node.inputs)
    quantizations = [builder.tensors[name].qparams for name in inputs]
    moving = any(q is not None and q.range is not None for q in quantizations)
    clip = node.attributes.get("clip", UNCLIPPED)
    y_q = activation_qparams(quantizer, node, clip, followed=moving)
    y = builder.node(
        node.op,
        inputs,
        name=node.name,
        outputs=(f"{node.name}.y", f"{node.name}.observed"),
        attributes={**attributes, "observe": moving},
        qparams=(y_q, y_q),
        layer=node.name,
    )
    quantizer.set(node.outputs[0], y[0])
    if moving:
        emit_follow_range(builder, node, y_q, y[1])


def emit_follow_range(builder: Builder, node: Node, y_q: QParams, observed: str) -> None:
    """Let the range of an output follow what was observed, from the next step on."""
    assert y_q.range is not None
    builder.node(
        follow_range,
        (y_q.range, observed),
        name=f"{node.name}.follow_range",
        attributes={"smallest": float(F32(y_q.scale) * F32(255.0 / 64.0))},
        updates=(y_q.range,),
        layer=node.name,
        phase=Phase.UPDATE,
    )


def _moving_inputs(quantizer: Any, node: Node, x: str, y_q: QParams) -> tuple[str, ...]:
    """The layer's inputs where a node computes the row parameters at every step."""
    rows = quantize_rows(quantizer, node)
    multiplier, bias, shift = quantizer.builder.node(
        row_parameters,
        (x, rows.scale, rows.bias),
        name=f"{node.name}.rows",
        outputs=(f"{node.name}.multiplier", f"{node.name}.bias_acc", f"{node.name}.shift"),
        attributes={"largest": float(rows.scale_data.max())},
        qparams=(y_q,),
        layer=node.name,
    )
    own = (rows.bias, rows.scale) if quantizer.is_trained(node) else ()
    return (x, rows.w, bias, multiplier, shift, *own)


def _fixed_inputs(quantizer: Any, node: Node, x: str, y_q: QParams) -> tuple[str, ...]:
    """The layer's inputs where nothing moves; the bias has the accumulator's own unit."""
    builder: Builder = quantizer.builder
    x_q = builder.tensors[x].qparams
    assert x_q is not None
    w = node.inputs[1]
    q, scale = quantize_weights(quantizer.data(w), quantizer.known(w))
    multiplier, shift = split_ratios(F32(x_q.scale) / F32(y_q.scale), scale)
    unit = x_q.scale.astype(np.float64) * scale
    exact = quantizer.data(node.inputs[2]) / unit
    worst = int(np.abs(exact).argmax())
    if abs(exact[worst]) > 2**30:
        raise ModelError(
            f'{node.op.name} "{node.name}": a bias of {abs(exact[worst] * unit[worst]):g} is '
            f"beyond the {2**30 * unit[worst]:g} that a frozen layer can hold beside weights of at "
            f"most {127 * scale[worst]:g} and samples of this range; scale the layer's weights up, "
            "or its biases down"
        )
    bias = round_clamp(exact, -(2**30), 2**30)
    return (
        x,
        builder.constant(f"{node.name}.w", q, qparams=QParams(scale=scale)),
        builder.constant(f"{node.name}.bias_acc", bias.astype(np.int32)),
        builder.constant(f"{node.name}.multiplier", multiplier.astype(np.int32)),
        builder.constant(f"{node.name}.shift", np.asarray([shift], np.int32)),
    )


def activation_qparams(
    quantizer: Any, node: Node, clip: tuple[float, float], *, followed: bool
) -> QParams:
    """Quantization of a layer's output from its calibrated range, as state where it follows."""
    known = quantizer.known(node.outputs[0])
    if known is not None and not followed:
        return affine_qparams(F32(known.scale), known.zero_point, *clip)
    low, high = quantizer.calibrated(node.outputs[0])
    q = range_qparams(low, high, *clip)
    if not followed:
        return q
    data = np.asarray([min(low, 0.0), max(high, 0.0)], F32)
    range_ = quantizer.builder.state("range", data, Role.RANGE, layer=node.name)
    return replace(q, range=range_)


def reached(v: Array) -> Array:
    """observed[2] of an output, in steps from its zero point: the least and the largest, or 0."""
    return np.asarray([min(int(v.min()), 0), max(int(v.max()), 0)], np.int32)


def requantize(
    accumulator: Array, bias: Array, multiplier: Array, shift: Array, y_q: QParams
) -> tuple[Array, Array]:
    """acc[..., out] int64 -> (y[..., out] int8, observed[2] int32): see `fixed_point.rescale`."""
    v = rescale(accumulator + bias.astype(np.int64), multiplier, int(shift[0]))
    y = np.clip(v + y_q.zero_point, y_q.clamp_min, y_q.clamp_max).astype(np.int8)
    return y, reached(v)


@dataclass(frozen=True)
class ErrorRescale:
    """How a layer's error becomes the error of its input.

    Attributes:
        rel: uint16[out], round(2^15 scale[o] / largest scale).
        drop: e' = round(e rel / 2^(8 + drop)).
        multiplier, shift: of the sum, see `fixed_point.rescale`.
    """

    rel: Array
    drop: int
    multiplier: int
    shift: int


def error_rescale(scale: Array, terms: int) -> ErrorRescale:
    """Row scales -> constants of the input gradient, for sums of `terms` products |w e'|.

    The error keeps its scale on the way through a layer. Bits of e' are dropped until the sum is
    sure to fit int32.
    """
    largest = scale.max()
    rel = round_clamp(scale / largest * F32(32768.0), 0, 32768).astype(np.uint16)
    drop = 0
    while 127 * largest_error(drop) * terms > 2**31 - 1 and drop < 7:
        drop += 1
    multiplier, shift = split_ratio(float(largest) / 2.0 ** (7 - drop))
    return ErrorRescale(rel, drop, multiplier, shift)


def largest_error(drop: int) -> int:
    """The largest |e'|."""
    return (127 * 32768 + (1 << (7 + drop))) >> (8 + drop)


def expand_error(dy: Array, rel: Array, drop: int) -> Array:
    """e'[..., out] = round(e rel / 2^(8 + drop)), int64, halves up."""
    wide = dy.astype(np.int64) * rel.astype(np.int64)
    return (wide + (1 << (7 + drop))) >> (8 + drop)


def update_bias(bias: Array, row_errors: Array, rate: np.float32, dy_scale: np.float32) -> Array:
    """bias[out] int32 minus the step of its gradient, rounded to nearest, saturating."""
    factor = F32(F32(rate) * F32(dy_scale)) * F32(2.0**20)
    step = round_clamp(row_errors.astype(F32) * factor, -BIAS_STEP_LIMIT, BIAS_STEP_LIMIT)
    return np.clip(bias.astype(np.int64) - step, -(2**30), 2**30).astype(np.int32)


def _infer_row_parameters(_: Mapping[str, Any], inputs: Sequence[Tensor]) -> list[TensorType]:
    (rows,) = inputs[1].shape
    return [TensorType((rows,), "int32"), TensorType((rows,), "int32"), TensorType((1,), "int32")]


def _row_parameters(
    node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]
) -> list[Array]:
    x_q, y_q = inputs[0].qparams, outputs[0]
    assert x_q is not None and y_q is not None
    scale, bias = inputs[1].array, inputs[2].array
    multiplier, shift = split_ratios(F32(x_q.scale) / F32(y_q.scale), scale)
    acc = accumulator_bias(bias, F32(x_q.scale), scale)
    return [multiplier.astype(np.int32), acc.astype(np.int32), np.asarray([shift], np.int32)]


def _row_parameters_c(node: Node, graph: Graph) -> CCall:
    x, scale, bias = node.inputs
    multiplier, acc, shift = node.outputs
    return CCall(
        function="insitu_row_parameters",
        params_type="insitu_row_parameters_params_t",
        params={"rows": graph.tensors[scale].size, "largest": node.attributes["largest"]},
        arguments=(
            f"?{x}",
            f"?{multiplier}",
            f"${scale}",
            f"${bias}",
            f"${multiplier}",
            f"${acc}",
            f"${shift}",
        ),
    )


row_parameters = OpDef(
    name="row_parameters",
    operands=("x", "row_scale", "bias"),
    infer=_infer_row_parameters,
    integer_reference=_row_parameters,
    c_call=_row_parameters_c,
)
"""Scales in force -> multiplier[out], bias in accumulator units[out], shift[1].

Inputs: x (for its scale alone), row scale[out], bias[out] in units of 2^-20. The multiplier
carries the quantization of the layer's output.
"""


def _follow_range(
    node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]
) -> list[Array]:
    q = inputs[1].qparams
    assert q is not None
    smallest = F32(node.attributes["smallest"])
    return [np.asarray(follow(inputs[0].array, inputs[1].array, q, smallest), F32)]


def _follow_range_c(node: Node, graph: Graph) -> CCall:
    q = graph.tensors[node.inputs[1]].qparams
    assert q is not None
    return CCall(
        function="insitu_follow_range",
        params_type="insitu_follow_range_params_t",
        params={
            "clip_min": q.clip_min,
            "clip_max": q.clip_max,
            "smallest": node.attributes["smallest"],
        },
        arguments=(f"?{node.inputs[1]}", f"${node.inputs[1]}", f"${node.inputs[0]}"),
    )


follow_range = OpDef(
    name="follow_range",
    operands=("range", "observed"),
    infer=lambda attributes, inputs: [],
    integer_reference=_follow_range,
    c_call=_follow_range_c,
)
"""Range of a trained layer's output, from the next step on. Inputs: range[2], observed[2]."""


def accumulator_bound(node: Node, terms: int) -> Bound:
    """|sum of w (x - zero point)| plus the bias."""
    return Bound(f"{node.name}: accumulator of {terms} products", 127 * 255 * terms + 2**30)
