"""Does a sampled update draw the samples it says, the same everywhere, with the mean of all?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from case_models import HostBuilder
from cases import CASES
from cores import run_on_core
from networks import DEMO_ONNX
from test_partial_update import CORES, Digits, assert_same

import insitu
from insitu.config import TrainingConfig
from insitu.data.datasets import turned_digits
from insitu.errors import ConfigError
from insitu.graph.model import Array, Ends, Node, Value
from insitu.measure.cost import step_figures
from insitu.ops.updates.drawn_samples import draw_sample
from insitu.run.stream import Stream

RATE = np.asarray([0.03], np.float32)


def draw(
    dy: Array, largest: Array, generator: int, *, least: float = 0.125, spread: float = 0.875
) -> tuple[float, float, int]:
    """-> rate of the layers behind (0: left out), largest error, generator."""
    node = Node("draw", draw_sample, (), (), {"least": least, "spread": spread})
    assert node.op.integer_reference is not None
    values = [Value(a) for a in (dy, largest, np.asarray([generator], np.uint32), RATE)]
    rate, seen, state = node.op.integer_reference(node, values, [])
    return float(rate[0]), float(seen[0]), int(state[0])


@pytest.mark.parametrize("kind", [np.int8, np.float32])
def test_kept_steps_have_the_expectation_of_all(kind: type) -> None:
    """Over n draws the mean rate is within 6 standard errors, the share of kept ones likewise."""
    dy: Array = np.asarray([-30, 10, 20], kind)
    state, draws = 12345, 4000
    largest = np.asarray([240], np.int32 if kind is np.int8 else np.float32)
    probability = 0.125 + 0.875 * 60 / 240
    rates = np.empty(draws)
    for index in range(draws):
        rates[index], seen, state = draw(dy, largest, state)
        assert seen == 240
    kept = rates > 0
    error = np.sqrt(probability * (1 - probability) / draws)
    assert abs(kept.mean() - probability) < 6 * error
    assert abs(rates.mean() / RATE[0] - 1) < 6 * error / probability
    np.testing.assert_allclose(rates[kept], RATE[0] / probability, rtol=1e-6)
    neighbours = np.corrcoef(kept[1:], kept[:-1])[0, 1]
    assert abs(neighbours) < 6 / np.sqrt(draws)


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_the_first_error_and_the_largest_are_kept_and_none_counts_as_least(kind: type) -> None:
    error = np.asarray([[-3, 0, 4]], np.int8 if kind is np.int32 else np.float32)
    assert draw(error, np.zeros(1, kind), 9) == (RATE[0], 7, 9)
    for state in range(1, 50):
        rate, largest, _ = draw(error, np.full(1, 6, kind), state)
        assert (rate, largest) == (RATE[0], 7)
    assert draw(0 * error, np.zeros(1, kind), 9) == (RATE[0], 0, 9)
    drawn = [draw(0 * error, np.full(1, 6, kind), state) for state in range(1, 400)]
    assert {(rate, largest) for rate, largest, _ in drawn} == {(0, 6), (8 * RATE[0], 6)}


def test_an_error_that_is_not_finite_changes_no_state() -> None:
    for value in (np.inf, np.nan):
        error = np.asarray([1, value], np.float32)
        assert draw(error, np.ones(1, np.float32), 9) == (RATE[0], 1, 9)


# the same everywhere


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> HostBuilder:
    return HostBuilder(tmp_path_factory.mktemp("host"))


OPTIONS = [
    {"update": "sampled:0.1:0.3"},
    {"update": "sampled:0.05:1", "batch": 4},
    {"update": "sampled:0.1:0.5", "momentum": 0.9, "buffer": "int16"},
    {"update": "sampled:0.1:0.5", "weight_decay": 0.1, "skip": 0.05},
]


@pytest.mark.toolchain
@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: ",".join(map(str, o.values())))
def test_twin_and_cores_equal_the_reference(options: dict[str, object], host: HostBuilder) -> None:
    compiled = Digits(CASES["linear"], TrainingConfig(**options).scheme)  # type: ignore[arg-type]
    stream = compiled.stream(40)
    result = host.library(compiled).run(stream)
    assert_same(compiled.step, stream, result)
    assert 5 < (result.info["skipped"] == Ends.LEFT_OUT).sum() < 38
    for core in CORES:
        assert_same(compiled.step, stream, run_on_core(compiled, stream, core))


@pytest.mark.toolchain
@pytest.mark.parametrize("loss", ["mse", "bce"])
@pytest.mark.parametrize("precision", ["uint8", "mixed", "float32"])
def test_every_loss_and_precision_is_the_same_on_the_board(precision: str, loss: str) -> None:
    world = turned_digits().adapt
    targets = np.eye(10, dtype=np.float32)[world.y[:40]]
    config = TrainingConfig(
        layers="last:3", lr=0.03, precision=precision, update="sampled:0.1:0.4", loss=loss
    )
    net = insitu.compile(insitu.load(DEMO_ONNX), calibration=world.x, training=config)
    twin = net.twin()
    stream = twin.stream(twin.quantize(world.x[:40]), targets, steps=40)
    result = twin.library.run(stream)
    assert_same(net.graph, stream, result)
    assert 5 < (result.info["skipped"] == Ends.LEFT_OUT).sum() < 38
    assert net.run(world.x[:40], targets, steps=20).twin_equal


# what learns


@pytest.mark.toolchain
def test_the_last_layer_learns_from_samples_that_are_left_out(host: HostBuilder) -> None:
    compiled = Digits(CASES["linear"], TrainingConfig(update="sampled:0.05:0.1").scheme)
    stream, library = compiled.stream(60), host.library(compiled)
    state = compiled.layout.unpack(library.state)
    told = []
    for record in range(len(stream)):
        one = Stream(x=stream.x, labels=stream.labels, rates=RATE, order=np.asarray([record]))
        info = library.run(one, seed=record == 0).info["skipped"][0]
        after = compiled.layout.unpack(library.state)
        learnt = (n for n in after if n.endswith((".w", ".bias")))
        changed = {n for n in learnt if (after[n] != state[n]).any()}
        if info == Ends.LEFT_OUT:
            assert changed <= {"fc2.w", "fc2.bias"}
            told.append(changed)
        state = after
    assert len(told) > 30 and {"fc2.w", "fc2.bias"} in told


@pytest.mark.toolchain
def test_the_twin_counts_what_was_left_out_and_learns() -> None:
    world = turned_digits()
    counts, right = {}, {}
    for update in ("full", "sampled:0.1:1"):
        config = TrainingConfig(layers="last:3", lr=0.03, update=update)
        net = insitu.compile(insitu.load(DEMO_ONNX), calibration=world.adapt.x, training=config)
        twin = net.twin()
        history = twin.fit(world.adapt.x, world.adapt.y, epochs=10)
        counts[update] = history.steps - history.skipped - history.left_out
        right[update] = twin.score(world.test_after.x, world.test_after.y)
        assert history.figures["left_out_steps"] == history.left_out
        assert (history.left_out > 0) == (update != "full")
    assert counts["sampled:0.1:1"] < counts["full"] / 2
    assert right["sampled:0.1:1"] > right["full"] - 0.03


@pytest.mark.toolchain
@pytest.mark.parametrize("batch", [1, 8])
def test_the_worst_case_is_a_step_that_is_kept_and_the_mean_is_not(batch: int) -> None:
    """The instructions of every layer."""
    world, worst, mean = turned_digits().adapt, {}, {}
    for update in ("full", "sampled:0.1:0.1"):
        config = TrainingConfig(layers="last:3", update=update, batch=batch)
        net = insitu.compile(insitu.load(DEMO_ONNX), calibration=world.x, training=config)
        m = net.measurement
        mean[update] = step_figures(net.graph, m, net.board)["instructions_update"]
        most = replace(m, instructions=m.worst_instructions)
        worst[update] = step_figures(net.graph, most, net.board)["instructions_update"]
    assert worst["sampled:0.1:0.1"] == pytest.approx(worst["full"], rel=0.03)
    assert mean["sampled:0.1:0.1"] < mean["full"] / 2


@pytest.mark.parametrize(
    "options",
    [
        {"preset": "paper"},
        {"precision": "float32", "batch": 2},
        {"precision": "mixed", "momentum": 0.5},
    ],
)
def test_what_is_not_available_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"sampled:0\.1:1.* is not available; use the preset"):
        TrainingConfig(update="sampled:0.1:1", **options)  # type: ignore[arg-type]
