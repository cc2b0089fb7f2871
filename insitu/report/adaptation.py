"""What a network went through when its world changed, for the report's first lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from insitu.graph.model import Array


@dataclass(frozen=True, kw_only=True, eq=False)
class Adaptation:
    """Accuracies on samples that were never trained on, each in [0, 1].

    Attributes:
        old_world: before training, as the network was pretrained.
        new_world: before training, after the change.
        adapted: after training on the board, in the new world.
        float_adapted: the same with float training of the same layers, samples and rates.
        pictures: a sample in the old and in the new world, [h, w].
        label: what they show.
        right: bool[steps], whether each training sample was predicted right before its own update.
    """

    old_world: float
    new_world: float
    adapted: float
    float_adapted: float
    pictures: tuple[Array, Array]
    label: str
    right: Array

    @property
    def figures(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "accuracy_old_world": self.old_world,
            "accuracy_new_world": self.new_world,
            "accuracy_adapted": self.adapted,
            "accuracy_float_adapted": self.float_adapted,
            "points_to_float": 100 * (self.adapted - self.float_adapted),
        }
