"""The border of integers and floats: scores and features leave int8, errors come back to it.

Twin: loss.c.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from insitu.fixed_point import F32, round_clamp
from insitu.graph.builder import Builder
from insitu.graph.model import CCall, Graph, Node, OpDef, QParams, TensorType
from insitu.graph.rules import Arrays, Quantizations, Values
from insitu.ops.numerics.arguments import pointers, size_call
from insitu.ops.numerics.quantization import centred, scale_of


def error_qparams(full_gradient: float) -> QParams:
    """Quantization of an error whose 127 stands for this gradient."""
    return QParams(scale=np.asarray(F32(full_gradient / 127.0)), clamp_min=-127)


def _dequantize(node: Node, inputs: Values, outputs: Quantizations) -> Arrays:
    (x,) = inputs
    return [(centred(x).astype(F32) * scale_of(x)).astype(F32)]


def _dequantize_c(node: Node, graph: Graph) -> CCall:
    call = size_call("insitu_dequantize_s8")(node, graph)
    return replace(call, arguments=(f"?{node['x']}", *call.arguments))


def _dequantize_vjp(
    builder: Builder, node: Node, dy: str, wanted: frozenset[str]
) -> dict[str, str]:
    """An error that is int8 already belongs to the scores and stays as it is."""
    if builder.tensors[dy].dtype != "float32":
        return {"x": dy}
    full, factor = builder.full_gradient, float(F32(127.0 / builder.full_gradient))
    attributes, qparams = {"factor": factor}, error_qparams(full)
    dx = builder.gradient(quantize_error, node, (dy,), attributes=attributes, qparams=qparams)
    return {"x": dx}


dequantize = OpDef(
    name="dequantize",
    infer=lambda attributes, inputs: [TensorType(inputs[0].shape, "float32")],
    integer_reference=_dequantize,
    vjp=_dequantize_vjp,
    c_call=_dequantize_c,
)
"""int8 -> float32: at the end of a network that puts out int8, and before its float layers."""


def _quantize_error(node: Node, inputs: Values, outputs: Quantizations) -> Arrays:
    with np.errstate(all="ignore"):
        scaled = inputs[0].array * F32(node.attributes["factor"])
        number = np.where(np.isnan(scaled), F32(0.0), scaled)
        return [round_clamp(number, -127, 127).astype(np.int8)]


def _quantize_error_c(node: Node, graph: Graph) -> CCall:
    return CCall(
        function="insitu_quantize_error_f32",
        params_type="insitu_quantize_error_params_t",
        params={"size": graph.operand(node, "dy").size, "factor": node.attributes["factor"]},
        arguments=pointers(node),
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
