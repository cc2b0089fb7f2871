"""Is the error by quantization that is shown the one there is, and is the right layer blamed?"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from case_layers import FLATTEN, HEAD, RELU, Case, conv, linear, max_pool
from case_models import INPUT, float_graph, samples
from cases import CASES
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from networks import DEMO_ONNX

from insitu import pipeline
from insitu.app import cli
from insitu.config import QuantizationConfig
from insitu.data.samples import Samples, quantize_samples
from insitu.errors import ConfigError, DataError
from insitu.frontends.model import Model
from insitu.graph.evaluate import evaluate_float
from insitu.graph.model import Array, Graph
from insitu.measure.blame import dequantize
from insitu.measure.fidelity import Fidelity, cosines, explained, measure_fidelity
from insitu.prepare.simplify import simplify
from insitu.quantize import Sized, calibrate
from insitu.quantize.assign import quantize_with_names
from insitu.run.reference import Reference

CHAIN = Case((10, 10, 2), (conv(3), RELU, max_pool(), conv(4), RELU, FLATTEN, linear(5)))
COUNT = 9


def channels_first(x: Array) -> Array:
    return x.transpose(0, 3, 1, 2) if x.ndim == 4 else x


def measured(graph: Graph, x: Array, y: Array | None = None, method: str = "minmax") -> Fidelity:
    """x channels last."""
    sized = Sized(graph, calibrate(graph, x, method))
    given = Samples(channels_first(x), y, "test")
    return explained(measure_fidelity(sized, given), sized, given)


def decibels(signal: Array, error: Array) -> float:
    return float(10 * np.log10((signal**2).sum() / (error**2).sum()))


@pytest.mark.parametrize("method", ["minmax", "percentile:97"])
@pytest.mark.parametrize("case", ["conv-odd", "linear", "ends-in-map", "chain"])
def test_the_figures_are_those_of_numpy_on_whole_arrays(case: str, method: str) -> None:
    chosen = CHAIN if case == "chain" else CASES[case]
    graph, x = simplify(float_graph(chosen)), samples(chosen, COUNT)
    ranges = calibrate(graph, x, method)
    found = measured(graph, x, method=method)
    integers, names = quantize_with_names(graph, ranges, frozenset())
    image = integers.tensors["x"]
    grid = quantize_samples(channels_first(x), image.shape, image.qparams)
    reference = Reference(integers)
    runs = [reference.forward(q.reshape(image.shape)) for q in grid]
    exact = evaluate_float(graph, {INPUT: x.astype(np.float64)})
    assert found.samples == COUNT
    for node in graph.nodes:
        tensor = node.outputs[0]
        q = integers.tensors[names[tensor]].qparams
        got = np.stack([dequantize(run[names[tensor]], q) for run in runs])
        want, row = exact[tensor], found.layers[node.name]
        assert row.sqnr_db == pytest.approx(decibels(want, want - got))
        cosine = (want * got).sum() / np.sqrt((want**2).sum() * (got**2).sum())
        assert row.cosine == pytest.approx(cosine)
        if q is None:
            assert (row.max_error_lsb, row.rms_lsb, row.clipped) == (None, None, 0)
            continue
        assert row.max_error_lsb == pytest.approx(np.abs(want - got).max() / q.scale)
        assert row.rms_lsb == pytest.approx(np.sqrt((want**2).mean()) / q.scale)
        nearest = np.round(want / q.scale) + q.zero_point
        assert row.clipped == pytest.approx(((nearest < -128) | (nearest > 127)).mean())


@pytest.mark.parametrize("case", CASES)
def test_every_op_can_be_compared(case: str) -> None:
    graph, x = simplify(float_graph(CASES[case])), samples(CASES[case], 3)
    found = measured(graph, x)
    assert [*found.layers] == [node.name for node in graph.nodes]
    assert all(0 <= row.clipped <= 1 for row in found.layers.values())
    assert -1.001 <= found.score_cosine <= 1.001


def test_a_layers_own_error_leaves_out_what_came_before() -> None:
    """The first layer's, with the quantized samples given to its float form."""
    graph, x = simplify(float_graph(CHAIN)), samples(CHAIN, COUNT)
    integers, names = quantize_with_names(graph, calibrate(graph, x), frozenset())
    image, first = integers.tensors["x"], graph.nodes[0]
    grid = quantize_samples(channels_first(x), image.shape, image.qparams)
    given_ = dequantize(grid.reshape(-1, *image.shape), image.qparams)
    alone = evaluate_float(graph, {INPUT: given_})[first.outputs[0]]
    reference, y = Reference(integers), names[first.outputs[0]]
    got = np.stack([reference.forward(q.reshape(image.shape))[y] for q in grid])
    error = dequantize(got, integers.tensors[y].qparams) - alone
    row = measured(graph, x).layers[first.name]
    assert row.own_sqnr_db == pytest.approx(decibels(alone, error))
    assert row.sqnr_db is not None and row.own_sqnr_db is not None
    assert row.own_sqnr_db > row.sqnr_db


