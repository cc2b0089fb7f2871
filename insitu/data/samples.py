"""DATA.npz, arrays -> checked samples in the network's own layout.

Invariant: what passes is finite, of the right shape and not empty; labels lie in the classes, or
are targets that suit the outputs and the loss (`labels`).
Users' data has N first, then a sample as the network's file has it: mostly with the channels first.
The network's feature maps have the channels last.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from insitu.data.labels import LabelType, checked_labels
from insitu.errors import DataError
from insitu.fixed_point import F32, round_clamp
from insitu.graph.model import Array, QParams


@dataclass(frozen=True, eq=False)
class Samples:
    """Data as the user gave it.

    Attributes:
        x: float32[n, ...], in the order of the network's own input.
        y: int32[n] classes, or float32[n, outputs] targets, channels first; or None.
        source: where it came from, for messages.
    """

    x: Array
    y: Array | None
    source: str

    def __len__(self) -> int:
        return len(self.x)

    @property
    def labels(self) -> Array:
        """y, where `checked` has made sure that it is there."""
        assert self.y is not None, self.source
        return self.y


def read_samples(path: Path, *, labels: bool) -> Samples:
    """The samples in an npz archive.

    Args:
        labels: whether `y` must be there.

    Raises:
        DataError: unreadable, or `x` or `y` is missing.
    """
    try:
        found = np.load(path, allow_pickle=False)
        if not isinstance(found, np.lib.npyio.NpzFile):
            raise DataError(f"{path}: is a single array; save it as npz with x and y")
        with found as archive:
            arrays = {name: archive[name] for name in ("x", "y") if name in archive.files}
            names = ", ".join(archive.files) or "nothing"
    except DataError:
        raise
    except OSError as error:
        reason = error.strerror or "cannot be read"
        raise DataError(f"{path}: {reason}; give an npz archive with x and y") from None
    except Exception:  # noqa: BLE001 - a damaged archive raises almost anything
        raise DataError(
            f"{path}: is not an npz archive, or damaged; save it with numpy.savez(path, x=x, y=y)"
        ) from None
    for name in ("x", "y") if labels else ("x",):
        if name not in arrays:
            raise DataError(f"{path}: has no array {name} but {names}; save x and y by name")
    return Samples(arrays["x"], arrays.get("y"), str(path))


def checked(
    samples: Samples,
    input_shape: tuple[int, ...],
    labels: LabelType | None = None,
    *,
    order: str = "channels first",
) -> Samples:
    """The samples, x as float32, y as the loss takes it; checked samples pass unchanged.

    Args:
        input_shape: of one sample.
        labels: where given, labels are wanted, of this type.
        order: of a sample's axes, for messages.

    Raises:
        DataError: shape, type, NaN, empty, labels that do not suit the network.
    """
    x, source = samples.x, samples.source
    wanted = f"[N, {', '.join(map(str, input_shape))}]"
    if x.dtype.kind not in "fiu":
        raise DataError(f"{source}: x holds {x.dtype}, not numbers; save it as float32")
    if x.ndim == 0 or x.shape[1:] != input_shape:
        raise DataError(
            f"{source}: x{list(x.shape)} but the network takes x{wanted}, {order}; reshape the data"
        )
    if len(x) == 0:
        raise DataError(f"{source}: x{list(x.shape)} has 0 samples; 1 is the least")
    with np.errstate(over="ignore"):
        x = np.ascontiguousarray(x, F32)
    wrong = ~np.isfinite(x.reshape(len(x), -1)).all(axis=1)
    if wrong.any():
        raise DataError(
            f"{source}: x has NaN or infinite values in {wrong.sum()} of {len(x)} samples, first "
            f"in sample {int(wrong.argmax())}; remove or repair them"
        )
    y = None if labels is None else checked_labels(x, samples.y, labels, source)
    return Samples(x, y, source)


def check_calibration(samples: Samples, *, last: bool = False) -> None:
    """Refuse data that says nothing about ranges; `last`: samples have the channels last.

    Raises:
        DataError: a channel of a map or signal, or all of a feature vector, never changes.
    """
    x = samples.x
    if x.ndim < 3:
        x = x.reshape(len(x), 1, -1)
    by_channel = np.moveaxis(x, -1 if last else 1, 0)
    by_channel = by_channel.reshape(len(by_channel), -1)
    constant = by_channel.min(axis=1) == by_channel.max(axis=1)
    if constant.any():
        channel = int(constant.argmax())
        raise DataError(
            f"{samples.source}: channel {channel} of {len(constant)} is {by_channel[channel, 0]:g} "
            f"throughout all {len(x)} samples, so it has no range; calibrate with data in which "
            "it varies or remove it from the network"
        )


def evenly_spaced(samples: Samples, most: int) -> Samples:
    """At most so many of the samples, evenly spaced."""
    if len(samples) <= most:
        return samples
    rows = np.linspace(0, len(samples) - 1, most).round().astype(int)
    return Samples(samples.x[rows], None if samples.y is None else samples.y[rows], samples.source)


def channels_last(x: Array, shape: tuple[int, ...], *, last: bool = False) -> Array:
    """x[n, ...] channels first -> [n, *shape]; shape is (h, w, c), or (features,).

    Args:
        last: samples have the channels last already.
    """
    if len(shape) == 1 or last:
        return x.reshape(len(x), *shape)
    height, width, channels = shape
    return x.reshape(len(x), channels, height, width).transpose(0, 2, 3, 1)


def quantize_samples(
    x: Array, shape: tuple[int, ...], q: QParams | None, *, last: bool = False
) -> Array:
    """Float samples, as in `channels_last` -> int8[n, elements]; float32 without `q`.

    What lies beyond the range comes to its end, NaN to -128. Twin: insitu_quantize_input_f32,
    insitu_quantize_input_units_f32 and insitu_take_input_f32 in layout.c.
    """
    if q is None:
        x = channels_last(x.astype(F32), shape, last=last)
        return np.ascontiguousarray(x.reshape(len(x), -1))
    zero = q.zero_point
    steps = _in_steps(channels_last(x.astype(F32), shape, last=last), q)
    grid = zero + round_clamp(steps, -128 - zero, 127 - zero)
    return grid.astype(np.int8).reshape(len(x), -1)


def _in_steps(real: Array, q: QParams) -> Array:
    """float32[n, *shape] of samples: how many steps from the zero point."""
    with np.errstate(over="ignore", invalid="ignore"):  # far values, signalling NaN
        return np.asarray((real if q.units is None else real - q.units.offset) / q.channel_scale)


def count_beyond(
    x: Array, shape: tuple[int, ...], q: QParams | None, *, last: bool = False
) -> Array:
    """int32[n]: what `insitu_NAME_quantize_input` returns of samples, as in `channels_last`.

    That is how many values are no numbers, or rounded to more than one step beyond the range;
    without `q`, how many are not finite. Twin: layout.c, as of `quantize_samples`.
    """
    if q is None:
        taken = np.isfinite(x.astype(F32))
    else:
        steps = _in_steps(channels_last(x.astype(F32), shape, last=last), q)
        low, high = -128 - q.zero_point, 127 - q.zero_point
        taken = (steps > F32(low - 1.5)) & (steps < F32(high + 1.5))
    return np.asarray((~taken).reshape(len(x), -1).sum(axis=1), np.int32)


@dataclass(frozen=True, kw_only=True)
class Beyond:
    """How much of some samples the device clamps.

    Attributes:
        values: that are clamped. samples: that hold one, of `of`.
        first: index of the first of these samples; None where there is none.
    """

    values: int = 0
    samples: int = 0
    of: int = 0
    first: int | None = None

    @staticmethod
    def of_counts(counts: Array) -> Beyond:
        """From the values of each sample, as `count_beyond` has them."""
        found = np.flatnonzero(counts)
        return Beyond(
            values=int(counts.sum(dtype=np.int64)),
            samples=len(found),
            of=len(counts),
            first=int(found[0]) if len(found) else None,
        )

    @property
    def sentence(self) -> str:
        """What users are told; "" where there is nothing to tell."""
        if self.first is None:
            return ""
        return (
            f"{self.values} values in {self.samples} of {self.of} samples, first in sample "
            f"{self.first}, lie beyond the range of the calibration and are clamped; calibrate "
            "with samples that cover them"
        )


NOTHING = Beyond()
