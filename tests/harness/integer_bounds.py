"""How far each op's integers may be from the real numbers they stand for: derived, not tuned.

Each rule takes one executed node and asserts. A tensor's real value is scale (q - zero point),
with the scales that were in force; the op's float reference of the real inputs is the truth. `u`
is the relative error of one float32 operation; all errors below are in steps (scales) of the
output.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from insitu.graph.model import Array, Graph, Node, QParams
from insitu.ops.numerics.geometry import scatter
from insitu.ops.numerics.grouped import products, weight_gradient
from insitu.ops.numerics.ranges import UNCLIPPED

U = 2.0**-24


@dataclass(frozen=True, eq=False)
class Executed:
    """One training step of the reference.

    Attributes:
        before, values: state before, and all tensors after the step.
        in_force: quantization during the step.
        float_graph: the network before quantization.
    """

    step: Graph
    float_graph: Graph
    before: Mapping[str, Array]
    values: Mapping[str, Array]
    in_force: Mapping[str, QParams | None]
    rate: float

    def q(self, name: str) -> QParams:
        """Quantization of a tensor."""
        q = self.in_force[name]
        assert q is not None, name
        return q

    def integers(self, name: str) -> Array:
        """int64 values before the step's updates."""
        array = self.before[name] if name in self.before else self.values[name]
        return array.astype(np.int64)

    def steps(self, name: str) -> Array:
        """q - zero point."""
        return self.integers(name) - self.q(name).zero_point

    def scale(self, name: str) -> Any:
        """float64, one a row for weights."""
        scale = self.q(name).scale.astype(np.float64)
        rank = self.step.tensors[name].shape
        return scale.reshape(-1, *[1] * (len(rank) - 1)) if scale.ndim else float(scale)

    def real(self, name: str) -> Array:
        """float64."""
        return np.asarray(self.steps(name) * self.scale(name))


Rule = Callable[[Executed, Node], None]


def assert_within(node: Node, got: Array, wanted: Array, bound: Array | float) -> None:
    """Judge in steps of what the node puts out."""
    excess = np.abs(got - wanted) - bound
    assert (excess <= 1e-9).all(), f"{node.name}: {excess.max()} steps beyond the bound"


def _sums(node: Node, x: Array, w: Array) -> Array:
    """Sums of w x: over windows, or over all features."""
    if node.op.name == "conv":
        return np.asarray(products(node.attributes, x[None], w)[0])
    return np.asarray(w.reshape(len(w), -1) @ x.reshape(-1))


def _real_bias(run: Executed, node: Node) -> Array:
    """What the layer's bias stands for: the float one, or the one that is trained."""
    source = run.step.producer(node.inputs[2])
    if source is None:
        layer = next(n for n in run.float_graph.nodes if n.name == node.name)
        data = run.float_graph.tensors[layer.inputs[2]].data
        assert data is not None
        return data.astype(np.float64)
    return run.integers(source.inputs[2]) * 2.0**-20


def layer(run: Executed, node: Node) -> None:
    """acc r + zero, r = s_x s_w / s_y, with acc exact.

    The multiplier misses r by half a unit of 2^(shift - 32) and three float operations; the bias
    the accumulator by 1/2 and five float operations; the result is rounded, 1/2. Where it is
    clamped, the bound stands on the grid: another 1/2.
    """
    x, w, y = node.inputs[0], node.inputs[1], node.outputs[0]
    q, shift = run.q(y), int(run.integers(node.inputs[4])[0])
    row_scale, y_scale = run.q(w).scale.astype(np.float64), run.scale(y)
    unit = run.scale(x) * row_scale
    ratio, bias = unit / y_scale, _real_bias(run, node) / unit
    acc = _sums(node, run.steps(x), run.integers(w)) + bias
    size = _sums(node, np.abs(run.steps(x)), np.abs(run.integers(w))) + np.abs(bias)
    bound = 0.5 + size * (0.5 * 2.0 ** (shift - 32) + 4 * U * ratio)
    bound = bound + ratio * (0.5 + 6 * U * np.abs(bias))
    low, high = node.attributes.get("clip", UNCLIPPED)
    low, high = max(low, q.clip_min), min(high, q.clip_max)
    wanted = np.clip(acc * ratio, low / y_scale, high / y_scale) + q.zero_point
    got = run.integers(y)
    assert got.min() >= q.clamp_min and got.max() <= q.clamp_max
    clamped = (got == q.clamp_min) | (got == q.clamp_max)
    assert_within(node, got, np.clip(wanted, -128, 127), bound + 0.5 * clamped)
    if len(node.outputs) > 1:
        seen = run.integers(node.outputs[1])
        exact = np.asarray([min((acc * ratio).min(), 0), max((acc * ratio).max(), 0)])
        assert_within(node, np.clip(seen, -300, 300), np.clip(exact, -300, 300), bound.max())


