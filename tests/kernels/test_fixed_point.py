"""Is every rounding, saturation and range what it claims, and the same in C?

The oracle is exact: `fractions`.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from c_arithmetic import Harness, build
from hypothesis import assume, example, given
from hypothesis import strategies as st

from insitu.fixed_point import (
    BIAS_SCALE,
    F32,
    accumulator_bias,
    follow_range,
    range_qparams,
    rescale,
    round_clamp,
    split_ratio,
    split_ratios,
)
from insitu.graph.model import Array, QParams
from insitu.ops.layers.gradient import expand_error
from insitu.ops.updates.bias import update_bias

HALF_ULP = 2.0**-24
"""Largest relative error of one float32 operation whose result is normal."""

NO_BOUND = F32(3.402823466e38)

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
int32 = st.integers(-(2**31), 2**31 - 1)


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Harness:
    return build(tmp_path_factory.mktemp("arithmetic"))


def exact_round(value: Fraction) -> int:
    """Nearest integer, halves away from zero."""
    size = math.floor(abs(value) + Fraction(1, 2))
    return size if value >= 0 else -size


# rounding

TIES = [0.5, -0.5, 1.5, -1.5, 2.5, -2.5, 126.5, -126.5, 127.5, -127.5, 0.0, -0.0]
NEARLY = [np.nextafter(F32(t), F32(to)) for t in TIES for to in (-1e9, 1e9)]
LARGE = [8388607.5, 8388609.0, -8388609.0, 16777215.0, 2147483520.0, 2147483648.0, 3e38, -3e38]


@pytest.mark.parametrize("value", [F32(v) for v in (*TIES, *NEARLY, *LARGE)])
def test_rounding_is_to_nearest_with_halves_away_from_zero(value: np.float32) -> None:
    """0.49999997 + 0.5 is 1 in float32, and 8388609 + 0.5 is 8388610: neither may show."""
    low, high = -(2**30), 2**31 - 1
    assert int(round_clamp(value, low, high)) == min(
        max(exact_round(Fraction(float(value))), low), high
    )


@given(value=finite, low=st.integers(-(2**30), 0), span=st.integers(0, 2**30))
@example(value=-128.5, low=-128, span=255)
def test_rounding_is_exact_and_held(value: float, low: int, span: int) -> None:
    """The bounds as float32 are those that are given; all of ours are exact in float32."""
    low = int(F32(low))
    high = int(F32(low + span))
    expected = min(max(exact_round(Fraction(value)), low), high)
    assert int(round_clamp(F32(value), low, high)) == expected


def test_rounding_nan_gives_the_lower_bound(c: Harness) -> None:
    out, bounds = np.empty(2, np.int32), [np.asarray(b, np.int32) for b in ((-127, 0), (127, 9))]
    value = np.full(2, np.nan, F32)
    c("round_clamp", 2, value, *bounds, out)
    assert out.tolist() == [-127, 0]
    assert [int(round_clamp(value[0], int(low), 9)) for low in bounds[0]] == [-127, 0]


def test_rounding_in_c_is_the_same(c: Harness) -> None:
    rng = np.random.default_rng(1)
    n = 2_000_000
    bits = rng.integers(0, 2**32, n, dtype=np.uint32).view(F32)
    small = (rng.integers(-600, 600, n) / 2).astype(F32) + rng.choice(
        np.asarray([0, 3e-8, -3e-8], F32), n
    )
    for values, low, high in (
        (np.where(np.isfinite(bits), bits, F32(0)), -(2**30), 2**31 - 1),
        (small, -128, 127),
        (small, 0, 255),
    ):
        out = np.empty(n, np.int32)
        c("round_clamp", n, values, np.full(n, low, np.int32), np.full(n, high, np.int32), out)
        np.testing.assert_array_equal(out, round_clamp(values, low, high))


# rescaling


@given(acc=int32, multiplier=st.integers(0, 2**31 - 1))
@example(acc=1, multiplier=2**31 - 1)
@example(acc=-(2**31), multiplier=2**31 - 1)
@example(acc=2**31 - 1, multiplier=2**31 - 1)
@example(acc=1, multiplier=2**30)
@example(acc=-1, multiplier=2**30)
@example(acc=3, multiplier=2**30 * 2 - 2)
def test_rescaling_rounds_to_nearest_with_halves_up(acc: int, multiplier: int) -> None:
    exact = Fraction(acc * multiplier, 2**32)
    assert int(rescale(np.asarray(acc), multiplier, 0)) == math.floor(exact + Fraction(1, 2))


@given(acc=int32, multiplier=st.integers(2**10, 2**31 - 1), shift=st.integers(1, 13))
@example(acc=70_000, multiplier=2**20, shift=1)
@example(acc=2**31 - 1, multiplier=2**31 - 1, shift=13)
@example(acc=-(2**31), multiplier=2**10, shift=13)
def test_a_pre_shift_saturates_nothing_that_8_bits_could_show(
    acc: int, multiplier: int, shift: int
) -> None:
    """A layer's rows share the shift; a row whose ratio is small has large accumulators."""
    exact = math.floor(Fraction(acc * multiplier << shift, 2**32) + Fraction(1, 2))
    got = int(rescale(np.asarray(acc), multiplier, shift))
    assert min(max(got, -256), 256) == min(max(exact, -256), 256)
    assert -(2**31) <= got < 2**31


