"""Are ranges, scales and biases what the scheme says, and are silent or odd layers safe?"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from case_layers import FLATTEN, HEAD, RELU, RELU6, Case, Layer, conv, linear, max_pool
from case_models import INPUT, Compiled, float_graph, samples
from cases import CASES

from insitu.errors import ModelError
from insitu.fixed_point import split_ratio
from insitu.graph.evaluate import evaluate_float
from insitu.graph.model import Array, Graph, Kind
from insitu.ops.layers.error import error_rescale, largest_error
from insitu.ops.layers.rows import SMALLEST_ROW, quantize_weights
from insitu.prepare.simplify import simplify
from insitu.quantize import calibrate, quantize_graph
from insitu.run.reference import Reference


def quantized(graph: Graph, x: Array, trained: set[str]) -> Graph:
    return quantize_graph(graph, calibrate(graph, x), trained)


# ranges


def test_a_range_is_the_smallest_and_largest_value_seen_over_all_batches() -> None:
    case = CASES["conv-odd"]
    graph, x = simplify(float_graph(case)), samples(case, 150)
    x[140] *= 3
    ranges = calibrate(graph, x)
    values = evaluate_float(graph, {INPUT: x})
    for name in (INPUT, *(node.outputs[0] for node in graph.nodes)):
        low, high = float(values[name].min()), float(values[name].max())
        assert ranges[name] == pytest.approx((min(low, 0), max(high, 0)), rel=1e-5)


def test_a_silent_layer_has_the_range_0_to_1() -> None:
    graph = simplify(float_graph(Case((4,), (linear(3, weights="zero"), RELU, linear(2)), bias=0)))
    assert calibrate(graph, samples(Case((4,), ()), 9))[graph.nodes[0].outputs[0]] == (0.0, 1.0)


def test_a_range_far_below_1_is_not_silence() -> None:
    case = Case((4,), (linear(3), RELU, linear(2)), scale=1e-8)
    low, high = calibrate(simplify(float_graph(case)), samples(case, 20))[INPUT]
    assert 1e-9 < high - low < 1e-6


def test_what_overflows_is_named() -> None:
    case = Case((4,), (linear(3, weights="large"), RELU, linear(2)), scale=5e37)
    with pytest.raises(ModelError, match=r"reaches .* on the calibration data"):
        calibrate(simplify(float_graph(case)), samples(case, 20))


def test_a_range_that_is_wider_than_float32_is_named() -> None:
    case = Case((4,), (linear(3), RELU, linear(2)))
    x = np.asarray([[2e38, -2e38, 1.0, 0.0]], np.float32)
    with pytest.raises(ModelError, match=r"reaches .* on the calibration data"):
        calibrate(simplify(float_graph(case)), x)


# weights


def test_a_row_fills_the_int8_grid() -> None:
    w = np.random.default_rng(0).normal(size=(6, 3, 3, 2)).astype(np.float32)
    q, scale = quantize_weights(w)
    assert np.abs(q.reshape(6, -1)).max(axis=1).tolist() == [127] * 6
    error = np.abs(q * scale.reshape(-1, 1, 1, 1) - w)
    assert (error <= 0.5001 * scale.reshape(-1, 1, 1, 1)).all()


def test_a_row_of_zeros_gets_the_median_scale() -> None:
    w = np.asarray([[0.0, 0.0], [1.0, -2.0], [3.0, 4.0], [5.0, 6.0]], np.float32)
    q, scale = quantize_weights(w)
    assert not q[0].any()
    assert scale[0] * 127 == pytest.approx(4.0)


def test_a_fresh_layer_gets_4_over_the_root_of_its_fan_in() -> None:
    q, scale = quantize_weights(np.zeros((3, 16), np.float32))
    assert not q.any()
    assert scale * 127 == pytest.approx([1.0] * 3)


def test_no_row_is_finer_than_what_its_layer_shows() -> None:
    """Batch norms with gamma near 0 make rows of almost nothing with an ordinary bias."""
    w = np.asarray([[1.0, 0.5], [1e-7, 2e-7]], np.float32)
    _, scale = quantize_weights(w)
    assert scale[1] == scale[0] * np.float32(SMALLEST_ROW)


@pytest.mark.parametrize("trained", ["all", "last:1"])
def test_a_row_of_almost_nothing_still_shows_its_bias(trained: str) -> None:
    """Its output is the bias, within a step of its own and one of the output."""
    case = replace(CASES["tiny-rows"], trained=trained)
    graph = simplify(float_graph(case))
    name = graph.nodes[0].inputs[1]
    data = graph.tensors[name].data
    assert data is not None
    data[0] *= 1e-6
    bias = graph.tensors[graph.nodes[0].inputs[2]].data
    assert bias is not None
    bias[0] = 1.5
    names = {n.name for n in graph.nodes if n.op.weights}
    step = quantized(
        graph, samples(case, 30), names if trained == "all" else {graph.nodes[-1].name}
    )
    values = Reference(step)._execute(
        {"x": np.zeros((5, 5, 2), np.int8)}, lambda node: node.op.name in ("conv", "row_parameters")
    )
    y = next(node.outputs[0] for node in step.nodes if node.op.name == "conv")
    q = step.tensors[y].qparams
    assert q is not None
    real = (values[y][..., 0].astype(float) - q.zero_point) * float(q.scale)
    assert np.abs(real - 1.5).max() <= 1.01 * float(q.scale)


# biases


def test_a_frozen_bias_has_the_accumulators_unit() -> None:
    """So it is as exact as the sum it joins, also where samples are tiny or huge."""
    for scale in (1e-6, 1.0, 1e6):
        case = Case((5,), (linear(4), RELU, linear(2)), scale=scale, trained="linear3", bias=1.0)
        case = replace(case, layers=(*case.layers[:2], linear(2, name="linear3")))
        graph = simplify(float_graph(case))
        bias = graph.tensors[graph.nodes[1].inputs[2]].data
        assert bias is not None
        bias[:] = 0
        step = quantized(graph, samples(case, 30), {"linear3"})
        node = step.nodes[0]
        stored = step.tensors[node.inputs[2]].data
        w, x = step.tensors[node.inputs[1]].qparams, step.tensors["x"].qparams
        wanted = graph.tensors[graph.nodes[0].inputs[2]].data
        assert stored is not None and w is not None and x is not None and wanted is not None
        unit = x.scale.astype(float) * w.scale
        assert np.abs(stored * unit - wanted).max() <= 0.51 * unit.max()


@pytest.mark.parametrize("trained", ["all", "linear3"])
def test_a_bias_that_cannot_be_kept_is_an_error(trained: str) -> None:
    case = Case((5,), (linear(4), RELU, linear(2, name="linear3")), scale=1e5)
    graph = simplify(float_graph(case))
    names = {"linear1", "linear3"} if trained == "all" else {trained}
    with pytest.raises(ModelError, match=r'"linear\d": a bias of .* is beyond the 1024'):
        quantized(graph, samples(case, 20), names)


# errors


@pytest.mark.parametrize("terms", [1, 1040, 1041, 5_000, 40_000, 130_000])
def test_errors_come_to_a_common_scale_and_their_sums_fit(terms: int) -> None:
    """rel = round(2^15 s / max s); as few bits are dropped as keep 127 |e'| terms in int32."""
    scale = np.asarray([0.003, 0.004, 0.00123, 0.004 / 256], np.float32)
    constants = error_rescale(scale, terms)
    exact = scale.astype(float) / float(scale.max()) * 2**15
    assert np.abs(constants.rel - exact).max() <= 0.502
    assert constants.rel[1] == 2**15
    assert 127 * largest_error(constants.drop) * terms < 2**31
    assert constants.drop == 0 or 127 * largest_error(constants.drop - 1) * terms >= 2**31
    multiplier, shift = split_ratio(float(scale.max()) / 2.0 ** (7 - constants.drop))
    assert (constants.multiplier, constants.shift) == (multiplier, shift)


