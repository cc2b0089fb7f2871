"""Generated C + Toolchain -> shared library for the desk, or firmware for a board.

Invariant: a firmware exists only if it fits: the linker script gives it exactly the board's flash
and RAM, with room for the deepest stack that its instructions can need, at the emulated machine's
addresses. The C that goes around the model is in runtime/ports/.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import Template

from insitu.artifacts import Firmware
from insitu.errors import BoardError, FitError, OutputError, ToolError
from insitu.firmware.flags import optimization
from insitu.firmware.objects import (
    Job,
    compile_objects,
    digest_of,
    produce,
    read_source,
    write_text,
)
from insitu.firmware.stack import stack_bound
from insitu.runtime import FILES, PORTS
from insitu.target.board import Board
from insitu.target.elf import Image, read_elf
from insitu.target.instructions import check_instructions
from insitu.target.machines import LARGEST_BYTES, MACHINES, MIB
from insitu.tools.compilers import GCC_MACHINE_FLAGS, Toolchain, find_toolchain

ROOMY_STACK_BYTES = 4096
"""Room that the linker keeps for the stack in a first link, and where nobody asks for a bound."""


@dataclass(frozen=True, kw_only=True)
class Region:
    """Memory as the linker sees it."""

    name: str
    origin: int
    length_bytes: int


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """A linker script's free choices."""

    flash: Region
    ram: tuple[Region, ...]
    state_region: str
    arena_region: str
    stack_bytes: int


def build_host(
    source_dir: Path,
    name: str,
    out_dir: Path,
    *,
    toolchain: Toolchain | None = None,
    sanitize: bool = False,
    portable: bool = False,
) -> Path:
    """The shared library of model `name`, for `TwinLibrary`; a changed model gets a new path.

    Runtime sources that are as insitu wrote them are replaced by their faster equals for this
    processor, where there are any.

    Args:
        sanitize: with AddressSanitizer and UBSan, by gcc; see `sanitizer_environment`.
        portable: replace none: the C that goes to the board.

    Raises:
        ToolError: there is no compiler, or it failed.
        OutputError: `out_dir` cannot be written.
    """
    source_dir, out_dir = source_dir.resolve(), out_dir.resolve()  # zig's cache keys by path
    chosen = toolchain or find_toolchain("host")
    if sanitize and chosen.name != "gcc":
        raise ToolError(f"{chosen.title} cannot sanitize a library for Python; take gcc")
    flags = (*chosen.compile_flags(sanitize=sanitize), *_model_flags(source_dir, name))
    sources = [*_sources(source_dir), PORTS / "host/host.c"]
    fast = {} if portable else _host_kernels(source_dir)
    # a fast source may include what it replaces
    included = (*fast, *(PORTS / "host/x86").glob("*.h")) if fast else ()
    level = "-O1" if sanitize else "-O3"
    jobs = [Job(fast.get(path, path), (*flags, level), _of_runtime(path)) for path in sources]
    objects = compile_objects(chosen, jobs, _headers(source_dir), out_dir, included=included)
    digest = digest_of(*(path.name for path in objects))
    library = out_dir / f"lib{name}-{digest}.so"
    if not library.exists():
        produce(chosen, library, *chosen.link_flags(sanitize=sanitize), *objects)
    return library


def _host_kernels(source_dir: Path) -> dict[Path, Path]:
    """The runtime's sources that a faster equal stands for; none where somebody changed them."""
    found = sorted((source_dir / "runtime").glob("*.[ch]"))
    same = {p for p in found if p.name in FILES and read_source(p) == read_source(FILES[p.name])}
    if not all(path in same for path in found if path.suffix == ".h"):
        return {}
    fast = {path.name: path for path in (PORTS / "host/x86").glob("*.c")}
    return {path: fast[path.name] for path in found if path in same and path.name in fast}


def build_hook(out_dir: Path, *, toolchain: Toolchain | None = None) -> Path:
    """The shared library that counts the blocks that an emulator executes, for `run.profile`.

    Raises:
        ToolError, OutputError: as `build_host`.
    """
    out_dir = out_dir.resolve()
    chosen = toolchain or find_toolchain("host")
    folder = PORTS / "emulator"
    flags = (*chosen.compile_flags(), "-O2")
    jobs = [Job(path, flags, of_runtime=True) for path in sorted(folder.glob("*.c"))]
    objects = compile_objects(chosen, jobs, tuple(folder.glob("*.h")), out_dir)
    library = out_dir / f"block_profile-{digest_of(*(path.name for path in objects))}.so"
    if not library.exists():
        produce(chosen, library, *chosen.link_flags(), *objects)
    return library


