"""The user's choices, checked when they are made.

Invariant: a config that exists is valid on its own; whether it suits a network is for `pipeline`.
"""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from insitu.errors import ConfigError
from insitu.graph.scheme import PartialUpdate, Scheme

PRECISIONS = ("uint8",)
PRESETS = ("default",)
UPDATES = ("full",)
SCHEDULES = ("cosine", "step", "constant")
BUFFERS = ("int32", "int16")
ERROR_RANGES = ("fixed", "moving")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How the network is to be trained.

    Attributes:
        layers: "last:N", "all", or comma-separated globs over layer names.
        precision: "uint8": every stored tensor has 8 bits.
        update: "full": every row of a trained layer is updated at every step.
        batch: samples an update; 1 updates in place and needs no gradient buffer.
        preset: "default", the scheme of docs/arithmetic.md.
        lr: learning rate of the first step, in real units, as for float SGD at batch 1.
        schedule: "cosine" falls to 2 % of `lr` over the steps of a run, "step" to 30 % after
            half of them and to 10 % after four fifths, "constant" does not.
        seed: of the random generator for stochastic rounding and of the order of the samples.
        buffer: type of the gradient buffer, where `batch` or `momentum` needs one.
        momentum: part of the step before that is made again, in [0, 1).
        weight_decay: a weight loses `lr` times this part of itself at every update.
        skip: a sample whose errors are all smaller than this changes nothing, in [0, 1).
        error_range: "fixed", or "moving": the range of errors follows them.
        classes: replace the last linear layer by a fresh one with so many outputs.
    """

    layers: str = "all"
    precision: str = "uint8"
    update: str = "full"
    batch: int = 1
    preset: str = "default"
    lr: float = 0.01
    schedule: str = "cosine"
    seed: int = 0
    buffer: str = "int32"
    momentum: float = 0.0
    weight_decay: float = 0.0
    skip: float = 0.0
    error_range: str = "fixed"
    classes: int | None = None

    def __post_init__(self) -> None:
        _known("precision", self.precision, PRECISIONS)
        _known("preset", self.preset, PRESETS)
        _known("schedule", self.schedule, SCHEDULES)
        _known("buffer", self.buffer, BUFFERS)
        _known("error_range", self.error_range, ERROR_RANGES)
        if self.batch != 1:
            raise ConfigError(f"batch {self.batch} is not available; the in-place update takes 1")
        _within("lr", self.lr, 0 < self.lr <= 1, "(0, 1]; 0.01 is a good start")
        _within("momentum", self.momentum, 0 <= self.momentum < 1, "[0, 1); 0.9 is usual")
        _within("weight_decay", self.weight_decay, 0 <= self.weight_decay < 1, "[0, 1)")
        _within("skip", self.skip, 0 <= self.skip < 1, "[0, 1); 0.1 costs little accuracy")
        _within("seed", self.seed, 0 <= self.seed < 2**32, "[0, 4294967296)")
        if self.classes is not None:
            _within("classes", self.classes, 2 <= self.classes <= 4096, "[2, 4096]")
        if not self.layers.strip():
            raise ConfigError('no layers to train; say "last:2", "all" or names')
        parse_update(self.update)

    @property
    def scheme(self) -> Scheme:
        """What the ops' gradient rules ask about."""
        return Scheme(
            preset=self.preset,
            precision=self.precision,
            partial=parse_update(self.update),
            batch=self.batch,
            buffer=self.buffer,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            skip=self.skip,
            error_range=self.error_range,
        )


def parse_update(text: str) -> PartialUpdate:
    """The choice of `--update`.

    Raises:
        ConfigError: it is none of the forms.
    """
    _known("update", text, UPDATES)
    return PartialUpdate()


@dataclass(frozen=True, kw_only=True)
class QuantizationConfig:
    """How ranges are found.

    Attributes:
        calibration_samples: at most so many samples, evenly spaced in the data, are run through
            the float network to find the range of every activation.
    """

    calibration_samples: int = 1024

    def __post_init__(self) -> None:
        if self.calibration_samples < 1:
            raise ConfigError(
                f"calibration_samples {self.calibration_samples} is below 1; 1024 is usual"
            )


def _known(option: str, value: str, values: tuple[str, ...]) -> None:
    if value not in values:
        raise ConfigError(f'{option} "{value}" is not available; choose from: {", ".join(values)}')


def _within(option: str, value: float, holds: bool, interval: str) -> None:
    if not (math.isfinite(value) and holds):
        raise ConfigError(f"{option} {value} is outside {interval}")


def read_toml(path: Path) -> dict[str, Any]:
    """The options of a TOML file: keys of `TrainingConfig`, at top level or under [training].

    Raises:
        ConfigError: unreadable, or a key we do not know.
    """
    try:
        table = tomllib.loads(path.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}; give a TOML file such as: lr = 0.01") from None
    options = {**{k: v for k, v in table.items() if k != "training"}, **table.get("training", {})}
    types = {f.name: str(f.type).removesuffix(" | None") for f in fields(TrainingConfig)}
    for key, value in options.items():
        if key not in types:
            raise ConfigError(f'{path}: unknown key "{key}"; known: {", ".join(types)}')
        wanted: Any = {"str": str, "int": int, "float": (int, float)}[types[key]]
        if isinstance(value, bool) or not isinstance(value, wanted):
            raise ConfigError(f"{path}: {key} = {value!r} should be a {types[key]}")
    return options
