"""Does compile say what a step costs while it learns, and at most?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from networks import DEMO_ONNX, example

import insitu
from insitu.config import TrainingConfig
from insitu.differentiate import differentiate
from insitu.network.board_run import StepCounter, Tools
from insitu.network.compiled import Network
from insitu.network.probe import Steps, flood_of
from insitu.network.trainable import TrainableNetwork
from insitu.plan import plan_memory
from insitu.prepare.simplify import simplify
from insitu.quantize import calibrate, quantize_graph

CLASSES, STEPS, COUNTED = 10, 300, 20


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    """Noise."""
    return np.random.default_rng(0).normal(size=(80, 1, 8, 8)).astype(np.float32)


def compiled(folder: Path, x: np.ndarray, **training: object) -> TrainableNetwork:
    """The digits' MLP for an M4, whose head is a fresh one."""
    example("digits_mlp").main(folder)
    config = TrainingConfig(layers="all", classes=CLASSES, **training)  # type: ignore[arg-type]
    return insitu.compile(folder / "model.onnx", calibration=x, training=config)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory, x: np.ndarray) -> TrainableNetwork:
    """With a batch of one."""
    return compiled(tmp_path_factory.mktemp("digits"), x)


def counted(network: TrainableNetwork, x: np.ndarray) -> list[int]:
    """Instructions of steps evenly spaced over a training on random labels."""
    y = np.random.default_rng(1).integers(0, CLASSES, len(x)).astype(np.int32)
    twin = network.twin()
    stream = twin.stream(twin.quantize(x), y, steps=STEPS)
    counter = StepCounter(network, network.board, Tools())
    found, done = [], 0
    for step in range(0, STEPS, STEPS // COUNTED):
        twin.library.run(stream.part(slice(done, step)), seed=done == 0)
        done = step
        state = np.frombuffer(twin.state, np.uint8)[None]
        one = Steps(stream=stream.part(slice(step, step + 1)), states=state)
        found.append(sum(counter.count(one).instructions.values()))
    return found


@pytest.mark.toolchain
def test_compile_says_what_a_training_takes_behind_a_fresh_head(
    network: TrainableNetwork, x: np.ndarray
) -> None:
    real, figures = counted(network, x), network.figures
    # the first step has no error below the head, whose weights are all 0: it is no measure
    assert real[0] < 0.95 * np.mean(real)
    assert figures["instructions_per_step"] == pytest.approx(np.mean(real), rel=0.05)
    assert max(real) <= figures["instructions_per_step_worst"]


@pytest.mark.toolchain
def test_a_step_is_forward_backward_and_update(network: TrainableNetwork) -> None:
    figures = network.figures
    parts = (figures[f"instructions_{part}"] for part in ("forward", "backward", "update"))
    assert sum(parts) == figures["instructions_per_step"] < figures["instructions_per_step_worst"]
    assert figures["instructions_predict"] == figures["instructions_forward"]
    assert 0 < figures["ms_predict"] < figures["ms_per_step"] < figures["ms_per_step_worst"]
    energy = figures["ms_per_step"] * network.board.active_mw / 1e3
    assert figures["mj_per_step"] == pytest.approx(energy)


@pytest.mark.toolchain
def test_the_figures_are_kept_in_the_folder(network: TrainableNetwork, tmp_path: Path) -> None:
    kept = Network.load(network.save(tmp_path / "kept").folder)
    assert kept.figures == network.figures


@pytest.mark.toolchain
def test_a_batch_says_what_a_sample_costs_in_the_mean(tmp_path: Path, x: np.ndarray) -> None:
    batch = compiled(tmp_path, x, batch=4)
    said = batch.figures["instructions_per_step"]
    real = counted(batch, x)
    assert said == pytest.approx(np.mean(real), rel=0.05)
    # one sample in four ends a batch and applies what was gathered
    assert min(real) < said < batch.figures["instructions_per_step_worst"] < max(real)


def test_rows_that_do_not_learn_are_not_flooded() -> None:
    """Errors that a static update has put to 0 stay 0 in the worst case too."""
    graph = simplify(insitu.load(DEMO_ONNX).graph)
    noise = np.random.default_rng(0).normal(size=(4, *graph.sample.shape))
    scheme = TrainingConfig(update="static:fc1=0.25").scheme
    integers = quantize_graph(graph, calibrate(graph, noise), {"conv2", "fc1"}, scheme)
    step = differentiate(integers, scheme)
    flood = flood_of(step, plan_memory(step), 1.0)
    silent = {n.outputs[0] for n in step.nodes if n.op.silences}
    readers = [i for i, n in enumerate(step.nodes) if "dy" in n and n["dy"] in silent]
    assert readers
    assert not set(readers) & set(flood)
