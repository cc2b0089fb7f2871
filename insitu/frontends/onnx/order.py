"""in which order ONNX reads the elements of a tensor of ours: transpositions that cost nothing.

Invariant: an `Order` takes a tensor's memory apart into axes and says in which order ONNX reads
them. Nothing here makes a node; `scope` brings an order into a form where an op needs one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

Shape = tuple[int, ...]
T = TypeVar("T")


@dataclass(frozen=True)
class Order:
    """How memory is read.

    A map x[h, w, c] that ONNX has channels first is Order((h, w, c), (2, 0, 1)).

    Attributes:
        sizes: of the axes that memory consists of, the outermost first.
        reading: these axes in the order in which ONNX has them.
    """

    sizes: Shape
    reading: Shape

    @staticmethod
    def of(shape: Shape) -> Order:
        """Of a tensor as ops of ours make it: a vector, or a map that ONNX has channels first."""
        return Order(shape, (2, 0, 1) if len(shape) == 3 else tuple(range(len(shape))))

    @property
    def plain(self) -> Order:
        """The same with as few axes as can be; equal where two orders read memory alike."""
        order = self._without_ones()
        return order.merged(order.reading)

    def _without_ones(self) -> Order:
        kept = [axis for axis, size in enumerate(self.sizes) if size != 1]
        return Order(
            tuple(self.sizes[axis] for axis in kept),
            tuple(kept.index(axis) for axis in self.reading if self.sizes[axis] != 1),
        )

    def merged(self, wanted: Sequence[int]) -> Order:
        """With the axes in one that stay together when memory is brought in this order."""
        runs: list[list[int]] = []
        for axis in wanted:
            if runs and runs[-1][-1] + 1 == axis:
                runs[-1].append(axis)
            else:
                runs.append([axis])
        rank = {run[0]: place for place, run in enumerate(sorted(runs))}
        sizes = [1] * len(runs)
        for run in runs:
            for axis in run:
                sizes[rank[run[0]]] *= self.sizes[axis]
        return Order(tuple(sizes), tuple(rank[run[0]] for run in runs))

    def split(self, shape: Shape) -> tuple[Order, list[list[int]]] | None:
        """The same with finer axes, so that each of `shape` is whole axes, and which these are.

        None where an axis of `shape` begins within an axis of memory.
        """
        order = self._without_ones()
        waiting = [(axis, order.sizes[axis]) for axis in reversed(order.reading)]
        parts: list[tuple[int, int]] = []  # (axis of memory, elements) as ONNX reads them
        groups: list[list[int]] = []
        for wanted in shape:
            group, rest = [], wanted
            while rest > 1:
                axis, size = waiting.pop()
                taken = min(size, rest)
                if rest % taken or size % taken:
                    return None
                if size > taken:
                    waiting.append((axis, size // taken))
                group.append(len(parts))
                parts.append((axis, taken))
                rest //= taken
            groups.append(group)
        memory = sorted(range(len(parts)), key=lambda part: (parts[part][0], part))
        place = {part: at for at, part in enumerate(memory)}
        finer = Order(
            tuple(parts[part][1] for part in memory), tuple(place[p] for p in range(len(parts)))
        )
        return finer, [[place[part] for part in group] for group in groups]

    def transposed(self, shape: Shape, axes: Sequence[int]) -> Order | None:
        """Of ONNX's x[shape] with its axes in another order; None where that needs a copy."""
        found = self.split(shape)
        if found is None:
            return None
        finer, groups = found
        return Order(finer.sizes, tuple(part for axis in axes for part in groups[axis])).plain

    def arranged(self, form: Shape) -> Order | None:
        """What brings memory into a vector or a map x[h, w, c] that ONNX has channels first.

        Its reading is the order in which its axes are written. None where a vector stands between.
        """
        if len(form) == 1:
            return self.plain
        height, width, channels = form
        found = self.split((channels, height, width))
        if found is None:
            return None
        finer, (c, h, w) = found
        return finer.merged([*h, *w, *c])


@dataclass(frozen=True)
class Facing:
    """Whether ONNX has the axes of a map [1, c, h, w], or those of a signal, channels last."""

    last: bool

    def first(self, values: Sequence[T]) -> tuple[T, ...]:
        """One value an axis, as they were with channels first."""
        if not self.last:
            return tuple(values)
        return (values[0], values[-1], *values[1:-1])

    def back(self, values: Sequence[T]) -> tuple[T, ...]:
        """One value an axis of channels first, as ONNX has them."""
        return (values[0], *values[2:], values[1]) if self.last else tuple(values)

    def axis(self, axis: int, rank: int) -> int:
        """Where an axis stands with channels first."""
        return self.first(range(rank)).index(axis)
