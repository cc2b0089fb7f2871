"""Sums of products in float32 that every core makes alike: one by one, in a given order.

Invariant: each multiplication and each addition rounds once, and a sum is never made in parts.
numpy's own sums are made in parts, so the terms are added here one by one, for many sums at a
time. Twin: sums_f32.c.
"""

from __future__ import annotations

import numpy as np

from insitu.fixed_point import F32
from insitu.graph.model import Array

STEP_LIMIT = F32(2.0**40)
"""INSITU_STEP_LIMIT in the C."""


def rows_times(w: Array, b: Array, x: Array) -> Array:
    """w[o, k], b[o], x[n, k] -> y[n, o] = b[o] + w[o, 0] x[n, 0] + w[o, 1] x[n, 1] + ...

    Or x[n, o, k], where every row has terms of its own.
    """
    total = np.broadcast_to(b, (len(x), len(b))).astype(F32)
    x = x if x.ndim == 3 else x[:, None]
    columns = np.ascontiguousarray(w.T)
    for k, column in enumerate(columns):
        total = total + column * x[:, :, k]
    return total


def sum_of(terms: Array) -> Array:
    """terms[n, ...] -> 0 + terms[0] + terms[1] + ..."""
    total = np.zeros(terms.shape[1:], F32)
    for term in terms:
        total = total + term
    return total


def outer_sum(errors: Array, x: Array) -> Array:
    """errors[n, o], x[n, k] -> 0 + errors[0, o] x[0, k] + errors[1, o] x[1, k] + ...

    Or x[n, o, k], where every row has terms of its own.
    """
    total = np.zeros((errors.shape[1], x.shape[-1]), F32)
    for error, row in zip(errors, x, strict=True):
        total = total + error[:, None] * row
    return total


def step_is_small(factor: np.float32, dy: Array, x: Array | None = None) -> bool:
    """Whether no weight can move by `STEP_LIMIT` where it loses factor (sum of dy x).

    So weights stay finite: beside one of 2^65 and more, steps below 2^40 round to nothing.

    Args:
        dy: [positions, rows]. x: all inputs of the layer; None: those of biases, 1.
    """
    seen = F32(1.0) if x is None else np.maximum(np.abs(x).max(), F32(1.0))
    share = factor * F32(len(dy))
    return bool(share * np.abs(dy).max() * seen < STEP_LIMIT)


def decayed(w: Array, rate: np.float32, weight_decay: float) -> Array:
    """w (1 - rate weight_decay), float32."""
    return w * (F32(1.0) - rate * F32(weight_decay)) if weight_decay > 0 else w
