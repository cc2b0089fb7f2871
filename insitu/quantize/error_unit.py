"""The unit of 8-bit errors, where it depends on the targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from insitu.config import TrainingConfig
from insitu.data.labels import checked_labels, is_autoencoder, label_type
from insitu.data.samples import Samples
from insitu.errors import DataError
from insitu.graph.model import Graph
from insitu.graph.scheme import Scheme

SMALLEST_UNIT, LARGEST_UNIT = 1e-20, 1e20
"""Of errors: beyond them, products of scales would leave the float32 numbers."""


def with_error_unit(
    training: TrainingConfig,
    given: Samples,
    graph: Graph,
    ranges: Mapping[str, tuple[float, float]],
) -> Scheme:
    """Where the loss asks: half the range of the scores, or of the targets where that is more.

    Targets that are known can only widen it: errors begin as large as the scores are, and a unit
    that holds nearly all of them makes every step too short.
    """
    labels = label_type(graph, training.loss)
    if not labels.record.ranged:
        return training.scheme
    low, high = ranges[graph.outputs[0]]
    if given.y is not None or is_autoencoder(given.x, labels):
        targets = checked_labels(given.x, given.y, labels, given.source)
        lowest, highest = float(targets.min()), float(targets.max())
        if highest - lowest > high - low:
            low, high = lowest, highest
    unit = (high - low) / 2
    if not SMALLEST_UNIT < unit < LARGEST_UNIT:
        raise DataError(
            f"{given.source}: the outputs range from {low:g} to {high:g}, but half of that should "
            f"be between {SMALLEST_UNIT:g} and {LARGEST_UNIT:g}; scale the targets"
        )
    return replace(training.scheme, error_unit=unit)
