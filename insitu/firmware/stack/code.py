"""An ELF file -> LinkedCode: instructions by address, functions, those that pointers may call.

Invariant: what mapping symbols call data is never read as an instruction.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import capstone
import numpy as np
from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from insitu.errors import ToolError
from insitu.firmware.stack.addresses import taken_names

FUNCTION = 2
"""STT_FUNC. Source: System V gABI, symbol table."""

UNKNOWN = "unknown"
"""Mnemonic of what the disassembler does not know: Helium, loops."""


class Line(NamedTuple):
    """An instruction as the disassembler writes it; `bits`, its halfwords, where it does not."""

    address: int
    size_bytes: int
    mnemonic: str
    operands: str
    bits: int = 0

    @property
    def next(self) -> int:
        """The address behind it."""
        return self.address + self.size_bytes


class LinkedCode:
    """The code of a linked firmware.

    Args:
        path: an ELF file with symbols.
        objects: what it was linked from, but for libraries, which take no function's address.

    Raises:
        ToolError: it cannot be read.
    """

    def __init__(self, path: Path, objects: Sequence[Path]) -> None:
        try:
            with path.open("rb") as stream:
                elf = ELFFile(stream)
                text, table = (elf.get_section_by_name(name) for name in (".text", ".symtab"))
                if text is None or not isinstance(table, SymbolTableSection):
                    raise ELFError("no code or no symbols")
                self.base: int = text["sh_addr"]
                self._data: bytes = text.data()
                self._read_symbols(table)
        except (OSError, ELFError) as error:
            raise ToolError(f"{path}: {error}; build the firmware again") from None
        self._objects = objects
        self._lines: dict[int, Line] = {}
        self._decoded: set[int] = set()

    def _read_symbols(self, table: SymbolTableSection) -> None:
        data, names = table.data(), table.stringtable.data()
        kind = np.dtype(
            [("name", "<u4"), ("value", "<u4"), ("size", "<u4"), ("info", "u1"), ("rest", "u1", 3)]
        )
        self.functions: dict[int, tuple[str, int]] = {}
        self.entries: set[tuple[str, int]] = set()
        marks: dict[int, bool] = {}
        for offset, value, size, info, _ in np.frombuffer(data, kind).tolist():
            name = names[offset : names.index(b"\0", offset)].decode(errors="replace")
            if name.startswith(("$t", "$d", "$a")):
                marks[value & ~1] = name.startswith("$t")
            elif info & 15 == FUNCTION:
                address = value & ~1
                known = self.functions.get(address, ("", 0))
                self.functions[address] = max(known, (name, size), key=lambda both: both[1])
                self.entries.add((name, address))
        self._starts = sorted(self.functions)
        self._marks = sorted(marks.items())
        self._mark_addresses = [address for address, _ in self._marks]

    # ---- places -----------------------------------------------------------------------------

    def function_at(self, address: int) -> tuple[int, int]:
        """[start, end) of the function that holds an address, empty where none does."""
        place = bisect.bisect_right(self._starts, address) - 1
        if place < 0:
            return address, address
        start = self._starts[place]
        after = self._starts[place + 1 : place + 2] or [self.base + len(self._data)]
        size = self.functions[start][1] or after[0] - start
        return (start, start + size) if address < start + size else (address, address)

    def entry(self, name: str) -> int:
        """Where a function begins that the whole firmware knows.

        Raises:
            ToolError: there is none.
        """
        found = [address for known, address in self.entries if known == name]
        if len(found) != 1:
            raise ToolError(f"{len(found)} functions are called {name}; build the firmware again")
        return found[0]

    def name_of(self, address: int) -> str:
        """The function and how far into it: "insitu_add_s8", "insitu_add_s8+0x1c"."""
        start, end = self.function_at(address)
        if start == end:
            return f"{address:#x}"
        name = self.functions[start][0]
        return name if address == start else f"{name}+{address - start:#x}"

    def data_end(self, address: int) -> int | None:
        """Where the data ends in which an address lies; None where it is code."""
        place = bisect.bisect_right(self._mark_addresses, address) - 1
        if not self.base <= address < self.base + len(self._data):
            return address
        if place >= 0 and self._marks[place][1]:
            return None
        return (self._mark_addresses[place + 1 : place + 2] or [self.base + len(self._data)])[0]

    # ---- contents ---------------------------------------------------------------------------

    def bytes_at(self, address: int, count: int) -> bytes:
        """What lies there."""
        return self._data[address - self.base : address - self.base + count]

    def word(self, address: int) -> int | None:
        """The word of a literal pool; None where the code does not hold it."""
        inside = self.base <= address <= self.base + len(self._data) - 4
        return int.from_bytes(self.bytes_at(address, 4), "little") if inside else None

    @cached_property
    def taken(self) -> frozenset[int]:
        """Starts of the functions whose address is put somewhere: what a pointer may call."""
        names = taken_names(self._objects)
        return frozenset(address for name, address in self.entries if name in names)

    def line(self, address: int) -> Line | None:
        """The instruction at an address; None where no code lies there."""
        if address not in self._lines and address not in self._decoded:
            self._decode(address)
        return self._lines.get(address)

    def lines(self, start: int, end: int) -> Iterator[Line]:
        """The instructions of [start, end), without the data between them."""
        address = start
        while address < end:
            behind = self.data_end(address)
            found = None if behind is not None else self.line(address)
            if found is not None:
                yield found
            address = behind if behind is not None else found.next if found else address + 2

    @cached_property
    def _disassembler(self) -> capstone.Cs:
        mode = capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS | capstone.CS_MODE_V8
        return capstone.Cs(capstone.CS_ARCH_ARM, mode)

    def _decode(self, address: int) -> None:
        """Up to the end of the function, or to its next data."""
        self._decoded.add(address)
        if self.data_end(address) is not None:
            return
        place = bisect.bisect_right(self._mark_addresses, address)
        after = bisect.bisect_right(self._starts, address)
        ends = (*self._mark_addresses[place : place + 1], *self._starts[after : after + 1])
        end = min(ends, default=self.base + len(self._data))
        while address < end and address not in self._lines:
            code = self.bytes_at(address, end - address)
            for at, size, mnemonic, operands in self._disassembler.disasm_lite(code, address):
                self._lines[at] = Line(at, size, mnemonic, operands)
                address = at + size
            if address < end and address not in self._lines:
                size = 4 if self._bits(address, 2) >> 11 in (0b11101, 0b11110, 0b11111) else 2
                bits = self._bits(address, size)
                self._lines[address] = Line(address, size, UNKNOWN, "", bits)
                address += size

    def _bits(self, address: int, size: int) -> int:
        """The halfwords of an instruction, the first one highest."""
        data = self.bytes_at(address, size)
        first = int.from_bytes(data[:2], "little")
        return first << 16 | int.from_bytes(data[2:4], "little") if size == 4 else first
