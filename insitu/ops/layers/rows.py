"""What convolution and linear layers share: rows, their scales and biases.

A row is all weights that make one output channel. Twin: rows.c.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from insitu.errors import ModelError
from insitu.fixed_point import BIAS_SCALE, F32, accumulator_bias, rescale, round_clamp, split_ratios
from insitu.graph.model import Array, Bound, CCall, Graph, Node, OpDef, QParams, TensorType
from insitu.graph.rules import Attributes, Quantizations, Tensors, Values
from insitu.ops.layers.initial import initial_range
from insitu.ops.numerics.quantization import scale_of
from insitu.ops.numerics.ranges import UNCLIPPED, activation_qparams, emit_requantized, reached

if TYPE_CHECKING:
    from insitu.quantize.assign import Quantizer

FRESH_RANGE = 4.0
"""A layer whose weights are all zero gets the range 4 / sqrt(fan in). Source: numerics."""

SMALLEST_ROW = 2.0**-8
"""Smallest scale of a row, relative to the layer's largest."""


LARGEST_RATIO = 2.0**90
"""Of the scales of a layer's input and output; `split_ratios` multiplies it by 2^32."""

FIXED_BIAS, MOVING_BIAS = 2.0**30, 2.0**28
"""Largest biases in units of the accumulator: of layers whose scales are fixed, and of others,
whose biases may grow and input scales shrink before they are held to 2^30."""


def quantize_weights(
    w: Array, known: QParams | None = None, *, least: Array | None = None
) -> tuple[Array, Array]:
    """w[out, ...] float -> (int8 of the same shape, scale[out]): symmetric, max|row| = 127.

    A `known` scale[out] takes the place of max|row| / 127. A row of zeros gets the layer's median
    scale. No scale is below `SMALLEST_ROW` of the largest: beside the other rows nobody sees more,
    and the row's error stays representable (a folded batch norm with gamma near 0 makes such rows);
    nor below `least`[out], where it is given.
    """
    rows = np.abs(w.reshape(w.shape[0], -1)).astype(F32)
    largest = rows.max(axis=1)
    nonzero = largest[largest > 0]
    spare = np.median(nonzero) if nonzero.size else FRESH_RANGE / np.sqrt(rows.shape[1])
    own = largest / F32(127.0) if known is None else known.scale
    scale = np.where(largest > 0, own, F32(spare) / F32(127.0)).astype(F32)
    scale = scale if least is None else np.maximum(scale, least)
    scale = np.maximum(scale, max(scale.max() * F32(SMALLEST_ROW), F32(1e-20)))
    q = round_clamp(w.astype(F32) / scale.reshape(-1, *[1] * (w.ndim - 1)), -127, 127)
    return q.astype(np.int8), scale


def least_scales(node: Node, bias: Array, x_scale: Array, largest: float) -> Array:
    """The row scales[out] with which biases are at most `largest` units of the accumulator.

    Where a row's is smaller, what its weights lose is below 2^-20 of its bias, for a thousand of
    them.

    Raises:
        ModelError: they would be beyond float32.
    """
    least = np.abs(bias.astype(np.float64)) / (largest * x_scale.astype(np.float64))
    worst = int(least.argmax())
    if not least[worst] * 127 < np.finfo(F32).max / 256:
        raise ModelError(
            f'{node.op.name} "{node.name}": a bias of {abs(bias[worst]):g} is too far from what '
            f"its inputs make, in steps of {float(x_scale):g}; scale them up, or the bias down"
        )
    return np.nextafter(least.astype(F32), F32(np.inf))


@dataclass(frozen=True)
class QuantizedRows:
    """A layer's weights and biases in the integer graph, by tensor name."""

    w: str
    bias: str  # int32, units of 2^-20
    scale: str  # float32[out]
    scale_data: Array


def quantize_rows(quantizer: Quantizer, node: Node, x_scale: Array | None = None) -> QuantizedRows:
    """Add weights, biases (units of 2^-20) and row scales of a layer to the integer graph.

    Args:
        x_scale: of the input at the start, where the biases are to be brought to accumulators.

    Raises:
        ModelError: a bias is larger than what these units hold.
    """
    w, known = quantizer.data(node["w"]), quantizer.known(node["w"])
    real = quantizer.data(node["bias"]).astype(F32)
    largest, limit = float(np.abs(real).max()), 2**30 * float(BIAS_SCALE)
    if largest > limit:
        raise ModelError(
            f'{node.op.name} "{node.name}": a bias of {largest:g} is beyond the {limit:g} that a '
            "trained layer, and those behind it, can hold; scale the samples down, and the first "
            "layer's weights up"
        )
    bias = round_clamp(real / BIAS_SCALE, -(2**30), 2**30)
    found = known is not None or not quantizer.is_trained(node)
    least = np.full(len(real), F32(0.0 if found else initial_range(w, real)) / F32(127.0))
    if x_scale is not None:
        least = np.maximum(least, least_scales(node, real, x_scale, MOVING_BIAS))
    q, scale = quantize_weights(w, known, least=least)
    return QuantizedRows(
        w=quantizer.parameter(node, "w", q, QParams(scale=scale)),
        bias=quantizer.parameter(node, "bias", bias.astype(np.int32)),
        scale=quantizer.builder.constant(f"{node.name}.row_scale", scale),
        scale_data=scale,
    )


