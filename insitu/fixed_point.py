"""Rescale, saturate, round, stochastic round, random bits, elementary float functions.

Invariant: bit for bit what insitu_fixed_point.h does; docs/arithmetic.md is the
text of both. Integers are computed in int64 and never overflow there; floats are IEEE single,
one rounding an operation, in the order written.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from insitu.graph.model import Array, QParams

F32 = np.float32

LFSR_POLYNOMIAL = 0xA3000000
"""Galois form, shifting right; period 2^32 - 1. Source: numerics, "Update in place"."""

BIAS_SCALE = F32(2.0**-20)
"""Unit of the biases of layers whose scales move."""

BIAS_STEP_LIMIT = 2**30 - 1
"""Of one step of a bias. A bias of 2^30 and such a step make 2^31 - 1, which int32 holds."""

ERFC = (
    *(0.17087277, -0.82215223, 1.48851587, -1.13520398, 0.27886807),
    *(-0.18628806, 0.09678418, 0.37409196, 1.00002368, -1.26551223),
)
"""Of `erfc_positive`, the highest power first."""

NO_BOUND = F32(3.402823466e38)
"""Stands for infinity: INSITU_NO_BOUND in insitu.h."""

DIVERGED = F32(2.0**126)
"""Floats that are as large or larger have diverged: INSITU_DIVERGED in insitu.h."""

MULTIPLIER_SHIFT_LIMIT = 13
"""A ratio of scales is at most 2^12, where an accumulator of 1 saturates 8 bits already."""


def round_clamp(value: Array | np.float32, low: int, high: int) -> Array:
    """Nearest integer, halves away from zero, clamped to [low, high] before the conversion.

    NaN gives `low`: what is not above it, is it.
    """
    value = np.asarray(value, F32)
    above = value > F32(low)
    inside = np.where(above, np.minimum(value, F32(high)), F32(low))
    whole = np.trunc(inside)
    rest = inside - whole  # exact, where adding 0.5 to the value would round a second time
    rounded = whole.astype(np.int64) + (rest >= F32(0.5)) - (rest <= F32(-0.5))
    at_low = np.where(above, rounded, low)
    return np.asarray(np.clip(np.where(value >= F32(high), high, at_low), low, high), np.int64)


def rescale(accumulator: Array, multiplier: Array | int, shift: int) -> Array:
    """round(accumulator * multiplier / 2^(32 - shift)), halves up.

    So that the pre-shift cannot overflow, the accumulator is clamped to +-2^(30 - shift). That
    changes no result of 8 bits while the row's multiplier is at least 2^10: the result at the
    hold is 2^30 multiplier / 2^32, 256 or more.
    """
    limit = 2**30 >> shift if shift > 0 else 2**31
    wide = np.clip(np.asarray(accumulator, np.int64), -limit, limit) << shift
    return (wide * np.asarray(multiplier, np.int64) + 2**31) >> 32


def split_ratio(ratio: float) -> tuple[int, int]:
    """A positive ratio of scales -> (multiplier, shift) for `rescale`."""
    multipliers, shift = split_ratios(F32(1.0), np.asarray([ratio], F32))
    return int(multipliers[0]), shift


def split_ratios(ratio: np.float32, row_scale: Array) -> tuple[Array, int]:
    """ratio * row_scale[row] -> (multiplier[row] int32, one shift).

    The shift brings the largest of them below 0.5.
    """
    largest = F32(ratio) * row_scale.astype(F32).max()
    shift, factor = 0, F32(ratio) * F32(2.0**32)
    while largest >= F32(0.5) and shift < MULTIPLIER_SHIFT_LIMIT:
        largest, factor, shift = largest * F32(0.5), factor * F32(0.5), shift + 1
    return round_clamp(factor * row_scale.astype(F32), 0, 2**31 - 1), shift


def accumulator_bias(bias: Array, x_scale: np.float32, row_scale: Array) -> Array:
    """Biases in units of 2^-20 -> int32 in the accumulator's unit x_scale * row_scale[row]."""
    unit = BIAS_SCALE / F32(x_scale)
    return round_clamp(bias.astype(F32) * unit / row_scale.astype(F32), -(2**30), 2**30)