def test_rescaling_in_c_is_the_same(c: Harness) -> None:
    rng = np.random.default_rng(2)
    n = 2_000_000
    acc = rng.integers(-(2**31), 2**31, n).astype(np.int32) >> rng.integers(0, 31, n).astype(
        np.int32
    )
    multiplier = rng.integers(0, 2**31, n).astype(np.int32) >> rng.integers(0, 20, n).astype(
        np.int32
    )
    acc[:4] = [2**31 - 1, -(2**31), 2**31 - 1, -(2**31)]
    multiplier[:4] = [2**31 - 1, 2**31 - 1, 1, 1]
    for shift in range(14):
        out = np.empty(n, np.int32)
        c("rescale", n, acc, multiplier, np.full(n, shift, np.int32), out)
        np.testing.assert_array_equal(out, rescale(acc, multiplier, shift))


@given(ratio=st.floats(2.0**-40, 2.0**12, width=32))
@example(ratio=0.5)
@example(ratio=float(np.nextafter(F32(0.5), F32(0))))
@example(ratio=2.0**12)
@example(ratio=2.0**-33)
def test_a_ratio_is_split_without_loss(ratio: float) -> None:
    """multiplier = round(2^(32 - shift) ratio): both factors are powers of two, so exact."""
    multiplier, shift = split_ratio(ratio)
    assert 0 <= shift <= 13
    assert multiplier == min(exact_round(Fraction(ratio) * 2 ** (32 - shift)), 2**31 - 1)
    assert shift == 0 or multiplier >= 2**30


@given(
    ratio=st.floats(2.0**-20, 2.0**6, width=32),
    scales=st.lists(st.floats(2.0**-16, 1.0, width=32), min_size=1, max_size=9),
)
def test_rows_share_a_shift_that_keeps_every_multiplier_below_2_to_31(
    ratio: float, scales: list[float]
) -> None:
    """Two float32 products: relative error 2 half ulp, then half a unit of rounding."""
    rows = np.asarray(scales, F32)
    multipliers, shift = split_ratios(F32(ratio), rows)
    for multiplier, scale in zip(multipliers, rows, strict=True):
        exact = Fraction(ratio) * Fraction(float(scale)) * 2 ** (32 - shift)
        assert abs(int(multiplier) - exact) <= Fraction(1, 2) + exact * Fraction(2 * HALF_ULP)
    assert 0 <= multipliers.min() <= multipliers.max() <= 2**31 - 1
    assert shift == 0 or multipliers.max() >= 2**30 - 1


