"""dy -> new biases: the update of a layer whose weights stay as they are.

It reads no input of the layer, so that none is kept for it. Twin: bias.c.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from insitu.fixed_point import F32
from insitu.graph.builder import Builder
from insitu.graph.model import Array, CCall, Graph, Node, OpDef, Phase, QParams, Value
from insitu.graph.names import LEARNING_RATE
from insitu.ops.layers.rows import update_bias


def emit_bias_update(builder: Builder, node: Node, dy: str, bias: str) -> None:
    """Emit the step of a layer's biases."""
    builder.node(
        bias_update,
        (dy, bias, LEARNING_RATE),
        name=f"{node.name}.update",
        updates=(bias,),
        layer=node.layer,
        phase=Phase.UPDATE,
    )


def _float(attributes: Mapping[str, Any], inputs: Sequence[Array]) -> list[Array]:
    dy, bias, rate = inputs
    return [bias - rate * dy.reshape(-1, len(bias)).sum(axis=0)]


def _integer(node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]) -> list[Array]:
    """In float the errors of a row are summed in memory order, one rounding an operation."""
    dy, bias, rate = (value.array for value in inputs)
    q, rows = inputs[0].qparams, dy.shape[-1]
    if q is not None:
        sums = dy.reshape(-1, rows).astype(np.int64).sum(axis=0)
        return [update_bias(bias, sums, F32(rate[0]), F32(q.scale))]
    total = np.zeros(rows, F32)
    for position in dy.reshape(-1, rows):
        total = total + position
    return [bias - F32(rate[0]) * total]


def _c_call(node: Node, graph: Graph) -> CCall:
    dy, bias, rate = node.inputs
    error = graph.tensors[dy]
    rows = error.shape[-1]
    integer = error.qparams is not None
    return CCall(
        function=f"insitu_bias_update_{'s8' if integer else 'f32'}",
        params_type="insitu_bias_update_params_t",
        params={"positions": error.size // rows, "rows": rows},
        arguments=(*([f"?{dy}"] if integer else []), f"${dy}", f"${rate}", f"${bias}"),
    )


bias_update = OpDef(
    name="bias_update",
    operands=("dy", "bias", "rate"),
    infer=lambda attributes, inputs: [],
    float_reference=_float,
    integer_reference=_integer,
    c_call=_c_call,
)
"""bias -= rate (sum over positions of dy), in place. Inputs: dy[..., rows], bias[rows], rate."""
