"""Does a simplified network compute the same function, with everything folded that can be?"""

from __future__ import annotations

import math

import numpy as np
import pytest
from case_layers import (
    ALL_1,
    FLATTEN,
    HEAD,
    IDENTITY,
    NORM,
    RELU,
    RELU6,
    SOFTMAX,
    Case,
    Layer,
    add,
    average_pool,
    conv,
    linear,
    max_pool,
)
from case_models import INPUT, float_graph, samples
from cases import CASES
from hypothesis import given, settings
from made_cases import examples, networks
from mixing_cases import move, multiply

from insitu.graph.builder import Builder
from insitu.graph.evaluate import evaluate_float
from insitu.graph.model import Array, Graph
from insitu.ops import OPS
from insitu.prepare.layers import select_kept
from insitu.prepare.simplify import simplify


def ops_of(graph: Graph) -> list[str]:
    return [node.op.name for node in graph.nodes]


def function_of(graph: Graph, x: Array) -> Array:
    """In float64; x is named as in the float graphs of the cases."""
    values = {
        t.name: t.data.astype(np.float64) for t in graph.tensors.values() if t.data is not None
    }
    result: Array = evaluate_float(graph, {**values, INPUT: x.astype(np.float64)})[graph.outputs[0]]
    return result


def assert_same_function(case: Case) -> None:
    """Folding rounds each weight and bias to float32 once, 2^-24 of it.

    Every sum of a layer is off by that part of its terms' sizes, which later layers scale like
    the values themselves; a network of L layers with t terms is off by L t 2^-24 of the largest
    value at most. A trailing softmax is left out on purpose, so scores are compared.
    """
    graph = float_graph(case)
    simple = simplify(graph)
    if graph.nodes[-1].op.name == "softmax":
        graph = float_graph(Case(case.shape, case.layers[:-1], scale=case.scale, seed=case.seed))
    x = samples(case, 5)
    before, after = function_of(graph, x), function_of(simple, x)
    terms = max(
        (t.size // t.shape[0] for t in graph.tensors.values() if t.data is not None), default=1
    )
    bound = len(graph.nodes) * terms * 2.0**-24 * max(np.abs(before).max(), case.scale)
    np.testing.assert_allclose(
        after.reshape(len(x), -1), before.reshape(len(x), -1), rtol=0, atol=bound
    )


@pytest.mark.parametrize("case", CASES)
def test_a_simplified_case_is_the_same_function(case: str) -> None:
    assert_same_function(CASES[case])


@given(case=networks())
@settings(max_examples=examples(60))
def test_any_simplified_network_is_the_same_function(case: Case) -> None:
    assert_same_function(case)


FOLDED = {
    "norm-and-relu-into-conv": ((conv(2), NORM, RELU, *HEAD), ["conv", "linear"]),
    "norm-into-linear": ((FLATTEN, linear(3), NORM), ["linear"]),
    "two-norms": ((conv(2), NORM, NORM, *HEAD), ["conv", "linear"]),
    "norm-behind-relu-into-linear": ((conv(2), RELU, NORM, *HEAD), ["conv", "linear"]),
    "norm-behind-relu-into-conv": (
        (conv(2), RELU, NORM, conv(3), *HEAD),
        ["conv", "conv", "linear"],
    ),
    "norm-before-a-border-becomes-a-layer": (
        (NORM, conv(2, padding=ALL_1), *HEAD),
        ["conv", "conv", "linear"],
    ),
    "norm-of-a-map-into-columns": ((NORM, FLATTEN, linear(3)), ["linear"]),
    "norm-of-two-readers": (
        (NORM, conv(3), conv(3, of=(1,)), add(2, 3), *HEAD),
        ["conv", "conv", "add", "linear"],
    ),
    "norm-before-a-sum-becomes-a-layer": (
        (NORM, RELU, add(0, 1), *HEAD),
        ["conv", "clip", "add", "linear"],
    ),
    "norm-first-becomes-a-layer": ((NORM, NORM, RELU, conv(2), *HEAD), ["conv", "conv", "linear"]),
    "norm-of-features-into-linear": (
        (FLATTEN, linear(3), RELU, NORM, NORM, linear(2)),
        ["linear", "linear"],
    ),
    "norm-of-features-alone-becomes-a-layer": (
        (FLATTEN, linear(3), RELU, NORM, RELU, linear(2)),
        ["linear", "unflatten", "conv", "flatten", "clip", "linear"],
    ),
    "second-clip-stays": ((conv(2), RELU, RELU6, *HEAD), ["conv", "clip", "linear"]),
    "clip-behind-pool-stays": (
        (conv(2), max_pool(), RELU, *HEAD),
        ["conv", "max_pool", "clip", "linear"],
    ),
    "pad-into-conv": ((move("pad", (1, 0, 0), (8, 9, 2)), conv(2), *HEAD), ["conv", "linear"]),
    "pad-into-average": (
        (move("pad", (0, 1, 0), (7, 8, 2)), average_pool(), *HEAD),
        ["average_pool", "linear"],
    ),
    "pad-before-padded-average-stays": (
        (move("pad", (0, 1, 0), (7, 8, 2)), average_pool(padding=(0, 1, 0, 1)), *HEAD),
        ["pad", "average_pool", "linear"],
    ),
    "pad-wider-than-average-stays": (
        (move("pad", (2, 1, 0), (9, 8, 2)), average_pool(), *HEAD),
        ["pad", "average_pool", "linear"],
    ),
    "pad-before-max-stays": (
        (move("pad", (0, 1, 0), (7, 8, 2)), max_pool(), *HEAD),
        ["pad", "max_pool", "linear"],
    ),
    "crop-stays": (
        (move("pad", (-1, 0, 0), (5, 6, 2)), conv(2), *HEAD),
        ["pad", "conv", "linear"],
    ),
    "pad-of-nothing": ((move("pad", (0, 0, 0), (6, 6, 2)), RELU, *HEAD), ["clip", "linear"]),
    "relu-into-product": ((multiply(0, 0), RELU, *HEAD), ["multiply", "linear"]),
    "identities": ((IDENTITY, conv(2), IDENTITY, RELU, IDENTITY, *HEAD), ["conv", "linear"]),
    "flatten-of-vector": ((*HEAD, FLATTEN, FLATTEN, linear(2)), ["linear", "linear"]),
    "flatten-at-the-end-stays": ((conv(2), FLATTEN), ["conv", "flatten"]),
    "trailing-softmax": ((*HEAD, SOFTMAX), ["linear"]),
    "softmax-behind-flatten": ((conv(2), FLATTEN, SOFTMAX), ["conv", "flatten"]),
    "softmax-inside-stays": ((*HEAD, SOFTMAX, linear(2)), ["linear", "softmax", "linear"]),
}


@pytest.mark.parametrize("case", FOLDED)
def test_what_can_be_folded_is_folded(case: str) -> None:
    layers, expected = FOLDED[case]
    assert ops_of(simplify(float_graph(Case((6, 6, 2), layers)))) == expected


def test_a_folded_layer_keeps_its_name_and_its_clip() -> None:
    named = Layer("conv", conv(2).attributes, 2, (3, 3), name="first")
    graph = simplify(float_graph(Case((6, 6, 2), (named, NORM, RELU6, *HEAD))))
    assert graph.nodes[0].name == "first"
    assert graph.nodes[0].attributes["clip"] == (0.0, 6.0)


def test_simplifying_again_changes_nothing() -> None:
    once = simplify(float_graph(CASES["zoo-1d"]))
    again = simplify(once)
    assert ops_of(again) == ops_of(once)
    assert set(again.tensors) == set(once.tensors)


def test_simplifying_leaves_the_original_alone() -> None:
    graph = float_graph(CASES["norm"])
    before = {t.name: t.data.copy() for t in graph.tensors.values() if t.data is not None}
    simplify(graph)
    for name, data in before.items():
        np.testing.assert_array_equal(graph.tensors[name].data, data)


def shared_weights() -> Graph:
    """Two linear layers that read one weight matrix, with a norm behind the first."""
    rng = np.random.default_rng(0)
    builder = Builder("shared")
    x = builder.input(INPUT, (4,))
    w = builder.constant("w", rng.normal(size=(4, 4)).astype(np.float32))
    b = builder.constant("b", rng.normal(size=4).astype(np.float32))
    (y,) = builder.node(OPS["linear"], (x, w, b), name="fc1")
    parameters = [
        builder.constant(f"norm.{i}", rng.uniform(0.5, 1.5, 4).astype(np.float32)) for i in range(4)
    ]
    (y,) = builder.node(
        OPS["batch_norm"], (y, *parameters), name="norm", attributes={"epsilon": 0.0}
    )
    (y,) = builder.node(OPS["linear"], (y, w, b), name="fc2")
    return builder.finish((y,))


def test_folding_into_shared_weights_gives_the_layer_its_own() -> None:
    graph = shared_weights()
    simple = simplify(graph)
    assert ops_of(simple) == ["linear", "linear"]
    x = np.random.default_rng(1).normal(size=(3, 4))
    np.testing.assert_allclose(function_of(simple, x), function_of(graph, x), rtol=1e-5)


def branching() -> Graph:
    """A convolution's output is read by a norm and handed out itself."""
    graph = float_graph(Case((4, 4, 1), (conv(2), NORM)))
    return Graph(graph.name, graph.nodes, graph.tensors, graph.inputs, (graph.nodes[0].outputs[0],))


def test_nothing_is_folded_into_a_layer_whose_output_others_read() -> None:
    simple = simplify(branching())
    assert [node.name for node in simple.nodes] == ["conv1", "batch_norm2"]
    assert simple.nodes[1].attributes["groups"] == 2


def test_a_norm_that_is_kept_becomes_a_layer_of_its_name() -> None:
    graph = float_graph(Case((6, 6, 2), (conv(2), NORM, RELU, *HEAD)))
    simple = simplify(graph, keep={"batch_norm2"})
    assert [node.name for node in simple.nodes] == ["conv1", "batch_norm2", "linear5"]
    assert simple.nodes[1].op.weights and simple.nodes[1].attributes["clip"] == (0.0, math.inf)


@pytest.mark.parametrize(
    ("wanted", "kept"),
    [
        ("batch_norm2", {"batch_norm2"}),
        ("*norm*, linear5", {"batch_norm2"}),
        ("*", set()),
        ("last:1", set()),
        ("conv1", set()),
    ],
)
def test_a_glob_that_suits_norms_alone_keeps_them(wanted: str, kept: set[str]) -> None:
    graph = float_graph(Case((6, 6, 2), (conv(2), NORM, RELU, *HEAD)))
    assert select_kept(graph, wanted) == kept


def test_a_norm_without_variance_is_finite() -> None:
    graph = float_graph(Case((4, 4, 1), (conv(2), NORM, *HEAD)))
    name = graph.nodes[1].inputs[4]
    tensors = {**graph.tensors}
    data = tensors[name].data
    assert data is not None
    data[:] = 0
    simple = simplify(Graph(graph.name, graph.nodes, tensors, graph.inputs, graph.outputs))
    assert all(np.isfinite(t.data).all() for t in simple.tensors.values() if t.data is not None)
    assert math.isfinite(function_of(simple, samples(Case((4, 4, 1), ()), 2)).max())