def logits(run: Executed, node: Node) -> None:
    """Four float operations on the sum, one on the bias, one to add them."""
    x, w, bias, scale = node.inputs
    row_scale = run.values[scale].astype(np.float64)
    acc = _sums(node, run.steps(x), run.integers(w)) * run.scale(x) * row_scale
    b = run.integers(bias) * 2.0**-20
    bound = 6 * U * (np.abs(acc) + np.abs(b))
    assert_within(node, run.values[node.outputs[0]].astype(np.float64), acc + b, bound)


def dequantize(run: Executed, node: Node) -> None:
    """One float operation."""
    wanted = run.real(node.inputs[0])
    assert_within(node, run.values[node.outputs[0]], wanted, 1.01 * U * np.abs(wanted))


def _reference(run: Executed, node: Node, *inputs: Array) -> Array:
    assert node.op.float_reference is not None
    batches = [value.astype(np.float64)[None] for value in inputs]
    return np.asarray(node.op.float_reference(node.attributes, batches)[0][0])


def exact(run: Executed, node: Node) -> None:
    """Values are only chosen or moved."""
    wanted = _reference(run, node, *(run.steps(name) for name in node.inputs))
    assert_within(node, run.steps(node.outputs[0]), wanted, 0.0)


def average(run: Executed, node: Node) -> None:
    """Rounded once: half a step."""
    wanted = _reference(run, node, run.steps(node.inputs[0]).astype(np.float64))
    assert_within(node, run.steps(node.outputs[0]), wanted, 0.5)


def add(run: Executed, node: Node) -> None:
    """Two multipliers, each half a unit of 2^-14 and two float operations off; rounded once.

    Where a multiplier is held the result saturates whatever the other one adds; where the result
    is clamped the bound stands on the grid: another 1/2.
    """
    y = node.outputs[0]
    q, scale = run.q(y), run.scale(y)
    ratios = [run.scale(name) / scale for name in node.inputs]
    sign = -1 if node.attributes["subtract"] else 1
    terms = [run.steps(n) * r for n, r in zip(node.inputs, ratios, strict=True)]
    wanted = np.clip(terms[0] + sign * terms[1], q.clip_min / scale, q.clip_max / scale)
    size = sum(np.abs(run.steps(name)) for name in node.inputs)
    bound = 0.5 + size * 0.51 * 2.0**-14 + 2 * U * sum(np.abs(t) for t in terms)
    assert max(ratios) < 256
    got = run.integers(y)
    clamped = (got == q.clamp_min) | (got == q.clamp_max)
    assert_within(node, got, np.clip(wanted + q.zero_point, -128, 127), bound + 0.5 * clamped)
    if len(node.outputs) > 1:
        exact = terms[0] + sign * terms[1]
        seen = np.asarray([min(exact.min(), 0), max(exact.max(), 0)])
        assert_within(node, run.integers(node.outputs[1]), seen, bound.max())


def add_errors(run: Executed, node: Node) -> None:
    """A multiplier is half a unit of 2^-14 off; rounded once, saturating at 127."""
    e = node.outputs[0]
    terms = [run.real(name) / run.scale(e) for name in node.inputs]
    bound = 0.5 + sum(np.abs(run.steps(name)) for name in node.inputs) * 0.51 * 2.0**-14
    assert_within(node, run.steps(e), np.clip(sum(terms), -127, 127), bound)


def clip(run: Executed, node: Node) -> None:
    """The bounds stand on the grid: half a step where they hold. Both lie within its range."""
    x, y = node.inputs[0], node.outputs[0]
    q, scale = run.q(x), run.scale(x)
    low, high = (
        np.clip(node.attributes[k] / scale, -128 - q.zero_point, 127 - q.zero_point)
        for k in ("min", "max")
    )
    wanted = np.clip(run.steps(x), low, high)
    assert_within(node, run.steps(y), wanted, 0.5 * (wanted != run.steps(x)) + 1e-4)


def clip_grad(run: Executed, node: Node) -> None:
    """dy where y lies inside both bounds on the grid, 0 where it lies at one or outside.

    A bound is rounded to the grid, so y decides but for half a step; a bound beyond what int8
    holds stops nothing.
    """
    dy, y = (run.steps(name) for name in node.inputs)
    dx, scale = run.steps(node.outputs[0]), run.scale(node.inputs[1])
    low, high = node.attributes["min"] / scale, node.attributes["max"] / scale
    q = run.q(node.inputs[1])
    inside = (y > low + 0.501) & (y < high - 0.501)
    at_low, at_high = low >= -128 - q.zero_point, high <= 127 - q.zero_point
    outside = ((y < low + 0.499) & at_low) | ((y > high - 0.499) & at_high)
    assert ((dx == dy) | (dx == 0)).all()
    assert (dx == dy)[inside].all() and not dx[outside].any()


