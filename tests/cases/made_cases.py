"""Cases that hypothesis makes: one layer of any geometry, and whole networks."""

from __future__ import annotations

import math

from activation_cases import PLAIN
from case_layers import (
    FLATTEN,
    RELU,
    Case,
    Layer,
    activation,
    average_pool,
    clip,
    conv,
    grouped,
    linear,
    max_pool,
    prelu,
    unflatten,
)
from hypothesis import assume, settings
from hypothesis import strategies as st

Shape = tuple[int, ...]


def examples(usual: int) -> int:
    """So many of a costly test; twenty times as many with --hypothesis-profile=deep."""
    return usual * settings().max_examples // 100


@st.composite
def windows(draw: st.DrawFn, shape: Shape, *, pool: bool) -> tuple[tuple[int, int], ...]:
    """(kernel, stride, padding) that fit a map of this shape, as flat as the map is."""
    flat = (shape[0] == 1 and draw(st.booleans()), False)
    kernel, stride, low, high = [], [], [], []
    for axis in range(2):
        size = shape[axis]
        most = 0 if flat[axis] else 3
        before, after = draw(st.integers(0, most)), draw(st.integers(0, most))
        k = draw(st.integers(1, min(7, size + before + after)))
        if pool:
            before, after = min(before, k - 1), min(after, k - 1)
            k = min(k, size + before + after)
        kernel.append(k)
        stride.append(1 if flat[axis] else draw(st.integers(1, 3)))
        low.append(min(before, k - 1) if pool else before)
        high.append(min(after, k - 1) if pool else after)
    assume(all(shape[a] + low[a] + high[a] >= kernel[a] for a in range(2)))
    return tuple(kernel), tuple(stride), (*low, *high)  # type: ignore[return-value]


def output_shape(shape: Shape, layer: Layer) -> Shape:
    """Of a layer over a map or a vector."""
    if layer.op == "linear":
        return (layer.out,)
    if layer.op == "flatten":
        return (math.prod(shape),)
    if layer.op == "unflatten":
        return tuple(layer.attributes["shape"])
    if layer.op not in ("conv", "max_pool", "average_pool"):
        return shape
    kernel = layer.attributes.get("kernel", layer.kernel)
    stride, padding = layer.attributes["stride"], layer.attributes["padding"]
    dilation = layer.attributes.get("dilation", (1, 1))
    reach = [(kernel[a] - 1) * dilation[a] + 1 for a in range(2)]
    sides = [(shape[a] + padding[a] + padding[a + 2] - reach[a]) // stride[a] + 1 for a in range(2)]
    return (*sides, layer.out if layer.op == "conv" else shape[2])


@st.composite
def convolutions(draw: st.DrawFn, shape: Shape, weights: str) -> Layer:
    """A convolution over a map of this shape; one in two has groups or dilation."""
    kernel, stride, padding = draw(windows(shape, pool=False))
    if draw(st.booleans()):
        return conv(draw(st.integers(1, 6)), kernel, stride, padding, weights=weights)  # type: ignore[arg-type]
    padded = [shape[a] + padding[a] + padding[a + 2] for a in range(2)]
    dilation = tuple(
        draw(st.integers(1, max(min(3, (padded[a] - 1) // max(kernel[a] - 1, 1)), 1)))
        for a in range(2)
    )
    groups = draw(st.sampled_from([g for g in range(1, shape[2] + 1) if shape[2] % g == 0]))
    out = groups * draw(st.integers(1, 2))
    place = {"stride": stride, "padding": padding, "dilation": dilation}
    return grouped(out, groups, kernel, weights=weights, **place)  # type: ignore[arg-type]


@st.composite
def functions(draw: st.DrawFn, shape: Shape) -> Layer:
    """An activation function that is no clip."""
    slopes = st.floats(-1.875, 1.875, width=16)
    kind = draw(st.sampled_from([*PLAIN, "hard_sigmoid", "elu", "prelu", "prelu"]))
    if kind == "prelu":
        count = draw(st.sampled_from([1, shape[-1]]))
        return prelu(*draw(st.lists(slopes, min_size=count, max_size=count)))
    if kind == "hard_sigmoid":
        return activation(kind, draw(st.floats(0.0625, 1.5, width=16)), draw(slopes))
    return activation(kind, draw(slopes), 1.0) if kind == "elu" else activation(kind)


@st.composite
def layers(draw: st.DrawFn, shape: Shape) -> Layer:
    """A layer that a map, or a vector, of this shape can go through."""
    bounds = st.sampled_from(
        [(0.0, math.inf), (0.0, 6.0), (-1.0, 1.0), (0.0, 0.5), (-2.0, math.inf)]
    )
    weights = st.sampled_from(["normal"] * 4 + ["zero-rows", "tiny-rows", "large"])
    if draw(st.integers(0, 6)) == 0:
        return draw(functions(shape))
    if len(shape) == 1:
        kind = draw(st.sampled_from(["linear", "clip", "unflatten"]))
        if kind == "unflatten" and shape[0] <= 60:
            height = draw(st.sampled_from([h for h in (1, 2, 3, 4) if shape[0] % h == 0]))
            rest = shape[0] // height
            width = draw(st.sampled_from([w for w in range(1, rest + 1) if rest % w == 0]))
            return unflatten(height, width, rest // width)
        if kind == "clip":
            return clip(*draw(bounds))
        return linear(draw(st.integers(1, 20)), weights=draw(weights))
    kind = draw(st.sampled_from(["conv", "conv", "max_pool", "average_pool", "clip", "flatten"]))
    if kind == "conv":
        return draw(convolutions(shape, draw(weights)))
    if kind in ("max_pool", "average_pool"):
        kernel, stride, padding = draw(windows(shape, pool=True))
        if kind == "max_pool":
            return max_pool(kernel, stride, padding)  # type: ignore[arg-type]
        return average_pool(kernel, stride, padding, counted=draw(st.booleans()))  # type: ignore[arg-type]
    return clip(*draw(bounds)) if kind == "clip" else FLATTEN


SHAPES = st.one_of(
    st.tuples(st.integers(1, 8), st.integers(1, 8), st.integers(1, 4)),
    st.tuples(st.just(1), st.integers(2, 24), st.integers(1, 3)),
    st.tuples(st.integers(1, 30)),
)
SEEDS = st.integers(0, 2**16)


@st.composite
def single_layers(draw: st.DrawFn) -> Case:
    """One layer alone."""
    shape = draw(SHAPES)
    return Case(shape, (draw(layers(shape)),), seed=draw(SEEDS))


@st.composite
def networks(draw: st.DrawFn) -> Case:
    """Up to six layers, then a linear one; any part of it is trained."""
    shape = draw(SHAPES)
    chain: list[Layer] = []
    now: Shape = shape
    for _ in range(draw(st.integers(0, 6))):
        layer = draw(layers(now))
        chain.append(layer)
        now = output_shape(now, layer)
        if layer.op in ("conv", "linear") and draw(st.booleans()):
            chain.append(RELU)
        assume(math.prod(now) <= 500)
    if len(now) == 3:
        chain.append(FLATTEN)
    chain.append(linear(draw(st.integers(2, 5))))
    names = [f"{layer.op}{i}" for i, layer in enumerate(chain, 1) if layer.op in ("conv", "linear")]
    trained = draw(st.sampled_from(["all", "last:1", *names]))
    return Case(shape, tuple(chain), trained=trained, seed=draw(SEEDS))
