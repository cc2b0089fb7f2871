"""Do the kernels of convolutions, called alone, equal numpy and keep to their scratch?

Errors are dense, as training makes them only at its start, or leave out channels; values and zero
points are at their ends. The scratch has exactly the bytes that the op plans, and a fence behind.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from made_cases import examples

from insitu.fixed_point import F32, draw_bytes, rescale, round_clamp
from insitu.graph.model import SCRATCH_LIMIT, Array, Tensor
from insitu.ops.kernels.tiles import (
    MOST_BYTES,
    UNTILED,
    Tile,
    forward_tile,
    grad_input_tile,
    listed_errors,
    tiled,
    update_tile,
)
from insitu.ops.layers.error import expand_error
from insitu.ops.numerics.geometry import conv_params, output_size, scatter, windows
from insitu.runtime import INCLUDE_FLAGS, KERNELS
from insitu.tools.compilers import find_toolchain

pytestmark = pytest.mark.toolchain

FENCE = 64
RATE, DY_SCALE, X_SCALE = F32(0.01), F32(1 / 127), F32(0.02)


@dataclass(frozen=True)
class Layer:
    """A convolution and what it is called with.

    Attributes:
        dense: part of the errors that are not zero; live: part of the channels that have any.
        extreme: all inputs and weights at their largest.
        limit: bytes of scratch that its kernels keep to, but for a patch or a row.
    """

    size: tuple[int, int, int]
    out: int
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (1, 1, 1, 1)
    zero: int = -3
    dense: float = 1.0
    live: float = 1.0
    extreme: bool = False
    shift: int = 0
    seed: int = 0
    limit: int = MOST_BYTES

    @property
    def attributes(self) -> dict[str, Any]:
        return {"stride": self.stride, "padding": self.padding, SCRATCH_LIMIT: self.limit}

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """x, w, y."""
        y = output_size(self.size[:2], self.kernel, self.stride, self.padding)
        return self.size, (self.out, *self.kernel, self.size[2]), (*y, self.out)

    def arrays(self) -> tuple[Array, Array, Array]:
        """x, w, dy, int8."""
        rng = np.random.default_rng(self.seed)
        x, w, y = self.shapes
        values = rng.integers(-128, 128, x), rng.integers(-127, 128, w), rng.integers(1, 128, y)
        if self.extreme:
            values = np.full(x, 127), np.full(w, -127), np.full(y, 127)
        signs = 1 if self.extreme else rng.choice([-1, 1], y)
        kept = (rng.random(y) < self.dense) & (rng.random(self.out) < self.live)
        dy = np.where(kept, values[2] * signs, 0)
        return values[0].astype(np.int8), values[1].astype(np.int8), dy.astype(np.int8)

    def params(self, tile: Tile) -> list[int]:
        """Fields of insitu_conv_params_t."""
        tensors = [Tensor("t", shape, "int8") for shape in self.shapes]
        return list(tiled(conv_params(self.attributes, *tensors), tile).values())

    def patches(self, x: Array) -> Array:
        """x - zero: [positions, weights of a row] int64."""
        centred = x.astype(np.int64)[None] - self.zero
        return windows(centred, self.kernel, self.stride, self.padding).reshape(
            -1, int(np.prod(self.shapes[1][1:]))
        )


class Fenced:
    """Memory of exactly so many bytes, which are noise, and a fence behind them."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.memory = np.full(size + FENCE, 0xA5, np.uint8)

    @staticmethod
    def of(array: Array) -> Fenced:
        made = Fenced(array.nbytes)
        made.memory[: array.nbytes] = np.frombuffer(array.tobytes(), np.uint8)
        return made

    def whole(self) -> bool:
        """Nothing was written behind the end."""
        return bool((self.memory[self.size :] == 0xA5).all())

    def read(self, kind: str) -> Array:
        return np.frombuffer(self.memory[: self.size].tobytes(), kind)


class Kernels:
    """The portable kernels, as a library for the desk; `flags` may choose others of them."""

    def __init__(self, folder: Path, *flags: str) -> None:
        toolchain = find_toolchain("host")
        library = folder / "kernels.so"
        sources = [
            path
            for path in KERNELS
            if path.stem in ("conv", "rows") or path.stem.startswith("conv_")
            if not path.stem.endswith("f32") and "grouped" not in path.stem
        ]
        flags = (*flags, *toolchain.compile_flags(), *toolchain.link_flags())
        visible = ("-O1", "-fvisibility=default", *INCLUDE_FLAGS)
        toolchain.run(*flags, *visible, *sources, "-o", library)
        self.library = ctypes.CDLL(str(library))

    def call(self, function: str, *arguments: Fenced | Array | list[Any]) -> int:
        """Lists are structs; no memory may be written behind its end."""
        held = [a if isinstance(a, Fenced) else Fenced.of(_plain(a)) for a in arguments]
        pointers = [a.memory.ctypes.data_as(ctypes.c_void_p) for a in held]
        returned = getattr(self.library, function)(*pointers)
        assert all(a.whole() for a in held)
        return int(returned)


