"""ONNX's pools, and reductions over places -> max_pool, average_pool."""

from __future__ import annotations

from insitu.frontends.onnx.scope import NotSupportedError, Operation, Scope, Shape
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
    _over_axes(scope, op, kind, tuple(range(2, len(_map_shape(scope, op)))), keep=True)


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
    if not axes or axes[0] < 2 or axes[-1] >= len(shape):
        raise NotSupportedError(
            f"{op.op} over axes {list(axes)} of {list(shape)}; only axes of the image (2, 3) are "
            "available"
        )
    _over_axes(scope, op, kind, axes, keep=op.flag("keepdims", default=True))


def _map_shape(scope: Scope, op: Operation) -> Shape:
    shape = scope.value(op)[1]
    if len(shape) not in (3, 4):
        raise NotSupportedError(
            f"its input has the shape {list(shape)}; signals [1, c, l] and images [1, c, h, w] "
            "can be pooled"
        )
    return shape


def _over_axes(scope: Scope, op: Operation, kind: str, axes: Shape, *, keep: bool) -> None:
    shape = _map_shape(scope, op)
    kernel = pair(tuple(shape[a] if a in axes else 1 for a in range(2, len(shape))))
    kept = tuple(1 if a in axes else d for a, d in enumerate(shape) if keep or a not in axes)
    window = Window(kernel, kernel, (0, 0, 0, 0))
    extra = {"count_include_pad": False} if kind == "average_pool" else {}
    scope.emit(op, kind, [scope.in_form(op)], kept, **window.attributes, **extra)


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
