"""Are the random bytes and the elementary functions what they claim, and the same in C?

The oracle of the functions is float64, which has 29 bits more.
"""

from __future__ import annotations

import numpy as np
import pytest
from c_arithmetic import Harness, build
from hypothesis import given
from hypothesis import strategies as st

from insitu.fixed_point import (
    F32,
    LFSR_POLYNOMIAL,
    cosine_rates,
    draw_bytes,
    exp_negative,
    log_positive,
    seed_generator,
)

HALF_ULP = 2.0**-24


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Harness:
    return build(tmp_path_factory.mktemp("arithmetic"))


# random bytes


def test_random_bytes_come_from_the_high_one_down() -> None:
    """The first states of the generator, by hand: (s >> 1) ^ polynomial where s is odd."""
    first = LFSR_POLYNOMIAL
    second = first >> 1
    octets, state = draw_bytes(1, 7)
    expected = list(first.to_bytes(4, "big")) + list(second.to_bytes(4, "big"))[:3]
    assert octets.tolist() == expected
    assert state == second


@given(state=st.integers(1, 2**32 - 1), count=st.integers(0, 40), more=st.integers(1, 40))
def test_drawing_takes_whole_steps(state: int, count: int, more: int) -> None:
    octets, after = draw_bytes(state, count)
    whole, after_whole = draw_bytes(state, -(-count // 4) * 4)
    assert octets.tolist() == whole[:count].tolist()
    assert after == after_whole
    assert (
        draw_bytes(after, more)[0].tolist()
        == draw_bytes(state, len(whole) + more)[0][len(whole) :].tolist()
    )


def test_drawing_in_c_is_the_same(c: Harness) -> None:
    for state in (1, 2, 0xDEADBEEF, 2**32 - 1):
        out = np.empty(9_999, np.uint8)
        c("draw", len(out), np.uint32(state), out)
        np.testing.assert_array_equal(out, draw_bytes(state, len(out))[0])


def test_the_generator_has_period_2_to_32_minus_1() -> None:
    """A step is a matrix T over GF(2).

    Its order is 2^32 - 1 exactly if T^(2^32 - 1) = 1 and T^((2^32 - 1) / p) is not, for each
    prime p of 2^32 - 1 = 3 5 17 257 65537.
    """

    def step(state: int) -> int:
        return draw_bytes(state, 1)[1]

    def times(a: list[int], b: list[int]) -> list[int]:
        """Columns of a b; a column is an integer of 32 bits."""
        return [_apply(a, column) for column in b]

    def _apply(matrix: list[int], vector: int) -> int:
        result = 0
        for bit in range(32):
            if vector >> bit & 1:
                result ^= matrix[bit]
        return result

    def power(exponent: int) -> list[int]:
        result, square = [1 << bit for bit in range(32)], [step(1 << bit) for bit in range(32)]
        while exponent:
            if exponent & 1:
                result = times(result, square)
            square, exponent = times(square, square), exponent >> 1
        return result

    one, order = [1 << bit for bit in range(32)], 2**32 - 1
    assert power(order) == one
    assert all(power(order // prime) != one for prime in (3, 5, 17, 257, 65537))


def test_random_bytes_are_even() -> None:
    """Chi-square over 256 values, 2^14 words that share no bit: beyond 400 below 1e-8.

    Words that follow each other share 31 bits, so that only each 32nd is a sample of its own.
    """
    octets, _ = draw_bytes(seed_generator(0), 4 * 32 * 2**14)
    for byte in range(4):
        counts = np.bincount(octets[byte :: 4 * 32], minlength=256)
        assert ((counts - 64) ** 2 / 64).sum() < 400


def test_a_seed_never_stops_the_generator(c: Harness) -> None:
    """The one seed whose state would be 0 is the solution of seed 2654435761 + 0x9E3779B9 = 0."""
    forbidden = -0x9E3779B9 * pow(2654435761, -1, 2**32) % 2**32
    seeds = np.asarray([0, 1, 2, forbidden, 2**32 - 1, *range(1000)], np.uint32)
    out = np.empty(len(seeds), np.uint32)
    c("seed_generator", len(seeds), seeds, out)
    assert [seed_generator(int(s)) for s in seeds] == out.tolist()
    assert out.all()
    assert seed_generator(forbidden) == 1


# elementary functions


def test_the_exponential_keeps_its_claim(c: Harness) -> None:
    x = -np.concatenate([np.linspace(0, 87, 1_000_000), 2.0 ** np.linspace(-30, 6, 10_000)]).astype(
        F32
    )
    out = np.empty(len(x), F32)
    c("exp_negative", len(x), x, out)
    exact = np.exp(x.astype(np.float64))
    assert (np.abs(out - exact) / exact).max() < 3e-7
    some = slice(None, None, 101)
    np.testing.assert_array_equal(out[some], [exp_negative(v) for v in x[some]])


def test_the_exponential_ends_at_87() -> None:
    assert exp_negative(F32(0.0)) == 1
    assert exp_negative(F32(-87.0)) > 0
    for x in (np.nextafter(F32(-87), F32(-88)), F32(-3e38)):
        assert exp_negative(F32(x)) == 0


def test_the_logarithm_keeps_its_claim(c: Harness) -> None:
    x = np.concatenate([np.linspace(1, 4, 500_000), 2.0 ** np.linspace(0, 127.9, 500_000)]).astype(
        F32
    )
    out = np.empty(len(x), F32)
    c("log_positive", len(x), x, out)
    exact = np.log(x.astype(np.float64))
    assert (np.abs(out - exact) / np.maximum(exact, 1)).max() < 3e-7
    some = slice(None, None, 101)
    np.testing.assert_array_equal(out[some], [log_positive(v) for v in x[some]])
    assert log_positive(F32(1.0)) == 0


@pytest.mark.parametrize("rate", [1.0, 0.01, 1e-4])
@pytest.mark.parametrize("steps", [1, 2, 3, 300, 100_000])
def test_cosine_rates_fall_from_the_rate_to_2_percent(c: Harness, rate: float, steps: int) -> None:
    rates = cosine_rates(rate, steps)
    turn = np.cos(np.pi * np.arange(steps) / steps)
    exact = rate * (0.02 + 0.49 * (1 + turn))
    assert np.abs(rates - exact).max() < 3e-6 * rate
    assert (np.diff(rates) <= 2 * HALF_ULP * rate).all()
    out = np.empty(steps, F32)
    c("cosine_rates", steps, F32(rate), out)
    np.testing.assert_array_equal(out, rates)


def test_no_cosine_rate_is_above_the_rate() -> None:
    """1 is the largest rate that a model takes, so the first step of it must not be 1.0000018."""
    for rate in (1.0, 0.5, 0.3, 0.01):
        assert cosine_rates(rate, 50)[0] <= F32(rate)
