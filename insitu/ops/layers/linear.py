"""Linear layers: forward, input gradient, weight gradient with its update; logits in float.

y[o] = sum over i of w[o, i] x[i] + b[o], clipped; x of any shape is read in memory order.
Twin: linear.c.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from insitu.errors import ModelError
from insitu.fixed_point import BIAS_SCALE, F32, draw_bytes, rescale, round_clamp
from insitu.graph.builder import Builder
from insitu.graph.model import (
    Array,
    Bound,
    CCall,
    Graph,
    Node,
    OpDef,
    QParams,
    Tensor,
    TensorType,
    Value,
)
from insitu.ops.layers import linear_f32
from insitu.ops.layers.gradient import LayerGradient, grad_input_bounds, layer_vjp
from insitu.ops.layers.rows import (
    UNCLIPPED,
    accumulator_bound,
    expand_error,
    quantize_layer,
    quantize_rows,
    requantize,
    update_bias,
)
from insitu.ops.numerics.by_type import by_type, exact, is_float


def input_bytes(w: Tensor) -> int:
    """Scratch of the forward kernel: the inputs as int16, in fours."""
    return -(-w.size // w.shape[0] // 4) * 8


def list_bytes(w: Tensor) -> int:
    """Scratch of the input gradient: rows and their errors, in fours."""
    return -(-w.shape[0] // 4) * 32


def _infer(attributes: Mapping[str, Any], inputs: Sequence[Tensor]) -> list[TensorType]:
    x, w = inputs[0], inputs[1]
    if x.size != w.shape[1]:
        raise ModelError(
            f"x{list(x.shape)} has {x.size} features but w{list(w.shape)} takes {w.shape[1]}; "
            "check the flatten before it"
        )
    types = [TensorType((w.shape[0],), x.dtype)]
    return [*types, TensorType((2,), "int32")] if attributes.get("observe") else types


def _float(attributes: Mapping[str, Any], inputs: Sequence[Array]) -> list[Array]:
    x, w, b = inputs
    y = x.reshape(len(x), -1) @ w.T + b
    return [np.clip(y, *attributes.get("clip", UNCLIPPED))]


def _integer(node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]) -> list[Array]:
    x, w, bias, multiplier, shift = (value.array for value in inputs[:5])
    x_q, y_q = inputs[0].qparams, outputs[0]
    assert x_q is not None and y_q is not None
    accumulator = w.astype(np.int64) @ (x.reshape(-1).astype(np.int64) - x_q.zero_point)
    y, observed = requantize(accumulator, bias, multiplier, shift, y_q)
    return [y, observed][: len(node.outputs)]


def _vjp(builder: Builder, node: Node, dy: str, wanted: frozenset[str]) -> dict[str, str]:
    return layer_vjp(GRADIENT, builder, node, dy, wanted)


def _quantize(quantizer: Any, node: Node) -> None:
    """The layer that gives the network's scores puts them out in float; others in int8."""
    if not quantizer.is_scores(node.outputs[0]) or "clip" in node.attributes:
        quantize_layer(quantizer, node, linear, {})
        return
    rows = quantize_rows(quantizer, node)
    x = quantizer.quantized(node.inputs[0])
    (y,) = quantizer.builder.node(
        logits, (x, rows.w, rows.bias, rows.scale), name=node.name, layer=node.name
    )
    quantizer.set(node.outputs[0], y)


def _permute(w: Array, order: Array) -> Array:
    """The weights for an input whose element j was element order[j]."""
    return np.ascontiguousarray(w[:, order])


def _fresh(node: Node, graph: Graph, classes: int) -> dict[str, Array]:
    """Zeros; `quantize_weights` gives them their range."""
    features = graph.tensors[node.inputs[1]].shape[1]
    return {"w": np.zeros((classes, features), F32), "bias": np.zeros(classes, F32)}


def _macs(node: Node, graph: Graph) -> int:
    return graph.tensors[node.inputs[1]].size


def _bounds(node: Node, graph: Graph) -> list[Bound]:
    if is_float(node, graph):
        return []
    return [accumulator_bound(node, graph.tensors[node.inputs[1]].shape[1])]


