"""Linear layers in float32 to the bit: forward, input gradient, weight gradient with its update.

The ops themselves are those of `linear`. Twin: linear_f32.c.
"""

from __future__ import annotations

import numpy as np

from insitu.fixed_point import F32
from insitu.graph.model import Array, Node
from insitu.graph.rules import Quantizations, Values
from insitu.ops.layers import calls
from insitu.ops.numerics.by_type import clamped
from insitu.ops.numerics.ranges import UNCLIPPED
from insitu.ops.numerics.sums import decayed, rows_times, step_is_small, sum_of


def forward(node: Node, inputs: Values, outputs: Quantizations) -> list[Array]:
    """y[o] = b[o] + sum over i of w[o, i] x[i]."""
    x, w, b = (value.array for value in inputs)
    y, *_ = rows_times(w, b, x.reshape(1, -1))
    return [clamped(y, node.attributes.get("clip", UNCLIPPED))]


def grad_input(node: Node, inputs: Values, outputs: Quantizations) -> list[Array]:
    """dx[i] = 0 + sum over o of w[o, i] dy[o]."""
    dy, w = (value.array for value in inputs)
    return [sum_of(w * dy[:, None]).reshape(node.attributes["shape"])]


def update(node: Node, inputs: Values, outputs: Quantizations) -> list[Array]:
    """w[o] -= (rate dy[o]) x after the decay, if it is small; rows without an error stay."""
    dy, x, w, b, rate = (value.array for value in inputs)
    if not step_is_small(F32(rate[0]), dy[None], x):
        return [w, b]
    step = F32(rate[0]) * dy
    w = decayed(w, F32(rate[0]), node.attributes.get("weight_decay", 0.0))
    nonzero = dy != 0
    moved = w - step[:, None] * x.reshape(-1)
    return [np.where(nonzero[:, None], moved, w), np.where(nonzero, b - step, b)]


forward_c = calls.of_linear(calls.forward_call_f32)
grad_input_c = calls.of_linear(calls.grad_input_call_f32)
update_c = calls.of_linear(calls.update_call_f32)
