"""The part of a training configuration that the ops' gradient rules ask about.

Invariant: a value, checked where users make it (`config.TrainingConfig`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class PartialUpdate:
    """Which structures (rows of weights) of a trained layer learn from a sample.

    Attributes:
        kind: "full": all; "bias": no weights, only biases; "dynamic": those with the largest
            error, their number between `least` and `most` of the layer; "static": those that
            `rows` names, no others.
        least, most: fractions of the layer's rows, 0 < least <= most <= 1.
        rows: glob over layer names -> (first, end) as fractions of the layer's rows.
    """

    kind: str = "full"
    least: float = 1.0
    most: float = 1.0
    rows: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """How gradients become steps.

    Attributes:
        preset: "default" or "paper", see docs/arithmetic.md.
        precision: "uint8", "mixed" or "float32".
        partial: which rows learn.
        batch: samples an update; with 1, no momentum and the default preset weights are updated
            in place.
        buffer: type of the gradient buffer where there is one: "int32" or "int16".
        momentum: of the step before, in [0, 1).
        weight_decay: part of a weight that is lost at rate 1.
        skip: errors that are all smaller than this (in [0, 1)) change nothing.
        error_range: "fixed" or "moving".
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

    @property
    def in_place(self) -> bool:
        """Whether a sample's gradient changes the weights at once, without a buffer."""
        return self.preset == "default" and self.batch == 1 and self.momentum == 0.0
