"""Updates of the preset `paper`: gradients of a batch in int32, standardized by row; ranges move.

w' = ((w - z) s - rate (g - mean g) / sd g) / s' + z', rounded to nearest; s' and z' are those of
the smallest and the largest new weight of the tensor. Per element in float, in a fixed order.
Twin: affine_update.c.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from insitu.fixed_point import (
    BIAS_STEP_LIMIT,
    F32,
    are_finite,
    range_qparams,
    round_clamp,
    square_root,
)
from insitu.graph.builder import Builder
from insitu.graph.model import Array, Bound, CCall, Graph, Node, OpDef, Phase, Role, Tensor
from insitu.graph.rules import Attributes, Quantizations, Values, no_outputs
from insitu.ops.numerics import geometry
from insitu.ops.numerics.grouped import weight_gradient
from insitu.ops.numerics.quantization import centred, scale_of
from insitu.ops.updates.buffer import accumulate_macs, emit_batch_update
from insitu.ops.updates.buffer_f32 import gradient_buffers

MOVING_AVERAGE = F32(0.01)
"""Weight of a sample in the range of errors."""

SMALLEST_ERROR = F32(2.0**-20)
"""The range of errors never becomes narrower."""


PARAMS = "insitu_conv_groups_params_t"


def output_places(attributes: Attributes) -> geometry.Pair:
    """Height and width of a layer's output."""
    size, kernel = attributes["size"], attributes["kernel"]
    stride, padding = attributes["stride"], attributes["padding"]
    return geometry.output_size(size, kernel, stride, padding, geometry.dilation_of(attributes))


def affine_params(attributes: Attributes, x: Tensor, w: Tensor, y: Tensor) -> Attributes:
    """Fields of insitu_conv_groups_params_t, without planes."""
    height, width = geometry.dilation_of(attributes)
    maps = (
        _over(attributes["size"], x),
        _over((w.shape[0], *attributes["kernel"]), w),
        _over(output_places(attributes), y),
    )
    return {
        "conv": geometry.conv_params(attributes, *maps),
        "groups": geometry.groups_of(attributes),
        "dilation_height": height,
        "dilation_width": width,
        "band": 0,
        "compact_bytes": 0,
    }


