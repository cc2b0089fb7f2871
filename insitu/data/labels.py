"""y as users give it -> labels as a loss takes them.

Invariant: labels that pass are int32[n] in [0, classes), or finite float32[n, outputs] with the
channels first, as the users' data has them; `in_own_order` brings them in the network's order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from insitu.errors import DataError
from insitu.fixed_point import F32
from insitu.graph.model import Array, Graph
from insitu.ops.losses.table import LOSSES, Loss


@dataclass(frozen=True)
class LabelType:
    """What a network is taught with.

    Attributes:
        loss: a key of `ops.losses.table.LOSSES`.
        shape: of the network's output in its own order: (outputs,), or (height, width, channels).
    """

    loss: str
    shape: tuple[int, ...]

    @property
    def outputs(self) -> int:
        """Number of scores."""
        return math.prod(self.shape)

    @property
    def record(self) -> Loss:
        """What is known of the loss."""
        return LOSSES[self.loss]

    @property
    def are_targets(self) -> bool:
        """Whether labels are real targets, one an output, and no classes."""
        return self.record.targets is not None

    @property
    def first(self) -> tuple[int, ...]:
        """The shape of an output, channels first."""
        if len(self.shape) == 1:
            return self.shape
        height, width, channels = self.shape
        return (channels, height, width)

    def in_own_order(self, y: Array) -> Array:
        """y[n, outputs] channels first -> the network's order; classes as they are."""
        if not self.are_targets or len(self.shape) == 1:
            return y
        moved = np.moveaxis(y.reshape(len(y), *self.first), 1, -1)
        return np.ascontiguousarray(moved.reshape(len(y), -1))

    def channels_first(self, scores: Array) -> Array:
        """scores[n, outputs] in the network's order -> [n, *first]."""
        moved = np.moveaxis(scores.reshape(len(scores), *self.shape), -1, 1)
        return np.ascontiguousarray(moved) if len(self.shape) > 1 else scores


def label_type(graph: Graph, loss: str) -> LabelType:
    """What a network with this forward graph is taught with."""
    return LabelType(loss, graph.tensors[graph.outputs[0]].shape)


def checked_labels(x: Array, y: Array | None, labels: LabelType, source: str) -> Array:
    """y as the loss takes it: int32[n] or float32[n, outputs].

    Args:
        x: the samples, checked; they are the targets of an autoencoder without y.

    Raises:
        DataError: shape, type, or a value that the loss cannot take.
    """
    bounds = labels.record.targets
    if bounds is None:
        return _checked_classes(x, y, labels.outputs, source)
    if y is None:
        y = _own_input(x, labels, source)
    _check_targets_shape(x, y, labels, source)
    with np.errstate(over="ignore"):
        targets = np.ascontiguousarray(y, F32).reshape(len(x), -1)
    low, high = bounds
    wrong = ~(np.isfinite(targets) & (targets >= low) & (targets <= high)).all(axis=1)
    if wrong.any():
        first = int(wrong.argmax())
        bad = targets[first]
        value = bad[~(np.isfinite(bad) & (bad >= low) & (bad <= high))][0]
        allowed = "a finite number" if math.isinf(low) else f"in [{low:g}, {high:g}]"
        raise DataError(
            f"{source}: y has {value:g} in sample {first}, one of {wrong.sum()} of {len(x)} whose "
            f"targets loss {labels.loss} cannot take; each must be {allowed}"
        )
    return targets


def is_autoencoder(x: Array, labels: LabelType) -> bool:
    """Whether samples x[n, ...], channels first, can be their own targets."""
    if len(labels.shape) == 1:
        return math.prod(x.shape[1:]) == labels.outputs
    return _squeezed(x.shape[1:]) == _squeezed(labels.first)


def _own_input(x: Array, labels: LabelType, source: str) -> Array:
    """x as its own target."""
    if not is_autoencoder(x, labels):
        raise DataError(
            f"{source}: has no targets y, and x{list(x.shape)} cannot stand for them since the "
            f"network puts out {list(labels.first)}; save float targets y beside x"
        )
    return x


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A map of height 1 as the signal that it is."""
    return (shape[0], shape[2]) if len(shape) == 3 and shape[1] == 1 else shape


def _check_targets_shape(x: Array, y: Array, labels: LabelType, source: str) -> None:
    if y.dtype.kind not in labels.record.numbers:
        raise DataError(
            f"{source}: y holds {y.dtype}, but loss {labels.loss} takes float targets; save them "
            "as float32, or compile with --loss cross_entropy for classes"
        )
    shapes = {labels.first, _squeezed(labels.first), (labels.outputs,)}
    shapes |= {()} if labels.outputs == 1 else set()
    shapes |= {x.shape[1:]} if x[0].size == labels.outputs and len(labels.shape) == 1 else set()
    if y.ndim == 0 or len(y) != len(x):
        raise DataError(f"{source}: y{list(y.shape)} for {len(x)} samples; give targets for each")
    if y.shape[1:] not in shapes:
        wanted = ", ".join(map(str, labels.first))
        raise DataError(
            f"{source}: y{list(y.shape)} but the network's outputs are [N, {wanted}], channels "
            "first; reshape the targets"
        )


def _checked_classes(x: Array, y: Array | None, classes: int, source: str) -> Array:
    if y is None:
        raise DataError(f"{source}: has no labels y; save them as integers beside x")
    if y.ndim != 1 or len(y) != len(x):
        raise DataError(f"{source}: y{list(y.shape)} for {len(x)} samples; give one label each")
    if y.dtype.kind not in "iu":
        raise DataError(f"{source}: y holds {y.dtype}; labels are integers from 0")
    outside = (y < 0) | (y >= classes)
    if outside.any():
        first = int(outside.argmax())
        raise DataError(
            f"{source}: label {int(y[first])} of sample {first} is outside the network's "
            f"{classes} classes, [0, {classes}); check y"
        )
    return y.astype(np.int32)