def quantize_layer(quantizer: Quantizer, node: Node, op: OpDef, attributes: Attributes) -> None:
    """Emit the integer form of a layer: [row_parameters,] the layer itself [, follow_range].

    Where all scales are fixed the row parameters are constants; else they are computed by a node
    at every step. A trained layer's output range follows what the layer puts out.
    """
    x, trained = quantizer.quantized(node["x"]), quantizer.is_trained(node)
    clip = node.attributes.get("clip", UNCLIPPED)
    y_q = activation_qparams(quantizer, node, clip, dynamic=trained)
    x_q = quantizer.builder.tensors[x].qparams
    assert x_q is not None
    if not float(x_q.scale) / float(y_q.scale) < LARGEST_RATIO:
        raise ModelError(
            f'{node.op.name} "{node.name}": a step of its input is {float(x_q.scale):g} but one of '
            f"its output {float(y_q.scale):g}, which float32 cannot bring together; scale the "
            "layers before it down, and its weights up"
        )
    dynamic = trained or x_q.range is not None
    inputs = (_dynamic_inputs if dynamic else _fixed_inputs)(quantizer, node, x, y_q)
    emit_requantized(quantizer, node, op, inputs, attributes, y_q)


def _dynamic_inputs(quantizer: Quantizer, node: Node, x: str, y_q: QParams) -> tuple[str, ...]:
    """The layer's inputs where a node computes the row parameters at every step."""
    x_q = quantizer.builder.tensors[x].qparams
    assert x_q is not None
    rows = quantize_rows(quantizer, node, x_q.scale)
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


def _fixed_inputs(quantizer: Quantizer, node: Node, x: str, y_q: QParams) -> tuple[str, ...]:
    """The layer's inputs where nothing moves; the bias has the accumulator's own unit."""
    builder = quantizer.builder
    x_q = builder.tensors[x].qparams
    assert x_q is not None
    w, real = node["w"], quantizer.data(node["bias"])
    least = least_scales(node, real, x_q.scale, FIXED_BIAS)
    q, scale = quantize_weights(quantizer.data(w), quantizer.known(w), least=least)
    multiplier, shift = split_ratios(F32(x_q.scale) / F32(y_q.scale), scale)
    bias = round_clamp(real / (x_q.scale.astype(np.float64) * scale), -(2**30), 2**30)
    return (
        x,
        builder.constant(f"{node.name}.w", q, qparams=QParams(scale=scale)),
        builder.constant(f"{node.name}.bias_acc", bias.astype(np.int32)),
        builder.constant(f"{node.name}.multiplier", multiplier.astype(np.int32)),
        builder.constant(f"{node.name}.shift", np.asarray([shift], np.int32)),
    )


def requantize(accumulator: Array, parameters: Values, outputs: Quantizations) -> list[Array]:
    """acc[..., out] int64 -> y[..., out] int8 [, observed[2] int32]: see `fixed_point.rescale`.

    Args:
        parameters: bias, multiplier and shift of the rows.
        outputs: quantization of y, and of what is observed where a range follows it.
    """
    bias, multiplier, shift = (value.array for value in parameters)
    y_q, *_ = outputs
    assert y_q is not None
    v = rescale(accumulator + bias.astype(np.int64), multiplier, int(shift[0]))
    y = np.clip(v + y_q.zero_point, y_q.clamp_min, y_q.clamp_max).astype(np.int8)
    return [y, reached(v)][: len(outputs)]


def _infer(_: Attributes, inputs: Tensors) -> list[TensorType]:
    _x, scale, _bias = inputs
    return [TensorType(shape, "int32") for shape in (scale.shape, scale.shape, (1,))]


def _integer(node: Node, inputs: Values, outputs: Quantizations) -> list[Array]:
    x, scale, bias = inputs
    y_q, *_ = outputs
    assert y_q is not None
    multiplier, shift = split_ratios(scale_of(x) / F32(y_q.scale), scale.array)
    acc = accumulator_bias(bias.array, scale_of(x), scale.array)
    return [multiplier.astype(np.int32), acc.astype(np.int32), np.asarray([shift], np.int32)]


def _c_call(node: Node, graph: Graph) -> CCall:
    x, scale, bias = node.inputs
    multiplier, acc, shift = node.outputs
    return CCall(
        function="insitu_row_parameters",
        params_type="insitu_row_parameters_params_t",
        params={"rows": graph.tensors[scale].size, "largest": node.attributes["largest"]},
        arguments=(
            *(f"?{x}", f"?{multiplier}", f"${scale}", f"${bias}"),
            *(f"${multiplier}", f"${acc}", f"${shift}"),
        ),
    )


row_parameters = OpDef(
    "row_parameters", _infer, ("x", "row_scale", "bias"), integer_reference=_integer, c_call=_c_call
)
"""Scales in force -> multiplier[out], bias in accumulator units[out], shift[1].

Inputs: x (for its scale alone), row scale[out], bias[out] in units of 2^-20. The multiplier
carries the quantization of the layer's output.
"""


def accumulator_bound(node: Node, terms: int) -> Bound:
    """|sum of w (x - zero point)| plus the bias."""
    return Bound(f"{node.name}: accumulator of {terms} products", 127 * 255 * terms + 2**30)