def _plain(value: Array | list[Any]) -> Array:
    if isinstance(value, np.ndarray):
        return value
    fields = [np.asarray(v, F32 if isinstance(v, float | F32) else np.int32) for v in value]
    return np.frombuffer(b"".join(field.tobytes() for field in fields), np.uint8)


@pytest.fixture(scope="module", params=["blocks", "scalar"])
def kernels(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    """Those of blocks of positions, and those that ARMv6-M takes."""
    flags = ["-DINSITU_SCALAR"] if request.param == "scalar" else []
    return Kernels(tmp_path_factory.mktemp("kernels"), *flags)


def forward(kernels: Kernels, layer: Layer) -> None:
    x, w, _ = layer.arrays()
    tile = forward_tile(layer.attributes, *layer.shapes)
    rng = np.random.default_rng(1)
    bias = rng.integers(-(2**20), 2**20, layer.out).astype(np.int32)
    multiplier = rng.integers(2**22, 2**31, layer.out).astype(np.int32)
    low, high = -5, 120
    y, observed = Fenced(int(np.prod(layer.shapes[2]))), Fenced(8)
    scratch = Fenced(max(2 * w[0].size, tile.bytes))
    kernels.call(
        "insitu_conv_s8",
        layer.params(tile),
        [float(X_SCALE), layer.zero, -128, 127, -128, 127],
        [float(X_SCALE), -7, low, high, -128, 127],
        *(x, w, bias, multiplier, np.asarray([layer.shift], np.int32)),
        *(scratch, y, observed),
    )
    sums = layer.patches(x) @ w.reshape(layer.out, -1).T.astype(np.int64) + bias
    v = rescale(sums, multiplier, layer.shift)
    np.testing.assert_array_equal(
        y.read("i1"), np.clip(v - 7, low, high).astype(np.int8).reshape(-1)
    )
    assert observed.read("<i4").tolist() == [min(0, v.min()), max(0, v.max())]


def grad_input(
    kernels: Kernels, layer: Layer, tile: Tile | None = None, entries: int | None = None
) -> None:
    x, w, dy = layer.arrays()
    tile = tile or grad_input_tile(layer.attributes, *layer.shapes)
    entries = entries or listed_errors(layer.attributes, w.shape)
    rel = np.random.default_rng(1).integers(1, 32769, layer.out).astype(np.uint16)
    drop, multiplier = 3, 2**26
    dx = Fenced(x.size)
    scratch = Fenced(max(4 * layer.size[2] + 8 * entries, tile.bytes))
    shape = [*layer.params(tile), drop, multiplier, layer.shift, entries]
    kernels.call("insitu_conv_grad_input_s8", shape, dy, w, rel, scratch, dx)
    errors = expand_error(dy, rel, drop).reshape(-1, layer.out)
    y = layer.shapes[2]
    patches = (errors @ w.reshape(layer.out, -1).astype(np.int64)).reshape(1, *y[:2], *w.shape[1:])
    sums = scatter(patches, layer.size[:2], layer.stride, layer.padding)
    expected = np.clip(rescale(sums, multiplier, layer.shift), -127, 127)
    np.testing.assert_array_equal(dx.read("i1"), expected.astype(np.int8).reshape(-1))


def update(kernels: Kernels, layer: Layer) -> None:
    x, w, dy = layer.arrays()
    tile = update_tile(layer.attributes, *layer.shapes)
    rng = np.random.default_rng(1)
    scale = rng.uniform(0.001, 0.01, layer.out).astype(F32)
    bias = rng.integers(-(2**20), 2**20, layer.out).astype(np.int32)
    weights, generator = Fenced.of(w), Fenced.of(np.asarray([12345], np.uint32))
    kernels.call(
        "insitu_conv_update_s8",
        layer.params(tile),
        [float(DY_SCALE), 0, -128, 127, -128, 127],
        [float(X_SCALE), layer.zero, -128, 127, -128, 127],
        *(dy, x, scale, np.asarray([RATE])),
        *(Fenced(max(4 * w[0].size, tile.bytes)), generator, bias, weights),
    )
    errors = dy.reshape(-1, layer.out).astype(np.int64)
    gradient = errors.T @ layer.patches(x)
    factor = RATE * DY_SCALE * X_SCALE * F32(2.0**32)
    rows, state = w.reshape(layer.out, -1).astype(np.int64), 12345
    for o in np.flatnonzero(errors.any(axis=0)):
        multiplier = int(round_clamp(factor / scale[o], 0, 2**31 - 1))
        octets, state = draw_bytes(state, rows.shape[1])
        step = (gradient[o] * multiplier + (octets << 24) + (1 << 23)) >> 32
        rows[o] = np.clip(rows[o] - step, -127, 127)
    np.testing.assert_array_equal(weights.read("i1"), rows.astype(np.int8).reshape(-1))
    assert generator.read("<u4")[0] == state


QUESTIONS: dict[str, Callable[[Kernels, Layer], None]] = {
    "forward": forward,
    "grad_input": grad_input,
    "update": update,
}

NONE = (0, 0, 0, 0)
LAYERS = {
    "many-tiles": Layer((33, 29, 5), 7),
    "many-tiles-stride-2": Layer((37, 26, 6), 9, stride=(2, 2)),
    "many-tiles-5x5": Layer((19, 21, 12), 13, (5, 5), padding=(2, 2, 2, 2)),
    "parts-of-rows": Layer((1, 801, 4), 6, (1, 9), (1, 1), (0, 4, 0, 4)),
    "parts-of-rows-stride": Layer((2, 401, 3), 5, (2, 7), (1, 3), (1, 2, 0, 3)),
    "1x1": Layer((23, 19, 33), 21, (1, 1), padding=NONE),
    "1x1-stride-2": Layer((9, 12, 7), 10, (1, 1), (2, 2), NONE),
    "1x1-map": Layer((1, 1, 19), 11, (1, 1), padding=NONE),
    "1x1-map-padded": Layer((1, 1, 3), 5),
    "asymmetric": Layer((12, 11, 3), 6, (3, 2), (2, 1), (0, 2, 1, 0)),
    "stride-over-kernel": Layer((13, 14, 3), 4, (1, 2), (2, 3), NONE),
    "windows-of-padding": Layer((6, 7, 3), 5, (2, 2), padding=(3, 2, 2, 3)),
    "one-channel": Layer((28, 28, 1), 1, stride=(2, 2)),
    "too-large-for-a-tile": Layer((3, 3, 600), 2),
    "lowest": Layer((9, 9, 8), 8, zero=127, extreme=True),
    "highest": Layer((9, 9, 8), 8, zero=-128, extreme=True, shift=3),
}


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("layer", LAYERS)
def test_a_kernel_equals_numpy(layer: str, question: str, kernels: Kernels) -> None:
    QUESTIONS[question](kernels, LAYERS[layer])


@pytest.mark.parametrize(("dense", "live"), [*itertools.product((0.0, 0.02, 0.5), (0.5, 1.0))])
@pytest.mark.parametrize("question", ["grad_input", "update"])
@pytest.mark.parametrize("layer", ["many-tiles", "asymmetric", "1x1"])
def test_errors_that_are_zero_change_nothing_else(
    layer: str, question: str, dense: float, live: float, kernels: Kernels
) -> None:
    of = LAYERS[layer]
    chosen = Layer(of.size, of.out, of.kernel, of.stride, of.padding, dense=dense, live=live)
    QUESTIONS[question](kernels, chosen)


@st.composite
def layers(draw: st.DrawFn) -> Layer:
    size = (draw(st.integers(1, 24)), draw(st.integers(1, 24)), draw(st.integers(1, 20)))
    kernel = (draw(st.integers(1, 7)), draw(st.integers(1, 7)))
    padding = draw(st.tuples(*[st.integers(0, 4)] * 4))
    assume(all(size[a] + padding[a] + padding[a + 2] >= kernel[a] for a in range(2)))
    return Layer(
        size,
        draw(st.integers(1, 20)),
        kernel,
        (draw(st.integers(1, 4)), draw(st.integers(1, 4))),
        padding,
        zero=draw(st.sampled_from([-128, -1, 0, 127])),
        dense=draw(st.sampled_from([1.0, 0.7, 0.3, 0.05])),
        live=draw(st.sampled_from([1.0, 0.6])),
        extreme=draw(st.booleans()),
        shift=draw(st.sampled_from([0, 0, 1, 5])),
        seed=draw(st.integers(0, 99)),
        limit=draw(st.sampled_from([MOST_BYTES, MOST_BYTES, 4000, 1500, 700, 0])),
    )


@given(layer=layers())
@settings(max_examples=examples(60))
def test_the_kernels_of_any_layer_equal_numpy(layer: Layer, kernels: Kernels) -> None:
    for question in QUESTIONS.values():
        question(kernels, layer)


@pytest.mark.parametrize("entries", [4, None])
@pytest.mark.parametrize("layer", LAYERS)
def test_errors_in_one_list_or_several_equal_numpy(
    layer: str, entries: int | None, kernels: Kernels
) -> None:
    grad_input(kernels, LAYERS[layer], UNTILED, entries)


@pytest.mark.parametrize("layer", LAYERS)
def test_scratch_is_within_its_limit(layer: str) -> None:
    for choose in (forward_tile, grad_input_tile, update_tile):
        for limit in (MOST_BYTES, 4000, 1000, 0):
            chosen = replace(LAYERS[layer], limit=limit)
            tile = choose(chosen.attributes, *chosen.shapes)
            assert tile.bytes <= limit
            assert (tile is UNTILED) == (tile.width == 0)


def test_a_large_layer_takes_few_tiles() -> None:
    """A map of 16 x 16 in at most eight."""
    layer = Layer((16, 16, 16), 32)
    for choose in (forward_tile, grad_input_tile, update_tile):
        tile = choose(layer.attributes, *layer.shapes)
        assert tile.height * tile.width >= 32
