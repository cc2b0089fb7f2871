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

SCHEDULES = ("cosine", "constant")


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
        schedule: "cosine" falls to 2 % of `lr` over the steps of a run, "constant" does not.
        seed: of the random generator for stochastic rounding and of the order of the samples.
    """

    layers: str = "all"
    precision: str = "uint8"
    update: str = "full"
    batch: int = 1
    preset: str = "default"
    lr: float = 0.01
    schedule: str = "cosine"
    seed: int = 0

    def __post_init__(self) -> None:
        _known("precision", self.precision, ("uint8",))
        _known("update", self.update, ("full",))
        _known("preset", self.preset, ("default",))
        _known("schedule", self.schedule, SCHEDULES)
        if self.batch != 1:
            raise ConfigError(f"batch {self.batch} is not available; the in-place update takes 1")
        if not (math.isfinite(self.lr) and 0 < self.lr <= 1):
            raise ConfigError(f"lr {self.lr} is outside (0, 1]; 0.01 is a good start")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"seed {self.seed} is outside [0, 4294967296)")
        if not self.layers.strip():
            raise ConfigError('no layers to train; say "last:2", "all" or names')


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
    types = {f.name: f.type for f in fields(TrainingConfig)}
    for key, value in options.items():
        if key not in types:
            raise ConfigError(f'{path}: unknown key "{key}"; known: {", ".join(types)}')
        wanted = {"str": str, "int": int, "float": (int, float)}[str(types[key])]
        if isinstance(value, bool) or not isinstance(value, wanted):  # type: ignore[arg-type]
            raise ConfigError(f"{path}: {key} = {value!r} should be a {types[key]}")
    return options
