"""What deep networks get: channels of one size, steps of weights that make up for each other."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from builds import source_of
from case_layers import (
    ALL_1,
    FLATTEN,
    RELU,
    RELU6,
    Case,
    add,
    average_pool,
    conv,
    grouped,
    linear,
    max_pool,
)
from case_models import float_graph, samples
from hypothesis import given, settings
from hypothesis import strategies as st
from mixing_cases import concat

import insitu
from insitu import pipeline
from insitu.config import TrainingConfig
from insitu.data.samples import Samples
from insitu.differentiate import differentiate
from insitu.errors import PrecisionWarning
from insitu.frontends.model import Model
from insitu.graph.evaluate import evaluate_float
from insitu.graph.model import Array, Graph, QParams
from insitu.graph.scheme import Scheme
from insitu.measure.fidelity import measure_fidelity
from insitu.measure.quality import Verdict
from insitu.prepare.simplify import simplify
from insitu.quantize import calibrate, quantize_graph, refine, size
from insitu.quantize.equalize import equalized
from insitu.quantize.parameters import parameters_of, with_parameters
from insitu.quantize.rounding import best_steps, nearest, on_grids

POINT = (1, 1)
RESIDUAL = Case(
    (8, 8, 3),
    (
        *(conv(12, padding=ALL_1), RELU6, conv(6, POINT)),
        *(conv(18, POINT), RELU6, grouped(18, 18, padding=ALL_1), RELU6, conv(6, POINT), add(3, 8)),
        *(conv(18, POINT), RELU6, grouped(18, 18, padding=ALL_1), RELU6, conv(6, POINT)),
        *(add(9, 14), RELU6, average_pool(), max_pool(), FLATTEN, linear(16), RELU, linear(5)),
    ),
)
"""Inverted residuals: each sum's members can change together only, and every kind of bound."""


def unlike(seed: int = 0) -> Graph:
    """Rows of all layers but the last differ in size up to 200 fold."""
    graph, rng = simplify(float_graph(RESIDUAL)), np.random.default_rng(seed)
    layers = [node for node in graph.nodes if node.op.weights]
    for node in layers[:-1]:
        w, bias = (graph.operand(node, name).data for name in ("w", "bias"))
        assert w is not None and bias is not None
        sizes = 200.0 ** -rng.random(len(w))
        w *= sizes.reshape(-1, *[1] * (w.ndim - 1))
        bias *= sizes
    return graph


def scores(graph: Graph, x: Array) -> Array:
    return evaluate_float(graph, {graph.inputs[0]: x.astype(np.float64)})[graph.outputs[0]]


def activations(graph: Graph, x: Array) -> dict[str, Array]:
    seen: dict[str, Array] = {}
    evaluate_float(graph, {graph.inputs[0]: x.astype(np.float64)}, observe=seen.__setitem__)
    return seen


@settings(max_examples=10)
@given(seed=st.integers(0, 2**16), size=st.floats(0.1, 30))
def test_a_network_with_channels_of_one_size_computes_the_same(seed: int, size: float) -> None:
    """Where ReLU6 cuts too, and on samples that calibration has not seen."""
    graph, x = unlike(seed), samples(RESIDUAL, 60) * size
    other = equalized(graph, x[:20], frozenset())
    assert other is not graph
    exact = scores(graph, x)
    np.testing.assert_allclose(scores(other, x), exact, rtol=1e-3, atol=1e-4 * np.abs(exact).max())


def test_a_sum_with_a_bound_computes_the_same_where_it_is_reached() -> None:
    """Calibration sees small channels far below 6, and so has a factor; later they reach it."""
    case = Case(
        (6, 6, 3),
        (conv(6, POINT), conv(6, POINT, of=(1,)), add(1, 2), RELU6, conv(4), FLATTEN, linear(3)),
    )
    graph, x = simplify(float_graph(case)), samples(case, 60)
    for node in graph.nodes[:2]:
        w, bias = parameters_of(graph, node)
        sizes = np.asarray([4, 4, 4, 4, 0.1, 0.1])
        values = w * sizes.reshape(-1, 1, 1, 1), bias * sizes
        graph = with_parameters(graph, node, values, "unlike")
    other = equalized(graph, x, frozenset())
    (sum_of,) = (node for node in other.nodes if node.op.name == "add")
    assert np.ndim(sum_of.attributes["clip"][1]) == 1
    large = x * 60
    reached = activations(graph, large)[sum_of.outputs[0]][..., 4:]
    assert (reached == 6).any()
    np.testing.assert_allclose(scores(other, large), scores(graph, large), rtol=1e-3, atol=1e-3)


