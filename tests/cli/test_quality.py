"""Does compile say where 8 bits and float disagree, and is it right about cause and cure?"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_models import model, node

import insitu
from insitu import pipeline
from insitu.app.console import print_json
from insitu.config import QuantizationConfig
from insitu.graph.model import Array
from insitu.measure import causes
from insitu.measure.blame import Cause
from insitu.measure.fidelity import Fidelity
from insitu.measure.quality import COMPARED, Kept, Quality, Verdict, judge
from insitu.network import fit
from insitu.network.trainable import TrainableNetwork
from insitu.quantize import sized

FEATURES, HIDDEN, CLASSES, SAMPLES = 6, 24, 5, 400
UNLIKE = np.asarray([0.001, 0.001, 0.001, 1.0, 1.0, 1.0])
SOUND = Cause(kind="sum", where="network", share=0.1, advice="nothing")


def weights() -> dict[str, Array]:
    random = np.random.default_rng(0)
    return {
        "w": random.normal(size=(HIDDEN, FEATURES)) * 0.4,
        "b": random.normal(size=HIDDEN) * 0.3,
        "v": random.normal(size=(CLASSES, HIDDEN)) * 0.3,
        "c": np.zeros(CLASSES),
    }


@dataclass(frozen=True, kw_only=True)
class Net:
    """An MLP whose first layer reads x, and the samples that it is calibrated with."""

    weights: Mapping[str, Array] = field(default_factory=weights)
    scale: Array = field(default_factory=lambda: np.ones(FEATURES))
    x: Array = field(
        default_factory=lambda: np.random.default_rng(1).normal(size=(SAMPLES, FEATURES))
    )

    @property
    def samples(self) -> Array:
        return (self.x * self.scale).astype(np.float32)

    def write(self, path: Path) -> Path:
        given = {**self.weights, "w": self.weights["w"] / self.scale}
        nodes = [
            node("Gemm", "x w b", "h", "fc1", transB=1),
            node("Relu", "h", "r"),
            node("Gemm", "r v c", "y", "fc2", transB=1),
        ]
        arrays = {name: value.astype(np.float32) for name, value in given.items()}
        path.write_bytes(model(["n", FEATURES], nodes, arrays).SerializeToString())
        return path


def with_outlier() -> Net:
    x = Net().x.copy()
    x[7] *= 500
    return Net(x=x)


def with_dead_unit(weight: float) -> Net:
    """One that is never active, and weighs much."""
    changed = weights()
    changed["b"][3] = -100
    changed["v"][:, 3] = weight
    return Net(weights=changed)


def with_small_channel(factor: float) -> Net:
    """A unit whose values are small beside the others', and weighed so much more."""
    changed = weights()
    changed["w"][3] *= factor
    changed["b"][3] *= factor
    changed["v"][:, 3] *= 30 / factor
    return Net(weights=changed)


@dataclass(frozen=True)
class Fault:
    """A net that 8 bits ruin, what is to blame, and the same net with the cure taken."""

    net: Net
    kind: str
    where: str
    says: tuple[str, ...]
    cured: Net
    calibration: str = "minmax"


FAULTS = {
    "unlike-features": Fault(
        Net(scale=UNLIKE),
        "input",
        "input",
        ("3 of its 6 features (0, 1, 2)", "bring all to one size"),
        Net(),
    ),
    "outlier": Fault(
        with_outlier(),
        "input",
        "input",
        ("outliers stretch its range", "--calibration mse or percentile"),
        Net(),
    ),
    "outlier-by-percentile": Fault(
        with_outlier(),
        "input",
        "input",
        ("outliers stretch its range", "--calibration mse or percentile"),
        with_outlier(),
        "percentile:99",
    ),
    "huge-weight": Fault(
        with_dead_unit(400.0),
        "weights",
        "fc2",
        ("beside its largest weight of 400", "clip it"),
        with_dead_unit(1.0),
    ),
    "small-channel": Fault(
        with_small_channel(0.01),
        "range",
        "fc1",
        ("1 of its 24 channels (3)", "give its rows one size"),
        with_small_channel(1.0),
    ),
}