@given(
    bias=st.lists(st.integers(-(2**30), 2**30), min_size=1, max_size=9),
    x_scale=st.floats(2.0**-20, 2.0**10, width=32),
    row_scale=st.floats(2.0**-20, 1.0, width=32),
)
def test_a_bias_in_accumulator_units_is_within_its_bound(
    bias: list[int], x_scale: float, row_scale: float
) -> None:
    """A conversion, two divisions and a product round: 4 half ulp; then half a unit; the hold."""
    rows = np.full(len(bias), row_scale, F32)
    got = accumulator_bias(np.asarray(bias), F32(x_scale), rows)
    for value, result in zip(bias, got, strict=True):
        exact = Fraction(value) * Fraction(float(BIAS_SCALE))
        exact /= Fraction(x_scale) * Fraction(row_scale)
        held = min(max(exact, Fraction(-(2**30))), Fraction(2**30))
        assert abs(int(result) - held) <= Fraction(1, 2) + abs(exact) * Fraction(4.1 * HALF_ULP)
        assert abs(int(result)) <= 2**30


def test_row_parameters_in_c_are_the_same(c: Harness) -> None:
    rng = np.random.default_rng(3)
    for _ in range(300):
        n = int(rng.integers(1, 200))
        row_scale = (2.0 ** rng.uniform(-30, 6, n)).astype(F32)
        bias = rng.integers(-(2**30), 2**30, n).astype(np.int32)
        x_scale, y_scale = (F32(2.0**e) for e in rng.uniform(-30, 10, 2))
        multiplier, bias_acc, shift = (np.empty(k, np.int32) for k in (n, n, 1))
        scales = (F32(row_scale.max()), x_scale, y_scale)
        c("row_parameters", n, *scales, row_scale, bias, multiplier, bias_acc, shift)
        expected, expected_shift = split_ratios(x_scale / y_scale, row_scale)
        np.testing.assert_array_equal(multiplier, expected)
        np.testing.assert_array_equal(bias_acc, accumulator_bias(bias, x_scale, row_scale))
        assert shift[0] == expected_shift


# errors


@given(e=st.integers(-127, 127), rel=st.integers(0, 32768), drop=st.integers(0, 7))
@example(e=-127, rel=32768, drop=0)
@example(e=1, rel=128, drop=0)
@example(e=-1, rel=128, drop=0)
def test_an_expanded_error_rounds_to_nearest_with_halves_up(e: int, rel: int, drop: int) -> None:
    got = int(expand_error(np.asarray([e]), np.asarray([rel], np.uint16), drop)[0])
    assert got == math.floor(Fraction(e * rel, 2 ** (8 + drop)) + Fraction(1, 2))
    assert abs(got) <= 16256


def test_an_expanded_error_in_c_is_the_same(c: Harness) -> None:
    e, rel = (a.reshape(-1) for a in np.meshgrid(np.arange(-127, 128), np.arange(0, 32769, 7)))
    for drop in range(8):
        out = np.empty(e.size, np.int32)
        drops = np.full(e.size, drop, np.int32)
        c("expand_error", e.size, e.astype(np.int32), rel.astype(np.uint16), drops, out)
        np.testing.assert_array_equal(out, expand_error(e, rel.astype(np.uint16), drop))


# ranges

bound = st.sampled_from([-math.inf, -6.0, -1.0, -0.25, 0.0, 0.25, 1.0, 6.0, math.inf])
magnitude = st.floats(2.0**-60, 2.0**60, width=32)


@given(low=magnitude, high=magnitude, signs=st.integers(0, 2), clips=st.tuples(bound, bound))
@example(low=1.0, high=255.0, signs=1, clips=(0.0, math.inf))
@example(low=1.0, high=6.0, signs=1, clips=(0.0, 6.0))
@example(low=1.0, high=1.0, signs=0, clips=(-math.inf, math.inf))
def test_a_range_is_covered_and_0_is_on_the_grid(
    low: float, high: float, signs: int, clips: tuple[float, float]
) -> None:
    """0 moves to the grid by at most half a step, so each end is missed by half a step at most."""
    low, high = -low if signs != 1 else 0.0, high if signs != 2 else 0.0
    clip_min, clip_max = min(clips), max(clips)
    assume(clip_min < math.inf and clip_max > -math.inf)
    q = range_qparams(low, high, clip_min, clip_max)
    scale, steps = float(q.scale), 0.5 + 255 * 3 * HALF_ULP
    assert -128 <= q.zero_point <= 127
    assert scale == pytest.approx((high - low) / 255, rel=2.1 * HALF_ULP)
    assert scale * (-128 - q.zero_point - steps) <= low
    assert scale * (127 - q.zero_point + steps) >= high
    assert -128 <= q.clamp_min <= q.clamp_max <= 127
    for value, stored in ((clip_min, q.clamp_min), (clip_max, q.clamp_max)):
        inside = min(max(value / scale, -128 - q.zero_point), 127 - q.zero_point)
        assert abs(stored - q.zero_point - inside) <= steps
    assert q.pass_min in (-128, q.clamp_min + 1)
    assert q.pass_max in (127, q.clamp_max - 1)


