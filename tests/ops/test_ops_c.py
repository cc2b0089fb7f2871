"""Does the generated C do bit for bit what the integer reference does, on the desk and on cores?

Each case is a network whose C is generated, so that every kernel is called as users' models call
it. The harness poisons the arena; the state after the stream holds every weight, bias and range.
"""

from __future__ import annotations

import numpy as np
import pytest
from case_layers import Case
from case_models import Compiled, HostBuilder, known_case, run_reference
from cases import CASES, MAP, ZOO
from cores import CORES, assert_same, run_on_core
from hypothesis import given, settings
from hypothesis import strategies as st
from made_cases import examples, networks

from insitu.graph.scheme import Scheme

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


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> HostBuilder:
    return HostBuilder(tmp_path_factory.mktemp("host"))


@pytest.mark.parametrize("case", CASES)
def test_c_on_the_desk_equals_the_reference(case: str, host: HostBuilder) -> None:
    compiled = known_case(CASES[case])
    stream = compiled.stream(RECORDS)
    model = host.library(compiled)
    assert_same(compiled.step, stream, model.run(stream))


@pytest.mark.parametrize("case", ["zoo-2d", "ends-in-average", "clip-after-average", "linear"])
def test_scores_in_c_equal_the_reference(case: str, host: HostBuilder) -> None:
    compiled = known_case(CASES[case])
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
def test_c_on_a_core_equals_the_reference(case: str, machine: str, name: str) -> None:
    compiled = known_case(CASES[case])
    stream = compiled.stream(RECORDS)
    assert_same(compiled.step, stream, run_on_core(compiled, stream, machine, name))


@given(case=networks())
@settings(max_examples=examples(4))
def test_any_network_on_helium_equals_the_reference(case: Case) -> None:
    compiled = Compiled(case)
    stream = compiled.stream(6)
    assert_same(compiled.step, stream, run_on_core(compiled, stream, "cortex-m55-fpu", None))


@pytest.mark.parametrize("machine", ["cortex-m0plus", "cortex-m4-fpu"])
@pytest.mark.parametrize("scheme", TARGET_SCHEMES)
def test_c_with_targets_on_a_core_equals_the_reference(scheme: str, machine: str) -> None:
    compiled = known_case(MAP, TARGET_SCHEMES[scheme])
    stream = compiled.stream(RECORDS)
    assert_same(compiled.step, stream, run_on_core(compiled, stream, machine, "gcc"))


@given(case=networks(), machine=st.sampled_from(CORES))
@settings(max_examples=examples(10))
def test_c_of_any_network_on_a_core_equals_the_reference(case: Case, machine: str) -> None:
    compiled = Compiled(case)
    stream = compiled.stream(8)
    assert_same(compiled.step, stream, run_on_core(compiled, stream, machine, None))