@pytest.fixture
def one_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The input without units of each feature's own, which mend what is planted."""
    monkeypatch.setattr(sized, "input_units", lambda graph, x, ranges, *_: (None, ranges))


def fidelity(net: Net, folder: Path, calibration: str = "minmax") -> Fidelity:
    path = net.write(folder / "net.onnx")
    quantization = QuantizationConfig(calibration=calibration)
    return pipeline.compare(path, data=net.samples, quantization=quantization, samples=COMPARED)


@pytest.mark.usefixtures("one_unit")
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_the_right_part_is_blamed_and_the_cure_cures(fault: Fault, tmp_path: Path) -> None:
    found = fidelity(fault.net, tmp_path)
    assert found.same_class is not None and found.same_class < 0.9
    assert found.cause is not None
    assert (found.cause.kind, found.cause.where) == (fault.kind, fault.where)
    assert found.cause.share >= 0.5
    for words in fault.says:
        assert words in found.advice
    cured = fidelity(fault.cured, tmp_path, fault.calibration)
    assert cured.same_class is not None and cured.same_class > 0.95


def test_features_with_units_of_their_own_are_nothing_to_blame(tmp_path: Path) -> None:
    found = fidelity(Net(scale=UNLIKE), tmp_path)
    assert found.same_class is not None and found.same_class > 0.95
    assert found.cause is None


@pytest.mark.parametrize("fault", ["huge-weight", "small-channel"])
def test_units_of_the_input_do_not_hide_other_causes(fault: str, tmp_path: Path) -> None:
    planted = FAULTS[fault]
    found = fidelity(replace(planted.net, scale=UNLIKE), tmp_path)
    assert found.cause is not None and found.cause.where == planted.where


def test_a_range_that_is_cut_is_blamed(tmp_path: Path) -> None:
    found = fidelity(Net(), tmp_path, "percentile:70")
    assert found.cause is not None and "of its values are beyond its range" in found.advice


def test_a_sound_network_is_left_in_peace(tmp_path: Path) -> None:
    found = fidelity(Net(), tmp_path)
    assert found.cause is None
    assert "nothing to do" in found.advice


