"""The preset paper: its formulas in float64, and the same bits everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from case_models import Compiled, HostBuilder, run_reference
from cases import CASES
from hypothesis import given
from hypothesis import strategies as st
from networks import digits_mlp
from pages import DOCS, blocks

import insitu
from insitu.errors import ConfigError, ModelError
from insitu.fixed_point import F32, range_qparams, square_root
from insitu.graph.model import Array, Kind, Node, OpDef, QParams, Value
from insitu.graph.scheme import PartialUpdate, Scheme
from insitu.ops import OPS
from insitu.ops.layers.affine import ONE_PLACE, affine, affine_grad_input
from insitu.ops.updates.standardized import affine_accumulate, affine_apply, standardize
from insitu.run.reference import Reference

SCHEMES = {
    "batch": Scheme(preset="paper", batch=4),
    "every-sample": Scheme(preset="paper"),
    "moving": Scheme(preset="paper", batch=2, error_range="moving"),
    "dynamic": Scheme(
        preset="paper", batch=2, partial=PartialUpdate(kind="dynamic", least=0.3, most=1.0)
    ),
}
NAMES = (
    *("conv-odd", "conv-7x7-stride-2", "conv-windows-of-padding", "conv-relu6", "max-overlap"),
    *("linear-wide", "linear-of-map", "last-3", "zero-head", "zero-layer", "ends-in-conv"),
    *("input-1e3", "depthwise-asymmetric", "depthwise-dilated", "depthwise-first", "zoo-groups"),
)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> HostBuilder:
    return HostBuilder(tmp_path_factory.mktemp("host"))


@pytest.mark.toolchain
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_twin_equals_reference(host: HostBuilder, name: str, scheme: str) -> None:
    compiled = Compiled(CASES[name], SCHEMES[scheme])
    stream = compiled.stream(30)
    wanted, got = run_reference(compiled.step, stream), host.library(compiled).run(stream)
    assert got.state == wanted.state
    np.testing.assert_array_equal(got.losses, wanted.losses)
    np.testing.assert_array_equal(got.predicted, wanted.predicted)


@pytest.mark.toolchain
@pytest.mark.slow
@pytest.mark.parametrize("board", ["nrf52840", "rp2040"])
@pytest.mark.parametrize("error_range", ["fixed", "moving"])
def test_board_equals_twin(tmp_path: Path, board: str, error_range: str) -> None:
    onnx.save(digits_mlp(), tmp_path / "mlp.onnx")
    rng = np.random.default_rng(0)
    x, y = rng.normal(0, 1, (10, 1, 8, 8)).astype(F32), rng.integers(0, 10, 10)
    training = insitu.TrainingConfig(preset="paper", batch=3, error_range=error_range)
    net = insitu.compile(
        insitu.load(tmp_path / "mlp.onnx"), calibration=x, training=training, board=board
    )
    result = net.run(x, y)
    assert result.twin_equal
    assert result.state != net.twin().state


def test_errors_that_move_stop_at_average_pools() -> None:
    with pytest.raises(ConfigError, match="average pools"):
        Compiled(CASES["average-stride-1"], SCHEMES["moving"]).step  # noqa: B018


def node(op: OpDef, **attributes: object) -> Node:
    return Node("n", op, (), ("y",), attributes)


def affine_value(rng: np.random.Generator, shape: tuple[int, ...], low: float) -> Value:
    """int8 noise on an affine range whose zero point is anywhere."""
    q = range_qparams(low, float(rng.uniform(0.1, 1.0)), -np.inf, np.inf)
    return Value(rng.integers(-128, 128, shape).astype(np.int8), q)


def real(value: Value) -> Array:
    """What an affine tensor means."""
    assert value.qparams is not None
    centred = value.array.astype(np.float64) - value.qparams.zero_point
    return centred * float(value.qparams.scale)


def test_zero_points_are_subtracted() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        x, w = affine_value(rng, (30,), -0.7), affine_value(rng, (9, 30), -0.2)
        bias = rng.integers(-(2**18), 2**18, 9).astype(np.int32)
        wanted = real(w) @ real(x) + bias * 2.0**-20
        (scores,) = affine.integer_reference(  # type: ignore[misc]
            node(affine, scores=True, shape=(9,), **ONE_PLACE), [x, w, Value(bias)], [None]
        )
        np.testing.assert_allclose(scores, wanted, rtol=0, atol=2e-6 * (1 + np.abs(wanted).max()))
        y_q = range_qparams(float(wanted.min()), float(wanted.max()), -np.inf, np.inf)
        (y,) = affine.integer_reference(  # type: ignore[misc]
            node(affine, scores=False, shape=(9,), **ONE_PLACE), [x, w, Value(bias)], [y_q]
        )
        # a half for rounding, and the bias in whole units of the accumulator
        got = (y.astype(np.int64) - y_q.zero_point) * float(y_q.scale)
        unit = float(x.qparams.scale) * float(w.qparams.scale)  # type: ignore[union-attr]
        clipped = np.clip(wanted, got.min(), got.max())
        assert np.abs(got - clipped).max() <= 0.501 * float(y_q.scale) + unit


def test_errors_go_back_through_what_the_weights_mean() -> None:
    rng = np.random.default_rng(1)
    error_q = QParams(scale=np.asarray(F32(1 / 127)))
    for _ in range(50):
        w = affine_value(rng, (7, 20), -0.3)
        dy = Value(rng.integers(-127, 128, 7).astype(np.int8), error_q)
        dx, largest = affine_grad_input.integer_reference(  # type: ignore[misc]
            Node("n", affine_grad_input, (), ("dx", "l"), {**ONE_PLACE, "shape": (20,)}),
            [dy, w],
            [error_q, None],
        )
        wanted = real(dy) @ real(w)
        assert np.abs(np.clip(wanted, -1, 1) - dx / 127).max() <= 0.501 / 127
        assert largest[0] == pytest.approx(np.abs(wanted).max(), rel=1e-6)


@pytest.mark.parametrize(("groups", "dilation"), [(1, (2, 1)), (2, (1, 1)), (6, (1, 2))])
def test_windows_with_groups_are_those_of_the_float_layer(
    groups: int, dilation: tuple[int, int]
) -> None:
    rng = np.random.default_rng(groups)
    x = affine_value(rng, (9, 8, 6), -0.7)
    w = affine_value(rng, (12, 3, 3, 6 // groups), -0.2)
    window = {
        "stride": (2, 1), "padding": (2, 0, 1, 1), "groups": groups, "dilation": dilation,
        "kernel": (3, 3), "size": (9, 8),
    }  # fmt: skip
    bias = rng.integers(-(2**18), 2**18, 12, np.int32)
    inputs = [real(x)[None], real(w), bias / 2.0**20]
    (wanted,) = OPS["conv"].float_reference(window, inputs)  # type: ignore[misc]
    (scores,) = affine.integer_reference(  # type: ignore[misc]
        node(affine, scores=True, shape=wanted[0].shape, **window), [x, w, Value(bias)], [None]
    )
    np.testing.assert_allclose(scores, wanted[0], rtol=1e-5, atol=1e-5)

    dy = rng.integers(-127, 128, scores.shape, np.int8)
    error_q = QParams(np.asarray(F32(1 / 64)))
    (dx,) = affine_grad_input.integer_reference(  # type: ignore[misc]
        Node("n", affine_grad_input, (), ("dx",), {**window, "shape": x.array.shape}),
        [Value(dy, QParams(np.asarray(F32(1 / 512)))), w],
        [error_q],
    )
    nudge = rng.normal(0, 1, x.array.shape)
    (moved,) = OPS["conv"].float_reference(window, [nudge[None], real(w), np.zeros(12)])  # type: ignore[misc]
    exact = float((moved[0] * dy / 512).sum())
    assert (dx / 64 * nudge).sum() == pytest.approx(exact, abs=0.2 * np.abs(nudge).sum() / 64)

    zeros = [Value(np.zeros(12, np.int32)), Value(np.zeros(w.array.shape, np.int32))]
    bias_gradient, gradient = affine_accumulate.integer_reference(  # type: ignore[misc]
        node(affine_accumulate, **window), [Value(dy), x, *zeros], []
    )
    centred = x.array.astype(np.float64) - x.qparams.zero_point  # type: ignore[union-attr]
    (y,) = OPS["conv"].float_reference(  # type: ignore[misc]
        window, [centred[None], w.array.astype(np.float64), np.zeros(12)]
    )
    assert (gradient * w.array.astype(np.int64)).sum() == (y[0] * dy).sum()
    np.testing.assert_array_equal(bias_gradient, dy.astype(np.int64).sum(axis=(0, 1)))


def float64_step(w: Array, gradient: Array, rate: float) -> Array:
    """w - rate (g - mean) / sd by row, as the paper has it."""
    g = gradient.astype(np.float64)
    mean, sd = g.mean(axis=1, keepdims=True), g.std(axis=1, keepdims=True)
    return np.asarray(w - rate * (g - mean) / np.where(sd > 0, sd, np.inf))


def applied(w: Value, gradient: Array, bias_gradient: Array, rate: float) -> list[Array]:
    """(bias buffer, buffer, bias, range, w) after an update of zero biases."""
    rows = len(w.array)
    zeros, old = np.zeros(rows, np.int32), np.asarray([-9, 9], F32)
    arrays = [np.asarray([rate], F32), bias_gradient, gradient, zeros, old]
    assert affine_apply.integer_reference is not None
    return list(affine_apply.integer_reference(node(affine_apply), [*map(Value, arrays), w], []))


def test_an_update_is_that_of_the_paper() -> None:
    rng = np.random.default_rng(2)
    for _ in range(40):
        w = affine_value(rng, (6, 45), -0.4)
        gradient = rng.normal(rng.normal(0, 2e4), 3e5, (6, 45)).astype(np.int32)
        gradient[0] = 1234  # of no deviation: the row stays
        bias_gradient = rng.integers(-9999, 9999, 6).astype(np.int32)
        results = applied(w, gradient, bias_gradient, 0.01)
        bias_buffer, buffer, bias, new_range, new_w = results
        wanted = float64_step(real(w), gradient, 0.01)
        np.testing.assert_allclose(
            new_range, [min(wanted.min(), 0), max(wanted.max(), 0)], rtol=1e-5
        )
        low, high = map(float, new_range)
        scale = (high - low) / 255
        zero = round(-low / scale) - 128
        # s = (fmax - fmin) / 255, z = round(-fmin / s): nearest, so within half a step
        inside = np.clip(wanted, (-128 - zero) * scale, (127 - zero) * scale)
        assert np.abs((new_w.astype(np.int64) - zero) * scale - inside).max() <= 0.501 * scale
        wanted_bias = -float64_step(np.zeros((1, 6)), bias_gradient[None], 0.01)[0]
        np.testing.assert_allclose(-bias * 2.0**-20, wanted_bias, atol=2.0**-20)
        assert not bias_buffer.any() and not buffer.any()


def test_weights_that_are_all_zero_keep_their_range() -> None:
    q = range_qparams(-0.5, 0.5, -np.inf, np.inf)
    w = Value(np.full((2, 3), q.zero_point, np.int8), q)
    results = applied(w, np.zeros((2, 3), np.int32), np.zeros(2, np.int32), 0.1)
    np.testing.assert_array_equal(results[3], [-9, 9])
    np.testing.assert_array_equal(results[4], w.array)


@given(st.floats(2.0**-120, 2.0**120, width=32))
def test_square_roots_are_right(x: float) -> None:
    assert float(square_root(F32(x))) == pytest.approx(np.sqrt(x), rel=2e-7)


def test_the_largest_gradients_do_not_overflow() -> None:
    mean, factor = standardize(np.asarray([2**31 - 1, -(2**31) + 1] * 500, np.int32), F32(1))
    assert mean == 0
    assert float(factor) == pytest.approx(2.0**-31, rel=1e-5)


def test_a_batch_is_the_sum_of_its_samples_exactly() -> None:
    """Buffers of a batch that is not complete against those of its samples alone."""
    compiled = Compiled(CASES["linear-of-map"], Scheme(preset="paper", batch=50))
    stream = compiled.stream(12)
    shape = compiled.step.tensors[compiled.step.inputs[0]].shape
    together = Reference(compiled.step, seed=1)
    sums: dict[str, Array] = {}
    names = [t.name for t in compiled.step.of_kind(Kind.STATE) if t.name.endswith("_buffer")]
    for index in range(12):
        alone = Reference(compiled.step, seed=1)
        x = stream.x[index].reshape(shape)
        for reference in (together, alone):
            reference.train_step(x, index % 3, 0.1)
        for name in names:
            gradient = alone.state[name].astype(np.int64)
            sums[name] = sums.get(name, np.zeros_like(gradient)) + gradient
    for name in names:
        assert sums[name].any()
        np.testing.assert_array_equal(together.state[name], sums[name])


def test_the_range_of_errors_holds_for_a_batch() -> None:
    compiled = Compiled(CASES["linear-wide"], Scheme(preset="paper", batch=3, error_range="moving"))
    stream, reference = compiled.stream(12), Reference(compiled.step, seed=1)
    shape = compiled.step.tensors[compiled.step.inputs[0]].shape
    name = next(n for n in reference.state if n.endswith(".error_range"))
    ahead = name.replace("error_range", "error_ahead")
    seen = []
    for index in range(6):
        reference.train_step(stream.x[index].reshape(shape), 0, 0.01)
        seen.append(float(reference.state[name][1]))
    assert seen[0] == seen[1] == pytest.approx(1, rel=1e-6)
    assert seen[2] != seen[1] and seen[2] == seen[3] == seen[4] != seen[5]
    assert seen[5] == float(reference.state[ahead][0])
    low, high = reference.state[name]
    q = range_qparams(float(low), float(high), -np.inf, np.inf)
    assert q.zero_point == 0


@pytest.mark.parametrize("name", ["linear-wide", "conv-no-activation", "conv-relu6"])
def test_no_error_passes_where_a_range_holds_a_value(name: str) -> None:
    """The range is a bound of the activation function, whatever else that is."""
    step = Compiled(CASES[name], Scheme(preset="paper", batch=3)).step
    layers = [n for n in step.nodes if n.op is affine and not n.attributes["scores"]]
    assert layers
    for layer in layers:
        q = step.tensors[layer.outputs[0]].qparams
        assert q is not None
        (mask,) = (n for n in step.nodes if n.name == f"{layer.name}.clip_grad")
        y = np.arange(-128, 128).astype(np.int8)
        inputs = [Value(np.full(256, 5, np.int8), q), Value(y, q)]
        (passed,) = mask.op.integer_reference(mask, inputs, [q])  # type: ignore[misc]
        inside = (y > q.clamp_min) & (y < q.clamp_max)
        np.testing.assert_array_equal(passed, np.where(inside, 5, 0))


def test_a_buffer_that_could_overflow_is_refused() -> None:
    with pytest.raises(ModelError, match="20 positions and 4096 samples"):
        Compiled(CASES["conv-7x7-stride-2"], Scheme(preset="paper", batch=4096)).step  # noqa: B018


def test_the_preset_has_a_batch_of_its_own() -> None:
    assert insitu.TrainingConfig(preset="paper").batch == 48
    assert insitu.TrainingConfig(preset="paper", batch=5).batch == 5
    assert insitu.TrainingConfig().batch == 1


@pytest.mark.parametrize(
    "options", [{"momentum": 0.9}, {"weight_decay": 0.1}, {"buffer": "int16"}, {"update": "bias"}]
)
def test_what_the_paper_does_not_have_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="preset"):
        insitu.TrainingConfig(preset="paper", **options)  # type: ignore[arg-type]


def test_the_page_says_the_same() -> None:
    """docs/arithmetic.md against the library."""
    page: dict[str, Any] = {}
    for block in blocks(DOCS / "arithmetic.md"):
        exec(block.text, page)
    rng = np.random.default_rng(8)
    w, rate = affine_value(rng, (4, 9), -0.3), F32(0.02)
    assert w.qparams is not None
    gradient = rng.integers(-9000, 9000, (4, 9)).astype(np.int32)
    scale, zero = F32(w.qparams.scale), w.qparams.zero_point
    wanted, ends = page["paper_update"](w.array.tolist(), scale, zero, gradient.tolist(), rate)
    _, _, _, new_range, new_w = applied(w, gradient, np.zeros(4, np.int32), 0.02)
    np.testing.assert_array_equal(new_w, wanted)
    np.testing.assert_array_equal(new_range, ends)
