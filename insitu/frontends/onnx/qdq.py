"""QuantizeLinear, DequantizeLinear -> known quantization of our float graph's tensors.

Invariant: a pair of both makes no node, except the clip that its saturation is where an exporter
removed the activation function before it. What the file says is kept in `Tensor.qparams`: of
weights one scale a row, of activations scale and zero point; `quantize` takes it from there.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from insitu.fixed_point import F32, affine_qparams, real_range
from insitu.frontends.onnx.operation import NotSupportedError, Operation
from insitu.frontends.onnx.operators.activations import FUNCTIONS
from insitu.frontends.onnx.operators.shape import PASSES_ON
from insitu.frontends.onnx.scope import QuantizedData, Scope, Value
from insitu.graph.model import Array, QParams
from insitu.ops import OPS
from insitu.ops.losses.table import LOSSES
from insitu.ops.numerics.quantization import keeps_quantization

UNSIGNED_ZERO = 128
"""uint8 q is int8 q - 128."""

SMALLEST, LARGEST = 1e-32, 1e36
"""Of a scale: 255 of them, and products with row scales, are normal float32 numbers."""

WIDE = ("int16", "uint16", "int4", "uint4")
"""Types of integers that activations are not kept in."""

OUTPUT_TYPES = {4: "uint16", 5: "int16", 21: "uint4", 22: "int4"}
"""ONNX's numbers of these."""

MOVES = frozenset(
    {"Flatten", "Gather", "Identity", "MaxPool", "Reshape", "Slice", "Split", "Squeeze"}
    | {"Transpose", "Unsqueeze"}
)
"""Operators that files of integer operators have between these: they need no scale."""

OF_INTEGERS = MOVES | {"DequantizeLinear"}

ENDS = PASSES_ON | {
    operator
    for operator, function in FUNCTIONS.items()
    if function in {loss.absorbs for loss in LOSSES.values()}
}
"""Behind the last layer nothing else follows; the scores leave it in float."""


def quantize_linear(scope: Scope, op: Operation) -> None:
    """QuantizeLinear of an activation: its scale and zero point are known from now on."""
    value, _ = scope.value(op)
    name, bound = op["x"], value
    is_end, wide = scope.leads_through(op.outputs[0], ENDS), _wide_type(scope, op)
    if wide:
        if not is_end:
            bound = _saturated(scope, value, _wide_range(scope, op, wide), both=True)
        scope.wide.add(op.outputs[0])
    else:
        q = _activation_qparams(scope, op, "y")
        if not is_end:
            bound = _saturated(scope, value, real_range(q))
            _remember(scope, op, bound.tensor, q)
        scope.integers[op.outputs[0]] = q
    scope.bind(op, 0, bound)
    if name in scope.layers and bound == value and len(scope.readers[name]) == 1:
        scope.layers.add(op.outputs[0])


def dequantize_linear(scope: Scope, op: Operation) -> None:
    """DequantizeLinear of what a QuantizeLinear made."""
    name = op["x"]
    value, _ = scope.value(op)
    written = scope.integers.get(name)
    if written is None and name not in scope.wide:
        raise NotSupportedError(
            f'its input "{name}" is not the output of a QuantizeLinear',
            "quantize in QDQ format (onnxruntime: QuantFormat.QDQ)",
        )
    if written is not None:
        q = _activation_qparams(scope, op, "x")
        if (q.scale, q.zero_point) != (written.scale, written.zero_point):
            raise NotSupportedError(
                f"it reads with scale {q.scale:g} and zero point {q.zero_point} what was written "
                f"with {written.scale:g} and {written.zero_point} (of int8)",
                "give both the same scale and zero point",
            )
    scope.bind(op, 0, value)
    if name in scope.layers and len(scope.readers[name]) == 1:
        scope.layers.add(op.outputs[0])


def pass_on(scope: Scope, op: Operation) -> None:
    """Integers that only change places are integers still."""
    name = op.operands.get(op.first, "")
    if op.op not in MOVES:
        return
    if name in scope.integers:
        scope.integers.update((output, scope.integers[name]) for output in op.outputs)
    if name in scope.wide:
        scope.wide.update(op.outputs)


def keep_known(scope: Scope, op: Operation) -> None:
    """Remember what a folded node says of the scales of the constant that it made."""
    if op.op == "DequantizeLinear":
        q, scale = scope.constants[op["x"]], scope.constants[op["x_scale"]]
        given = "x_zero_point" in op
        zero = scope.constants[op["x_zero_point"]] if given else np.zeros((), q.dtype)
        scope.quantized[op.outputs[0]] = QuantizedData(q.dtype.name, scale, zero)
    elif op.op in PASSES_ON and op.operands.get(op.first) in scope.quantized:
        scope.quantized[op.outputs[0]] = scope.quantized[op[op.first]]


def _wide_type(scope: Scope, op: Operation) -> str:
    """The integers of an activation of other than 8 bits, which is read as floats; else ""."""
    kind = OUTPUT_TYPES.get(int(op.attributes.get("output_dtype", 0)), "")
    if "y_zero_point" in op:
        kind = scope.constant(op, "y_zero_point", "zero point").dtype.name
    if kind not in WIDE:
        return ""
    note = (
        f"activations of {kind} are read as floats; their ranges are found on the calibration "
        "samples"
    )
    if note not in scope.notes:
        scope.notes.append(note)
    return kind


def _wide_range(scope: Scope, op: Operation, kind: str) -> tuple[float, float]:
    """The real numbers that an activation of such integers can be."""
    scale, zero = scope.floats(op, "y_scale", "scale"), 0
    if "y_zero_point" in op:
        point = scope.constant(op, "y_zero_point", "zero point")
        zero = int(point.reshape(-1)[0]) if point.size else 0
    bits = int(kind.removeprefix("u").removeprefix("int"))
    low = 0 if kind.startswith("u") else -(2 ** (bits - 1))
    step = float(np.abs(scale).max()) if scale.size else 0.0
    return (low - zero) * step, (low + 2**bits - 1 - zero) * step


