"""Linear layers: forward, input gradient, weight gradient with its update; logits in float.

y[o] = sum over i of w[o, i] x[i] + b[o], clipped; x of any shape is read in memory order.
Twin: linear.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from insitu.errors import ModelError
from insitu.fixed_point import BIAS_SCALE, F32, draw_bytes, round_clamp
from insitu.graph.builder import Builder
from insitu.graph.model import (
    Array,
    Bound,
    CCall,
    Graph,
    Node,
    OpDef,
    Tensor,
    TensorType,
    Units,
)
from insitu.graph.rules import Arrays, Attributes, Quantizations, Tensors, Values, no_outputs
from insitu.ops.layers import calls, linear_f32
from insitu.ops.layers.affine import ONE_PLACE
from insitu.ops.layers.error import expand_error, rescaled_error
from insitu.ops.layers.gradient import LayerGradient, grad_input_bounds, layer_vjp
from insitu.ops.layers.rows import accumulator_bound, quantize_layer, quantize_rows, requantize
from insitu.ops.numerics.by_type import bit_exact, by_type, is_float, no_scratch
from insitu.ops.numerics.geometry import linear_params
from insitu.ops.numerics.quantization import centred, scale_of
from insitu.ops.numerics.ranges import UNCLIPPED, observed_too
from insitu.ops.updates.bias import update_bias
from insitu.ops.updates.buffer import linear_accumulate
from insitu.ops.updates.buffer_f32 import linear_accumulate_f32

if TYPE_CHECKING:
    from insitu.quantize.assign import Quantizer


def input_bytes(w: Tensor) -> int:
    """Scratch of the forward kernel: the inputs as int16, in fours."""
    return -(-w.size // w.shape[0] // 4) * 8


def list_bytes(w: Tensor) -> int:
    """Scratch of the input gradient: rows and their errors, in fours."""
    return -(-w.shape[0] // 4) * 32


def _infer(attributes: Attributes, inputs: Tensors) -> list[TensorType]:
    x, w, *_ = inputs
    if x.size != w.shape[1]:
        raise ModelError(
            f"x{list(x.shape)} has {x.size} features but w{list(w.shape)} takes {w.shape[1]}; "
            "check the flatten before it"
        )
    return observed_too(attributes, TensorType((w.shape[0],), x.dtype))


def _float(attributes: Attributes, inputs: Arrays) -> list[Array]:
    x, w, b = inputs
    y = x.reshape(len(x), -1) @ w.T + b
    return [np.clip(y, *attributes.get("clip", UNCLIPPED))]


def _integer(node: Node, inputs: Values, outputs: Quantizations) -> list[Array]:
    x, w, bias, multiplier, shift, *_ = inputs
    accumulator = w.array.astype(np.int64) @ centred(x).reshape(-1)
    return requantize(accumulator, (bias, multiplier, shift), outputs)


def _vjp(builder: Builder, node: Node, dy: str, wanted: frozenset[str]) -> dict[str, str]:
    return layer_vjp(GRADIENT, builder, node, dy, wanted)


def _quantize(quantizer: Quantizer, node: Node) -> None:
    """The layer that gives the network's scores puts them out in float; others in int8."""
    if not quantizer.is_scores(node.outputs[0]) or "clip" in node.attributes:
        quantize_layer(quantizer, node, linear, {})
        return
    rows = quantize_rows(quantizer, node)
    x = quantizer.quantized(node["x"])
    (y,) = quantizer.builder.node(
        logits, (x, rows.w, rows.bias, rows.scale), name=node.name, layer=node.name
    )
    quantizer.set(node.outputs[0], y)


def _permute(w: Array, order: Array) -> Array:
    """The weights for an input whose element j was element order[j]."""
    return np.ascontiguousarray(w[:, order])


def _in_units(_: Attributes, w: Array, b: Array, units: Units) -> tuple[Array, Array]:
    """The weights for x, and not for offset + scale x; a map lies in memory order."""
    offset = np.resize(units.offset, w.shape[1])
    return w * np.resize(units.scale, w.shape[1]), b + w @ offset


def _fresh(node: Node, graph: Graph, classes: int) -> dict[str, Array]:
    """Zeros; `quantize_weights` gives them their range."""
    features = graph.operand(node, "w").shape[1]
    return {"w": np.zeros((classes, features), F32), "bias": np.zeros(classes, F32)}


def _bounds(node: Node, graph: Graph) -> list[Bound]:
    if is_float(node, graph):
        return []
    return [accumulator_bound(node, graph.operand(node, "w").shape[1])]


def _input_bytes(node: Node, graph: Graph) -> int:
    return input_bytes(graph.operand(node, "w"))


forward_c = calls.of_linear(calls.forward_call)
grad_input_c = calls.of_linear(calls.grad_input_call)
"""The calls of a layer whose rows of weights are as long as its input."""


linear = OpDef(
    name="linear",
    operands=("x", "w", "bias", "multiplier", "shift", "trained_bias", "row_scale"),
    infer=_infer,
    float_reference=_float,
    integer_reference=bit_exact(_integer, linear_f32.forward),
    vjp=_vjp,
    quantize=_quantize,
    window=lambda node, graph: ONE_PLACE,
    absorb={
        "clip": lambda attributes, clip: {**attributes, "clip": clip},
        "affine": lambda w, b, scale, shift: (w * scale.reshape(-1, 1), b * scale + shift),
        "permute": _permute,
        "units": _in_units,
    },
    columns=lambda attributes, x, shape: x.reshape(len(x), 1, -1),
    c_call=by_type(forward_c, linear_f32.forward_c),
    scratch_bytes=by_type(_input_bytes, no_scratch),
    macs=calls.layer_macs,
    bounds=_bounds,
    weights=("w",),
    fresh=_fresh,
)
"""Inputs float: x, w, b. Integer: x, w, bias, multiplier, shift [, trained bias, row scale]."""


