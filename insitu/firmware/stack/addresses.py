"""An ELF file with relocations -> the absolute addresses that its code and data hold.

Invariant: none is guessed from bytes that look like an address; the linker says where they are.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from elftools.elf.elffile import ELFFile

from insitu.graph.model import Array

ABS32, THM_MOVW, THM_MOVT = 2, 47, 48
"""Relocations that put an address. Source: ELF for the Arm Architecture (IHI 0044), R_ARM_*."""

VECTORS_BYTES = 64
"""The table of exceptions, with which a firmware starts (cortex_m.ld): nobody calls by it."""

SHF_ALLOC = 0x2


def taken_addresses(elf: ELFFile) -> Iterator[int]:
    """Addresses in words and in pairs of MOVW and MOVT, those of the exceptions left out."""
    text = elf.get_section_by_name(".text")["sh_addr"]
    for section in elf.iter_sections():
        if section["sh_type"] != "SHT_REL":
            continue
        patched = elf.get_section(section["sh_info"])
        if not patched["sh_flags"] & SHF_ALLOC:
            continue
        rows = np.frombuffer(section.data(), np.dtype([("at", "<u4"), ("info", "<u4")]))
        data, base = patched.data(), patched["sh_addr"]
        kinds = rows["info"] & 0xFF
        for at in rows["at"][kinds == ABS32].tolist():
            if not text <= at < text + VECTORS_BYTES:
                yield int.from_bytes(data[at - base : at - base + 4], "little")
        halves = rows[(kinds == THM_MOVW) | (kinds == THM_MOVT)]
        yield from _moved(data, base, np.sort(halves, order="at"))


def _moved(data: bytes, base: int, rows: Array) -> Iterator[int]:
    """What a MOVW and the next MOVT of the same register make."""
    low: dict[int, int] = {}
    for at, info in rows.tolist():
        first, second = (
            int.from_bytes(data[at - base + i : at - base + i + 2], "little") for i in (0, 2)
        )
        value = (first & 0xF) << 12 | (first >> 10 & 1) << 11 | (second >> 12 & 7) << 8
        value |= second & 0xFF
        register = second >> 8 & 0xF
        if info & 0xFF == THM_MOVW:
            low[register] = value
        elif register in low:
            yield value << 16 | low[register]
