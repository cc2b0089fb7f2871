"""Are subnormal numbers the same everywhere, whatever the library, the flags or the FPU do to them?

A core without an FPU has insitu's own arithmetic; one that flushes is refused by init.
"""

from __future__ import annotations

import ctypes
import platform
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builds import core_firmware, host_library
from case_models import Compiled
from cases import CASES
from fakes import MACHINES, ROOT, emulator_or_skip

from insitu.artifacts import CSource
from insitu.errors import ToolError
from insitu.firmware.build import build_host
from insitu.fixed_point import F32
from insitu.generate import generate, state_layout
from insitu.graph.model import Array, Graph, Kind, Role, Tensor
from insitu.graph.scheme import Scheme
from insitu.network.folder import write_sources
from insitu.plan import plan_memory
from insitu.run import emulator
from insitu.run.stream import Stream
from insitu.run.twin_library import TwinLibrary
from insitu.target.elf import read_elf
from insitu.tools.compilers import find_toolchain

pytestmark = pytest.mark.toolchain

LEAST_NORMAL = F32(2.0**-126)
RECORDS = 12

SCHEMES = {
    "int8": Scheme(),
    "int8-momentum": Scheme(momentum=0.9, batch=2, weight_decay=0.1),
    "mixed": Scheme(precision="mixed"),
    "mixed-momentum": Scheme(precision="mixed", momentum=0.9),
    "float32": Scheme(precision="float32", batch=2, weight_decay=0.1),
    "float32-momentum": Scheme(precision="float32", momentum=0.9),
    "paper": Scheme(preset="paper", batch=2),
}


def with_subnormals(tensor: Tensor, rng: np.random.Generator) -> Tensor:
    """A state tensor of floats with every other value subnormal; of a range the lower bound."""
    if tensor.dtype != "float32" or tensor.kind is not Kind.STATE or tensor.role is Role.SETTING:
        return tensor
    data = np.zeros(tensor.shape, F32) if tensor.data is None else tensor.data.copy()
    values = data.reshape(-1)
    tiny = rng.integers(1, 2**23, values.shape, dtype=np.uint32).view(F32)
    signs = -1 if tensor.role is Role.RANGE else rng.choice([-1, 1], values.shape)
    values[::2] = (tiny * signs.astype(F32) if isinstance(signs, np.ndarray) else -tiny)[::2]
    return replace(tensor, data=data)


def prepared(name: str, case: str = "conv-odd") -> tuple[Graph, CSource, Stream]:
    """A step whose state begins with subnormal numbers, its C, and samples, most of them zeros."""
    compiled = Compiled(CASES[case], SCHEMES[name])
    rng = np.random.default_rng(6)
    tensors = {n: with_subnormals(t, rng) for n, t in compiled.step.tensors.items()}
    step = replace(compiled.step, tensors=tensors)
    stream = compiled.stream(RECORDS)
    x = stream.x.copy()
    x[RECORDS // 3 :] = 0
    rates = np.full(RECORDS, 0.01, F32)
    return step, generate(step, plan_memory(step), "model"), replace(stream, x=x, rates=rates)


def subnormals(step: Graph, state: bytes) -> int:
    """How many floats of a state are subnormal."""
    values = state_layout(step).unpack(state).values()
    floats = np.concatenate([v.reshape(-1) for v in values if v.dtype == F32])
    return int(((floats != 0) & (abs(floats) < LEAST_NORMAL)).sum())


def on_a_core(source: CSource, machine: str, stream: Stream, name: str, text: str) -> bytes:
    """The state after a run of a firmware with one more file of C."""
    emulator_or_skip(MACHINES[machine][0])
    firmware = core_firmware(replace(source, files={**source.files, name: text}), machine)
    if name == "flushing.c":
        assert "__aeabi_fadd" not in read_elf(firmware.elf).symbols
    return emulator.run(firmware, stream).state


@pytest.mark.parametrize("machine", ["cortex-m0plus", "cortex-m3"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_library_that_flushes_changes_nothing(scheme: str, machine: str) -> None:
    step, source, stream = prepared(scheme)
    twin = TwinLibrary(host_library(source, find_toolchain("host")), "model")
    expected = twin.run(stream).state
    library = (ROOT / "tests/c/flushing.c").read_text()
    assert on_a_core(source, machine, stream, "flushing.c", library) == expected
    if scheme == "float32-momentum":
        assert subnormals(step, expected) > 0


SET_MODE = """\
  uint32_t fpscr;
  __asm__ volatile("vmrs %0, fpscr" : "=r"(fpscr));
  __asm__ volatile("vmsr fpscr, %0" : : "r"(fpscr | MODE));
  model->arena = 0;
"""
FLUSH, TOWARDS_ZERO = "1u << 24", "3u << 22"
"""Bits of FPSCR. Source: Armv8-M ARM, FPSCR (FZ, RMode)."""

WITH_AN_FPU = [name for name in MACHINES if name.endswith("-fpu")]


@pytest.mark.parametrize(
    ("machine", "mode"),
    [*((name, FLUSH) for name in WITH_AN_FPU), ("cortex-m4-fpu", TOWARDS_ZERO)],
)
def test_an_fpu_that_flushes_or_rounds_another_way_is_refused(machine: str, mode: str) -> None:
    _, source, stream = prepared("int8", "linear")
    name, first = "insitu_model.c", "  model->arena = 0;\n"
    assert first in source.files[name]
    changed = source.files[name].replace(first, SET_MODE.replace("MODE", mode))
    with pytest.raises(ToolError, match="subnormal numbers for 0"):
        on_a_core(source, machine, stream, name, changed)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="sets the MXCSR of x86-64")
def test_the_twin_computes_the_same_where_the_process_flushes(tmp_path: Path) -> None:
    """As one does after loading a library that was linked with -ffast-math."""
    mode = tmp_path / "mode.c"
    mode.write_text(
        "unsigned get(void) { return __builtin_ia32_stmxcsr(); }\n"
        "void set(unsigned v) { __builtin_ia32_ldmxcsr(v); }\n"
    )
    find_toolchain("host").run("-shared", "-fPIC", mode, "-o", tmp_path / "mode.so")
    mxcsr = ctypes.CDLL(str(tmp_path / "mode.so"))
    _, source, stream = prepared("float32-momentum")
    write_sources(source, tmp_path / "source")
    library = build_host(tmp_path / "source", "model", tmp_path)  # with the kernels of the desk
    samples: Array = np.asarray([[1e-40] * stream.x.shape[1]], F32)

    def run() -> tuple[bytes, bytes, bytes]:
        twin = TwinLibrary(library, "model")
        state = twin.run(stream).state
        return state, twin.quantize_input(samples).tobytes(), twin.predict(stream.x)[0].tobytes()

    expected = run()
    before = mxcsr.get()
    mxcsr.set(before | 0x8040)
    try:
        assert run() == expected
        assert mxcsr.get() & 0x8040 == 0x8040
    finally:
        mxcsr.set(before)
