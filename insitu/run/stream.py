"""Samples and labels -> Stream: what every execution of a model is fed, record by record.

Invariant: reference, twin and emulators do the same for a record: where it has a label, set the
learning rate, then a training step; else a prediction. The seed is set once, before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property

import numpy as np

from insitu.errors import DataError, InsituError, ToolError
from insitu.graph.model import Array

Progress = Callable[[int, int], None]
"""Called with (steps done, steps in all)."""

PREDICT = -1
"""The class of a record that is only predicted; where labels are targets these are NaN."""

LABELS = {"int32": 1, "float32": 2}
"""Types of labels, and their axes: classes[samples], targets[samples, outputs]."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Stream:
    """Records.

    Attributes:
        x: [samples, input_size], channels last, as the model takes it: int8 where its input is
            quantized, else float32.
        labels: int32[samples] classes, or float32[samples, outputs] targets in the order of the
            scores; `PREDICT`, or NaN: predict, do not train.
        rates: float32[records], the learning rate of each record.
        seed: of the model's random generator.
        order: int32[records], the sample of each record; None: as they come.
    """

    x: Array
    labels: Array
    rates: Array
    seed: int = 0
    order: Array | None = None

    def __post_init__(self) -> None:
        for name, dtype, axes in (
            ("x", "int8 or float32", 2),
            ("labels", "int32 or float32", LABELS.get(str(self.labels.dtype), 1)),
            ("rates", "float32", 1),
        ):
            array: Array = getattr(self, name)
            if str(array.dtype) not in dtype.split(" or ") or array.ndim != axes:
                raise DataError(
                    f"{name} is {array.dtype} with {array.ndim} axes but a stream takes {dtype} "
                    f"with {axes}; convert it"
                )
        if len(self.x) != len(self.labels):
            raise DataError(
                f"{len(self.x)} samples but {len(self.labels)} labels; give one label a sample"
            )
        order = self.samples
        if len(order) != len(self.rates):
            raise DataError(
                f"{len(order)} records but {len(self.rates)} learning rates; give one a record"
            )
        if len(order) and not (order.min() >= 0 and order.max() < len(self.x)):
            raise DataError(
                f"the order names samples {order.min()} to {order.max()} but there are "
                f"{len(self.x)}; give indices of samples"
            )

    def __len__(self) -> int:
        return len(self.rates)

    @cached_property
    def samples(self) -> Array:
        """int32[records]: the sample of each record."""
        if self.order is None:
            return np.arange(len(self.x), dtype=np.int32)
        return np.ascontiguousarray(self.order, dtype=np.int32)

    @property
    def record_labels(self) -> Array:
        """The label of each record."""
        return self.labels[self.samples]

    def part(self, records: slice) -> Stream:
        """Some of the records, over the same samples."""
        return replace(self, rates=self.rates[records], order=self.samples[records])

    def part_of(self, records: Array) -> Stream:
        """Those of the records, in their order, over the same samples."""
        return replace(self, rates=self.rates[records], order=self.samples[records])

    @property
    def trains(self) -> Array:
        """bool[records]: whether a record is trained on, not only predicted."""
        if self.labels.ndim == 1:
            return np.asarray(self.record_labels != PREDICT)
        return ~np.isnan(self.labels[:, 0])[self.samples]


def no_labels(count: int, like: Array) -> Array:
    """Labels of samples that are only predicted, of the same type as others."""
    unknown = PREDICT if like.ndim == 1 else np.nan
    return np.full((count, *like.shape[1:]), unknown, like.dtype)


def digest(scores: Array) -> int:
    """What a prediction says of scores[outputs] where there is no class: FNV-1a of their bits.

    Twin: run_record in insitu/runtime/ports/harness.h.
    Source: Fowler, Noll, Vo, draft-eastlake-fnv.
    """
    value = 2166136261
    for bits in np.where(np.isnan(scores), np.float32(0), scores).astype("<f4").view("<u4"):
        value = (value ^ int(bits)) * 16777619 & 0xFFFFFFFF
    return value >> 1


class Status(IntEnum):
    """insitu_status_t in insitu/runtime/include/insitu.h."""

    OK = 0
    ERROR_LABEL = 1
    ERROR_RATE = 2
    ERROR_ARENA = 3
    ERROR_INIT = 4
    ERROR_FLOATS = 5
    ERROR_DIVERGED = 10  # `harness.h` takes it for a step that went well


MEANING = {
    Status.ERROR_ARENA: "the arena that init was given is 0 or not aligned to 8",
    Status.ERROR_INIT: "the model was used before init, or after an init that failed",
    Status.ERROR_FLOATS: "the FPU takes subnormal numbers for 0, or does not "
    "round to nearest (clear FZ and RMode of FPSCR before init)",
}
"""Of statuses that a program is to blame for, not its data."""


def failure(status: int, record: int, stream: Stream, classes: int | None = None) -> InsituError:
    """What the C status of a record that was refused means."""
    if status in MEANING:
        return ToolError(f"record {record}: {MEANING[Status(status)]}; report it with the network")
    if status == Status.ERROR_LABEL and stream.labels.ndim > 1:
        return DataError(
            f"record {record} has a target that is infinite or that its loss cannot take; check y"
        )
    if status == Status.ERROR_LABEL:
        label = int(stream.record_labels[record])
        known = "the model's classes" if classes is None else f"[0, {classes})"
        return DataError(f"record {record} has label {label}, outside {known}; check y")
    rate = float(stream.rates[record])
    return DataError(f"record {record} has learning rate {rate}, outside (0, 1]; lower it")
