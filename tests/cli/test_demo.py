"""Does the demo do what it promises: fall, recover, equal the twin, and keep near float?"""

from __future__ import annotations

import importlib.util
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from networks import DEMO_ONNX
from rich.console import Console

from insitu.app import demo
from insitu.data.datasets import turned_digits
from insitu.data.samples import channels_last
from insitu.differentiate import differentiate
from insitu.errors import OutputError
from insitu.frontends.onnx import reader as onnx
from insitu.graph.evaluate import evaluate_float
from insitu.graph.model import Graph, Kind
from insitu.prepare.layers import select_layers
from insitu.prepare.simplify import simplify
from insitu.run.float_training import accuracy_float, train_float, trainable
from insitu.run.schedule import learning_rates, sample_order

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("sklearn") is None,
    reason="its digits are the demo's data: pip install scikit-learn",
)


# ---- the float yardstick ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def graph() -> Graph:
    return simplify(onnx.read(DEMO_ONNX).graph)


def test_only_the_chosen_layers_become_state(graph: Graph) -> None:
    chosen = trainable(graph, select_layers(graph, "last:2"))
    state = {t.name for t in chosen.of_kind(Kind.STATE)}
    wanted = {name for node in graph.nodes[-2:] for name in node.inputs[1:]}
    assert state == wanted and len(state) == 4


def test_float_training_is_sgd(graph: Graph) -> None:
    """One step of the last bias, by hand: b - rate (softmax - onehot)."""
    layers = select_layers(graph, "last:1")
    step = differentiate(trainable(graph, layers))
    x, y = np.full((1, 8, 8, 1), 0.5, np.float32), np.array([3])
    told: list[tuple[int, int]] = []
    state = train_float(
        step,
        x,
        y,
        order=np.array([0]),
        rates=np.array([0.5], np.float32),
        progress=lambda done, total: told.append((done, total)),
    )
    bias, scores = graph.nodes[-1].inputs[2], graph.outputs[0]
    before = graph.tensors[bias].data
    assert before is not None
    p = np.exp(evaluate_float(graph, {graph.inputs[0]: x})[scores][0])
    error = p / p.sum() - (np.arange(10) == 3)
    np.testing.assert_allclose(state[bias], before - 0.5 * error, atol=1e-6)
    assert told == [(1, 1)]


def test_float_training_recovers(graph: Graph) -> None:
    world, shape = turned_digits(), graph.tensors[graph.inputs[0]].shape
    x, test = channels_last(world.adapt.x, shape), channels_last(world.test_after.x, shape)
    steps = 2 * len(x)
    state = train_float(
        differentiate(trainable(graph, select_layers(graph, "last:3"))),
        x,
        world.adapt.y,
        order=sample_order(len(x), steps, 0),
        rates=learning_rates(0.03, steps, "cosine"),
    )
    assert accuracy_float(graph, {}, test, world.test_after.y) < 0.2
    assert accuracy_float(graph, state, test, world.test_after.y) > 0.8


# ---- the demo -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path, str]:
    """Figures, folder and words of a whole demo."""
    out = tmp_path_factory.mktemp("demo") / "out"
    words = io.StringIO()
    figures = demo.run_demo(out, console=Console(file=words, width=80))
    return figures, out, words.getvalue()


Done = tuple[dict[str, Any], Path, str]


@pytest.mark.toolchain
@pytest.mark.slow
def test_the_accuracy_falls_and_recovers_as_in_float(done: Done) -> None:
    figures, _, _ = done
    assert figures["accuracy_old_world"] > 0.95
    assert figures["accuracy_new_world"] < 0.2
    assert figures["accuracy_adapted"] > 0.9
    assert figures["points_to_float"] > -2
    assert figures["accuracy_after"] == figures["accuracy_adapted"]


@pytest.mark.toolchain
@pytest.mark.slow
def test_the_board_is_the_twin_inside_its_memories(done: Done) -> None:
    figures, _, _ = done
    assert figures["twin_equal"] is True
    assert figures["board"] == "nrf52840" and figures["core"] == "cortex-m4"
    assert figures["ram_bytes"] <= figures["board_ram_bytes"] == 256 * 1024
    assert figures["flash_bytes"] <= figures["board_flash_bytes"] == 1024 * 1024
    assert figures["steps"] == demo.EPOCHS * len(turned_digits().adapt)
    assert figures["instructions_per_step"] > 100_000
    json.dumps(figures)


@pytest.mark.toolchain
@pytest.mark.slow
def test_the_folder_holds_all_of_it(done: Done) -> None:
    figures, out, _ = done
    assert figures["report"] == str(out / "report.html")
    for name in ("report.html", "insitu.json", "insitu_digits.c", "runtime/insitu.h"):
        assert (out / name).is_file()


@pytest.mark.toolchain
@pytest.mark.slow
def test_the_story_is_told_in_few_lines(done: Done) -> None:
    _, out, words = done
    assert 15 < len(words.splitlines()) < 30
    assert "\x1b" not in words
    for part in ("upright ->", "turned", "RAM", "instructions", "ms", "mJ", "in float", str(out)):
        assert part in words
    assert "equals the board in every bit" in words


def test_a_folder_of_something_else_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(OutputError, match="is not replaced; name a new folder"):
        demo.run_demo(tmp_path, console=Console(file=io.StringIO()))
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]