Make = Callable[..., TrainableNetwork]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A network in C, not measured."""
    monkeypatch.setattr(pipeline, "measured", lambda network, *_: fit._generated(network))

    def compiled(net: Net, y: Array | None = None, **options: Any) -> TrainableNetwork:
        path = net.write(tmp_path / "net.onnx")
        training = insitu.TrainingConfig(**{"layers": "all", **options})
        return insitu.compile(path, calibration=net.samples, targets=y, training=training)

    return compiled


@pytest.mark.toolchain
@pytest.mark.usefixtures("one_unit")
def test_compile_says_it_in_one_warning_and_in_json(
    make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = make(Net(scale=UNLIKE)).save(tmp_path / "out")
    print_json(TrainableNetwork.load(tmp_path / "out").figures)
    figures = json.loads(capsys.readouterr().out)
    assert figures["agreement"] < 0.5
    assert (figures["accuracy_float"], figures["accuracy_quantized"]) == (None, None)
    (warning,) = figures["warnings"]
    assert warning == network.quality.warnings[0]
    assert "of 128 calibration samples; input: 3 of its 6 features (0, 1, 2)" in warning


@pytest.mark.toolchain
@pytest.mark.parametrize(
    "options", [{}, {"precision": "mixed"}, {"preset": "paper"}, {"precision": "float32"}]
)
def test_a_sound_network_is_compiled_without_a_word(options: dict[str, Any], make: Make) -> None:
    quality = make(Net(), **options).quality
    assert quality.agreement is not None and quality.agreement > 0.95
    assert quality.warnings == ()


@pytest.mark.toolchain
def test_labels_of_the_calibration_give_accuracies(make: Make) -> None:
    y = np.arange(SAMPLES) % CLASSES
    quality = make(Net(), y).quality
    assert quality.accuracy_float is not None and quality.accuracy_quantized is not None
    assert quality.accuracy_float == pytest.approx(quality.accuracy_quantized, abs=0.05)
    assert make(Net(), y + 100).quality.accuracy_float is None


@pytest.mark.toolchain
def test_the_layer_whose_weights_and_biases_are_small_is_blamed(make: Make) -> None:
    changed = weights()
    changed |= {"w": changed["w"] * 1e-6, "b": changed["b"] * 1e-6, "v": changed["v"] * 1e6}
    quality = make(Net(weights=changed)).quality
    if quality.agreement is not None and quality.agreement >= 0.9:
        assert quality.warnings == ()
    else:
        assert "samples; fc1: " in quality.warnings[0]


def test_scores_of_real_targets_are_compared_by_their_error() -> None:
    exact = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    assert judge("mse", exact, exact, None).found == ""
    told = judge("mse", exact, exact[::-1], None)
    assert told.quality.agreement is None
    (warning,) = told.explained(SOUND).warnings
    assert "8 bits change the scores by" in warning


def test_bits_agree_where_both_are_on_one_side() -> None:
    exact = np.asarray([[1.0, -1.0], [2.0, 3.0]], np.float32)
    got = np.asarray([[0.5, 1.0], [2.0, 3.0]], np.float32)
    assert judge("bce", exact, got, None).quality.agreement == 0.75


@pytest.mark.parametrize("loss", ["cross_entropy", "bce"])
def test_scores_that_all_choose_the_same_are_compared_by_their_error(loss: str) -> None:
    """Else networks whose scores have nothing in common agree on every sample."""
    middle = np.asarray([9, 90, 9], np.float32)
    exact = np.random.default_rng(0).normal(middle, size=(100, 3)).astype(np.float32)
    told = judge(loss, exact, exact[::-1], None)
    assert told.quality.agreement == 1
    assert "8 bits change the scores by" in told.found
    assert told.could_be_better
    sound = judge(loss, exact, exact + 0.01, None)
    assert (sound.found, sound.could_be_better) == ("", False)


@pytest.mark.parametrize(
    ("agreement", "error", "found", "expected"),
    [
        (0.96, 0.01, "", True),
        (None, 0.2, "", True),
        (1.0, 0.2, "", True),
        (1.0, 0.01, "8 bits lose", True),
        (0.98, 0.05, "", False),
        (None, 0.05, "", False),
    ],
)
def test_what_loses_much_by_either_measure_could_be_better(
    agreement: float | None, error: float, found: str, expected: bool
) -> None:
    verdict = Verdict(quality=Quality(agreement=agreement), error=error, found=found)
    assert verdict.could_be_better is expected


def test_a_fresh_head_chooses_nothing() -> None:
    nothing = np.zeros((10, 3), np.float32)
    told = judge("cross_entropy", nothing, nothing, None)
    assert (told.quality.agreement, told.found) == (None, "")


@pytest.mark.parametrize("samples", [5, 128, 1000])
def test_scores_are_kept_of_samples_evenly_spaced_whatever_the_batches(samples: int) -> None:
    kept = Kept("y", samples)
    scores = np.arange(2 * samples, dtype=np.float64).reshape(samples, 2)
    for start in range(0, samples, 64):
        kept("x", scores[start : start + 64] + 1)
        kept("y", scores[start : start + 64])
    assert len(kept.rows) == min(samples, COMPARED)
    np.testing.assert_array_equal(kept.scores, scores[kept.rows])


def test_biases_that_are_few_of_their_units_are_told_from_large_ones() -> None:
    assert "are few of their units" in causes.of_biases(np.asarray([5e-7, 0.0]), 1e-7)
    assert "are not what its integers can hold" in causes.of_biases(np.asarray([5.0, 0.0]), 5.0)
