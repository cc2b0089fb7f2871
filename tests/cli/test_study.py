"""Does the learning study measure what its protocol says, with networks that are what they seem?"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
import pytest
from networks import DEMO_ONNX

import insitu
from insitu.config import TrainingConfig
from insitu.data.datasets import digits, turned_digits
from insitu.data.samples import channels_last
from insitu.errors import DataError
from insitu.frontends.onnx.reader import read
from insitu.graph.evaluate import evaluate_float
from insitu.prepare.simplify import simplify

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

FOLDER = Path(__file__).parents[2] / "bench" / "learning"


@pytest.fixture(autouse=True)
def bench(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))


def module(name: str) -> ModuleType:
    """bench/learning/NAME.py, as the scripts there import it."""
    return importlib.import_module(name)


NETWORKS = {
    "bearing": ("bearing_cnn", (1, 512)),
    "resnet8": ("resnet8", (3, 32, 32)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_the_onnx_file_computes_what_the_module_does(name: str, tmp_path: Path) -> None:
    pretraining, (make, shape) = module("pretraining"), NETWORKS[name]
    net = getattr(pretraining, make)(7, seed=0)
    x = np.random.RandomState(0).normal(size=(6, *shape)).astype(np.float32)
    y = np.arange(6)
    options = {"epochs": 3, "lr": 0.01, "seed": 0, "shift": (1,)}
    pretraining.pretrain(net, x, y, **options)  # so that batch norms have seen something
    pretraining.write(net, shape, tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    (found,) = session.run(None, {"input": x})
    with torch.no_grad():
        np.testing.assert_allclose(found, net(torch.tensor(x)).numpy(), rtol=1e-4, atol=1e-4)
    assert not read(tmp_path / "net.onnx").unsupported


@pytest.mark.parametrize("name", [*NETWORKS, "digits"])
def test_the_baseline_computes_what_the_float_graph_does(name: str, tmp_path: Path) -> None:
    path = DEMO_ONNX
    if name in NETWORKS:
        make, shape = NETWORKS[name]
        path = tmp_path / "net.onnx"
        pretraining = module("pretraining")
        pretraining.write(getattr(pretraining, make)(7, seed=0), shape, path)
    model = read(path)
    graph = simplify(model.graph)
    x = np.random.RandomState(0).normal(size=(5, *model.input_shape)).astype(np.float32)
    image = channels_last(x, graph.tensors[graph.inputs[0]].shape)
    expected = evaluate_float(graph, {graph.inputs[0]: image})[graph.outputs[0]]
    baseline = module("torch_training")
    trained, frozen = baseline.parameters(graph, frozenset())
    assert not trained
    found = baseline.forward(graph, frozen, torch.tensor(x)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_the_baseline_learns() -> None:
    baseline, graph, data = module("torch_training"), simplify(read(DEMO_ONNX).graph), digits()
    x, y = np.ascontiguousarray(data.x[:300].transpose(0, 1, 3, 2)), data.y[:300]
    params = baseline.parameters(graph, frozenset({"fc1", "fc2"}))
    frozen = {name: value.clone() for name, value in params[1].items()}
    before = baseline.accuracy(graph, params, x, y)
    baseline.train(graph, params, x, y, epochs=2, lr=0.02, seed=0)
    assert baseline.accuracy(graph, params, x, y) > before + 0.2
    assert all(torch.equal(value, frozen[name]) for name, value in params[1].items())


class FakeStore(dict[str, Any]):
    """A store in memory."""


def pair(store: FakeStore) -> Any:
    """uint8 on a task without samples."""
    found = object.__new__(module("study").Pair)
    found.task = argparse.Namespace(name="digits", tuning_seeds=2)
    found.scheme, found.store, found.quick, found.seeds = "uint8", store, False, 3
    found.defining, found.started, found.left_out = {"task": "t"}, set(), None
    found.grid = (0.01, 0.02, 0.04, 0.08)
    return found


def test_seeds_are_run_only_with_the_rate_that_validation_chose() -> None:
    store = FakeStore()
    made = pair(store)
    accuracies = {0.01: 50.0, 0.02: 70.0, 0.04: 70.0, 0.08: 70.0}
    jobs = list(made.jobs())
    assert [job[1].judge for _, job in jobs] == ["validation"] * 8
    for key, (_, trial) in jobs:
        assert made.chosen() is None
        store[key] = {"accuracy": accuracies[trial.lr]}
    assert made.chosen() == 0.04  # the middle of three equals
    wanted = [job for _, job in made.jobs()]
    assert [(job.judge, job.lr, job.seed) for kind, job in wanted if kind == "trial"] == [
        ("test", 0.04, seed) for seed in range(3)
    ]
    assert wanted[-1] == ("figures", ("digits", "uint8", 0.04, False))


def test_fresh_seeds_are_none_that_the_rate_was_chosen_with() -> None:
    assert min(module("protocol").TUNING_SEEDS) > 50


def test_a_trial_has_another_key_where_anything_differs() -> None:
    protocol = module("protocol")
    about = {"task": "digits", "scheme": "uint8", "judge": "test", "lr": 0.01, "seed": 0}
    others = {"scheme": "pytorch", "judge": "validation", "lr": 0.02, "seed": 1, "quick": True}
    keys = [protocol.Trial(**about).digest({"task": "a"})]
    keys += [protocol.Trial(**{**about, k: v}).digest({"task": "a"}) for k, v in others.items()]
    keys.append(protocol.Trial(**about).digest({"task": "b"}))
    assert len(set(keys)) == len(keys)
    assert protocol.Trial(**about).digest({"task": "a"}) == keys[0]


def test_every_scheme_tries_as_many_rates() -> None:
    rates = (0.01, 0.02, 0.04, 0.08, 0.16)
    assert {len(s.grid(rates)) for s in module("protocol").SCHEMES.values()} == {5}


@pytest.mark.parametrize("name", ["digits", "cwru-load1-all", "cwru-classes", "kws"])
def test_no_test_sample_stands_in_another_part(name: str, tmp_path: Path) -> None:
    try:
        task = module("tasks").TASKS[name](name, tmp_path, True)
    except DataError as error:
        pytest.skip(str(error))
    parts = [task.train.x, task.validation.x, task.test.x]
    rows = [{row.tobytes() for row in part} for part in parts]
    for part, found in zip(parts, rows, strict=True):
        assert len(found) == len(part)
    assert not rows[0] & rows[1]
    assert not rows[2] & (rows[0] | rows[1])


def test_a_turned_image_is_turned() -> None:
    turned = module("shifts").turned
    x = digits().x[:20]
    np.testing.assert_allclose(turned(x, 0), x, atol=1e-6)
    np.testing.assert_allclose(turned(x, 90), np.rot90(x, -1, axes=(2, 3)), atol=1e-6)
    np.testing.assert_allclose(turned(turned(x, 180), 180), x, atol=1e-6)


def test_a_world_as_before_has_the_same_features() -> None:
    """With gain 1 and no noise; what the floor under the logarithm adds apart."""
    louder_world = module("shifts").louder_world
    x = np.random.RandomState(0).normal(size=(3, 1, 49, 10)).astype(np.float32)
    same = louder_world(x, gain=1.0, noise=0.0, seed=0)
    np.testing.assert_allclose(same, x, atol=1e-3)
    louder = louder_world(x, gain=np.e, noise=0.0, seed=0)
    np.testing.assert_allclose((louder - x)[..., 1:], 0, atol=1e-3)
    np.testing.assert_allclose((louder - x)[..., 0], np.sqrt(80), atol=1e-3)


@pytest.mark.toolchain
def test_a_training_is_counted_as_often_as_its_nodes_run() -> None:
    """Of 256 steps the share that the twin tells; forward and loss alike in both updates."""
    counting, found = module("counting"), {}
    world = turned_digits().adapt
    for update in ("full", "sampled:0.1:0.4"):
        config = TrainingConfig(layers="last:3", lr=0.03, update=update)
        net = insitu.compile(insitu.load(DEMO_ONNX), calibration=world.x, training=config)
        found[update] = counting.training_instructions(net, world.x[:128], world.y[:128], 2)
        history = net.twin().fit(world.x[:128], world.y[:128], epochs=2)
        ended = history.skipped + history.left_out
        assert found[update]["whole_steps"] == round(1 - ended / 256, 5)
        assert found[update]["twin_equal"]
    full, sampled = found.values()
    forward = "instructions_forward"
    assert full[forward] == pytest.approx(sampled[forward], rel=0.01)
    assert sampled["instructions_update"] < full["instructions_update"] / 1.5
