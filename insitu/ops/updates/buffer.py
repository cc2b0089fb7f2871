"""Gradient buffers: samples add to them, complete batches move what they hold to the weights.

A buffer holds, of every trained weight, the part of its step that has not been made: in units of
2^-8 (int16) or 2^-16 (int32) of the row's scale, so that it keeps its meaning while the scales of
activations move. Twin: buffer.c.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from insitu.fixed_point import BIAS_STEP_LIMIT, F32, draw_bytes, round_clamp
from insitu.graph.builder import Builder
from insitu.graph.model import (
    Array,
    Bound,
    CCall,
    Ends,
    Graph,
    IntegerReference,
    Node,
    OpDef,
    Phase,
    Role,
)
from insitu.graph.names import BATCH_COUNT, GENERATOR, LEARNING_RATE
from insitu.graph.rules import Attributes, Quantizations, Values, no_outputs
from insitu.ops.kernels.bands import gradient_band
from insitu.ops.kernels.choice import gradient_scratch, is_plain, kernel_of, shape_params
from insitu.ops.numerics.geometry import linear_params
from insitu.ops.numerics.grouped import weight_gradient
from insitu.ops.numerics.quantization import centred, scale_of
from insitu.ops.updates.decay import decay_multiplier, draw_words
from insitu.ops.updates.drawn_samples import step_rate

FRACTION = {"int16": 8, "int32": 16}
"""Bits of a buffer below one step of the weight."""

LIMIT = {"int16": 2**15 - 1, "int32": 2**31 - 1}

BIAS_LIMIT = 2**30


def emit_batch_count(builder: Builder) -> None:
    """Count samples, where a batch has several; the first node of what follows a sample."""
    if builder.scheme.batch == 1:
        return
    count = builder.state(BATCH_COUNT, np.zeros(1, np.int32), Role.SETTING)
    builder.node(
        count_sample,
        (count,),
        name="batch",
        attributes={"batch": builder.scheme.batch},
        updates=(count,),
        layer="loss",
        phase=Phase.APPLY,
    )


def emit_batch_update(
    builder: Builder,
    node: Node,
    dy: str,
    accumulate: tuple[OpDef, Attributes],
    apply: tuple[OpDef, Attributes],
    *,
    buffers: tuple[str, str],
    moved: tuple[str, ...],
    scales: tuple[str, ...] = (),
    drawn: tuple[str, ...] = (),
) -> None:
    """Emit accumulation of a layer's gradient and, for complete batches, the move to its weights.

    Args:
        accumulate, apply: the two ops with their attributes.
        buffers: of the biases, of the weights.
        moved: what apply changes beside them.
        scales: what accumulate reads beside dy and x.
        drawn: the generator, where values are rounded stochastically.
    """
    builder.node(
        accumulate[0],
        (dy, node["x"], *scales, *drawn, *buffers),
        name=f"{node.name}.accumulate",
        attributes=accumulate[1],
        updates=(*drawn, *buffers),
        layer=node.layer,
        phase=Phase.UPDATE,
    )
    changed = (*drawn, *buffers, *moved)
    builder.node(
        apply[0],
        (LEARNING_RATE, *changed),
        name=f"{node.name}.apply",
        attributes=apply[1],
        updates=changed,
        layer=node.layer,
        phase=Phase.APPLY,
    )


def emit_buffered_update(
    builder: Builder,
    node: Node,
    dy: str,
    moved: tuple[str, str],
    accumulate: OpDef,
    window: Attributes,
) -> None:
    """Emit the update of a quantized layer.

    Args:
        moved: biases and weights.
        accumulate: that of the layer's kind.
        window: attributes of a convolution, see `layers.gradient.window`.
    """
    scheme, shape = builder.scheme, builder.tensors[moved[1]].shape
    buffer, bias_buffer = (
        builder.state(name, zeros, Role.BUFFER, layer=node.layer)
        for name, zeros in (
            ("w_buffer", np.zeros(shape, scheme.buffer)),
            ("bias_buffer", np.zeros(shape[0], np.int32)),
        )
    )
    emit_batch_update(
        *(builder, node, dy),
        (accumulate, {**window, "batch": scheme.batch}),
        (apply, {"momentum": scheme.momentum, "weight_decay": scheme.weight_decay}),
        buffers=(bias_buffer, buffer),
        moved=moved,
        scales=(node["row_scale"], step_rate(builder)),
        drawn=(GENERATOR,),
    )


def _count(node: Node, inputs: Values, outputs: Quantizations) -> list[Array]:
    (count,) = inputs
    return [(count.array + 1) % np.int32(node.attributes["batch"])]


count_sample = OpDef(
    name="count_sample",
    operands=("count",),
    infer=no_outputs,
    float_reference=lambda attributes, inputs: [(inputs[0] + 1) % attributes["batch"]],
    integer_reference=_count,
    c_call=lambda node, graph: CCall(
        function="insitu_count_sample",
        params_type="insitu_batch_params_t",
        params={"batch": node.attributes["batch"]},
        arguments=(f"${node['count']}",),
    ),
    ends=Ends.BATCH_OPEN,
)
"""One sample more; the batch is complete where the count is 0 again. Input: count[1]."""


def gain(batch: int) -> np.float32:
    """2^32 a batch's size: what a sample's gradient is multiplied by."""
    return F32(F32(2.0**32) / F32(batch))


RowGradient = Callable[[Node, Array, Array, tuple[int, ...]], tuple[Array, Array]]
"""(node, dy, x - zero point, shape of the weights) -> (gradient[row, k], its factor[row])."""


def _gradient_of_map(
    node: Node, dy: Array, x: Array, shape: tuple[int, ...]
) -> tuple[Array, Array]:
    """The sums over positions."""
    gradient = weight_gradient(node.attributes, dy[None], x[None], shape)
    return gradient.reshape(shape[0], -1), np.ones(shape[0], F32)


def _gradient_of_features(
    node: Node, dy: Array, x: Array, shape: tuple[int, ...]
) -> tuple[Array, Array]:
    """x alone, whose factor is the error."""
    return np.broadcast_to(x.reshape(1, -1), shape), dy.astype(F32)


def _accumulate(row_gradient: RowGradient) -> IntegerReference:
    def reference(node: Node, inputs: Values, outputs: Quantizations) -> list[Array]:
        error, x, *_ = inputs
        dy, _, scale, rate, generator, bias_buffer, buffer = (value.array for value in inputs)
        share = F32(F32(rate[0]) * scale_of(error))
        factor = share * scale_of(x) * gain(node.attributes["batch"])
        wide = dy.astype(np.int64)
        gradient, factors = row_gradient(node, wide, centred(x), buffer.shape)
        sums = wide.reshape(-1, len(buffer))
        rows, state = buffer.reshape(len(buffer), -1).astype(np.int64), int(generator[0])
        for row in np.flatnonzero(sums.any(axis=0)):
            ratio = factors[row] * factor / scale[row]
            multiplier = int(round_clamp(ratio, -(2**31 - 1), 2**31 - 1))
            rows[row], state = _add_row(
                rows[row], gradient[row], multiplier, state, buffer.dtype.name
            )
        return [
            np.asarray([state], np.uint32),
            _add_biases(bias_buffer, sums.sum(axis=0), share, node.attributes["batch"]),
            rows.astype(buffer.dtype).reshape(buffer.shape),
        ]

    return reference


def _add_biases(buffer: Array, errors: Array, share: np.float32, batch: int) -> Array:
    """bias_buffer[row] + errors[row] share / batch in units of 2^-26."""
    factor = share * (gain(batch) * F32(2.0**-6))
    step = round_clamp(errors.astype(F32) * factor, -BIAS_STEP_LIMIT, BIAS_STEP_LIMIT)
    return np.clip(buffer.astype(np.int64) + step, -BIAS_LIMIT, BIAS_LIMIT).astype(np.int32)


def _add_row(
    row: Array, gradient: Array, multiplier: int, state: int, dtype: str
) -> tuple[Array, int]:
    """buffer[k] + gradient[k] multiplier / 2^32 in its units: int16 rounds stochastically."""
    if dtype == "int16":
        octets, state = draw_bytes(state, len(row))
        step = (gradient * multiplier + (octets << 16) + (1 << 15)) >> 24
    else:
        step = (gradient * multiplier + (1 << 15)) >> 16
    return np.clip(row + step, -LIMIT[dtype], LIMIT[dtype]), state


def _accumulate_bounds(node: Node, graph: Graph) -> list[Bound]:
    dy = graph.operand(node, "dy")
    positions = dy.size // dy.shape[-1]
    return [Bound(f"{node.name}: gradient over {positions} positions", 127 * 255 * positions)]


def _accumulate_call(
    node: Node, graph: Graph, kernel: str, shape: Attributes, *scratch: str
) -> CCall:
    dy, x, scale, rate, generator, bias_buffer, buffer = node.inputs
    return CCall(
        function=f"insitu_{kernel}_accumulate_s8",
        params_type=f"insitu_{kernel}_accumulate_params_t",
        params={
            "shape": shape,
            "gain": float(gain(node.attributes["batch"])),
            "wide": int(graph.tensors[buffer].dtype == "int32"),
        },
        arguments=(
            *(f"?{dy}", f"?{x}", f"${dy}", f"${x}", f"${scale}", f"${rate}"),
            *scratch,
            *(f"${generator}", f"${bias_buffer}", f"${buffer}"),
        ),
        counts_saturated=True,
    )


def _linear_accumulate_c(node: Node, graph: Graph) -> CCall:
    shape = linear_params(graph.operand(node, "buffer"))
    return _accumulate_call(node, graph, "linear", shape)


def _conv_accumulate_c(node: Node, graph: Graph) -> CCall:
    dy, x, buffer = (graph.operand(node, name) for name in ("dy", "x", "buffer"))
    shape = shape_params(node.attributes, x, buffer, dy, gradient_band)
    return _accumulate_call(node, graph, kernel_of(node.attributes), shape, "!")


def _conv_accumulate_scratch(node: Node, graph: Graph) -> int:
    """The gradient of one row; with groups or dilation, see `gradient_scratch`."""
    dy, x, buffer = (graph.operand(node, name) for name in ("dy", "x", "buffer"))
    if is_plain(node.attributes):
        return 4 * buffer.size // buffer.shape[0]
    return gradient_scratch(node.attributes, x, buffer, dy, lines=1)


def accumulate_macs(node: Node, graph: Graph) -> int:
    """All weights at every position."""
    buffer, dy = graph.operand(node, "buffer"), graph.operand(node, "dy")
    return buffer.size * dy.size // dy.shape[-1]


linear_accumulate = OpDef(
    name="linear_accumulate",
    operands=("dy", "x", "row_scale", "rate", "generator", "bias_buffer", "buffer"),
    infer=no_outputs,
    integer_reference=_accumulate(_gradient_of_features),
    c_call=_linear_accumulate_c,
    macs=accumulate_macs,
    bounds=_accumulate_bounds,
)
"""buffer += rate dy x / batch. Inputs: dy, x, row scale, rate, generator, bias buffer, buffer."""


conv_accumulate = replace(
    linear_accumulate,
    name="conv_accumulate",
    integer_reference=_accumulate(_gradient_of_map),
    c_call=_conv_accumulate_c,
    scratch_bytes=_conv_accumulate_scratch,
)
"""The same, summed over positions."""


def _apply(node: Node, inputs: Values, outputs: Quantizations) -> list[Array]:
    rate, generator, bias_buffer, buffer, bias, w = (value.array for value in inputs)
    fraction = FRACTION[buffer.dtype.name]
    momentum = fixed_momentum(node.attributes["momentum"])
    shrink = decay_multiplier(F32(rate[0]), F32(node.attributes["weight_decay"]))
    draws = (shrink > 0) + (momentum > 0)
    words, state = draw_words(int(generator[0]), draws * w.size)
    words = words.reshape(w.size, draws)
    step, weights = buffer.reshape(-1).astype(np.int64), w.reshape(-1).astype(np.int64)
    if shrink > 0:
        step = step + ((weights * shrink + (words[:, 0] >> fraction)) >> (32 - fraction))
        step = np.clip(step, -LIMIT[buffer.dtype.name], LIMIT[buffer.dtype.name])
    noise = words[:, -1] >> (32 - fraction) if momentum > 0 else 1 << (fraction - 1)
    whole = (step + noise) >> fraction
    left = step - (whole << fraction)
    if momentum > 0:
        left = (step * momentum + (words[:, -1] & 0xFFFF)) >> 16
    bias_step, bias_left = _move_biases(bias_buffer.astype(np.int64), momentum)
    new_bias = np.clip(bias - bias_step, -BIAS_LIMIT, BIAS_LIMIT)
    return [
        np.asarray([state], np.uint32),
        bias_left.astype(np.int32),
        left.astype(buffer.dtype).reshape(buffer.shape),
        new_bias.astype(np.int32),
        np.clip(weights - whole, -127, 127).astype(np.int8).reshape(w.shape),
    ]


def _move_biases(buffer: Array, momentum: int) -> tuple[Array, Array]:
    """int64 in units of 2^-26 -> (step in units of 2^-20, what stays in the buffer)."""
    step = (buffer + 32) >> 6
    if momentum == 0:
        return step, buffer - (step << 6)
    kept = np.abs(buffer) * momentum >> 16
    return step, np.sign(buffer) * kept


def fixed_momentum(momentum: float) -> int:
    """Momentum times 2^16; 0 only where there is none."""
    return int(round_clamp(F32(momentum) * F32(65536.0), int(momentum > 0), 65535))


def _apply_c(node: Node, graph: Graph) -> CCall:
    buffer, w = graph.operand(node, "buffer"), graph.operand(node, "w")
    return CCall(
        function="insitu_apply_s8",
        params_type="insitu_apply_params_t",
        params={
            "rows": w.shape[0],
            "weights": w.size,
            "momentum": fixed_momentum(node.attributes["momentum"]),
            "weight_decay": float(node.attributes["weight_decay"]),
            "wide": int(buffer.dtype == "int32"),
        },
        arguments=tuple(f"${name}" for name in node.inputs),
    )


apply = OpDef(
    name="apply",
    operands=("rate", "generator", "bias_buffer", "buffer", "bias", "w"),
    infer=no_outputs,
    integer_reference=_apply,
    c_call=_apply_c,
)
"""w -= buffer, buffer *= momentum. Inputs: rate, generator, bias buffer, buffer, bias, w."""
