"""Losses of scores against real targets, in the mean over the outputs: mse and bce.

A target has the shape and the order of the scores, and comes in float32. The error is int8 in
front of integer layers, on a scale that is fixed when the network is compiled, else float32.
Twin: loss.c.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from insitu.errors import ModelError
from insitu.fixed_point import F32, NO_BOUND, exp_negative, log_positive, round_clamp
from insitu.graph.model import Array, CCall, Ends, Graph, IntegerReference, Node, OpDef, TensorType
from insitu.graph.rules import Arrays, Attributes, Quantizations, Tensors, Types, Values
from insitu.ops.losses.cross_entropy import least_error

OfOne = Callable[[np.float32, np.float32], tuple[np.float32, np.float32]]
"""(score, target) -> (error, loss) of one output"""


def _sigmoid_float(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    return np.asarray(np.where(x < 0, e, 1) / (1 + e))


def _infer(attributes: Attributes, inputs: Tensors) -> Types:
    scores, target = inputs
    if scores.shape != target.shape:
        raise ModelError(
            f"scores{list(scores.shape)} but a target{list(target.shape)}; give them one shape"
        )
    dtype = "int8" if attributes["integer"] else "float32"
    return [TensorType(scores.shape, dtype), TensorType((1,), "float32")]


def _finished(attributes: Attributes, error: Array, losses: Array) -> list[Array]:
    """error, losses [batch, ...] float64 -> dy[batch, ...], loss[batch]."""
    flat = np.abs(error).reshape(len(error), -1)
    dy = attributes["factor"] * error
    dy[flat.max(axis=1) < attributes["skip"] * attributes["unit"]] = 0
    return [dy, losses.reshape(len(losses), -1).mean(axis=1)]


def _squared_float(attributes: Attributes, inputs: Arrays) -> Arrays:
    """scores[batch, ...], target[batch, ...] -> dy[batch, ...], loss[batch]."""
    error = inputs[0] - inputs[1]
    return _finished(attributes, error, error * error)


def _binary_float(attributes: Attributes, inputs: Arrays) -> Arrays:
    scores, target = inputs
    losses = np.maximum(scores, 0) - scores * target + np.log1p(np.exp(-np.abs(scores)))
    return _finished(attributes, _sigmoid_float(scores) - target, losses)


def _sigmoid(x: np.float32) -> np.float32:
    e = exp_negative(F32(-abs(x)))
    return F32((e if x < 0 else F32(1.0)) / F32(F32(1.0) + e))


def _binary_loss(score: np.float32, target: np.float32) -> np.float32:
    rest = log_positive(F32(F32(1.0) + exp_negative(F32(-abs(score)))))
    return F32(F32(max(score, F32(0.0)) - F32(score * target)) + rest)


def _squared(score: np.float32, target: np.float32) -> tuple[np.float32, np.float32]:
    error = F32(score - target)
    return error, F32(error * error)


def _binary(score: np.float32, target: np.float32) -> tuple[np.float32, np.float32]:
    return F32(_sigmoid(score) - target), _binary_loss(score, target)


def _exact(of_one: OfOne) -> IntegerReference:
    """The integer reference of a loss.

    One sum in the order of the outputs; every operation rounds once.
    """

    def reference(node: Node, inputs: Values, outputs: Quantizations) -> Arrays:
        scores, target = (value.array.astype(F32).reshape(-1) for value in inputs)
        shape, integer = inputs[0].array.shape, node.attributes["integer"]
        with np.errstate(all="ignore"):
            if not integer and not _teaches(of_one, scores, target):
                return [np.zeros(shape, F32), np.asarray([NO_BOUND], F32)]
            error, total = np.empty(len(scores), F32), F32(0.0)
            for index, pair in enumerate(zip(scores, target, strict=True)):
                error[index], loss = of_one(*pair)
                total = F32(total + loss)
            mean = F32(total / F32(len(scores)))
            dy = (_on_grid if integer else _scaled)(node, error)
        clamped = mean if mean <= NO_BOUND else NO_BOUND
        return [dy.reshape(shape), np.asarray([clamped], F32)]

    return reference


def _teaches(of_one: OfOne, scores: Array, target: Array) -> bool:
    """Whether what the error is made of is finite."""
    checked = scores - target if of_one is _squared else scores
    return bool(np.all(np.abs(checked) <= NO_BOUND))


def _on_grid(node: Node, error: Array) -> Array:
    """error float32 -> int8."""
    dy = round_clamp(error * _grid_factor(node), -127, 127).astype(np.int8)
    if np.abs(dy).max() < least_error(node):
        dy[:] = 0
    return dy


def _scaled(node: Node, error: Array) -> Array:
    """error float32 -> the gradient of the mean."""
    dy = error * F32(node.attributes["factor"])
    if np.abs(error).max() < _least_real(node):
        dy[:] = 0
    return dy


def _grid_factor(node: Node) -> np.float32:
    return F32(127.0 / node.attributes["unit"])


def _least_real(node: Node) -> np.float32:
    """The threshold of skipping in the unit of the error."""
    return F32(node.attributes["skip"] * node.attributes["unit"])


def _call(node: Node, graph: Graph, stem: str, on_grid: tuple[str, dict[str, Any]]) -> CCall:
    """on_grid: the type and the further fields of the integer kernel's parameters."""
    integer = node.attributes["integer"]
    real = {"factor": float(node.attributes["factor"]), "least": float(_least_real(node))}
    kind, fields = on_grid if integer else ("insitu_mean_loss_f32_params_t", real)
    return CCall(
        function=f"{stem}_{'s8' if integer else 'f32'}",
        params_type=kind,
        params={"size": graph.operand(node, "scores").size, **fields},
        arguments=tuple(f"${name}" for name in (*node.inputs, *node.outputs)),
    )


def _squared_c(node: Node, graph: Graph) -> CCall:
    fields = {"factor": float(_grid_factor(node)), "least": least_error(node)}
    stem = "insitu_mean_squared_error"
    return _call(node, graph, stem, (f"{stem}_params_t", fields))


def _binary_c(node: Node, graph: Graph) -> CCall:
    on_grid = ("insitu_loss_params_t", {"least": least_error(node)})
    return _call(node, graph, "insitu_binary_cross_entropy", on_grid)


mean_squared_error = OpDef(
    name="mean_squared_error",
    operands=("scores", "target"),
    infer=_infer,
    float_reference=_squared_float,
    integer_reference=_exact(_squared),
    c_call=_squared_c,
    ends=Ends.SKIPPED,
)
"""Scores, target -> error scores - target, loss the mean of its squares.

Attributes: unit, the error that is 127 in int8; factor, 2 / outputs: the gradient where the error
is 1; skip, in units; integer; targets, what a target may be."""

binary_cross_entropy = OpDef(
    name="binary_cross_entropy",
    operands=("scores", "target"),
    infer=_infer,
    float_reference=_binary_float,
    integer_reference=_exact(_binary),
    c_call=_binary_c,
    ends=Ends.SKIPPED,
)
"""Scores (logits), target in [0, 1] -> error sigmoid - target, loss the mean of the outputs'.

Attributes as for `mean_squared_error`, with unit 1 and factor 1 / outputs."""
