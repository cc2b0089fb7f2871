"""The part of a training configuration that the ops' gradient rules ask about.

Invariant: a value, checked where users make it (`config.TrainingConfig`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class Rows:
    """Part of a layer's rows: a fraction of them from the first on, or [first, end).

    Attributes:
        pattern: glob over layer names.
        fraction: in (0, 1], or None where `first` and `end` say which.
    """

    pattern: str
    fraction: float | None
    first: int = 0
    end: int = 0

    def of(self, rows: int) -> tuple[int, int]:
        """The part [first, end) of a layer with so many rows; at least one."""
        if self.fraction is None:
            return self.first, self.end
        return 0, max(rows * fixed_fraction(self.fraction) >> 16, 1)


@dataclass(frozen=True, kw_only=True)
class PartialUpdate:
    """Which structures (rows of weights) of a trained layer learn from a sample.

    Attributes:
        kind: "full": all; "bias": no weights, only biases; "dynamic": those with the largest
            error, their number between `least` and `most` of the layer; "sampled": all, but
            those of layers before the last one from samples that are drawn by their error, with a
            probability between `least` and `most`; "static": those of `rows`, no others.
        least, most: fractions of the layer's rows, or of samples, 0 < least <= most <= 1.
        rows: the first whose pattern suits a layer holds for it.
    """

    kind: str = "full"
    least: float = 1.0
    most: float = 1.0
    rows: tuple[Rows, ...] = ()

    def static_rows(self, layer: str) -> Rows | None:
        """Which rows of a layer learn in a static update; None: none."""
        return next((part for part in self.rows if fnmatchcase(layer, part.pattern)), None)


def fixed_fraction(fraction: float) -> int:
    """A fraction in (0, 1] times 2^16, rounded up, so that 0.7 of 10 rows are 7."""
    return math.ceil(fraction * 65536)


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """How gradients become steps.

    Attributes:
        partial: which rows, or which samples, change weights.
        error_unit: of mse: the difference of score and target that is 127 in int8.

    The others are those of `config.TrainingConfig`, which holds what each may be.
    """

    preset: str = "default"
    precision: str = "uint8"
    partial: PartialUpdate = PartialUpdate()
    batch: int = 1
    buffer: str = "int32"
    momentum: float = 0.0
    weight_decay: float = 0.0
    skip: float = 0.0
    error_range: str = "fixed"
    loss: str = "cross_entropy"
    error_unit: float = 1.0

    @property
    def in_place(self) -> bool:
        """Whether a sample's gradient changes the weights at once, without a buffer."""
        return self.preset == "default" and self.batch == 1 and self.momentum == 0.0
