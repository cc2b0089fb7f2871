"""boards/*.toml or a user's own TOML -> Board: core, clock, memories, power with its source.

Invariant: a `Board` that exists can be linked for: its memories have addresses, do not overlap,
and there is at least one flash and one RAM.
"""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

from insitu.errors import BoardError

CORES = ("cortex-m0plus", "cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55")
CORES_WITH_FPU = ("cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55")
KINDS = ("flash", "ram")

Type = type | tuple[type, ...]
NUMBER: Type = (int, float)

BOARD_KEYS: dict[str, Type] = {
    "title": str,
    "core": str,
    "fpu": bool,
    "clock_hz": int,
    "active_mw": NUMBER,
    "power_source": str,
    "memories": list,
}
MEMORY_KEYS: dict[str, Type] = {"name": str, "kind": str, "origin": int, "length_bytes": int}
IN_WORDS: dict[Type, str] = {
    str: "text",
    bool: "true or false",
    int: "a whole number",
    NUMBER: "a number",
    list: "a list",
}


@dataclass(frozen=True, kw_only=True)
class Memory:
    """One memory of a board, at its real address."""

    name: str
    kind: str  # "flash" or "ram"
    origin: int
    length_bytes: int

    @property
    def end(self) -> int:
        """The address after the last byte."""
        return self.origin + self.length_bytes


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
    """Every board that comes with insitu, by name."""
    found = {}
    for entry in sorted(resources.files("insitu").joinpath("target", "boards").iterdir(), key=str):
        if entry.name.endswith(".toml"):
            name = entry.name.removesuffix(".toml")
            found[name] = _parse(
                name, entry.read_text(encoding="utf-8"), where=f"boards/{entry.name}"
            )
    return found


def find_board(name: str) -> Board:
    """The board of that name, or the one that a file ending in ".toml" describes.

    Raises:
        BoardError: there is none, or its description is wrong.
    """
    if name.endswith(".toml"):
        return read_board(Path(name))
    boards = all_boards()
    if name not in boards:
        known = ", ".join(boards)
        raise BoardError(f'board "{name}" is unknown; choose from: {known}, or give a .toml file')
    return boards[name]


def read_board(path: Path) -> Board:
    """The board that a TOML file describes; it is called as the file is.

    Raises:
        BoardError: unreadable, or a key is missing, unknown or wrong; names the key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise BoardError(f"{path}: {why}; give a TOML file as in boards/nrf52840.toml") from None
    return _parse(path.stem, text, where=str(path))


def _parse(name: str, text: str, *, where: str) -> Board:
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BoardError(f"{where}: not TOML: {error}") from None
    _check_keys(table, BOARD_KEYS, where=where)
    if table["core"] not in CORES:
        raise BoardError(f'{where}: core = "{table["core"]}"; choose from: {", ".join(CORES)}')
    if table["fpu"] and table["core"] not in CORES_WITH_FPU:
        raise BoardError(f"{where}: fpu = true, but a {table['core']} has none; set fpu = false")
    for key in ("clock_hz", "active_mw"):
        if not (math.isfinite(table[key]) and table[key] > 0):
            raise BoardError(f"{where}: {key} = {table[key]} should be finite and above 0")
    table["memories"] = _memories(table["memories"], where=where)
    table["active_mw"] = float(table["active_mw"])
    return Board(name=name, **table)


def _memories(entries: list[Any], *, where: str) -> tuple[Memory, ...]:
    """Flash first, then RAM; the order within a kind is kept."""
    memories = []
    for index, entry in enumerate(entries):
        at = f"{where}: memories[{index}]"
        if not isinstance(entry, dict):
            raise BoardError(f"{at} = {entry!r} should be a table with {', '.join(MEMORY_KEYS)}")
        _check_keys(entry, MEMORY_KEYS, where=at)
        memory = Memory(**entry)
        if memory.kind not in KINDS:
            raise BoardError(f'{at}: kind = "{memory.kind}"; choose from: {", ".join(KINDS)}')
        if not (0 <= memory.origin < memory.end <= 2**32):
            raise BoardError(
                f"{at}: origin = {memory.origin:#x} and length_bytes = {memory.length_bytes}"
                " should be a range below 0x100000000"
            )
        memories.append(memory)
    for kind in KINDS:
        if not any(m.kind == kind for m in memories):
            raise BoardError(f"{where}: memories: none has kind {kind!r}; a board needs one")
    by_origin = sorted(memories, key=lambda m: m.origin)
    for low, high in pairwise(by_origin):
        if low.end > high.origin:
            raise BoardError(
                f'{where}: memories: "{low.name}" ends at {low.end:#x}, after "{high.name}"'
                f" starts at {high.origin:#x}; they may not overlap"
            )
    return tuple(sorted(memories, key=lambda m: KINDS.index(m.kind)))


def _check_keys(table: dict[str, Any], keys: dict[str, Type], *, where: str) -> None:
    for key, value in table.items():
        if key not in keys:
            raise BoardError(f'{where}: unknown key "{key}"; known: {", ".join(keys)}')
        wanted = keys[key]
        if isinstance(value, bool) != (wanted is bool) or not isinstance(value, wanted):
            raise BoardError(f"{where}: {key} = {value!r} should be {IN_WORDS[wanted]}")
    for key in keys:
        if key not in table:
            raise BoardError(f'{where}: key "{key}" is missing; it needs: {", ".join(keys)}')
