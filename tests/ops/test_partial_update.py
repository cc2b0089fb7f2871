"""Do partial updates train the rows they say, the same rows everywhere, and save instructions?"""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
import pytest
from case_models import (
    INPUT,
    Compiled,
    HostBuilder,
    float_graph,
    known_case,
    run_reference,
    samples,
    trainable,
)
from cases import CASES
from cores import run_on_core
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from networks import DEMO_ONNX

import insitu
from insitu.artifacts import RunResult
from insitu.config import TrainingConfig
from insitu.data.datasets import turned_digits
from insitu.data.samples import channels_last
from insitu.differentiate import differentiate
from insitu.graph.evaluate import evaluate_float
from insitu.graph.model import Array, Graph, Kind, Node, Phase, Value
from insitu.graph.scheme import fixed_fraction
from insitu.ops import OPS
from insitu.ops.updates.selected_rows import largest_rows, rows_to_keep
from insitu.prepare.simplify import simplify
from insitu.quantize import calibrate, quantize_graph
from insitu.run.reference import Reference
from insitu.run.stream import Stream
from insitu.runtime import FILES, INCLUDE_FLAGS
from insitu.tools.compilers import find_toolchain

UPDATES = [
    "bias",
    "dynamic:0.5:1",
    "dynamic:0.1:1",
    "dynamic:0.01:0.2",
    "sampled:0.5:1",
    "sampled:0.1:1",
    "static:*=0.5",
]


@dataclass(frozen=True, eq=False)
class Digits(Compiled):
    """The demo's network, on digits from a sensor that was turned."""

    @cached_property
    def simple(self) -> Graph:
        """The simplified float graph."""
        return simplify(insitu.load(DEMO_ONNX).graph)

    @cached_property
    def forward(self) -> Graph:
        """The forward pass in integers, all layers trained."""
        ranges = calibrate(self.simple, channels_last(turned_digits().train.x, (8, 8, 1)))
        return quantize_graph(self.simple, ranges, {"conv1", "conv2", "fc1", "fc2"})

    def stream(self, records: int, *, seed: int = 5) -> Stream:
        """Turned digits."""
        world, q = turned_digits().adapt, self.step.tensors["x"].qparams
        assert q is not None
        x = np.clip(np.round(world.x[:records] / q.scale) + q.zero_point, -128, 127)
        rates = np.full(records, 0.03, np.float32)
        labels = world.y[:records].astype(np.int32)
        return Stream(
            x=x.astype(np.int8).reshape(records, -1), labels=labels, rates=rates, seed=seed
        )


# how many rows, and which


@pytest.mark.parametrize(
    ("total", "largest", "rows", "fractions", "wanted"),
    [
        (100, 100, 10, (0.1, 1.0), 10),
        (0, 100, 10, (0.1, 1.0), 1),
        (50, 100, 10, (0.5, 1.0), 7),
        (1, 1000, 10, (0.7, 0.7), 7),
        (1, 1000, 3, (0.1, 0.1), 1),
        (2**31 - 1, 2**31 - 1, 2**16 - 1, (1.0, 1.0), 2**16 - 1),
    ],
)
def test_so_many_rows_stay(
    total: int, largest: int, rows: int, fractions: tuple[float, float], wanted: int
) -> None:
    least, most = map(fixed_fraction, fractions)
    assert rows_to_keep(total, largest, rows, least, most) == wanted


@given(
    largest=st.integers(1, 2**31 - 1),
    part=st.fractions(0, 1),
    rows=st.integers(1, 2**16 - 1),
    fractions=st.tuples(st.integers(1, 2**16), st.integers(1, 2**16)).map(sorted),
)
def test_the_number_of_rows_is_the_formula_in_exact_fractions(
    largest: int, part: Fraction, rows: int, fractions: list[int]
) -> None:
    total, (least, most) = math.floor(part * largest), fractions
    e = Fraction(total, largest)
    exact = (Fraction(least, 2**16) + e * Fraction(most - least, 2**16)) * rows
    k = rows_to_keep(total, largest, rows, least, most)
    assert k == max(math.floor(exact), 1) <= rows


