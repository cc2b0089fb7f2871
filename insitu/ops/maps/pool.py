"""Max and average pooling and their gradients. Twin: pool.c.

The output keeps the input's quantization. The error of an average is a fixed part of the error
behind it, so it keeps its integers and only its scale becomes 1 / (window size) as large.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from insitu.errors import ConfigError, ModelError
from insitu.fixed_point import F32
from insitu.graph.builder import Builder
from insitu.graph.model import Array, Bound, Call, CCall, Graph, Node, OpDef, TensorType
from insitu.graph.rules import Arrays, Attributes, Quantizations, Tensors, Types, Values, of_shape
from insitu.ops.numerics.arguments import pointers
from insitu.ops.numerics.by_type import bit_exact, is_float, suffix
from insitu.ops.numerics.geometry import Padding, Pair, output_size, scatter, taps, windows
from insitu.ops.numerics.quantization import keeps_quantization
from insitu.ops.numerics.sums import sum_of


def _infer(attributes: Attributes, inputs: Tensors) -> Types:
    x = inputs[0]
    if len(x.shape) != 3:
        raise ModelError(f"x{list(x.shape)} is not a feature map; pool before the flatten")
    kernel, padding = attributes["kernel"], attributes["padding"]
    for side, name in enumerate(("top", "left", "bottom", "right")):
        if padding[side] >= kernel[side % 2]:
            raise ModelError(
                f"the padding at the {name} is {padding[side]} but the kernel only "
                f"{kernel[side % 2]}; a window would hold nothing but padding"
            )
    out = output_size((x.shape[0], x.shape[1]), kernel, attributes["stride"], padding)
    return [TensorType((*out, x.shape[2]), x.dtype)]


def _geometry(attributes: Attributes) -> tuple[Pair, Pair, Padding]:
    return attributes["kernel"], attributes["stride"], attributes["padding"]


def _max_windows(attributes: Attributes, x: Array, lowest: float) -> Array:
    """[batch, out_h, out_w, window, c], padding below everything."""
    patches = windows(x, *_geometry(attributes), value=lowest)
    return patches.reshape(*patches.shape[:3], -1, x.shape[3])


def _max_float(attributes: Attributes, inputs: Arrays) -> Arrays:
    return [_max_windows(attributes, inputs[0], -np.inf).max(axis=3)]


def _max_integer(node: Node, inputs: Values, outputs: Quantizations) -> Arrays:
    x = inputs[0].array.astype(np.int64)[None]
    return [_max_windows(node.attributes, x, -999).max(axis=3)[0].astype(np.int8)]


def _max_scatter(attributes: Attributes, dy: Array, x: Array, lowest: float) -> Array:
    """Each error goes to the first largest element of its window; sums where windows overlap."""
    patches = _max_windows(attributes, x, lowest)
    first = patches.argmax(axis=3)[:, :, :, None, :]
    routed = np.zeros(patches.shape, dy.dtype)
    np.put_along_axis(routed, first, dy[:, :, :, None, :], axis=3)
    kernel, stride, padding = _geometry(attributes)
    routed = routed.reshape(*patches.shape[:3], *kernel, x.shape[3])
    return scatter(routed, (x.shape[1], x.shape[2]), stride, padding)


def _max_grad_integer(node: Node, inputs: Values, outputs: Quantizations) -> Arrays:
    """Sums saturate one by one, windows in row order; exact order matters only past 127."""
    dy, x = inputs[0].array.astype(np.int64), inputs[1].array.astype(np.int64)
    first = _max_windows(node.attributes, x[None], -999).argmax(axis=3)[0]
    (_, kernel_w), stride, padding = _geometry(node.attributes)
    dx = np.zeros(x.shape, np.int64)
    for oy, ox, c in np.ndindex(dy.shape):
        ky, kx = divmod(int(first[oy, ox, c]), kernel_w)
        iy, ix = oy * stride[0] - padding[0] + ky, ox * stride[1] - padding[1] + kx
        dx[iy, ix, c] = np.clip(dx[iy, ix, c] + dy[oy, ox, c], -127, 127)
    return [dx.astype(np.int8)]


def _max_exact_float(node: Node, inputs: Values, outputs: Quantizations) -> Arrays:
    return [_max_float(node.attributes, [inputs[0].array[None]])[0][0]]


def _max_grad_exact_float(node: Node, inputs: Values, outputs: Quantizations) -> Arrays:
    dy, x = inputs[0].array, inputs[1].array
    patches = _max_windows(node.attributes, x[None], -np.inf)
    routed = np.arange(patches.shape[3])[:, None] == patches.argmax(axis=3)[:, :, :, None, :]
    spread = np.where(routed[0], dy[:, :, None, :], F32(0.0))
    return [_scatter_in_order(node.attributes, spread, x.shape)]


def _scatter_in_order(attributes: Attributes, spread: Array, shape: Sequence[int]) -> Array:
    """[out_h, out_w, window, c] -> [h, w, c], each sum in the order of the windows, from 0 on.

    The first window that holds a place holds it with its last tap.
    """
    kernel, stride, (top, left, bottom, right) = _geometry(attributes)
    padded = np.zeros((shape[0] + top + bottom, shape[1] + left + right, shape[2]), F32)
    out = (spread.shape[0], spread.shape[1])
    for ky, kx, rows, columns in reversed(list(taps(kernel, stride, out))):
        padded[rows, columns] += spread[:, :, ky * kernel[1] + kx]
    return padded[top : top + shape[0], left : left + shape[1]].copy()


def _max_vjp(builder: Builder, node: Node, dy: str, wanted: frozenset[str]) -> dict[str, str]:
    attributes = {**node.attributes, "shape": builder.tensors[node["x"]].shape}
    return {"x": builder.gradient(max_pool_grad, node, (dy, node["x"]), attributes=attributes)}


def _average_vjp(builder: Builder, node: Node, dy: str, wanted: frozenset[str]) -> dict[str, str]:
    attributes = {**node.attributes, "shape": builder.tensors[node["x"]].shape}
    error = builder.tensors[dy].qparams
    if error is not None:
        if error.range is not None:
            raise ConfigError(
                f'average_pool "{node.name}": errors with a range that moves cannot pass average '
                "pools; use the error range fixed"
            )
        error = replace(error, scale=error.scale / F32(_window(node.attributes)))
    dx = builder.gradient(average_pool_grad, node, (dy,), attributes=attributes, qparams=error)
    return {"x": dx}


def _params(node: Node, x: tuple[int, ...], y: tuple[int, ...]) -> dict[str, int | float]:
    """Fields of insitu_pool_params_t."""
    kernel, stride, padding = _geometry(node.attributes)
    return {
        "in_height": x[0],
        "in_width": x[1],
        "channels": x[2],
        "out_height": y[0],
        "out_width": y[1],
        "kernel_height": kernel[0],
        "kernel_width": kernel[1],
        "stride_height": stride[0],
        "stride_width": stride[1],
        "pad_top": padding[0],
        "pad_left": padding[1],
        "count_padding": int(node.attributes.get("count_include_pad", False)),
    }


def _c_call(stem: str, *, forward: bool = False) -> Call:
    """A forward pass is told the zero point of its input, that padding has."""

    def c_call(node: Node, graph: Graph) -> CCall:
        read, made = graph.inputs_of(node)[0], graph.tensors[node.outputs[0]]
        x, y = (read, made) if forward else (made, read)
        quantized = forward and not is_float(node, graph)
        return CCall(
            function=f"{stem}_{suffix(node, graph)}",
            params_type="insitu_pool_params_t",
            params=_params(node, x.shape, y.shape),
            arguments=(*((f"?{x.name}",) if quantized else ()), *pointers(node)),
        )

    return c_call


max_pool = OpDef(
    name="max_pool",
    infer=_infer,
    float_reference=_max_float,
    integer_reference=bit_exact(_max_integer, _max_exact_float),
    vjp=_max_vjp,
    quantize=keeps_quantization,
    keeps_channels=lambda attributes: True,
    c_call=_c_call("insitu_max_pool", forward=True),
)
"""Attributes kernel, stride, padding; padding never wins."""

max_pool_grad: OpDef = OpDef(
    name="max_pool_grad",
    operands=("dy", "x"),
    infer=of_shape,
    float_reference=lambda attributes, inputs: [
        _max_scatter(attributes, inputs[0], inputs[1], -np.inf)
    ],
    integer_reference=bit_exact(_max_grad_integer, _max_grad_exact_float),
    c_call=_c_call("insitu_max_pool_grad"),
)
"""Inputs: dy, x. Attribute shape: that of x."""


def _window(attributes: Attributes) -> int:
    return int(attributes["kernel"][0] * attributes["kernel"][1])


def _counts(attributes: Attributes, size: tuple[int, int]) -> Array:
    """[out_h, out_w, 1]: how many elements each window averages over."""
    kernel, stride, padding = _geometry(attributes)
    out = output_size(size, kernel, stride, padding)
    if attributes["count_include_pad"]:
        return np.full((*out, 1), _window(attributes), np.int64)
    patches = windows(np.ones((1, *size, 1), np.int64), kernel, stride, padding)
    return np.asarray(patches.sum(axis=(3, 4))[0])


def _average_float(attributes: Attributes, inputs: Arrays) -> Arrays:
    x = inputs[0]
    total = windows(x, *_geometry(attributes)).sum(axis=(3, 4))
    return [(total / _counts(attributes, (x.shape[1], x.shape[2]))).astype(x.dtype)]


def _average_integer(node: Node, inputs: Values, outputs: Quantizations) -> Arrays:
    """round(sum / count) of q + 128, halves up; counted padding is the zero point."""
    q = inputs[0].qparams
    assert q is not None
    x = inputs[0].array.astype(np.int64)
    counts = _counts(node.attributes, (x.shape[0], x.shape[1]))
    geometry = _geometry(node.attributes)
    centred = windows(x[None] - q.zero_point, *geometry).sum(axis=(3, 4))[0]
    total = centred + counts * (q.zero_point + 128)
    return [((2 * total + counts) // (2 * counts) - 128).astype(np.int8)]


def _average_scatter(attributes: Attributes, spread: Array) -> Array:
    """[batch, out_h, out_w, c] -> the sum over the windows that hold each element."""
    kernel, stride, padding = _geometry(attributes)
    height, width, channels = attributes["shape"]
    patches = np.broadcast_to(
        spread[:, :, :, None, None, :], (*spread.shape[:3], *kernel, channels)
    )
    return scatter(patches, (height, width), stride, padding)


def _average_grad_float(attributes: Attributes, inputs: Arrays) -> Arrays:
    counts = _counts(attributes, tuple(attributes["shape"][:2]))
    return [_average_scatter(attributes, inputs[0] / counts)]


def _average_grad_integer(node: Node, inputs: Values, outputs: Quantizations) -> Arrays:
    """The output's scale is that of dy divided by the window; a smaller count weighs more.

    Each window gives round(dy window / count), halves away from 0; the sum saturates at the end.
    """
    attributes = node.attributes
    size = (attributes["shape"][0], attributes["shape"][1])
    counts, window = _counts(attributes, size), _window(attributes)
    dy = inputs[0].array.astype(np.int64)
    share = np.sign(dy) * ((2 * np.abs(dy) * window + counts) // (2 * counts))
    dx = _average_scatter(attributes, share[None])[0]
    return [np.clip(dx, -127, 127).astype(np.int8)]


def _average_bounds(node: Node, graph: Graph) -> list[Bound]:
    """2 sum + count, where the terms of the sum are at most 255."""
    if is_float(node, graph):
        return []
    window = _window(node.attributes)
    return [Bound(f"{node.name}: twice the sum of {window}", 2 * 255 * window + window)]


def _average_grad_bounds(node: Node, graph: Graph) -> list[Bound]:
    """2 |e| window + count of one window; the sum of at most so many windows, each |e| window."""
    if is_float(node, graph):
        return []
    window = _window(node.attributes)
    (kernel_h, kernel_w), (stride_h, stride_w), _ = _geometry(node.attributes)
    windows_a_place = -(-kernel_h // stride_h) * -(-kernel_w // stride_w)
    return [
        Bound(f"{node.name}: twice an error times {window}", 2 * 127 * window + window),
        Bound(f"{node.name}: sum over windows", 127 * window * windows_a_place),
    ]


def _average_exact_float(node: Node, inputs: Values, outputs: Quantizations) -> Arrays:
    """(0 + sum in order of the window) / count."""
    x = inputs[0].array
    patches = windows(x[None], *_geometry(node.attributes))[0]
    terms = patches.reshape(*patches.shape[:2], -1, x.shape[2])
    total = sum_of(np.moveaxis(terms, 2, 0))
    return [total / _counts(node.attributes, (x.shape[0], x.shape[1])).astype(F32)]


def _average_grad_exact_float(node: Node, inputs: Values, outputs: Quantizations) -> Arrays:
    shape = node.attributes["shape"]
    counts = _counts(node.attributes, (shape[0], shape[1])).astype(F32)
    share = (inputs[0].array / counts)[:, :, None, :]
    spread = np.broadcast_to(share, (*share.shape[:2], _window(node.attributes), share.shape[3]))
    return [_scatter_in_order(node.attributes, spread, shape)]


def _wider(attributes: Attributes, border: Padding) -> dict[str, Any] | None:
    """The attributes with a border of zeros, which count; None where a window could not say so."""
    own, kernel = attributes["padding"], attributes["kernel"]
    padding = tuple(a + b for a, b in zip(own, border, strict=True))
    if any(own) and not attributes["count_include_pad"]:
        return None
    if any(p >= kernel[side % 2] for side, p in enumerate(padding)):
        return None
    return {**attributes, "padding": padding, "count_include_pad": True}


average_pool = OpDef(
    name="average_pool",
    infer=_infer,
    float_reference=_average_float,
    integer_reference=bit_exact(_average_integer, _average_exact_float),
    vjp=_average_vjp,
    quantize=keeps_quantization,
    keeps_channels=lambda attributes: (
        not (attributes["count_include_pad"] and any(attributes["padding"]))
    ),
    absorb={"padding": _wider},
    bounds=_average_bounds,
    c_call=_c_call("insitu_average_pool", forward=True),
)
"""Attributes kernel, stride, padding, count_include_pad."""

average_pool_grad: OpDef = OpDef(
    name="average_pool_grad",
    operands=("dy",),
    infer=of_shape,
    float_reference=_average_grad_float,
    integer_reference=bit_exact(_average_grad_integer, _average_grad_exact_float),
    bounds=_average_grad_bounds,
    c_call=_c_call("insitu_average_pool_grad"),
)
"""Inputs: dy. Attribute shape: that of x."""
