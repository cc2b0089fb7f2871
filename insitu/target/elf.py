"""An ELF file -> Image: its segments, symbols and sections, as building and emulating need them."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import Symbol, SymbolTableSection

from insitu.errors import ToolError

SHF_ALLOC, SHF_EXECINSTR = 0x2, 0x4
CODE_END = "insitu_code_end"  # of cortex_m.ld


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Bytes to be loaded at an address."""

    address: int
    data: bytes


@dataclass(frozen=True, kw_only=True, eq=False)
class Image:
    """A linked firmware.

    Attributes:
        segments: what lies in flash, at its load addresses.
        symbols: address by name.
        sections: (address, bytes) by name, of what takes memory at run time.
        code: (address, bytes) of what is instructions, between which there are constants.
    """

    segments: tuple[Segment, ...]
    symbols: Mapping[str, int]
    sections: Mapping[str, tuple[int, int]]
    code: tuple[tuple[int, bytes], ...] = ()

    def function_at(self, address: int) -> str:
        """The name of the function that an address lies in, else its section's."""
        thumb = {a & ~1: name for name, a in self.symbols.items() if a & 1 and a <= address + 1}
        return thumb[max(thumb)] if thumb else "no function"

    @property
    def load_end(self) -> int:
        """The first address behind the flash image."""
        return max((s.address + len(s.data) for s in self.segments), default=0)


def read_elf(path: Path) -> Image:
    """The image in an ELF file.

    Raises:
        ToolError: the file cannot be read or is no ELF file.
    """
    try:
        status = path.stat()
        return _read(path, (status.st_mtime_ns, status.st_size, status.st_ino))
    except (OSError, ELFError) as error:
        raise ToolError(f"{path}: {error}; build the firmware again") from None


@functools.lru_cache(maxsize=8)
def _read(path: Path, _: tuple[int, int, int]) -> Image:
    """What is in the file as it is now; steps are counted in many runs of one image."""
    with path.open("rb") as stream:
        elf = ELFFile(stream)
        table = elf.get_section_by_name(".symtab")
        if not isinstance(table, SymbolTableSection):
            raise ELFError("no symbols")
        entries = list(table.iter_symbols())
        return Image(
            segments=tuple(
                Segment(address=s["p_paddr"], data=s.data())
                for s in elf.iter_segments("PT_LOAD")
                if s["p_filesz"] > 0
            ),
            symbols={s.name: s["st_value"] for s in entries if s.name},
            sections={
                s.name: (s["sh_addr"], s["sh_size"])
                for s in elf.iter_sections()
                if s["sh_flags"] & SHF_ALLOC
            },
            code=_code(elf, entries),
        )


def _code(elf: ELFFile, entries: list[Symbol]) -> tuple[tuple[int, bytes], ...]:
    """What mapping symbols call Thumb, up to the linker script's end of code.

    Behind it clang has no mapping symbols. Source: ELF for the Arm Architecture (IHI 0044), 5.5.5.
    """
    marks = [s for s in entries if s.name.split(".")[0] in ("$t", "$d")]
    ends = [s["st_value"] for s in entries if s.name == CODE_END]
    found = []
    for index, section in enumerate(elf.iter_sections()):
        if not section["sh_flags"] & SHF_EXECINSTR:
            continue
        start, data = section["sh_addr"], section.data()
        end = min([start + len(data), *(end for end in ends if end > start)])
        here = sorted((s["st_value"], s.name[:2] == "$t") for s in marks if s["st_shndx"] == index)
        for (at, is_code), (behind, _) in itertools.pairwise([*here, (end, False)]):
            if is_code and at < min(behind, end):
                found.append((at, data[at - start : min(behind, end) - start]))
    return tuple(found)
