"""Sums of products in float32 that every core makes alike: one by one, in a given order.

Invariant: each multiplication and each addition rounds once, and a sum is never made in parts.
numpy's own sums are made in parts, so the terms are added here one by one, for many sums at a
time. Twin: sums_f32.c.
"""

from __future__ import annotations

import numpy as np

from insitu.fixed_point import F32
from insitu.graph.model import Array


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


def decayed(w: Array, rate: np.float32, weight_decay: float) -> Array:
    """w (1 - rate weight_decay), float32."""
    return w * (F32(1.0) - rate * F32(weight_decay)) if weight_decay > 0 else w
