"""Do the microkernels in ARMv6-M's instructions leave the same memory as those in plain C?

Each is called alone, on the emulated core and on the desk, with the same bytes: random ones and the
ends of their ranges.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_cases import examples
from unicorn import UC_ARCH_ARM, UC_MODE_MCLASS, UC_MODE_THUMB, Uc, arm_const

from insitu.graph.model import Array
from insitu.runtime import INCLUDE_FLAGS, KERNELS, PORTS
from insitu.target.elf import read_elf
from insitu.tools.compilers import find_toolchain

pytestmark = pytest.mark.toolchain

FUNCTIONS = (
    *(
        "microkernel_1x4_u8",
        "microkernel_1x4_u16",
        "microkernel_1x4_strided",
        "epilogue_channel",
        "pack_fours",
        "sum_fours",
    ),
    *("widen_fours", "offset_bytes", "offset_errors", "step_groups", "step_part"),
)
CODE, MEMORY, STACK, SIZE, END = 0x10000, 0x20000000, 0x30000000, 1 << 20, 0xF000


class Both:
    """A library for the desk, and the same functions on an emulated M0."""

    def __init__(self, folder: Path) -> None:
        sources = [path for path in KERNELS if path.parent.parts[-2:] == ("conv", "microkernels")]
        desk, core = find_toolchain("host"), find_toolchain("cortex-m0plus")
        flags = (*desk.compile_flags(), *desk.link_flags(), "-fvisibility=default")
        desk.run(*flags, "-DINSITU_SCALAR", *INCLUDE_FLAGS, *sources, "-o", folder / "desk.so")
        self.desk = ctypes.CDLL(str(folder / "desk.so"))
        table = "".join(f"extern char insitu_{name}[];" for name in FUNCTIONS)
        listed = ",".join(f"insitu_{name}" for name in FUNCTIONS)
        script = folder / "core.ld"
        script.write_text(
            f"SECTIONS {{ .table 0x8000 : {{ KEEP(*(.table)) }} .text {CODE} : {{ *(.text*) "
            "*(.rodata*) } /DISCARD/ : { *(.ARM.*) } }"
        )
        headers = ("-isystem", str(PORTS / "cortex_m/include"))
        place = (*headers, "-nostartfiles", "-Wl,-e,0", f"-Wl,-T,{script}")
        (folder / "table.c").write_text(
            f'{table} __attribute__((section(".table"), used)) char *const table[] = {{{listed}}};'
        )
        sources.append(folder / "table.c")
        core.run(
            *core.compile_flags(),
            "-O2",
            *place,
            *INCLUDE_FLAGS,
            *sources,
            "-o",
            folder / "core.elf",
        )
        self.uc = Uc(UC_ARCH_ARM, UC_MODE_THUMB | UC_MODE_MCLASS)
        self.uc.ctl_set_cpu_model(arm_const.UC_CPU_ARM_CORTEX_M0)
        self.uc.mem_map(0, SIZE)
        for at in (MEMORY, STACK):
            self.uc.mem_map(at, SIZE)
        for segment in read_elf(folder / "core.elf").segments:
            self.uc.mem_write(segment.address, bytes(segment.data))

    def call(self, function: str, *arguments: Array | int) -> None:
        """Arrays are pointers, to be left with the same content by both."""
        held = [a.copy() if isinstance(a, np.ndarray) else a for a in arguments]
        passed = [
            ctypes.c_void_p(a.ctypes.data) if isinstance(a, np.ndarray) else ctypes.c_int32(a)
            for a in held
        ]
        entry = getattr(self.desk, f"insitu_{function}")
        entry.restype = ctypes.c_uint32
        returned = entry(*passed)
        at, values = MEMORY, []
        for a in arguments:
            values.append(at if isinstance(a, np.ndarray) else a & 0xFFFFFFFF)
            if isinstance(a, np.ndarray):
                self.uc.mem_write(at, a.tobytes())
                at += (a.nbytes + 67) & ~3
        result = self._run(function, values)
        for value, a in zip(values, held, strict=True):
            if isinstance(a, np.ndarray):
                got = np.frombuffer(self.uc.mem_read(value, a.nbytes), a.dtype)
                np.testing.assert_array_equal(got, a.reshape(-1), err_msg=function)
        if function == "step_groups":
            assert result == returned

    def _run(self, function: str, values: list[int]) -> int:
        """Saved registers must come back as they were."""
        saved = [getattr(arm_const, f"UC_ARM_REG_R{k}") for k in range(4, 12)]
        for k, register in enumerate(saved):
            self.uc.reg_write(register, 0x1234 + k)
        for k, value in enumerate(values[:4]):
            self.uc.reg_write(getattr(arm_const, f"UC_ARM_REG_R{k}"), value)
        stack = STACK + SIZE // 2
        self.uc.mem_write(stack, np.asarray([*values[4:], 0], np.uint32).tobytes())
        self.uc.reg_write(arm_const.UC_ARM_REG_SP, stack)
        self.uc.reg_write(arm_const.UC_ARM_REG_LR, END | 1)
        table = np.frombuffer(self.uc.mem_read(0x8000, 4 * len(FUNCTIONS)), "<u4")
        self.uc.emu_start(int(table[FUNCTIONS.index(function)]) | 1, END, count=10**7)
        assert self.uc.reg_read(arm_const.UC_ARM_REG_PC) == END
        assert [self.uc.reg_read(r) for r in saved] == [0x1234 + k for k in range(8)]
        assert self.uc.reg_read(arm_const.UC_ARM_REG_SP) == stack
        return int(self.uc.reg_read(arm_const.UC_ARM_REG_R0))


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Both:
    return Both(tmp_path_factory.mktemp("both"))


def drawn(rng: np.random.Generator, low: int, high: int, size: int, kind: str) -> Array:
    """Over all of [low, high] or at its ends."""
    if kind == "ends":
        return rng.choice(np.asarray([low, high], np.int64), size)
    if kind == "top":
        return np.full(size, high, np.int64)
    return rng.integers(low, high + 1, size)


def _ends(bits: int) -> tuple[int, int]:
    return (-(2**bits), 2**bits) if bits < 31 else (-(2**31), 2**31 - 1)


CASES = st.tuples(st.integers(0, 2**32 - 1), st.sampled_from(["any", "ends", "top"]))


@given(case=CASES, terms=st.integers(1, 16), lines=st.integers(1, 4), count=st.integers(1, 3))
@settings(max_examples=examples(60))
def test_runs_are_the_same(
    case: tuple[int, str], terms: int, lines: int, count: int, both: Both
) -> None:
    rng, kind = np.random.default_rng(case[0]), case[1]
    skip, step, fresh = (int(v) for v in (rng.integers(0, 9), rng.integers(0, 40), case[0] % 2))
    w = drawn(rng, -127, 127, 4 * lines * 4 * terms, kind).astype(np.int64)
    packed = np.zeros((len(w) // 4, 3), np.uint32)
    for j in range(3):
        packed[:, j] = (w[j::4] + (w[3::4] << (24 - 8 * j))) & 0xFFFFFFFF
    sums = rng.integers(-(2**31), 2**31, 4 * count).astype(np.int32)
    reach = lines * (4 * terms + skip) + count * step
    for function, b, kinds in (
        ("microkernel_1x4_u8", packed, ("u1", 255)),
        ("microkernel_1x4_u16", w.astype(np.int32), ("u2", 2**15)),
    ):
        size = int(kinds[0][1])
        run = np.asarray(
            [count, 4 * terms, lines, size * skip, size * step, 16, 0, fresh], np.int32
        )
        a = drawn(rng, 0, kinds[1], reach, kind).astype(kinds[0])
        both.call(function, run, a, b, sums)
    stride, many = int(rng.integers(1, 7)), int(rng.integers(1, 4 * lines * terms + 1))
    run = np.asarray([count, many, 1, 0, 1, 16, stride, fresh], np.int32)
    a = drawn(rng, -127, 127, many * stride + count, kind).astype(np.int8)
    both.call("microkernel_1x4_strided", run, a, packed, sums)


@given(case=CASES, zero=st.integers(-128, 127), shift=st.sampled_from([0, 0, 0, 1, 13]))
@settings(max_examples=examples(60))
def test_finishing_is_the_same(case: tuple[int, str], zero: int, shift: int, both: Both) -> None:
    rng, kind = np.random.default_rng(case[0]), case[1]
    low, high = sorted(int(v) for v in rng.integers(-128, 128, 2))
    lowest, highest = -int(rng.integers(0, 300)), int(rng.integers(0, 300))
    count, step = int(rng.integers(1, 40)), int(rng.integers(1, 5))
    size = int(rng.integers(4, 32))
    sums = drawn(rng, *_ends(size), 4 * count, kind)
    for multiplier in (
        0,
        1,
        0xFFFF,
        2**31 - 1,
        int(rng.integers(0, 2 ** int(rng.integers(1, 32)))),
    ):
        offset = int(rng.integers(-(2**20), 2**20)) if size < 31 else 0
        bounds = [zero, low - zero, high - zero, lowest, highest, step]
        output = np.asarray([multiplier, offset, shift, *bounds], np.int32)
        both.call("epilogue_channel", output, count, sums.astype(np.int32), np.zeros(256, np.int8))


@given(case=CASES, groups=st.integers(1, 9))
@settings(max_examples=examples(60))
def test_steps_are_the_same(case: tuple[int, str], groups: int, both: Both) -> None:
    rng, kind = np.random.default_rng(case[0]), case[1]
    size = int(rng.integers(8, 32))
    gradient = drawn(rng, *_ends(size), 4 * groups, kind).astype(np.int32)
    w = drawn(rng, -127, 127, 4 * groups, "any").astype(np.int8)
    for multiplier in (0, 0xFFFF, 2**31 - 1, int(rng.integers(0, 2 ** int(rng.integers(1, 32))))):
        state = int(rng.integers(1, 2**31))
        both.call("step_groups", groups, multiplier, gradient, state, w)
        both.call("step_part", 1 + groups % 4, multiplier, gradient, state, w)


@given(case=CASES, count=st.integers(1, 256))
@settings(max_examples=examples(60))
def test_packing_is_the_same(case: tuple[int, str], count: int, both: Both) -> None:
    rng, kind = np.random.default_rng(case[0]), case[1]
    x = drawn(rng, -128, 127, 1500, kind).astype(np.int8)
    step, *lanes = (int(v) for v in rng.integers(0, 5, 4))
    offset = rng.integers(0, 2**32, 3).astype(np.uint32).view(np.int32)
    fours = np.asarray([count, step, *lanes, *offset], np.int32)
    both.call("pack_fours", fours, x, np.zeros(3 * count, np.int32))
    w = drawn(rng, -127, 127, 4 * count, kind).reshape(-1, 4)
    words = (w[:, :3] + (w[:, 3:] << np.asarray([24, 16, 8]))) & 0xFFFFFFFF
    total = rng.integers(-(2**20), 2**20, 4).astype(np.int32)
    both.call("sum_fours", count, words.astype(np.uint32).reshape(-1), total)
    begin = rng.integers(0, 1400, count).astype(np.int32)
    both.call("widen_fours", begin, count, x, np.zeros(4 * count, np.int32), total)
    shift, factor = int(rng.integers(8, 16)), drawn(rng, 0, 2**15, count, kind)
    raised = (2**14 << shift) + (1 << (shift - 1))
    errors = np.zeros(count, np.uint16)
    both.call("offset_errors", count, x, factor.astype(np.int32), shift, raised, errors)
    at = int(rng.integers(0, 4))
    both.call("offset_bytes", count, x[at:].copy(), np.zeros(count, np.uint8))
