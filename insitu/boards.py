"""boards/*.toml -> Board: core, clock, memories, power figures with their source."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from insitu.errors import BoardError

CORES = ("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33")


@dataclass(frozen=True, kw_only=True)
class Memory:
    """One memory of a board, at its real address."""

    name: str
    kind: str  # "flash" or "ram"
    origin: int
    length_bytes: int


@dataclass(frozen=True, kw_only=True)
class Board:
    """A microcontroller board.

    Attributes:
        memories: flash first, then RAM; the first RAM holds data and stack.
        active_mw: power in mW while computing at `clock_hz`, from `power_source`.
    """

    name: str
    title: str
    core: str
    fpu: bool
    clock_hz: int
    memories: tuple[Memory, ...]
    active_mw: float
    power_source: str

    @property
    def flash_bytes(self) -> int:
        """All flash."""
        return sum(m.length_bytes for m in self.memories if m.kind == "flash")

    @property
    def ram_bytes(self) -> int:
        """All RAM."""
        return sum(m.length_bytes for m in self.memories if m.kind == "ram")


@cache
def all_boards() -> dict[str, Board]:
    """Every board known, by name."""
    found = {}
    for entry in sorted(resources.files("insitu").joinpath("boards").iterdir(), key=str):
        if entry.name.endswith(".toml"):
            table = tomllib.loads(entry.read_text())
            memories = tuple(Memory(**m) for m in table.pop("memories"))
            board = Board(name=entry.name.removesuffix(".toml"), memories=memories, **table)
            found[board.name] = board
    return found


def find_board(name: str) -> Board:
    """The board of that name.

    Raises:
        BoardError: there is none.
    """
    boards = all_boards()
    if name not in boards:
        raise BoardError(f'board "{name}" is unknown; choose from: {", ".join(boards)}')
    return boards[name]
