"""Have weights that look like small initial values room, and all others the range they had?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from case_layers import RELU, Case, linear
from case_models import float_graph
from networks import DEMO_ONNX

from insitu.frontends.onnx.reader import read
from insitu.graph.model import Array, Graph
from insitu.ops.layers.initial import INITIAL_RANGE, initial_range
from insitu.ops.layers.rows import FRESH_RANGE
from insitu.prepare.simplify import simplify
from insitu.quantize import calibrate, quantize_graph

Shape = tuple[int, ...]
Draw = Callable[[np.random.Generator, Shape, int], Array]
SHAPES: tuple[Shape, ...] = ((16, 3, 3, 1), (32, 1, 8, 16), (48, 3, 3, 1), (64, 784), (10, 32))


def pytorch(random: np.random.Generator, shape: Shape, fan_in: int) -> Array:
    return np.asarray(random.uniform(-1, 1, shape) / np.sqrt(fan_in))


def glorot(random: np.random.Generator, shape: Shape, fan_in: int) -> Array:
    return np.asarray(random.uniform(-1, 1, shape) * np.sqrt(3 / fan_in))


def small(random: np.random.Generator, shape: Shape, fan_in: int) -> Array:
    return random.normal(0, 0.01, shape)


SMALL: dict[str, Draw] = {"pytorch": pytorch, "glorot": glorot, "small": small}


def kaiming(random: np.random.Generator, shape: Shape, fan_in: int) -> Array:
    return random.normal(0, np.sqrt(2 / fan_in), shape)


def kaiming_uniform(random: np.random.Generator, shape: Shape, fan_in: int) -> Array:
    return np.asarray(random.uniform(-1, 1, shape) * np.sqrt(6 / fan_in))


def heavy(random: np.random.Generator, shape: Shape, fan_in: int) -> Array:
    """As training leaves weights: most are near 0."""
    return np.asarray(random.laplace(0, 0.1, shape) / np.sqrt(fan_in))


def unequal(random: np.random.Generator, shape: Shape, fan_in: int) -> Array:
    """As a folded batch normalization leaves rows."""
    factors = np.linspace(0.1, 1, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    return pytorch(random, shape, fan_in) * factors


def tiny(random: np.random.Generator, shape: Shape, fan_in: int) -> Array:
    """Of a layer that reads large numbers."""
    return random.normal(0, 1e-6, shape)


def zeros(random: np.random.Generator, shape: Shape, fan_in: int) -> Array:
    return np.zeros(shape)


OTHERS: dict[str, Draw] = {
    "kaiming": kaiming,
    "kaiming-uniform": kaiming_uniform,
    "heavy": heavy,
    "unequal": unequal,
    "zeros": zeros,
    "tiny": tiny,
}


def least(draw: Draw, shape: Shape, bias: float = 0.0) -> float:
    """Of such weights, times sqrt(fan in)."""
    fan_in = int(np.prod(shape[1:]))
    w = draw(np.random.default_rng(0), shape, fan_in).astype(np.float32)
    return initial_range(w, np.full(shape[0], bias, np.float32)) * float(np.sqrt(fan_in))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", SMALL)
def test_small_initial_values_have_room(kind: str, shape: Shape) -> None:
    assert least(SMALL[kind], shape) == pytest.approx(INITIAL_RANGE)


@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
@pytest.mark.parametrize("kind", OTHERS)
def test_other_values_keep_their_own_range(kind: str, shape: Shape) -> None:
    assert least(OTHERS[kind], shape) == 0


def test_a_bias_that_has_moved_tells_that_a_layer_was_trained() -> None:
    bound = 1 / np.sqrt(784)
    assert least(pytorch, (64, 784), 0.99 * bound) > 0
    assert least(pytorch, (64, 784), 1.5 * bound) == 0


def ranges(graph: Graph, trained: set[str]) -> dict[str, Array]:
    """By layer, those of the rows, times sqrt(fan in)."""
    x = np.random.default_rng(1).normal(size=(16, *graph.sample.shape)).astype(np.float32)
    step = quantize_graph(graph, calibrate(graph, x), trained)
    found = {}
    for node in graph.nodes:
        if node.op.weights:
            w = step.tensors[f"{node.name}.w"]
            assert w.qparams is not None
            found[node.name] = 127 * w.qparams.scale * np.sqrt(w.size / len(w.qparams.scale))
    return found


def started(draw: Draw) -> Graph:
    """A network of two linear layers with such weights."""
    graph = simplify(float_graph(Case((64,), (linear(32), RELU, linear(10)))))
    random, tensors = np.random.default_rng(0), dict(graph.tensors)
    for node in graph.nodes:
        w, bias = tensors[node["w"]], tensors[node["bias"]]
        assert w.data is not None and bias.data is not None
        values = draw(random, w.shape, w.shape[1]).astype(np.float32)
        tensors[node["w"]] = replace(w, data=values)
        tensors[node["bias"]] = replace(bias, data=np.zeros_like(bias.data))
    return replace(graph, tensors=tensors)


def test_trained_layers_alone_have_room() -> None:
    graph = started(pytorch)
    first, last = (node.name for node in graph.nodes if node.op.weights)
    both, one = ranges(graph, {first, last}), ranges(graph, {last})
    assert both[first] == pytest.approx(INITIAL_RANGE, rel=1e-5)
    assert both[last] == pytest.approx(INITIAL_RANGE, rel=1e-5)
    assert (one[first] <= 1).all() and one[last] == pytest.approx(INITIAL_RANGE, rel=1e-5)
    assert ranges(started(zeros), {last})[last] == pytest.approx(FRESH_RANGE, rel=1e-5)


def test_pretrained_layers_have_the_range_of_their_weights() -> None:
    graph = simplify(read(DEMO_ONNX).graph)
    layers = [node for node in graph.nodes if node.op.weights]
    for node in layers:
        w, bias = (graph.tensors[node[operand]].data for operand in ("w", "bias"))
        assert w is not None and bias is not None
        assert initial_range(w, bias) == 0