def _over(places: tuple[int, ...], tensor: Tensor) -> Tensor:
    """[*places, channel]."""
    return replace(tensor, shape=(*places, tensor.size // math.prod(places)))


def as_window(attributes: Attributes, w: Array) -> Array:
    """Weights as [row, kernel_h, kernel_w, channel of the group]."""
    return w.reshape(len(w), *attributes["kernel"], -1)


def as_map(places: geometry.Pair, x: Array) -> Array:
    """A layer's input, output or error as [1, h, w, channel]."""
    return x.reshape(1, *places, -1)


def emit_update(builder: Builder, node: Node, dy: str, window: Attributes) -> None:
    """Emit accumulation and, for complete batches, the standardized step of a layer."""
    w = builder.tensors[node["w"]]
    assert w.qparams is not None and w.qparams.range is not None
    emit_batch_update(
        *(builder, node),
        ((affine_accumulate, {**window, "batch": builder.scheme.batch}), (affine_apply, {})),
        reads=(dy, node["x"]),
        kept=gradient_buffers(builder, node, w.shape, "int32"),
        moved=(node["bias"], w.qparams.range, w.name),
    )


def follow_error(builder: Builder, node: Node, error_range: str, observed: str) -> None:
    """Emit what moves the range of the error before a layer.

    Samples move a copy; a complete batch takes it over, so that all gradients of a batch have one
    unit.
    """
    high = builder.tensors[error_range].data
    assert high is not None
    ahead = builder.state("error_ahead", high[1:].copy(), Role.RANGE, layer=node.layer)
    for op, source, changed, phase in (
        (average_error, observed, ahead, Phase.UPDATE),
        (adopt_error, ahead, error_range, Phase.APPLY),
    ):
        name = f"{node.name}.{op.name}"
        inputs, updates = (source, changed), (changed,)
        builder.node(op, inputs, name=name, updates=updates, layer=node.layer, phase=phase)


def _accumulate(node: Node, inputs: Values, outputs: Quantizations) -> list[Array]:
    error, x, bias_buffer, buffer = inputs
    dy = as_map(output_places(node.attributes), error.array.astype(np.int64))
    shape = as_window(node.attributes, buffer.array).shape
    dw = weight_gradient(node.attributes, dy, as_map(node.attributes["size"], centred(x)), shape)
    return [
        (bias_buffer.array + dy.sum(axis=(0, 1, 2))).astype(np.int32),
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


def _accumulate_scratch(node: Node, graph: Graph) -> int:
    buffer = graph.operand(node, "buffer")
    return 2 * buffer.size // buffer.shape[0]


def _accumulate_bounds(node: Node, graph: Graph) -> list[Bound]:
    dy, batch = graph.operand(node, "dy"), node.attributes["batch"]
    terms = batch * dy.size // dy.shape[-1]
    what = f"{node.name}: gradient over {terms // batch} positions and {batch} samples"
    return [Bound(what, 127 * 255 * terms)]


affine_accumulate = OpDef(
    name="affine_accumulate",
    operands=("dy", "x", "bias_buffer", "buffer"),
    infer=no_outputs,
    integer_reference=_accumulate,
    c_call=_accumulate_c,
    scratch_bytes=_accumulate_scratch,
    macs=accumulate_macs,
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


def _apply(node: Node, inputs: Values, outputs: Quantizations) -> list[Array]:
    rate, bias_buffer, buffer, bias, w_range, w = (value.array for value in inputs)
    *_, old = inputs
    gradient = buffer.reshape(len(w), -1)
    real = centred(old).reshape(gradient.shape).astype(F32) * scale_of(old)
    for row in range(len(w)):
        mean, factor = standardize(gradient[row], F32(rate[0]))
        real[row] -= (gradient[row].astype(F32) - mean) * factor
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
    rate, *changed = node.inputs
    return CCall(
        function="insitu_affine_apply_s8",
        params_type="insitu_linear_params_t",
        params=geometry.linear_params(graph.operand(node, "w")),
        arguments=(f"?{node['w']}", f"${rate}", "!", *(f"${name}" for name in changed)),
    )


affine_apply = OpDef(
    name="affine_apply",
    operands=("rate", "bias_buffer", "buffer", "bias", "range", "w"),
    infer=no_outputs,
    integer_reference=_apply,
    c_call=_apply_c,
    scratch_bytes=lambda node, graph: 8 * graph.operand(node, "w").shape[0],
)
"""The step of a batch. Inputs: rate, bias buffer, buffer, bias, range[2], w."""


def _call(node: Node, graph: Graph) -> CCall:
    """Its arguments are all that it reads."""
    arguments = tuple(f"${name}" for name in node.inputs)
    return CCall(f"insitu_{node.op.name}", params_type="", params={}, arguments=arguments)


def _average(node: Node, inputs: Values, outputs: Quantizations) -> list[Array]:
    observed, ahead = (value.array for value in inputs)
    with np.errstate(all="ignore"):
        moved = ahead + MOVING_AVERAGE * (observed - ahead)
    return [moved if are_finite(moved) else ahead]


average_error = OpDef(
    "average_error", no_outputs, ("largest", "average"), integer_reference=_average, c_call=_call
)
"""A moving average of the largest error of a sample. Inputs: largest[1], average[1]."""


def _adopt(node: Node, inputs: Values, outputs: Quantizations) -> list[Array]:
    average, _range = inputs
    largest = max(F32(average.array[0]), SMALLEST_ERROR)
    return [np.asarray([-largest * F32(128.0 / 127.0), largest], F32)]


adopt_error = OpDef(
    "adopt_error", no_outputs, ("average", "range"), integer_reference=_adopt, c_call=_call
)
"""The average becomes the range of the next batch's errors. Inputs: average[1], range[2]."""
