"""ONNX's operators that keep all values, as changes of shape do -> identity, or nothing.

Invariant: a change of shape makes no node here; see `scope.Value`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from insitu.frontends.onnx.operation import NotSupportedError, Operation
from insitu.frontends.onnx.order import Order, Shape
from insitu.frontends.onnx.scope import Scope, Value
from insitu.graph.model import Array

FLOATS = (1, 10, 11, 16)  # TensorProto's FLOAT, FLOAT16, DOUBLE, BFLOAT16


def identity(scope: Scope, op: Operation) -> None:
    """Identity."""
    scope.elementwise(op, "identity")


def dropout(scope: Scope, op: Operation) -> None:
    """Dropout, which does nothing when it infers."""
    op.one_output()
    if "training_mode" in op and bool(scope.constant(op, "training_mode", "training_mode").any()):
        raise NotSupportedError("training_mode is true", "export the model in eval mode")
    scope.elementwise(op, "identity")


def cast(scope: Scope, op: Operation) -> None:
    """Cast between float types."""
    target = int(op.attributes.get("to", 0))
    if target not in FLOATS:
        raise NotSupportedError(f"a cast to the type {target}, only float types are available")
    scope.elementwise(op, "identity")


def flatten(scope: Scope, op: Operation) -> None:
    """Flatten."""
    _, shape = scope.value(op)
    axis = int(op.attributes.get("axis", 1))
    if not -len(shape) <= axis <= len(shape):
        raise op.error(f"axis {axis} of an input with {len(shape)} axes")
    axis += len(shape) if axis < 0 else 0
    scope.reshaped(op, (math.prod(shape[:axis]), math.prod(shape[axis:])))


def reshape(scope: Scope, op: Operation) -> None:
    """Reshape to a constant shape; a batch size that was baked in becomes 1."""
    _, old = scope.value(op)
    target = _whole(op, scope.constant(op, "shape", "shape"))
    if scope.batch > 1 and target and target[0] == scope.batch:
        target[0] = 1
    if not op.flag("allowzero"):
        for axis, size in enumerate(target):
            if size == 0 and axis >= len(old):
                raise op.error(f"shape {target} copies axis {axis} of {list(old)}")
            target[axis] = size or old[axis]
    if target.count(-1) > 1 or min(target, default=1) < -1:
        raise op.error(f"shape {target} is not one to reshape to")
    if -1 in target:
        rest = -math.prod(target)
        if rest == 0 or math.prod(old) % rest:
            raise op.error(
                f"the input {list(old)} has {math.prod(old)} elements, "
                f"which shape {target} cannot take"
            )
        target[target.index(-1)] = math.prod(old) // rest
    scope.reshaped(op, tuple(target))


def squeeze(scope: Scope, op: Operation) -> None:
    """Squeeze."""
    _, shape = scope.value(op)
    axes = _axes(scope, op, len(shape))
    if axes is None:
        axes = {a for a, size in enumerate(shape) if size == 1}
    wide = [a for a in sorted(axes) if shape[a] != 1]
    if wide:
        raise op.error(f"axis {wide[0]} of {list(shape)} has {shape[wide[0]]} elements, not 1")
    scope.reshaped(op, tuple(size for a, size in enumerate(shape) if a not in axes))


def unsqueeze(scope: Scope, op: Operation) -> None:
    """Unsqueeze."""
    _, shape = scope.value(op)
    count = len(op.attributes.get("axes", ())) or scope.constant(op, "axes", "axes").size
    axes = _axes(scope, op, len(shape) + count) or set()
    rest = iter(shape)
    result = [1 if a in axes else next(rest, 1) for a in range(len(shape) + len(axes))]
    scope.reshaped(op, tuple(result))


def transpose(scope: Scope, op: Operation) -> None:
    """Transpose: ONNX reads the same tensor in another order, or a vector as a map."""
    _, shape = scope.value(op)
    order = [int(a) for a in op.attributes.get("perm", range(len(shape))[::-1])]
    if sorted(order) != list(range(len(shape))):
        raise op.error(f"perm {order} does not order the {len(shape)} axes of {list(shape)}")
    value, result = scope.value(op)[0], tuple(shape[a] for a in order)
    held = scope.builder.tensors[value.tensor].shape
    read = (value.order or Order.of(held)).transposed(shape, order)
    if read is None:  # its axes are none of memory's
        value = Value(scope.as_vector(value), shape)
        read = Order(shape, tuple(range(len(shape)))).transposed(shape, order)
    assert read is not None
    scope.bind(op, 0, replace(scope.as_seen(value.tensor, result, read), layout=op.name))


def _axes(scope: Scope, op: Operation, rank: int) -> set[int] | None:
    """The axes as attribute (before opset 13) or input, none of them negative."""
    if "axes" in op.attributes:
        axes = [int(a) for a in op.attributes["axes"]]
    elif "axes" in op:
        axes = _whole(op, scope.constant(op, "axes", "axes"))
    else:
        return None
    bad = [a for a in axes if not -rank <= a < rank]
    if bad:
        raise op.error(f"axis {bad[0]} of {rank} axes")
    return {a + rank if a < 0 else a for a in axes}


def _whole(op: Operation, array: Array) -> list[int]:
    if array.dtype.kind not in "iu" or array.ndim > 1 or array.size > 16:
        raise op.error(f"{array.dtype}{list(array.shape)} is not a list of axes or sizes")
    return [int(v) for v in array.reshape(-1)]


def value_shape(shape: Shape, op: Operation) -> Array:
    """What Shape or Size gives for a known shape."""
    if op.op == "Size":
        return np.array(math.prod(shape), np.int64)
    start, end = op.attributes.get("start", 0), op.attributes.get("end", None)
    return np.array(shape[int(start) : end if end is None else int(end)], np.int64)


IMPORTERS: dict[str, Callable[[Scope, Operation], None]] = {
    "Cast": cast,
    "Dropout": dropout,
    "Flatten": flatten,
    "Identity": identity,
    "Reshape": reshape,
    "Squeeze": squeeze,
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
}
"""ONNX operator -> what imports it."""

PASSES_ON = frozenset(IMPORTERS) | {"DequantizeLinear", "QuantizeLinear"}
"""Operators behind which there are the same values."""
