"""Convolution in float32 to the bit: forward, input gradient, weight gradient with its update.

The ops themselves are those of `conv`. Twin: conv_f32.c; with groups or dilation
conv_grouped_f32.c.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from insitu.fixed_point import F32
from insitu.graph.model import Array, CCall, Graph, Node, QParams, Value
from insitu.ops.kernels.choice import is_plain, kernel_of, shape_params
from insitu.ops.layers.rows import UNCLIPPED
from insitu.ops.numerics.by_type import held
from insitu.ops.numerics.geometry import dilation_of, groups_of, output_size, taps
from insitu.ops.numerics.grouped import patches_of
from insitu.ops.numerics.sums import decayed, outer_sum, rows_times, sum_of

BLOCK, SHORT_LINE = 4, 8
"""INSITU_BLOCK and INSITU_SHORT_LINE in the C."""


def terms(attributes: Mapping[str, Any], x: Array, shape: tuple[int, ...]) -> Array:
    """x[h, w, i] -> [positions, weights in a row], zeros outside the map; shape: of the weights.

    With groups [positions, rows, weights in a row].
    """
    patches, groups = patches_of(attributes, x[None], shape)[0], groups_of(attributes)
    positions = patches.shape[0] * patches.shape[1]
    if groups == 1:
        return np.reshape(patches, (positions, -1))
    split = patches.reshape(positions, shape[1] * shape[2], groups, -1).swapaxes(1, 2)
    return np.repeat(split.reshape(positions, groups, -1), shape[0] // groups, axis=1)


def forward(node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]) -> list[Array]:
    """y[oy, ox, o] = b[o] + sum over ky, kx, i of w x."""
    x, w, b = (value.array for value in inputs[:3])
    kernel, size = (w.shape[1], w.shape[2]), (x.shape[0], x.shape[1])
    stride, padding = node.attributes["stride"], node.attributes["padding"]
    out = output_size(size, kernel, stride, padding, dilation_of(node.attributes))
    patches = terms(node.attributes, x, w.shape)
    y = rows_times(w.reshape(len(w), -1), b, patches).reshape(*out, len(w))
    return [held(y, node.attributes.get("clip", UNCLIPPED))]


def grad_input(
    node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]
) -> list[Array]:
    """dx[iy, ix, i] = 0 + sum over oy, ox, o: for one place, from the window's last tap on."""
    dy, w = inputs[0].array, inputs[1].array
    (height, width), stride = node.attributes["size"], node.attributes["stride"]
    top, left, bottom, right = node.attributes["padding"]
    groups, dilation = groups_of(node.attributes), dilation_of(node.attributes)
    padded = np.zeros((height + top + bottom, width + left + right, groups, w.shape[3]), F32)
    kernel, out = (w.shape[1], w.shape[2]), (dy.shape[0], dy.shape[1])
    errors, weights = dy.reshape(*out, groups, -1), w.reshape(groups, -1, *w.shape[1:])
    for ky, kx, rows, columns in reversed(list(taps(kernel, stride, out, dilation))):
        for o in range(len(w) // groups):
            padded[rows, columns] += errors[..., o, None] * weights[:, o, ky, kx]
    dx = padded[top : top + height, left : left + width]
    return [dx.reshape(height, width, -1).copy()]


def update(node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]) -> list[Array]:
    """w[o] -= rate (0 + sum over positions of dy x) after the decay."""
    dy, x, w, b, rate = (value.array for value in inputs)
    errors = dy.reshape(-1, len(w))
    gradient = outer_sum(errors, terms(node.attributes, x, w.shape)).reshape(w.shape)
    w = decayed(w, F32(rate[0]), node.attributes.get("weight_decay", 0.0))
    alive = errors.any(axis=0)
    moved = w - F32(rate[0]) * gradient
    return [
        np.where(alive.reshape(-1, 1, 1, 1), moved, w),
        np.where(alive, b - F32(rate[0]) * sum_of(errors), b),
    ]


def forward_c(node: Node, graph: Graph) -> CCall:
    """insitu_conv_f32, insitu_conv_groups_f32."""
    x, w, b = node.inputs[:3]
    y, kernel = node.outputs[0], kernel_of(node.attributes)
    low, high = node.attributes.get("clip", UNCLIPPED)
    shape = shape_params(node.attributes, graph.tensors[x], graph.tensors[w], graph.tensors[y])
    scratch = ["!"] if is_plain(node.attributes) else []
    return CCall(
        function=f"insitu_{kernel}_f32",
        params_type=f"insitu_{kernel}_f32_params_t",
        params={"shape": shape, "min": float(low), "max": float(high)},
        arguments=(f"${x}", f"${w}", f"${b}", *scratch, f"${y}"),
    )


def forward_scratch(node: Node, graph: Graph) -> int:
    """Two patches; none with groups or dilation."""
    w = graph.tensors[node.inputs[1]]
    return 2 * 4 * (w.size // w.shape[0]) if is_plain(node.attributes) else 0


def grad_input_c(node: Node, graph: Graph) -> CCall:
    """insitu_conv_grad_input_f32, insitu_conv_groups_grad_input_f32."""
    dy, w = node.inputs
    dx, kernel, tensors = node.outputs[0], kernel_of(node.attributes), graph.tensors
    return CCall(
        function=f"insitu_{kernel}_grad_input_f32",
        params_type=f"insitu_{kernel}_params_t",
        params=shape_params(node.attributes, tensors[dx], tensors[w], tensors[dy]),
        arguments=(f"${dy}", f"${w}", f"${dx}"),
    )


def update_scratch(node: Node, graph: Graph) -> int:
    """The gradient of a row, or of all rows and some patches where lines are short."""
    w = graph.tensors[node.inputs[2]]
    short = is_plain(node.attributes) and w.shape[2] * w.shape[3] < SHORT_LINE
    rows = w.shape[0] + BLOCK if short else 1
    return 4 * rows * (w.size // w.shape[0])


def update_c(node: Node, graph: Graph) -> CCall:
    """insitu_conv_update_f32, insitu_conv_groups_update_f32."""
    dy, x, w, b, rate = node.inputs
    kernel = kernel_of(node.attributes)
    shape = shape_params(node.attributes, graph.tensors[x], graph.tensors[w], graph.tensors[dy])
    return CCall(
        function=f"insitu_{kernel}_update_f32",
        params_type=f"insitu_{kernel}_update_f32_params_t",
        params={
            "shape": shape,
            "weight_decay": float(node.attributes.get("weight_decay", 0.0)),
        },
        arguments=(f"${dy}", f"${x}", f"${rate}", "!", f"${b}", f"${w}"),
    )
