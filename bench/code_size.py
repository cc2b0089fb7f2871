"""Compiled networks -> bytes of code in flash, by source and by function, beside their limits.

    python bench/code_size.py [--core M4 ...] [--toolchain gcc] [--functions 10] [--check]

The Fashion-MNIST CNN with all of its layers trained in 8 bits, as `insitu bench` has it. Counted
are the runtime, the generated calls and what the compiler's library adds; not counted are the
network's constants (weights, scales, shapes) and our test harness, which has its own memcpy and
memset. `--check` fails above `LIMITS`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection
from rich.console import Console
from rich.table import Table

from insitu.app.bench import SHORT
from insitu.bench import steps
from insitu.bench.count import NAME, board_of
from insitu.firmware.build import build_firmware
from insitu.generate import generate
from insitu.graph.model import Graph
from insitu.network.folder import ScratchFolder, write_sources
from insitu.plan import plan_memory
from insitu.tools.compilers import find_toolchain

NETWORK = "Fashion-MNIST CNN"
LIMITS = {"cortex-m4": 24 * 1024, "cortex-m0plus": 16 * 1024}
"""Bytes, with arm-none-eabi-gcc."""

HARNESS = ("firmware", "memory", "profile", "startup")
LIBRARY = "(compiler's library)"
MODEL = f"insitu_{NAME}"


@dataclass(frozen=True)
class Symbol:
    """A piece of the image: "function" or "object", of a source's stem or of `LIBRARY`."""

    name: str
    kind: str
    source: str
    nbytes: int

    @property
    def counts(self) -> bool:
        """Neither the harness nor a constant of the network."""
        constant = self.kind == "object" and self.source.startswith(MODEL)
        return not constant and self.source not in HARNESS


def code_symbols(core: str, step: Graph, *, toolchain: str | None = None) -> list[Symbol]:
    """Everything in a training step's image for a core that has a name and a size.

    Raises:
        ToolError: no compiler for the core, or it failed.
    """
    scratch = ScratchFolder()
    folder: Path = scratch.path
    write_sources(generate(step, plan_memory(step), NAME), folder)
    chosen = find_toolchain(core, prefer=toolchain)
    build = folder / "build"
    firmware = build_firmware(folder, NAME, board_of(core), build, toolchain=chosen, limits=False)
    sources = {
        name: path.stem.rpartition("-")[0]
        for path in sorted((build / "objects").glob("*.o"))
        for name, *_ in _symbols(path)
    }
    placed = {where: (name, kind, size) for name, kind, size, where in _symbols(firmware.elf)}
    return [
        Symbol(name, kind, sources.get(name, LIBRARY), size) for name, kind, size in placed.values()
    ]


KINDS = {"STT_FUNC": "function", "STT_OBJECT": "object"}
RAM = (".insitu_state", ".insitu_arena", ".bss")


def _symbols(path: Path) -> Iterator[tuple[str, str, int, tuple[int, int]]]:
    """(name, kind, bytes, (section, address)) of what lies in flash."""
    with path.open("rb") as stream:
        elf = ELFFile(stream)
        table = elf.get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        for symbol in table.iter_symbols():
            kind, index = KINDS.get(symbol["st_info"]["type"]), symbol["st_shndx"]
            if kind is None or not isinstance(index, int) or symbol["st_size"] == 0:
                continue
            if not elf.get_section(index).name.startswith(RAM):
                yield symbol.name, kind, symbol["st_size"], (index, symbol["st_value"])


def report(console: Console, title: str, symbols: list[Symbol], *, functions: int) -> int:
    """Print what counts; returns its bytes."""
    counted = [s for s in symbols if s.counts]
    by_source: Counter[str] = Counter()
    for symbol in counted:
        by_source[symbol.source] += symbol.nbytes
    table = Table(title=title)
    table.add_column("source")
    table.add_column("bytes", justify="right")
    table.add_column("largest functions")
    for source, total in by_source.most_common():
        largest = sorted((s for s in counted if s.source == source), key=lambda s: -s.nbytes)
        names = ", ".join(f"{s.name} {s.nbytes:,}" for s in largest[:functions])
        table.add_row(source, f"{total:,}", names)
    table.add_section()
    table.add_row("all", f"{by_source.total():,}", "")
    console.print(table)
    return by_source.total()


def main() -> int:
    """Measure, print, check."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--core", nargs="*", choices=SHORT, default=["M4", "M0+"])
    parser.add_argument("--toolchain", choices=("gcc", "zig"))
    parser.add_argument("--functions", type=int, default=3, help="shown of each source")
    parser.add_argument("--check", action="store_true", help="fail where there is too much")
    chosen = parser.parse_args()
    os.environ.pop("INSITU_CACHE", None)  # symbols are looked up in the objects of this build alone
    console = Console(width=None if Console().is_terminal else 120)
    step = steps.make_task(NETWORK, "uint8").step
    over = 0
    for core in map(SHORT.__getitem__, chosen.core):
        title = find_toolchain(core, prefer=chosen.toolchain).title
        symbols = code_symbols(core, step, toolchain=chosen.toolchain)
        total = report(console, f"{NETWORK}, {core}, {title}", symbols, functions=chosen.functions)
        if core in LIMITS:
            over += total > LIMITS[core]
            console.print(f"{total:,} of {LIMITS[core]:,} bytes ({total / LIMITS[core]:.0%})\n")
    return int(chosen.check and over > 0)


if __name__ == "__main__":
    sys.exit(main())
