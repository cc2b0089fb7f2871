"""Weights of a layer to be trained -> the range that they are given beyond their own.

In place a row's range is fixed for ever. Weights that were trained have found theirs; initial
values have not, and the usual ones leave no room: uniform values of PyTorch end at 1 / sqrt(fan in)
already. So what looks like small initial values gets more.
"""

from __future__ import annotations

import numpy as np

from insitu.graph.model import Array

INITIAL_RANGE = 3.0
"""Of initial values, times 1 / sqrt(fan in). Source: bench/learning/initial_values.py."""

SMALL = 2.2
"""Largest weight, times sqrt(fan in), below which initial values need it. Kaiming's are above:
uniform ones end at 2.45, normal ones beyond."""

TINY = 0.05
"""Largest weight, times sqrt(fan in), below which it would be less than about 2 steps of 127: what
reads large numbers is as small as that and is sound."""

NORMAL = 3.0
"""Kurtosis of a normal distribution; of a uniform one 1.8. Training makes heavy tails."""

SIGMAS = 4.0
"""By how much chance may exceed what is expected."""


def initial_range(w: Array, bias: Array) -> float:
    """The least range of w[out, ...]: INITIAL_RANGE / sqrt(fan in), or 0 where it has one.

    Initial values have no heavy tails, rows that are equally large but for chance, and biases of 0
    or within 1 / sqrt(fan in). A layer of zeros is a fresh one and has a range already.
    """
    rows = w.reshape(len(w), -1).astype(np.float64)
    fan_in = rows.shape[1]
    power = (rows**2).mean(axis=1)
    mean = power.mean()
    if not TINY < np.abs(rows).max() * np.sqrt(fan_in) < SMALL or mean == 0:
        return 0.0
    kurtosis = (rows**4).mean() / mean**2
    tails = NORMAL + SIGMAS * np.sqrt(24 / rows.size)
    spread = (kurtosis - 1) / fan_in * (1 + SIGMAS * np.sqrt(2 / len(rows)))
    alike = kurtosis <= tails and power.var() <= spread * mean**2
    unmoved = np.abs(bias).max() * np.sqrt(fan_in) <= 1 + 1e-6
    return float(INITIAL_RANGE / np.sqrt(fan_in)) if alike and unmoved else 0.0