def range_qparams(low: float, high: float, clip_min: float, clip_max: float) -> QParams:
    """A range of real values -> 8-bit affine quantization parameters.

    The range is widened to contain 0, which is then exactly representable.

    Args:
        low, high: the range; high > low.
        clip_min, clip_max: the activation function's bounds, infinite where it has none.
    """
    lo, hi = min(F32(low), F32(0.0)), max(F32(high), F32(0.0))
    scale = F32((hi - lo) / F32(255.0))
    zero = -128 + int(round_clamp(-lo / scale, 0, 255))
    return _clipped(scale, zero, (lo, hi), (clip_min, clip_max))


def affine_qparams(
    scale: np.float32, zero: int, clip_min: float = -math.inf, clip_max: float = math.inf
) -> QParams:
    """8-bit quantization parameters with a known scale and zero point in [-128, 127]."""
    lo, hi = scale * F32(-128 - zero), scale * F32(127 - zero)
    return _clipped(scale, zero, (lo, hi), (clip_min, clip_max))


def real_range(q: QParams) -> tuple[float, float]:
    """The real numbers that stand for -128 and 127."""
    scale = float(q.scale)
    return scale * (-128 - q.zero_point), scale * (127 - q.zero_point)


def _clipped(
    scale: np.float32, zero: int, low_high: tuple[Any, Any], clip: tuple[float, float]
) -> QParams:
    """The quantization of low_high with the bounds of an activation function."""
    (lo, hi), (clip_min, clip_max) = low_high, clip
    cmin, cmax = -128, 127
    if math.isfinite(clip_min):
        cmin = zero + int(round_clamp(F32(clip_min) / scale, -128 - zero, 127 - zero))
    if math.isfinite(clip_max):
        cmax = zero + int(round_clamp(F32(clip_max) / scale, -128 - zero, 127 - zero))
    return QParams(
        scale=np.asarray(scale),
        zero_point=zero,
        clip_min=float(F32(clip_min)),
        clip_max=float(F32(clip_max)),
        clamp_min=cmin,
        clamp_max=cmax,
        pass_min=cmin + 1 if F32(clip_min) >= lo else -128,
        pass_max=cmax - 1 if F32(clip_max) <= hi else 127,
    )


def symmetric_qparams(scale: float) -> QParams:
    """Quantization of errors: zero point 0, q in [-127, 127]."""
    return QParams(scale=np.asarray(F32(scale)), clamp_min=-127)


def follow_range(
    low_high: Array, observed: Array, q: QParams, smallest: np.float32
) -> tuple[np.float32, np.float32]:
    """The range after a sample: it grows by 0.1 and shrinks by 0.01 of the difference.

    Args:
        low_high: float32[2], the range so far.
        observed: int32[2], smallest and largest requantized value before the clamp, relative to
            the zero point, in units of `q.scale`.
        smallest: the range never becomes narrower, so that a dead layer can wake up.

    Returns:
        (low, high); as it was where it would diverge.
    """
    low, high = F32(low_high[0]), F32(low_high[1])
    seen_high = F32(max(int(observed[1]), 0)) * F32(q.scale)
    seen_low = F32(min(int(observed[0]), 0)) * F32(q.scale)
    high = high + (F32(0.1) if seen_high > high else F32(0.01)) * (seen_high - high)
    low = low + (F32(0.1) if seen_low < low else F32(0.01)) * (seen_low - low)
    low, high = max(low, F32(q.clip_min)), min(high, F32(q.clip_max))
    if high - low < smallest:
        high = low + smallest
    if not are_finite(np.asarray([low, high], F32)):
        return F32(low_high[0]), F32(low_high[1])
    return F32(low), F32(high)


def are_finite(x: Array) -> bool:
    """Whether all of x float32 are numbers, and smaller than `DIVERGED`."""
    return bool(np.all(np.abs(x) < DIVERGED))


def seed_generator(seed: int) -> int:
    """The random generator's state for a seed: never 0, and far apart for seeds that are near."""
    state = (seed * 2654435761 + 0x9E3779B9) & 0xFFFFFFFF
    state ^= state >> 16
    return state or 1