def grad_input(run: Executed, node: Node) -> None:
    """The error keeps its scale: sum of w e s_w, saturating at 127.

    e' = e rel 2^-(8 + drop) is rounded, 1/2, and rel = 2^15 s_w / max s_w too, 1/2 and two float
    operations; so each product is wrong by |w| (1/2 + |e| 0.51 2^-(8 + drop)) units, of which
    2^(7 - drop) / max s_w are a step. The multiplier is exact but for half a unit. One rounding.
    """
    dy, w, rel = node.inputs
    drop, shift = node.attributes["drop"], node.attributes["shift"]
    scale = run.q(w).scale.astype(np.float64)
    unit = scale.max() * 2.0 ** (drop - 7)
    e, weights = run.steps(dy), run.integers(w)
    assert np.abs(run.integers(rel)).max() <= 32768

    def transposed(error: Array, size: Array) -> Array:
        return _reference_grad(node, error, size)

    wanted = transposed(e.astype(np.float64), weights * run.scale(w))
    wrong = (e != 0) * (0.5 + np.abs(e) * 0.51 * 2.0 ** -(8 + drop))
    size = transposed(np.abs(e) * (scale / scale.max()) * 2.0 ** (7 - drop), np.abs(weights))
    bound = 0.5 + transposed(wrong, np.abs(weights)) * unit
    bound = bound + (size + transposed(wrong, np.abs(weights))) * 0.51 * 2.0 ** (shift - 32)
    assert_within(node, run.steps(node.outputs[0]), np.clip(wanted, -127, 127), bound)


def _reference_grad(node: Node, error: Array, weights: Array) -> Array:
    assert node.op.float_reference is not None
    return np.asarray(node.op.float_reference(node.attributes, [error[None], weights])[0][0])


def max_grad(run: Executed, node: Node) -> None:
    """Exact where sums stay below 127; elsewhere they saturate one by one."""
    dy, x = (run.steps(name) for name in node.inputs)
    got, wanted = run.steps(node.outputs[0]), _reference(run, node, dy, x)
    whole = _reference(run, node, np.abs(dy), x) <= 127
    assert np.abs(got).max() <= 127
    assert_within(node, got[whole], wanted[whole], 0.0)


def average_grad(run: Executed, node: Node) -> None:
    """The step is dy's over the window: each window that covers an element rounds by 1/2."""
    dy, attributes = run.steps(node.inputs[0]), node.attributes
    area = attributes["kernel"][0] * attributes["kernel"][1]
    wanted = area * _reference(run, node, dy.astype(np.float64))
    patches = np.ones((1, *dy.shape[:2], *attributes["kernel"], dy.shape[2]))
    size = (attributes["shape"][0], attributes["shape"][1])
    covered = scatter(patches, size, attributes["stride"], attributes["padding"])[0]
    bound = 0.5 * covered
    assert_within(node, run.steps(node.outputs[0]), np.clip(wanted, -127, 127), bound)


def loss(run: Executed, node: Node) -> None:
    """127 (softmax - onehot), rounded; the loss in float.

    A share is a quotient of exponentials: each off by 3e-7, and by the rounding of its argument,
    u |argument|; the sum of n by n u. The logarithm is off by 3e-7 of itself, or of 1.
    """
    scores = run.values[node.inputs[0]].astype(np.float64).reshape(1, -1)
    label = run.values[node.inputs[1]].astype(np.int64)
    assert node.op.float_reference is not None
    dy, value = node.op.float_reference({}, [scores, label])
    below = np.minimum(scores.max() - scores, 87.0).max()
    wrong = 6e-7 + 2 * U * (below + scores.size + 2)
    got = run.steps(node.outputs[0]).reshape(-1)
    assert_within(node, got, 127 * dy[0], 0.5 + 127 * wrong)
    size = 1 + np.log(scores.size) + np.abs(scores - scores.max()).max()
    assert_within(node, run.values[node.outputs[1]], value, wrong + (3e-7 + 3 * U) * size)


