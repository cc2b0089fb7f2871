"""values, their quantization -> what is wrong with it and what to do, in a sentence."""

from __future__ import annotations

import numpy as np

from insitu.fixed_point import BIAS_SCALE
from insitu.graph.model import Array, QParams

FEW_STEPS = 8.0
"""Size of values in steps of the grid, below which outliers made its range; a normal distribution
that fills its range has about 30."""

LOST_STEPS = 2.0
"""Spread of a feature in steps, below which it is lost beside others: 17 dB."""

TAILS, DEVIATIONS = (5.0, 95.0), 1.645
"""Percentiles that outliers do not move, and where they are in a normal distribution."""

MUCH_CLIPPED = 0.001

LIKE_SIZES = {
    "features": "bring all to one size, in the data and on the device, and train with it",
    "channels": "give its rows one size (what a row is divided by, the next layer's weights of "
    "that channel are multiplied by), or keep it in float by --precision float32",
}
"""What to do about parts of unlike size."""

HALF = 63.0
"""Steps: a layer whose largest weight is below has a range that was not made for it."""

NAMED = 6
"""Features that are named one by one."""


def steps_of(value: Array, q: QParams) -> float:
    """The size of most values in steps of the grid: a root mean square without the tails."""
    tails = np.percentile(value / q.scale.astype(np.float64), TAILS)
    return float(np.abs(tails).max()) / DEVIATIONS


def _spreads(value: Array, q: QParams) -> Array:
    """Of value[..., parts] by part, in steps: a standard deviation without the tails."""
    low, high = np.percentile(value.reshape(-1, value.shape[-1]), TAILS, axis=0)
    return np.asarray((high - low) / (2 * DEVIATIONS) / q.scale.astype(np.float64))


def is_stretched(value: Array, q: QParams | None) -> bool:
    """Whether outliers have made the range of these values."""
    return q is not None and bool(value.any()) and steps_of(value, q) < FEW_STEPS


def clipped(value: Array, q: QParams | None) -> float:
    """Share of values that are beyond the range."""
    if q is None:
        return 0.0
    scale = q.scale.astype(np.float64)
    low, high = ((bound - q.zero_point) * scale for bound in (-128.5, 127.5))
    return float(((value < low) | (value > high)).mean())


def are_unlike(value: Array, q: QParams) -> bool:
    """Whether some of value[..., parts] are lost beside others."""
    varies = _spreads(value, q)
    return bool(((varies < LOST_STEPS) & (varies > 0)).any() and varies.max() >= FEW_STEPS)


def of_range(value: Array, q: QParams | None, parts: str) -> str:
    """Of values[n, ..., parts] that are cut, or whose grid is coarse for all or for some of them.

    Args:
        parts: "features" of the input, "channels" of an activation.
    """
    if q is None:
        return "it is in float, where nothing is lost"
    share = clipped(value, q)
    if share > MUCH_CLIPPED:
        return (
            f"{share:.1%} of its values are beyond its range; calibrate with minmax or a higher "
            "percentile, and with data as the network will see"
        )
    varies = _spreads(value, q)
    lost = np.flatnonzero((varies < LOST_STEPS) & (varies > 0))
    largest = int(varies.argmax())
    if are_unlike(value, q):
        named = ", ".join(map(str, lost[:NAMED])) + (", ..." if len(lost) > NAMED else "")
        return (
            f"{len(lost)} of its {len(varies)} {parts} ({named}) vary by {varies[lost].max():.2g} "
            f"of 256 steps or less, where number {largest} varies by {varies[largest]:.2g}: "
            f"{LIKE_SIZES[parts]}"
        )
    if is_stretched(value, q):
        return of_outliers(value, q)
    if parts == "features" and varies[largest] < FEW_STEPS:
        return (
            f"its values vary by {varies[largest]:.2g} of 256 steps: take away what they have in "
            "common (their mean), in the data and on the device, and train with it"
        )
    return "8 bits are few for its output; train it and what follows it"


def of_outliers(value: Array, q: QParams | None) -> str:
    """Of a tensor whose range they have made."""
    assert q is not None
    scale, zero = float(q.scale.max()), q.zero_point
    reach, most = scale * max(zero + 128, 127 - zero), np.percentile(np.abs(value), 95)
    return (
        f"outliers stretch its range, so that its values are {steps_of(value, q):.1f} steps of 256 "
        f"(it reaches {reach:.4g}, 95 % of them {most:.4g}): leave them out of the calibration, or "
        "try --calibration mse or percentile"
    )


def of_weights(w: Array, q: QParams) -> str:
    """w[rows, ...] in float, q as they are stored."""
    rows = np.abs(w.reshape(len(w), -1))
    scale = np.broadcast_to(q.scale.astype(np.float64), len(w))
    steps = float(rows.max() / scale.min())
    if 0 < steps < HALF:
        return (
            f"its largest weight of {rows.max():.4g} takes {steps:.2g} of "
            "127 steps: its range has room for training. Scale its weights up, and the "
            "next layer's down, or keep it in float by --precision float32"
        )
    typical = np.median(rows, axis=1) / scale
    row = int(np.where(rows.any(axis=1), typical, np.inf).argmin())
    if typical[row] >= LOST_STEPS:
        return (
            "8 bits are few for its weights; train it, or keep it in float by --precision float32"
        )
    return (
        f"beside its largest weight of {rows[row].max():.4g} those of row {row} are "
        f"{typical[row]:.2g} of 127 steps (median): bring it nearer to the others (clip it, and "
        "train on), or keep the layer in float by --precision float32"
    )


def of_biases(bias: Array, off: float) -> str:
    """bias[rows] in float; off: how far the layer's output is beside its grid."""
    largest = float(np.abs(bias).max())
    if largest < FEW_STEPS * float(BIAS_SCALE):
        return (
            f"its biases of up to {largest:.4g} are few of their units of {BIAS_SCALE:.2g}; scale "
            "the samples or the layer's weights up, and the next layer's weights down"
        )
    return (
        f"its biases of up to {largest:.4g} are not what its integers can hold (its "
        f"output is {off:.4g} off): scale the layer's weights and samples so that biases are no "
        "larger than what the weights add, or keep the layer in float by --precision float32"
    )


def of_sum(largest: str, share: float) -> str:
    """Where no part stands out."""
    return (
        f"its layers' errors add up, no one makes half of it ({largest} {share:.0%}): train more "
        "of its layers, which makes up for it, or keep them in float by --precision float32"
    )
