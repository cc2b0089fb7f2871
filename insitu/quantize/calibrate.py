"""float graph, samples -> the range of every activation.

Invariant: each range is finite and not empty. Ranges are the smallest and largest value seen.
"""

from __future__ import annotations

import numpy as np

from insitu.errors import ModelError
from insitu.graph.evaluate import evaluate_float
from insitu.graph.model import Array, Graph

BATCH = 64
LARGEST = float(np.finfo(np.float32).max) / 2  # so that the range itself is finite
SMALLEST_RANGE = 1e-30
"""Below it, products of scales would leave the normal float32 numbers."""


def calibrate(graph: Graph, x: Array) -> dict[str, tuple[float, float]]:
    """(low, high) of the input and of every activation.

    Args:
        x: samples[n, ...] in the graph's own layout (channels last), float32, finite.

    Raises:
        ModelError: the network computes something infinite on these samples.
    """
    name = graph.inputs[0]
    ranges: dict[str, tuple[float, float]] = {}

    def observe(tensor: str, value: Array) -> None:
        low, high = float(value.min()), float(value.max())
        if not (low >= -LARGEST and high <= LARGEST):
            raise ModelError(
                f'{graph.name}: "{tensor}" reaches {low} to {high} on the calibration data; '
                "check the weights and how the data is scaled"
            )
        seen = ranges.get(tensor, (low, high))
        ranges[tensor] = (min(seen[0], low), max(seen[1], high))

    for start in range(0, len(x), BATCH):
        batch = x[start : start + BATCH].astype(np.float64)  # alike however BLAS sums
        observe(name, batch)
        with np.errstate(over="ignore", invalid="ignore"):
            evaluate_float(graph, {name: batch}, observe=observe)
    return {tensor: _not_empty(*bounds) for tensor, bounds in ranges.items()}


def _not_empty(low: float, high: float) -> tuple[float, float]:
    """The range with 0 in it; a layer that is silent on all samples gets [0, 1]."""
    low, high = min(low, 0.0), max(high, 0.0)
    return (low, high) if high - low > SMALLEST_RANGE else (0.0, 1.0)
