"""ONNX's pools, and reductions over places -> max_pool, average_pool."""

from __future__ import annotations

import math

import numpy as np

from insitu.frontends.onnx.file import STANDARD_DOMAINS
from insitu.frontends.onnx.operation import NotSupportedError, Operation
from insitu.frontends.onnx.order import Facing, Shape
from insitu.frontends.onnx.scope import Scope
from insitu.frontends.onnx.windows import Window, check_cost, pair, window_of


def max_pool(scope: Scope, op: Operation) -> None:
    """MaxPool."""
    op.one_output()
    if op.flag("storage_order"):
        raise NotSupportedError("storage_order 1, only 0 is available")
    x, window = _pooled(scope, op)
    scope.emit(op, "max_pool", [x], **window.attributes)


def average_pool(scope: Scope, op: Operation) -> None:
    """AveragePool."""
    x, window = _pooled(scope, op)
    counts = op.flag("count_include_pad")
    if counts and window.overhang:
        raise NotSupportedError(
            "ceil_mode 1 with count_include_pad 1, whose last windows divide by another number",
            "use count_include_pad 0 or ceil_mode 0 and train again",
        )
    scope.emit(op, "average_pool", [x], **window.attributes, count_include_pad=counts)


def global_pool(kind: str, scope: Scope, op: Operation) -> None:
    """GlobalAveragePool, GlobalMaxPool."""
    axes = tuple(range(2, len(_map_shape(scope, op))))
    _over_axes(scope, op, kind, axes, Facing(last=False), keep=True)


def reduce(kind: str, scope: Scope, op: Operation) -> None:
    """ReduceMean or ReduceMax over axes of the image or the signal."""
    shape = _map_shape(scope, op)
    if "axes" in op:
        given = scope.constant(op, "axes", "axes")
        if given.dtype.kind not in "iu" or given.size > len(shape):
            raise op.error(f"its axes are {given.dtype}{list(given.shape)}, not a list of axes")
        axes = tuple(int(a) for a in given.reshape(-1))
    else:
        axes = tuple(int(a) for a in op.attributes.get("axes", ()))
    if not axes and op.flag("noop_with_empty_axes"):
        scope.bind(op, 0, scope.value(op)[0])
        return
    axes = tuple(sorted({a + len(shape) if a < 0 else a for a in axes}))
    facing, keep = scope.facing(op), op.flag("keepdims", default=True)
    known = axes and axes[0] >= 0 and axes[-1] < len(shape)
    if known and min(facing.axis(a, len(shape)) for a in axes) >= 2:
        _over_axes(scope, op, kind, axes, facing, keep=keep)
        return
    raise NotSupportedError(
        f"{op.op} over axes {list(axes)} of {list(shape)}; only axes of the image are available, "
        "2 and 3, or 1 and 2 where it has the channels last",
        "pool over the image or the signal, and train again",
    )


def reduce_sum(scope: Scope, op: Operation) -> None:
    """ReduceSum over axes of the image or the signal: so many times their average."""
    reduce("average_pool", scope, op)
    (_, before), pooled = scope.value(op), scope.values[op.outputs[0]]
    count = math.prod(before) // math.prod(pooled.shape or ())
    if _is_scaled(scope, op.outputs[0]):
        scope.factors[op.outputs[0]] = count
    else:
        channels = scope.builder.tensors[pooled.tensor].shape[-1]
        data = {"gamma": count, "beta": 0, "mean": 0, "variance": 1}
        inputs = [scope.weight(op, key, np.full(channels, v)) for key, v in data.items()]
        inputs.insert(0, pooled.tensor)
        scope.emit(op, "batch_norm", inputs, pooled.shape, pooled.order, epsilon=0.0)


def _is_scaled(scope: Scope, name: str) -> bool:
    """Whether one constant divides or multiplies a tensor, and nothing else reads it."""
    readers = scope.readers.get(name, [])
    if len(readers) != 1 or name in scope.outputs or readers[0].op_type not in ("Div", "Mul"):
        return False
    if readers[0].domain not in STANDARD_DOMAINS or len(readers[0].input) != 2:
        return False
    first, second = readers[0].input
    return second in scope.constants or (readers[0].op_type == "Mul" and first in scope.constants)


def _map_shape(scope: Scope, op: Operation) -> Shape:
    shape = scope.value(op)[1]
    if len(shape) not in (3, 4):
        raise NotSupportedError(
            f"its input has the shape {list(shape)}; signals [1, c, l] and images [1, c, h, w] "
            "can be pooled"
        )
    return shape


def _over_axes(
    scope: Scope, op: Operation, kind: str, axes: Shape, facing: Facing, *, keep: bool
) -> None:
    shape = _map_shape(scope, op)
    sizes = facing.first([d if a in axes else 1 for a, d in enumerate(shape)])
    kernel = pair(sizes[2:])
    kept = tuple(1 if a in axes else d for a, d in enumerate(shape) if keep or a not in axes)
    window = Window(kernel, kernel, (0, 0, 0, 0))
    extra = {"count_include_pad": False} if kind == "average_pool" else {}
    x = scope.seen(op, facing)
    scope.emit(op, kind, [x], kept, facing, **window.attributes, **extra)


def _pooled(scope: Scope, op: Operation) -> tuple[str, Window]:
    """The map that a pool reads, and its window."""
    spatial = _map_shape(scope, op)[2:]
    if "kernel_shape" not in op.attributes:
        raise op.error("kernel_shape is missing")
    kernel = op.integers("kernel_shape", len(spatial), 1)
    window = window_of(op, spatial, kernel, ceil_mode=op.flag("ceil_mode"))
    check_cost(op, _map_shape(scope, op), window)
    if window.dilation != (1, 1):
        raise NotSupportedError(
            f"dilation {list(op.integers('dilations', len(spatial), 1))}, pools have only 1",
            "use a larger kernel with dilation 1 and train again",
        )
    return scope.in_form(op), window
