"""Updates of the preset `paper`: gradients of a batch in int32, standardized by row; ranges move.

w' = ((w - z) s - rate (g - mean g) / sd g) / s' + z', rounded to nearest; s' and z' are those of
the smallest and the largest new weight of the tensor. Per element in float, in a fixed order.
Twin: affine_update.c.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from insitu.fixed_point import BIAS_STEP_LIMIT, F32, range_qparams, round_clamp, square_root
from insitu.graph.builder import Builder
from insitu.graph.model import (
    Array,
    Bound,
    CCall,
    Graph,
    Node,
    OpDef,
    Phase,
    QParams,
    Role,
    Tensor,
    Value,
)
from insitu.graph.names import LEARNING_RATE
from insitu.ops.numerics.geometry import conv_params, dilation_of, groups_of
from insitu.ops.numerics.grouped import weight_gradient

MOVING_AVERAGE = F32(0.01)
"""Weight of a sample in the range of errors."""

SMALLEST_ERROR = F32(2.0**-20)
"""The range of errors never becomes narrower."""


PARAMS = "insitu_conv_groups_params_t"


def affine_params(attributes: Mapping[str, Any], x: Tensor, w: Tensor, y: Tensor) -> dict[str, Any]:
    """Fields of insitu_conv_groups_params_t, without planes."""
    height, width = dilation_of(attributes)
    return {
        "conv": conv_params(attributes, x, w, y),
        "groups": groups_of(attributes),
        "dilation_height": height,
        "dilation_width": width,
        "band": 0,
        "live_bytes": 0,
    }


def window_of(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes of the convolution that a layer is."""
    return {"stride": (1, 1), "padding": (0, 0, 0, 0), **attributes}


def as_window(w: Array) -> Array:
    """Weights as [row, kernel_h, kernel_w, channel of the group]."""
    return w if w.ndim == 4 else w.reshape(len(w), 1, 1, -1)


def as_map(x: Array, w: Array) -> Array:
    """A layer's input, output or error as [1, h, w, channel]; w: its weights."""
    return x[None] if w.ndim == 4 else x.reshape(1, 1, 1, -1)


def centred_map(x: Value, w: Array) -> Array:
    """x - zero point, int64, as `as_map`."""
    assert x.qparams is not None
    return as_map(x.array.astype(np.int64) - x.qparams.zero_point, w)


def emit_update(builder: Builder, node: Node, dy: str, window: Mapping[str, Any]) -> None:
    """Emit accumulation and, for complete batches, the standardized step of a layer."""
    x, w, bias = node.inputs
    tensor = builder.tensors[w]
    assert tensor.qparams is not None and tensor.qparams.range is not None
    buffers = tuple(
        builder.state(name, np.zeros(shape, np.int32), Role.BUFFER, layer=node.layer)
        for name, shape in (("bias_buffer", tensor.shape[:1]), ("w_buffer", tensor.shape))
    )
    builder.node(
        affine_accumulate,
        (dy, x, *buffers),
        name=f"{node.name}.accumulate",
        attributes={**window, "batch": builder.scheme.batch},
        updates=buffers,
        layer=node.layer,
        phase=Phase.UPDATE,
    )
    changed = (*buffers, bias, tensor.qparams.range, w)
    builder.node(
        affine_apply,
        (LEARNING_RATE, *changed),
        name=f"{node.name}.apply",
        updates=changed,
        layer=node.layer,
        phase=Phase.APPLY,
    )


def follow_error(builder: Builder, node: Node, error_range: str, observed: str) -> None:
    """Emit what moves the range of the error before a layer.

    Samples move a copy; a complete batch takes it over, so that all gradients of a batch have one
    unit.
    """
    high = builder.tensors[error_range].data
    assert high is not None
    ahead = builder.state("error_ahead", high[1:].copy(), Role.RANGE, layer=node.layer)
    builder.node(
        average_error,
        (observed, ahead),
        name=f"{node.name}.average_error",
        updates=(ahead,),
        layer=node.layer,
        phase=Phase.UPDATE,
    )
    builder.node(
        adopt_error,
        (ahead, error_range),
        name=f"{node.name}.adopt_error",
        updates=(error_range,),
        layer=node.layer,
        phase=Phase.APPLY,
    )


def _accumulate(
    node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]
) -> list[Array]:
    dy, x, bias_buffer, buffer = inputs
    errors = as_map(dy.array.astype(np.int64), buffer.array)
    shape = as_window(buffer.array).shape
    dw = weight_gradient(window_of(node.attributes), errors, centred_map(x, buffer.array), shape)
    return [
        (bias_buffer.array + errors.sum(axis=(0, 1, 2))).astype(np.int32),
        (buffer.array + dw.reshape(buffer.array.shape)).astype(np.int32),
    ]


def _accumulate_c(node: Node, graph: Graph) -> CCall:
    dy, x, bias_buffer, buffer = node.inputs
    tensors = graph.tensors
    return CCall(
        function="insitu_affine_accumulate_s8",
        params_type=PARAMS,
        params=affine_params(node.attributes, tensors[x], tensors[buffer], tensors[dy]),
        arguments=(f"?{x}", f"${dy}", f"${x}", "!", f"${bias_buffer}", f"${buffer}"),
    )


