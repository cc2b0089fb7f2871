"""QuantizeLinear and DequantizeLinear of constants: ONNX evaluates them in new opsets only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from insitu.frontends.onnx.operation import NotSupportedError, Operation
from insitu.graph.model import Array

INTEGERS = ("int4", "uint4", "int8", "uint8", "int16", "uint16", "int32")
TYPES = {2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32"}
"""ONNX's number of an element type -> numpy's name, as far as QuantizeLinear may write it here."""


def dequantize(op: Operation, inputs: Sequence[Array]) -> Array:
    """(q - zero) scale in float32; q and zero are exact."""
    q, scale, zero = _together(op, inputs)
    if q.dtype.name not in INTEGERS:
        raise NotSupportedError(f"it reads {q.dtype}, only integers are available")
    return (q.astype(np.int64) - zero.astype(np.int64)).astype(np.float32) * scale


def quantize(op: Operation, inputs: Sequence[Array]) -> Array:
    """round(x / scale) + zero, halves to even, saturating."""
    x, scale, zero = _together(op, inputs)
    kind = zero.dtype
    if len(inputs) < 3:
        kind = np.dtype(TYPES.get(int(op.attributes.get("output_dtype", 0)), "uint8"))
    elif kind.name not in TYPES.values():
        raise NotSupportedError(f"it makes {kind}, integers of 8 to 32 bits are available")
    bounds = np.iinfo(kind)
    whole = np.rint(x.astype(np.float32) / scale).astype(np.float64) + zero.astype(np.float64)
    whole = np.where(np.isnan(whole), 0, whole)
    return np.clip(whole, bounds.min, bounds.max).astype(kind)


def _together(op: Operation, inputs: Sequence[Array]) -> tuple[Array, Array, Array]:
    """The data, and scale and zero point in a shape that goes with it."""
    data, scale = inputs[0], inputs[1].astype(np.float32)
    zero = inputs[2] if len(inputs) > 2 else np.zeros(scale.shape, np.int32)
    axis = int(op.attributes.get("axis", 1))
    if not -data.ndim <= axis < max(data.ndim, 2):
        raise op.error(f"axis {axis} of a tensor with {data.ndim} axes")
    if zero.shape != scale.shape and not zero.size == scale.size == 1:
        raise op.error(
            f"scale{list(scale.shape)} and zero point{list(zero.shape)} have different shapes"
        )
    if scale.size == 1:
        return data, scale.reshape(()), zero.reshape(())
    if scale.ndim != 1:
        raise NotSupportedError(
            f"scale{list(scale.shape)} is one a block, only one a tensor or a slice is available",
            "quantize weights per tensor, or per output channel",
        )
    if data.ndim <= axis or data.shape[axis] != scale.size:
        raise op.error(
            f"its input{list(data.shape)} has another number of slices along axis {axis} than "
            f"the {scale.size} scales"
        )
    along = [1] * data.ndim
    along[axis] = scale.size
    return data, scale.reshape(along), zero.reshape(along)
