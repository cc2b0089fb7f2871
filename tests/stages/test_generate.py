"""Is the generated C legal, strict, the same every time, and at home beside other models?"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builds import host_library
from case_layers import FLATTEN, RELU, Case, conv, linear, max_pool
from case_models import Compiled, HostBuilder, run_reference
from cases import CASES
from fakes import toolchain_or_skip
from sanitized import run_sanitized

from insitu.errors import ConfigError
from insitu.generate import generate
from insitu.generate.c_text import array_initializer, c_names, comment, literal
from insitu.graph.model import Array
from insitu.run.stream import Stream
from insitu.runtime import HEADERS
from insitu.tools.compilers import SANITIZE_FLAGS, find_toolchain, sanitizer_environment

STRICT = (
    *("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wstrict-prototypes"),
    *("-Wmissing-prototypes", "-Wundef", "-Wdouble-promotion", "-Werror", "-pedantic"),
)


def sources_of(compiled: Compiled, name: str = "model") -> Mapping[str, str]:
    return generate(compiled.step, compiled.plan, name).files


# text


def test_the_same_network_gives_the_same_text() -> None:
    first, again = (sources_of(Compiled(CASES["zoo-2d"])) for _ in range(2))
    assert first == again


@pytest.mark.parametrize("case", ["zoo-2d", "zoo-frozen", "linear-wide"])
def test_the_text_is_ascii_of_at_most_100_columns(case: str) -> None:
    for name, text in sources_of(Compiled(CASES[case])).items():
        assert text.isascii()
        assert max(map(len, text.splitlines())) <= 100, name
        assert text.endswith("\n")


def test_every_call_is_commented_with_its_node_and_marked_for_the_profile() -> None:
    compiled = Compiled(CASES["zoo-2d"])
    text = sources_of(compiled)["insitu_model.c"]
    for index, node in enumerate(compiled.step.nodes):
        assert f"INSITU_PROFILE({index});" in text
        assert f"/* {node.name}: " in text


def test_frozen_weights_are_constants_and_trained_ones_are_state() -> None:
    compiled = Compiled(CASES["last-1"])
    files = sources_of(compiled)
    struct = r"typedef struct \{(.*?)\} insitu_model_state_t;"
    state = re.search(struct, files["insitu_model.h"], re.DOTALL)
    assert state is not None
    assert "linear9_w" in state.group(1)
    assert "conv1_w" not in state.group(1)
    assert "const int8_t insitu_model_conv1_w[" in files["insitu_model_data.c"]
    assert "const int8_t insitu_model_linear9_w[" not in files["insitu_model_data.c"]


# names and numbers

NAMES = {
    "keyword": "int",
    "path": "a.b/c",
    "unicode": "größe",
    "other-script": "卷积",
    "digit": "1",
    "underscore": "_",
    "end-of-comment": "a*/b",
    "start-of-comment": "a/*b",
    "line": "a\nb",
    "backslash": "a\\",
    "the-input": "x",
    "the-label": "label",
    "a-variable": "state",
    "a-function": "forward",
    "a-type": "int8_t",
    "quotes": 'a"b',
    "spaces": "a  b",
}


def named(*names: str) -> Case:
    """A network whose layers are called so, as far as there are names."""
    layers = [conv(2), RELU, max_pool(), FLATTEN, linear(4), RELU, linear(3)]
    places = [0, 4, 6, 2]
    for place, name in zip(places, names, strict=False):
        layers[place] = replace(layers[place], name=name)
    return Case((6, 6, 1), tuple(layers))


@pytest.mark.toolchain
@pytest.mark.parametrize("name", NAMES)
def test_a_layer_of_any_name_compiles_and_runs(name: str, tmp_path: Path) -> None:
    compiled = Compiled(named(NAMES[name]))
    stream = compiled.stream(4)
    result = HostBuilder(tmp_path, flags=STRICT).library(compiled).run(stream)
    assert result.state == run_reference(compiled.step, stream).state


@pytest.mark.toolchain
def test_names_that_differ_only_in_what_c_forbids_stay_apart(tmp_path: Path) -> None:
    compiled = Compiled(named("a.b", "a/b", "a_b", "a b"))
    stream = compiled.stream(4)
    result = HostBuilder(tmp_path, flags=STRICT).library(compiled).run(stream)
    assert result.state == run_reference(compiled.step, stream).state


def test_identifiers_are_legal_unique_and_alike() -> None:
    wanted = ["conv1.w", "conv1/w", "conv1_w", "int", "größe", "", "1", "_x", "seed"]
    names = c_names(wanted)
    assert names["conv1.w"] == "conv1_w"
    assert len(set(names.values())) == len(wanted)
    assert all(re.fullmatch(r"[a-z][A-Za-z0-9_]*", name) for name in names.values())
    assert not {"int", "seed"} & set(names.values())


def test_a_comment_cannot_be_left() -> None:
    for text in NAMES.values():
        inside = comment(text)
        assert "*/" not in inside and "/*" not in inside
        assert inside.isascii() and "\n" not in inside


@pytest.mark.parametrize(
    "name",
    [
        *("", "1a", "a-b", "a b", "größe", "Big", "a" * 41),
        *("info", "status", "qparams", "kernels", "conv_params", "host", "kernels_f32", "a_data"),
    ],
)
def test_a_model_name_that_makes_no_symbols_of_its_own_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f'model name "{name}"'):
        sources_of(Compiled(CASES["linear"]), name)


def test_every_type_and_file_of_the_runtime_is_refused_as_a_model() -> None:
    """A model NAME makes insitu_NAME_t and insitu_NAME.h."""
    headers = HEADERS
    types = {t for h in headers for t in re.findall(r"\} insitu_(\w+)_t;", h.read_text())}
    files = {h.stem.removeprefix("insitu_") for h in headers} - {"insitu"}
    compiled = Compiled(CASES["linear"])
    for name in types | files:
        with pytest.raises(ConfigError):
            sources_of(compiled, name)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.0, "1.0f"),
        (0.1, "0.100000001f"),
        (1e-20, "9.99999968e-21f"),
        (1e10, "1e+10f"),
        (float("inf"), "INSITU_NO_BOUND"),
        (-float("inf"), "-INSITU_NO_BOUND"),
        (-(2**31), "(-2147483647 - 1)"),
        (np.int8(-128), "-128"),
    ],
)
def test_a_number_is_written_so_that_c_reads_it_back(value: float, text: str) -> None:
    assert literal(value) == text


def test_floats_survive_the_way_through_the_text() -> None:
    bits = np.random.default_rng(0).integers(0, 2**32, 20_000, dtype=np.uint32)
    values = bits.view(np.float32)
    values = values[np.isfinite(values)]
    text = array_initializer(values).strip("{}\n ").replace("f", "")
    np.testing.assert_array_equal(np.asarray(text.split(","), np.float32), values)


# compilers

COMPILERS = {"gcc": "host", "clang": "host", "arm-gcc": "cortex-m4", "arm-gcc-m0": "cortex-m0plus"}


@pytest.mark.toolchain
@pytest.mark.parametrize("case", ["zoo-2d", "zoo-1d", "zoo-frozen", "last-1", "linear-alone"])
@pytest.mark.parametrize("compiler", COMPILERS)
def test_runtime_and_generated_c_compile_without_a_warning(
    compiler: str, case: str, tmp_path: Path
) -> None:
    target = COMPILERS[compiler]
    chosen = toolchain_or_skip(target, "clang" if compiler == "clang" else "gcc")
    Compiled(CASES[case]).write(tmp_path)
    folders = (f"-I{tmp_path}", f"-I{tmp_path / 'runtime'}")
    for source in [*tmp_path.glob("*.c"), *(tmp_path / "runtime").glob("*.c")]:
        flags = (*chosen.compile_flags(), *STRICT, "-O2", *folders)
        chosen.run(*flags, "-c", source, "-o", tmp_path / "out.o")


@pytest.mark.toolchain
def test_headers_are_c_plus_plus_too(tmp_path: Path) -> None:
    """Firmware is often written in it."""
    gcc = toolchain_or_skip("host", "gcc")
    Compiled(CASES["zoo-2d"]).write(tmp_path)
    source = tmp_path / "user.cpp"
    source.write_text('#include "insitu_model.h"\ninsitu_model_t model;\n')
    flags = ("-x", "c++", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-pedantic")
    gcc.run(*flags, f"-I{tmp_path / 'runtime'}", source)


SANITIZED = ["zoo-2d", "zoo-groups", "conv-windows-of-padding"]


@pytest.mark.toolchain
@pytest.mark.parametrize("case", SANITIZED)
def test_the_sanitizers_find_nothing(case: str) -> None:
    gcc = toolchain_or_skip("host", "gcc")
    assert "undefined" in SANITIZE_FLAGS[0]
    compiled = Compiled(CASES[case])
    library = host_library(compiled.source(), gcc, sanitize=True, portable=True)
    stream = compiled.stream(16)
    digest, said = run_sanitized(library, "model", stream, sanitizer_environment(gcc))
    assert said == ""
    assert digest == run_reference(compiled.step, stream).sha256


# two models


@pytest.mark.toolchain
def test_two_models_run_side_by_side_in_one_arena(tmp_path: Path) -> None:
    toolchain = find_toolchain("host")
    cases = {"first": CASES["zoo-frozen"], "second": replace(CASES["last-2"], shape=(8, 8, 1))}
    models = {name: Compiled(case) for name, case in cases.items()}
    for name, compiled in models.items():
        compiled.write(tmp_path, name)
    library = tmp_path / "both.so"
    sources = [*tmp_path.glob("*.c"), *(tmp_path / "runtime").glob("*.c")]
    toolchain.run(
        *(*toolchain.compile_flags(), *toolchain.link_flags(), "-O1", *STRICT),
        *(f"-I{tmp_path}", f"-I{tmp_path / 'runtime'}", "-o", library),
        *(*sources, Path(__file__).parents[1] / "c/two_models.c"),
    )
    rng, n = np.random.default_rng(9), 20
    x = rng.integers(-128, 128, (n, 64)).astype(np.int8)
    labels = rng.integers(0, 2, n).astype(np.int32)
    states = [np.empty(m.layout.nbytes, np.uint8) for m in models.values()]
    arrays: list[Array] = [x, labels, *states]
    pointers = [a.ctypes.data_as(ctypes.c_void_p) for a in arrays]
    ctypes.CDLL(str(library)).run_both(*pointers[:2], n, *pointers[2:])
    settings = zip(models.values(), states, (0.1, 0.05), (1, 2), strict=True)
    for compiled, state, rate, seed in settings:
        alone = Stream(x=x, labels=labels, rates=np.full(n, rate, np.float32), seed=seed)
        assert state.tobytes() == run_reference(compiled.step, alone).state
