"""Channels of unlike size: do 8 bits hold each of them, and is the network still the same?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from builds import host_library, source_of
from case_layers import (
    ALL_1,
    FLATTEN,
    HEAD,
    RELU,
    Case,
    add,
    average_pool,
    conv,
    grouped,
    linear,
    max_pool,
)
from case_models import float_graph
from mixing_cases import multiply
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from insitu.data.samples import Samples, channels_last
from insitu.differentiate import differentiate
from insitu.errors import PrecisionWarning
from insitu.graph import text
from insitu.graph.builder import Builder
from insitu.graph.evaluate import evaluate_float
from insitu.graph.model import Array, Graph, QParams, Units
from insitu.measure.fidelity import measure_fidelity
from insitu.ops import OPS
from insitu.prepare.simplify import simplify
from insitu.quantize import Sized, calibrate, input_units, quantize_graph
from insitu.quantize.units import in_units
from insitu.run.schedule import training_stream
from insitu.run.twin_library import TwinLibrary
from insitu.tools.compilers import find_toolchain

SENSORS = np.asarray([25, 50, 20000, 5000, 938, 12900.0]), np.asarray([4, 8, 9000, 2500, 1.2, 270])
"""Mean and deviation of degrees, percent, two gases, hectopascals, counts."""


def motion(rng: np.random.Generator, count: int) -> tuple[Array, Array]:
    """x[n, 6, 16], channels first, and classes: they show in the accelerometer, in g, alone."""
    y = rng.integers(0, 3, count)
    phase = 2 * np.pi * (y[:, None] + 1) * np.arange(16) / 16
    acceleration = np.stack([np.sin(phase + axis) for axis in range(3)], 1) * 0.5
    acceleration += rng.normal(size=acceleration.shape) * 0.3
    rates = rng.normal(size=(count, 3, 16)) * 150  # degrees a second
    return np.concatenate([acceleration, rates], 1).astype(np.float32), y


def air(rng: np.random.Generator, count: int) -> tuple[Array, Array]:
    """x[n, 6] and classes that depend on temperature and pressure alone."""
    z = rng.normal(size=(count, 6))
    y = (z[:, 0] > 0.3) + (z[:, 4] > 0) * 2
    return (z * SENSORS[1] + SENSORS[0]).astype(np.float32), y


def classifier(x: Array, y: Array, shape: tuple[int, ...]) -> Graph:
    """A hidden layer of both signs of a fitted linear classifier, and one that takes them back."""
    spread, mean = x.std(axis=0), x.mean(axis=0)
    fitted = LogisticRegression(max_iter=300).fit((x - mean) / spread, y)
    w = fitted.coef_ / spread
    b = fitted.intercept_ - w @ mean
    builder = Builder("sensors")
    h = builder.input("x", shape)
    for name, (weight, bias) in {
        "hidden": (np.concatenate([w, -w]), np.concatenate([b, -b])),
        "scores": (np.hstack([np.eye(len(w)), -np.eye(len(w))]), np.zeros(len(w))),
    }.items():
        parameters = [
            builder.constant(f"{name}.{k}", np.asarray(v, np.float32))
            for k, v in (("w", weight), ("b", bias))
        ]
        (h,) = builder.node(
            OPS["linear"],
            (h, *parameters),
            name=name,
            attributes={"clip": (0.0, np.inf)} if name == "hidden" else {},
        )
    return builder.finish((h,))


WORLDS = {"motion": (motion, (1, 16, 6)), "air": (air, (6,))}


@pytest.mark.toolchain
@pytest.mark.parametrize("world", WORLDS)
def test_unlike_channels_cost_no_accuracy_before_or_after_training(world: str) -> None:
    make, shape = WORLDS[world]
    x, y = make(np.random.default_rng(3), 1600)
    last = channels_last(x, shape)
    graph = classifier(last[:800].reshape(800, -1), y[:800], shape)
    scores = evaluate_float(graph, {"x": last[800:].astype(np.float64)})[graph.outputs[0]]
    exact = float((scores.argmax(axis=1) == y[800:]).mean())
    trained = frozenset({"hidden", "scores"})
    ranges = calibrate(graph, last[:800])
    units, own = input_units(graph, last[:800], ranges, trained, "minmax")
    assert units is not None
    step = differentiate(quantize_graph(graph, own, trained, units=units))
    path = host_library(source_of(step, "model"), find_toolchain("host"))
    twin = TwinLibrary(path, "model")
    q = twin.quantize_input(x)
    before = float((twin.predict(q[800:])[1] == y[800:]).mean())
    stream = training_stream(
        q[:800], y[:800].astype(np.int32), steps=4000, rate=0.01, schedule="cosine", seed=0
    )
    twin.run(stream)
    after = float((twin.predict(q[800:])[1] == y[800:]).mean())
    assert exact > 0.93
    assert min(before, after) > exact - 0.01, (exact, before, after)


@pytest.mark.parametrize("world", WORLDS)
def test_fidelity_is_measured_in_the_units(world: str) -> None:
    make, shape = WORLDS[world]
    x, y = make(np.random.default_rng(3), 120)
    last = channels_last(x, shape)
    graph = classifier(last.reshape(120, -1), y, shape)
    ranges, samples = calibrate(graph, last), Samples(x, y.astype(np.int32), "x")
    one = measure_fidelity(Sized(graph, ranges), samples)
    units, own = input_units(graph, last, ranges, frozenset(), "minmax")
    each = measure_fidelity(Sized(graph, own, units), samples)
    assert one.same_class is not None and each.same_class is not None
    assert one.same_class < 0.6
    assert each.same_class > 0.98
    assert each.input.max_error_lsb is not None
    assert each.input.max_error_lsb < 0.51
    assert each.input.sqnr_db is not None
    assert each.input.sqnr_db > 30


MAP = (6, 7, 4)
NETWORKS = {
    "linear": Case((6,), (linear(4), RELU, linear(3))),
    "linear-of-a-map": Case((2, 5, 3), (FLATTEN, linear(4), RELU, linear(3))),
    "conv": Case(MAP, (conv(6), RELU, *HEAD)),
    "groups": Case(MAP, (grouped(6, 2, (2, 3)), *HEAD)),
    "depthwise": Case(MAP, (grouped(4, 4), *HEAD)),
    "largest": Case(MAP, (max_pool(), *HEAD)),
    "mean": Case(MAP, (average_pool(), conv(3, (1, 1)), *HEAD)),
    "two-readers": Case(MAP, (conv(3), conv(3, of=(0,)), add(1, 2), *HEAD)),
    "padded": Case(MAP, (conv(6, padding=ALL_1), RELU, *HEAD)),
}


def unlike(case: Case, count: int = 64) -> Array:
    """Samples whose channels have all sizes, every other one far from 0."""
    rng, channels = np.random.default_rng(4), case.shape[-1]
    size = 10.0 ** np.linspace(-2, 3, channels)
    x = rng.normal(size=(count, *case.shape)) * size + 30 * size * (np.arange(channels) % 2)
    return x.astype(np.float32)


def with_units(graph: Graph, x: Array, trained: frozenset[str] = frozenset()) -> Units | None:
    return input_units(graph, x, calibrate(graph, x), trained, "minmax")[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_in_units_is_the_same_network(name: str) -> None:
    graph, x = simplify(float_graph(NETWORKS[name])), unlike(NETWORKS[name])
    units = with_units(graph, x, frozenset(node.name for node in graph.nodes))
    assert units is not None
    assert units.offset.any() == (name != "padded")
    real = x.astype(np.float64)
    want = evaluate_float(graph, {graph.inputs[0]: real})[graph.outputs[0]]
    read = (real - units.offset) / units.scale
    got = evaluate_float(in_units(graph, units), {graph.inputs[0]: read})[graph.outputs[0]]
    np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max())


def test_units_make_all_channels_alike() -> None:
    case = NETWORKS["linear"]
    x = unlike(case, 1000)
    units = with_units(float_graph(case), x, frozenset({"linear1"}))
    assert units is not None
    read = (x - units.offset) / units.scale
    reach = np.abs(read).max(axis=0)
    np.testing.assert_allclose(reach, reach[0], rtol=1e-3)
    assert np.sqrt((read**2).mean()) == pytest.approx(1, rel=1e-3)


ALONE = {
    "one-channel": Case((8, 8, 1), (conv(3), RELU, *HEAD)),
    "alike-channels": Case((8, 8, 3), (conv(3), RELU, *HEAD)),
}


@pytest.mark.parametrize("name", ALONE)
def test_one_scale_stays_where_it_does(name: str) -> None:
    graph, rng = simplify(float_graph(ALONE[name])), np.random.default_rng(0)
    trained = frozenset(node.name for node in graph.nodes)
    assert (
        with_units(graph, rng.uniform(0, 255, (64, 8, 8, graph.sample.shape[2])), trained) is None
    )


def test_dark_pixels_at_the_border_stay_dark() -> None:
    x = load_digits().data.astype(np.float32)
    graph = float_graph(Case((64,), (linear(20), RELU, linear(10))))
    assert with_units(graph, x, frozenset({"linear1", "linear3"})) is None


def test_a_single_sample_says_nothing_about_channels() -> None:
    case = NETWORKS["linear"]
    assert with_units(float_graph(case), unlike(case, 1), frozenset({"linear1"})) is None


def test_a_network_that_brings_its_input_scale_keeps_it() -> None:
    case = NETWORKS["linear"]
    graph = float_graph(case)
    sample = replace(graph.sample, qparams=QParams(np.asarray(np.float32(1.0))))
    known = replace(graph, tensors={**graph.tensors, sample.name: sample})
    assert with_units(known, unlike(case), frozenset({"linear1"})) is None


@pytest.mark.parametrize("method", ["percentile:99.9", "mse"])
def test_every_calibration_knows_units(method: str) -> None:
    case = NETWORKS["linear"]
    graph, x = float_graph(case), unlike(case, 500)
    ranges = calibrate(graph, x, method)
    units, own = input_units(graph, x, ranges, frozenset({"linear1"}), method)
    assert units is not None
    low, high = own[graph.inputs[0]]
    assert 0.5 < high - low < 20


@pytest.mark.parametrize(
    ("largest", "size"), [(1e30, "large"), (1e-30, "small")], ids=["large", "small"]
)
def test_samples_beyond_all_usual_sizes_are_brought_to_1(largest: float, size: str) -> None:
    case = NETWORKS["padded"]
    x = np.random.default_rng(0).normal(size=(64, *case.shape)) * largest
    units = with_units(simplify(float_graph(case)), x.astype(np.float32))
    assert units is not None, size
    assert np.abs(x / units.scale).max() < 10


def test_what_reads_the_input_as_it_is_gets_a_warning() -> None:
    case = Case(MAP, (conv(4, padding=ALL_1), multiply(0, 1), *HEAD))
    graph = simplify(float_graph(case))
    said = (
        r'channel 0 of 4 .* 0\.\d of the 256 steps .* since multiply "multiply2" reads it as it is'
    )
    with pytest.warns(PrecisionWarning, match=said):
        assert with_units(graph, unlike(case), frozenset({"conv1"})) is None


def test_padding_beside_a_channel_far_from_0_gets_a_warning() -> None:
    case = Case((6, 7, 1), (conv(4, padding=ALL_1), RELU, *HEAD))
    x = np.random.default_rng(0).normal(938, 1.2, (64, 6, 7, 1)).astype(np.float32)
    with pytest.warns(PrecisionWarning, match=r'channel 0 of 1 .* "conv1" pads it with zeros'):
        with_units(simplify(float_graph(case)), x, frozenset({"conv1"}))


def test_units_are_kept_with_the_graph() -> None:
    case = NETWORKS["linear"]
    graph, x = float_graph(case), unlike(case)
    units, own = input_units(graph, x, calibrate(graph, x), frozenset({"linear1"}), "minmax")
    integers = quantize_graph(graph, own, frozenset(), units=units)
    again = text.load(*text.dump(integers), OPS).sample.qparams
    assert units is not None and again is not None and again.units is not None
    np.testing.assert_array_equal(again.units.scale, units.scale)
    np.testing.assert_array_equal(again.units.offset, units.offset)