def test_of_equal_rows_the_first_stay() -> None:
    assert largest_rows(np.asarray([3, 5, 5, 1, 5, 3]), 2).tolist() == [0, 1, 1, 0, 0, 0]
    assert largest_rows(np.asarray([3, 5, 5, 1, 5, 3]), 4).tolist() == [1, 1, 1, 0, 1, 0]
    assert largest_rows(np.asarray([0, 0, 0]), 1).tolist() == [1, 0, 0]


def reference(op: str, dy: Array, *state: Array, least: int, most: int) -> list[Array]:
    node = Node(op, OPS[op], (), (), {"least": least, "most": most})
    assert node.op.integer_reference is not None
    return list(node.op.integer_reference(node, [Value(dy), *map(Value, state)], []))


ERRORS = arrays(
    np.int8, st.tuples(st.integers(1, 6), st.integers(1, 40)), elements=st.integers(-127, 127)
)


@given(dy=ERRORS, least=st.integers(1, 2**16), seen=st.integers(0, 20000))
def test_a_row_that_stays_has_no_smaller_error_than_one_that_goes(
    dy: Array, least: int, seen: int
) -> None:
    selected, largest = reference(
        "select_rows", dy, np.asarray([seen], np.int32), least=least, most=2**16
    )
    sums = np.abs(dy.astype(int)).sum(axis=0)
    stays = selected.any(axis=0)
    assert np.array_equal(selected[:, stays], dy[:, stays])
    gone = sums[~stays]
    assert not gone.size or not stays.any() or sums[stays].min() >= gone.max()
    assert largest[0] == (max(seen, sums.sum()) if sums.any() else seen)
    if sums.any():
        k = rows_to_keep(int(sums.sum()), int(largest[0]), len(sums), least, 2**16)
        assert stays.sum() == min(k, (sums > 0).sum())


def test_no_error_moves_nothing() -> None:
    dy, seen = np.zeros((2, 5), np.int8), np.asarray([7], np.int32)
    assert reference("select_rows", dy, seen, least=1, most=2**16)[1] == 7


# the same everywhere


def assert_same(step: Graph, stream: Stream, result: RunResult) -> None:
    expected = run_reference(step, stream)
    np.testing.assert_array_equal(result.losses, expected.losses)
    assert result.state == expected.state


CORES = ["cortex-m4-fpu", "cortex-m0plus"]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> HostBuilder:
    return HostBuilder(tmp_path_factory.mktemp("host"))


NETWORKS = [
    "conv-stride-2",
    "zoo-groups",
    "conv-many-channels",
    "linear-of-wide",
    "average",
    "conv-1d",
    "mobile-blocks",
]


@pytest.mark.toolchain
@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("case", NETWORKS)
def test_c_on_the_desk_equals_the_reference(case: str, update: str, host: HostBuilder) -> None:
    compiled = Compiled(CASES[case], TrainingConfig(update=update).scheme)
    stream = compiled.stream(24)
    assert_same(compiled.step, stream, host.library(compiled).run(stream))


@pytest.mark.toolchain
@pytest.mark.parametrize("update", [*UPDATES, "static:conv*=0.5,fc1=3-16"])
def test_twin_and_cores_equal_the_reference_on_digits(update: str, host: HostBuilder) -> None:
    compiled = Digits(CASES["linear"], TrainingConfig(update=update).scheme)
    stream = compiled.stream(40)
    assert_same(compiled.step, stream, host.library(compiled).run(stream))
    for core in CORES:
        assert_same(compiled.step, stream, run_on_core(compiled, stream, core))


