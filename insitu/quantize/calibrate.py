"""float graph, samples -> the range of every activation.

Invariant: each range is finite, holds 0 and is not empty. Values are float64, so that ranges are
alike however BLAS sums; none is kept, only their extremes or a histogram.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from insitu.config import Calibration, parse_calibration
from insitu.errors import ModelError
from insitu.graph.evaluate import evaluate_float
from insitu.graph.model import Array, Graph
from insitu.quantize.histogram import Histogram

BATCH = 64
LARGEST = float(np.finfo(np.float32).max) / 2  # so that the range itself is finite
SMALLEST_RANGE = 1e-30
"""Below it, products of scales would leave the normal float32 numbers."""

SHRINKINGS = 2.0 ** (-np.arange(7 * 16 + 1) / 16)
"""What a side of a range may shrink to, as a part of it: 1 to a 128th, 16 steps a halving."""


def calibrate(
    graph: Graph,
    x: Array,
    method: str = "minmax",
    *,
    also: Callable[[str, Array], None] | None = None,
) -> dict[str, tuple[float, float]]:
    """(low, high) of the input and of every activation.

    Args:
        x: samples[n, ...] in the graph's own layout (channels last), float32, finite.
        method: see `config.QuantizationConfig`.
        also: called with the name and the values of the input and of each activation, in batches.

    Raises:
        ModelError: the network computes something infinite on these samples.
        ConfigError: there is no such method.
    """
    calibration = parse_calibration(method)
    name = graph.inputs[0]
    extremes: dict[str, tuple[float, float]] = {}
    histograms: dict[str, Histogram] = {}

    def observe(tensor: str, value: Array) -> None:
        low, high = float(value.min()), float(value.max())
        if not (low >= -LARGEST and high <= LARGEST):
            raise ModelError(
                f'{graph.name}: "{tensor}" reaches {low} to {high} on the calibration data; '
                "check the weights and how the data is scaled"
            )
        if also is not None:
            also(tensor, value)
        seen = extremes.get(tensor, (low, high))
        extremes[tensor] = (min(seen[0], low), max(seen[1], high))
        if calibration.kind != "minmax":
            histograms.setdefault(tensor, Histogram()).add(value)

    for start in range(0, len(x), BATCH):
        batch = x[start : start + BATCH].astype(np.float64)
        observe(name, batch)
        with np.errstate(over="ignore", invalid="ignore"):
            evaluate_float(graph, {name: batch}, observe=observe)
    chosen = {tensor: _chosen(calibration, h) for tensor, h in histograms.items()}
    return {tensor: _not_empty(*bounds) for tensor, bounds in (extremes | chosen).items()}


def range_of(values: Array, method: str) -> tuple[float, float]:
    """(low, high) of float64 values, as `calibrate` chooses it; it holds 0 and is not empty."""
    calibration, histogram = parse_calibration(method), Histogram()
    histogram.add(values)
    if calibration.kind == "minmax":
        return _not_empty(histogram.low, histogram.high)
    return _not_empty(*_chosen(calibration, histogram))


def _chosen(calibration: Calibration, histogram: Histogram) -> tuple[float, float]:
    if calibration.kind == "percentile":
        return histogram.without_tails((1 - calibration.percentile / 100) / 2)
    return least_error_range(histogram)


def least_error_range(histogram: Histogram) -> tuple[float, float]:
    """The range, within that of the values, with the least squared error of 8-bit quantization.

    Both sides shrink together first; then each is tried alone, in turn, while the error falls.
    All values of a bin count as their mean, so that a few distinct values are seen as such.
    """
    values, counts = histogram.means()
    widest = np.asarray([min(histogram.low, 0.0), max(histogram.high, 0.0)])
    if widest[1] - widest[0] <= SMALLEST_RANGE:
        return float(widest[0]), float(widest[1])
    chosen, least = _best(values, counts, widest * SHRINKINGS[:, None])
    before = np.inf
    while least < before:
        before = least
        for side in (0, 1):
            ranges = np.tile(chosen, (len(SHRINKINGS), 1))
            ranges[:, side] = widest[side] * SHRINKINGS
            chosen, least = _best(values, counts, ranges)
    return float(chosen[0]), float(chosen[1])


def _best(values: Array, counts: Array, ranges: Array) -> tuple[Array, float]:
    """Of ranges[n, (low, high)] the first with the least squared error, and that error."""
    scale = ((ranges[:, 1] - ranges[:, 0]) / 255)[:, None]
    zero = np.rint(-ranges[:, :1] / scale)
    steps = np.clip(np.rint(values / scale), -zero, 255 - zero)
    errors = (steps * scale - values) ** 2 @ counts
    best = int(errors.argmin())
    return ranges[best], float(errors[best])


def _not_empty(low: float, high: float) -> tuple[float, float]:
    """The range with 0 in it; a layer that is silent on all samples gets [0, 1]."""
    low, high = min(low, 0.0), max(high, 0.0)
    return (low, high) if high - low > SMALLEST_RANGE else (0.0, 1.0)