def _scratch_bytes(node: Node, graph: Graph) -> int:
    return 0 if is_float(node, graph) else input_bytes(graph.tensors[node.inputs[1]])


def _params(w: Tensor) -> dict[str, int]:
    """Fields of insitu_linear_params_t."""
    return {"out_features": w.shape[0], "in_features": w.size // w.shape[0]}


def forward_c(node: Node, graph: Graph) -> CCall:
    """The call of a layer whose rows of weights are as long as its input."""
    x, w, bias, multiplier, shift = node.inputs[:5]
    y = node.outputs[0]
    observed = f"${node.outputs[1]}" if len(node.outputs) > 1 else "0"
    return CCall(
        function="insitu_linear_s8",
        params_type="insitu_linear_params_t",
        params=_params(graph.tensors[w]),
        arguments=(
            f"?{x}",
            f"?{y}",
            f"${x}",
            f"${w}",
            f"${bias}",
            f"${multiplier}",
            f"${shift}",
            "!",
            f"${y}",
            observed,
        ),
    )


linear = OpDef(
    name="linear",
    operands=("x", "w", "bias", "multiplier", "shift", "trained_bias", "row_scale"),
    infer=_infer,
    float_reference=_float,
    integer_reference=exact(_integer, linear_f32.forward),
    vjp=_vjp,
    quantize=_quantize,
    absorb={
        "clip": lambda attributes, clip: {**attributes, "clip": clip},
        "affine": lambda w, b, scale, shift: (w * scale.reshape(-1, 1), b * scale + shift),
        "permute": _permute,
    },
    c_call=by_type(forward_c, linear_f32.forward_c),
    scratch_bytes=_scratch_bytes,
    macs=_macs,
    bounds=_bounds,
    weights=("w",),
    fresh=_fresh,
)
"""Inputs float: x, w, b. Integer: x, w, bias, multiplier, shift [, trained bias, row scale]."""


def _logits(node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]) -> list[Array]:
    x, w, bias, scale = (value.array for value in inputs)
    x_q = inputs[0].qparams
    assert x_q is not None
    accumulator = w.astype(np.int64) @ (x.reshape(-1).astype(np.int64) - x_q.zero_point)
    y = accumulator.astype(F32) * (F32(x_q.scale) * scale) + bias.astype(F32) * BIAS_SCALE
    return [y.astype(F32)]


def _infer_logits(attributes: Mapping[str, Any], inputs: Sequence[Tensor]) -> list[TensorType]:
    return [TensorType(_infer(attributes, inputs)[0].shape, "float32")]


def _logits_c(node: Node, graph: Graph) -> CCall:
    x, w, bias, scale = node.inputs
    return CCall(
        function="insitu_logits_s8",
        params_type="insitu_linear_params_t",
        params=_params(graph.tensors[w]),
        arguments=(
            f"?{x}",
            f"${x}",
            f"${w}",
            f"${bias}",
            f"${scale}",
            "!",
            f"${node.outputs[0]}",
        ),
    )


logits = OpDef(
    name="logits",
    operands=("x", "w", "bias", "row_scale"),
    infer=_infer_logits,
    integer_reference=_logits,
    vjp=_vjp,
    c_call=_logits_c,
    scratch_bytes=_scratch_bytes,
    macs=_macs,
    bounds=lambda node, graph: [
        Bound(f"{node.name}: accumulator", 127 * 255 * graph.tensors[node.inputs[1]].shape[1])
    ],
    weights=("w",),
)
"""Scores in float32 straight from the accumulators. Inputs: x, w, bias at 2^-20, row scale."""


def _integer_grad_input(
    node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]
) -> list[Array]:
    dy, w, rel = (value.array for value in inputs)
    expanded = expand_error(dy, rel, node.attributes["drop"])
    total = expanded @ w.astype(np.int64)
    v = rescale(total, node.attributes["multiplier"], node.attributes["shift"])
    return [np.clip(v, -127, 127).astype(np.int8).reshape(node.attributes["shape"])]


