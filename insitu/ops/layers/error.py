"""How the error of a layer becomes the error of its input, in integers.

A row of weights has a scale of its own, so each error e is first multiplied by its row's part of
the largest scale: e'. The sum of w e' then has one scale. Twins: linear.c, conv.c.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from insitu.fixed_point import F32, rescale, round_clamp, split_ratio
from insitu.graph.model import Array
from insitu.graph.rules import Attributes


@dataclass(frozen=True)
class ErrorRescale:
    """How a layer's error becomes the error of its input.

    Attributes:
        rel: uint16[out], round(2^15 scale[o] / largest scale).
        drop: e' = round(e rel / 2^(8 + drop)).
        multiplier, shift: of the sum, see `fixed_point.rescale`.
    """

    rel: Array
    drop: int
    multiplier: int
    shift: int


def error_rescale(scale: Array, terms: int) -> ErrorRescale:
    """Row scales -> constants of the input gradient, for sums of `terms` products |w e'|.

    The error keeps its scale on the way through a layer. Bits of e' are dropped until the sum is
    sure to fit int32.
    """
    largest = scale.max()
    rel = round_clamp(scale / largest * F32(32768.0), 0, 32768).astype(np.uint16)
    drop = 0
    while 127 * largest_error(drop) * terms > 2**31 - 1 and drop < 7:
        drop += 1
    multiplier, shift = split_ratio(float(largest) / 2.0 ** (7 - drop))
    return ErrorRescale(rel, drop, multiplier, shift)


def largest_error(drop: int) -> int:
    """The largest |e'|."""
    return (127 * 32768 + (1 << (7 + drop))) >> (8 + drop)


def expand_error(dy: Array, rel: Array, drop: int) -> Array:
    """e'[..., out] = round(e rel / 2^(8 + drop)), int64, halves up."""
    wide = dy.astype(np.int64) * rel.astype(np.int64)
    return (wide + (1 << (7 + drop))) >> (8 + drop)


def rescaled_error(total: Array, attributes: Attributes) -> Array:
    """int8 on the scale of dy from the sums of w e'."""
    v = rescale(total, attributes["multiplier"], attributes["shift"])
    return np.clip(v, -127, 127).astype(np.int8)
