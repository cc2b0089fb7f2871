"""Does a real depthwise separable network keep its accuracy in 8 bits, and train on a board?

MLPerf Tiny's keyword spotting network, where it and its samples are at hand.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import insitu
from insitu.config import TrainingConfig
from insitu.data.datasets import Dataset, kws

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is the oracle")
pytestmark = pytest.mark.toolchain


@pytest.fixture(scope="module")
def network() -> Path:
    data = Path(os.environ.get("INSITU_DATA", ""))
    path = data.parent / "models" / "mlperf-tiny-kws-dscnn.onnx"
    if not path.is_file() or not (data / "kws01.npz").is_file():
        pytest.skip("INSITU_DATA names no folder with kws01.npz and the network beside it")
    return path


@pytest.fixture(scope="module")
def words(network: Path) -> Dataset:
    return kws()


def test_quantization_costs_at_most_one_point_of_accuracy(network: Path, words: Dataset) -> None:
    session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    scores = np.concatenate([session.run(None, {name: x[None]})[0] for x in words.x])
    compiled = insitu.compile(insitu.load(network), calibration=words.x[::4])
    predicted = compiled.twin().predict(words.x)
    in_float, in_integers = (np.mean(p == words.y) for p in (scores.argmax(axis=1), predicted))
    assert in_integers >= in_float - 0.01, f"{in_float:.1%} in float, {in_integers:.1%} in 8 bits"


@pytest.mark.slow
@pytest.mark.parametrize("board", ["nrf52840", "imxrt1062"])
@pytest.mark.parametrize("layers", ["last:2", "last:4"])
def test_a_board_trains_it_as_the_twin_does(
    network: Path, words: Dataset, layers: str, board: str
) -> None:
    chosen = words.take(words.y < 10)
    training = TrainingConfig(layers=layers, classes=10)
    compiled = insitu.compile(
        insitu.load(network), calibration=chosen.x[::8], training=training, board=board
    )
    trained = [name for name in compiled.trained if "depthwise" in name]
    assert len(trained) == (layers == "last:4")
    assert compiled.run(chosen.x[:40], chosen.y[:40], steps=20).twin_equal