def build_firmware(
    source_dir: Path,
    name: str,
    board: Board,
    out_dir: Path,
    *,
    toolchain: Toolchain | None = None,
    profile: bool = False,
    limits: bool = True,
    stack_bytes: int | None = None,
) -> Firmware:
    """The firmware of model `name` with the streaming harness, and its linker map beside it.

    Args:
        profile: with the marks that `emulator.run(..., profile=True)` counts by.
        limits: with exactly the board's memories; False: with as much as it takes, to measure.
        stack_bytes: the stack that must fit; None: the bound of what was linked (`stack_bound`),
            which a profiled firmware has no use for.

    Raises:
        FitError: the network needs more memory than the board has.
        BoardError: the board's description is wrong.
        ToolError: there is no compiler, it failed, or its code is not for the core or has no bound
            of the stack.
        OutputError: `out_dir` cannot be written.
    """
    if (board.core, board.fpu) not in GCC_MACHINE_FLAGS:
        raise BoardError(f"{board.name}: {board.core} has no FPU; set fpu = false")
    source_dir, out_dir = source_dir.resolve(), out_dir.resolve()  # zig's cache keys by path
    chosen = toolchain or find_toolchain(board.core)
    if chosen.target != board.core:
        raise ToolError(f"{chosen.title} is for {chosen.target} but {board.name} is {board.core}")
    stem = f"{name}-{board.name}-{chosen.name}" + ("-profile" if profile else "")
    objects = _firmware_objects(chosen, source_dir, name, board, out_dir, profile)

    def link(layout: _Layout, suffix: str) -> tuple[Path, Image]:
        elf = out_dir / f"{stem}{suffix}.elf"
        script = elf.with_suffix(".ld")
        write_text(script, _script(layout))
        flags = (*chosen.link_flags(fpu=board.fpu), f"-Wl,-T,{script}", "-Wl,--print-map")
        write_text(elf.with_suffix(".map"), produce(chosen, elf, *objects, *flags))
        return elf, read_elf(elf)

    elf, image = link(_unconstrained(board, LARGEST_BYTES, ROOMY_STACK_BYTES), "-unlimited")
    check_instructions(image, board.core, fpu=board.fpu, name=elf.name)
    bound, needed = None, ROOMY_STACK_BYTES if stack_bytes is None else stack_bytes
    if stack_bytes is None and not profile:
        bound = stack_bound(elf, objects, fpu=board.fpu)
        needed = bound.nbytes
    code = _code(image, board.core)
    if limits:
        elf, image = link(_fit(board, image, needed), "")
    elif max(_flash_bytes(image, board.core), _ram_bytes(image)) + needed < 4 * MIB:
        elf, image = link(_unconstrained(board, 4 * MIB, needed), "-unlimited")
    assert _code(image, board.core) == code, "the linker makes other code for other memories"
    return Firmware(
        elf=elf,
        core=board.core,
        toolchain=chosen.title,
        flash_bytes=_flash_bytes(image, board.core),
        ram_bytes=_ram_bytes(image),
        stack_bytes=needed,
        interrupt_frame_bytes=0 if bound is None else bound.frame_bytes,
    )


def _firmware_objects(
    toolchain: Toolchain, source_dir: Path, name: str, board: Board, out_dir: Path, profile: bool
) -> list[Path]:
    port = PORTS / "cortex_m"
    flags = (
        *toolchain.compile_flags(fpu=board.fpu),
        *_model_flags(source_dir, name),
        f"-I{port}",
        "-isystem",
        str(port / "include"),
        *(("-DINSITU_PROFILE_HOOK",) if profile else ()),
        *(() if MACHINES[board.core].unicorn_model else ("-DINSITU_PROFILE_DIGITS",)),
    )
    jobs = [
        Job(path, (*flags, *optimization(path.name, board.core)), _of_runtime(path))
        for path in _sources(source_dir)
    ]
    jobs += [Job(port / "firmware.c", (*flags, "-O2"))]
    jobs += [Job(port / "startup.c", (*flags, "-O2"), of_runtime=True)]
    jobs += [Job(port / "memory.c", (*flags, "-O2", "-fno-builtin"), of_runtime=True)]
    jobs += [Job(port / "profile.c", (*flags, "-O2"))] if profile else []
    own = tuple(port.rglob("*.h"))
    return compile_objects(toolchain, jobs, _headers(source_dir), out_dir, included=own)


def _unconstrained(board: Board, length_bytes: int, stack_bytes: int) -> _Layout:
    machine = MACHINES[board.core]
    return _Layout(
        flash=Region(name="FLASH", origin=machine.flash_origin, length_bytes=length_bytes),
        ram=(Region(name="RAM", origin=machine.ram_origin, length_bytes=length_bytes),),
        state_region="RAM",
        arena_region="RAM",
        stack_bytes=stack_bytes,
    )


def _fit(board: Board, image: Image, stack_bytes: int) -> _Layout:
    """A layout of the linked sections in the board's own memories, the first RAM preferred."""
    flash = _flash_bytes(image, board.core)
    _require(board, "flash", flash, board.flash_bytes)
    ram = _board_ram(board)
    state, arena = (image.sections[f".insitu_{name}"][1] for name in ("state", "arena"))
    rest = _ram_bytes(image) - state - arena + stack_bytes
    # the first choice has everything in the first RAM; the arena is moved out before the state
    for s, a in itertools.product(range(len(ram)), repeat=2):
        needed = [rest] + [0] * (len(ram) - 1)
        needed[s] += state
        needed[a] += arena
        if all(need <= region.length_bytes for need, region in zip(needed, ram, strict=True)):
            return _Layout(
                flash=replace(_unconstrained(board, 0, 0).flash, length_bytes=board.flash_bytes),
                ram=ram,
                state_region=ram[s].name,
                arena_region=ram[a].name,
                stack_bytes=stack_bytes,
            )
    room = _arena_room(ram, rest, state)
    _require(board, "RAM", rest + state + arena, board.ram_bytes, room)
    parts = " + ".join(str(region.length_bytes) for region in ram)
    largest = max(state, arena)
    raise FitError(
        f"{board.name}: RAM is {parts} bytes in pieces and no piece takes the largest part of the "
        f"network, {largest} bytes, beside the others; train fewer layers",
        arena_bytes=room,
    )