def test_more_terms_than_int32_can_sum_are_left_to_the_bound() -> None:
    """Seven bits dropped leave the error as it was; more products than that are refused."""
    constants = error_rescale(np.ones(2, np.float32), 10**6)
    assert constants.drop == 7
    assert largest_error(7) == 127


# structure


def test_frozen_layers_are_constants_and_trained_ones_follow_their_range() -> None:
    step = Compiled(CASES["last-2"]).forward
    kinds = {t.name: t.kind for t in step.tensors.values()}
    assert kinds["conv1.w"] is Kind.CONSTANT
    assert kinds["linear7.w"] is kinds["linear7.range"] is Kind.STATE
    assert "conv1.range" not in kinds
    frozen = step.tensors[next(n for n in step.nodes if n.name == "conv1").outputs[0]].qparams
    assert frozen is not None and frozen.range is None


def test_a_frozen_layer_behind_a_trained_one_has_parameters_that_move() -> None:
    step = Compiled(CASES["first-only"]).forward
    moving = [n.layer for n in step.nodes if n.op.name == "row_parameters"]
    assert moving == ["conv1", "conv3"]


def test_the_last_linear_layer_gives_float_scores_and_others_are_dequantized() -> None:
    def last(case: str) -> str:
        return Compiled(CASES[case]).forward.nodes[-1].op.name

    assert last("linear") == "logits"
    for case in ("linear-clipped-scores", "ends-in-average", "ends-in-conv", "ends-in-map"):
        forward = Compiled(CASES[case]).forward
        names = [node.op.name for node in forward.nodes if node.phase.value == "forward"]
        assert names[-1] == "dequantize"


def test_an_op_without_integers_is_named() -> None:
    case = Case((4,), (linear(3), Layer("softmax", name="middle"), linear(2)))
    with pytest.raises(ModelError, match='softmax "middle" cannot be quantized'):
        quantized(simplify(float_graph(case)), samples(case, 9), set())


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0, 1e3])
def test_scores_of_the_quantized_network_follow_the_float_ones(scale: float) -> None:
    """No bound adds up over layers; a network of this size loses a few percent of its scores."""
    layers = (conv(4), RELU6 if scale == 1 else RELU, max_pool(), *HEAD)
    case = Case((8, 8, 2), layers, scale=scale, trained="last:1")
    compiled, x = Compiled(case), samples(case, 60, seed=1)
    expected = evaluate_float(compiled.simple, {INPUT: x})[compiled.simple.outputs[0]]
    q = compiled.forward.tensors["x"].qparams
    assert q is not None
    grid = np.clip(np.round(x / q.scale) + q.zero_point, -128, 127).astype(np.int8)
    reference = Reference(compiled.step)
    got = np.stack([reference.predict(sample) for sample in grid])
    assert np.abs(got - expected).max() < 0.1 * np.abs(expected).max()


def test_flatten_clip_and_pool_keep_the_quantization_of_their_input() -> None:
    compiled = Compiled(Case((6, 6, 2), (conv(3), max_pool(), RELU, FLATTEN, RELU)))
    tensors = compiled.forward.tensors
    found = {n.op.name: tensors[n.outputs[0]].qparams for n in compiled.forward.nodes if n.outputs}
    assert found["max_pool"] == found["conv"] == found["clip"] == found["flatten"]
    assert math.isinf(tensors["conv1.y"].qparams.clip_max)  # type: ignore[union-attr]
