"""Does what stands in for an FPU and for 64-bit products on small cores give the same bits?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from c_arithmetic import Harness, build

from insitu.fixed_point import F32, rescale, round_clamp

pytestmark = pytest.mark.toolchain

N = 2_000_000


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Harness:
    folder: Path = tmp_path_factory.mktemp("c")
    return build(folder)


def test_rounding_in_integers_is_the_same(c: Harness) -> None:
    rng = np.random.default_rng(1)
    any_bits = rng.integers(0, 2**32, N, dtype=np.uint32).view(F32)
    any_bits[:2] = np.inf, -np.inf
    halves = (rng.integers(-600, 600, N) / 2).astype(F32)
    near = halves + rng.choice(np.asarray([0, 3e-8, -3e-8], F32), N)
    large = (rng.normal(size=N) * 2.0**30).astype(F32)
    for values, low, high in (
        (np.where(np.isnan(any_bits), F32(0), any_bits), -(2**30), 2**31 - 1),
        (large, -(2**31) + 1, 2**31 - 1),
        (large, -(2**30) + 1, 2**30 - 1),
        (large, -32767, 32767),
        (near, -128, 127),
        (near, 0, 255),
    ):
        out, bounds = np.empty(N, np.int32), [np.full(N, b, np.int32) for b in (low, high)]
        c("round_clamp_bits", N, values, *bounds, out)
        np.testing.assert_array_equal(out, round_clamp(values, low, high))


def test_rounding_nan_in_integers_gives_the_lower_bound(c: Harness) -> None:
    out, bounds = np.empty(2, np.int32), [np.asarray(b, np.int32) for b in ((-127, 0), (127, 9))]
    c("round_clamp_bits", 2, np.asarray([np.nan, -np.nan], F32), *bounds, out)
    assert out.tolist() == [-127, 0]


def test_rescaling_in_halves_is_the_same(c: Harness) -> None:
    rng = np.random.default_rng(2)
    a = rng.integers(-(2**31), 2**31, N).astype(np.int32)
    m = rng.integers(0, 2**31, N).astype(np.int32)
    edges = np.asarray([0, 1, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 2**30, 2**31 - 1], np.int64)
    signed = np.concatenate([edges, -edges, [-(2**31)]])
    a[: len(signed) * len(edges)] = np.repeat(signed, len(edges))
    m[: len(signed) * len(edges)] = np.tile(edges, len(signed))
    out = np.empty_like(a)
    c("round_high_halves", N, a, m, out)
    np.testing.assert_array_equal(out, rescale(a, m, 0))
