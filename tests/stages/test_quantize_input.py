"""Does the C quantize samples as numpy, the specification, does?"""

from __future__ import annotations

import numpy as np
import pytest
from case_layers import HEAD, RELU, Case, conv, linear
from case_models import Compiled, HostBuilder

from insitu.data.samples import quantize_samples
from insitu.run.twin_library import TwinLibrary

pytestmark = pytest.mark.toolchain

CASES = {
    "map": Case((5, 7, 3), (conv(2), RELU, *HEAD)),
    "signal": Case((1, 33, 2), (conv(2, (1, 3)), RELU, *HEAD), scale=1e-3),
    "features": Case((19,), (linear(4), RELU, linear(2)), scale=1e3),
}


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> HostBuilder:
    return HostBuilder(tmp_path_factory.mktemp("host"))


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
