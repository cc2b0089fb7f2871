"""Windows over feature maps: output sizes, patches and their transpose, for numpy references.

A convolution's channels come in groups, its window's places lie `dilation` apart: attributes that
are left out where they are 1.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from insitu.errors import ModelError
from insitu.graph.model import Array, Tensor
from insitu.graph.rules import Attributes

Pair = tuple[int, int]
Padding = tuple[int, int, int, int]
"""top, left, bottom, right"""

DENSE: Pair = (1, 1)
"""The dilation of a window without holes."""


def groups_of(attributes: Attributes) -> int:
    """How many groups the channels of a convolution come in."""
    return int(attributes.get("groups", 1))


def dilation_of(attributes: Attributes) -> Pair:
    """How far the places of a convolution's window lie apart."""
    height, width = attributes.get("dilation", DENSE)
    return height, width


def output_size(
    size: Pair, kernel: Pair, stride: Pair, padding: Padding, dilation: Pair = DENSE
) -> Pair:
    """Height and width of what a window of `kernel` gives over a map of `size`.

    Raises:
        ModelError: the window is larger than the padded map.
    """
    out = []
    for axis, name in enumerate(("high", "wide")):
        padded = size[axis] + padding[axis] + padding[axis + 2]
        reach = (kernel[axis] - 1) * dilation[axis] + 1
        if padded < reach:
            raise ModelError(
                f"the kernel is {reach} {name} but its padded input only {padded}; "
                "check the size of the input"
            )
        out.append((padded - reach) // stride[axis] + 1)
    return out[0], out[1]


def pad(x: Array, padding: Padding, value: float = 0) -> Array:
    """x[batch, h, w, c] with a border of `value`."""
    top, left, bottom, right = padding
    return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=value)


def taps(
    kernel: Pair, stride: Pair, out: Pair, dilation: Pair = DENSE
) -> Iterator[tuple[int, int, slice, slice]]:
    """Each place of the window: (ky, kx, rows of the padded map, columns of the padded map)."""
    for ky in range(kernel[0]):
        for kx in range(kernel[1]):
            y, x = ky * dilation[0], kx * dilation[1]
            rows = slice(y, y + (out[0] - 1) * stride[0] + 1, stride[0])
            columns = slice(x, x + (out[1] - 1) * stride[1] + 1, stride[1])
            yield ky, kx, rows, columns


def windows(
    x: Array, kernel: Pair, stride: Pair, padding: Padding, value: float = 0, dilation: Pair = DENSE
) -> Array:
    """x[batch, h, w, c] -> [batch, out_h, out_w, kernel_h, kernel_w, c]."""
    out = output_size((x.shape[1], x.shape[2]), kernel, stride, padding, dilation)
    padded = pad(x, padding, value)
    result = np.empty((x.shape[0], *out, *kernel, x.shape[3]), x.dtype)
    for ky, kx, rows, columns in taps(kernel, stride, out, dilation):
        result[:, :, :, ky, kx] = padded[:, rows, columns]
    return result


def scatter(
    patches: Array, size: Pair, stride: Pair, padding: Padding, dilation: Pair = DENSE
) -> Array:
    """The transpose of `windows`: [batch, out_h, out_w, kernel_h, kernel_w, c] -> [batch, h, w, c].

    Each element of a window is added to the place it came from; what fell on padding is dropped.
    """
    batch, out_h, out_w, kernel_h, kernel_w, channels = patches.shape
    top, left, bottom, right = padding
    shape = (batch, size[0] + top + bottom, size[1] + left + right, channels)
    padded = np.zeros(shape, patches.dtype)
    for ky, kx, rows, columns in taps((kernel_h, kernel_w), stride, (out_h, out_w), dilation):
        padded[:, rows, columns] += patches[:, :, :, ky, kx]
    return padded[:, top : top + size[0], left : left + size[1]]


def conv_params(attributes: Attributes, x: Tensor, w: Tensor, y: Tensor) -> dict[str, int]:
    """Fields of insitu_conv_params_t, without a tile."""
    names = (
        *("in_height", "in_width", "in_channels", "out_height", "out_width", "out_channels"),
        *("kernel_height", "kernel_width", "stride_height", "stride_width", "pad_top", "pad_left"),
    )
    kernel, padding = w.shape[1:3], attributes["padding"][:2]
    fields = zip(names, (*x.shape, *y.shape, *kernel, *attributes["stride"], *padding), strict=True)
    tile = ("tile_height", "tile_width", "tile_out", "tile_in", "tile_bytes")
    return {**dict(fields), **dict.fromkeys(tile, 0)}


def linear_params(w: Tensor) -> dict[str, int]:
    """Fields of insitu_linear_params_t."""
    return {"out_features": w.shape[0], "in_features": w.size // w.shape[0]}
