"""Object files -> names of the functions whose address is put somewhere: what a pointer may call.

Invariant: none is guessed from bytes that look like an address; relocations say where they are.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

from insitu.errors import ToolError

ADDRESSES = (2, 38, 43, 47)
"""R_ARM_ABS32, TARGET1, MOVW_ABS_NC, THM_MOVW_ABS_NC: relocations that put an address.
Source: ELF for the Arm Architecture (IHI 0044), table 4-9."""

VECTORS = ".rel.vectors"
"""The table of exceptions: the core goes there, and nobody calls by it."""


def taken_names(objects: Iterable[Path]) -> frozenset[str]:
    """Of functions and of whatever else has a name.

    Raises:
        ToolError: an object cannot be read.
    """
    return frozenset[str]().union(*map(_names, objects))


@functools.lru_cache(maxsize=4096)  # an object's name says all that it is made from
def _names(path: Path) -> frozenset[str]:
    try:
        with path.open("rb") as stream:
            elf = ELFFile(stream)
            found = set()
            for section in elf.iter_sections("SHT_REL"):
                if not isinstance(section, RelocationSection) or section.name == VECTORS:
                    continue
                symbols = elf.get_section(section["sh_link"])
                assert isinstance(symbols, SymbolTableSection)
                for row in section.iter_relocations():
                    if row["r_info_type"] in ADDRESSES:
                        found.add(symbols.get_symbol(row["r_info_sym"]).name)
            return frozenset(found)
    except (OSError, ELFError) as error:
        raise ToolError(f"{path}: {error}; build the firmware again") from None