def _accumulate_bounds(node: Node, graph: Graph) -> list[Bound]:
    dy, batch = graph.tensors[node.inputs[0]], node.attributes["batch"]
    terms = batch * dy.size // dy.shape[-1]
    what = f"{node.name}: gradient over {terms // batch} positions and {batch} samples"
    return [Bound(what, 127 * 255 * terms)]


affine_accumulate = OpDef(
    name="affine_accumulate",
    operands=("dy", "x", "bias_buffer", "buffer"),
    infer=lambda attributes, inputs: [],
    integer_reference=_accumulate,
    c_call=_accumulate_c,
    scratch_bytes=lambda node, graph: (
        2 * graph.tensors[node.inputs[3]].size // graph.tensors[node.inputs[3]].shape[0]
    ),
    macs=lambda node, graph: (
        graph.tensors[node.inputs[3]].size
        * graph.tensors[node.inputs[0]].size
        // graph.tensors[node.inputs[0]].shape[-1]
    ),
    bounds=_accumulate_bounds,
)
"""buffer += dy x, exactly. Inputs: dy, x, bias buffer, buffer."""


def standardize(gradient: Array, rate: np.float32) -> tuple[np.float32, np.float32]:
    """One structure's gradient, integers -> (mean, rate / sd); 0 where sd is 0."""
    n = F32(len(gradient))
    mean = F32(gradient.sum(dtype=np.int64).astype(F32) / n)
    deviation = gradient.astype(F32) - mean
    squares = np.add.accumulate(deviation * deviation, dtype=F32)[-1]
    sd = square_root(F32(squares / n))
    return mean, F32(rate / sd) if sd > 0 else F32(0.0)


def _apply(node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]) -> list[Array]:
    rate, bias_buffer, buffer, bias, w_range, w = (value.array for value in inputs)
    q = inputs[5].qparams
    assert q is not None
    rows, gradient = w.reshape(len(w), -1), buffer.reshape(len(w), -1)
    real = np.empty(rows.shape, F32)
    for row in range(len(w)):
        mean, factor = standardize(gradient[row], F32(rate[0]))
        old = (rows[row].astype(np.int64) - q.zero_point).astype(F32) * F32(q.scale)
        real[row] = old - (gradient[row].astype(F32) - mean) * factor
    low, high = min(F32(0.0), real.min()), max(F32(0.0), real.max())
    new_range, new_w = w_range, w
    if high - low > F32(1e-20):
        new_range = np.asarray([low, high], F32)
        new = range_qparams(float(low), float(high), float("-inf"), float("inf"))
        zero = new.zero_point
        scaled = real / F32(new.scale)
        new_w = (zero + round_clamp(scaled, -128 - zero, 127 - zero)).astype(np.int8)
    mean, factor = standardize(bias_buffer, F32(rate[0]))
    move = (bias_buffer.astype(F32) - mean) * factor * F32(2.0**20)
    new_bias = bias.astype(np.int64) - round_clamp(move, -BIAS_STEP_LIMIT, BIAS_STEP_LIMIT)
    return [
        np.zeros_like(bias_buffer),
        np.zeros_like(buffer),
        np.clip(new_bias, -(2**30), 2**30).astype(np.int32),
        new_range,
        new_w.reshape(w.shape),
    ]


def _apply_c(node: Node, graph: Graph) -> CCall:
    w = graph.tensors[node.inputs[-1]]
    return CCall(
        function="insitu_affine_apply_s8",
        params_type="insitu_linear_params_t",
        params={"out_features": w.shape[0], "in_features": w.size // w.shape[0]},
        arguments=(f"?{w.name}", f"${node.inputs[0]}", "!", *(f"${n}" for n in node.inputs[1:])),
    )


affine_apply = OpDef(
    name="affine_apply",
    operands=("rate", "bias_buffer", "buffer", "bias", "range", "w"),
    infer=lambda attributes, inputs: [],
    integer_reference=_apply,
    c_call=_apply_c,
    scratch_bytes=lambda node, graph: 8 * graph.tensors[node.inputs[-1]].shape[0],
)
"""The step of a batch. Inputs: rate, bias buffer, buffer, bias, range[2], w."""


def _average(node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]) -> list[Array]:
    observed, ahead = (value.array for value in inputs)
    return [ahead + MOVING_AVERAGE * (observed - ahead)]


average_error = OpDef(
    name="average_error",
    operands=("largest", "average"),
    infer=lambda attributes, inputs: [],
    integer_reference=_average,
    c_call=lambda node, graph: CCall(
        function="insitu_average_error",
        params_type="",
        params={},
        arguments=tuple(f"${name}" for name in node.inputs),
    ),
)
"""A moving average of the largest error of a sample. Inputs: largest[1], average[1]."""


def _adopt(node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]) -> list[Array]:
    largest = max(F32(inputs[0].array[0]), SMALLEST_ERROR)
    return [np.asarray([-largest * F32(128.0 / 127.0), largest], F32)]


adopt_error = OpDef(
    name="adopt_error",
    operands=("average", "range"),
    infer=lambda attributes, inputs: [],
    integer_reference=_adopt,
    c_call=lambda node, graph: CCall(
        function="insitu_adopt_error",
        params_type="",
        params={},
        arguments=tuple(f"${name}" for name in node.inputs),
    ),
)
"""The average becomes the range of the next batch's errors. Inputs: average[1], range[2]."""
