"""Convolution in float32 to the bit: forward, input gradient, weight gradient with its update.

The ops themselves are those of `conv`. Twin: conv_f32.c; with groups or dilation
conv_grouped_f32.c.
"""

from __future__ import annotations

import numpy as np

from insitu.fixed_point import F32
from insitu.graph.model import Array, CCall, Graph, Node
from insitu.graph.rules import Attributes, Quantizations, Values
from insitu.ops.kernels.choice import is_plain, kernel_of, shape_params
from insitu.ops.layers import calls
from insitu.ops.numerics.by_type import clamped
from insitu.ops.numerics.geometry import dilation_of, groups_of, output_size, taps
from insitu.ops.numerics.grouped import terms
from insitu.ops.numerics.ranges import UNCLIPPED
from insitu.ops.numerics.sums import decayed, outer_sum, rows_times, step_is_small, sum_of

BLOCK, SHORT_LINE = 4, 8
"""INSITU_BLOCK and INSITU_SHORT_LINE in the C."""


def forward(node: Node, inputs: Values, outputs: Quantizations) -> list[Array]:
    """y[oy, ox, o] = b[o] + sum over ky, kx, i of w x."""
    x, w, b = (value.array for value in inputs)
    kernel, size = (w.shape[1], w.shape[2]), (x.shape[0], x.shape[1])
    stride, padding = node.attributes["stride"], node.attributes["padding"]
    out = output_size(size, kernel, stride, padding, dilation_of(node.attributes))
    patches = terms(node.attributes, x, w.shape)
    y = rows_times(w.reshape(len(w), -1), b, patches).reshape(*out, len(w))
    return [clamped(y, node.attributes.get("clip", UNCLIPPED))]


def grad_input(node: Node, inputs: Values, outputs: Quantizations) -> list[Array]:
    """dx[iy, ix, i] = 0 + sum over oy, ox, o: for one place, from the window's last tap on."""
    dy, w = (value.array for value in inputs)
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


def update(node: Node, inputs: Values, outputs: Quantizations) -> list[Array]:
    """w[o] -= rate (0 + sum over positions of dy x) after the decay, if it is small."""
    dy, x, w, b, rate = (value.array for value in inputs)
    errors = dy.reshape(-1, len(w))
    if not step_is_small(F32(rate[0]), errors, x):
        return [w, b]
    gradient = outer_sum(errors, terms(node.attributes, x, w.shape)).reshape(w.shape)
    w = decayed(w, F32(rate[0]), node.attributes.get("weight_decay", 0.0))
    nonzero = errors.any(axis=0)
    moved = w - F32(rate[0]) * gradient
    return [
        np.where(nonzero.reshape(-1, 1, 1, 1), moved, w),
        np.where(nonzero, b - F32(rate[0]) * sum_of(errors), b),
    ]


def _shape(node: Node, graph: Graph) -> Attributes:
    return shape_params(node.attributes, *calls.layer_tensors(node, graph))


def forward_c(node: Node, graph: Graph) -> CCall:
    """insitu_conv_f32, insitu_conv_groups_f32."""
    scratch = ("!",) if is_plain(node.attributes) else ()
    return calls.forward_call_f32(node, kernel_of(node.attributes), _shape(node, graph), *scratch)


def forward_scratch(node: Node, graph: Graph) -> int:
    """Two patches; none with groups or dilation."""
    w = graph.operand(node, "w")
    return 2 * 4 * (w.size // w.shape[0]) if is_plain(node.attributes) else 0


def grad_input_c(node: Node, graph: Graph) -> CCall:
    """insitu_conv_grad_input_f32, insitu_conv_groups_grad_input_f32."""
    return calls.grad_input_call_f32(node, kernel_of(node.attributes), _shape(node, graph))


def update_scratch(node: Node, graph: Graph) -> int:
    """The gradient of a row, or of all rows and some patches where lines are short."""
    w = graph.operand(node, "w")
    short = is_plain(node.attributes) and w.shape[2] * w.shape[3] < SHORT_LINE
    rows = w.shape[0] + BLOCK if short else 1
    return 4 * rows * (w.size // w.shape[0])


def update_c(node: Node, graph: Graph) -> CCall:
    """insitu_conv_update_f32, insitu_conv_groups_update_f32."""
    return calls.update_call_f32(node, kernel_of(node.attributes), _shape(node, graph), "!")
