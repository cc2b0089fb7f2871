"""Does a fresh head learn other classes, on all executions alike, and is a wrong wish explained?"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from case_layers import FLATTEN, RELU, Case, conv, linear, max_pool
from case_models import Compiled, HostBuilder, float_graph, run_reference, samples
from cases import CASES
from networks import DEMO_ONNX
from typer.testing import CliRunner

import insitu
from insitu.app.cli import app
from insitu.config import TrainingConfig
from insitu.data.datasets import Dataset, turned_digits
from insitu.differentiate import differentiate
from insitu.errors import ConfigError, InsituError, ModelError
from insitu.fixed_point import F32, round_clamp
from insitu.graph.evaluate import evaluate_float
from insitu.graph.model import Node, Value
from insitu.ops.losses.cross_entropy import softmax_cross_entropy
from insitu.prepare.head import replace_head
from insitu.prepare.simplify import simplify
from insitu.quantize import calibrate, quantize_graph
from insitu.run.reference import Reference

FEW = 6
"""Of the ten digits."""


@pytest.fixture(scope="module")
def world() -> Dataset:
    return turned_digits().adapt


# the graph


def test_a_fresh_head_is_zero_and_nothing_else_changes() -> None:
    graph = simplify(float_graph(CASES["linear-of-wide"]))
    fresh = replace_head(graph, 7)
    assert fresh.tensors[fresh.outputs[0]].shape == (7,)
    head, old = fresh.producer(fresh.outputs[0]), graph.producer(graph.outputs[0])
    assert head is not None and old is not None and head.name == old.name
    for name, shape in zip(head.inputs[1:], [(7, 130), (7,)], strict=True):
        data = fresh.tensors[name].data
        assert data is not None and data.shape == shape and not data.any()
    assert not set(old.inputs[1:]) & set(fresh.tensors)
    x = {graph.inputs[0]: samples(CASES["linear-of-wide"], 3)}
    before, after = (evaluate_float(g, x) for g in (graph, fresh))
    np.testing.assert_array_equal(before[head.inputs[0]], after[head.inputs[0]])
    assert not after[fresh.outputs[0]].any()


def test_a_fresh_head_has_the_documented_range() -> None:
    case = CASES["linear-of-wide"]
    graph = replace_head(simplify(float_graph(case)), 7)
    ranges = calibrate(graph, samples(case, 40))
    names = {node.name for node in graph.nodes if node.op.weights}
    step = differentiate(quantize_graph(graph, ranges, names))
    scale = step.tensors["linear5.row_scale"].data
    np.testing.assert_array_equal(scale, np.full(7, F32(4 / math.sqrt(130)) / F32(127)))


@pytest.mark.parametrize(
    ("case", "said"),
    [
        (Case((4, 4, 2), (conv(3), RELU, FLATTEN)), 'the scores come from flatten "flatten3"'),
        (Case((6,), (linear(5), RELU)), "holds them to [0, inf]"),
        (Case((4, 4, 2), (linear(4), RELU, linear(3), RELU)), "holds them to [0, inf]"),
        (Case((6, 6, 2), (conv(3), max_pool((4, 4), (4, 4)), FLATTEN)), "the scores come from"),
    ],
)
def test_what_cannot_be_replaced_is_said(case: Case, said: str) -> None:
    with pytest.raises(ModelError) as error:
        replace_head(simplify(float_graph(case)), 4)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layers": "conv1"}, 'the head "fc2" is new, with 6 classes, but only conv1 would be'),
        ({"update": "static:fc1=0.5"}, 'the head "fc2" is new, with 6 classes, but only fc1'),
        ({"update": "bias"}, 'weights of 0; update "bias" would leave them so'),
    ],
)
def test_a_head_must_be_trained(options: dict[str, Any], said: str, world: Dataset) -> None:
    config = TrainingConfig(classes=FEW, **options)
    with pytest.raises(ConfigError) as error:
        insitu.compile(insitu.load(DEMO_ONNX), calibration=world.x, training=config)
    assert said in str(error.value)


# learning


@pytest.mark.toolchain
@pytest.mark.parametrize("update", ["full", "dynamic:0.5:1"])
def test_other_classes_are_learned_on_all_executions_alike(update: str, world: Dataset) -> None:
    few = world.y < FEW
    x, y = world.x[few], world.y[few]
    config = TrainingConfig(layers="last:2", lr=0.03, classes=FEW, update=update, skip=0.05)
    net = insitu.compile(insitu.load(DEMO_ONNX), calibration=world.x, training=config)
    assert net.classes == FEW
    twin = net.twin()
    assert twin.score(x, y) < 0.4
    stream = twin.stream(twin.quantize(x), y.astype(np.int32), steps=40)
    reference = Reference(net.graph, seed=stream.seed)
    result = twin.library.run(stream)
    for sample, label, rate in zip(stream.samples, stream.record_labels, stream.rates, strict=True):
        reference.train_step(stream.x[sample].reshape(8, 8, 1), int(label), rate)
    weights = net.state.unpack(result.state)
    for name, value in reference.state.items():
        np.testing.assert_array_equal(weights[name], value)
    assert net.run(x, y, steps=40).twin_equal
    assert net.run(x, y, board="rp2040", steps=15).twin_equal
    twin.library.reset()
    twin.fit(x, y, epochs=4)
    assert twin.score(x, y) > 0.95


# skipping


@pytest.mark.parametrize("skip", [0.0, 0.1, 0.5, 0.99])
def test_an_error_counts_where_it_reaches_the_threshold(skip: float) -> None:
    """127 skip is rounded to the grid of the errors and compared exactly."""
    rng = np.random.default_rng(0)
    least = int(round_clamp(F32(skip) * F32(127), 0, 127))
    seen = set()
    for spread in np.geomspace(0.05, 20, 200):
        scores, label = rng.normal(0, spread, 5).astype(F32), int(rng.integers(5))
        values = [Value(scores), Value(np.asarray([label], np.int32))]
        reference = softmax_cross_entropy.integer_reference
        assert reference is not None
        (every, loss), (some, same) = (
            reference(
                Node("loss", softmax_cross_entropy, (), (), {"skip": s, "integer": True}),
                values,
                [None] * 2,
            )
            for s in (0.0, skip)
        )
        passes = np.abs(every.astype(int)).max() >= least
        np.testing.assert_array_equal(some, every if passes else np.zeros(5))
        assert loss == same
        seen.add(bool(passes))
    assert seen == ({True} if skip == 0 else {True, False})


@pytest.mark.toolchain
def test_skipped_samples_change_no_weight(tmp_path: Path) -> None:
    scheme = TrainingConfig(skip=0.8).scheme
    compiled = Compiled(CASES["linear-wide"], scheme)
    stream = compiled.stream(60)
    model = HostBuilder(tmp_path).library(compiled)
    result, expected = model.run(stream), run_reference(compiled.step, stream)
    assert result.state == expected.state
    assert 5 < result.info["skipped"].sum() < 55
    reference = Reference(compiled.step, seed=stream.seed)
    changed = []
    for sample, label, rate in zip(stream.samples, stream.record_labels, stream.rates, strict=True):
        if label < 0:
            continue
        before = {k: v.copy() for k, v in reference.state.items() if k.endswith((".w", ".bias"))}
        reference.train_step(stream.x[sample], int(label), rate)
        changed.append(any((reference.state[k] != v).any() for k, v in before.items()))
    skipped = result.info["skipped"][stream.record_labels >= 0].astype(bool)
    assert not np.any(np.asarray(changed) & skipped)


# the command line


@pytest.mark.toolchain
def test_the_command_line_has_all_of_it(world: Dataset, tmp_path: Path) -> None:
    few = world.y < FEW
    np.savez(tmp_path / "few.npz", x=world.x[few], y=world.y[few])
    options = ["--classes", str(FEW), "--skip", "0.1", "--update", "sampled:0.5:1", "--lr", "0.03"]
    source = ["compile", str(DEMO_ONNX), "--data", str(tmp_path / "few.npz")]
    made = CliRunner().invoke(app, [*source, "--out", str(tmp_path / "out"), *options, "--json"])
    assert made.exit_code == 0, made.output
    trained = CliRunner().invoke(
        app, ["twin", str(tmp_path / "out"), "--data", str(tmp_path / "few.npz"), "--json"]
    )
    assert trained.exit_code == 0, trained.output
    figures = json.loads(trained.stdout)
    assert figures["skipped_steps"] > 0
    assert figures["accuracy_after"] > 0.8


@pytest.mark.parametrize(
    "options", [["--classes", "1"], ["--skip", "1"], ["--update", "dynamic:2:3"]]
)
def test_the_command_line_refuses(options: list[str], world: Dataset, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=world.x)
    source = ["compile", str(DEMO_ONNX), "--data", str(tmp_path / "x.npz")]
    done = CliRunner().invoke(app, [*source, "--out", str(tmp_path / "out"), *options])
    assert isinstance(done.exception, InsituError)
