"""Do the twin's x86 kernels compute what the portable C computes, bit for bit?

Whole networks are trained with both, and the state structs compared: with every compiler there
is, with AVX-512 where the machine has it, with AVX2 alone and without either.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builds import host_library
from case_layers import (
    ALL_1,
    FLATTEN,
    HEAD,
    NONE,
    RELU,
    RELU6,
    Case,
    clip,
    conv,
    grouped,
    linear,
    max_pool,
)
from case_models import Compiled, HostBuilder
from fakes import toolchain_or_skip
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from made_cases import output_shape
from sanitized import run_sanitized

from insitu.firmware.build import build_host
from insitu.run.stream import Stream
from insitu.run.twin_library import TwinLibrary
from insitu.runtime import FILES, PORTS
from insitu.tools.compilers import Toolchain, sanitizer_environment

pytestmark = [
    pytest.mark.toolchain,
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="the kernels are for x86-64"),
]

KERNELS = PORTS / "host" / "x86"
assert {path.name for path in KERNELS.glob("*.c")} <= set(FILES), "a kernel replaces no other"
BELOW_0 = clip(-1.0, 0.0)
"""Its output has the zero point 127, as a ReLU's has -128."""

CASES = {
    "rows-of-9": Case((11, 10, 1), (conv(16, padding=ALL_1), RELU, conv(9), RELU, *HEAD)),
    "rows-of-15": Case((6, 7, 5), (conv(8, (1, 3)), RELU, conv(7, (3, 1)), RELU, *HEAD)),
    "rows-of-16": Case((7, 7, 4), (conv(16, (2, 2)), RELU, conv(8, (1, 1)), RELU, *HEAD)),
    "rows-of-17": Case((4, 5, 17), (conv(24, (1, 1)), RELU, conv(11, (1, 1)), RELU, *HEAD)),
    "7-rows": Case((6, 6, 8), (conv(7), RELU, conv(7, padding=ALL_1), RELU, *HEAD)),
    "8-rows": Case((9, 8, 8), (conv(8), RELU, conv(8, (2, 2), (2, 2)), RELU, *HEAD)),
    "1-row": Case((6, 6, 1), (conv(1), RELU, conv(1, (2, 3)), FLATTEN, linear(1), linear(2))),
    "12-channels": Case((6, 7, 12), (conv(13, padding=ALL_1), RELU, conv(12), RELU, *HEAD)),
    "strides": Case(
        (14, 17, 3), (conv(10, (3, 3), (3, 2), ALL_1), RELU, conv(16, (2, 2), (2, 3)), RELU, *HEAD)
    ),
    "asymmetric": Case(
        (7, 9, 2), (conv(9, (3, 4), (2, 1), (0, 3, 2, 1)), RELU6, conv(17, (2, 3)), RELU, *HEAD)
    ),
    "padding-over-map": Case(
        (2, 2, 3), (conv(9, (3, 3), padding=(4, 4, 4, 4)), RELU, conv(8, (5, 7)), RELU, *HEAD)
    ),
    "1x1-map": Case((1, 1, 9), (conv(16, (3, 3), padding=ALL_1), RELU, conv(8, (1, 1)), *HEAD)),
    "drops-bits": Case(
        (8, 7, 1), (conv(16, padding=ALL_1), RELU, conv(30, (7, 7), padding=(3, 3, 3, 3)), *HEAD)
    ),
    "1-d": Case(
        (1, 60, 1), (conv(16, (1, 7), (1, 2), (0, 3, 0, 2)), RELU, conv(20, (1, 5)), RELU, *HEAD)
    ),
    "zero-point-127": Case(
        (6, 7, 2), (conv(16), BELOW_0, conv(16, padding=ALL_1), BELOW_0, FLATTEN, linear(9), *HEAD)
    ),
    "depthwise": Case(
        (9, 8, 2),
        (
            *(conv(37, padding=ALL_1), RELU, grouped(37, 37, padding=ALL_1, stride=(2, 1)), RELU),
            *(grouped(37, 37, (5, 3), padding=(3, 0, 2, 1), dilation=(1, 2)), RELU, *HEAD),
        ),
    ),
    "depthwise-16": Case(
        (6, 5, 2), (conv(16, (1, 1)), RELU, grouped(16, 16, (3, 2)), BELOW_0, *HEAD)
    ),
    "many-rows": Case((3, 3, 8), (conv(67, padding=ALL_1), RELU, conv(130, (2, 2)), RELU, *HEAD)),
    "linear-rests": Case(
        (33,), (linear(65), RELU, linear(31), BELOW_0, linear(130), RELU, linear(9))
    ),
    "linear-short": Case((3,), (linear(15), RELU, linear(7), RELU, linear(2))),
    "linear-drops-bits": Case((40,), (linear(96), RELU, linear(1100), RELU, linear(3))),
    "no-errors": Case((6, 6, 3), (conv(9), RELU, FLATTEN, linear(8, weights="zero"), linear(3))),
    "dead-rows": Case((6, 6, 3), (conv(16, weights="zero-rows"), RELU, conv(9), RELU, *HEAD)),
    "saturates": Case(
        (6, 6, 3), (conv(16, weights="large"), RELU, conv(9, weights="large"), RELU, *HEAD)
    ),
    "tiny-rows": Case(
        (6, 6, 3), (conv(16, weights="tiny-rows"), clip(0.0, 0.1), conv(9), RELU, *HEAD)
    ),
    "pooled": Case((12, 12, 1), (conv(8), RELU, max_pool(), conv(16, (2, 2)), RELU, *HEAD)),
}
"""Around the blocks of the kernels: 8 rows, 8 and 16 weights, 64 columns, 64 rows."""