def grad_input_c(node: Node, graph: Graph) -> CCall:
    """The call of such a layer's input gradient."""
    dy, w, rel = node.inputs
    return CCall(
        function="insitu_linear_grad_input_s8",
        params_type="insitu_linear_grad_input_params_t",
        params={
            "shape": _params(graph.tensors[w]),
            **{name: node.attributes[name] for name in ("drop", "multiplier", "shift")},
        },
        arguments=(f"${dy}", f"${w}", f"${rel}", "!", f"${node.outputs[0]}"),
    )


linear_grad_input = OpDef(
    name="linear_grad_input",
    operands=("dy", "w", "rel"),
    infer=lambda attributes, inputs: [TensorType(attributes["shape"], inputs[0].dtype)],
    float_reference=lambda attributes, inputs: [
        (inputs[0] @ inputs[1]).reshape(-1, *attributes["shape"])
    ],
    integer_reference=exact(_integer_grad_input, linear_f32.grad_input),
    c_call=by_type(grad_input_c, linear_f32.grad_input_c),
    scratch_bytes=by_type(
        lambda node, graph: list_bytes(graph.tensors[node.inputs[1]]), lambda node, graph: 0
    ),
    macs=_macs,
    bounds=grad_input_bounds,
)
"""dx[i] = sum over o of w[o, i] dy[o]. Inputs: dy, w (before the update), rel[out] if integer.

Attribute shape: that of x."""


def _float_update(attributes: Mapping[str, Any], inputs: Sequence[Array]) -> list[Array]:
    dy, x, w, b, rate = inputs
    kept = w * (1 - rate * attributes.get("weight_decay", 0.0))
    return [kept - rate * (dy.T @ x.reshape(len(x), -1)), b - rate * dy.sum(axis=0)]


def _integer_update(
    node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]
) -> list[Array]:
    dy, x, w, bias, rate, scale, generator = (value.array for value in inputs)
    dy_q, x_q = inputs[0].qparams, inputs[1].qparams
    assert dy_q is not None and x_q is not None
    centred = x.reshape(-1).astype(np.int64) - x_q.zero_point
    factor = F32(F32(rate[0]) * F32(dy_q.scale)) * F32(x_q.scale) * F32(2.0**16)
    rows, state = w.astype(np.int64), int(generator[0])
    for row in np.flatnonzero(dy):
        kappa = int(round_clamp(F32(dy[row]) * factor / scale[row], -32767, 32767))
        octets, state = draw_bytes(state, rows.shape[1])
        step = (kappa * centred + (octets << 8) + (1 << 7)) >> 16
        rows[row] = np.clip(rows[row] - step, -127, 127)
    new_bias = update_bias(bias, dy.astype(np.int64), F32(rate[0]), F32(dy_q.scale))
    return [rows.astype(np.int8), new_bias, np.asarray([state], np.uint32)]


def _update_c(node: Node, graph: Graph) -> CCall:
    dy, x, w, bias, rate, scale, generator = node.inputs
    return CCall(
        function="insitu_linear_update_s8",
        params_type="insitu_linear_params_t",
        params=_params(graph.tensors[w]),
        arguments=(
            f"?{dy}",
            f"?{x}",
            f"${dy}",
            f"${x}",
            f"${scale}",
            f"${rate}",
            "!",
            f"${generator}",
            f"${bias}",
            f"${w}",
        ),
        counts_saturated=True,
    )


linear_update = OpDef(
    name="linear_update",
    operands=("dy", "x", "w", "bias", "rate", "row_scale", "generator"),
    infer=lambda attributes, inputs: [],
    float_reference=_float_update,
    integer_reference=exact(_integer_update, linear_f32.update),
    c_call=by_type(_update_c, linear_f32.update_c),
    scratch_bytes=by_type(
        lambda node, graph: input_bytes(graph.tensors[node.inputs[2]]), lambda node, graph: 0
    ),
    macs=lambda node, graph: graph.tensors[node.inputs[2]].size,
)
"""w -= rate dy x, in place. Inputs: dy, x, w, bias, rate [, row scale, generator].

Attribute weight_decay, in float: w (1 - rate weight_decay) before."""


GRADIENT = LayerGradient(
    grad_input=linear_grad_input,
    update=linear_update,
    terms=lambda node, builder: builder.tensors[node.inputs[1]].shape[0],
    attributes=lambda node, builder: {"shape": builder.tensors[node.inputs[0]].shape},
)
