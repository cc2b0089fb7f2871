"""numbers -> pictures made of characters: bars, sparklines, a memory map, an image.

Invariant: plain strings of known width, no colour codes; with `plain` nothing outside ASCII.
"""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from insitu.artifacts import MemoryPlan
from insitu.graph.model import Array

SPARKS = "▁▂▃▄▅▆▇█"
PLAIN_SPARKS = "_.-=+*%#"
SHADES = " ░▒▓█"
PLAIN_SHADES = " .+%#"
LETTERS = string.ascii_uppercase + string.ascii_lowercase
EMPTY = "."


def percent(share: float) -> str:
    """A share of 1 in per cent."""
    return f"{100 * share:.1f} %"


def short(name: str, most: int) -> str:
    """A name of at most so many characters; the middle is left out."""
    if len(name) <= most:
        return name
    tail = most // 2
    return f"{name[: most - tail - 2]}..{name[-tail:]}"


def bar(share: float, width: int, *, plain: bool = False) -> str:
    """A bar that is full at 1; what is more than nothing shows at least a little."""
    full, rest = ("#", ".") if plain else ("█", "░")
    filled = min(width, max(math.ceil(share * width - 0.5), 1 if share > 0 else 0))
    return full * filled + rest * (width - filled)


def sparkline(values: Sequence[float] | Array, *, width: int = 60, plain: bool = False) -> str:
    """The values from their lowest to their highest; longer rows are averaged to `width`.

    What is no number is drawn as the highest.
    """
    if not len(values):
        return ""
    parts = np.array_split(np.asarray(values, float), min(width, len(values)))
    means = np.array([part.mean() for part in parts])
    finite = means[np.isfinite(means)]
    if not len(finite):
        return ""
    low, high = finite.min(), finite.max()
    means = np.where(np.isfinite(means), means, high)
    marks = PLAIN_SPARKS if plain else SPARKS
    scaled = (means - low) / (high - low) * len(marks) if high > low else np.zeros(len(means))
    return "".join(marks[min(int(level), len(marks) - 1)] for level in scaled)


def picture(image: Array, *, plain: bool = False) -> list[str]:
    """Lines for image[h, w], dark 0 to bright; two characters a pixel, which makes it square."""
    marks = PLAIN_SHADES if plain else SHADES
    top = float(image.max()) or 1.0
    levels = np.clip(image / top * len(marks), 0, len(marks) - 1).astype(int)
    return ["".join(marks[level] * 2 for level in row) for row in levels]


@dataclass(frozen=True, kw_only=True)
class MapPiece:
    """A letter of the memory map and what it stands for."""

    letter: str
    name: str
    nbytes: int
    first: int
    last: int


@dataclass(frozen=True, kw_only=True)
class MemoryMap:
    """The arena over the nodes of a step.

    Attributes:
        lines: highest addresses first; each starts with the address of its lowest byte.
        pieces: the largest, which have letters; smaller ones are drawn as "+".
    """

    lines: tuple[str, ...]
    pieces: tuple[MapPiece, ...]


def memory_map(plan: MemoryPlan, nodes: int, *, width: int = 72, height: int = 16) -> MemoryMap:
    """Draw who holds which address at which node; a cell shows who holds most of it."""
    by_size = sorted(plan.lifetimes, key=lambda life: (-life.nbytes, life.first))
    pieces = tuple(
        MapPiece(letter=letter, name=t.name, nbytes=t.nbytes, first=t.first, last=t.last)
        for letter, t in zip(LETTERS, by_size, strict=False)
    )
    letters = {piece.name: piece.letter for piece in pieces}
    margin = len(f"{plan.arena_bytes:,}") + 2
    columns = min(nodes * max(1, (width - margin) // max(nodes, 1)), width - margin)
    step = max(1, -(-plan.arena_bytes // height))
    lines = []
    for low in range((max(plan.arena_bytes, 1) - 1) // step * step, -1, -step):
        cells = (
            _holder(plan, low, low + step, column, columns, nodes) for column in range(columns)
        )
        row = "".join(EMPTY if name is None else letters.get(name, "+") for name in cells)
        lines.append(f"{low:>{margin - 2},}  {row}")
    return MemoryMap(lines=tuple(lines), pieces=pieces)


def _holder(
    plan: MemoryPlan, low: int, high: int, column: int, columns: int, nodes: int
) -> str | None:
    """Who holds most of the addresses [low, high) at the nodes of a column."""
    first = column * nodes // columns
    last = max(first, ((column + 1) * nodes - 1) // columns)
    held: dict[str, int] = {}
    for life in plan.lifetimes:
        start = plan.offsets[life.name]
        shared = min(start + life.nbytes, high) - max(start, low)
        during = min(life.last, last) - max(life.first, first) + 1
        if shared > 0 and during > 0:
            held[life.name] = shared * during
    return max(held, key=lambda name: held[name]) if held else None
