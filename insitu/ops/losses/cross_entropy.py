"""Scores and the loss: softmax cross-entropy with its error; the border of integers and floats.

Twin: loss.c.
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
    Ends,
    Graph,
    Node,
    OpDef,
    Phase,
    QParams,
    Tensor,
    TensorType,
    Value,
)
from insitu.ops.numerics.by_type import NO_BOUND


def full_gradient(attributes: Mapping[str, Any]) -> float:
    """The gradient that 127 stands for: 1, or what a loss's node says of its unit and factor."""
    return float(attributes.get("unit", 1.0) * attributes.get("factor", 1.0))


def error_qparams(attributes: Mapping[str, Any]) -> QParams:
    """Quantization of the error of the loss with these attributes."""
    return QParams(scale=np.asarray(F32(full_gradient(attributes) / 127.0)), clamp_min=-127)


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
    )


def _dequantize_vjp(
    builder: Builder, node: Node, dy: str, wanted: frozenset[str]
) -> dict[str, str]:
    """An error that is int8 already belongs to the scores and stays as it is."""
    if builder.tensors[dy].dtype != "float32":
        return {"x": dy}
    loss = next(n for n in builder.nodes if n.phase is Phase.LOSS)
    (dx,) = builder.node(
        quantize_error,
        (dy,),
        name=f"{node.name}.grad",
        outputs=(f"{node.name}.dx",),
        attributes={"factor": float(F32(127.0 / full_gradient(loss.attributes)))},
        qparams=(error_qparams(loss.attributes),),
        layer=node.layer,
        phase=Phase.BACKWARD,
    )
    return {"x": dx}


dequantize = OpDef(
    name="dequantize",
    infer=lambda attributes, inputs: [TensorType(inputs[0].shape, "float32")],
    integer_reference=_dequantize,
    vjp=_dequantize_vjp,
    c_call=_dequantize_c,
)
"""int8 -> float32: at the end of a network that puts out int8, and before its float layers."""


def _quantize_error(
    node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]
) -> list[Array]:
    with np.errstate(all="ignore"):
        scaled = inputs[0].array * F32(node.attributes["factor"])
        number = np.where(np.isnan(scaled), F32(0.0), scaled)
        return [round_clamp(number, -127, 127).astype(np.int8)]


def _quantize_error_c(node: Node, graph: Graph) -> CCall:
    return CCall(
        function="insitu_quantize_error_f32",
        params_type="insitu_quantize_error_params_t",
        params={
            "size": graph.tensors[node.inputs[0]].size,
            "factor": node.attributes["factor"],
        },
        arguments=(f"${node.inputs[0]}", f"${node.outputs[0]}"),
    )


quantize_error = OpDef(
    name="quantize_error",
    operands=("dy",),
    infer=lambda attributes, inputs: [TensorType(inputs[0].shape, "int8")],
    integer_reference=_quantize_error,
    c_call=_quantize_error_c,
)
"""Error of float layers -> int8 for the integer layers before them: round(factor e), saturating.

Attribute factor: 127 / the gradient that is 127 in int8."""


def _softmax_float(attributes: Mapping[str, Any], inputs: Sequence[Array]) -> list[Array]:
    x = inputs[0] - inputs[0].max(axis=-1, keepdims=True)
    e = np.exp(x)
    y = e / e.sum(axis=-1, keepdims=True)
    return [np.log(y) if attributes.get("log") else y]


def _simplify_softmax(rewriter: Any, node: Node) -> bool:
    """At the end of a network that is trained with its loss it belongs to the loss."""
    if rewriter.loss != node.op.of_loss or not rewriter.is_output(node.outputs[0]):
        return False
    rewriter.bypass(node)
    return True


softmax = OpDef(
    name="softmax",
    infer=lambda attributes, inputs: [TensorType(inputs[0].shape, inputs[0].dtype)],
    float_reference=_softmax_float,
    simplify=_simplify_softmax,
    of_loss="cross_entropy",
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
    if not node.attributes["integer"]:
        dy, value = _exact_float(scores, label, node.attributes.get("skip", 0.0))
        return [dy.reshape(inputs[0].array.shape), value]
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
    if np.abs(dy).max() < least_error(node):
        dy[:] = 0
    loss = F32(log_positive(total) - F32(scores[label] - largest))
    return [dy.reshape(inputs[0].array.shape), np.asarray([loss], F32)]


def _exact_float(scores: Array, label: int, skip: float) -> list[Array]:
    """The same without rounding the error; scores that are not finite teach nothing."""
    largest = scores[first_largest(scores)]
    with np.errstate(all="ignore"):
        finite = bool(np.all(largest - scores <= NO_BOUND))
    if not finite:
        return [np.zeros_like(scores), np.asarray([NO_BOUND], F32)]
    exponentials = [exp_negative(F32(score - largest)) for score in scores]
    total = F32(0.0)
    for e in exponentials:
        total = F32(total + e)
    dy = np.asarray([F32(e / total) for e in exponentials], F32)
    dy[label] = dy[label] - F32(1.0)
    if np.abs(dy).max() < F32(skip):
        dy[:] = 0
    loss = F32(log_positive(total) - F32(scores[label] - largest))
    return [dy, np.asarray([loss], F32)]


def first_largest(scores: Array) -> int:
    """insitu_argmax_f32, which looks past what is no number."""
    best = 0
    for index in range(1, len(scores)):
        if scores[index] > scores[best]:
            best = index
    return best


def least_error(node: Node) -> int:
    """The threshold of skipping on the grid of the errors."""
    return int(round_clamp(F32(node.attributes.get("skip", 0.0)) * F32(127.0), 0, 127))


def _c_call(node: Node, graph: Graph) -> CCall:
    scores, label = node.inputs
    dy, loss = node.outputs
    integer = node.attributes["integer"]
    least = least_error(node) if integer else float(node.attributes.get("skip", 0.0))
    return CCall(
        function=f"insitu_softmax_cross_entropy_{'s8' if integer else 'f32'}",
        params_type="insitu_loss_params_t" if integer else "insitu_loss_f32_params_t",
        params={"size": graph.tensors[scores].size, "least": least},
        arguments=(
            f"${scores}",
            f"${label}",
            *(("!",) if integer else ()),
            f"${dy}",
            f"${loss}",
        ),
    )


softmax_cross_entropy = OpDef(
    name="softmax_cross_entropy",
    operands=("scores", "label"),
    infer=_infer,
    float_reference=_float,
    integer_reference=_integer,
    c_call=_c_call,
    scratch_bytes=lambda node, graph: (
        4 * graph.tensors[node.inputs[0]].size if node.attributes["integer"] else 0
    ),
    ends=Ends.SKIPPED,
)
"""Scores, label -> error softmax - onehot (int8: round(127 e)), loss -log softmax[label].

Attribute skip: errors that are all smaller than this become 0."""
