"""Several activations side by side along one axis. Twin: concat.c.

Each input is brought to the output's scale as a summand is: v = ((x - zero_x) M + 2^13) >> 14,
M = round(2^14 scale_x / scale_y); equal scales are copied. The gradient of an input is a slice of
the error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from insitu.errors import ModelError
from insitu.graph.builder import Builder
from insitu.graph.model import Array, CCall, Graph, Node, OpDef, TensorType
from insitu.graph.rules import Arrays, Attributes, Quantizations, Tensors, Types, Values
from insitu.ops.activations.clip import bounds_of, clip_error, with_clip
from insitu.ops.maps.pad import emit_slice
from insitu.ops.merge.add import brought, rounded
from insitu.ops.numerics.arguments import observed
from insitu.ops.numerics.by_type import bit_exact, by_type, clamped
from insitu.ops.numerics.outputs import put_out
from insitu.ops.numerics.ranges import observed_too, quantize_rescaled


def _infer(attributes: Attributes, inputs: Tensors) -> Types:
    axis, first = attributes["axis"], inputs[0].shape
    for x in inputs[1:]:
        if len(x.shape) != len(first) or _others(x.shape, axis) != _others(first, axis):
            raise ModelError(
                f"{inputs[0].name}{list(first)} and {x.name}{list(x.shape)} differ beside axis "
                f"{axis}; bring them to one size before it"
            )
    length = sum(x.shape[axis] for x in inputs)
    shape = (*first[:axis], length, *first[axis + 1 :])
    return observed_too(attributes, TensorType(shape, inputs[0].dtype))


def _others(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return shape[:axis] + shape[axis + 1 :]


def _float(attributes: Attributes, inputs: Arrays) -> Arrays:
    y = np.concatenate(inputs, axis=attributes["axis"] + 1)
    return [np.clip(y, *bounds_of(attributes))]


def _exact_float(node: Node, inputs: Values, outputs: Quantizations) -> Arrays:
    y = np.concatenate([value.array for value in inputs], axis=node.attributes["axis"])
    return [clamped(y, bounds_of(node.attributes))]


def _integer(node: Node, inputs: Values, outputs: Quantizations) -> Arrays:
    parts = [rounded(brought(value, outputs[0])) for value in inputs]
    return put_out(node, np.concatenate(parts, axis=node.attributes["axis"]), outputs[0])


def _vjp(builder: Builder, node: Node, dy: str, wanted: frozenset[str]) -> dict[str, str]:
    dy = clip_error(builder, node, dy)
    axis, start, gradients = node.attributes["axis"], 0, {}
    for index, (operand, name) in enumerate(node.operands.items(), start=1):
        shape = builder.tensors[name].shape
        low = tuple(start if a == axis else 0 for a in range(len(shape)))
        if operand in wanted:
            gradients[operand] = emit_slice(builder, node, dy, f"d{index}", low, shape)
        start += shape[axis]
    return gradients


def _parts(node: Node, graph: Graph) -> tuple[int, list[int]]:
    """How often the inputs alternate, and so many elements of each in turn."""
    axis = node.attributes["axis"]
    shapes = [graph.tensors[name].shape for name in node.inputs]
    return math.prod(shapes[0][:axis]), [math.prod(shape[axis:]) for shape in shapes]


def _c_call(node: Node, graph: Graph) -> CCall:
    y = node.outputs[0]
    repeats, sizes = _parts(node, graph)
    return CCall(
        function="insitu_concat_s8",
        params_type="insitu_concat_params_t",
        params={"repeats": repeats, "parts": len(sizes)},
        arguments=(
            tuple(f"?{name}" for name in node.inputs),
            f"?{y}",
            tuple(f"${name}" for name in node.inputs),
            tuple(str(size) for size in sizes),
            f"${y}",
            observed(node),
        ),
    )


def _float_c(node: Node, graph: Graph) -> CCall:
    repeats, sizes = _parts(node, graph)
    low, high = bounds_of(node.attributes)
    return CCall(
        function="insitu_concat_f32",
        params_type="insitu_concat_f32_params_t",
        params={"repeats": repeats, "parts": len(sizes), "min": low, "max": high},
        arguments=(
            tuple(f"${name}" for name in node.inputs),
            tuple(str(size) for size in sizes),
            f"${node.outputs[0]}",
        ),
    )


def _by_channel(
    attributes: Attributes, shapes: Sequence[tuple[int, ...]], factors: Array
) -> Array | None:
    """A factor of each input -> of each channel; None where not channels meet."""
    axis = attributes["axis"]
    if axis != len(shapes[0]) - 1:
        return None
    return np.repeat(factors, [shape[axis] for shape in shapes])


concat = OpDef(
    name="concat",
    operands=("x...",),
    infer=_infer,
    float_reference=_float,
    integer_reference=bit_exact(_integer, _exact_float),
    vjp=_vjp,
    quantize=lambda quantizer, node: quantize_rescaled(
        quantizer, node, {"axis": node.attributes["axis"]}
    ),
    absorb={"clip": with_clip, "branches": _by_channel},
    c_call=by_type(_c_call, _float_c),
)
"""Attributes axis (0: height, or features; 2: channels of a map), clip: an activation function's
bounds."""