def test_channels_come_closer_to_one_size() -> None:
    graph, x = unlike(), samples(RESIDUAL, 60)

    def smallest(graph: Graph) -> float:
        """The mean over maps of how far the smallest channel reaches beside the largest."""
        maps = [v for v in activations(graph, x).values() if v.ndim == 4]
        reach = [np.abs(v).max(axis=(0, 1, 2)) for v in maps]
        return float(np.mean([r.min() / r.max() for r in reach]))

    assert smallest(equalized(graph, x, frozenset())) > 2 * smallest(graph)


def test_what_is_trained_stays() -> None:
    graph, x = unlike(), samples(RESIDUAL, 20)
    layers = frozenset(node.name for node in graph.nodes if node.op.weights)
    assert equalized(graph, x, layers) is graph


def test_a_layer_that_came_quantized_keeps_its_weights() -> None:
    """Each alone: what it reads and what it makes stay as they are, and others may change."""
    graph, x = unlike(), samples(RESIDUAL, 20)
    for layer in (node for node in graph.nodes if node.op.weights):
        w = graph.operand(layer, "w")
        known = replace(w, qparams=QParams(scale=np.ones(w.shape[0], np.float32)))
        given = replace(graph, tensors={**graph.tensors, w.name: known})
        other = equalized(given, x, frozenset())
        (now,) = (node for node in other.nodes if node.name == layer.name)
        assert other.operand(now, "w") is known
        np.testing.assert_allclose(scores(other, x), scores(graph, x), rtol=1e-3, atol=1e-5)


def test_a_trained_layer_reads_what_a_frozen_one_makes_larger() -> None:
    graph, x = unlike(), samples(RESIDUAL, 40)
    last = [node.name for node in graph.nodes if node.op.weights][-2:]
    other = equalized(graph, x, frozenset(last))
    np.testing.assert_allclose(scores(other, x), scores(graph, x), rtol=1e-3, atol=1e-5)
    kept, now = (
        {n.name: g.operand(n, "bias").data for n in g.nodes if n.op.weights} for g in (graph, other)
    )
    for name in last:
        np.testing.assert_array_equal(kept[name], now[name])


def lost(steps: Array, exact: Array, covariance: Array) -> Array:
    error = steps - exact
    return np.asarray(np.einsum("gri,gij,grj->gr", error, covariance, error))


@given(
    seed=st.integers(0, 2**32 - 1),
    groups=st.integers(1, 3),
    out=st.integers(1, 4),
    fan_in=st.integers(1, 12),
)
def test_no_row_loses_more_than_by_its_nearest_steps(
    seed: int, groups: int, out: int, fan_in: int
) -> None:
    rng = np.random.default_rng(seed)
    exact = rng.normal(size=(groups, out, fan_in)) * 60
    mixed = rng.normal(size=(groups, fan_in, fan_in))
    covariance = mixed @ mixed.swapaxes(1, 2) + 0.1 * np.eye(fan_in)
    chosen = best_steps(exact, covariance)
    assert np.array_equal(chosen, np.rint(chosen)) and np.abs(chosen).max() <= 127
    before = lost(nearest(exact), exact, covariance)
    assert (lost(chosen, exact, covariance) <= before * (1 + 1e-9)).all()


def test_rows_of_inputs_that_go_together_lose_less() -> None:
    rng = np.random.default_rng(1)
    exact = rng.normal(size=(2, 50, 24)) * 30
    few = rng.normal(size=(2, 24, 4))
    covariance = few @ few.swapaxes(1, 2) + 0.01 * np.eye(24)
    before = lost(nearest(exact), exact, covariance).sum()
    assert lost(best_steps(exact, covariance), exact, covariance).sum() < before / 4


def test_inputs_that_go_together_share_their_error() -> None:
    """Three equal inputs with weights of 0.4 steps: together 1.2, the nearest whole sum is 1."""
    covariance = np.ones((1, 3, 3)) + 0.01 * np.eye(3)
    exact = np.full((1, 1, 3), 0.4)
    assert nearest(exact).sum() == 0
    assert best_steps(exact, covariance).sum() == 1