def _logits(node: Node, inputs: Values, outputs: Quantizations) -> list[Array]:
    x, w, bias, scale = inputs
    accumulator = w.array.astype(np.int64) @ centred(x).reshape(-1)
    y = accumulator.astype(F32) * (scale_of(x) * scale.array)
    return [(y + bias.array.astype(F32) * BIAS_SCALE).astype(F32)]


def _infer_logits(attributes: Attributes, inputs: Tensors) -> list[TensorType]:
    return [TensorType(type_.shape, "float32") for type_ in _infer(attributes, inputs)]


def _logits_c(node: Node, graph: Graph) -> CCall:
    x, w, bias, scale = node.inputs
    return CCall(
        function="insitu_logits_s8",
        params_type="insitu_linear_params_t",
        params=linear_params(graph.tensors[w]),
        arguments=(f"?{x}", f"${x}", f"${w}", f"${bias}", f"${scale}", "!", f"${node.outputs[0]}"),
    )


logits = OpDef(
    name="logits",
    operands=("x", "w", "bias", "row_scale"),
    infer=_infer_logits,
    integer_reference=_logits,
    vjp=_vjp,
    c_call=_logits_c,
    scratch_bytes=_input_bytes,
    macs=calls.layer_macs,
    bounds=lambda node, graph: [
        Bound(f"{node.name}: accumulator", 127 * 255 * graph.operand(node, "w").shape[1])
    ],
    weights=("w",),
)
"""Scores in float32 straight from the accumulators. Inputs: x, w, bias at 2^-20, row scale."""


def _infer_grad_input(attributes: Attributes, inputs: Tensors) -> list[TensorType]:
    dy, *_ = inputs
    return [TensorType(attributes["shape"], dy.dtype)]


def _integer_grad_input(node: Node, inputs: Values, outputs: Quantizations) -> list[Array]:
    dy, w, rel = (value.array for value in inputs)
    total = expand_error(dy, rel, node.attributes["drop"]) @ w.astype(np.int64)
    return [rescaled_error(total, node.attributes).reshape(node.attributes["shape"])]


def _float_grad_input(attributes: Attributes, inputs: Arrays) -> list[Array]:
    dy, w = inputs
    return [(dy @ w).reshape(-1, *attributes["shape"])]


linear_grad_input = OpDef(
    name="linear_grad_input",
    operands=("dy", "w", "rel"),
    infer=_infer_grad_input,
    float_reference=_float_grad_input,
    integer_reference=bit_exact(_integer_grad_input, linear_f32.grad_input),
    c_call=by_type(grad_input_c, linear_f32.grad_input_c),
    scratch_bytes=by_type(lambda node, graph: list_bytes(graph.operand(node, "w")), no_scratch),
    macs=calls.layer_macs,
    bounds=grad_input_bounds,
)
"""dx[i] = sum over o of w[o, i] dy[o]. Inputs: dy, w (before the update), rel[out] if integer.

Attribute shape: that of x."""


def _float_update(attributes: Attributes, inputs: Arrays) -> list[Array]:
    dy, x, w, b, rate = inputs
    kept = w * (1 - rate * attributes.get("weight_decay", 0.0))
    return [kept - rate * (dy.T @ x.reshape(len(x), -1)), b - rate * dy.sum(axis=0)]


def _integer_update(node: Node, inputs: Values, outputs: Quantizations) -> list[Array]:
    error, x, *_ = inputs
    dy, _, w, bias, rate, scale, generator = (value.array for value in inputs)
    factor = F32(F32(rate[0]) * scale_of(error)) * scale_of(x) * F32(2.0**16)
    rows, state, features = w.astype(np.int64), int(generator[0]), centred(x).reshape(-1)
    for row in np.flatnonzero(dy):
        kappa = int(round_clamp(F32(dy[row]) * factor / scale[row], -32767, 32767))
        octets, state = draw_bytes(state, rows.shape[1])
        step = (kappa * features + (octets << 8) + (1 << 7)) >> 16
        rows[row] = np.clip(rows[row] - step, -127, 127)
    new_bias = update_bias(bias, dy.astype(np.int64), F32(rate[0]), scale_of(error))
    return [rows.astype(np.int8), new_bias, np.asarray([state], np.uint32)]


linear_update = OpDef(
    name="linear_update",
    operands=("dy", "x", "w", "bias", "rate", "row_scale", "generator"),
    infer=no_outputs,
    float_reference=_float_update,
    integer_reference=bit_exact(_integer_update, linear_f32.update),
    c_call=by_type(calls.of_linear(calls.update_call), linear_f32.update_c),
    scratch_bytes=by_type(_input_bytes, no_scratch),
    macs=calls.layer_macs,
)
"""w -= rate dy x, in place. Inputs: dy, x, w, bias, rate [, row scale, generator].

Attribute weight_decay, in float: w (1 - rate weight_decay) before."""


GRADIENT = LayerGradient(
    grad_input=linear_grad_input,
    update=linear_update,
    accumulate=linear_accumulate,
    accumulate_f32=linear_accumulate_f32,
    terms=lambda node, builder: builder.tensors[node["w"]].shape[0],
    attributes=lambda node, builder: {"shape": builder.tensors[node["x"]].shape},
)
