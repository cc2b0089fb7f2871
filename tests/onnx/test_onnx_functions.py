"""Are activation functions known, and nothing else taken for them?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper
from onnx_cases import PATTERNS, function
from onnx_models import layer, model, node, normal, saved

from insitu.errors import ModelError
from insitu.frontends.onnx.fusion import with_functions
from insitu.frontends.onnx.reader import read
from insitu.graph.model import Array


def names(patterns: Any) -> list[str]:
    return [n.attributes["function"] for n in patterns.graph.nodes if n.op.name == "activation"]


@pytest.mark.parametrize("case", PATTERNS)
def test_a_function_that_is_spelled_out_is_one_node(case: str, tmp_path: Path) -> None:
    result = read(saved(PATTERNS[case], tmp_path))
    assert len(result.graph.nodes) == 1
    expected = next(
        n
        for n in ("hard_swish", "hard_sigmoid", "gelu_tanh", "gelu", "silu", "soft")
        if case.replace("-", "_").startswith(n)
    )
    assert names(result)[0].startswith(expected)


def test_the_node_keeps_its_name(tmp_path: Path) -> None:
    nodes = [node("Sigmoid", "x", "s", "/act/Sigmoid"), node("Mul", "x s", "y", "/act/Mul_1")]
    (only,) = read(saved(model(["n", 4], nodes), tmp_path)).graph.nodes
    assert only.name == "act.swish"


NEAR_MISSES = {
    "another-shift": function("Add x 2.9 a", "Clip a 0 6 c", "Mul x c m", "Div m 6 y"),
    "another-bound": function("Add x 3 a", "Clip a 0 5 c", "Mul x c m", "Div m 6 y"),
    "no-bound": function("Add x 3 a", "Clip a 0 c", "Mul x c m", "Div m 6 y"),
    "another-divisor": function("Add x 3 a", "Clip a 0 6 c", "Mul x c m", "Div m 5.9 y"),
    "divided-by-0": function("Add x 3 a", "Clip a 0 6 c", "Mul x c m", "Div m 0 y"),
    "turned-quotient": function("Add x 3 a", "Clip a 0 6 c", "Div 6 c y"),
    "gate-of-another": function("Tanh x z", "Sigmoid z s", "Mul x s y"),
    "gate-alone": function("Sigmoid x s", "Mul s s y"),
    "scaled-gate": function("Sigmoid x s", "Mul s 2 t", "Mul x t y"),
    "another-hard-sigmoid": function("HardSigmoid x s", "Mul x s y"),
    "another-root": function("Div x 1.5 d", "Erf d e", "Add e 1 a", "Mul x a m", "Mul m 0.5 y"),
    "another-cube": function(
        *("Pow x 3 c", "Mul c 0.04 k", "Add k x a", "Mul a 0.7978846 v", "Tanh v t"),
        *("Add t 1 o", "Mul x 0.5 h", "Mul o h y"),
    ),
    "low-threshold": function("Softplus x s", "Greater x 2 g", "Where g x s y"),
    "many-squares": function("Mul x x a", "Mul a a b", "Mul b b c", "Mul c c d", "Mul d d y"),
}


def constants(case: str) -> dict[str, Array]:
    initializers = NEAR_MISSES[case].graph.initializer
    return {t.name: np.frombuffer(t.raw_data, np.float32).reshape(()) for t in initializers}


@pytest.mark.parametrize("case", NEAR_MISSES)
def test_what_is_nearly_a_function_is_left_alone(case: str) -> None:
    nodes = list(NEAR_MISSES[case].graph.node)
    assert with_functions(nodes, constants(case), "x", ("",)) == nodes


def test_functions_of_constants_and_of_foreign_operators_are_left_alone() -> None:
    gate = [node("Sigmoid", "w", "s"), node("Mul", "w s", "y")]
    assert with_functions(gate, {"w": np.zeros(3, np.float32)}, "x", ("",)) == gate
    foreign = [node("Sigmoid", "x", "s"), helper.make_node("Mul", ["x", "s"], ["y"], domain="my")]
    assert with_functions(foreign, {}, "x", ("",)) == foreign


def test_numbers_of_constant_nodes_are_known(tmp_path: Path) -> None:
    three, damaged = (
        helper.make_node("Constant", [], ["3"], value_float=3.0),
        node("Relu", "x", "r"),
    )
    zero = helper.make_tensor("zero", 1, [], [0.0])
    nodes = [
        *(three, damaged, helper.make_node("Constant", [], ["0"], value=zero)),
        *(helper.make_node("Constant", [], ["6"], value_int=6), node("Add", "x 3", "a")),
        *(node("Clip", "a 0 6", "c"), node("Mul", "c x", "m"), node("Div", "m 6")),
    ]
    assert [n.op_type for n in with_functions(nodes, {}, "x", ("",))][-1] == "HardSwish"


REFUSED = {
    "slopes-of-places": (
        layer("PRelu", [3, 4, 5], {"s": normal(3, 4, 5)}),
        "its slope[3, 4, 5] for x[1, 3, 4, 5] is neither one number nor one for each of 3 channels",
    ),
    "slopes-of-the-last-axis": (
        layer("PRelu", [3, 4, 5], {"s": normal(5)}),
        "its slope[5] for x[1, 3, 4, 5] is neither",
    ),
    "slopes-of-more-axes": (
        layer("PRelu", [3], {"s": normal(3, 1, 1, 1)}),
        "its slope[3, 1, 1, 1] for x[1, 3] is neither",
    ),
    "swish-of-another-slope": (
        model(["n", 7], [node("Swish", "x", alpha=1.7)], opset=24),
        "alpha is 1.7, only 1 is available",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_available_is_named(case: str, tmp_path: Path) -> None:
    proto, reason = REFUSED[case]
    (unsupported,) = read(saved(proto, tmp_path)).unsupported
    assert unsupported.reason.startswith(reason)


WRONG = {
    "steep": (
        model(["n", 7], [node("Elu", "x", alpha=3.0)]),
        "has a slope of 3, only slopes below",
    ),
    "no-number": (
        model(["n", 7], [node("LeakyRelu", "x", alpha=float("nan"))]),
        'LeakyRelu "leaky_relu1": alpha is nan, a finite number belongs there',
    ),
    "infinite": (
        model(["n", 7], [node("HardSigmoid", "x", beta=float("inf"))]),
        "beta is inf, a finite number belongs there",
    ),
    "another-gelu": (
        model(["n", 7], [node("Gelu", "x", approximate="sin")], opset=20),
        'approximate is "sin", it is "none" or "tanh"',
    ),
    "slope-of-nan": (layer("PRelu", [3], {"s": np.full(3, np.nan, np.float32)}), "3 of 3 numbers"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_makes_no_sense_is_an_error(case: str, tmp_path: Path) -> None:
    proto, said = WRONG[case]
    with pytest.raises(ModelError) as caught:
        read(saved(proto, tmp_path))
    assert said in str(caught.value)
