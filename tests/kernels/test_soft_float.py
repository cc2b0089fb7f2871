"""Is arithmetic on floats in integers that of IEEE 754, and all that there is without an FPU?

The oracle is the desk's float32.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from c_arithmetic import Harness, build
from case_models import Compiled
from cases import CASES
from fakes import toolchain_or_skip
from hypothesis import example, given
from hypothesis import strategies as st

from insitu.firmware.flags import optimization
from insitu.fixed_point import F32
from insitu.generate import generate
from insitu.graph.model import Array
from insitu.graph.scheme import Scheme
from insitu.runtime import INCLUDE_FLAGS, KERNELS, PORTS

pytestmark = pytest.mark.toolchain

N = 300_000

OF_TWO: dict[str, Callable[[Array, Array], Any]] = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "less": np.less,
    "at_most": np.less_equal,
    "greater": np.greater,
    "at_least": np.greater_equal,
    "equal": np.equal,
    "unordered": lambda a, b: np.isnan(a) | np.isnan(b),
}

SIZES = [0, 1, 2, 0x400000, 0x7FFFFE, 0x7FFFFF, 0x800000, 0x800001, 0x0C800000, 0x33800000]
SIZES += [0x33800001, 0x34000000, 0x3EFFFFFF, 0x3F000000, 0x3F7FFFFF, 0x3F800000, 0x3F800001]
SIZES += [0x3FC00000, 0x4B000000, 0x4B7FFFFF, 0x4EFFFFFF, 0x4F000000, 0x4F7FFFFF, 0x4F800000]
SIZES += [0x7E800000, 0x7EFFFFFF, 0x7F000000, 0x7F7FFFFE, 0x7F7FFFFF, 0x7F800000, 0x7FC00000]
EDGES = np.asarray([size | sign << 31 for size in SIZES for sign in (0, 1)], np.uint32)
"""Zeros, subnormal numbers, the least normal ones, about 2^-24, 1, 2^31 and 2^32, the largest."""


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Harness:
    folder: Path = tmp_path_factory.mktemp("c")
    return build(folder)


def same(got: Array, wanted: Array) -> None:
    """In every bit; of what is no number the bits are anyone's own."""
    if wanted.dtype != F32:
        np.testing.assert_array_equal(got, wanted)
        return
    number = ~np.isnan(wanted)
    np.testing.assert_array_equal(~np.isnan(got), number)
    np.testing.assert_array_equal(got.view(np.uint32)[number], wanted.view(np.uint32)[number])


def check_two(c: Harness, function: str, x: Array, y: Array) -> None:
    a, b = x.view(F32), y.view(F32)
    with np.errstate(all="ignore"):
        wanted = OF_TWO[function](a, b)
    wanted = wanted if wanted.dtype == F32 else wanted.astype(np.int32)
    out = np.empty_like(wanted)
    c(f"{function}_soft", len(a), a, b, out)
    same(out, wanted)


def operands(rng: np.random.Generator, kind: str) -> tuple[Array, Array]:
    """Bits[N] of two floats.

    Of any, of common sizes, with few bits set, so that products and sums have ties, of sizes so
    near that bits are lost, or subnormal.
    """
    x, y = rng.integers(0, 2**32, (2, N), dtype=np.uint32)
    if kind in ("common", "few bits", "near"):
        exponents = rng.integers(60, 190, (2, N), dtype=np.uint32)
        if kind != "common":
            exponents[1] = exponents[0] + rng.integers(-27, 28, N).astype(np.uint32)
        x = x & np.uint32(0x807FFFFF) | exponents[0] << np.uint32(23)
        y = y & np.uint32(0x807FFFFF) | exponents[1] << np.uint32(23)
    if kind == "few bits":
        x, y = x & np.uint32(0xFFFFF001), y & np.uint32(0xFFFFF000)
    if kind == "subnormal":
        x, y = x & np.uint32(0x81FFFFFF), y & np.uint32(0x81FFFFFF)
    return x, y


@pytest.mark.parametrize("function", OF_TWO)
def test_an_operation_at_every_edge_is_that_of_the_desk(c: Harness, function: str) -> None:
    check_two(c, function, np.repeat(EDGES, len(EDGES)), np.tile(EDGES, len(EDGES)))


@pytest.mark.parametrize("kind", ["any", "common", "few bits", "near", "subnormal"])
@pytest.mark.parametrize("function", OF_TWO)
def test_an_operation_on_two_floats_is_that_of_the_desk(
    c: Harness, function: str, kind: str
) -> None:
    check_two(c, function, *operands(np.random.default_rng(3), kind))


bits = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("function", OF_TWO)
@given(x=bits, difference=st.integers(-(2**28), 2**28) | bits)
@example(x=0x00800000, difference=-1)
@example(x=0x3F800000, difference=-(25 << 23))
def test_any_two_floats_and_near_ones(c: Harness, function: str, x: int, difference: int) -> None:
    y = (x + difference) % 2**32
    signs = np.asarray([0, 0, 1, 1], np.uint32) << np.uint32(31)
    others = np.asarray([0, 1, 0, 1], np.uint32) << np.uint32(31)
    check_two(c, function, np.uint32(x) ^ signs, np.uint32(y) ^ others)


