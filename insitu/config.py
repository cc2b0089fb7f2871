"""The user's choices, checked when they are made.

Invariant: a config that exists is valid on its own; whether it suits a network is for `pipeline`.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from insitu.errors import ConfigError
from insitu.graph.scheme import PartialUpdate, Rows, Scheme
from insitu.ops.losses.table import LOSSES

UPDATES = ("full", "bias", "dynamic:MIN:MAX", "sampled:MIN:MAX", "static:LAYER=ROWS,...")
CALIBRATIONS = ("minmax", "percentile[:P]", "mse")
USUAL_PERCENTILE = 99.99
BATCHES = {"default": 1, "paper": 48}
"""Samples an update where the user does not say."""

PRECISIONS = ("uint8", "mixed", "float32")
SCHEDULES = ("cosine", "step", "constant")


def option(
    default: Any,
    text: str,
    *,
    flag: str = "",
    metavar: str = "",
    choices: tuple[str, ...] = (),
    shown: str = "",
) -> Any:
    """A field that is an option of the command line too, see `app.options`.

    Args:
        text: what the command line says of it.
        flag: by default made of the field's name.
        choices: what it may be; any of its type where there are none.
        shown: what is said of the default, where its value does not say it.
    """
    said = f"{text} [{shown or (format(default, 'g') if isinstance(default, float) else default)}]"
    told = {"help": said, "flag": flag, "metavar": metavar or "|".join(choices)}
    return field(default=default, metadata={**told, "choices": choices})


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How the network is to be trained.

    Attributes:
        layers: "last:N", "all", or comma-separated globs over layer names.
        loss: "cross_entropy": of the softmax, labels are classes. "mse": mean squared error,
            labels are real targets, one an output. "bce": binary cross-entropy of the sigmoid,
            targets in [0, 1]. The last two are means over the outputs.
        precision: "uint8": every stored tensor has 8 bits. "mixed": the trained linear layers at
            the end are float32, what comes before them has 8 bits. "float32": everything.
        update: what of a trained layer learns from a sample. "full": every row. "bias": the
            biases alone. "dynamic:MIN:MAX": the rows with the largest error; how many, between
            the fractions MIN and MAX of the layer's rows, follows the layer's error relative to
            the largest so far (0 < MIN <= MAX <= 1). "sampled:MIN:MAX": the last trained layer
            from every sample, those before it from samples that are drawn: with a probability
            between MIN and MAX, which follows the sample's error relative to the largest so far,
            and at a rate that is as much higher. "static:LAYER=ROWS,...": always
            the same rows; LAYER is a glob over the names of trained layers, ROWS a fraction of
            the rows from the first on ("conv*=0.5"), or FIRST-END, rows FIRST up to but without
            END ("fc1=0-16"); the first glob that suits a layer holds, layers that none suits
            stay as they are.
        batch: samples an update; 0, what the preset has: default 1, which updates in place and
            needs no gradient buffer; paper 48.
        preset: "default", or "paper", the published method; both in docs/arithmetic.md.
        lr: learning rate of the first step, in real units, as for float SGD at batch 1.
        schedule: "cosine" falls to 2 % of `lr` over the steps of a run, "step" to 30 % after
            half of them and to 10 % after four fifths, "constant" does not.
        seed: of the random generator for stochastic rounding and of the order of the samples.
        buffer: type of the gradient buffer, where `batch` or `momentum` needs one.
        momentum: part of the step before that is made again, in [0, 1).
        weight_decay: a weight loses `lr` times this part of itself at every update; biases lose
            nothing.
        skip: a sample whose errors are all smaller than this changes nothing, in [0, 1).
        error_range: "fixed", or "moving": the range of errors follows them.
        classes: replace the last linear layer by a fresh one with so many outputs.
    """

    layers: str = option(
        "all", "Layers; NAMES may hold *.", flag="--train", metavar="last:N|all|NAMES"
    )
    loss: str = option(
        *("cross_entropy", "Classes; real targets; bits, or targets in [0, 1]."),
        choices=tuple(LOSSES),
    )
    precision: str = option(
        *("uint8", "8 bits; 8 bits but float for trained linear layers; float throughout."),
        choices=PRECISIONS,
    )
    update: str = option(
        "full",
        "What of a trained layer learns from a sample. MIN, MAX: fractions of its rows, "
        "of sampled: of the samples; ROWS: a fraction, or FIRST-END.",
        metavar="|".join(UPDATES),
    )
    batch: int = option(
        0, "Samples an update.", shown="{default}; paper: {paper}".format(**BATCHES)
    )
    preset: str = option(
        "default", "default, or paper: the published method.", choices=tuple(BATCHES)
    )
    lr: float = option(0.01, "Learning rate.")
    schedule: str = option("cosine", "How it falls.", choices=SCHEDULES)
    seed: int = option(0, "Of stochastic rounding and of the order of the samples.")
    buffer: str = option("int32", "Gradient buffer, if there is one.", choices=("int32", "int16"))
    momentum: float = option(0.0, "In [0, 1).")
    weight_decay: float = option(0.0, "Weights lose LR times this part of themselves.")
    skip: float = option(0.0, "Errors all smaller than this, in [0, 1), change nothing.")
    error_range: str = option("fixed", "Of the preset paper.", choices=("fixed", "moving"))
    classes: int | None = option(
        None, "A fresh last layer for N classes.", metavar="N", shown="as it is"
    )

    def __post_init__(self) -> None:
        for known in fields(self):
            choices, value = known.metadata["choices"], getattr(self, known.name)
            if choices and value not in choices:
                raise ConfigError(
                    f'{known.name} "{value}" is not available; choose from: {", ".join(choices)}'
                )
        if self.batch == 0:
            object.__setattr__(self, "batch", BATCHES[self.preset])
        _within("batch", self.batch, 1 <= self.batch <= 4096, "[1, 4096]; 1 updates in place")
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
        _check_together(self)

    @property
    def scheme(self) -> Scheme:
        """What the ops' gradient rules ask about."""
        same = {f.name for f in fields(self)} & {f.name for f in fields(Scheme)}
        chosen = {name: getattr(self, name) for name in same}
        return Scheme(partial=parse_update(self.update), **chosen)


