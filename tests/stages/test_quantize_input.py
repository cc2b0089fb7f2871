"""Does the C quantize samples as numpy, the specification, does?"""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import cache

import numpy as np
import pytest
from builds import host_library, source_of
from case_layers import HEAD, RELU, Case, conv, linear
from case_models import Compiled, HostBuilder
from hypothesis import given, settings
from hypothesis import strategies as st
from made_cases import examples
from test_report import HISTORY, TWIN, compiled, ran, said

from insitu.data.samples import Beyond, count_beyond, quantize_samples
from insitu.differentiate import differentiate
from insitu.graph.builder import Builder
from insitu.graph.model import Array, QParams, Units
from insitu.graph.scheme import Scheme
from insitu.ops import OPS
from insitu.report import text
from insitu.run.twin_library import TwinLibrary
from insitu.tools.compilers import find_toolchain

pytestmark = pytest.mark.toolchain

CASES = {
    "map": Case((5, 7, 3), (conv(2), RELU, *HEAD)),
    "signal": Case((1, 33, 2), (conv(2, (1, 3)), RELU, *HEAD), scale=1e-3),
    "features": Case((19,), (linear(4), RELU, linear(2)), scale=1e3),
}


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> HostBuilder:
    return HostBuilder(tmp_path_factory.mktemp("host"))