def _activation_qparams(scope: Scope, op: Operation, tensor: str) -> QParams:
    """Of x or y."""
    scale, point = scope.floats(op, f"{tensor}_scale", "scale"), f"{tensor}_zero_point"
    if scale.size != 1:
        raise NotSupportedError(
            f"{scale.size} scales for an activation, only 1 is available",
            "quantize activations per tensor",
        )
    given = point in op
    zero = scope.constant(op, point, "zero point") if given else np.zeros((), _default_type(op))
    if zero.dtype.name not in ("int8", "uint8"):
        raise NotSupportedError(
            f"an activation of {zero.dtype.name}, only int8 and uint8 are available",
            "quantize activations to 8 bits",
        )
    if zero.size != 1:
        raise op.error(f"its scale is one number, its zero point {zero.size}")
    number = float(scale.reshape(()))
    if not SMALLEST <= number <= LARGEST:
        raise op.error(f"its scale is {number:g}, outside [{SMALLEST:g}, {LARGEST:g}]")
    shift = UNSIGNED_ZERO if zero.dtype.name == "uint8" else 0
    return affine_qparams(F32(number), int(zero.reshape(())) - shift)


def _default_type(op: Operation) -> str:
    """The type where no zero point says it: ONNX's number 3 is int8, 2 and nothing uint8."""
    kind = int(op.attributes.get("output_dtype", 0))
    if kind not in (0, 2, 3):
        raise NotSupportedError(
            f"an activation of ONNX's type {kind}, only int8 and uint8 are available",
            "quantize activations to 8 bits",
        )
    return "int8" if kind == 3 else "uint8"


def _saturated(
    scope: Scope, value: Value, ends: tuple[float, float], *, both: bool = False
) -> Value:
    """The value behind a clip, where saturating at 0 is all that is left of a ReLU.

    Args:
        both: the other end saturates too, where no quantization is known that does it.
    """
    low, high = ends
    bounds = (0.0 if low == 0 else -math.inf, 0.0 if high == 0 else math.inf)
    if both and 0 in ends:
        bounds = ends
    writer = scope.writer(value.tensor)
    if bounds == (-math.inf, math.inf) or writer is None:
        return value
    if writer.op.quantize is not None and "clip" not in writer.op.absorb:
        return value  # what is folded into a layer has no quantization of its own
    (tensor,) = scope.builder.node(
        OPS["clip"],
        [value.tensor],
        name=f"{writer.name}.relu",
        attributes={"min": bounds[0], "max": bounds[1]},
    )
    return replace(value, tensor=tensor)


def _remember(scope: Scope, op: Operation, name: str, q: QParams) -> None:
    tensor = scope.builder.tensors[name]
    old = tensor.qparams
    if old is not None and (old.scale, old.zero_point) != (q.scale, q.zero_point):
        raise NotSupportedError(
            f"its input is quantized twice, with the scales {old.scale:g} and {q.scale:g}",
            "quantize every tensor once",
        )
    scope.builder.tensors[name] = replace(tensor, qparams=q)
    writer = scope.writer(name)
    if writer is None or writer.op.quantize is not keeps_quantization:
        return
    kept = scope.builder.tensors[writer["x"]].qparams
    if kept is not None and (kept.scale, kept.zero_point) != (q.scale, q.zero_point):
        note = (
            f'{writer.op.name} "{writer.name}": its output keeps the scale {kept.scale:g} and the '
            f"zero point {kept.zero_point} of its input, not {q.scale:g} and {q.zero_point} as the "
            "file has it"
        )
        if note not in scope.notes:  # a file quantizes again behind a change of shape
            scope.notes.append(note)


def row_scales(known: QuantizedData, data: Array) -> tuple[Array | None, str]:
    """The scale of each row of a weight data[rows, ...], and what is to be told.

    It is the file's where the integers beside the zero point are in -127..127, also where the scale
    is negative; else the row's own. None where the whole weight has scales of its own.
    """
    rows = data.shape[0]
    scale, flat = np.abs(known.scale.astype(F32).reshape(-1)), data.reshape(rows, -1)
    if scale.size == 1:
        scale = np.full(rows, scale[0])
    largest = np.abs(flat).max(axis=1)
    fits = scale.size == rows and bool((scale >= SMALLEST).all() and (scale <= LARGEST).all())
    integers = np.rint(flat / scale[:, None]) if fits else None
    if integers is None or (integers.astype(F32) * scale[:, None] != flat).any():
        if not largest.any():
            return None, ""
        return None, _told(known, rows, rows, flat, np.maximum(largest, SMALLEST) / F32(127))
    beyond = np.abs(integers).max(axis=1) > 127
    if not beyond.any():
        return scale, ""
    scale = np.where(beyond, largest / F32(127), scale).astype(F32)
    return scale, _told(known, int(beyond.sum()), rows, flat, scale)


def _told(known: QuantizedData, count: int, rows: int, flat: Array, scale: Array) -> str:
    """What a scale of ours changes."""
    error = np.abs(np.rint(flat / scale[:, None]) * scale[:, None] - flat)
    share = float((error.max(axis=1) / np.maximum(np.abs(flat).max(axis=1), SMALLEST)).max())
    return (
        f"{count} of {rows} rows of its {known.dtype} weights do not fit -127..127 beside the zero "
        f"point and have scales of ours, which changes a weight by at most {share:.2%} of the "
        "largest in its row"
    )