@pytest.mark.toolchain
@pytest.mark.parametrize("core", CORES)
@pytest.mark.parametrize("update", ["full", "dynamic:0.1:0.3", "sampled:0.2:0.5"])
@pytest.mark.parametrize("case", ["mobile-blocks", "conv-many-channels", "conv-stride-2"])
def test_cores_equal_the_reference(case: str, update: str, core: str) -> None:
    compiled = known_case(CASES[case], TrainingConfig(update=update).scheme)
    stream = compiled.stream(12)
    assert_same(compiled.step, stream, run_on_core(compiled, stream, core))


@pytest.mark.toolchain
@pytest.mark.parametrize("update", ["bias", "dynamic:0.1:1", "sampled:0.1:1", "static:fc1=0.5"])
@pytest.mark.parametrize("precision", ["float32", "mixed"])
def test_float_executions_are_equal_too(precision: str, update: str) -> None:
    world = turned_digits().adapt
    config = TrainingConfig(layers="last:3", lr=0.03, precision=precision, update=update)
    net = insitu.compile(insitu.load(DEMO_ONNX), calibration=world.x, training=config)
    twin = net.twin()
    stream = twin.stream(twin.quantize(world.x), world.y.astype(np.int32), steps=20)
    assert_same(net.graph, stream, twin.library.run(stream))
    assert net.run(world.x, world.y, steps=10).twin_equal


class Selection(ctypes.Structure):
    """insitu_select_rows_params_t, and insitu_keep_rows_params_t, which has the same types."""

    _fields_ = [(n, ctypes.c_int32) for n in ("positions", "rows", "least", "most")]