def errors(graph: Graph, other: Graph, x: Array) -> tuple[float, float]:
    """Mean and mean square of what other weights change in the layers' sums, by their spread."""
    exact = activations(graph, x) | {graph.inputs[0]: x}
    shifts, squares = [], []
    for node, new in zip(graph.nodes, other.nodes, strict=True):
        if not node.op.weights:
            continue
        plain = {key: value for key, value in node.attributes.items() if key != "clip"}
        given = exact[node["x"]].astype(np.float64)
        assert node.op.float_reference is not None
        before, after = (
            node.op.float_reference(plain, [given, *parameters_of(g, n)])[0]
            for g, n in ((graph, node), (other, new))
        )
        rows = (after - before).reshape(-1, before.shape[-1])
        spread = before.reshape(rows.shape).std(axis=0)
        shifts.append(np.abs(rows.mean(axis=0) / spread).mean())
        squares.append(((rows / spread) ** 2).mean())
    return float(np.mean(shifts)), float(np.mean(squares))


def test_weights_lie_on_the_grid_and_keep_the_mean() -> None:
    graph, x = unlike(), samples(RESIDUAL, 60)
    integers = quantize_graph(graph, calibrate(graph, x), frozenset())
    other = on_grids(graph, integers, x, units=False)
    again = quantize_graph(other, calibrate(other, x), frozenset())
    plain = graph
    for node in other.nodes:
        if not node.op.weights:
            continue
        w = other.operand(node, "w")
        assert w.data is not None and w.qparams is not None
        scale = w.qparams.scale.reshape(-1, *[1] * (w.data.ndim - 1))
        np.testing.assert_allclose(w.data / scale, np.rint(w.data / scale), atol=1e-3)
        stored = again.tensors[f"{node.name}.w"].data
        np.testing.assert_array_equal(stored, np.rint(w.data / scale))
        own = next(n for n in plain.nodes if n.name == node.name)
        exact, bias = parameters_of(plain, own)
        plain = with_parameters(plain, own, (nearest(exact / scale) * scale, bias), "nearest")
    (shift, square), (before, most) = (errors(graph, g, x) for g in (other, plain))
    assert shift < before / 100
    assert square < most


def test_a_layer_that_is_silent_or_tiny_is_rounded_too() -> None:
    """Inputs that never vary, or hardly, have no covariance to speak of."""
    graph, x = unlike(), samples(RESIDUAL, 20)
    first = graph.nodes[0]
    for part in (0.0, 1e-38):
        w, bias = parameters_of(graph, first)
        other = with_parameters(graph, first, (w * part, bias * part), "tiny")
        integers = quantize_graph(other, calibrate(other, x), frozenset())
        done = on_grids(other, integers, x, units=False)
        for tensor in done.tensors.values():
            assert tensor.data is None or np.isfinite(tensor.data).all()


@pytest.mark.parametrize("method", ["minmax", "percentile:99.9", "mse"])
def test_a_refined_network_is_closer_to_float(method: str) -> None:
    graph, x = unlike(3), samples(RESIDUAL, 120)
    nothing: frozenset[str] = frozenset()
    sized = size(graph, x[:60], nothing, Scheme(), method)
    better = refine(sized, x[:60], nothing, Scheme(), method)
    assert better is not None
    held = Samples(x[60:].transpose(0, 3, 1, 2), None, "held back")
    made = (sized, replace(better, rounded=None), better)
    before, nearest_steps, after = (1 - measure_fidelity(one, held).score_cosine for one in made)
    assert after < before / 3
    assert after < nearest_steps


def test_what_was_said_of_a_network_is_not_said_again_of_its_refined_form() -> None:
    case = Case((6,), (linear(4), RELU, concat(0, 2, axis=0), linear(4)), scale=1e-3, bias=1e4)
    graph, x = simplify(float_graph(case)), samples(case, 100)
    nothing: frozenset[str] = frozenset()
    with pytest.warns(PrecisionWarning, match="branch 0 of 2"):
        sized = size(graph, x, nothing, Scheme(), "minmax")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert refine(sized, x, nothing, Scheme(), "minmax") is not None