@pytest.mark.parametrize("shape", [(5, 7, 3), (1, 33, 2), (19,)], ids=str)
def test_the_grids_of_channels_with_units_are_equal(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    channels = shape[-1]
    scale = (10.0 ** rng.uniform(-3, 3, channels)).astype(np.float32)
    units = Units(scale, (rng.normal(size=channels) * scale * 30).astype(np.float32))
    builder = Builder("units")
    q = QParams(np.asarray(np.float32(0.03)), 11, units=units)
    x = builder.input("x", shape, dtype="int8", qparams=q)
    w = np.ones((2, int(np.prod(shape))), np.int8)
    parameters = (
        builder.constant("w", w, qparams=QParams(np.ones(2, np.float32))),
        builder.constant("bias", np.zeros(2, np.int32)),
        builder.constant("scale", np.ones(2, np.float32)),
    )
    (y,) = builder.node(OPS["logits"], (x, *parameters), name="scores")
    source = source_of(differentiate(builder.finish((y,))))
    what = "features" if len(shape) == 1 else "channels"
    assert f"* Its {channels} {what} have a scale and an" in source.files["insitu_worst.h"]
    library = TwinLibrary(host_library(source, find_toolchain("host")), source.name)
    last = rng.normal(size=(100, *shape)) * scale * 2 + units.offset
    real = last.transpose(0, 3, 1, 2) if len(shape) == 3 else last
    far = real * np.float32(1e30)
    samples = np.concatenate([real, far, np.full_like(real[:1], 3e38)]).astype(np.float32)
    expected = quantize_samples(samples, shape, q)
    assert set(np.unique(expected)) >= {-128, 0, 127}
    stored, beyond = library.quantize_counted(samples)
    np.testing.assert_array_equal(stored, expected)
    np.testing.assert_array_equal(beyond, count_beyond(samples, shape, q))
    assert beyond.min() < beyond.max() == samples[0].size


@pytest.mark.parametrize("case", CASES)
def test_the_grids_are_equal(case: str, builder: HostBuilder) -> None:
    compiled = Compiled(CASES[case])
    library: TwinLibrary = builder.library(compiled)
    image = compiled.step.tensors[compiled.step.inputs[0]]
    assert image.qparams is not None
    scale = np.float32(image.qparams.scale)
    rng = np.random.default_rng(0)
    size = (400, library.input_size)
    halves = (rng.integers(-300, 300, size) + np.float32(0.5)) * scale
    wide = rng.normal(size=size).astype(np.float32) * scale * 100
    far = wide * np.float32(1e20)
    x = np.concatenate([halves, np.nextafter(halves, np.float32(0)), wide, far, -far])
    x = x.astype(np.float32)
    quantized = library.quantize_input(x)
    assert set(np.unique(quantized)) == set(range(-128, 128))
    np.testing.assert_array_equal(quantized, quantize_samples(x, image.shape, image.qparams))


FLOAT32 = Case((2, 2, 3), HEAD), Scheme(precision="float32")
INT8 = Case((2, 2, 3), HEAD), Scheme()
SIGNS = st.sampled_from([0, 1 << 31])
CLASSES = st.one_of(
    st.integers(0, 2**32 - 1),  # any bits at all
    st.sampled_from([0, 1, 0x7FFFFF, 0x800000, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FC00000]),
)
"""Bits: zero, subnormal, normal, infinite, signalling and quiet NaN."""


@cache
def model(float32: bool) -> Compiled:
    return Compiled(*(FLOAT32 if float32 else INT8))


@pytest.mark.parametrize("float32", [False, True], ids=["int8", "float32"])
def test_every_class_of_floats_is_taken_and_counted_alike(
    float32: bool, builder: HostBuilder
) -> None:
    compiled = model(float32)
    library = builder.library(compiled)
    image = compiled.step.sample
    step = 0.0 if image.qparams is None else float(image.qparams.scale)
    near = st.integers(-2000, 2000).map(  # quarters of steps, on both sides of both ends
        lambda k: int(np.float32(k * step / 4).view(np.uint32))
    )
    bits = st.tuples(st.one_of(CLASSES, near), SIGNS).map(lambda pair: pair[0] ^ pair[1])

    @settings(max_examples=examples(60), deadline=None)
    @given(st.lists(bits, min_size=12, max_size=12))
    def alike(values: list[int]) -> None:
        x = np.asarray([values], np.uint32).view(np.float32).reshape(1, 3, 2, 2)
        quantized, counts = library.quantize_counted(x)
        expected = quantize_samples(x, image.shape, image.qparams)
        assert quantized.tobytes() == expected.tobytes()
        np.testing.assert_array_equal(counts, count_beyond(x, image.shape, image.qparams))

    alike()


def counted(values: Array, float32: bool) -> list[int]:
    """By sample, of Python; that C agrees is asked above."""
    return list(count_beyond(values, (2, 2, 3), model(float32).step.sample.qparams))


def test_what_is_counted() -> None:
    q = model(False).step.sample.qparams
    assert q is not None
    low, high = ((end - q.zero_point) * float(q.scale) for end in (-128, 127))
    x = np.zeros((8, 12), np.float32)
    x[1, 3] = np.nan
    x[2, :2] = np.inf, -np.inf
    x[3, 0] = high + 1.4 * q.scale  # within a step, as ends of the calibration are
    x[4, :3] = high + 1.6 * q.scale, low - 1.6 * q.scale, 3e38
    x[5] = low - 1.4 * q.scale
    assert counted(x, False) == [0, 1, 2, 0, 3, 0, 0, 0]
    assert counted(x, True) == [0, 1, 2, 0, 0, 0, 0, 0]
    grid = quantize_samples(x.reshape(-1, 3, 2, 2), (2, 2, 3), q)
    assert sorted(grid[1])[0] == -128
    assert {-128, 127} <= set(grid[2].tolist())


def test_people_are_told_where_it_begins() -> None:
    beyond = Beyond.of_counts(np.asarray([0, 0, 3, 1, 0]))
    assert beyond == Beyond(values=4, samples=2, of=5, first=2)
    assert beyond.sentence.startswith("4 values in 2 of 5 samples, first in sample 2, lie beyond")
    assert Beyond.of_counts(np.zeros(5, np.int32)).sentence == ""


def test_commands_say_it() -> None:
    network = compiled()
    x = np.full((4, *network.input_shape), 1e9, np.float32)
    x[0] = 0
    beyond = Beyond.of_counts(count_beyond(x, network.graph.sample.shape, network.input_qparams))
    values = int(np.prod(network.input_shape)) * 3
    assert beyond == Beyond(values=values, samples=3, of=4, first=1)
    sentence = f"{values} values in 3 of 4 samples, first in sample 1, lie beyond"
    result = replace(ran(network), beyond=beyond)
    assert result.figures["beyond_range"] == asdict(beyond)
    for print_it, *arguments in (
        (text.print_compile, network, beyond),
        (text.print_run, result.figures),
        (text.print_twin, TWIN, replace(HISTORY, beyond=beyond)),
    ):
        assert sentence in " ".join(said(print_it, *arguments).split())
    assert "lie beyond" not in said(text.print_twin, TWIN, HISTORY)
