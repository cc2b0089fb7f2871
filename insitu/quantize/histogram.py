"""values, batch by batch -> a histogram whose bins widen with the largest value seen.

Invariant: bins are [k width, (k + 1) width) for integers k, and the width is a power of two, so two
bins become one of twice the width exactly: the histogram is the same however values come in
batches. The larger side holds values in 2048 to 4096 bins; no value is kept.
"""

from __future__ import annotations

import math

import numpy as np

from insitu.graph.model import Array

EXPONENT = 12
BINS = 2**EXPONENT
"""On each side of 0."""

SMALLEST_WIDTH = -120
"""Exponent of the width while only zeros were seen."""


class Histogram:
    """How often values occur, and the mean of those in a bin.

    Attributes:
        low, high: the smallest and the largest value seen; infinite before the first.
        count: of values.
    """

    def __init__(self) -> None:
        """Start without values."""
        self.low, self.high, self.count = math.inf, -math.inf, 0
        self._exponent = SMALLEST_WIDTH
        self._counts = np.zeros(2 * BINS, np.int64)
        self._sums = np.zeros(2 * BINS)

    @property
    def width(self) -> float:
        """Of a bin."""
        return 2.0**self._exponent

    def add(self, values: Array) -> None:
        """Count finite float64 values, one or more, of any shape."""
        low, high = float(values.min()), float(values.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        self.count += values.size
        self._widen(math.frexp(max(-low, high))[1] - EXPONENT)
        flat = values.reshape(-1)
        bins = np.floor(flat / self.width).astype(np.int64) + BINS
        self._counts += np.bincount(bins, minlength=2 * BINS)
        self._sums += np.bincount(bins, flat, minlength=2 * BINS)

    def _widen(self, exponent: int) -> None:
        """Make bins at least 2^exponent wide."""
        if exponent <= self._exponent:
            return
        halvings = min(exponent - self._exponent, EXPONENT + 1)
        target = (np.arange(-BINS, BINS) >> halvings) + BINS
        counts, sums = np.zeros_like(self._counts), np.zeros_like(self._sums)
        np.add.at(counts, target, self._counts)
        np.add.at(sums, target, self._sums)
        self._counts, self._sums, self._exponent = counts, sums, exponent

    def means(self) -> tuple[Array, Array]:
        """(mean value[bins], count[bins]) of the bins that hold a value, in rising order."""
        held = self._counts > 0
        return self._sums[held] / self._counts[held], self._counts[held]

    def without_tails(self, share: float) -> tuple[float, float]:
        """The narrowest (low, high) on edges of bins that leaves out at most `share` on each side.

        Never wider than the values.
        """
        allowed = share * self.count + 1e-6  # a share such as 0.05 is a little less as a float
        above = self.count - np.cumsum(self._counts)  # of the bin's upper edge
        below = self.count - np.cumsum(self._counts[::-1])[::-1]  # of its lower edge
        last = int(np.argmax(above <= allowed))
        first = 2 * BINS - 1 - int(np.argmax(below[::-1] <= allowed))
        return (
            max(self.low, (first - BINS) * self.width),
            min(self.high, (last + 1 - BINS) * self.width),
        )
