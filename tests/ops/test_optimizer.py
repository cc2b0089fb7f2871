"""Mini-batches, momentum, weight decay: exact where they are exact, in expectation where not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from case_models import Compiled, HostBuilder, run_reference
from cases import CASES
from networks import digits_mlp
from pages import DOCS, blocks

import insitu
from insitu.errors import ConfigError
from insitu.fixed_point import F32, symmetric_qparams
from insitu.generate.state import ZEROS
from insitu.graph.model import Array, Kind, Node, OpDef, Phase, QParams, Value
from insitu.graph.scheme import Scheme
from insitu.ops.updates.buffer import (
    FRACTION,
    LIMIT,
    apply,
    conv_accumulate,
    fixed_momentum,
    linear_accumulate,
)
from insitu.ops.updates.decay import decay, decay_multiplier
from insitu.run.reference import Reference

SCHEMES = {
    "batch": Scheme(batch=4),
    "batch-int16": Scheme(batch=3, buffer="int16"),
    "momentum": Scheme(momentum=0.9),
    "momentum-int16": Scheme(momentum=0.5, batch=2, buffer="int16"),
    "decay": Scheme(weight_decay=0.1),
    "decay-batch": Scheme(weight_decay=0.1, batch=2),
    "float-batch": Scheme(precision="float32", batch=3),
    "float-momentum": Scheme(precision="float32", momentum=0.9, weight_decay=0.01),
    "float-all": Scheme(precision="float32", batch=2, momentum=0.5, weight_decay=0.1),
    "all": Scheme(weight_decay=0.05, batch=2, momentum=0.9, buffer="int16"),
}
NAMES = (
    "conv-odd",
    "conv-7x7-stride-2",
    "zoo-groups",
    "max-overlap",
    "linear",
    "last-3",
    "zero-rows",
    "input-1e3",
)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> HostBuilder:
    return HostBuilder(tmp_path_factory.mktemp("host"))


@pytest.mark.toolchain
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_twin_equals_reference(host: HostBuilder, name: str, scheme: str) -> None:
    compiled = Compiled(CASES[name], SCHEMES[scheme])
    stream = compiled.stream(40)
    wanted, got = run_reference(compiled.step, stream), host.library(compiled).run(stream)
    assert got.state == wanted.state
    np.testing.assert_array_equal(got.losses, wanted.losses)
    np.testing.assert_array_equal(got.predicted, wanted.predicted)


@pytest.mark.toolchain
@pytest.mark.slow
@pytest.mark.parametrize("board", ["nrf52840", "rp2040"])
@pytest.mark.parametrize(
    "options",
    [
        {"batch": 4, "buffer": "int16"},
        {"batch": 2, "momentum": 0.9, "weight_decay": 0.01},
        {"weight_decay": 0.1},
    ],
)
def test_board_equals_twin(tmp_path: Path, board: str, options: dict[str, float]) -> None:
    onnx.save(digits_mlp(), tmp_path / "mlp.onnx")
    rng = np.random.default_rng(0)
    x, y = rng.normal(0, 1, (12, 1, 8, 8)).astype(F32), rng.integers(0, 10, 12)
    training = insitu.TrainingConfig(**options)  # type: ignore[arg-type]
    net = insitu.compile(
        insitu.load(tmp_path / "mlp.onnx"), calibration=x, training=training, board=board
    )
    result = net.run(x, y)
    assert result.twin_equal
    assert result.state != net.twin().state
    apply_nodes = [i for i, n in enumerate(net.graph.nodes) if n.op is apply]
    assert all(net.measurement.instructions[i] > 0 for i in apply_nodes)


def value(array: Array, scale: float | None = None, zero: int = 0) -> Value:
    q = None if scale is None else QParams(scale=np.asarray(F32(scale)), zero_point=zero)
    return Value(array, q)


def node(op: OpDef, **attributes: object) -> Node:
    return Node("n", op, (), (), attributes)


def accumulated(
    rng: np.random.Generator, shape: tuple[int, ...], dtype: str, batch: int
) -> tuple[Array, Array, Array]:
    """(buffer, its value in real steps, a bound of the difference) after a batch of samples."""
    rows, rate = shape[0], F32(0.02)
    scale = rng.uniform(1e-3, 4e-3, rows).astype(F32)
    buffer, biases = np.zeros(shape, dtype), np.zeros(rows, np.int32)
    state = np.asarray([12345], np.uint32)
    real, allowed = np.zeros(shape), np.zeros(shape)
    unit = (scale.astype(np.float64) / 2.0 ** FRACTION[dtype]).reshape(-1, *[1] * (len(shape) - 1))
    for _ in range(batch):
        is_conv = len(shape) == 4
        dy = rng.integers(-20, 21, (5, 5, rows) if is_conv else rows).astype(np.int8)
        x = rng.integers(-128, 128, (7, 7, shape[3]) if is_conv else shape[1]).astype(np.int8)
        x_scale, zero = F32(rng.uniform(0.005, 0.02)), -128
        inputs = [
            Value(dy, symmetric_qparams(1 / 127)),
            value(x, float(x_scale), zero),
            *(Value(a) for a in (scale, np.asarray([rate]), state, biases, buffer)),
        ]
        attributes = {"batch": batch, "stride": (1, 1), "padding": (0, 0, 0, 0)}
        op = conv_accumulate if is_conv else linear_accumulate
        state, biases, buffer = op.integer_reference(  # type: ignore[misc]
            node(op, **attributes), inputs, []
        )
        centred = x.astype(np.int64) - zero
        if is_conv:
            tiles = np.lib.stride_tricks.sliding_window_view(centred, (3, 3), axis=(0, 1))
            gradient = np.einsum("hwo,hwiyx->oyxi", dy.astype(np.int64), tiles)
        else:
            gradient = np.outer(dy.astype(np.int64), centred)
        step = gradient * (float(rate) * float(F32(1 / 127)) * float(x_scale) / batch) / unit
        real += step
        # A half for rounding to nearest, one for stochastic rounding; the multiplier is rounded
        # to 2^-32 of a weight's step (of a linear layer's with the error in it), a half of that
        # for each unit of what it multiplies; four float32 roundings on the way to it.
        each = np.abs(gradient) if is_conv else np.broadcast_to(np.abs(centred), shape)
        rounding = 1.0 if dtype == "int16" else 0.5
        allowed += rounding + each * 2.0 ** (FRACTION[dtype] - 33) + np.abs(step) * 4 * 2.0**-24
    return buffer, real, allowed


@pytest.mark.parametrize("dtype", ["int16", "int32"])
@pytest.mark.parametrize("shape", [(4, 3, 3, 2), (6, 37)])
def test_a_batch_is_the_sum_of_its_samples(shape: tuple[int, ...], dtype: str) -> None:
    buffer, real, allowed = accumulated(np.random.default_rng(3), shape, dtype, 16)
    assert np.abs(real).max() > 100  # the buffer holds something
    assert (np.abs(buffer - real) <= allowed).all()


def applied(
    w: Array, buffer: Array, *, momentum: float = 0.0, weight_decay: float = 0.0, rate: float = 0.01
) -> dict[str, Array]:
    """One call of the op, with zero biases."""
    biases = np.zeros(len(w), np.int32)
    inputs = [np.asarray([rate], F32), np.asarray([77], np.uint32), biases, buffer, biases, w]
    assert apply.integer_reference is not None
    results = apply.integer_reference(
        node(apply, momentum=momentum, weight_decay=weight_decay), list(map(Value, inputs)), []
    )
    names = ("generator", "bias_buffer", "buffer", "bias", "w")
    return dict(zip(names, results, strict=True))


@pytest.mark.parametrize("dtype", ["int16", "int32"])
def test_without_momentum_nothing_is_lost(dtype: str) -> None:
    rng = np.random.default_rng(5)
    fraction = FRACTION[dtype]
    w = rng.integers(-60, 61, (8, 50)).astype(np.int8)
    buffer = rng.integers(-60 << fraction, 60 << fraction, w.shape).astype(dtype)
    after = applied(w, buffer)
    before = (w.astype(np.int64) << fraction) - buffer
    np.testing.assert_array_equal(
        (after["w"].astype(np.int64) << fraction) - after["buffer"], before
    )
    assert np.abs(after["buffer"].astype(int)).max() <= 1 << (fraction - 1)
    assert after["generator"][0] == 77  # draws nothing


@pytest.mark.parametrize("dtype", ["int16", "int32"])
def test_the_largest_buffers_only_saturate(dtype: str) -> None:
    w = np.asarray([[127, -127, 127, -127]] * 2, np.int8)
    buffer = np.asarray([[LIMIT[dtype], -LIMIT[dtype], -LIMIT[dtype], LIMIT[dtype]]] * 2, dtype)
    for momentum in (0.0, 0.99):
        for weight_decay in (0.0, 0.99):
            after = applied(w, buffer, momentum=momentum, weight_decay=weight_decay, rate=1.0)
            assert np.abs(after["w"].astype(int)).max() <= 127
            assert (np.abs(after["buffer"].astype(np.int64)) <= LIMIT[dtype]).all()


@pytest.mark.parametrize("dtype", ["int16", "int32"])
def test_momentum_is_that_of_float_in_expectation(dtype: str) -> None:
    shape, steps, momentum, push = (64, 64), 60, 0.9, 0.013
    fraction, rng = FRACTION[dtype], np.random.default_rng(1)
    w, buffer = np.zeros(shape, np.int8), np.zeros(shape, dtype)
    generator, velocity, expected = np.asarray([4242], np.uint32), 0.0, 0.0
    assert apply.integer_reference is not None
    zeros = np.zeros(shape[0], np.int32)
    for index in range(steps):
        gradient = push if index < 20 else 0.0  # then it runs out
        scaled = gradient * 2**fraction
        noise = np.floor(scaled + rng.uniform(size=shape))
        arrays = [np.asarray([0.01], F32), generator, zeros, (buffer + noise).astype(dtype), zeros]
        generator, _, buffer, _, w = apply.integer_reference(
            node(apply, momentum=momentum, weight_decay=0.0), [*map(Value, arrays), Value(w)], []
        )
        velocity = momentum * velocity + gradient
        expected -= velocity
    # Rounding adds at most 1/4 to the variance of a weight at each step; neighbours share all
    # random bits but one, which may triple the variance of their mean.
    sigma = np.sqrt(3 * steps / 4 / w.size)
    assert expected < -2
    assert abs(w.mean() - expected) < 5 * sigma
    assert abs(buffer.mean() / 2**fraction + 0.0) < 0.01  # nothing sticks


def test_momentum_is_stored_to_the_bit() -> None:
    assert fixed_momentum(0.0) == 0
    assert fixed_momentum(1e-9) == 1
    assert fixed_momentum(0.9) == round(0.9 * 65536)
    assert fixed_momentum(0.9999999) == 65535


def test_decay_far_below_a_step_acts_in_expectation() -> None:
    rows, columns, rounds, rate, weight_decay = 8, 64, 600, 0.004, 0.0005
    w = np.full((rows, columns), 100, np.int8)
    state: list[Array] = [np.asarray([99], np.uint32), np.zeros(1, np.int32), w]
    part = decay_multiplier(F32(rate), F32(F32(weight_decay) * F32(rows))) / 2**32
    assert 100 * part < 1 / 256  # less than 8 random bits can show
    assert decay.integer_reference is not None
    for _ in range(rows * rounds):
        inputs: list[Array] = [np.asarray([rate], F32), *state]
        state = list(
            decay.integer_reference(
                node(decay, weight_decay=weight_decay), list(map(Value, inputs)), []
            )
        )
    expected = 100 * (1 - rate * weight_decay * rows) ** rounds
    sigma = np.sqrt(3 * (100 - expected) / w.size)  # a row of coin tosses that are mostly 0
    assert 100 - expected > 0.9
    assert abs(state[2].mean() - expected) < 5 * sigma
    assert state[1][0] == 0


@pytest.mark.parametrize("dtype", ["int16", "int32"])
def test_decay_of_a_batch_acts_in_expectation(dtype: str) -> None:
    steps, rate, weight_decay = 400, 0.02, 0.0004
    w, buffer = np.full((32, 64), -90, np.int8), np.zeros((32, 64), dtype)
    generator, zeros = np.asarray([5], np.uint32), np.zeros(32, np.int32)
    assert apply.integer_reference is not None
    for _ in range(steps):
        arrays = [np.asarray([rate], F32), generator, zeros, buffer, zeros, w]
        generator, _, buffer, _, w = apply.integer_reference(
            node(apply, momentum=0.0, weight_decay=weight_decay), list(map(Value, arrays)), []
        )
    held = w.astype(np.float64) - buffer / 2.0 ** FRACTION[dtype]
    expected = -90 * (1 - rate * weight_decay) ** steps
    sigma = np.sqrt(3 * steps / 4 / w.size) / 2 ** FRACTION[dtype]
    rounded = 0.5 * steps * rate * weight_decay  # what decays is the weight without its buffer
    assert expected > -89.8
    assert abs(held.mean() - expected) < 5 * sigma + rounded


def weights(reference: Reference) -> Array:
    names = sorted(n for n in reference.state if n.endswith((".w", ".bias")))
    return np.concatenate([reference.state[n].reshape(-1).astype(np.int64) for n in names])


def test_weights_move_when_the_batch_is_complete() -> None:
    compiled = Compiled(CASES["linear"], Scheme(batch=3))
    stream, reference = compiled.stream(30), Reference(compiled.step, seed=1)
    shape = compiled.step.tensors[compiled.step.inputs[0]].shape
    moved = []
    for index in range(9):
        before = weights(reference)
        reference.train_step(stream.x[index].reshape(shape), index % 2, 0.1)
        moved.append(bool((weights(reference) != before).any()))
    assert moved == [False, False, True] * 3
    assert reference.state["batch_count"][0] == 0


def test_a_sample_without_an_error_counts() -> None:
    compiled = Compiled(CASES["linear"], Scheme(batch=2, skip=0.999))
    stream, reference = compiled.stream(10), Reference(compiled.step, seed=1)
    shape = compiled.step.tensors[compiled.step.inputs[0]].shape
    counts = []
    for index in range(4):
        reference.train_step(stream.x[index].reshape(shape), 0, 0.1)
        counts.append(int(reference.state["batch_count"][0]))
    assert counts == [1, 0, 1, 0]


def test_in_place_there_is_no_buffer() -> None:
    step = Compiled(CASES["linear"]).step
    assert not [n for n in step.nodes if n.phase is Phase.APPLY]
    assert not [t for t in step.of_kind(Kind.STATE) if t.name.endswith("_buffer")]


def test_buffers_take_no_flash() -> None:
    layout = Compiled(CASES["conv-many-channels"], Scheme(batch=2)).layout
    in_flash = {tensor.name for tensor in layout.initial}
    buffers = {t.name for t in layout.tensors if t.name.endswith("_buffer") and t.nbytes >= ZEROS}
    assert buffers and not buffers & in_flash
    assert layout.initial_nbytes < layout.nbytes


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch": 5000}, "batch 5000"),
        ({"batch": -1}, "batch -1"),
        ({"momentum": 1.0}, "momentum 1.0"),
        ({"weight_decay": -0.1}, "weight_decay -0.1"),
        ({"buffer": "int8"}, 'buffer "int8"'),
        ({"update": "bias", "batch": 2}, "batch 2"),
        ({"error_range": "moving"}, "preset"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, float], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        insitu.TrainingConfig(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", ["int16", "int32"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_the_page_says_the_same(dtype: str, momentum: float, weight_decay: float) -> None:
    """docs/arithmetic.md against the library."""
    page: dict[str, Any] = {}
    for block in blocks(DOCS / "arithmetic.md"):
        exec(block.text, page)
    rng = np.random.default_rng(4)
    w = rng.integers(-127, 128, (3, 20)).astype(np.int8)
    buffer = rng.integers(-LIMIT[dtype], LIMIT[dtype], w.shape).astype(dtype)
    got = applied(w, buffer, momentum=momentum, weight_decay=weight_decay, rate=0.03)
    shrink = decay_multiplier(F32(0.03), F32(weight_decay))
    state, new_w, left = 77, [], []
    for a, b in zip(w.reshape(-1).tolist(), buffer.reshape(-1).tolist(), strict=True):
        new, kept, state = page["apply_weight"](
            a, b, dtype, fixed_momentum(momentum), shrink, state
        )
        new_w.append(new)
        left.append(kept)
    np.testing.assert_array_equal(got["w"].reshape(-1), new_w)
    np.testing.assert_array_equal(got["buffer"].reshape(-1), left)
    assert got["generator"][0] == state
    rows, _ = page["accumulate_row"]([5, -7, 9], dtype, [100, -3, 8], F32(2.0**26), 77)
    assert len(rows) == 3
    assert page["apply_bias"](100, 1000, 0) == (100 - 16, 1000 - 1024)
