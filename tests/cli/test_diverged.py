"""Does a training that went wrong either come back, or say that it will not and what to do?"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_models import model, node

import insitu
from insitu import pipeline
from insitu.app.console import print_json
from insitu.graph.model import Array, Ends
from insitu.network import fit
from insitu.network.divergence import Epoch
from insitu.network.json_text import json_text
from insitu.network.trainable import TrainableNetwork
from insitu.ops.losses.table import LOSSES
from insitu.report.characters import sparkline

SAMPLES, CLASSES = 2000, 6
SCHEMES: dict[str, dict[str, Any]] = {
    "uint8": {},
    "mixed": {"precision": "mixed"},
    "float32": {"precision": "float32"},
    "paper": {"preset": "paper", "batch": 1},
    "momentum": {"momentum": 0.9},
    "batch": {"batch": 8},
    "batch-momentum": {"batch": 8, "momentum": 0.9},
    "float32-momentum": {"precision": "float32", "momentum": 0.9},
    "mixed-batch": {"precision": "mixed", "batch": 8},
    "paper-batch": {"preset": "paper", "batch": 8},
}

Make = Callable[..., TrainableNetwork]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A small network in C, not measured."""
    monkeypatch.setattr(pipeline, "measured", lambda network, *_: fit._generated(network))
    random = np.random.default_rng(0)
    weights = {
        "w": random.normal(size=(24, 12)) * 0.4,
        "b": np.zeros(24),
        "v": random.normal(size=(CLASSES, 24)) * 0.3,
        "c": np.zeros(CLASSES),
    }
    nodes = [
        node("Gemm", "x w b", "h", "hidden", transB=1),
        node("Relu", "h", "r"),
        node("Gemm", "r v c", "y", "head", transB=1),
    ]
    path = tmp_path / "net.onnx"
    given = {name: value.astype(np.float32) for name, value in weights.items()}
    path.write_bytes(model(["n", 12], nodes, given).SerializeToString())

    def compile_with(**options: Any) -> TrainableNetwork:
        training = insitu.TrainingConfig(lr=0.3, schedule="constant", layers="all", **options)
        return insitu.compile(path, calibration=tasks()[0][:200], training=training)

    return compile_with


def tasks() -> tuple[Array, Array, Array, Array]:
    """Samples with labels by chance, samples of six clouds and which they are of."""
    random = np.random.default_rng(1)
    x = random.uniform(-6, 6, (SAMPLES, 12)).astype(np.float32)
    chance, cloud = random.integers(0, CLASSES, (2, SAMPLES))
    centres = random.uniform(-5, 5, (CLASSES, 12))
    easy = (centres[cloud] + random.normal(size=(SAMPLES, 12)) * 0.5).astype(np.float32)
    return x, chance, easy, cloud


@pytest.mark.toolchain
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_network_relearns_or_says_that_it_will_not(scheme: str, make: Make) -> None:
    x, chance, easy, cloud = tasks()
    network = make(**SCHEMES[scheme])
    twin = network.twin()
    hostile = twin.fit(x, chance, epochs=10)
    assert any("one answer for all samples" in said for said in hostile.warnings)
    history = twin.fit(easy, cloud, epochs=5, lr=0.01)
    relearnt = twin.score(easy, cloud) >= 0.95
    assert relearnt or any("start afresh" in said for said in history.warnings)
    assert math.isfinite(history.loss[-1])
    fresh = network.twin()
    history = fresh.fit(easy, cloud, epochs=5, lr=0.01)
    assert fresh.score(easy, cloud) >= 0.95
    assert not history.warnings


@pytest.mark.toolchain
def test_steps_without_numbers_are_counted_and_told_with_their_epoch(make: Make) -> None:
    x, chance, *_ = tasks()
    twin = make(precision="float32").twin()
    huge = np.float32(3e38) * np.sign(x)
    history = twin.fit(huge, chance, epochs=2)
    assert 0 < history.broken <= history.steps
    assert history.skipped == 0
    assert f"{history.broken:,} of 4,000 steps, the first in epoch 1" in history.warnings[0]
    assert json.loads(json_text(history.figures))["broken_steps"] == history.broken


def test_json_is_json_whatever_the_figures(capsys: pytest.CaptureFixture[str]) -> None:
    figures = {
        "nan": math.nan,
        "list": [1.5, math.inf, np.float32("nan")],
        "nested": {"array": np.asarray([1.0, -np.inf]), 3: (np.int32(4), np.bool_(True), None)},
        "path": Path("a"),
    }
    print_json(figures)
    value = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert value == {
        "nan": None,
        "list": [1.5, None, None],
        "nested": {"array": [1.0, None], "3": [4, True, None]},
        "path": "a",
    }


def test_the_loss_of_an_epoch_is_of_the_steps_that_were_not_broken() -> None:
    losses = np.asarray([1.0, 3e38, 3.0], np.float32)
    ends = np.asarray([Ends.NEVER, Ends.DIVERGED, Ends.SKIPPED])
    assert Epoch(losses, ends).loss == 2.0
    assert math.isnan(Epoch(losses, np.full(3, Ends.DIVERGED)).loss)


@pytest.mark.parametrize(
    ("loss", "labels", "constant"),
    [
        ("cross_entropy", np.asarray([0, 1, 2, 2]), 1.5 * math.log(2)),
        ("cross_entropy", np.asarray([2, 2]), 0.0),
        ("mse", np.asarray([[1.0, 0.0], [3.0, 0.0]], np.float32), 0.5),
        ("bce", np.asarray([[1.0, 0.0], [0.0, 0.0]], np.float32), math.log(2) / 2),
    ],
)
def test_what_an_answer_without_looking_costs(loss: str, labels: Array, constant: float) -> None:
    assert LOSSES[loss].of_a_constant(labels) == pytest.approx(constant)


def test_a_row_of_losses_is_drawn_where_some_are_no_numbers() -> None:
    assert (
        sparkline([0.0, math.nan, 1.0], plain=True)[1:] == sparkline([0.0, 1.0], plain=True)[1] * 2
    )
    assert sparkline([math.nan]) == ""