def test_what_passes_is_inside_the_activation_function_and_not_at_the_end_of_the_range() -> None:
    relu = range_qparams(0.0, 4.0, 0.0, math.inf)
    assert (relu.zero_point, relu.clamp_min, relu.pass_min, relu.pass_max) == (
        -128,
        -128,
        -127,
        127,
    )
    relu6_below = range_qparams(0.0, 4.0, 0.0, 6.0)
    assert (relu6_below.clamp_max, relu6_below.pass_max) == (127, 127)
    relu6 = range_qparams(0.0, 6.0, 0.0, 6.0)
    assert (relu6.clamp_max, relu6.pass_max) == (127, 126)
    linear = range_qparams(-1.0, 1.0, -math.inf, math.inf)
    assert (linear.pass_min, linear.pass_max) == (-128, 127)


QPARAMS = np.dtype(
    [("scale", "<f4")]
    + [(name, "<i4") for name in ("zero_point", "clamp_min", "clamp_max", "pass_min", "pass_max")]
)


def random_ranges(rng: np.random.Generator, n: int) -> tuple[Array, Array]:
    ranges = (rng.choice([0.0, 1.0, 1.0], (n, 2)) * 2.0 ** rng.uniform(-40, 40, (n, 2))).astype(F32)
    ranges[:, 0] *= -1
    ranges[ranges[:, 1] - ranges[:, 0] <= 0] = (-1, 1)
    bounds = np.asarray([-math.inf, -6, -0.3, 0, 0.3, 6, math.inf])
    low = rng.integers(0, 6, n)
    clips = np.stack([bounds[low], bounds[rng.integers(low + 1, 7)]], axis=1)
    return ranges, clips


def test_ranges_in_c_are_the_same(c: Harness) -> None:
    n = 20_000
    ranges, clips = random_ranges(np.random.default_rng(4), n)
    out = np.empty(n, QPARAMS)
    c("range_qparams", n, ranges, np.clip(clips, -NO_BOUND, NO_BOUND).astype(F32), out)
    for got, (low, high), (clip_min, clip_max) in zip(out, ranges, clips, strict=True):
        q = range_qparams(low, high, clip_min, clip_max)
        assert got.tolist() == tuple(getattr(q, name) for name in QPARAMS.names or ())


def test_a_range_grows_by_a_tenth_and_shrinks_by_a_hundredth() -> None:
    q = QParams(scale=np.asarray(F32(0.5)))
    grown = follow_range(np.asarray([-1.0, 2.0]), np.asarray([-4, 14]), q, F32(0.1))
    assert grown == pytest.approx((-1.1, 2.5))
    shrunk = follow_range(np.asarray([-1.0, 2.0]), np.asarray([0, 2]), q, F32(0.1))
    assert shrunk == pytest.approx((-0.99, 1.99))


@given(
    low=st.floats(-100, 0, width=32),
    high=st.floats(0, 100, width=32),
    seen=st.tuples(int32, int32),
    clips=st.tuples(bound, bound),
)
def test_a_followed_range_stays_inside_the_clip_and_wide_enough(
    low: float, high: float, seen: tuple[int, int], clips: tuple[float, float]
) -> None:
    clip_min, clip_max = min(*clips, 0.0), max(*clips, 0.0)
    assume(clip_max - clip_min > 0.25)
    q = QParams(scale=np.asarray(F32(0.01)), clip_min=clip_min, clip_max=clip_max)
    start = np.asarray([max(low, clip_min), min(high, clip_max)], F32)
    new_low, new_high = follow_range(start, np.asarray(sorted(seen)), q, F32(0.25))
    assert clip_min <= float(new_low) <= 0
    assert float(new_high - new_low) >= 0.25 * (1 - 2 * HALF_ULP)
    assert float(new_high) <= max(clip_max, float(new_low) + 0.25) + HALF_ULP