def _check_together(config: TrainingConfig) -> None:
    """Refuse options that exclude each other."""
    paper = config.preset == "paper"
    for option, usual in (("momentum", 0.0), ("weight_decay", 0.0), ("buffer", "int32")):
        value = getattr(config, option)
        if paper and value != usual:
            raise ConfigError(
                f'{option} {value} is not part of the preset "paper"; leave it at {usual}, or use '
                "the preset default"
            )
    if config.error_range == "moving" and not paper:
        raise ConfigError('error_range "moving" is part of the preset "paper" alone; use fixed')
    buffered = paper or config.batch > 1 or config.momentum > 0
    sampled = config.scheme.partial.kind == "sampled"
    if sampled and (paper or (buffered and config.precision != "uint8")):
        raise ConfigError(
            f'update "{config.update}" with the preset {config.preset}, precision '
            f"{config.precision}, batch {config.batch} and momentum {config.momentum:g} is not "
            "available; use the preset default, and uint8 or batch 1 without momentum"
        )
    if config.update == "bias" and buffered:
        raise ConfigError(
            f'update "bias" with batch {config.batch} and momentum {config.momentum:g} is not '
            "available; use the preset default, batch 1 and no momentum"
        )


def parse_update(text: str) -> PartialUpdate:
    """The choice of `--update`.

    Raises:
        ConfigError: it is none of the forms.
    """
    kind, _, rest = text.partition(":")
    if text in ("full", "bias"):
        return PartialUpdate(kind=kind)
    if kind in ("dynamic", "sampled") and rest:
        least, most = _fractions(text, rest)
        return PartialUpdate(kind=kind, least=least, most=most)
    if kind == "static" and rest:
        return PartialUpdate(kind=kind, rows=tuple(_rows(text, part) for part in rest.split(",")))
    raise ConfigError(f'update "{text}" is not available; choose from: {", ".join(UPDATES)}')


def _fractions(text: str, rest: str) -> tuple[float, float]:
    """MIN:MAX."""
    try:
        least, most = (float(part) for part in rest.split(":"))
    except ValueError:
        raise ConfigError(
            f'update "{text}" should hold two fractions, as in {text.partition(":")[0]}:0.5:1'
        ) from None
    if not 0 < least <= most <= 1:
        raise ConfigError(
            f'update "{text}": {least:g} and {most:g} should be 0 < MIN <= MAX <= 1; '
            "0.5:1 costs little accuracy"
        )
    return least, most


