"""An ELF file -> Image: its segments, symbols and sections, as building and emulating need them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from insitu.errors import ToolError

SHF_ALLOC = 0x2


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Bytes to be loaded at an address."""

    address: int
    data: bytes


@dataclass(frozen=True, kw_only=True)
class Image:
    """A linked firmware.

    Attributes:
        segments: what lies in flash, at its load addresses.
        symbols: address by name.
        sections: (address, bytes) by name, of what takes memory at run time.
    """

    segments: tuple[Segment, ...]
    symbols: Mapping[str, int]
    sections: Mapping[str, tuple[int, int]]

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
        return Image(
            segments=tuple(
                Segment(address=s["p_paddr"], data=s.data())
                for s in elf.iter_segments("PT_LOAD")
                if s["p_filesz"] > 0
            ),
            symbols={s.name: s["st_value"] for s in table.iter_symbols() if s.name},
            sections={
                s.name: (s["sh_addr"], s["sh_size"])
                for s in elf.iter_sections()
                if s["sh_flags"] & SHF_ALLOC
            },
        )
