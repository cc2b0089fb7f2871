"""Convolution in float32 to the bit: forward, input gradient, weight gradient with its update.

The ops themselves are those of `conv`. Twin: runtime/src/conv_f32.c.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from insitu.fixed_point import F32
from insitu.graph.model import Array, CCall, Graph, Node, QParams, Value
from insitu.ops.by_type import held
from insitu.ops.geometry import conv_params, output_size, taps, windows
from insitu.ops.rows import UNCLIPPED
from insitu.ops.sums import decayed, outer_sum, rows_times, sum_of

SOURCE = "conv_f32.c"

BLOCK, SHORT_LINE = 4, 8
"""INSITU_BLOCK and INSITU_SHORT_LINE in the C."""


def _patches(node: Node, x: Array, w: Array) -> Array:
    """x[h, w, i] -> [positions, weights in a row], zeros outside the map."""
    kernel = (w.shape[1], w.shape[2])
    patches = windows(x[None], kernel, node.attributes["stride"], node.attributes["padding"])[0]
    return np.reshape(patches, (patches.shape[0] * patches.shape[1], -1))


def forward(node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]) -> list[Array]:
    """y[oy, ox, o] = b[o] + sum over ky, kx, i of w x."""
    x, w, b = (value.array for value in inputs[:3])
    kernel, size = (w.shape[1], w.shape[2]), (x.shape[0], x.shape[1])
    out = output_size(size, kernel, node.attributes["stride"], node.attributes["padding"])
    y = rows_times(w.reshape(len(w), -1), b, _patches(node, x, w)).reshape(*out, len(w))
    return [held(y, node.attributes.get("clip", UNCLIPPED))]


def grad_input(
    node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]
) -> list[Array]:
    """dx[iy, ix, i] = 0 + sum over oy, ox, o: for one place, from the window's last tap on."""
    dy, w = inputs[0].array, inputs[1].array
    (height, width), stride = node.attributes["size"], node.attributes["stride"]
    top, left, bottom, right = node.attributes["padding"]
    padded = np.zeros((height + top + bottom, width + left + right, w.shape[3]), F32)
    kernel, out = (w.shape[1], w.shape[2]), (dy.shape[0], dy.shape[1])
    for ky, kx, rows, columns in reversed(list(taps(kernel, stride, out))):
        for o in range(len(w)):
            padded[rows, columns] += dy[:, :, o, None] * w[o, ky, kx]
    return [padded[top : top + height, left : left + width].copy()]


def update(node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]) -> list[Array]:
    """w[o] -= rate (0 + sum over positions of dy x) after the decay."""
    dy, x, w, b, rate = (value.array for value in inputs)
    errors = dy.reshape(-1, len(w))
    gradient = outer_sum(errors, _patches(node, x, w)).reshape(w.shape)
    w = decayed(w, F32(rate[0]), node.attributes.get("weight_decay", 0.0))
    alive = errors.any(axis=0)
    moved = w - F32(rate[0]) * gradient
    return [
        np.where(alive.reshape(-1, 1, 1, 1), moved, w),
        np.where(alive, b - F32(rate[0]) * sum_of(errors), b),
    ]


def forward_c(node: Node, graph: Graph) -> CCall:
    """insitu_conv_f32."""
    x, w, b = node.inputs[:3]
    y = node.outputs[0]
    low, high = node.attributes.get("clip", UNCLIPPED)
    shape = conv_params(node.attributes, graph.tensors[x], graph.tensors[w], graph.tensors[y])
    return CCall(
        function="insitu_conv_f32",
        params_type="insitu_conv_f32_params_t",
        params={"shape": shape, "min": float(low), "max": float(high)},
        arguments=(f"${x}", f"${w}", f"${b}", "!", f"${y}"),
        source=SOURCE,
    )


def forward_scratch(node: Node, graph: Graph) -> int:
    """Two patches."""
    w = graph.tensors[node.inputs[1]]
    return 2 * 4 * (w.size // w.shape[0])


def grad_input_c(node: Node, graph: Graph) -> CCall:
    """insitu_conv_grad_input_f32."""
    dy, w = node.inputs
    dx = node.outputs[0]
    return CCall(
        function="insitu_conv_grad_input_f32",
        params_type="insitu_conv_params_t",
        params=conv_params(node.attributes, graph.tensors[dx], graph.tensors[w], graph.tensors[dy]),
        arguments=(f"${dy}", f"${w}", f"${dx}"),
        source=SOURCE,
    )


def update_scratch(node: Node, graph: Graph) -> int:
    """The gradient of a row, or of all rows and some patches where lines are short."""
    w = graph.tensors[node.inputs[2]]
    rows = w.shape[0] + BLOCK if w.shape[2] * w.shape[3] < SHORT_LINE else 1
    return 4 * rows * (w.size // w.shape[0])


def update_c(node: Node, graph: Graph) -> CCall:
    """insitu_conv_update_f32."""
    dy, x, w, b, rate = node.inputs
    shape = conv_params(node.attributes, graph.tensors[x], graph.tensors[w], graph.tensors[dy])
    return CCall(
        function="insitu_conv_update_f32",
        params_type="insitu_conv_update_f32_params_t",
        params={
            "shape": shape,
            "weight_decay": float(node.attributes.get("weight_decay", 0.0)),
        },
        arguments=(f"${dy}", f"${x}", f"${rate}", "!", f"${b}", f"${w}"),
        source=SOURCE,
    )
