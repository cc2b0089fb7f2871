"""Bounds of integer_bounds.py's kind for the ops that mix and move activations."""

from __future__ import annotations

import numpy as np
from integer_bounds import Executed, Rule, U, assert_within, exact

from insitu.graph.model import Array, Node


def _assert_rescaled(run: Executed, node: Node, real: Array, bound: Array) -> None:
    """The output is `real` (in its steps) before the clamp, within `bound`.

    Where it is clamped the bound stands on the grid: another 1/2.
    """
    y = node.outputs[0]
    q, scale, got = run.q(y), run.scale(y), run.integers(y)
    wanted = np.clip(real, q.clip_min / scale, q.clip_max / scale) + q.zero_point
    clamped = (got == q.clamp_min) | (got == q.clamp_max)
    assert_within(node, got, np.clip(wanted, -128, 127), bound + 0.5 * clamped)
    if len(node.outputs) > 1:
        seen = np.asarray([min(real.min(), 0), max(real.max(), 0)])
        got = run.integers(node.outputs[1])
        assert_within(node, np.clip(got, -300, 300), np.clip(seen, -300, 300), bound.max())


def _ratio_error(ratio: float, total: Array) -> Array:
    """Of the rescaled total: half a unit of the multiplier, and three float operations on it.

    The multiplier has 31 bits where the ratio is 0.5 or more.
    """
    unit = max(2.0**-32, min(ratio, 2.0**13) * 2.0**-30)
    return np.asarray(0.5 + np.abs(total) * (0.5 * unit + 4 * U * ratio))


def multiply(run: Executed, node: Node) -> None:
    """The product is exact; its multiplier is not."""
    a, b = node.inputs
    total = run.steps(a) * run.steps(b)
    ratio = run.scale(a) / run.scale(node.outputs[0]) * run.scale(b)
    assert ratio < 2.0**12
    _assert_rescaled(run, node, total * ratio, _ratio_error(ratio, total))


def multiply_grad(run: Executed, node: Node) -> None:
    """The error keeps its scale, so the factor's is the ratio; the sum is exact."""
    dy, factor = node.inputs
    total = run.steps(dy) * run.steps(factor)
    size = run.steps(node.outputs[0]).size
    total = total.reshape(-1, size).sum(axis=0).reshape(run.steps(node.outputs[0]).shape)
    ratio = run.scale(factor)
    wanted = np.clip(total * ratio, -127, 127)
    bound = _ratio_error(ratio, np.where(np.abs(wanted) < 127, total, 128 / ratio))
    assert_within(node, run.steps(node.outputs[0]), wanted, bound)


def concat(run: Executed, node: Node) -> None:
    """Each multiplier is half a unit of 2^-14 and two float operations off; rounded once."""
    scale, axis = run.scale(node.outputs[0]), node.attributes["axis"]
    ratios = [run.scale(name) / scale for name in node.inputs]
    assert max(ratios) < 256
    steps = [run.steps(name) for name in node.inputs]
    real = np.concatenate([s * r for s, r in zip(steps, ratios, strict=True)], axis=axis)
    size = np.concatenate([np.abs(s) for s in steps], axis=axis)
    _assert_rescaled(run, node, real, 0.5 + size * 0.51 * 2.0**-14 + 2 * U * np.abs(real))


def resize_grad(run: Executed, node: Node) -> None:
    """Exact, but for the hold at the end."""
    assert node.op.float_reference is not None
    dy = run.steps(node.inputs[0]).astype(np.float64)[None]
    wanted = node.op.float_reference(node.attributes, [dy])[0][0]
    assert_within(node, run.steps(node.outputs[0]), np.clip(wanted, -127, 127), 0.0)


MIXING: dict[str, Rule] = {
    "multiply": multiply,
    "multiply_grad": multiply_grad,
    "multiply_grad_factor": multiply_grad,
    "concat": concat,
    "pad": exact,
    "slice": exact,
    "resize": exact,
    "resize_grad": resize_grad,
}