def test_of_bounds_of_one_a_channel_the_tightest_ends_the_map() -> None:
    case = Case((4, 4, 2), (conv(2, POINT), RELU6, FLATTEN, linear(3)))
    graph, x = simplify(float_graph(case)), samples(case, 40) * 100
    first = graph.nodes[0]
    clip = (np.asarray([0.0, 1.0]), np.asarray([6.0, 48.0]))
    bounded = replace(first, attributes={**first.attributes, "clip": clip})
    graph = graph.with_nodes((bounded, *graph.nodes[1:]))
    assert activations(graph, x)[first.outputs[0]].max() > 7
    sized = size(graph, x, frozenset(), Scheme(), "minmax")
    integers, names = sized.quantized(frozenset(), Scheme())
    q = integers.tensors[names[first.outputs[0]]].qparams
    assert q is not None
    low, high = (float(q.scale) * (end - q.zero_point) for end in (q.clamp_min, q.clamp_max))
    assert (low, high) == pytest.approx((1, 6), abs=float(q.scale) / 2)


def test_where_everything_is_trained_or_float_nothing_can_be_refined() -> None:
    graph, x = unlike(), samples(RESIDUAL, 20)
    layers = frozenset(node.name for node in graph.nodes if node.op.weights)
    for scheme, trained in (
        (Scheme(), layers),
        (Scheme(precision="float32"), layers),
        (Scheme(preset="paper"), frozenset(list(layers)[:1])),
    ):
        sized = size(graph, x, trained, scheme, "minmax")
        assert refine(sized, x, trained, scheme, "minmax") is None


def test_the_part_in_float_stays_as_it_is() -> None:
    """Bounds of one a channel are for 8 bits alone: a kernel in float takes two numbers."""
    behind = (linear(8), RELU6, linear(8), RELU6, linear(4))
    case = Case((6, 6, 2), (conv(4), RELU6, conv(4), RELU6, FLATTEN, *behind))
    graph, x = simplify(float_graph(case)), samples(case, 40) * 20
    for node in graph.nodes:
        for name in ("w", "bias"):
            data = graph.operand(node, name).data
            assert data is not None
            data[0] /= 50
    scheme, trained = Scheme(precision="mixed"), frozenset({"linear6"})
    sized = size(graph, x, trained, scheme, "minmax")
    better = refine(sized, x, trained, scheme, "minmax")
    assert better is not None and better.graph is not sized.graph
    np.testing.assert_allclose(scores(better.graph, x), scores(graph, x), rtol=1e-3, atol=1e-4)
    source_of(differentiate(better.quantized(trained, scheme)[0]), "model")
    bounds = [node.attributes["clip"] for node in better.graph.nodes[2:-1]]
    assert bounds == [(0.0, 6.0)] * 2


def test_compile_keeps_what_is_closer_to_float_and_trains_it_alike_everywhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    graph, x = unlike(3), samples(RESIDUAL, 100)
    last = graph.operand(graph.nodes[-1], "bias").data
    assert last is not None
    last -= scores(graph, x).mean(axis=0).astype(np.float32)
    verdicts: list[Verdict] = []
    judged = pipeline._verdict

    def kept(*arguments: Any) -> Verdict:
        verdicts.append(judged(*arguments))
        return verdicts[-1]

    monkeypatch.setattr(pipeline, "_verdict", kept)
    image = x.transpose(0, 3, 1, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = insitu.compile(
            Model("deep", graph, (3, 8, 8)),
            calibration=image,
            training=TrainingConfig(layers="last:1"),
        )
        run = network.run(image, scores(graph, x).argmax(axis=1).astype(np.int32), steps=20)
    before, after = verdicts
    assert after.error < before.error / 2
    assert network.quality.agreement == after.quality.agreement
    assert run.twin_equal


def test_compare_speaks_of_the_network_that_compile_would_keep() -> None:
    graph, x = unlike(3), samples(RESIDUAL, 100)
    nothing: frozenset[str] = frozenset()
    image = x.transpose(0, 3, 1, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = measure_fidelity(
            size(graph, x, nothing, Scheme(), "minmax"), Samples(image[:40], None, "data")
        )
        found = insitu.compare(Model("deep", graph, (3, 8, 8)), data=image[:40], samples=40)
    assert plain.could_be_better
    assert 1 - found.score_cosine < (1 - plain.score_cosine) / 2
