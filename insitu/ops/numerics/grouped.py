"""Sums of a convolution whose channels come in groups, over batches: for numpy references.

Row o of the weights w[o, kh, kw, i] belongs to group o groups // rows, whose channels alone it
reads. Invariant: sums are in the arrays' own type.
"""

from __future__ import annotations

import numpy as np

from insitu.graph.model import Array
from insitu.graph.rules import Attributes
from insitu.ops.numerics.geometry import dilation_of, groups_of, scatter, windows


def patches_of(attributes: Attributes, x: Array, shape: tuple[int, ...]) -> Array:
    """x[batch, h, w, c] -> [batch, out_h, out_w, kernel_h, kernel_w, c]; shape: of the weights."""
    return windows(
        x,
        (shape[1], shape[2]),
        attributes["stride"],
        attributes["padding"],
        dilation=dilation_of(attributes),
    )


def products(attributes: Attributes, x: Array, w: Array) -> Array:
    """y[batch, out_h, out_w, o] = sum over ky, kx, i of w[o, ky, kx, i] x, 0 outside the map."""
    patches, groups = patches_of(attributes, x, w.shape), groups_of(attributes)
    if groups == 1:
        return np.asarray(patches.reshape(*patches.shape[:3], -1) @ w.reshape(len(w), -1).T)
    split = patches.reshape(*patches.shape[:5], groups, -1)
    y = np.einsum("bhwyxgi,goyxi->bhwgo", split, _by_group(w, groups), optimize=True)
    return np.reshape(y, (*patches.shape[:3], len(w)))


def transposed(attributes: Attributes, dy: Array, w: Array) -> Array:
    """dy[batch, out_h, out_w, o], w[o, kh, kw, i] -> dx[batch, h, w, c]; attribute size: h, w."""
    groups, stride, padding = groups_of(attributes), attributes["stride"], attributes["padding"]
    if groups == 1:
        patches = dy @ w.reshape(len(w), -1)
    else:
        split = dy.reshape(*dy.shape[:3], groups, -1)
        patches = np.einsum("bhwgo,goyxi->bhwyxgi", split, _by_group(w, groups), optimize=True)
    patches = patches.reshape(*dy.shape[:3], *w.shape[1:3], groups * w.shape[3])
    return scatter(patches, attributes["size"], stride, padding, dilation_of(attributes))


def weight_gradient(attributes: Attributes, dy: Array, x: Array, shape: tuple[int, ...]) -> Array:
    """dw[o, kh, kw, i] = sum over batch and positions of dy x; shape: of the weights."""
    patches, groups = patches_of(attributes, x, shape), groups_of(attributes)
    if groups == 1:
        return np.asarray(np.einsum("bhwo,bhwyxi->oyxi", dy, patches, optimize=True))
    split = patches.reshape(*patches.shape[:5], groups, -1)
    errors = dy.reshape(*dy.shape[:3], groups, -1)
    dw = np.einsum("bhwgo,bhwyxgi->goyxi", errors, split, optimize=True)
    return np.reshape(dw, shape)


def terms(attributes: Attributes, x: Array, shape: tuple[int, ...]) -> Array:
    """x[h, w, i] -> [positions, weights in a row], zeros outside the map; shape: of the weights.

    With groups [positions, rows, weights in a row].
    """
    patches, groups = patches_of(attributes, x[None], shape)[0], groups_of(attributes)
    positions = patches.shape[0] * patches.shape[1]
    if groups == 1:
        return np.reshape(patches, (positions, -1))
    split = patches.reshape(positions, shape[1] * shape[2], groups, -1).swapaxes(1, 2)
    return np.repeat(split.reshape(positions, groups, -1), shape[0] // groups, axis=1)


def columns(attributes: Attributes, x: Array, shape: tuple[int, ...]) -> Array:
    """x[batch, h, w, c] -> [positions, groups, weights in a row]; shape: of the weights."""
    patches, groups = patches_of(attributes, x, shape), groups_of(attributes)
    split = patches.reshape(-1, shape[1] * shape[2], groups, shape[3])
    return split.swapaxes(1, 2).reshape(len(split), groups, -1)


def _by_group(w: Array, groups: int) -> Array:
    """w[o, ...] -> [group, row of the group, ...]."""
    return w.reshape(groups, -1, *w.shape[1:])
