"""Are ranges that resist outliers those of plain numpy on whole arrays, however values come?"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from case_models import INPUT, float_graph, samples
from cases import CASES
from hypothesis import given
from hypothesis import strategies as st

from insitu.config import (
    QuantizationConfig,
    TrainingConfig,
    from_options,
    parse_calibration,
    read_toml,
)
from insitu.errors import ConfigError
from insitu.graph.evaluate import evaluate_float
from insitu.graph.model import Array
from insitu.prepare.simplify import simplify
from insitu.quantize import calibrate
from insitu.quantize.calibrate import least_error_range
from insitu.quantize.histogram import Histogram

RANDOM = np.random.default_rng(7)
VALUES: dict[str, Array] = {
    "normal": RANDOM.normal(size=20_000),
    "heavy": RANDOM.standard_t(2, size=20_000),
    "rectified": np.maximum(RANDOM.normal(size=20_000), 0),
    "outliers": np.append(RANDOM.normal(size=20_000), [300.0, -40.0]),
    "negative": -np.abs(RANDOM.normal(size=5_000)) - 3,
    "tiny": RANDOM.normal(size=5_000) * 1e-20,
    "huge": RANDOM.normal(size=5_000) * 1e30,
    "whole": RANDOM.integers(0, 256, 5_000).astype(float),
    "few": np.asarray([0.25, -4.0, 1.0]),
}
LISTS = st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=1, max_size=60)


def histogram(values: Array, parts: int = 1) -> Histogram:
    made = Histogram()
    for part in np.array_split(values, parts):
        made.add(part)
    return made


def squared_error(values: Array, low: float, high: float) -> float:
    """Of 8 bits, as the scheme places the grid; plain."""
    scale = (high - low) / 255
    zero = np.round(-low / scale)
    q = np.clip(np.round(values / scale) + zero, 0, 255)
    return float((((q - zero) * scale - values) ** 2).mean())


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
@pytest.mark.parametrize("percentile", [90.0, 99.0, 99.9, 100.0])
def test_a_percentile_is_numpys_within_a_bin(values: Array, percentile: float) -> None:
    made, tail = histogram(values, parts=3), (1 - percentile / 100) / 2
    low, high = made.without_tails(tail)
    left_out = int(tail * len(values) + 1e-6)
    lowest, highest = np.sort(values)[[left_out, -1 - left_out]]
    assert low - 1e-12 * abs(low) <= lowest < low + 1.001 * made.width
    assert high - 1.001 * made.width < highest <= high + 1e-12 * abs(high)
    for outside in (values < low, values > high):
        assert outside.sum() <= left_out


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_no_range_that_numpy_finds_has_a_much_smaller_error(values: Array) -> None:
    """Plain search over whole arrays, each side in steps of 3 %."""
    low, high = least_error_range(histogram(values))
    steps = 0.97 ** np.arange(0, 140, 2)
    widest = min(values.min(), 0.0), max(values.max(), 0.0)
    sides = [np.unique(side * steps) for side in widest]
    some = values[:: max(1, len(values) // 700)]
    some = np.append(some, [values.min(), values.max()])
    pairs = [(a, b) for a in sides[0] for b in sides[1]]
    best = min(pairs, key=lambda pair: squared_error(some, *pair))
    # within a bin all values count as one, a 2048th of the range: 0.5 % of a step's own error
    floor = (histogram(values).width / 2) ** 2
    assert squared_error(values, low, high) <= 1.03 * squared_error(values, *best) + floor


def test_whole_numbers_on_their_own_grid_are_kept_as_they_are() -> None:
    """Images of 0 to 255 lose nothing in the whole range; clipping would."""
    values = np.arange(256.0)
    assert least_error_range(histogram(values)) == (0.0, 255.0)


@given(LISTS, st.integers(1, 5), st.randoms(use_true_random=False))
def test_a_histogram_does_not_depend_on_batches_or_order(
    numbers: list[float], parts: int, random: object
) -> None:
    values = np.asarray(numbers)
    shuffled = np.asarray(random.sample(numbers, len(numbers)))  # type: ignore[attr-defined]
    one, other = histogram(values), histogram(shuffled, min(parts, len(values)))
    assert (one.low, one.high, one.count) == (other.low, other.high, other.count)
    assert one.width == other.width
    np.testing.assert_array_equal(one.means()[1], other.means()[1])
    np.testing.assert_allclose(one.means()[0], other.means()[0], rtol=1e-9, atol=1e-9)


@given(LISTS)
def test_the_larger_side_holds_2048_to_4096_bins_and_every_value(numbers: list[float]) -> None:
    made = histogram(np.asarray(numbers))
    largest = max(abs(n) for n in numbers)
    if largest > 1e-30:
        assert 2048 <= largest / made.width <= 4096
    means, counts = made.means()
    assert counts.sum() == made.count == len(numbers)
    assert all(a < b for a, b in pairwise(means))
    assert made.without_tails(0.0) == (made.low, made.high)
    low, high = least_error_range(made)
    assert min(made.low, 0) <= low <= high <= max(made.high, 0)


@pytest.mark.parametrize("method", ["percentile:99", "mse"])
def test_ranges_of_a_network_lie_within_the_extremes_and_are_the_same_again(method: str) -> None:
    graph, x = simplify(float_graph(CASES["conv-odd"])), samples(CASES["conv-odd"], 150)
    x[7] *= 50
    widest, ranges = calibrate(graph, x), calibrate(graph, x, method)
    assert ranges == calibrate(graph, x, method)
    assert all(
        widest[t][0] <= low <= 0 <= high <= widest[t][1] for t, (low, high) in ranges.items()
    )
    assert ranges[INPUT][1] - ranges[INPUT][0] < widest[INPUT][1] - widest[INPUT][0]


def test_a_percentile_of_a_network_is_that_of_all_its_values() -> None:
    graph, x = simplify(float_graph(CASES["conv-odd"])), samples(CASES["conv-odd"], 150)
    values = evaluate_float(graph, {INPUT: x.astype(np.float64)})
    for tensor, (low, high) in calibrate(graph, x, "percentile:99").items():
        left_out = int(0.005 * values[tensor].size + 1e-6)
        expected = np.sort(values[tensor], axis=None)[[left_out, -1 - left_out]]
        width = np.abs(values[tensor]).max() / 2048
        assert low == pytest.approx(min(expected[0], 0), abs=2 * width)
        assert high == pytest.approx(max(expected[1], 0), abs=2 * width)


@pytest.mark.parametrize("method", ["percentile:50", "mse"])
def test_a_silent_layer_has_the_range_0_to_1_by_every_method(method: str) -> None:
    graph = simplify(float_graph(CASES["conv-odd"]))
    ranges = calibrate(graph, np.zeros_like(samples(CASES["conv-odd"], 3)), method)
    assert ranges[INPUT] == (0.0, 1.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("entropy", r'"entropy" is not available; choose from: minmax, percentile\[:P\], mse'),
        ("percentile:", '"" should be a number in'),
        ("percentile:0", '"0" should be'),
        ("percentile:100.1", "in \\(0, 100\\]; 99.99 is usual"),
        ("percentile:nan", '"nan" should be'),
        ("mse:3", "is not available"),
    ],
)
def test_what_is_no_calibration_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        QuantizationConfig(calibration=text)


def test_the_usual_percentile() -> None:
    assert parse_calibration("percentile") == parse_calibration("percentile:99.99")


def test_a_toml_file_holds_options_of_both_kinds(tmp_path: Path) -> None:
    path = tmp_path / "options.toml"
    path.write_text(
        'calibration_samples = 64\n[training]\nlr = 0.1\n[quantization]\ncalibration = "mse"'
    )
    assert from_options(read_toml(path)) == (
        TrainingConfig(lr=0.1),
        QuantizationConfig(calibration_samples=64, calibration="mse"),
    )


def test_a_toml_table_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "options.toml"
    path.write_text("quantization = 5")
    with pytest.raises(ConfigError, match=r"write \[quantization\], then calibration ="):
        read_toml(path)