def test_what_only_moves_values_adds_no_error() -> None:
    graph = simplify(float_graph(CHAIN))
    found = measured(graph, samples(CHAIN, COUNT))
    moved = [node.name for node in graph.nodes if not node.op.weights]
    assert moved
    assert all(found.layers[name].own_sqnr_db is None for name in moved)


def test_the_same_again() -> None:
    graph, x = simplify(float_graph(CHAIN)), samples(CHAIN, COUNT)
    assert asdict(measured(graph, x, method="mse")) == asdict(measured(graph, x, method="mse"))


# the worst layer


def test_where_outliers_made_the_ranges_mse_is_advised() -> None:
    graph, x = simplify(float_graph(CHAIN)), samples(CHAIN, 60)
    x[3] *= 80
    found = measured(graph, x)
    assert found.worst is not None
    assert "outliers stretch its range" in found.advice and "--calibration mse" in found.advice


def test_a_layer_that_clips_much_is_told_so() -> None:
    graph, x = simplify(float_graph(CHAIN)), samples(CHAIN, 40)
    found = measured(graph, x, method="percentile:80")
    assert "of its values are beyond its range; calibrate with minmax" in found.advice
    assert found.worst is not None
    assert found.layers[found.worst].clipped > 0.05


def test_a_sound_network_needs_nothing() -> None:
    graph, x = simplify(float_graph(CHAIN)), samples(CHAIN, 40)
    assert "nothing to do" in measured(graph, x).advice


def test_a_network_of_zeros_loses_nothing() -> None:
    case = Case((4,), (linear(3, weights="zero"), RELU, linear(2, weights="zero")), bias=0)
    found = measured(simplify(float_graph(case)), samples(case, 5))
    assert (found.worst, found.advice, found.score_cosine) == (None, "nothing is lost", 1.0)


# the scores


@pytest.mark.parametrize(("case", "has"), [("ends-in-map", False), ("linear", True)])
def test_a_class_is_the_largest_of_a_row_of_scores(case: str, has: bool) -> None:
    chosen = CASES[case]
    found = measured(simplify(float_graph(chosen)), samples(chosen, COUNT))
    assert (found.same_class is not None) is has


def test_accuracies_are_those_of_both_networks() -> None:
    case = Case((6, 6, 2), (conv(3), RELU, *HEAD))
    graph, x = simplify(float_graph(case)), samples(case, 30)
    scores = evaluate_float(graph, {INPUT: x.astype(np.float64)})[graph.outputs[0]]
    y = scores.argmax(axis=1).astype(np.int32)
    y[::3] = (y[::3] + 1) % scores.shape[1]
    found = measured(graph, x, y)
    assert found.float_accuracy == pytest.approx(2 / 3)
    assert found.quantized_accuracy is not None and found.same_class is not None
    assert abs(found.quantized_accuracy - 2 / 3) <= 1.001 - found.same_class
    assert measured(graph, x).quantized_accuracy is None


@given(arrays(np.float64, (3, 5), elements=st.floats(-1e3, 1e3)))
def test_cosines_ignore_length_and_stay_within_1(a: Array) -> None:
    b = a[::-1].copy()
    found = cosines(a, b)
    assert (np.abs(found) <= 1 + 1e-9).all()
    np.testing.assert_allclose(cosines(a, 2 * a), 1.0, atol=1e-9)
    silent = ~a.any(axis=1) ^ ~b.any(axis=1)
    assert not found[silent].any()


# the command


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 16, (12, 1, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "data.npz", allow_pickle=False, x=x, y=np.arange(12) % 10)
    np.savez(tmp_path / "unlabelled.npz", allow_pickle=False, x=x)
    np.savez(tmp_path / "shape.npz", allow_pickle=False, x=x[:, :, :7])
    np.savez(tmp_path / "labels.npz", allow_pickle=False, x=x, y=np.arange(12))
    x[5, 0, 3, 3] = np.nan
    np.savez(tmp_path / "nan.npz", allow_pickle=False, x=x)
    return tmp_path


Says = Callable[..., tuple[int, str, str]]


