"""Scores and the loss: dequantize, softmax cross-entropy with its error.

Twin: runtime/src/loss.c.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from insitu.fixed_point import F32, exp_negative, log_positive, round_clamp
from insitu.graph.builder import Builder
from insitu.graph.model import (
    Array,
    CCall,
    Graph,
    Node,
    OpDef,
    Phase,
    QParams,
    Tensor,
    TensorType,
    Value,
)

ERROR_SCALE = F32(1.0 / 127.0)
"""Scale of the loss's error: [-1, 1] on [-127, 127]."""


def _dequantize(
    node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]
) -> list[Array]:
    q = inputs[0].qparams
    assert q is not None
    centred = inputs[0].array.astype(np.int64) - q.zero_point
    return [(centred.astype(F32) * F32(q.scale)).astype(F32)]


def _dequantize_c(node: Node, graph: Graph) -> CCall:
    x, y = node.inputs[0], node.outputs[0]
    return CCall(
        function="insitu_dequantize_s8",
        params_type="insitu_size_params_t",
        params={"size": graph.tensors[x].size},
        arguments=(f"?{x}", f"${x}", f"${y}"),
        source="loss.c",
    )


dequantize = OpDef(
    name="dequantize",
    infer=lambda attributes, inputs: [TensorType(inputs[0].shape, "float32")],
    integer_reference=_dequantize,
    vjp=lambda builder, node, dy, wanted: {0: dy},
    c_call=_dequantize_c,
)
"""Scores of a network whose last op is not a linear layer: int8 -> float32."""


def _softmax_float(attributes: Mapping[str, Any], inputs: Sequence[Array]) -> list[Array]:
    x = inputs[0] - inputs[0].max(axis=-1, keepdims=True)
    e = np.exp(x)
    y = e / e.sum(axis=-1, keepdims=True)
    return [np.log(y) if attributes.get("log") else y]


def _simplify_softmax(rewriter: Any, node: Node) -> bool:
    """At the end of a network it belongs to the loss."""
    if not rewriter.is_output(node.outputs[0]):
        return False
    rewriter.bypass(node)
    return True


softmax = OpDef(
    name="softmax",
    infer=lambda attributes, inputs: [TensorType(inputs[0].shape, inputs[0].dtype)],
    float_reference=_softmax_float,
    simplify=_simplify_softmax,
)
"""Trailing softmax (attribute log: its logarithm): dropped, the loss contains it."""


def _infer(attributes: Mapping[str, Any], inputs: Sequence[Tensor]) -> list[TensorType]:
    dtype = "int8" if attributes["integer"] else "float32"
    return [TensorType(inputs[0].shape, dtype), TensorType((1,), "float32")]


def _float(attributes: Mapping[str, Any], inputs: Sequence[Array]) -> list[Array]:
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


def _integer(node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]) -> list[Array]:
    """One sum in order of the classes; every operation rounds once."""
    scores, label = inputs[0].array.astype(F32).reshape(-1), int(inputs[1].array[0])
    largest = F32(scores.max())
    exponentials = [exp_negative(F32(score - largest)) for score in scores]
    total = F32(0.0)
    for e in exponentials:
        total = F32(total + e)
    dy = np.empty(len(scores), np.int8)
    for index, e in enumerate(exponentials):
        p = F32(e / total)
        error = F32(p - F32(1.0)) if index == label else p
        dy[index] = int(round_clamp(F32(error * F32(127.0)), -127, 127))
    if np.abs(dy).max() < _least_error(node):
        dy[:] = 0
    loss = F32(log_positive(total) - F32(scores[label] - largest))
    return [dy.reshape(inputs[0].array.shape), np.asarray([loss], F32)]


def _least_error(node: Node) -> int:
    """The threshold of skipping on the grid of the errors."""
    return int(round_clamp(F32(node.attributes.get("skip", 0.0)) * F32(127.0), 0, 127))


def _c_call(node: Node, graph: Graph) -> CCall:
    scores, label = node.inputs
    dy, loss = node.outputs
    return CCall(
        function="insitu_softmax_cross_entropy_s8",
        params_type="insitu_loss_params_t",
        params={"size": graph.tensors[scores].size, "least": _least_error(node)},
        arguments=(f"${scores}", f"${label}", f"${dy}", f"${loss}"),
        source="loss.c",
        returns="nonzero_errors",
    )


def emit_loss(builder: Builder, scores: str, label: str, *, integer: bool) -> tuple[str, str]:
    """Append the loss; returns the names of its error and its value."""
    q = QParams(scale=np.asarray(ERROR_SCALE), clamp_min=-127) if integer else None
    dy, loss = builder.node(
        softmax_cross_entropy,
        (scores, label),
        name="loss",
        outputs=("loss.dy", "loss.value"),
        attributes={"integer": integer, "skip": builder.scheme.skip},
        qparams=(q,),
        phase=Phase.LOSS,
    )
    return dy, loss


softmax_cross_entropy = OpDef(
    name="softmax_cross_entropy",
    infer=_infer,
    float_reference=_float,
    integer_reference=_integer,
    c_call=_c_call,
)
"""Scores, label -> error softmax - onehot (int8: round(127 e)), loss -log softmax[label].

Attribute skip: errors that are all smaller than this become 0."""