@pytest.fixture(scope="module")
def portable(tmp_path_factory: pytest.TempPathFactory) -> HostBuilder:
    return HostBuilder(tmp_path_factory.mktemp("portable"))


def fast(compiled: Compiled, name: str, cpu: str) -> TwinLibrary:
    """With the x86 kernels, which are their own portable versions where AVX2 is off."""
    toolchain = replace(toolchain_or_skip("host", name), cpu=cpu)
    return TwinLibrary(host_library(compiled.source(), toolchain), "model")


def outcome(library: TwinLibrary, stream: Stream) -> tuple[bytes, bytes, bytes]:
    result = library.run(stream)
    return result.state, result.losses.tobytes(), result.predicted.tobytes()


@pytest.fixture(scope="module")
def expected(portable: HostBuilder) -> Callable[[str], tuple[Compiled, tuple[bytes, bytes, bytes]]]:
    """The case by name, compiled, and what portable C makes of its stream."""
    known: dict[str, tuple[Compiled, tuple[bytes, bytes, bytes]]] = {}

    def run(case: str) -> tuple[Compiled, tuple[bytes, bytes, bytes]]:
        if case not in known:
            compiled = Compiled(CASES[case])
            known[case] = compiled, outcome(portable.library(compiled), compiled.stream(40))
        return known[case]

    return run


BUILDS = [
    *(("gcc", cpu, case) for cpu in ("native", "haswell") for case in CASES),
    *(
        (name, cpu, case)
        for name in ("clang", "zig")
        for cpu in ("native", "haswell")
        for case in ("rows-of-9", "strides", "asymmetric", "many-rows", "linear-rests")
    ),
    *((name, "x86-64", "asymmetric") for name in ("gcc", "clang", "zig")),
]
"""All cases with one compiler, some with the others, one with the portable C that is fallen to."""


@pytest.mark.parametrize(("toolchain", "cpu", "case"), BUILDS, ids=map("-".join, BUILDS))
def test_the_states_are_equal(
    toolchain: str,
    cpu: str,
    case: str,
    expected: Callable[[str], tuple[Compiled, tuple[bytes, bytes, bytes]]],
) -> None:
    compiled, states = expected(case)
    assert outcome(fast(compiled, toolchain, cpu), compiled.stream(40)) == states


def test_the_cases_train(
    expected: Callable[[str], tuple[Compiled, tuple[bytes, bytes, bytes]]], portable: HostBuilder
) -> None:
    """What has not moved proves nothing."""
    compiled, (state, _, _) = expected("asymmetric")
    initial = compiled.layout.unpack(portable.library(compiled).state)
    trained = compiled.layout.unpack(state)
    moved = {name for name in initial if not np.array_equal(initial[name], trained[name])}
    assert {"conv1.w", "conv1.bias", "conv3.w", "conv3.bias", "linear6.w", "generator"} <= moved


@st.composite
def networks(draw: st.DrawFn) -> Case:
    """Two convolutions of any geometry and two linear layers."""
    shape: tuple[int, ...] = (
        draw(st.integers(1, 9)),
        draw(st.integers(1, 9)),
        draw(st.sampled_from([1, 2, 3, 4, 7, 8, 9, 16, 17])),
    )
    first, chain = shape, []
    for _ in range(2):
        kernel = draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))
        padding = draw(st.one_of(st.just(NONE), st.tuples(*[st.integers(0, 3)] * 4)))
        assume(all(shape[a] + padding[a] + padding[a + 2] >= kernel[a] for a in range(2)))
        stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
        weights = draw(st.sampled_from(["normal", "zero-rows", "tiny-rows", "large"]))
        layer = conv(draw(st.integers(1, 20)), kernel, stride, padding, weights=weights)
        chain += [layer, draw(st.sampled_from([RELU, RELU6, BELOW_0, clip(-1.0, 1.0)]))]
        shape = output_shape(shape, layer)
        assume(np.prod(shape) <= 1000)
    chain += [FLATTEN, linear(draw(st.integers(1, 40))), RELU, linear(draw(st.integers(2, 9)))]
    return Case(first, tuple(chain), seed=draw(st.integers(0, 999)))