def test_following_in_c_is_the_same(c: Harness) -> None:
    rng, n = np.random.default_rng(5), 20_000
    ranges, clips = random_ranges(rng, n)
    observed = np.sort(rng.integers(-(2**31), 2**31, (n, 2)) >> rng.integers(0, 31, (n, 2)), axis=1)
    q = np.zeros(n, QPARAMS)
    q["scale"] = (ranges[:, 1] - ranges[:, 0]) / F32(255)
    smallest = (q["scale"] * F32(255 / 64)).astype(F32)
    bounds = np.clip(clips, -NO_BOUND, NO_BOUND)
    params = np.column_stack([bounds, smallest]).astype(F32)
    expected = [
        follow_range(
            ranges[i],
            observed[i],
            QParams(scale=q["scale"][i], clip_min=clips[i, 0], clip_max=clips[i, 1]),
            smallest[i],
        )
        for i in range(n)
    ]
    c("follow_range", n, params, q, observed.astype(np.int32), ranges)
    np.testing.assert_array_equal(ranges, np.asarray(expected, F32))


# biases


@given(
    bias=st.integers(-(2**30), 2**30),
    errors=st.integers(-(2**24), 2**24),
    rate=st.floats(2.0**-20, 1.0, width=32),
)
@example(bias=2**30, errors=-(2**24), rate=1.0)
def test_a_bias_steps_by_its_gradient(bias: int, errors: int, rate: float) -> None:
    """Three products round: 3 half ulp of the step; then half a unit, then the hold."""
    scale = F32(1 / 127)
    got = int(update_bias(np.asarray([bias]), np.asarray([errors]), F32(rate), scale)[0])
    step = Fraction(errors) * Fraction(rate) * Fraction(float(scale)) * 2**20
    step = min(max(step, Fraction(1 - 2**30)), Fraction(2**30 - 1))
    exact = min(max(bias - step, Fraction(-(2**30))), Fraction(2**30))
    assert abs(got - exact) <= Fraction(1, 2) + abs(step) * Fraction(3.1 * HALF_ULP)


def test_a_bias_steps_in_c_the_same(c: Harness) -> None:
    rng, n = np.random.default_rng(6), 1_000_000
    bias = rng.integers(-(2**30), 2**30 + 1, n).astype(np.int32)
    errors = (rng.integers(-(2**24), 2**24, n) >> rng.integers(0, 24, n)).astype(np.int32)
    for rate, scale in ((1.0, 1 / 127), (0.01, 1 / 127), (1e-5, 1 / (127 * 49)), (0.3, 1.0)):
        out = np.empty(n, np.int32)
        c("update_bias", n, bias, errors, np.full(n, rate, F32), np.full(n, scale, F32), out)
        np.testing.assert_array_equal(out, update_bias(bias, errors, F32(rate), F32(scale)))


def test_the_largest_bias_takes_the_largest_step(c: Harness) -> None:
    """2^30 + 2^30 would not fit int32 and wrap to the other end."""
    bias = np.asarray([2**30, 2**30, -(2**30), -(2**30), 0, 0], np.int32)
    errors = np.asarray([-1, 1, -1, 1, -1, 1], np.int32)
    expected = [2**30, 1, -1, -(2**30), 2**30 - 1, 1 - 2**30]
    for rate in (1024.0, 1e30, np.inf):
        out = np.empty(bias.size, np.int32)
        c("update_bias", bias.size, bias, errors, np.full(6, rate, F32), np.ones(6, F32), out)
        assert out.tolist() == expected
        assert update_bias(bias, errors, F32(rate), F32(1.0)).tolist() == expected
