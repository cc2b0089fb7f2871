"""Are float32 and mixed the same bits everywhere, and the step that the real numbers make?

The reference adds products one by one in the order of the C, so that integers and floats alike are
compared exactly. PyTorch is compared with in `test_float32_torch.py`.
"""

from __future__ import annotations

import hashlib
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from builds import host_library
from case_layers import RELU, Case, linear
from case_models import Compiled, HostBuilder, Outcome, known_case, run_reference, samples
from cases import CASES, ZOO
from cores import CORES, run_on_core
from fakes import MACHINES, board, toolchain_or_skip
from networks import NETWORKS
from sanitized import run_sanitized

import insitu
from insitu.artifacts import RunResult
from insitu.data.datasets import digits
from insitu.errors import ConfigError, DataError
from insitu.firmware.build import build_firmware
from insitu.generate import generate
from insitu.graph.evaluate import evaluate_float
from insitu.graph.model import Array, Graph, Kind, Value
from insitu.graph.names import LABEL, LEARNING_RATE
from insitu.graph.scheme import Scheme
from insitu.run import emulator
from insitu.run.reference import Reference
from insitu.run.stream import Stream
from insitu.tools.compilers import sanitizer_environment

FLOAT, MIXED = Scheme(precision="float32"), Scheme(precision="mixed")
SCHEMES = {"float32": FLOAT, "mixed": MIXED, "decay": Scheme(precision="float32", weight_decay=0.1)}
RECORDS = 24

NO_LINEAR_LAYER = {
    *(name for name in CASES if name.startswith("ends-in-")),
    *("first-only", "middle-only", "zoo-1d", "residual-behind-frozen"),
}
"""Cases in which "mixed" has nothing to keep in float."""


def assert_same(expected: Outcome, got: RunResult) -> None:
    np.testing.assert_array_equal(got.predicted, expected.predicted)
    np.testing.assert_array_equal(got.losses, expected.losses)
    assert got.state == expected.state


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> HostBuilder:
    return HostBuilder(tmp_path_factory.mktemp("host"))


# one step, in numbers


def float_step(compiled: Compiled, x: Array, label: int, dtype: Any) -> dict[str, Array]:
    """All values of a step by the ops' definitions in real numbers."""
    step = compiled.step
    data = {t.name: t.data.astype(dtype) for t in step.of_kind(Kind.STATE) if t.data is not None}
    given = {
        step.inputs[0]: x[None].astype(dtype),
        LABEL: np.asarray([label]),
        LEARNING_RATE: np.asarray([0.05], dtype),
    }
    return evaluate_float(step, {**data, **given})


def rounding(step: Graph, values: dict[str, Array]) -> float:
    """Bound of the difference of a step in float32 from that in real numbers.

    `terms` roundings lie on the way from the sample to a weight; each is at most 2^-24 of a sum of
    at most `terms` products of an activation or an error with a weight or each other.
    """
    numbers = [np.abs(v).max() for n, v in values.items() if step.tensors[n].dtype == "float32"]
    layers = [t for t in step.tensors.values() if t.name.endswith(".w")]
    terms = sum(t.size // t.shape[0] + t.shape[0] for t in layers) + max(
        t.size // t.shape[-1] for t in step.tensors.values()
    )
    return float(terms * 2.0**-24 * max(1.0, *numbers) ** 2)


@pytest.mark.parametrize("case", [c for c in CASES if not c.startswith("input-")])
def test_a_step_is_that_of_the_real_numbers(case: str) -> None:
    compiled = Compiled(CASES[case], FLOAT)
    x = samples(CASES[case], 1)[0]
    reference = Reference(compiled.step)
    reference.train_step(x, 1, 0.05)
    expected = float_step(compiled, x, 1, np.float64)
    bound = rounding(compiled.step, expected)
    for name, value in reference.state.items():
        if name.endswith((".w", ".bias")):
            assert np.abs(value - expected[name]).max() <= bound, name


# the same bits everywhere


ON_THE_DESK = [
    *((case, "float32") for case in CASES),
    *((case, "mixed") for case in CASES if case not in NO_LINEAR_LAYER),
    *((case, "decay") for case in ZOO),
]


@pytest.mark.toolchain
@pytest.mark.parametrize(("case", "precision"), ON_THE_DESK)
def test_c_on_the_desk_equals_the_reference(case: str, precision: str, host: HostBuilder) -> None:
    compiled = known_case(CASES[case], SCHEMES[precision])
    stream = compiled.stream(RECORDS)
    assert_same(run_reference(compiled.step, stream), host.library(compiled).run(stream))


WINDOWS = ("conv-padding-over-map", "conv-windows-of-padding", "conv-stride-over-kernel", "conv-1d")


