"""A hand-written model, boards and streams: what tests of building and running work on."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from insitu.artifacts import Firmware
from insitu.errors import ToolError
from insitu.run.stream import PREDICT, Stream
from insitu.runtime import FILES
from insitu.target.board import Board, Memory
from insitu.target.elf import read_elf
from insitu.tools.compilers import GCC_MACHINE_FLAGS, Toolchain, find_toolchain
from insitu.tools.emulators import EmulatorTool, find_emulator

ROOT = Path(__file__).parents[2]
INPUTS, CLASSES = 1022, 10
KIB = 1024
MACHINES = {f"{core}{'-fpu' if fpu else ''}": (core, fpu) for core, fpu in GCC_MACHINE_FLAGS}
"""(core, FPU) by id."""


def write_model(folder: Path, *, mishap: str = "") -> Path:
    """The fake model laid out as by `insitu compile`; each update begins with the C of `mishap`."""
    (folder / "runtime").mkdir(parents=True)
    for path in (ROOT / "tests/c/fake_model").glob("*.[ch]"):
        (folder / path.name).write_text(path.read_text().replace("/* mishap */", mishap))
    shutil.copy(FILES["insitu.h"], folder / "runtime")
    return folder


def board(
    core: str = "cortex-m4",
    *,
    fpu: bool = False,
    flash: int = 64 * KIB,
    ram: tuple[tuple[int, int], ...] = ((0x2000_0000, 32 * KIB),),
) -> Board:
    """A board with RAM given as (origin, bytes)."""
    rams = tuple(
        Memory(name=f"ram{i}", kind="ram", origin=origin, length_bytes=length)
        for i, (origin, length) in enumerate(ram)
    )
    return Board(
        name=f"test-{core}{'-fpu' if fpu else ''}",
        title="a board of the tests",
        core=core,
        fpu=fpu,
        clock_hz=64_000_000,
        memories=(Memory(name="flash", kind="flash", origin=0, length_bytes=flash), *rams),
        active_mw=10.0,
        power_source="none: a board of the tests",
    )


def plant(firmware: Firmware, function: str, code: bytes) -> None:
    """Replaces the first bytes of a function of a linked firmware, behind every check of it."""
    image, linked = read_elf(firmware.elf), firmware.elf.read_bytes()
    [segment] = (s for s in image.segments if s.address <= image.symbols[function] < image.load_end)
    at = (image.symbols[function] & ~1) - segment.address
    start = linked.index(segment.data) + at
    firmware.elf.write_bytes(linked[:start] + code + linked[start + len(code) :])


def stream(records: int, *, inputs: int = INPUTS, seed: int = 7) -> Stream:
    """Random samples, every seventh only predicted."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, records).astype(np.int32)
    labels[::7] = PREDICT
    return Stream(
        x=rng.integers(-128, 128, (records, inputs)).astype(np.int8),
        labels=labels,
        rates=np.linspace(0.02, 0.001, records, dtype=np.float32),
        seed=seed,
    )


def toolchain_or_skip(target: str, name: str | None) -> Toolchain:
    """The toolchain; where it is not installed the test skips."""
    try:
        return find_toolchain(target, prefer=name)
    except ToolError as error:
        pytest.skip(str(error))


def emulator_or_skip(core: str, name: str | None = None) -> EmulatorTool:
    """The emulator, or any; where it is not installed or has no such core the test skips."""
    try:
        return find_emulator(core, prefer=name)
    except ToolError as error:
        pytest.skip(str(error))


def calls_of(run: Callable[[], object]) -> int:
    """How many functions of Python it calls."""
    count = 0

    def counted(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(counted)
    try:
        run()
    finally:
        sys.setprofile(None)
    return count
