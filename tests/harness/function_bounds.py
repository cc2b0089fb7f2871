"""How far activation functions of int8 may be from the real numbers: see integer_bounds.py.

The truth is the function's definition in float64 of the exact real value of what is stored.
"""

from __future__ import annotations

import numpy as np
from integer_bounds import Executed, Rule, U, assert_within

from insitu.graph.model import Array, Node
from insitu.ops.activations.functions import FUNCTIONS, REAL

CLAIM = 5e-7
"""Of a function and its slope in float32, relative to max(1, |x|): see test_functions.py."""

GRID = np.arange(-128, 128)


def _wanted(run: Executed, node: Node, q: Array, y: str) -> tuple[Array, Array]:
    """(q of the output, bound): the argument, the function, its quotient and a rounding.

    The argument is rounded once, and no slope is 2 or more.
    """
    x = (q - run.q(node.inputs[0]).zero_point) * run.scale(node.inputs[0])
    value = FUNCTIONS[node.attributes["function"]].value(x, node.attributes, REAL)
    wrong = CLAIM * np.maximum(1, np.abs(x)) + 2 * U * np.abs(x) + 2 * U * np.abs(value)
    wanted = np.clip(value / run.scale(y) + run.q(y).zero_point, -128, 127)
    return wanted, 0.5 + wrong / run.scale(y)


def _seen(run: Executed, node: Node, y: str) -> None:
    """What was observed: over all q of the input's range, 1 step more where the lowest lies.

    The function is curved by less than 1 a unit there, and the nearest q is half a step of x away.
    """
    if len(node.outputs) < 2:
        return
    q = run.q(node.inputs[0])
    inside = np.arange(q.clamp_min, q.clamp_max + 1)
    x = (inside - q.zero_point) * run.scale(node.inputs[0])
    value = FUNCTIONS[node.attributes["function"]].value(x, node.attributes, REAL) / run.scale(y)
    _, bound = _wanted(run, node, inside, y)
    curved = 0.5 * run.scale(node.inputs[0]) ** 2 / run.scale(y)
    exact = np.asarray([min(value.min(), 0), max(value.max(), 0)])
    seen = run.integers(node.outputs[1])
    assert_within(node, seen, np.clip(exact, -32767, 32767), bound.max() + curved)


def activation(run: Executed, node: Node) -> None:
    """Element by element."""
    x, y = node.inputs[0], node.outputs[0]
    assert_within(node, run.integers(y), *_wanted(run, node, run.integers(x), y))
    _seen(run, node, y)


def table(run: Executed, node: Node) -> None:
    """The same for all that int8 can hold."""
    y = node.outputs[0]
    assert_within(node, run.integers(y), *_wanted(run, node, GRID, y))
    _seen(run, node, y)


def lookup(run: Executed, node: Node) -> None:
    """The same again, out of a table that was made now or at compile time."""
    x, y = node.inputs[0], node.outputs[0]
    assert_within(node, run.integers(y), *_wanted(run, node, run.integers(x), y))


def _slope(run: Executed, node: Node, x: str, q: Array) -> tuple[Array, Array]:
    """(slope, bound): one in units of 2^-14 is rounded, and held at 2 - 2^-14."""
    real = (q - run.q(x).zero_point) * run.scale(x)
    function = FUNCTIONS[node.attributes["function"]]
    wrong = CLAIM * np.maximum(1, np.abs(real)) + 4 * U * np.abs(real) + _jumps(node, real)
    return function.slope(real, node.attributes, REAL), 1.01 * 2.0**-15 + wrong


def _jumps(node: Node, x: Array) -> Array:
    """Slopes change by less than 2 a unit, but for those that jump, by 2 at most, at an end."""
    ends: tuple[float, ...] = ()
    if node.attributes["function"] == "hard_swish":
        ends = (-3.0, 3.0)
    if node.attributes["function"] == "hard_sigmoid":
        alpha, beta = node.attributes["alpha"], node.attributes["beta"]
        ends = (-beta / alpha, (1 - beta) / alpha)
    near = sum((np.abs(x - end) <= 8 * U * (1 + np.abs(x)) for end in ends), np.zeros(x.shape))
    return 2.0 * (near > 0)


def slopes(run: Executed, node: Node) -> None:
    """All 256."""
    wanted, bound = _slope(run, node, node.inputs[0], GRID)
    assert_within(node, run.integers(node.outputs[0]) * 2.0**-14, wanted, bound)


def gradient(run: Executed, node: Node) -> None:
    """An error times a slope, rounded, and held at 127."""
    dy, x = node.inputs[:2]
    slope, wrong = _slope(run, node, x, run.integers(x))
    wanted = np.clip(run.steps(dy) * slope, -127, 127)
    bound = 0.5 + np.abs(run.steps(dy)) * wrong
    assert_within(node, run.steps(node.outputs[0]), wanted, bound)


def _slopes_of_prelu(run: Executed, node: Node) -> Array:
    """The float network's, one or one a channel."""
    name = node.name.removesuffix(".grad")
    layer = next(n for n in run.float_graph.nodes if n.name == name)
    data = run.float_graph.tensors[layer.inputs[1]].data
    assert data is not None
    return data.astype(np.float64)


def prelu(run: Executed, node: Node) -> None:
    """A slope and its product with the ratio of scales are rounded to 2^-14, and the result.

    A product beyond 256 is held there, where a step of x saturates 8 bits.
    """
    x, y = node.inputs[0], node.outputs[0]
    ratio, steps = run.scale(x) / run.scale(y), run.steps(x)
    exact = ratio * np.where(steps > 0, steps, _slopes_of_prelu(run, node) * steps)
    bound = 0.5 + np.abs(steps) * (0.51 * (1 + ratio) * 2.0**-14 + 4 * U * ratio)
    wanted = np.clip(exact + run.q(y).zero_point, -128, 127)
    assert_within(node, run.integers(y), wanted, bound)
    if len(node.outputs) > 1:
        seen = np.asarray([min(exact.min(), 0), max(exact.max(), 0)])
        got = np.clip(run.integers(node.outputs[1]), -256, 256)
        assert_within(node, got, np.clip(seen, -256, 256), bound.max())


def prelu_gradient(run: Executed, node: Node) -> None:
    """The same without a ratio."""
    dy, x = run.steps(node.inputs[0]), run.steps(node.inputs[1])
    wanted = np.where(x > 0, dy, _slopes_of_prelu(run, node) * dy)
    bound = 0.5 + np.abs(dy) * 0.51 * 2.0**-14
    assert_within(node, run.steps(node.outputs[0]), np.clip(wanted, -127, 127), bound)


FUNCTION_RULES: dict[str, Rule] = {
    "activation": activation,
    "activation_table": table,
    "activation_slopes": slopes,
    "activation_grad": gradient,
    "lookup": lookup,
    "lookup_grad": gradient,
    "prelu": prelu,
    "prelu_grad": prelu_gradient,
}
