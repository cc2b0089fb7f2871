"""What every scheme of the study has to keep to, in one place.

1. Every scheme trains the same layers of the same network on the same samples for the same number
   of epochs, with the cosine schedule.
2. The learning rate is the only thing that is chosen: as many rates for every scheme, a log grid;
   each is judged on validation samples alone, by the mean of the task's tuning seeds; of equals
   the middle one is taken.
3. The chosen rate is trained again with `SEEDS`, fresh ones: they set the order of the samples,
   the random rounding and, from scratch, the initial weights.
4. The test samples are looked at once after each of those, and nowhere else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from insitu.config import TrainingConfig
from insitu.errors import ConfigError

VERSION = 1
"""A change of the protocol that makes earlier trials worthless counts this up."""

TUNING_SEEDS = range(100, 110)
GOAL_POINTS = 0.5


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """A way of training.

    Attributes:
        training: options of `TrainingConfig` beside layers, classes, lr and seed; None: PyTorch.
        torch: options of `torch_training.train`.
        rates: the task's rates times this; or five rates of its own, where the unit is another.
        bytes_per_parameter: of training state, where insitu does not say it.
        revision: counted up where the same options mean another training than before.
    """

    name: str
    title: str
    training: Mapping[str, Any] | None = None
    torch: Mapping[str, Any] = field(default_factory=dict)
    rates: float | tuple[float, ...] = 1.0
    bytes_per_parameter: float | None = None
    revision: int = 0

    def grid(self, rates: tuple[float, ...]) -> tuple[float, ...]:
        """The learning rates to try on a task; as many for every scheme."""
        if isinstance(self.rates, tuple):
            return self.rates[: len(rates)]
        return tuple(round(self.rates * rate, 10) for rate in rates)

    def missing(self) -> str | None:
        """Why this version of insitu cannot train so, or None."""
        known = {f.name for f in fields(TrainingConfig)}
        unknown = [name for name in self.training or () if name not in known]
        if unknown:
            return f"TrainingConfig has no {', '.join(unknown)}"
        try:
            TrainingConfig(**(self.training or {}))
        except ConfigError as error:
            return str(error)
        return None


SCHEMES = {
    scheme.name: scheme
    for scheme in (
        Scheme(name="uint8", title="uint8, in place", training={}),
        Scheme(
            name="uint8-paper",
            title="uint8, the paper's",
            training={"preset": "paper", "batch": 48},
            rates=(0.0003, 0.001, 0.003, 0.01, 0.03),
            revision=1,
        ),
        Scheme(name="mixed", title="mixed", training={"precision": "mixed"}),
        Scheme(name="float32", title="float32", training={"precision": "float32"}),
        Scheme(name="dynamic-0.5", title="uint8, update 0.5", training={"update": "dynamic:0.5:1"}),
        Scheme(name="dynamic-0.1", title="uint8, update 0.1", training={"update": "dynamic:0.1:1"}),
        Scheme(
            name="sampled-0.5",
            title="uint8, sampled 0.5",
            training={"update": "sampled:0.5:1"},
            revision=1,
        ),
        Scheme(
            name="sampled-0.1",
            title="uint8, sampled 0.1",
            training={"update": "sampled:0.1:1"},
            revision=1,
        ),
        Scheme(
            name="sampled-0.1-0.5",
            title="uint8, sampled 0.1 to 0.5",
            training={"update": "sampled:0.1:0.5"},
        ),
        Scheme(name="pytorch", title="PyTorch", bytes_per_parameter=8.0),
        Scheme(
            name="pytorch-batch32",
            title="PyTorch, batch 32, momentum",
            torch={"batch": 32, "momentum": 0.9},
            rates=3.2,
            bytes_per_parameter=12.0,
        ),
    )
}
"""PyTorch's bytes: weight and gradient, float32, and the momentum where there is one. Its rates at
batch 32 with momentum 0.9 are those that move a sample's gradient as far: 32 (1 - 0.9) times."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training run, and what it is judged by: "validation" or "test"."""

    task: str
    scheme: str
    judge: str
    lr: float
    seed: int
    quick: bool = False

    def digest(self, defining: Mapping[str, str]) -> str:
        """Equal where a trial need not be made again; `defining`: digests of task and network."""
        scheme = SCHEMES[self.scheme]
        options = {"training": scheme.training, "torch": dict(scheme.torch)}
        options |= {"revision": scheme.revision} if scheme.revision else {}
        parts = [VERSION, asdict(self), options, dict(defining)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