def draw_bytes(state: int, count: int) -> tuple[Array, int]:
    """`count` random bytes -> (bytes, next state).

    Each step of the generator gives four bytes, the high one first; what is left of the last
    step is dropped.
    """
    steps = -(-count // 4)
    words = np.empty(steps, np.uint32)
    for index in range(steps):
        state = (state >> 1) ^ (LFSR_POLYNOMIAL if state & 1 else 0)
        words[index] = state
    octets = words.astype(">u4").view(np.uint8)[:count]
    return octets.astype(np.int64), state


def exp_negative(x: Array | np.float32) -> Any:
    """exp(x) for x <= 0, relative error below 3e-7; 0 below -87.

    x = n ln 2 + r, |r| <= ln 2 / 2; Taylor polynomial of degree 6 in r; 2^n by the exponent.
    """
    x = np.asarray(x, F32)
    inside = np.where(x < F32(-87.0), F32(-87.0), x)
    n = round_clamp(inside * F32(1.44269504), -126, 0)
    whole = n.astype(F32)
    r = (inside - whole * F32(0.693359375)) - whole * F32(-2.12194440e-4)
    p = _horner(r, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0)
    power = ((n + 127) << 23).astype(np.uint32).view(F32)
    return np.where(x < F32(-87.0), F32(0.0), p * power)[()]


def expm1_negative(x: Array | np.float32) -> Any:
    """exp(x) - 1 for x <= 0, relative error below 3e-7: a Taylor polynomial of degree 8 near 0."""
    x = np.asarray(x, F32)
    near = np.where(x < F32(-0.5), F32(-0.5), x)
    p = _horner(near, *(1.0 / math.factorial(n) for n in range(8, 0, -1)))
    return np.where(x < F32(-0.5), exp_negative(x) - F32(1.0), p * near)[()]


def erfc_positive(x: Array | np.float32) -> Any:
    """1 - erf(x) for x >= 0, error below 5e-7 of 1.

    Source: Press et al., Numerical Recipes in C, 2nd ed., section 6.2, erfcc.
    """
    x = np.asarray(x, F32)
    t = F32(1.0) / (F32(1.0) + F32(0.5) * x)
    p = _horner(t, *ERFC)
    return (t * exp_negative(p - x * x))[()]


def log_positive(x: Array | np.float32) -> Any:
    """log(x) for a normal x >= 1, error below 3e-7 of max(1, log(x)).

    x = m 2^n, m in [1, 2); log m = 2 atanh((m - 1) / (m + 1)), odd series to the 11th power.
    """
    bits = np.asarray(x, F32).view(np.uint32).astype(np.int64)
    n = (bits >> 23) - 127
    m = ((bits & 0x7FFFFF) | 0x3F800000).astype(np.uint32).view(F32)
    t = (m - F32(1.0)) / (m + F32(1.0))
    p = _horner(t * t, 1.0 / 11.0, 1.0 / 9.0, 1.0 / 7.0, 0.2, 1.0 / 3.0, 1.0)
    return (n.astype(F32) * F32(0.69314718) + F32(2.0) * t * p)[()]


def _horner(x: Array, *coefficients: float) -> Array:
    """The polynomial in x, its highest coefficient first."""
    p = np.full_like(x, F32(coefficients[0]))
    for c in coefficients[1:]:
        p = p * x + F32(c)
    return p


def square_root(x: np.float32) -> np.float32:
    """sqrt(x) for x >= 0, relative error below 2e-7.

    A first guess from the exponent, within 4 %; three steps of Heron's.
    """
    if not x > F32(0.0):
        return F32(0.0)
    guess = (int(np.asarray(x, F32).view(np.uint32)) >> 1) + 0x1FBB4F2E
    root = F32(np.asarray(guess, np.uint32).view(F32)[()])
    for _ in range(3):
        root = F32(F32(0.5) * F32(root + F32(x / root)))
    return root


def cosine_rates(rate: float, steps: int) -> Array:
    """Learning rate of each step: from `rate` down to 2 % of it along half a cosine, float32."""
    t = np.arange(steps, dtype=F32) / F32(max(steps, 1)) - F32(0.5)
    x = t * F32(math.pi)
    s = x * x
    p = np.full_like(s, F32(1.0 / 362880.0))
    for c in (-1.0 / 5040.0, 1.0 / 120.0, -1.0 / 6.0, 1.0):
        p = p * s + F32(c)
    fall = np.maximum(np.asarray(x * p), F32(-1.0))  # the polynomial leaves [-1, 1] by 4e-6
    return np.asarray(F32(rate) * (F32(0.02) + F32(0.49) * (F32(1.0) - fall)), F32)
