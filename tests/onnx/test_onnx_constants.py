"""Constants before a layer: the same function, no loss in 8 bits, trained as if normalized?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_models import model, node, normal, saved
from test_onnx import assert_same, of_insitu

import insitu
from insitu.frontends.onnx.reader import read
from insitu.graph.model import Array
from insitu.prepare.simplify import simplify
from insitu.run.reference import Reference

FEATURES = 6
MEAN = np.asarray([1000, -40, 0.02, 5, 101325, 0], np.float32)
SPREAD = np.asarray([1, 300, 0.01, 2, 120, 1e-3], np.float32)


def scaler(**attributes: Any) -> onnx.NodeProto:
    return helper.make_node("Scaler", ["x"], ["n"], "scaler", domain="ai.onnx.ml", **attributes)


KINDS: dict[str, list[onnx.NodeProto]] = {
    "sub": [node("Sub", "x mean", "n")],
    "sub-from": [node("Sub", "mean x", "n")],
    "div": [node("Div", "x spread", "n")],
    "mul": [node("Mul", "spread x", "n")],
    "add": [node("Add", "x mean", "n")],
    "number": [node("Mul", "x number", "n")],
    "sub-div": [node("Sub", "x mean", "s"), node("Div", "s spread", "n")],
    "mul-add": [node("Mul", "x spread", "s"), node("Add", "mean s", "n")],
    "batch-norm": [node("BatchNormalization", "x spread mean mean var", "n", epsilon=1e-3)],
    "scaler": [scaler(offset=[1.0, 2, 3, -4, 5, 6], scale=[0.5, 1, 2, 3, 4, 5])],
    "scaler-of-numbers": [scaler(offset=[1.5], scale=[0.25])],
}
BEHIND = {
    "linear": [node("MatMul", "n w")],
    "relu": [node("Relu", "n", "r"), node("MatMul", "r w")],
    "two": [node("MatMul", "n w", "a"), node("MatMul", "n v", "b"), node("Add", "a b")],
    "both": [node("MatMul", "n w", "a"), node("Relu", "n", "r"), node("Add", "a r")],
}
MAPS = {
    "conv": [node("Conv", "n k", "c"), node("Flatten", "c")],
    "padded": [node("Conv", "n k", "c", pads=[1, 1, 1, 1]), node("Flatten", "c")],
    "flat": [node("Flatten", "n", "f"), node("MatMul", "f u")],
    "pool": [
        node("MaxPool", "n", "p", kernel_shape=[2, 2]),
        *(node("Conv", "p k", "c"), node("Flatten", "c")),
    ],
}


def constants(*shape: int) -> dict[str, Any]:
    """Of moderate size, so that float32 itself does not lose more than is allowed."""
    random = np.random.default_rng(5)
    return {
        "mean": random.normal(size=FEATURES).astype(np.float32).reshape(shape),
        "spread": random.uniform(0.5, 3, FEATURES).astype(np.float32).reshape(shape),
        "var": random.uniform(0.5, 3, FEATURES).astype(np.float32).reshape(shape),
        "number": np.float32(0.5),
        "w": normal(FEATURES, FEATURES),
        "v": normal(FEATURES, FEATURES, seed=1),
        "k": normal(4, FEATURES, 3, 3),
        "u": normal(FEATURES * 25, 3),
    }


def check(proto: onnx.ModelProto, folder: Path) -> None:
    """The same as onnxruntime computes, as it is read and simplified."""
    result = assert_same(proto, saved(proto, folder))
    x = np.random.default_rng(2).normal(size=(4, *result.input_shape)).astype(np.float32)
    graph = simplify(result.graph)
    assert all(n.op.name != "batch_norm" for n in graph.nodes)
    simple = insitu.frontends.model.Model("simple", graph, result.input_shape)
    before, after = of_insitu(result, x), of_insitu(simple, x)
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-5 * np.abs(before).max())


@pytest.mark.parametrize("behind", BEHIND)
@pytest.mark.parametrize("kind", KINDS)
def test_a_constant_of_features_is_the_same_function(
    kind: str, behind: str, tmp_path: Path
) -> None:
    nodes = [*KINDS[kind], *BEHIND[behind]]
    check(model(["n", FEATURES], nodes, constants(-1), domains=["ai.onnx.ml"]), tmp_path)


@pytest.mark.parametrize("behind", MAPS)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if "scaler" not in kind])
def test_a_constant_of_channels_is_the_same_function(
    kind: str, behind: str, tmp_path: Path
) -> None:
    shape = (-1,) if kind == "batch-norm" else (-1, 1, 1)
    nodes = [*KINDS[kind], *MAPS[behind]]
    check(model(["n", FEATURES, 5, 5], nodes, constants(*shape)), tmp_path)


def test_scalers_that_are_wrong_say_so(tmp_path: Path) -> None:
    given = {"w": normal(FEATURES, 3)}
    three = model(
        ["n", FEATURES],
        [scaler(offset=[1.0, 2.0, 3.0]), node("MatMul", "n w")],
        given,
        domains=["ai.onnx.ml"],
    )
    with pytest.raises(insitu.InsituError, match="its offset holds 3 numbers for 6 features"):
        read(saved(three, tmp_path))


def sensors(count: int) -> tuple[Array, Array]:
    """x[n, 6] of unlike mean and size, and classes that depend on two of them."""
    z = np.random.default_rng(1).normal(size=(count, FEATURES))
    y = (z[:, 0] > 0.3) + (z[:, 4] > 0) * 2
    return (z * SPREAD + MEAN).astype(np.float32), y.astype(np.int32)


def normalizing(mean: Array, spread: Array) -> onnx.ModelProto:
    """A network that is not trained yet behind a normalization."""
    nodes = [
        node("Sub", "x mean", "s"),
        node("Div", "s spread", "n"),
        node("Gemm", "n w b", "h", "hidden"),
        node("Relu", "h", "r"),
        node("Gemm", "r v c", "y", "scores"),
    ]
    weights = {
        "mean": mean,
        "spread": spread,
        "w": normal(FEATURES, 16) * 0.4,
        "b": np.zeros(16, np.float32),
        "v": normal(16, 4) * 0.25,
        "c": np.zeros(4, np.float32),
    }
    return model(["n", FEATURES], nodes, weights)


@pytest.mark.toolchain
def test_what_is_normalized_in_the_network_trains_like_normalized_samples(tmp_path: Path) -> None:
    x, y = sensors(1600)
    z = ((x - MEAN) / SPREAD).astype(np.float32)
    inside = saved(normalizing(MEAN, SPREAD), tmp_path, "inside.onnx")
    zeros, ones = np.zeros(FEATURES, np.float32), np.ones(FEATURES, np.float32)
    outside = saved(normalizing(zeros, ones), tmp_path, "outside.onnx")
    accuracies = []
    for path, data in ((inside, x), (outside, z)):
        training = insitu.TrainingConfig(layers="all", lr=0.02)
        net = insitu.compile(insitu.load(path), calibration=data[:800], training=training)
        twin = net.twin()
        twin.fit(data[:800], y[:800], epochs=3)
        accuracies.append(float((twin.predict(data[800:]) == y[800:]).mean()))
    assert min(accuracies) > 0.9
    assert abs(accuracies[0] - accuracies[1]) < 0.01, accuracies


@pytest.mark.toolchain
def test_features_of_one_large_size_train_too(tmp_path: Path) -> None:
    x, y = sensors(1600)
    x = ((x - MEAN) / SPREAD * 300 + 2000).astype(np.float32)
    spread = np.full(FEATURES, 300, np.float32)
    path = saved(normalizing(np.full(FEATURES, 2000, np.float32), spread), tmp_path)
    training = insitu.TrainingConfig(layers="all", lr=0.02)
    net = insitu.compile(insitu.load(path), calibration=x[:800], training=training)
    twin = net.twin()
    twin.fit(x[:800], y[:800], epochs=3)
    assert float((twin.predict(x[800:]) == y[800:]).mean()) > 0.9


@pytest.mark.toolchain
@pytest.mark.parametrize("precision", ["uint8", "float32"])
def test_a_constant_of_features_that_stays_is_alike_everywhere(
    precision: str, tmp_path: Path
) -> None:
    nodes = [
        node("Gemm", "x w", "h", "hidden"),
        node("Relu", "h", "r"),
        node("BatchNormalization", "r spread mean mean var", "n", "norm"),
        node("Relu", "n", "r2"),
        node("Gemm", "r2 v", "y", "scores"),
    ]
    path = saved(model(["n", FEATURES], nodes, constants(-1)), tmp_path)
    random = np.random.default_rng(3)
    x = random.normal(size=(40, FEATURES)).astype(np.float32)
    y = random.integers(0, FEATURES, 40)
    training = insitu.TrainingConfig(layers="all", precision=precision)
    net = insitu.compile(insitu.load(path), calibration=x, training=training)
    assert "norm" in net.trained
    twin = net.twin()
    stream = twin.stream(twin.quantize(x), y.astype(np.int32), steps=40)
    reference = Reference(net.graph, seed=stream.seed)
    for sample, label, rate in zip(stream.samples, stream.record_labels, stream.rates, strict=True):
        reference.train_step(stream.x[sample], label, rate)
    twin.fit(x, y)
    for name, value in twin.weights().items():
        np.testing.assert_array_equal(value, reference.state[name], err_msg=name)
    assert net.run(x, y).twin_equal
