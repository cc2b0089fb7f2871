"""Linear layers in float32 to the bit: forward, input gradient, weight gradient with its update.

The ops themselves are those of `linear`. Twin: linear_f32.c.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from insitu.fixed_point import F32
from insitu.graph.model import Array, CCall, Graph, Node, QParams, Tensor, Value
from insitu.ops.layers.rows import UNCLIPPED
from insitu.ops.numerics.by_type import held
from insitu.ops.numerics.sums import decayed, rows_times, sum_of


def forward(node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]) -> list[Array]:
    """y[o] = b[o] + sum over i of w[o, i] x[i]."""
    x, w, b = (value.array for value in inputs[:3])
    y = rows_times(w, b, x.reshape(1, -1))[0]
    return [held(y, node.attributes.get("clip", UNCLIPPED))]


def grad_input(
    node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]
) -> list[Array]:
    """dx[i] = 0 + sum over o of w[o, i] dy[o]."""
    dy, w = inputs[0].array, inputs[1].array
    return [sum_of(w * dy[:, None]).reshape(node.attributes["shape"])]


def update(node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]) -> list[Array]:
    """w[o] -= (rate dy[o]) x after the decay, rows without an error left alone."""
    dy, x, w, b, rate = (value.array for value in inputs)
    step = F32(rate[0]) * dy
    w = decayed(w, F32(rate[0]), node.attributes.get("weight_decay", 0.0))
    alive = dy != 0
    moved = w - step[:, None] * x.reshape(-1)
    return [np.where(alive[:, None], moved, w), np.where(alive, b - step, b)]


def _shape(w: Tensor) -> dict[str, int]:
    return {"out_features": w.shape[0], "in_features": w.shape[1]}


def forward_c(node: Node, graph: Graph) -> CCall:
    """insitu_linear_f32."""
    x, w, b = node.inputs[:3]
    low, high = node.attributes.get("clip", UNCLIPPED)
    return CCall(
        function="insitu_linear_f32",
        params_type="insitu_linear_f32_params_t",
        params={"shape": _shape(graph.tensors[w]), "min": float(low), "max": float(high)},
        arguments=(f"${x}", f"${w}", f"${b}", f"${node.outputs[0]}"),
    )


def grad_input_c(node: Node, graph: Graph) -> CCall:
    """insitu_linear_grad_input_f32."""
    dy, w = node.inputs
    return CCall(
        function="insitu_linear_grad_input_f32",
        params_type="insitu_linear_params_t",
        params=_shape(graph.tensors[w]),
        arguments=(f"${dy}", f"${w}", f"${node.outputs[0]}"),
    )


def update_c(node: Node, graph: Graph) -> CCall:
    """insitu_linear_update_f32."""
    dy, x, w, b, rate = node.inputs
    return CCall(
        function="insitu_linear_update_f32",
        params_type="insitu_linear_update_f32_params_t",
        params={
            "shape": _shape(graph.tensors[w]),
            "weight_decay": float(node.attributes.get("weight_decay", 0.0)),
        },
        arguments=(f"${dy}", f"${x}", f"${rate}", f"${b}", f"${w}"),
    )
