"""Gradient buffers: samples add to them, complete batches move what they hold to the weights.

A buffer holds, of every trained weight, the part of its step that has not been made: in units of
2^-8 (int16) or 2^-16 (int32) of the row's scale, so that it keeps its meaning while the scales of
activations move. Twin: buffer.c.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from insitu.errors import ConfigError
from insitu.fixed_point import BIAS_STEP_LIMIT, F32, LFSR_POLYNOMIAL, draw_bytes, round_clamp
from insitu.graph.builder import Builder
from insitu.graph.model import (
    Array,
    Bound,
    CCall,
    Ends,
    Graph,
    Node,
    OpDef,
    Phase,
    QParams,
    Role,
    Value,
)
from insitu.graph.names import BATCH_COUNT, GENERATOR, LEARNING_RATE
from insitu.ops.kernels.bands import gradient_band
from insitu.ops.kernels.choice import gradient_scratch, is_plain, kernel_of, shape_params
from insitu.ops.numerics.grouped import weight_gradient
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


def emit_buffered_update(
    builder: Builder, node: Node, dy: str, names: tuple[str, str, str], window: Mapping[str, Any]
) -> None:
    """Emit accumulation and, for complete batches, the move to the weights.

    Args:
        names: of the layer's weights, biases and row scales.
        window: attributes of a convolution, see `layer_gradient.window`.
    """
    w, bias, scale = names
    scheme, shape = builder.scheme, builder.tensors[w].shape
    zeros = np.zeros(shape, scheme.buffer)
    buffer = builder.state("w_buffer", zeros, Role.BUFFER, layer=node.layer)
    bias_buffer = builder.state(
        "bias_buffer", np.zeros(shape[0], np.int32), Role.BUFFER, layer=node.layer
    )
    builder.node(
        accumulate,
        (dy, node.inputs[0], scale, step_rate(builder), GENERATOR, bias_buffer, buffer),
        name=f"{node.name}.accumulate",
        attributes={**window, "batch": scheme.batch},
        updates=(GENERATOR, bias_buffer, buffer),
        layer=node.layer,
        phase=Phase.UPDATE,
    )
    builder.node(
        apply,
        (LEARNING_RATE, GENERATOR, bias_buffer, buffer, bias, w),
        name=f"{node.name}.apply",
        attributes={"momentum": scheme.momentum, "weight_decay": scheme.weight_decay},
        updates=(GENERATOR, bias_buffer, buffer, bias, w),
        layer=node.layer,
        phase=Phase.APPLY,
    )


def emit_decay(builder: Builder, node: Node, w: str) -> None:
    """Emit the weight decay of a layer that is updated in place: one row a step, in turn."""
    row = builder.state("decay_row", np.zeros(1, np.int32), Role.STATISTIC, layer=node.layer)
    builder.node(
        decay,
        (step_rate(builder), GENERATOR, row, w),
        name=f"{node.name}.decay",
        attributes={"weight_decay": builder.scheme.weight_decay},
        updates=(GENERATOR, row, w),
        layer=node.layer,
        phase=Phase.UPDATE,
    )


def _count(node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]) -> list[Array]:
    return [(inputs[0].array + 1) % np.int32(node.attributes["batch"])]


count_sample = OpDef(
    name="count_sample",
    operands=("count",),
    infer=lambda attributes, inputs: [],
    float_reference=lambda attributes, inputs: [(inputs[0] + 1) % attributes["batch"]],
    integer_reference=_count,
    c_call=lambda node, graph: CCall(
        function="insitu_count_sample",
        params_type="insitu_batch_params_t",
        params={"batch": node.attributes["batch"]},
        arguments=(f"${node.inputs[0]}",),
    ),
    ends=Ends.BATCH_OPEN,
)
"""One sample more; the batch is complete where the count is 0 again. Input: count[1]."""


def gain(batch: int) -> np.float32:
    """2^32 a batch's size: what a sample's gradient is multiplied by."""
    return F32(F32(2.0**32) / F32(batch))


def _accumulate(
    node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]
) -> list[Array]:
    dy, x, scale, rate, generator, bias_buffer, buffer = (value.array for value in inputs)
    dy_q, x_q = inputs[0].qparams, inputs[1].qparams
    assert dy_q is not None and x_q is not None
    share = F32(F32(rate[0]) * F32(dy_q.scale))
    factor = share * F32(x_q.scale) * gain(node.attributes["batch"])
    errors = dy.reshape(-1, dy.shape[-1]).astype(np.int64)
    is_conv = buffer.ndim == 4
    gradient = _row_gradients(node, dy, x.astype(np.int64) - x_q.zero_point, buffer)
    rows, state = buffer.reshape(len(buffer), -1).astype(np.int64), int(generator[0])
    for row in np.flatnonzero(errors.any(axis=0)):
        ratio = factor / scale[row] if is_conv else F32(errors[0, row]) * factor / scale[row]
        multiplier = int(round_clamp(ratio, -(2**31 - 1), 2**31 - 1))
        rows[row], state = _add_row(rows[row], gradient[row], multiplier, state, buffer.dtype.name)
    bias_factor = share * (gain(node.attributes["batch"]) * F32(2.0**-6))
    sums = errors.sum(axis=0).astype(F32)
    step = round_clamp(sums * bias_factor, -BIAS_STEP_LIMIT, BIAS_STEP_LIMIT)
    biases = np.clip(bias_buffer.astype(np.int64) + step, -BIAS_LIMIT, BIAS_LIMIT)
    return [
        np.asarray([state], np.uint32),
        biases.astype(np.int32),
        rows.astype(buffer.dtype).reshape(buffer.shape),
    ]


def _row_gradients(node: Node, dy: Array, centred: Array, buffer: Array) -> Array:
    """gradient[row, k].

    Of a convolution the sum over positions; of a linear layer x alone, whose factor is the error.
    """
    if buffer.ndim == 2:
        return np.broadcast_to(centred.reshape(1, -1), buffer.shape)
    errors = dy.astype(np.int64)[None]
    gradient = weight_gradient(node.attributes, errors, centred[None], buffer.shape)
    return gradient.reshape(len(buffer), -1)


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
    dy = graph.tensors[node.inputs[0]]
    positions = dy.size // dy.shape[-1]
    return [Bound(f"{node.name}: gradient over {positions} positions", 127 * 255 * positions)]


def _accumulate_c(node: Node, graph: Graph) -> CCall:
    dy, x, scale, rate, generator, bias_buffer, buffer = node.inputs
    tensor = graph.tensors[buffer]
    is_conv = len(tensor.shape) == 4
    kind = kernel_of(node.attributes) if is_conv else "linear"
    linear = {"out_features": tensor.shape[0], "in_features": tensor.size // tensor.shape[0]}
    shape = shape_params(
        node.attributes, graph.tensors[x], tensor, graph.tensors[dy], gradient_band
    )
    return CCall(
        function=f"insitu_{kind}_accumulate_s8",
        params_type=f"insitu_{kind}_accumulate_params_t",
        params={
            "shape": shape if is_conv else linear,
            "gain": float(gain(node.attributes["batch"])),
            "wide": int(tensor.dtype == "int32"),
        },
        arguments=(
            *(f"?{dy}", f"?{x}", f"${dy}", f"${x}", f"${scale}", f"${rate}"),
            *(["!"] if is_conv else []),
            *(f"${generator}", f"${bias_buffer}", f"${buffer}"),
        ),
        counts_saturated=True,
    )


def _accumulate_scratch(node: Node, graph: Graph) -> int:
    """The gradient of one row of a convolution; with groups or dilation, see `gradient_scratch`."""
    buffer = graph.tensors[node.inputs[-1]]
    if is_plain(node.attributes):
        return 4 * buffer.size // buffer.shape[0] if len(buffer.shape) == 4 else 0
    dy, x = (graph.tensors[name] for name in node.inputs[:2])
    return gradient_scratch(node.attributes, x, buffer, dy, lines=1)


def _accumulate_macs(node: Node, graph: Graph) -> int:
    buffer, dy = graph.tensors[node.inputs[-1]], graph.tensors[node.inputs[0]]
    return buffer.size * dy.size // dy.shape[-1]


accumulate = OpDef(
    name="accumulate",
    operands=("dy", "x", "row_scale", "rate", "generator", "bias_buffer", "buffer"),
    infer=lambda attributes, inputs: [],
    integer_reference=_accumulate,
    c_call=_accumulate_c,
    scratch_bytes=_accumulate_scratch,
    macs=_accumulate_macs,
    bounds=_accumulate_bounds,
)
"""buffer += rate dy x / batch. Inputs: dy, x, row scale, rate, generator, bias buffer, buffer."""


def draw_words(state: int, count: int) -> tuple[Array, int]:
    """`count` steps of the generator, all 32 bits of each -> (words int64, next state)."""
    words = np.empty(count, np.int64)
    for index in range(count):
        state = (state >> 1) ^ (LFSR_POLYNOMIAL if state & 1 else 0)
        words[index] = state
    return words, state


def _apply(node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]) -> list[Array]:
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


def decay_multiplier(rate: np.float32, weight_decay: np.float32) -> int:
    """The part of a weight that is lost, times 2^32, held below a half."""
    return int(round_clamp(F32(rate * weight_decay) * F32(2.0**32), 0, 2**31 - 1))


def _apply_c(node: Node, graph: Graph) -> CCall:
    buffer, w = graph.tensors[node.inputs[3]], graph.tensors[node.inputs[5]]
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
    infer=lambda attributes, inputs: [],
    integer_reference=_apply,
    c_call=_apply_c,
)
"""w -= buffer, buffer *= momentum. Inputs: rate, generator, bias buffer, buffer, bias, w."""


def _decay(node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]) -> list[Array]:
    rate, generator, row, w = (value.array for value in inputs)
    shrink = decay_multiplier(F32(rate[0]), row_decay(node, len(w)))
    index = int(row[0])
    flat = w[index].reshape(-1).astype(np.int64)
    words, state = draw_words(int(generator[0]), flat.size)
    new = w.copy()
    new[index] = (flat - ((flat * shrink + words) >> 32)).reshape(w[index].shape)
    return [np.asarray([state], np.uint32), (row + 1) % np.int32(len(w)), new]


def row_decay(node: Node, rows: int) -> np.float32:
    """The weight decay of a row that has its turn once in `rows` steps."""
    return F32(F32(node.attributes["weight_decay"]) * F32(rows))


def _decay_c(node: Node, graph: Graph) -> CCall:
    w = graph.tensors[node.inputs[3]]
    return CCall(
        function="insitu_decay_s8",
        params_type="insitu_decay_params_t",
        params={
            "rows": w.shape[0],
            "weights": w.size // w.shape[0],
            "weight_decay": float(row_decay(node, w.shape[0])),
        },
        arguments=tuple(f"${name}" for name in node.inputs),
    )


decay = OpDef(
    name="decay",
    operands=("rate", "generator", "row", "w"),
    infer=lambda attributes, inputs: [],
    integer_reference=_decay,
    c_call=_decay_c,
)
"""One row loses rate weight_decay rows of itself, the next step the next row; rounded
stochastically with 32 bits. Inputs: rate, generator, row[1], w."""


def check_bias_only(builder: Builder) -> None:
    """Biases alone have no buffer.

    Raises:
        ConfigError: they would need one.
    """
    if not builder.scheme.in_place:
        raise ConfigError(
            f"update bias with batch {builder.scheme.batch} and momentum "
            f"{builder.scheme.momentum:g} is not available; use batch 1 and momentum 0"
        )
