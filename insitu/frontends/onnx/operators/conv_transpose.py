"""ONNX's ConvTranspose -> pad, which sets the elements a stride apart, and conv.

Invariant: y[o] sums x[i] w[k] with o = i stride + k - begin. So it is the ordinary convolution,
with stride 1 and the kernel turned around, of a map that holds x at every stride-th place; what a
convolution cannot pad (begin > kernel - 1) is cropped from that map.
"""

from __future__ import annotations

from insitu.frontends.onnx.operation import NotSupportedError, Operation
from insitu.frontends.onnx.operators.layers import bias, layer_weight
from insitu.frontends.onnx.order import Shape
from insitu.frontends.onnx.scope import Scope
from insitu.frontends.onnx.windows import auto_pad_of, steps_of
from insitu.graph.model import Array
from insitu.ops import OPS


def conv_transpose(scope: Scope, op: Operation) -> None:
    """ConvTranspose, 1-D and 2-D."""
    _, shape = scope.value(op)
    w = scope.floats(op, "W", "weight")
    if w.ndim != len(shape) or w.ndim not in (3, 4):
        raise NotSupportedError(
            f"a transposed convolution of x{list(shape)} by w{list(w.shape)}, only those over "
            "signals and images are available"
        )
    if w.shape[0] != shape[1]:
        raise op.error(
            f"x{list(shape)} has {shape[1]} channels but w{list(w.shape)} takes {w.shape[0]}; "
            "check the layer before it"
        )
    groups = int(op.attributes.get("group", 1))
    if groups < 1 or shape[1] % groups:
        raise op.error(f"group is {groups} but x{list(shape)} has {shape[1]} channels")
    b = bias(scope, op, w.shape[1] * groups)
    strides, dilations, border = _geometry(op, shape[2:], w.shape[2:])
    x = _apart(scope, op, strides, border)
    turned = _turned(w[:, :, None, :] if w.ndim == 3 else w, groups)
    inputs = [x, layer_weight(scope, op, "W", turned), scope.weight(op, "b", b)]
    half, missing = len(strides), 2 - len(strides)
    pads = [max(p, 0) for p in border]
    padding = (*(0,) * missing, *pads[:half], *(0,) * missing, *pads[half:])
    geometry = {"stride": (1, 1), "padding": padding, "groups": groups}
    scope.emit(op, "conv", inputs, **geometry, dilation=(*(1,) * missing, *dilations))


def _turned(w: Array, groups: int) -> Array:
    """w[i, o / groups, kh, kw] -> w[o, kh, kw, i / groups], both kernel axes backwards."""
    i, o, high, wide = w.shape
    parts = w.reshape(groups, i // groups, o, high, wide).transpose(0, 2, 3, 4, 1)
    return parts.reshape(groups * o, high, wide, i // groups)[:, ::-1, ::-1]


def _geometry(op: Operation, spatial: Shape, kernel: Shape) -> tuple[Shape, Shape, list[int]]:
    """Strides, dilations, the border of the convolution: all beginnings, then all ends."""
    rank = len(spatial)
    if tuple(int(k) for k in op.attributes.get("kernel_shape", kernel)) != kernel:
        raise op.error(f"kernel_shape is not that of its weight, {list(kernel)}")
    extra = op.integers("output_padding", rank, 0)
    strides, dilations, kernel = steps_of(op, kernel)
    begins, ends = _pads(op, spatial, kernel, strides, extra)
    border = [k - 1 - p for k, p in zip(kernel, begins, strict=True)]
    border += [k - 1 - p + e for k, p, e in zip(kernel, ends, extra, strict=True)]
    for axis, (size, k, s) in enumerate(zip(spatial, kernel, strides, strict=True)):
        if (size - 1) * s + 1 + border[axis] + border[axis + rank] < k:
            raise op.error(f"its pads leave nothing of axis {axis} of {list(spatial)}")
    return strides, dilations, border


def _pads(
    op: Operation, spatial: Shape, kernel: Shape, strides: Shape, extra: Shape
) -> tuple[list[int], list[int]]:
    """Pads at the beginnings and the ends, whatever rule they come from."""
    rank = len(spatial)
    rule = auto_pad_of(op)
    if "output_shape" not in op.attributes and not rule.startswith("SAME"):
        pads = op.integers("pads", 2 * rank, 0) if rule == "NOTSET" else (0,) * 2 * rank
        return list(pads[:rank]), list(pads[rank:])
    sizes = tuple(size * stride for size, stride in zip(spatial, strides, strict=True))
    if "output_shape" in op.attributes:
        sizes = tuple(int(d) for d in op.attributes["output_shape"])[-rank:]
        if len(sizes) != rank:
            raise op.error(f"output_shape has {len(sizes)} sizes, {rank} belong")
    begins, ends = [], []
    axes = zip(spatial, kernel, strides, extra, sizes, strict=True)
    for size, k, s, more, wanted in axes:
        total = s * (size - 1) + more + k - wanted
        if total < 0:
            raise NotSupportedError(
                f"an output of {wanted} places where only {wanted + total} are reached",
                "export with explicit pads and output_padding",
            )
        less = total // 2
        begins.append(less if rule == "SAME_UPPER" else total - less)
        ends.append(total - begins[-1])
    return begins, ends


def _apart(scope: Scope, op: Operation, strides: Shape, border: list[int]) -> str:
    """The map with its elements `strides` apart, cropped where the border is negative."""
    x = scope.in_form(op)
    shape = scope.builder.tensors[x].shape
    rank = len(strides)
    missing = 2 - rank
    step = (1,) * missing + strides
    low = (0,) * missing + tuple(min(b, 0) for b in border[:rank])
    high = (0,) * missing + tuple(min(b, 0) for b in border[rank:])
    sizes = [(n - 1) * s + 1 + a + b for n, s, a, b in zip(shape, step, low, high, strict=False)]
    together = all(n == 1 or s == 1 for n, s in zip(shape, step, strict=False))
    if together and not any((*low, *high)):
        return x
    attributes = {"low": (*low, 0), "step": (*step, 1), "shape": (*sizes, shape[2])}
    name = scope.builder.unique(f"{op.name}.apart")
    (y,) = scope.builder.node(OPS["pad"], [x], name=name, attributes=attributes)
    return y