def _arena_room(ram: Sequence[Region], rest: int, state: int) -> int | None:
    """The largest arena beside the rest, in the first RAM, and the state; None where there is none.

    Args:
        rest: bytes with the stack.
    """
    found = []
    for place in range(len(ram)):
        left = [region.length_bytes for region in ram]
        left[0] -= rest
        left[place] -= state
        found += [max(left)] if min(left) >= 0 else []
    return max(found, default=None)


def _require(
    board: Board, kind: str, needed: int, there: int, arena_bytes: int | None = None
) -> None:
    if needed > there:
        raise FitError(too_small(board, kind, needed, there), arena_bytes=arena_bytes)


def too_small(board: Board, kind: str, needed: int, there: int, *, at_least: bool = False) -> str:
    """What to say where a memory does not hold a network.

    Args:
        at_least: it may need more.
    """
    return (
        f"{board.name}: the network needs {'at least ' * at_least}{needed} bytes of {kind} but the "
        f"board has {there}, {needed - there} too few; train fewer layers or take a larger board"
    )


def _board_ram(board: Board) -> tuple[Region, ...]:
    """The board's RAM at the emulated machine's addresses; what touches is one region."""
    merged: list[tuple[int, int]] = []
    for memory in (m for m in board.memories if m.kind == "ram"):
        if merged and memory.origin == sum(merged[-1]):
            merged[-1] = (merged[-1][0], merged[-1][1] + memory.length_bytes)
        else:
            merged.append((memory.origin, memory.length_bytes))
    regions: list[Region] = []
    origin = MACHINES[board.core].ram_origin
    for index, (_, length) in enumerate(merged):
        regions.append(Region(name=f"RAM{index or ''}", origin=origin, length_bytes=length))
        origin += (length // MIB + 1) * MIB  # a gap, so that no write past an end goes unnoticed
    return tuple(regions)


def _script(layout: _Layout) -> str:
    """The linker script; it also leaves each region in the symbol table, for the emulator."""
    lines, symbols = [], []
    for region in (layout.flash, *layout.ram):
        access = "rx" if region is layout.flash else "rw"
        lines.append(
            f"  {region.name} ({access}) : "
            f"ORIGIN = {region.origin:#x}, LENGTH = {region.length_bytes}"
        )
        symbols.append(f"insitu_region_{region.name}_origin = {region.origin:#x};")
        symbols.append(f"insitu_region_{region.name}_bytes = {region.length_bytes};")
    template = Template((PORTS / "cortex_m/cortex_m.ld").read_text(encoding="utf-8"))
    return template.substitute(
        memories="\n".join(lines),
        regions="\n".join(symbols),
        state_region=layout.state_region,
        arena_region=layout.arena_region,
        stack_bytes=layout.stack_bytes,
    )


def _flash_bytes(image: Image, core: str) -> int:
    """Code, constants and the initial values of data."""
    return image.load_end - MACHINES[core].flash_origin


def _code(image: Image, core: str) -> dict[str, int]:
    """Where everything lies in flash: the same where the code is, since no section moved."""
    flash = range(MACHINES[core].flash_origin, image.load_end)
    return {
        name: address
        for name, address in image.symbols.items()
        if address in flash and not name.startswith("insitu_region_")
    }


def _ram_bytes(image: Image) -> int:
    """Data and bss with the model, without the stack."""
    names = (".data", ".insitu_state", ".insitu_arena", ".bss")
    return sum(image.sections.get(name, (0, 0))[1] for name in names)


def _sources(source_dir: Path) -> list[Path]:
    found = sorted(source_dir.glob("*.c")) + sorted((source_dir / "runtime").glob("*.c"))
    if not found:
        raise OutputError(f'{source_dir}: no C sources; run "insitu compile" first')
    return found


def _of_runtime(path: Path) -> bool:
    return path.parent.name == "runtime"


def _headers(source_dir: Path) -> tuple[Path, ...]:
    return (*source_dir.glob("*.h"), *(source_dir / "runtime").glob("*.h"), PORTS / "harness.h")


def _model_flags(source_dir: Path, name: str) -> tuple[str, ...]:
    return (
        f'-DINSITU_HEADER="insitu_{name}.h"',
        f"-DINSITU_PREFIX=insitu_{name}",
        f"-I{source_dir}",
        f"-I{source_dir / 'runtime'}",
        f"-I{PORTS}",
    )