def targets(run: Executed, node: Node) -> None:
    """127 error / unit, rounded; the error of mse is a difference, its loss a mean of squares.

    That of bce is a sigmoid, a quotient of 1 and 1 + exp, off by 3e-7 as exp and by two roundings,
    less the target; its loss is a sum of three with log(1 + exp), off by 3e-7 and what exp is off.
    The sum of n losses is off by n u of itself.
    """
    unit, size = node.attributes["unit"], run.values[node.inputs[0]].size
    scores, target = (run.values[n].astype(np.float64) for n in node.inputs)
    assert node.op.float_reference is not None
    wanted, value = node.op.float_reference(node.attributes, [scores[None], target[None]])
    error = wanted[0] / node.attributes["factor"]
    is_squared = node.op.name == "mean_squared_error"
    wrong = 2 * U * (np.abs(scores) + np.abs(target)) + (0 if is_squared else 6e-7)
    largest = np.abs(scores).max() + np.abs(target).max()
    each = 3 * U * (largest**2 if is_squared else 2 * largest) + (0 if is_squared else 1e-6)
    bound = 0.5 + 127 / unit * wrong + 127 * 3 * U
    assert_within(node, run.steps(node.outputs[0]), np.clip(127 * error / unit, -127, 127), bound)
    assert_within(node, run.values[node.outputs[1]], value, each + (size + 2) * U * value)
    assert run.q(node.outputs[0]).scale == np.float32(unit * node.attributes["factor"] / 127)


def follow(run: Executed, node: Node) -> None:
    """Old + part (seen - old), four float operations; then held to the clip."""
    name = node.inputs[0]
    q, seen = run.q(node.inputs[1]), run.integers(node.inputs[1]) * run.scale(node.inputs[1])
    old, new = (v[name].astype(np.float64) for v in (run.before, run.values))
    grows = np.asarray([seen[0] < old[0], seen[1] > old[1]])
    wanted = np.clip(old + np.where(grows, 0.1, 0.01) * (seen - old), q.clip_min, q.clip_max)
    wanted[1] = max(wanted[1], wanted[0] + node.attributes["smallest"])
    bound = 6 * U * (np.abs(old).max() + np.abs(seen).max() + np.abs(new).max())
    assert_within(node, new, wanted, bound)


def update(run: Executed, node: Node) -> None:
    """rate dw / s_w, rounded up or down at random: less than 1 off.

    A linear layer's kappa = 2^16 e K is rounded: |x| 2^-17 more; a convolution's M: |G| 2^-33; the
    float operations 5 u of the step. Rows whose factor is held take a smaller step.
    """
    dy, x, w, bias = node.inputs[:4]
    e, centred, scale = run.steps(dy), run.steps(x), run.q(w).scale.astype(np.float64)
    if node.op.name == "conv_update":
        shape = run.step.tensors[w].shape
        gradient = weight_gradient(node.attributes, e[None], centred[None], shape)
        errors = e.sum(axis=(0, 1))
        held = run.rate * run.scale(dy) * run.scale(x) / scale >= 0.499
        wrong = np.abs(gradient) * 2.0**-33
    else:
        gradient, errors = np.outer(e, centred.reshape(-1)), e
        held = np.abs(e) * run.rate * run.scale(dy) * run.scale(x) / scale >= 0.499
        wrong = np.abs(centred.reshape(1, -1)) * 2.0**-17
    factor = run.rate * run.scale(dy) * run.scale(x) / scale
    wanted = gradient * factor.reshape(-1, *[1] * (gradient.ndim - 1))
    before, after = (v[w].astype(np.int64) for v in (run.before, run.values))
    target = np.clip(before - wanted, -127, 127)
    free = ~held
    bound = 1 + (wrong + 5 * U * np.abs(wanted))
    assert_within(node, after[free], target[free], np.broadcast_to(bound, after.shape)[free])
    quiet = ~gradient.reshape(len(scale), -1).any(axis=1) & (errors == 0)
    assert (np.abs(after - before)[quiet] <= 1).all()
    step = errors * run.rate * run.scale(dy) * 2.0**20
    moved = run.values[bias].astype(np.float64) - run.before[bias]
    assert_within(node, moved, -step, 0.5 + 4 * U * np.abs(step))


RULES: dict[str, Rule] = {
    "conv": layer,
    "linear": layer,
    "logits": logits,
    "dequantize": dequantize,
    "max_pool": exact,
    "flatten": exact,
    "unflatten": exact,
    "permute": exact,
    "reshape": exact,
    "average_pool": average,
    "add": add,
    "add_errors": add_errors,
    "negate": exact,
    "clip": clip,
    "clip_grad": clip_grad,
    "conv_grad_input": grad_input,
    "linear_grad_input": grad_input,
    "max_pool_grad": max_grad,
    "average_pool_grad": average_grad,
    "softmax_cross_entropy": loss,
    "mean_squared_error": targets,
    "binary_cross_entropy": targets,
    "follow_range": follow,
    "conv_update": update,
    "linear_update": update,
    "row_parameters": lambda run, node: None,  # its parts are held by test_fixed_point.py
}