def _rows(text: str, part: str) -> Rows:
    """LAYER=FRACTION or LAYER=FIRST-END."""
    pattern, _, which = (piece.strip() for piece in part.rpartition("="))
    first, dash, end = which.partition("-")
    if pattern and dash and first.isdecimal() and end.isdecimal():
        if int(first) >= int(end):
            raise ConfigError(f'update "{text}": rows {first}-{end} are none; FIRST < END')
        return Rows(pattern, None, int(first), int(end))
    try:
        fraction = float(which)
    except ValueError:
        fraction = math.nan
    if not pattern or math.isnan(fraction):
        raise ConfigError(
            f'update "{text}": "{part}" should be LAYER=FRACTION or LAYER=FIRST-END, '
            "as in static:conv*=0.5,fc1=0-16"
        )
    if not 0 < fraction <= 1:
        raise ConfigError(
            f'update "{text}": {fraction:g} of the rows of {pattern} is outside (0, 1]; '
            "rows by number are FIRST-END"
        )
    return Rows(pattern, fraction)


@dataclass(frozen=True, kw_only=True)
class QuantizationConfig:
    """How ranges are found.

    Attributes:
        calibration: of the values that an activation takes, which make its range. "minmax": all.
            "percentile:P": P per cent of them; half of the others lie below, half above (0 < P <=
            100; "percentile" alone is 99.99). "mse": those that leave the least mean squared
            error of quantization.
        calibration_samples: at most so many samples, evenly spaced in the data, are run through
            the float network to find the range of every activation.
    """

    calibration: str = option(
        "minmax", "Which values make a layer's range.", metavar="|".join(CALIBRATIONS)
    )
    calibration_samples: int = 1024

    def __post_init__(self) -> None:
        parse_calibration(self.calibration)
        if self.calibration_samples < 1:
            raise ConfigError(
                f"calibration_samples {self.calibration_samples} is below 1; 1024 is usual"
            )


@dataclass(frozen=True)
class Calibration:
    """A choice of `QuantizationConfig.calibration`: "minmax", "percentile" or "mse"."""

    kind: str
    percentile: float = 100.0


def parse_calibration(text: str) -> Calibration:
    """The choice of `--calibration`.

    Raises:
        ConfigError: it is none of the forms.
    """
    kind, colon, rest = text.partition(":")
    if text in ("minmax", "mse"):
        return Calibration(text)
    if kind != "percentile":
        raise ConfigError(
            f'calibration "{text}" is not available; choose from: {", ".join(CALIBRATIONS)}'
        )
    try:
        percentile = float(rest) if colon else USUAL_PERCENTILE
    except ValueError:
        percentile = math.nan
    if not 0 < percentile <= 100:
        raise ConfigError(
            f'calibration "{text}": "{rest}" should be a number in (0, 100]; 99.99 is usual'
        )
    return Calibration(kind, percentile)


def _within(option: str, value: float, holds: bool, interval: str) -> None:
    if not (math.isfinite(value) and holds):
        raise ConfigError(f"{option} {value} is outside {interval}")


def from_options(options: Mapping[str, Any]) -> tuple[TrainingConfig, QuantizationConfig]:
    """The configs with these options, whichever each belongs to.

    Raises:
        ConfigError: a choice that makes no sense.
    """
    own = {f.name for f in fields(QuantizationConfig)}
    training = {key: value for key, value in options.items() if key not in own}
    ranges = {key: value for key, value in options.items() if key in own}
    return TrainingConfig(**training), QuantizationConfig(**ranges)


def read_toml(path: Path) -> dict[str, Any]:
    """The options in a TOML file: keys of `TrainingConfig` and of `QuantizationConfig`.

    They stand at top level or under [training] and [quantization].

    Raises:
        ConfigError: unreadable, or a key we do not know.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{path}: {why}; give a TOML file such as: lr = 0.01") from None
    sections = {"training": "lr = 0.01", "quantization": 'calibration = "mse"'}
    options = {key: value for key, value in table.items() if key not in sections}
    for section, example in sections.items():
        part = table.get(section, {})
        if not isinstance(part, dict):
            raise ConfigError(
                f"{path}: {section} = {part!r} should be a table; write [{section}], then {example}"
            )
        options |= part
    known = (*fields(TrainingConfig), *fields(QuantizationConfig))
    types = {f.name: str(f.type).removesuffix(" | None") for f in known}
    for key, value in options.items():
        if key not in types:
            raise ConfigError(f'{path}: unknown key "{key}"; known: {", ".join(types)}')
        wanted: Any = {"str": str, "int": int, "float": (int, float)}[types[key]]
        if isinstance(value, bool) or not isinstance(value, wanted):
            raise ConfigError(f"{path}: {key} = {value!r} should be a {types[key]}")
    return options
