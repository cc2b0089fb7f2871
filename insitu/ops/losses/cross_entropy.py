"""Softmax cross-entropy with its error, and the softmax that it contains.

Twin: loss.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from insitu.fixed_point import F32, exp_negative, log_positive, round_clamp
from insitu.graph.model import Array, CCall, Ends, Graph, Node, OpDef, TensorType
from insitu.graph.rules import Arrays, Attributes, Quantizations, Tensors, Types, Values, same_type

if TYPE_CHECKING:
    from insitu.graph.rewriter import Rewriter


def _softmax_float(attributes: Attributes, inputs: Arrays) -> Arrays:
    x = inputs[0] - inputs[0].max(axis=-1, keepdims=True)
    e = np.exp(x)
    y = e / e.sum(axis=-1, keepdims=True)
    return [np.log(y) if attributes.get("log") else y]


def _simplify_softmax(rewriter: Rewriter, node: Node) -> bool:
    """At the end of a network that is trained with its loss it belongs to the loss."""
    return rewriter.is_of_loss(node, "softmax") and rewriter.bypass(node)


softmax = OpDef(
    name="softmax", infer=same_type, float_reference=_softmax_float, simplify=_simplify_softmax
)
"""Trailing softmax (attribute log: its logarithm): dropped, the loss contains it."""


def _infer(attributes: Attributes, inputs: Tensors) -> Types:
    dtype = "int8" if attributes["integer"] else "float32"
    return [TensorType(inputs[0].shape, dtype), TensorType((1,), "float32")]


def _float(attributes: Attributes, inputs: Arrays) -> Arrays:
    """scores[batch, ...], label[batch] -> dy[batch, ...], loss[batch]."""
    scores, label = inputs
    flat = scores.reshape(len(scores), -1)
    chosen = np.arange(len(flat)), label.astype(np.int64).reshape(-1)
    dy = _softmax_float({}, [flat])[0]
    dy[chosen] -= 1
    dy[np.abs(dy).max(axis=1) < attributes.get("skip", 0.0)] = 0
    below = flat - flat.max(axis=1, keepdims=True)
    loss = np.log(np.exp(below).sum(axis=1)) - below[chosen]
    return [dy.reshape(scores.shape), loss]


def _integer(node: Node, inputs: Values, outputs: Quantizations) -> Arrays:
    """One sum in order of the classes; every operation rounds once."""
    scores, label = inputs[0].array.astype(F32).reshape(-1), int(inputs[1].array[0])
    integer = node.attributes["integer"]
    dy, loss = _on_grid(node, scores, label) if integer else _exact_float(node, scores, label)
    return [dy.reshape(inputs[0].array.shape), np.asarray([loss], F32)]


def _on_grid(node: Node, scores: Array, label: int) -> tuple[Array, np.float32]:
    """The error in int8, and the loss."""
    p, loss = _probabilities(scores, scores.max(), label)
    p[label] = p[label] - F32(1.0)
    dy = round_clamp(p * F32(127.0), -127, 127).astype(np.int8)
    if np.abs(dy).max() < least_error(node):
        dy[:] = 0
    return dy, loss


def _exact_float(node: Node, scores: Array, label: int) -> tuple[Array, np.float32]:
    """The same without rounding the error."""
    dy, loss = _probabilities(scores, scores.max(), label)
    dy[label] = dy[label] - F32(1.0)
    if np.abs(dy).max() < F32(node.attributes.get("skip", 0.0)):
        dy[:] = 0
    return dy, loss


def _probabilities(scores: Array, largest: np.float32, label: int) -> tuple[Array, np.float32]:
    """The softmax, and the loss."""
    exponentials = [exp_negative(F32(score - largest)) for score in scores]
    total = F32(0.0)
    for e in exponentials:
        total = F32(total + e)
    loss = F32(log_positive(total) - F32(scores[label] - largest))
    return np.asarray([F32(e / total) for e in exponentials], F32), loss


def least_error(node: Node) -> int:
    """The threshold of skipping on the grid of the errors."""
    return int(round_clamp(F32(node.attributes.get("skip", 0.0)) * F32(127.0), 0, 127))


def _c_call(node: Node, graph: Graph) -> CCall:
    integer = node.attributes["integer"]
    least = least_error(node) if integer else float(node.attributes.get("skip", 0.0))
    inputs, outputs = ([f"${name}" for name in names] for names in (node.inputs, node.outputs))
    return CCall(
        function=f"insitu_softmax_cross_entropy_{'s8' if integer else 'f32'}",
        params_type="insitu_loss_params_t" if integer else "insitu_loss_f32_params_t",
        params={"size": graph.operand(node, "scores").size, "least": least},
        arguments=(*inputs, *(("!",) if integer else ()), *outputs),
    )


softmax_cross_entropy = OpDef(
    name="softmax_cross_entropy",
    operands=("scores", "label"),
    infer=_infer,
    float_reference=_float,
    integer_reference=_integer,
    c_call=_c_call,
    scratch_bytes=lambda node, graph: (
        4 * graph.operand(node, "scores").size if node.attributes["integer"] else 0
    ),
    ends=Ends.SKIPPED,
)
"""Scores, label -> error softmax - onehot (int8: round(127 e)), loss -log softmax[label].

Attribute skip: errors that are all smaller than this become 0."""
