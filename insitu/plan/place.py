"""lifetimes -> offsets: first fit over many orders, the best one kept.

Invariant: offsets and the arena's size are multiples of `ALIGNMENT`; the same lifetimes always get
the same offsets. Placing in a given order, each lifetime goes to the lowest gap that takes it: some
order then yields an optimal plan (the optimum's own offsets, ascending), so orders are all there is
to search.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from insitu.artifacts import Lifetime

ALIGNMENT = 4
"""Bytes; the largest element (float32, int32) needs them, and kernels load words."""

MAX_PLACEMENTS = 2000
"""Orders tried at most."""

MAX_STEPS = 6_000_000
"""Bounds the orders tried for large problems: pairs of lifetimes looked at, about 2 seconds."""


def aligned(nbytes: int) -> int:
    """`nbytes` rounded up to the alignment."""
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def lower_bound(lifetimes: Sequence[Lifetime]) -> int:
    """The largest number of bytes alive at one node: no plan can need less."""
    starts = {lifetime.first for lifetime in lifetimes}
    return max(
        (sum(aligned(x.nbytes) for x in lifetimes if x.first <= t <= x.last) for t in starts),
        default=0,
    )


def find_offsets(lifetimes: Sequence[Lifetime]) -> tuple[dict[str, int], int]:
    """Offsets in bytes by name of lifetime, and the arena's size."""
    sizes = [aligned(lifetime.nbytes) for lifetime in lifetimes]
    rivals = [
        [j for j, y in enumerate(lifetimes) if j != i and x.first <= y.last and y.first <= x.last]
        for i, x in enumerate(lifetimes)
    ]
    bound = lower_bound(lifetimes)
    orders = [sorted(range(len(sizes)), key=key) for key in _keys(lifetimes, sizes)]
    plans = [(_first_fit(order, sizes, rivals), order) for order in orders]
    offsets, order = min(plans, key=lambda plan: _top(plan[0], sizes))
    if _top(offsets, sizes) > bound:
        offsets = _search(order, offsets, sizes, rivals, bound)
    names = {lifetime.name: offset for lifetime, offset in zip(lifetimes, offsets, strict=True)}
    return names, _top(offsets, sizes)


def _keys(
    lifetimes: Sequence[Lifetime], sizes: Sequence[int]
) -> tuple[Callable[[int], tuple[int, ...]], ...]:
    """The orders tried first, as sort keys over indices."""

    def length(i: int) -> int:
        return lifetimes[i].last - lifetimes[i].first + 1

    return (
        lambda i: (-sizes[i], lifetimes[i].first),
        lambda i: (-sizes[i] * length(i), lifetimes[i].first),
        lambda i: (-length(i), -sizes[i]),
        lambda i: (lifetimes[i].first, -lifetimes[i].last),
        lambda i: (-lifetimes[i].last, lifetimes[i].first),
    )


def _top(offsets: Sequence[int], sizes: Sequence[int]) -> int:
    return max((o + s for o, s in zip(offsets, sizes, strict=True)), default=0)


def _first_fit(
    order: Sequence[int],
    sizes: Sequence[int],
    rivals: Sequence[Sequence[int]],
    limit: int | None = None,
) -> list[int]:
    """Offsets by index; empty where a lifetime would end above `limit`."""
    offsets = [-1] * len(sizes)
    for i in order:
        start = 0
        for low, high in sorted([(offsets[j], offsets[j] + sizes[j]) for j in rivals[i]]):
            if low < 0:
                continue  # not placed yet
            if low - start >= sizes[i]:
                break
            start = max(start, high)
        if limit is not None and start + sizes[i] > limit:
            return []
        offsets[i] = start
    return offsets


def _search(
    order: list[int],
    offsets: list[int],
    sizes: Sequence[int],
    rivals: Sequence[Sequence[int]],
    bound: int,
) -> list[int]:
    """Better offsets, by moving lifetimes forward in the order; sideways moves are taken too.

    Half of the moves bring forward a lifetime that touches the arena's top, or a rival of one.
    """
    chance = random.Random(0)
    steps = len(sizes) + sum(len(others) for others in rivals)
    for _ in range(min(MAX_PLACEMENTS, MAX_STEPS // steps)):
        top = _top(offsets, sizes)
        if top == bound:
            break
        tops = [i for i, offset in enumerate(offsets) if offset + sizes[i] == top]
        moved = chance.choice(tops)
        if chance.random() < 0.5:
            moved = chance.choice(rivals[moved])
        elif chance.random() < 0.5:
            moved = chance.choice(order)
        position = order.index(moved)
        target = chance.randrange(position) if position else chance.randrange(len(order))
        changed = [i for i in order if i != moved]
        changed.insert(target, moved)
        better = _first_fit(changed, sizes, rivals, limit=top)
        if better:
            order, offsets = changed, better
    return offsets