@pytest.mark.toolchain
@pytest.mark.parametrize(
    ("case", "precision"),
    [*((c, "float32") for c in (*ZOO, *WINDOWS)), ("zoo-2d", "mixed"), ("zoo-2d", "decay")],
)
def test_float_kernels_stay_within_their_arrays(case: str, precision: str) -> None:
    """With AddressSanitizer and UBSan."""
    chosen = toolchain_or_skip("host", "gcc")
    compiled = known_case(CASES[case], SCHEMES[precision])
    library = host_library(compiled.source(), chosen, sanitize=True)
    stream = compiled.stream(RECORDS)
    digest, said = run_sanitized(library, "model", stream, sanitizer_environment(chosen))
    assert digest == hashlib.sha256(run_reference(compiled.step, stream).state).hexdigest(), said


@pytest.mark.toolchain
@pytest.mark.parametrize("case", ZOO)
def test_clang_on_the_desk_equals_the_reference(
    case: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    chosen = toolchain_or_skip("host", "zig")
    compiled = known_case(ZOO[case], FLOAT)
    library = HostBuilder(tmp_path_factory.mktemp("zig"), chosen).library(compiled)
    stream = compiled.stream(RECORDS)
    assert_same(run_reference(compiled.step, stream), library.run(stream))


ON_CORES = [
    *(("zoo-2d", "float32", core, name) for core in CORES for name in ("gcc", "zig")),
    *(("zoo-frozen", "mixed", core, name) for core in CORES for name in ("gcc", "zig")),
    *(("zoo-1d", "float32", core, "gcc") for core in CORES),
    *(("zoo-functions", "float32", core, "gcc") for core in CORES),
    *(("zoo-2d", "mixed", core, "gcc") for core in CORES),
    *(("zoo-mixing", "float32", core, "gcc") for core in ("cortex-m0plus", "cortex-m7-fpu")),
    *(("zoo-2d", "decay", core, "gcc") for core in ("cortex-m0plus", "cortex-m4-fpu")),
    *(("zoo-depthwise", "float32", core, "gcc") for core in ("cortex-m0plus", "cortex-m4-fpu")),
]


@pytest.mark.toolchain
@pytest.mark.parametrize(("case", "precision", "core", "name"), ON_CORES)
def test_c_on_a_core_equals_the_reference(case: str, precision: str, core: str, name: str) -> None:
    compiled = known_case(ZOO[case], SCHEMES[precision])
    stream = compiled.stream(RECORDS)
    assert_same(run_reference(compiled.step, stream), run_on_core(compiled, stream, core, name))


@pytest.mark.toolchain
@pytest.mark.parametrize("precision", ["mixed", "float32"])
def test_a_compiled_network_equals_its_twin_on_a_board(precision: str, tmp_path: Path) -> None:
    data = digits()
    onnx.save(NETWORKS["digits-cnn"](), tmp_path / "model.onnx")
    training = insitu.TrainingConfig(precision=precision, layers="last:2", lr=0.02)
    network = insitu.compile(
        insitu.load(tmp_path / "model.onnx"), calibration=data.x[:64], training=training
    )
    result = network.run(data.x[:40], data.y[:40], steps=40)
    assert result.twin_equal
    assert result.figures["instructions_update"] > 0
    loaded = type(network).load(network.save(tmp_path / "out").folder)
    twin = loaded.twin()
    twin.fit(data.x[:40], data.y[:40])
    assert twin.library.input_dtype == ("float32" if precision == "float32" else "int8")
    assert twin.state == result.state


# the page

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """What docs/arithmetic.md defines."""
    text = (ROOT / "docs" / "arithmetic.md").read_text()
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        exec(block, names)
    return names


def test_a_float_network_written_from_the_page_learns_the_same(page: dict[str, Any]) -> None:
    case = Case((9,), (linear(7), RELU, linear(4)))
    compiled = Compiled(case, FLOAT)
    reference = Reference(compiled.step)
    state = reference.state
    net = {
        **{f"w{i}": list(state[f"linear{k}.w"]) for i, k in ((1, 1), (2, 3))},
        **{f"b{i}": list(state[f"linear{k}.bias"]) for i, k in ((1, 1), (2, 3))},
    }
    for i, x in enumerate(samples(case, 30)):
        loss = page["float_mlp_step"](net, x, i % 4, np.float32(0.1))
        assert loss == reference.train_step(x, i % 4, 0.1)
    for i, k in ((1, 1), (2, 3)):
        np.testing.assert_array_equal(net[f"w{i}"], reference.state[f"linear{k}.w"])
        np.testing.assert_array_equal(net[f"b{i}"], reference.state[f"linear{k}.bias"])


def test_float_losses_are_as_the_page_says(page: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    compiled = Compiled(Case((6,), (linear(5),)), Scheme(precision="float32", skip=0.5))
    (node,) = (n for n in compiled.step.nodes if n.name == "loss")
    assert node.op.integer_reference is not None
    awkward = [[8e37, -8e37, 0, 0, 0], [200, 0, 0, 0, 0]]
    for scores in [*(rng.normal(0, s, 5) for s in (0.1, 1, 10, 300)), *awkward]:
        single = np.asarray(scores, np.float32)
        values = (Value(single), Value(np.asarray([2], np.int32)))
        dy, loss = node.op.integer_reference(node, values, (None, None))
        with np.errstate(all="ignore"):
            wanted = page["float_cross_entropy"](single, 2, np.float32(0.5))
        np.testing.assert_array_equal(dy, wanted[0])
        assert loss[0] == wanted[1]


# what users and callers meet


def test_a_float_model_takes_floats_channels_last(host: HostBuilder) -> None:
    compiled = Compiled(CASES["max"], FLOAT)
    library = host.library(compiled)
    x = samples(CASES["max"], 3)
    first = np.moveaxis(x, 3, 1)
    np.testing.assert_array_equal(library.quantize_input(first), x.reshape(3, -1))
    header = generate(compiled.step, compiled.plan, "model").files["insitu_model.h"]
    assert "typedef float insitu_model_input_t;" in header
    assert "insitu_model_predict(insitu_model_t *model, const float *x, float *scores)" in header


@pytest.mark.toolchain
def test_the_wrong_type_of_samples_is_refused(host: HostBuilder, tmp_path: Path) -> None:
    compiled, integers = Compiled(CASES["linear"], FLOAT), Compiled(CASES["linear"])
    with pytest.raises(DataError, match="x is int8 but the model takes float32"):
        host.library(compiled).run(integers.stream(2))
    with pytest.raises(DataError, match="x is float32 but the model takes int8"):
        host.library(integers).predict(np.zeros((1, 6), np.float32))
    target, fpu = MACHINES["cortex-m4-fpu"]
    compiled.write(tmp_path / "source")
    made = board(target, fpu=fpu)
    toolchain = toolchain_or_skip(target, None)
    firmware = build_firmware(tmp_path / "source", "model", made, tmp_path, toolchain=toolchain)
    with pytest.raises(DataError, match="x is int8 but the model takes float32"):
        emulator.run(firmware, integers.stream(2))


def test_mixed_keeps_only_the_trained_linear_layers_in_float() -> None:
    types = {n.name: n for n in Compiled(ZOO["zoo-frozen"], MIXED).step.nodes}
    forward = Compiled(ZOO["zoo-frozen"], MIXED).forward
    assert forward.tensors["conv3.w"].dtype == "int8"
    assert forward.tensors["linear9.w"].dtype == "float32"
    assert forward.tensors["linear11.w"].dtype == "float32"  # frozen, but behind the border
    assert "linear9.dequantize" in types
    assert types["linear9.dequantize.grad"].op.name == "quantize_error"


def test_a_frozen_linear_layer_before_the_border_keeps_8_bits() -> None:
    layers = (linear(6), RELU, linear(5), RELU, linear(3))
    forward = Compiled(Case((8,), layers, trained="last:1"), MIXED).forward
    assert [forward.tensors[f"linear{i}.w"].dtype for i in (1, 3, 5)] == ["int8", "int8", "float32"]


def test_mixed_without_a_trained_linear_layer_says_so() -> None:
    with pytest.raises(ConfigError, match="of conv1, conv3 none is one; train the last layer"):
        _ = Compiled(CASES["ends-in-average"], MIXED).forward


@pytest.mark.toolchain
def test_scores_that_are_not_finite_teach_nothing(host: HostBuilder) -> None:
    case = Case((4,), (linear(3, weights="large"), RELU, linear(3, weights="large")), scale=1e18)
    compiled = Compiled(case, FLOAT)
    x = np.full((3, 4), 3e37, np.float32)
    stream = Stream(x=x, labels=np.zeros(3, np.int32), rates=np.ones(3, np.float32))
    library = host.library(compiled)
    before = compiled.layout.unpack(library.state)
    result = library.run(stream)
    assert_same(run_reference(compiled.step, stream), result)
    after = compiled.layout.unpack(result.state)
    for name in ("linear1.w", "linear3.w", "linear3.bias"):
        np.testing.assert_array_equal(after[name], before[name])
    assert (result.losses == np.float32(3.402823466e38)).all()
    assert result.info["skipped"].all()


@pytest.mark.toolchain
def test_small_float_errors_are_skipped(host: HostBuilder) -> None:
    case = Case((6,), (linear(5), RELU, linear(3)))
    never = Compiled(case, Scheme(precision="float32", skip=0.999999))
    stream = never.stream(8)
    result = host.library(never).run(stream)
    assert_same(run_reference(never.step, stream), result)
    trained = stream.labels >= 0
    assert result.info["skipped"][trained].all()
    assert math.isfinite(result.losses[trained].sum())
