"""Training that leaves the numbers: the step says so, and the state stays as it was."""

from __future__ import annotations

import numpy as np
import pytest
from case_models import Compiled, HostBuilder
from cases import CASES
from cores import assert_same, run_on_core

from insitu.fixed_point import F32, follow_range
from insitu.graph.model import Array, Ends, QParams
from insitu.graph.scheme import PartialUpdate, Scheme
from insitu.ops.numerics.sums import STEP_LIMIT, step_is_small
from insitu.run.reference import Reference
from insitu.run.stream import Stream

BIAS_ONLY = PartialUpdate(kind="bias")
SCHEMES = {
    "float32": Scheme(precision="float32"),
    "mixed": Scheme(precision="mixed"),
    "batch": Scheme(precision="float32", batch=2),
    "momentum": Scheme(precision="float32", momentum=0.9),
    "decay": Scheme(precision="float32", weight_decay=0.1),
    "bias": Scheme(precision="float32", partial=BIAS_ONLY),
    "mse": Scheme(precision="float32", loss="mse"),
    "bce": Scheme(precision="float32", loss="bce"),
}
STEPS = 12

RUNS = [
    *(("linear", scheme) for scheme in SCHEMES),
    *((case, "float32") for case in ("depthwise", "grouped", "conv-stride-2", "conv-5x5")),
    *((case, "batch") for case in ("depthwise", "conv-stride-2")),
]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> HostBuilder:
    return HostBuilder(tmp_path_factory.mktemp("host"))


def compiled(case: str, scheme: str) -> Compiled:
    return Compiled(CASES[case], SCHEMES[scheme])


def hostile(network: Compiled) -> Stream:
    """Steps at rate 1 on samples that grow until no float holds what becomes of them."""
    stream = network.stream(STEPS)
    x = stream.x
    if x.dtype == np.float32:
        x = x * np.logspace(0, 36, STEPS, dtype=np.float32)[:, None]
    return Stream(x=x, labels=stream.labels, rates=np.ones(STEPS, np.float32), seed=stream.seed)


def is_finite(network: Compiled, state: bytes) -> bool:
    values = network.layout.unpack(state).values()
    return all(np.isfinite(v).all() for v in values if v.dtype == np.float32)


@pytest.mark.toolchain
@pytest.mark.parametrize(("case", "scheme"), RUNS)
def test_a_state_stays_finite_and_the_same_on_the_desk(
    case: str, scheme: str, host: HostBuilder
) -> None:
    network = compiled(case, scheme)
    stream = hostile(network)
    result = host.library(network).run(stream)
    assert_same(network.step, stream, result)
    assert is_finite(network, result.state)
    assert np.isfinite(result.losses[stream.trains]).all()
    if scheme not in ("mixed", "bias"):
        assert result.info["saturated"].any() or (result.info["skipped"] == Ends.DIVERGED).any()


@pytest.mark.toolchain
def test_a_step_without_numbers_changes_nothing_and_says_so(host: HostBuilder) -> None:
    network = compiled("linear", "float32")
    library = host.library(network)
    first, stream = network.stream(1), network.stream(2)
    weights = [t.name for t in network.step.tensors.values() if t.name.endswith((".w", ".bias"))]
    for huge in (3e38, np.inf, np.nan):
        library.run(first)
        before = network.layout.unpack(library.state)
        x = np.full_like(stream.x, huge)
        broken = Stream(x=x, labels=np.zeros(2, np.int32), rates=stream.rates)
        result = library.run(broken)
        after = network.layout.unpack(result.state)
        assert all(np.array_equal(after[name], before[name]) for name in weights)
        assert result.info["skipped"].tolist() == [Ends.DIVERGED] * 2
        assert (result.losses == np.float32(3.402823466e38)).all()


@pytest.mark.toolchain
@pytest.mark.parametrize("machine", ["cortex-m0plus", "cortex-m4-fpu"])
@pytest.mark.parametrize(("case", "scheme"), [("linear", "momentum"), ("depthwise", "float32")])
def test_a_board_that_diverges_does_what_the_reference_does(
    case: str, scheme: str, machine: str
) -> None:
    network = compiled(case, scheme)
    stream = hostile(network)
    result = run_on_core(network, stream, machine)
    assert_same(network.step, stream, result)
    assert is_finite(network, result.state)


def test_a_batch_is_not_counted_on_by_a_step_without_numbers() -> None:
    network = compiled("linear", "batch")
    reference = Reference(network.step)
    x = np.full(network.step.sample.shape, np.inf, F32)
    before = {name: value.copy() for name, value in reference.state.items()}
    assert reference.train_step(x, 1, float(before["learning_rate"][0])) == F32(3.402823466e38)
    for name, value in reference.state.items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("seen", [2**31 - 1, -(2**31)])
def test_a_range_does_not_leave_the_numbers(seen: int) -> None:
    q = QParams(scale=np.asarray(F32(1e37)))
    ends = np.asarray([-1e37, 1e37], F32)
    with np.errstate(over="ignore"):
        moved = follow_range(ends, np.asarray([min(seen, 0), max(seen, 0)]), q, F32(1.0))
    assert moved == (ends[0], ends[1])


@pytest.mark.parametrize(
    ("dy", "x", "small"),
    [
        ([[1.0]], [1.0], True),
        ([[STEP_LIMIT]], [0.0], False),
        ([[1.0]], [STEP_LIMIT], False),
        ([[0.0]], [np.inf], False),
        ([[np.nan]], [1.0], False),
        ([[1.0, -np.inf]], [1.0], False),
        ([[1.0]] * 2, [STEP_LIMIT / 2], False),
    ],
)
def test_what_moves_a_weight_too_far_is_seen(dy: Array, x: Array, small: bool) -> None:
    with np.errstate(all="ignore"):
        assert step_is_small(F32(1.0), np.asarray(dy, F32), np.asarray(x, F32)) is small


def test_small_steps_cannot_carry_a_weight_out_of_the_numbers() -> None:
    largest = np.nextafter(STEP_LIMIT, F32(0))
    for exponent in range(64, 128):
        w = F32(2.0**exponent) if exponent < 127 else np.finfo(F32).max
        assert w + largest == w or exponent < 65