def check_float_of(c: Harness, kind: str, values: Array) -> None:
    out = np.empty(len(values), F32)
    c(f"float_of_{kind}_soft", len(values), values, out)
    same(out, values.astype(F32))


@pytest.mark.parametrize(
    ("kind", "dtype"), [("int", np.int32), ("unsigned", np.uint32), ("long", np.int64)]
)
def test_a_float_of_an_integer_is_that_of_the_desk(c: Harness, kind: str, dtype: Any) -> None:
    """Of every size; ties; a power of two less one, which rounds up to it."""
    width = np.iinfo(dtype).bits
    rng = np.random.default_rng(4)
    of_any_size = rng.integers(0, 2**63, N, np.uint64) >> rng.integers(0, width, N, np.uint64)
    powers = np.uint64(1) << np.arange(width, dtype=np.uint64)
    odd = np.concatenate([powers, powers - np.uint64(1), powers + np.uint64(1)])
    ties = np.concatenate([(odd << np.uint64(k)) + np.uint64(3) for k in range(2, 40)])
    values = np.concatenate([of_any_size, odd, ties, ties - np.uint64(3)]).astype(dtype)
    check_float_of(c, kind, values)
    check_float_of(c, kind, np.zeros(1, dtype) - values)


@pytest.mark.parametrize(("kind", "dtype"), [("int", np.int32), ("unsigned", np.uint32)])
def test_an_integer_of_a_float_is_cut_and_held(c: Harness, kind: str, dtype: Any) -> None:
    x = np.concatenate([EDGES, *operands(np.random.default_rng(5), "common")])
    v, out = x.view(F32), np.empty(len(x), dtype)
    c(f"{kind}_of_float_soft", len(x), v, out)
    ends = np.iinfo(dtype)
    held = np.clip(np.nan_to_num(v.astype(np.float64), nan=0.0), ends.min, ends.max)
    np.testing.assert_array_equal(out, np.trunc(held).astype(dtype))


# what a core without an FPU calls

NM = shutil.which("arm-none-eabi-nm")
OF_A_LIBRARY = re.compile(r"__(?:aeabi_(?:c?f|d|[iul]+2[fd]|\w2[fd])\w*|\w+[sdt]f[sdt]?[i23]?\w*)")


def undefined(folder: Path) -> set[str]:
    """What the objects in a folder refer to."""
    objects = sorted(map(str, folder.glob("*.o")))
    done = subprocess.run((str(NM), "-u", *objects), check=True, capture_output=True, text=True)
    return {line.split()[-1] for line in done.stdout.splitlines() if line.strip().startswith("U")}


@pytest.mark.skipif(NM is None, reason="arm-none-eabi-nm is not installed")
@pytest.mark.parametrize(
    ("core", "toolchain"),
    [("cortex-m0plus", "gcc"), ("cortex-m0plus", "zig"), ("cortex-m3", "gcc")],
)
def test_without_an_fpu_no_kernel_calls_a_library_for_floats(
    core: str, toolchain: str, tmp_path: Path
) -> None:
    chosen = toolchain_or_skip(core, toolchain)
    step = Compiled(CASES["zoo-2d"], Scheme(precision="float32", momentum=0.9))
    for name, text in generate(step.step, step.plan, "model").files.items():
        (tmp_path / Path(name).name).write_text(text)
    sources = [*KERNELS, tmp_path / "insitu_model.c"]
    system = str(PORTS / "cortex_m/include")
    flags = (*chosen.compile_flags(), f"-I{tmp_path}", "-isystem", system)
    for source in (path for path in sources if "float" in path.read_text()):
        arguments = (*flags, *optimization(source.name, core), *INCLUDE_FLAGS, "-c", str(source))
        chosen.run(*arguments, "-o", tmp_path / f"{source.stem}.o")
    called = undefined(tmp_path)
    assert {"insitu_add_soft", "insitu_float_of_int_soft"} <= called
    assert sorted(filter(OF_A_LIBRARY.match, called)) == []


def test_the_names_of_a_library_are_known() -> None:
    """Without this the test above could not fail."""
    theirs = "fadd fcmplt cfcmple i2f ui2f l2f f2iz f2uiz f2d dadd d2f h2f"
    assert all(OF_A_LIBRARY.match(f"__aeabi_{name}") for name in theirs.split())
    assert all(map(OF_A_LIBRARY.match, ("__addsf3", "__ltsf2", "__floatsisf", "__fixunssfsi")))
    assert not any(map(OF_A_LIBRARY.match, ("__aeabi_idivmod", "__aeabi_lmul", "__aeabi_memclr4")))