@pytest.fixture(scope="module")
def floats(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    toolchain = find_toolchain("host")
    library = tmp_path_factory.mktemp("floats") / "floats.so"
    sources = [FILES[name] for name in ("select_rows_f32.c", "bias.c", "rows.c", "sums_f32.c")]
    flags = (*toolchain.compile_flags(), *toolchain.link_flags(), *INCLUDE_FLAGS)
    toolchain.run(*flags, "-fvisibility=default", *sources, "-o", library)
    return ctypes.CDLL(str(library))


@pytest.mark.toolchain
@pytest.mark.parametrize("op", ["select_rows", "keep_rows"])
def test_float_kernels_equal_the_reference(op: str, floats: ctypes.CDLL) -> None:
    rng = np.random.default_rng(1)
    seen = np.zeros(1, np.float32)
    for least in (1, 6554, 32768, 65536):
        dy = (rng.normal(size=(7, 13)) * (rng.random((7, 13)) < 0.6)).astype(np.float32)
        dy[1, 2] = np.inf if least == 32768 else dy[1, 2]
        kept = [seen] if op == "select_rows" else []
        extra = {"first": 2, "end": 9} if op == "keep_rows" else {"least": least, "most": 65536}
        node = Node(op, OPS[op], (), (), extra)
        assert node.op.integer_reference is not None
        wanted = node.op.integer_reference(node, [Value(a) for a in (dy, *kept)], [])
        got, scratch = [np.empty_like(dy), *(a.copy() for a in kept)], np.empty(13, np.float32)
        work = [] if op == "keep_rows" else [scratch]
        params = Selection(7, 13, *extra.values())
        pointers = [a.ctypes.data_as(ctypes.c_void_p) for a in (dy, *work, *got[1:], got[0])]
        getattr(floats, f"insitu_{op}_f32")(ctypes.byref(params), *pointers)
        for a, b in zip(got, wanted, strict=True):
            np.testing.assert_array_equal(a, b)
        if op != "keep_rows":
            seen = wanted[1]


# which layers and rows learn


def trained_digits(update: str, steps: int = 12) -> tuple[Graph, Reference]:
    compiled = Digits(CASES["linear"], TrainingConfig(update=update).scheme)
    stream, reference = compiled.stream(steps), Reference(compiled.step)
    for x, label in zip(stream.x, stream.labels, strict=True):
        reference.train_step(x.reshape(8, 8, 1), int(label), 0.03)
    return compiled.step, reference


def initial(step: Graph, name: str) -> Array:
    data = step.tensors[name].data
    assert data is not None
    return data


def test_static_rows_learn_and_no_others() -> None:
    step, after = trained_digits("static:conv2=0.25,fc1=3-16")
    changed = {
        name: (after.state[name] != initial(step, name)).reshape(len(after.state[name]), -1)
        for name in ("conv2.w", "fc1.w")
    }
    rows = {name: np.flatnonzero(part.any(axis=1)) for name, part in changed.items()}
    assert rows["conv2.w"].max() < 4 and rows["conv2.w"].size > 2
    assert rows["fc1.w"].min() >= 3 and rows["fc1.w"].max() < 16 and rows["fc1.w"].size > 4
    assert {step.tensors[f"{name}.w"].kind for name in ("conv1", "fc2")} == {Kind.CONSTANT}


def test_the_error_goes_through_rows_that_a_static_update_leaves_out() -> None:
    """The first step of the first layer is then that of a full update; nothing draws before it."""
    _, partly = trained_digits("static:fc1=1-2,fc2=0-1,conv2=0.1,conv1=1", 1)
    step, fully = trained_digits("full", 1)
    np.testing.assert_array_equal(partly.state["conv1.bias"], fully.state["conv1.bias"])
    assert (fully.state["conv1.bias"] != initial(step, "conv1.bias")).any()


def test_biases_alone_learn_and_weights_need_no_ram() -> None:
    step, after = trained_digits("bias")
    layers = ("conv1", "conv2", "fc1", "fc2")
    assert {step.tensors[f"{layer}.w"].kind for layer in layers} == {Kind.CONSTANT}
    for layer in layers:
        assert (after.state[f"{layer}.bias"] != initial(step, f"{layer}.bias")).any()


@pytest.mark.parametrize("update", ["dynamic:1:1", "static:*=1"])
def test_an_update_of_all_rows_is_a_full_one(update: str) -> None:
    _, all_rows = trained_digits(update)
    _, fully = trained_digits("full")
    for name, value in fully.state.items():
        np.testing.assert_array_equal(all_rows.state[name], value)


def test_a_float_step_selects_as_an_integer_one() -> None:
    """The float training graph has the same nodes; its rows are those of the formula in float."""
    case = CASES["linear-of-wide"]
    graph = trainable(simplify(float_graph(case)))
    step = differentiate(graph, TrainingConfig(update="dynamic:0.1:0.1").scheme)
    inputs = {INPUT: samples(case, 1), "label": np.asarray([1]), "learning_rate": np.ones(1)}
    values = evaluate_float(step, inputs)
    stays = [int((values[f"{n}.selected"] != 0).sum()) for n in ("linear1", "linear3", "linear5")]
    assert 1 <= stays[0] <= 15 and 1 <= stays[1] <= 13 and stays[2] == 1


# what it saves


@pytest.mark.toolchain
def test_fewer_rows_are_fewer_instructions_and_bytes() -> None:
    x = turned_digits().train.x
    counts, updates, state = {}, {}, {}
    for update in ("full", "dynamic:0.1:0.1", "static:fc1=0.25", "bias"):
        config = TrainingConfig(update=update)
        net = insitu.compile(insitu.load(DEMO_ONNX), calibration=x, training=config)
        spent = dict.fromkeys(Phase, 0)  # where errors are present; few are while it learns
        for index, count in net.measurement.worst_instructions.items():
            spent[net.graph.nodes[index].phase] += count
        updates[update] = spent[Phase.UPDATE]
        counts[update] = spent[Phase.BACKWARD] + updates[update]
        state[update] = net.figures["state_bytes"]
    assert updates["dynamic:0.1:0.1"] < updates["full"] / 3
    assert counts["dynamic:0.1:0.1"] < counts["full"] * 0.5
    assert state["bias"] < state["static:fc1=0.25"] < state["full"]