@pytest.fixture
def says(data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Says:
    monkeypatch.chdir(data)

    def run(*options: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["insitu", "inspect", str(DEMO_ONNX), *options])
        try:
            cli.main()
        except SystemExit as end:
            return int(end.code or 0), *capsys.readouterr()
        return 0, *capsys.readouterr()

    return run


def test_inspect_shows_layers_scores_and_accuracy(says: Says) -> None:
    status, out, err = says("--data", "data.npz", "--samples", "7")
    words = " ".join(out.split())
    assert (status, err) == (0, "")
    assert "What 8 bits change, on 7 samples" in words and "worst" in words
    assert "scores cosine similarity" in words and "quantized" in words
    assert "accuracy" not in says("--data", "unlabelled.npz")[1]


def test_json_keeps_its_keys_and_gains_some(says: Says) -> None:
    plain = json.loads(says("--json")[1])
    assert says("--json", "--data", "data.npz")[0] == 0
    found = json.loads(says("--json", "--data", "data.npz", "--calibration", "mse")[1])
    gained = {"sqnr_db", "own_sqnr_db", "max_error_lsb", "rms_lsb", "clipped", "cosine"}
    for before, after in zip(plain["layers"], found["layers"], strict=True):
        assert before == {k: v for k, v in after.items() if k not in gained}
        assert gained <= after.keys()
    rows = {row["name"]: row for row in found["layers"]}
    assert rows["conv1"]["sqnr_db"] > 20
    assert rows["bn1"]["sqnr_db"] is None
    whole = found["fidelity"]
    assert whole["samples"] == 12 and whole["worst"] in rows and whole["input"]["clipped"] == 0
    assert 0.9 < whole["score_cosine"] <= 1
    assert {"advice", "same_class", "float_accuracy", "quantized_accuracy"} <= whole.keys()


def test_a_plot_is_what_its_name_says(says: Says, data: Path) -> None:
    assert says("--data", "data.npz", "--plot", "a.png")[0] == 0
    assert (data / "a.png").read_bytes().startswith(b"\x89PNG")
    assert says("--data", "data.npz", "--plot", "a.svg")[0] == 0
    assert "<svg" in (data / "a.svg").read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--data shape.npz", "x[12, 1, 7, 8] but the network takes x[N, 1, 8, 8]"),
        ("--data nan.npz", "NaN or infinite values in 1 of 12 samples, first in sample 5"),
        ("--data labels.npz", "label 10 of sample 10 is outside the network's 10 classes"),
        ("--data gone.npz", "gone.npz: No such file"),
        ("--data data.npz --calibration entropy", '"entropy" is not available'),
        ("--plot a.png", "nothing to draw without --data"),
        ("--data data.npz --plot a.npz", '"npz" is no type of picture; end the name in .png'),
        ("--data data.npz --plot gone/a.png", "No such file or directory; name another file"),
    ],
)
def test_what_cannot_be_compared_is_said_in_one_line(
    says: Says, data: Path, options: str, words: str
) -> None:
    before = sorted(data.iterdir())
    status, out, err = says(*options.split())
    assert status == 1
    assert out == ""
    assert words in err
    assert len(err.splitlines()) == 1
    assert sorted(data.iterdir()) == before


def test_python_says_the_same() -> None:
    model = pipeline.load(DEMO_ONNX)
    x = np.random.default_rng(0).uniform(0, 16, (8, 1, 8, 8)).astype(np.float32)
    found = pipeline.compare(
        model, data=x, quantization=QuantizationConfig(calibration="percentile"), samples=3
    )
    assert found.samples == 3 and found.quantized_accuracy is None
    targets = pipeline.compare(DEMO_ONNX, data=x, labels=x, samples=3)
    assert targets.float_accuracy is None
    labelled = pipeline.compare(DEMO_ONNX, data=x, labels=np.zeros(8, int), samples=3)
    assert labelled.quantized_accuracy is not None
    with pytest.raises(ConfigError, match="0 samples; 1 is the least"):
        pipeline.compare(model, data=x, samples=0)
    with pytest.raises(DataError, match="x\\[8, 8\\]"):
        pipeline.compare(model, data=x[:, 0, 0], samples=3)


@pytest.mark.parametrize(("outputs", "labels"), [(3, np.ones((20, 3), int)), (1, np.ones(20, int))])
def test_targets_of_other_losses_are_no_classes(outputs: int, labels: Array) -> None:
    case = Case((6,), (linear(5), RELU, linear(outputs)))
    graph, x = float_graph(case), samples(case, 20)
    found = pipeline.compare(Model("case", graph, (6,)), data=x, labels=labels)
    assert [*found.layers] == ["linear1", "linear3"]
    assert found.score_cosine > 0.99 and found.float_accuracy is None


def test_whole_numbers_are_no_classes_of_a_map() -> None:
    case = Case((4, 5, 2), (conv(3),))
    graph, x = float_graph(case), samples(case, 20)
    x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
    found = pipeline.compare(Model("case", graph, (2, 4, 5)), data=x, labels=np.ones(20, int))
    assert found.score_cosine > 0.99 and found.float_accuracy is None


# the measurement


@pytest.mark.toolchain
def test_the_bench_measures_the_demos_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "bench"))
    bench: Any = importlib.import_module("fidelity")
    rows = bench.measure(bench.digits(1), ["minmax"])
    clean, faulty = rows
    assert clean.reached and clean.samples == 539
    assert clean.float_accuracy == pytest.approx(98.14, abs=0.2)
    assert faulty.cosine_mean < clean.cosine_mean
    page = bench.markdown(rows)
    assert page.count("| digits CNN |") == 2 and "reached" in page
