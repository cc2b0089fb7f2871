"""Does the library compute what docs/arithmetic.md says? The page's own code is held against it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pages import DOCS, blocks

from insitu import fixed_point
from insitu.data.samples import quantize_samples
from insitu.differentiate import differentiate
from insitu.fixed_point import F32
from insitu.graph.builder import Builder
from insitu.graph.model import Node, QParams, Units, Value
from insitu.graph.scheme import Scheme
from insitu.ops import OPS
from insitu.ops.layers.error import error_rescale, expand_error
from insitu.ops.losses.cross_entropy import softmax_cross_entropy
from insitu.ops.losses.table import emit_loss
from insitu.ops.maps.pool import average_pool, average_pool_grad
from insitu.quantize import calibrate, quantize_graph
from insitu.run.reference import Reference


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """What the blocks of docs/arithmetic.md define."""
    names: dict[str, Any] = {}
    for block in blocks(DOCS / "arithmetic.md"):
        exec(block.text, names)
    return names


NUMBERS = np.concatenate(
    [
        np.asarray([0.49999997, 0.5, 1.5, 2.5, 8388607.5, 126.5, 127.0, 1e9, 0.0], F32),
        np.random.default_rng(0).normal(0, 60, 200).astype(F32),
        np.random.default_rng(1).normal(0, 1e8, 100).astype(F32),
    ]
)


def test_rounding_is_as_the_page_says(page: dict[str, Any]) -> None:
    for number in np.concatenate([NUMBERS, -NUMBERS]):
        for low, high in ((-127, 127), (0, 255), (-(2**30), 2**30), (0, 2**31 - 1)):
            assert page["round_clamp"](number, low, high) == fixed_point.round_clamp(
                number, low, high
            )


def test_branches_meet_as_the_page_says(page: dict[str, Any]) -> None:
    rng = np.random.default_rng(8)
    for _ in range(100):
        scales, zeros = rng.uniform(0.01, 1, 3).astype(F32), rng.integers(-128, 128, 3)
        a, b = rng.integers(-128, 128, (2, 5)).astype(np.int8)
        quantized = [QParams(np.asarray(s), int(z)) for s, z in zip(scales, zeros, strict=True)]
        sign = int(rng.choice([-1, 1]))
        node = Node("sum", OPS["add"], ("a", "b"), ("y",), {"subtract": sign < 0})
        assert node.op.integer_reference is not None
        values = [Value(a, quantized[0]), Value(b, quantized[1])]
        (y,) = node.op.integer_reference(node, values, [quantized[2]])
        first, second = (page["multiplier"](s, scales[2]) for s in scales[:2])
        integers = (int(z) for z in zeros)
        rest = (first, sign * second, *integers, -128, 127)
        wanted = [page["meet"](int(p), int(q), *rest) for p, q in zip(a, b, strict=True)]
        assert y.tolist() == wanted


def test_samples_are_stored_as_the_page_says(page: dict[str, Any]) -> None:
    rng = np.random.default_rng(10)
    x = rng.normal(900, 300, (40, 5)).astype(F32)
    scale, offset = (rng.uniform(1, 1000, 5).astype(F32) for _ in range(2))
    q = QParams(np.asarray(F32(0.02)), -7, units=Units(scale, offset))
    stored = quantize_samples(x, (5,), q)
    for values, row in zip(x, stored, strict=True):
        said = [
            page["stored"](v, 0.02, -7, *u) for v, *u in zip(values, scale, offset, strict=True)
        ]
        assert said == row.tolist()
    w, b = rng.normal(size=(3, 5)), rng.normal(size=3)
    changed, shifted = OPS["linear"].absorb["units"]({}, w, b, Units(scale, offset))
    for row in range(3):
        said_w, said_b = page["folded"](w[row], b[row], scale, offset)
        np.testing.assert_allclose([*said_w, said_b], [*changed[row], shifted[row]], rtol=1e-9)


def test_products_are_as_the_page_says(page: dict[str, Any]) -> None:
    rng = np.random.default_rng(9)
    for _ in range(100):
        scales = (10.0 ** rng.uniform(-4, 2, 3)).astype(F32)
        zeros = [int(z) for z in rng.integers(-128, 128, 3)]
        arrays = [rng.integers(-128, 128, size).astype(np.int8) for size in ((2, 3, 4), 4)]
        quantized = [QParams(np.asarray(s), z) for s, z in zip(scales, zeros, strict=True)]
        a, b = (Value(*pair) for pair in zip(arrays, quantized[:2], strict=True))
        node = Node("product", OPS["multiply"], ("a", "b"), ("y",))
        assert node.op.integer_reference is not None
        (y,) = node.op.integer_reference(node, [a, b], [quantized[2]])
        for place in np.ndindex(a.array.shape):
            pair = int(a.array[place]), int(b.array[place[2]])
            assert page["product"](*pair, scales, zeros, -128, 127) == y[place]
        dy = rng.integers(-127, 128, (2, 3, 4)).astype(np.int8)
        node = Node("grad", OPS["multiply_grad_factor"], ("dy", "a"), ("db",), {"shape": (4,)})
        assert node.op.integer_reference is not None
        (db,) = node.op.integer_reference(node, [Value(dy), a], [None])
        for channel, got in enumerate(db):
            terms = ([int(v) for v in t[..., channel].reshape(-1)] for t in (dy, a.array))
            assert page["factor_error"](*terms, scales[0], zeros[0]) == got


def test_rescaling_is_as_the_page_says(page: dict[str, Any]) -> None:
    rng = np.random.default_rng(2)
    for exponent in rng.uniform(-30, 14, 200):
        ratio, rows = F32(2.0**exponent), rng.uniform(0.01, 1, 3).astype(F32)
        multipliers, shift = fixed_point.split_ratios(ratio, rows)
        assert page["split"](ratio, list(rows)) == (list(multipliers), shift)
        for acc in (0, 1, -1, 70000, -70000, *(int(v) for v in rng.integers(-(2**31), 2**31, 9))):
            for m in (int(v) for v in multipliers):
                assert page["rescale"](acc, m, shift) == fixed_point.rescale(
                    np.asarray(acc), m, shift
                )


@pytest.mark.parametrize("clip", [(-np.inf, np.inf), (0, np.inf), (0, 6), (-1, 1), (0.5, 2)])
def test_ranges_are_as_the_page_says(page: dict[str, Any], clip: tuple[float, float]) -> None:
    rng = np.random.default_rng(3)
    low, high = F32(-0.3), F32(0.7)
    for seen in rng.integers(-500, 500, (200, 2)):
        q = fixed_point.range_qparams(float(low), float(high), *clip)
        said = page["quantization"](low, high, *clip)
        assert said == {
            "scale": F32(q.scale),
            "zero": q.zero_point,
            "clamp": (q.clamp_min, q.clamp_max),
            "pass": (q.pass_min, q.pass_max),
        }
        observed = np.asarray([min(seen.min(), 0), max(seen.max(), 0)], np.int32)
        both = np.asarray([low, high])
        found = page["follow"](low, high, observed, F32(q.scale), *map(F32, clip), F32(0.05))
        low, high = fixed_point.follow_range(both, observed, q, F32(0.05))
        assert found == (low, high)


@pytest.mark.parametrize(("low", "high"), [(-1, 0), (0, 1), (-3, 1e-3), (1, 2), (-2, -1)])
def test_one_sided_ranges_are_as_the_page_says(
    page: dict[str, Any], low: float, high: float
) -> None:
    q, said = fixed_point.range_qparams(low, high, -np.inf, np.inf), page["quantization"](low, high)
    assert (said["scale"], said["zero"]) == (F32(q.scale), q.zero_point)
    still = np.zeros(2, np.int32)
    for smallest in (F32(0), F32(2)):
        found = page["follow"](F32(low), F32(high), still, F32(1), -9, 9, smallest)
        both = np.asarray([low, high], F32)
        assert found == fixed_point.follow_range(both, still, QParams(np.asarray(F32(1))), smallest)


def test_exponential_and_logarithm_are_as_the_page_says(page: dict[str, Any]) -> None:
    for x in np.linspace(-90, 0, 4001, dtype=F32):
        assert page["exp"](x) == fixed_point.exp_negative(x)
    for x in np.geomspace(1, 5000, 1001, dtype=F32):
        assert page["log"](x) == fixed_point.log_positive(x)


def test_loss_and_schedule_are_as_the_page_says(page: dict[str, Any]) -> None:
    rng = np.random.default_rng(4)
    node = Node("loss", softmax_cross_entropy, (), (), {"integer": True})
    for spread in (0.1, 1, 5, 30, 200):
        scores = rng.normal(0, spread, 7).astype(F32)
        for label in range(7):
            values = [Value(scores), Value(np.asarray([label], np.int32))]
            assert softmax_cross_entropy.integer_reference is not None
            dy, loss = softmax_cross_entropy.integer_reference(node, values, [None, None])
            assert page["cross_entropy"](list(scores), label) == (list(dy), loss[0])
    for steps in (1, 2, 977):
        said = [page["cosine_rate"](0.03, i, steps) for i in range(steps)]
        assert said == list(fixed_point.cosine_rates(0.03, steps))


@pytest.mark.parametrize("kind", ["squared", "binary"])
def test_losses_against_targets_are_as_the_page_says(page: dict[str, Any], kind: str) -> None:
    rng = np.random.default_rng(8)
    name = {"squared": "mse", "binary": "bce"}[kind]
    for spread, wide in ((0.1, 0.3), (5, 17.0), (200, 3.7), (1e30, 1.0)):
        builder = Builder("loss", scheme=Scheme(loss=name, error_unit=wide))
        emit_loss(builder, builder.input("s", (7,)), builder.input("t", (7,)), integer=True)
        (node,) = builder.nodes
        unit = node.attributes["unit"]
        for _ in range(20):
            scores = rng.normal(0, spread, 7).astype(F32)
            targets = rng.random(7).astype(F32)
            assert node.op.integer_reference is not None
            dy, loss = node.op.integer_reference(node, [Value(scores), Value(targets)], [None] * 2)
            with np.errstate(over="ignore"):
                said = page["loss_of"](page[kind], list(scores), list(targets), unit)
            q = builder.tensors[node.outputs[0]].qparams
            assert q is not None
            assert said == (list(dy), F32(q.scale), loss[0])


@pytest.mark.parametrize("op", ["conv", "linear"])
def test_updates_are_as_the_page_says(page: dict[str, Any], op: str) -> None:
    rng = np.random.default_rng(5)
    rows, size = 6, 999
    dy = rng.integers(-127, 128, rows).astype(np.int8)
    dy[2] = 0
    x = rng.integers(-128, 128, size).astype(np.int8)
    w = rng.integers(-127, 128, (rows, size)).astype(np.int8)
    bias = rng.integers(-(2**20), 2**20, rows).astype(np.int32)
    scale, x_q = (
        rng.uniform(0.0005, 0.005, rows).astype(F32),
        fixed_point.range_qparams(-1, 2, -9, 9),
    )
    dy_scale, centred = F32(1 / 127), x.astype(np.int64) - x_q.zero_point
    is_conv, state = op == "conv", fixed_point.seed_generator(9)
    assert state == page["seeded"](9)
    shapes = ((1, 1, rows), (1, 1, size), (rows, 1, 1, size))
    for rate in map(F32, (1.0, 0.1, 0.01, 1e-4)):
        arrays = [
            np.reshape(a, s) if is_conv else a for a, s in zip((dy, x, w), shapes, strict=True)
        ]
        values = [
            Value(arrays[0], QParams(np.asarray(dy_scale))),
            Value(arrays[1], x_q),
            *map(Value, (arrays[2], bias, np.asarray([rate]), scale, np.asarray([state]))),
        ]
        attributes = {"stride": (1, 1), "padding": (0, 0, 0, 0)}
        node = Node("update", OPS[f"{op}_update"], (), (), attributes)
        assert node.op.integer_reference is not None
        new_w, new_bias, new_state = node.op.integer_reference(node, values, [])
        for row in np.flatnonzero(dy):
            e, given = int(dy[row]), [int(v) for v in w[row]]
            fixed = (rate, dy_scale, F32(x_q.scale), scale[row], state)
            if is_conv:
                said, state = page["conv_row"](given, [int(e * c) for c in centred], *fixed)
            else:
                said, state = page["linear_row"](given, e, [int(c) for c in centred], *fixed)
            assert said == list(new_w.reshape(rows, size)[row])
            assert page["bias_step"](int(bias[row]), e, rate, dy_scale) == new_bias[row]
        assert state == new_state[0]
        w, bias = new_w.reshape(rows, size), new_bias


def test_errors_go_back_as_the_page_says(page: dict[str, Any]) -> None:
    rng = np.random.default_rng(6)
    for terms in (1, 1040, 1041, 5000, 133144, 133145):
        scale = rng.uniform(0.001, 0.1, 5).astype(F32)
        rel, drop, multiplier, shift = page["error_constants"](list(scale), terms)
        wanted = error_rescale(scale, terms)
        assert (rel, drop) == (list(wanted.rel), wanted.drop)
        assert (multiplier, shift) == (wanted.multiplier, wanted.shift)
        for e in range(-127, 128):
            expanded = expand_error(np.full(5, e), wanted.rel, drop)
            assert [page["expand"](e, r, drop) for r in rel] == list(expanded)


def test_a_network_written_from_the_page_learns_the_same(page: dict[str, Any]) -> None:
    rng = np.random.default_rng(7)
    builder = Builder("mlp")
    x = builder.input("image", (12,))
    clip = {"clip": (0.0, math.inf)}
    for name, shape, attributes in (("1", (9, 12), clip), ("2", (4, 9), {})):
        w = builder.constant(f"w{name}", rng.normal(0, 0.4, shape).astype(F32))
        b = builder.constant(f"b{name}", rng.normal(0, 0.1, shape[0]).astype(F32))
        (x,) = builder.node(OPS["linear"], (x, w, b), name=name, attributes=attributes)
    graph = builder.finish((x,))
    ranges = calibrate(graph, rng.normal(size=(50, 12)).astype(F32))
    step = differentiate(quantize_graph(graph, ranges, {"1", "2"}))
    reference = Reference(step, seed=3)
    q = step.tensors["x"].qparams
    assert q is not None
    follows = next(n for n in step.nodes if n.op.name == "follow_range")
    net = {
        "scale": F32(q.scale),
        "zero": q.zero_point,
        "range": tuple(reference.state["1.range"]),
        "smallest": F32(follows.attributes["smallest"]),
        "generator": page["seeded"](3),
    }
    for name in ("1", "2"):
        net |= {f"w{name}": reference.state[f"{name}.w"].tolist()}
        net |= {f"bias{name}": reference.state[f"{name}.bias"].tolist()}
        net |= {f"s{name}": list(np.asarray(step.tensors[f"{name}.row_scale"].data))}
    for index in range(60):
        sample, label = rng.integers(-128, 128, 12).astype(np.int8), int(rng.integers(4))
        rate = (0.5, 0.05, 0.005)[index % 3]
        loss = page["mlp_step"](net, [int(v) for v in sample], label, rate)
        assert loss == F32(reference.train_step(sample, label, rate))
        assert net["generator"] == reference.state["generator"][0]
        assert net["range"] == tuple(reference.state["1.range"])
        for name in ("1", "2"):
            assert np.array_equal(net[f"w{name}"], reference.state[f"{name}.w"])
            assert np.array_equal(net[f"bias{name}"], reference.state[f"{name}.bias"])


BOUNDS = {"layer": 33_155, "scores": 66_311, "gradient": 66_311}


@pytest.mark.parametrize("what", BOUNDS)
def test_the_bound_on_the_page_is_where_an_accumulator_could_overflow(what: str) -> None:
    assert f"{BOUNDS[what]:,}" in (DOCS / "arithmetic.md").read_text()
    for size, holds in ((BOUNDS[what], True), (BOUNDS[what] + 1, False)):
        builder = Builder("bound")
        x = builder.input("x", (size,) if what != "gradient" else (1, size, 1), dtype="int8")
        q = QParams(np.asarray(F32(1)))
        builder.tensors[x] = replace(builder.tensors[x], qparams=q)
        if what == "gradient":
            inputs = (x, x, builder.constant("w", np.zeros((1, 1, 1, 1), np.int8)))
            attributes = {"stride": (1, 1), "padding": (0, 0, 0, 0)}
            builder.node(OPS["conv_update"], inputs, name="n", attributes=attributes)
        else:
            w = builder.constant("w", np.zeros((1, size), np.int8))
            builder.node(OPS["linear" if what == "layer" else "logits"], (x, w), name="n")
        node = builder.nodes[-1]
        (bound,) = node.op.bounds(node, builder.finish((x,)))
        assert (bound.largest <= bound.limit) == holds


@pytest.mark.parametrize(("op", "holds"), [("average_pool", 4_202_512), ("grad", 8_421_504)])
def test_the_bound_of_an_average_pool_is_where_it_could_overflow(op: str, holds: int) -> None:
    assert f"{holds:,}" in (DOCS / "arithmetic.md").read_text()
    for window, expected in ((holds, True), (holds + 1, False)):
        builder = Builder("bound")
        shape = (1, window, 1)
        x = builder.input("x", shape if op == "average_pool" else (1, 1, 1), dtype="int8")
        q = QParams(np.asarray(F32(1)))
        builder.tensors[x] = replace(builder.tensors[x], qparams=q)
        attributes = {
            "kernel": (1, window),
            "stride": (1, window),
            "padding": (0, 0, 0, 0),
            "count_include_pad": True,
            "shape": shape,
        }
        definition = average_pool if op == "average_pool" else average_pool_grad
        (y,) = builder.node(definition, (x,), name="n", attributes=attributes)
        node = builder.nodes[-1]
        bounds = node.op.bounds(node, builder.finish((y,)))
        assert all(bound.largest <= bound.limit for bound in bounds) == expected