@pytest.mark.slow
@settings(max_examples=10)
@given(case=networks())
def test_the_states_of_any_network_are_equal(case: Case, portable: HostBuilder) -> None:
    compiled = Compiled(case)
    stream = compiled.stream(12)
    states = outcome(portable.library(compiled), stream)
    name = portable.toolchain.name
    for cpu in ("native", "haswell"):
        assert outcome(fast(compiled, name, cpu), stream) == states, cpu


# build_host


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    Compiled(CASES["asymmetric"]).write(folder)
    return folder


@pytest.fixture(scope="module")
def out_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out")


def trained(library: Path) -> str:
    """SHA-256 of the state after the case's stream."""
    state = TwinLibrary(library, "model").run(Compiled(CASES["asymmetric"]).stream(20)).state
    return hashlib.sha256(state).hexdigest()


def test_portable_is_another_build_of_the_same_model(model_dir: Path, out_dir: Path) -> None:
    libraries = [
        build_host(model_dir, "model", out_dir, portable=portable) for portable in (True, False)
    ]
    assert libraries[0] != libraries[1]
    assert trained(libraries[0]) == trained(libraries[1])


def test_another_processor_gets_another_build(model_dir: Path, out_dir: Path) -> None:
    gcc = toolchain_or_skip("host", "gcc")
    paths = {
        build_host(model_dir, "model", out_dir, toolchain=replace(gcc, cpu=cpu))
        for cpu in ("native", "haswell", "x86-64")
    }
    assert len(paths) == 3


def test_native_objects_belong_to_the_processor(
    model_dir: Path, out_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flags are the same on every machine, the instructions are not."""
    here = build_host(model_dir, "model", out_dir)
    monkeypatch.setattr(Toolchain, "processor", lambda self: "another machine")
    assert build_host(model_dir, "model", out_dir) != here


def test_objects_of_the_runtime_are_shared_and_no_others(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSITU_CACHE", str(tmp_path / "shared"))
    build_host(model_dir, "model", tmp_path / "one")
    kept = {path.name for path in (tmp_path / "shared/objects").iterdir()}
    build_host(model_dir, "model", tmp_path / "two")
    own = {path.name.partition("-")[0] for path in (tmp_path / "two/objects").iterdir()}
    assert {path.name for path in (tmp_path / "shared/objects").iterdir()} == kept
    assert own == {"insitu_model", "insitu_model_data", "host"}
    assert {name.partition("-")[0] for name in kept} >= {"conv", "linear", "rows"}


@pytest.mark.parametrize("file", ["conv.c", "insitu_kernels.h"])
def test_what_was_changed_by_hand_is_built_as_it_stands(
    file: str, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("INSITU_CACHE")
    folder = tmp_path / "changed"
    shutil.copytree(model_dir, folder)
    source = folder / "runtime" / file
    source.write_text(source.read_text() + "#define CHANGED_BY_HAND 1\n")
    build_host(folder, "model", tmp_path)
    portable = {path.stem for path in (tmp_path / "objects").glob("conv-*.o")}
    build_host(folder, "model", tmp_path, portable=True)
    now = {path.stem for path in (tmp_path / "objects").glob("conv-*.o")}
    assert len(portable) == 1 and (file != "insitu_kernels.h" or now == portable)


@pytest.mark.slow
@pytest.mark.parametrize("kernels", ["x86", "portable"])
@pytest.mark.parametrize("case", ["asymmetric", "rows-of-9", "linear-rests"])
def test_the_sanitizers_find_nothing(
    case: str,
    kernels: str,
    expected: Callable[[str], tuple[Compiled, tuple[bytes, bytes, bytes]]],
) -> None:
    chosen = toolchain_or_skip("host", "gcc")
    compiled, (state, _, _) = expected(case)
    library = host_library(compiled.source(), chosen, sanitize=True, portable=kernels == "portable")
    environment = sanitizer_environment(chosen)
    digest, said = run_sanitized(library, "model", compiled.stream(40), environment)
    assert digest == hashlib.sha256(state).hexdigest(), said
