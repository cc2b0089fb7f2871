"""Does the generated C do bit for bit what the integer reference does, on the desk and on cores?

Each case is a network whose C is generated, so that every kernel is called as users' models call
it. The harness poisons the arena; the state after the stream holds every weight, bias and range.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from case_layers import Case
from case_models import Compiled, HostBuilder, run_reference
from cases import CASES, MAP, ZOO
from fakes import MACHINES, board, emulator_or_skip, toolchain_or_skip
from hypothesis import given, settings
from hypothesis import strategies as st
from made_cases import examples, networks

from insitu.artifacts import RunResult
from insitu.config import parse_update
from insitu.firmware.build import build_firmware
from insitu.graph.model import Graph
from insitu.graph.scheme import Scheme
from insitu.ops.losses.table import TARGETS
from insitu.run import emulator
from insitu.run.stream import Stream
from insitu.runtime import FILES, KERNELS

pytestmark = pytest.mark.toolchain

RECORDS = 24
TARGET_SCHEMES = {
    "mse": Scheme(loss="mse", error_unit=1.3),
    "mse-skip": Scheme(loss="mse", error_unit=1.3, skip=0.6),
    "mse-float32": Scheme(loss="mse", precision="float32", skip=0.6),
    "mse-batch": Scheme(loss="mse", batch=3, momentum=0.5),
    "mse-paper": Scheme(loss="mse", preset="paper", batch=3, error_range="moving"),
    "bce": Scheme(loss="bce", skip=0.6),
    "bce-float32": Scheme(loss="bce", precision="float32", skip=0.6),
}
CORES = [
    "cortex-m0plus",
    "cortex-m3",
    "cortex-m4-fpu",
    "cortex-m7-fpu",
    "cortex-m33-fpu",
    "cortex-m55-fpu",
]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> HostBuilder:
    return HostBuilder(tmp_path_factory.mktemp("host"))


def assert_same(step: Graph, stream: Stream, result: RunResult) -> None:
    expected = run_reference(step, stream)
    np.testing.assert_array_equal(result.predicted, expected.predicted)
    np.testing.assert_array_equal(result.losses, expected.losses)
    assert result.state == expected.state


@pytest.mark.parametrize("case", CASES)
def test_c_on_the_desk_equals_the_reference(case: str, host: HostBuilder) -> None:
    compiled = Compiled(CASES[case])
    stream = compiled.stream(RECORDS)
    model = host.library(compiled)
    assert_same(compiled.step, stream, model.run(stream))


@pytest.mark.parametrize("case", ["zoo-2d", "ends-in-average", "clip-after-average", "linear"])
def test_scores_in_c_equal_the_reference(case: str, host: HostBuilder) -> None:
    compiled = Compiled(CASES[case])
    stream = compiled.stream(RECORDS)
    model = host.library(compiled)
    model.run(stream)
    scores, _ = model.predict(stream.x)
    reference = run_reference(compiled.step, stream).reference
    shape = compiled.step.tensors[compiled.step.inputs[0]].shape
    for x, got in zip(stream.x, scores, strict=True):
        np.testing.assert_array_equal(got, reference.predict(x.reshape(shape)).reshape(-1))


@pytest.mark.parametrize("scheme", TARGET_SCHEMES)
@pytest.mark.parametrize("case", ["linear", "linear-alone", "ends-in-average", "map"])
def test_c_with_targets_equals_the_reference(case: str, scheme: str, host: HostBuilder) -> None:
    compiled = Compiled({**CASES, "map": MAP}[case], TARGET_SCHEMES[scheme])
    stream = compiled.stream(RECORDS)
    assert_same(compiled.step, stream, host.library(compiled).run(stream))


@given(case=networks())
@settings(max_examples=examples(40))
def test_c_of_any_network_equals_the_reference(case: Case, host: HostBuilder) -> None:
    compiled = Compiled(case)
    stream = compiled.stream(12)
    assert_same(compiled.step, stream, host.library(compiled).run(stream))


def run_on_core(
    compiled: Compiled, stream: Stream, machine: str, name: str | None, folder: Path
) -> RunResult:
    core, fpu = MACHINES[machine]
    toolchain = toolchain_or_skip(core, name)
    emulator_or_skip(core)
    compiled.write(folder / "source")
    made = board(core, fpu=fpu)
    firmware = build_firmware(
        folder / "source", "model", made, folder, toolchain=toolchain, limits=False
    )
    return emulator.run(firmware, stream)


ON_CORES = [
    *((case, machine, "gcc") for case in ZOO for machine in CORES),
    *(
        (case, machine, "zig")
        for case in ("zoo-2d", "zoo-groups", "zoo-depthwise", "zoo-pools")
        for machine in CORES
    ),
    *(
        ("conv-tiles", machine, name)
        for machine in (*CORES[::2], "cortex-m55-fpu")
        for name in ("gcc", "zig")
    ),
]


@pytest.mark.parametrize(("case", "machine", "name"), ON_CORES)
def test_c_on_a_core_equals_the_reference(
    case: str, machine: str, name: str, tmp_path: Path
) -> None:
    compiled = Compiled(CASES[case])
    stream = compiled.stream(RECORDS)
    assert_same(compiled.step, stream, run_on_core(compiled, stream, machine, name, tmp_path))


@given(case=networks())
@settings(max_examples=examples(4))
def test_any_network_on_helium_equals_the_reference(
    case: Case, tmp_path_factory: pytest.TempPathFactory
) -> None:
    compiled = Compiled(case)
    stream, folder = compiled.stream(6), tmp_path_factory.mktemp("core")
    assert_same(
        compiled.step, stream, run_on_core(compiled, stream, "cortex-m55-fpu", None, folder)
    )


@pytest.mark.parametrize("machine", ["cortex-m0plus", "cortex-m4-fpu"])
@pytest.mark.parametrize("scheme", TARGET_SCHEMES)
def test_c_with_targets_on_a_core_equals_the_reference(
    scheme: str, machine: str, tmp_path: Path
) -> None:
    compiled = Compiled(MAP, TARGET_SCHEMES[scheme])
    stream = compiled.stream(RECORDS)
    assert_same(compiled.step, stream, run_on_core(compiled, stream, machine, "gcc", tmp_path))


@given(case=networks(), machine=st.sampled_from(CORES))
@settings(max_examples=examples(10))
def test_c_of_any_network_on_a_core_equals_the_reference(
    case: Case, machine: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    compiled = Compiled(case)
    stream = compiled.stream(8)
    result = run_on_core(compiled, stream, machine, None, tmp_path_factory.mktemp("core"))
    assert_same(compiled.step, stream, result)


# what the references call is what the header declares

DECLARED = "".join(
    FILES[f"insitu_{name}.h"].read_text()
    for name in (
        *("kernels", "losses", "kernels_f32", "kernels_groups", "kernels_mixing", "activation"),
    )
)
DEFINED = "".join(path.read_text() for path in KERNELS)
HEADER = re.sub(r"/\*.*?\*/", "", DECLARED, flags=re.DOTALL)
NOT_NODES = {
    "insitu_function_t",
    "insitu_quantize_input_f32",
    "insitu_argmax_f32",
    "insitu_within_f32",
    "insitu_conv_row_gradient",
    "insitu_conv_groups_gradient",
    "insitu_rows_at_once",
    "insitu_saturated_weights",
    "insitu_add_row",
    "insitu_add_bias",
    "insitu_conv_row_gradient_f32",
    "insitu_add_products_f32",
    "insitu_rows_times_f32",
    "insitu_rows_times_two_f32",
    "insitu_scale_f32",
}
"""What the generated functions call around the nodes, and kernels each other."""

OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"batch": 2},
    {"batch": 2, "buffer": "int16"},
    {"weight_decay": 0.1},
    {"partial": parse_update("dynamic:0.5:1")},
    {"partial": parse_update("sampled:0.5:1")},
    {"partial": parse_update("static:*=0.5")},
    {"partial": parse_update("bias")},
)
SCHEMES = (
    *(Scheme(precision=p, **o) for p in ("uint8", "float32") for o in OPTIONS),
    Scheme(preset="paper", batch=2),
    Scheme(preset="paper", batch=2, error_range="moving"),
)


def struct_fields() -> dict[str, list[tuple[str, str]]]:
    """(type, field) in order, by type name."""
    structs = {}
    for body, name in re.findall(r"typedef struct \{(.*?)\} (\w+);", HEADER, flags=re.DOTALL):
        fields = []
        for line in body.split(";"):
            if line.strip():
                kind, names = line.strip().split(maxsplit=1)
                fields += [(kind, field.strip()) for field in names.split(",")]
        structs[name] = fields
    return structs


STRUCTS = struct_fields()
DECLARED_KERNELS = sorted(set(re.findall(r"\b(insitu_\w+)\(", HEADER)) - NOT_NODES)


@functools.cache
def all_calls() -> dict[str, CCall]:
    """Of the ops of many networks, by function."""
    return {
        call.function: call
        for case, schemes in (
            *((case, SCHEMES[: len(OPTIONS) * 2]) for case in ZOO.values()),
            (CASES["linear-clipped-scores"], SCHEMES[:1]),
            (CASES["max"], SCHEMES[:1]),
            (CASES["last-1"], SCHEMES[:1]),
            (CASES["max"], SCHEMES[-2:]),
            (CASES["conv-odd"], (*SCHEMES[-2:], Scheme(precision="mixed"))),
            (CASES["linear"], SCHEMES[-2:]),
            (MAP, [Scheme(loss=loss, precision=p) for loss in TARGETS for p in PRECISIONS]),
        )
        for scheme in schemes
        for step in [Compiled(case, scheme).step]
        for node in step.nodes
        if node.op.c_call is not None
        for call in [node.op.c_call(node, step)]
    }


def assert_fields(params: Any, name: str) -> None:
    assert list(params) == [field for _, field in STRUCTS[name]], name
    for kind, field in STRUCTS[name]:
        if kind in STRUCTS:
            assert_fields(params[field], kind)
        else:
            assert isinstance(params[field], float) == (kind == "float"), f"{name}.{field}"


@pytest.mark.parametrize("function", sorted(ALL_CALLS))
def test_a_call_gives_every_field_of_its_struct_in_order(function: str) -> None:
    """A designated initialiser that leaves a field out would silently be zero."""
    call = ALL_CALLS[function]
    if call.params_type:
        assert_fields(call.params, call.params_type)
    else:
        assert not call.params


def parameters(function: str) -> list[str]:
    found = re.search(rf"\b{function}\((.*?)\);", HEADER, flags=re.DOTALL)
    assert found, f"{function} is not declared"
    return [" ".join(p.split()) for p in found.group(1).split(",")]


@pytest.mark.parametrize("function", sorted(ALL_CALLS))
def test_a_call_gives_every_argument_that_is_declared(function: str) -> None:
    """What starts with ? is a quantization, with ! scratch; the parameter struct comes first."""
    call, declared = ALL_CALLS[function], parameters(function)
    if call.params_type:
        first = declared.pop(0)
        assert first == f"const {call.params_type} *{first.split('*')[-1]}"
    assert len(call.arguments) == len(declared)
    for arguments, wanted in zip(call.arguments, declared, strict=True):
        argument = arguments[0] if isinstance(arguments, tuple) else arguments
        assert isinstance(arguments, tuple) == wanted.endswith("[]")
        assert argument.startswith("?") == wanted.startswith("const insitu_qparams_t *")
        assert argument.startswith("!") == (wanted == "void *scratch")


def test_every_declared_kernel_is_called_by_an_op() -> None:
    declared = set(re.findall(r"\b(insitu_\w+)\(", HEADER))
    assert declared - NOT_NODES == set(ALL_CALLS)


def test_every_kernel_that_an_op_calls_is_defined() -> None:
    defined = set(re.findall(r"^\w[\w *]*\b(insitu_\w+)\([^;{}]*\)\s*{", DEFINED, re.MULTILINE))
    assert {call.function for call in ALL_CALLS.values()} <= defined
