"""Does the C quantize samples as numpy, the specification, does?"""

from __future__ import annotations

import numpy as np
import pytest
from builds import host_library, source_of
from case_layers import HEAD, RELU, Case, conv, linear
from case_models import Compiled, HostBuilder

from insitu.data.samples import quantize_samples
from insitu.differentiate import differentiate
from insitu.graph.builder import Builder
from insitu.graph.model import QParams, Units
from insitu.ops import OPS
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
    assert f"* {channels} {what} have a scale and an" in source.files["insitu_worst.h"]
    library = TwinLibrary(host_library(source, find_toolchain("host")), source.name)
    last = rng.normal(size=(100, *shape)) * scale * 2 + units.offset
    real = last.transpose(0, 3, 1, 2) if len(shape) == 3 else last
    far = real * np.float32(1e30)
    samples = np.concatenate([real, far, np.full_like(real[:1], 3e38)]).astype(np.float32)
    expected = quantize_samples(samples, shape, q)
    assert set(np.unique(expected)) >= {-128, 0, 127}
    np.testing.assert_array_equal(library.quantize_input(samples), expected)


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
