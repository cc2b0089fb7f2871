"""Mini-batches and momentum of float layers: SGD as PyTorch has it, to the bit on every core.

v = v + mean gradient + weight_decay w; w = w - rate v; v = momentum v. Biases likewise, without
decay. Samples add their part to v, which is the only buffer. Twin: buffer_f32.c.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from insitu.fixed_point import F32
from insitu.graph.builder import Builder
from insitu.graph.model import Array, CCall, Graph, Node, OpDef, Phase, QParams, Role, Value
from insitu.graph.names import LEARNING_RATE
from insitu.ops.kernels.choice import kernel_of, shape_params
from insitu.ops.layers import conv_f32
from insitu.ops.numerics.sums import outer_sum, sum_of


def emit_float_update(
    builder: Builder, node: Node, dy: str, names: tuple[str, str], window: Mapping[str, Any]
) -> None:
    """Emit accumulation and, for complete batches, the step.

    Args:
        names: of the layer's weights and biases.
        window: attributes of a convolution, see `layer_gradient.window`.
    """
    w, bias = names
    scheme, shape = builder.scheme, builder.tensors[w].shape
    buffers = tuple(
        builder.state(name, np.zeros(size, F32), Role.BUFFER, layer=node.layer)
        for name, size in (("bias_buffer", shape[:1]), ("w_buffer", shape))
    )
    builder.node(
        accumulate_f32,
        (dy, node.inputs[0], *buffers),
        name=f"{node.name}.accumulate",
        attributes={**window, "share": float(F32(1.0) / F32(scheme.batch))},
        updates=buffers,
        layer=node.layer,
        phase=Phase.UPDATE,
    )
    builder.node(
        apply_f32,
        (LEARNING_RATE, *buffers, bias, w),
        name=f"{node.name}.apply",
        attributes={"momentum": scheme.momentum, "weight_decay": scheme.weight_decay},
        updates=(*buffers, bias, w),
        layer=node.layer,
        phase=Phase.APPLY,
    )


def _accumulate(
    node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]
) -> list[Array]:
    dy, x, bias_buffer, buffer = (value.array for value in inputs)
    share, shape = F32(node.attributes["share"]), buffer.shape
    errors = dy.reshape(-1, shape[0])
    alive = errors.any(axis=0)
    with np.errstate(all="ignore"):
        if len(shape) == 2:
            sums = share * errors[0]
            added = buffer + sums[:, None] * x.reshape(-1)
        else:
            gradient = outer_sum(errors, conv_f32.terms(node.attributes, x, shape))
            sums = share * sum_of(errors)
            added = buffer + share * gradient.reshape(shape)
        keep = alive.reshape(-1, *[1] * (len(shape) - 1))
        return [np.where(alive, bias_buffer + sums, bias_buffer), np.where(keep, added, buffer)]


def _accumulate_c(node: Node, graph: Graph) -> CCall:
    dy, x, bias_buffer, buffer = node.inputs
    tensor = graph.tensors[buffer]
    is_conv = len(tensor.shape) == 4
    kind = kernel_of(node.attributes) if is_conv else "linear"
    linear = {"out_features": tensor.shape[0], "in_features": tensor.size // tensor.shape[0]}
    shape = shape_params(node.attributes, graph.tensors[x], tensor, graph.tensors[dy])
    return CCall(
        function=f"insitu_{kind}_accumulate_f32",
        params_type=f"insitu_{kind}_accumulate_f32_params_t",
        params={"shape": shape if is_conv else linear, "share": node.attributes["share"]},
        arguments=(
            *(f"${dy}", f"${x}"),
            *(["!"] if is_conv else []),
            *(f"${bias_buffer}", f"${buffer}"),
        ),
    )


def _scratch(node: Node, graph: Graph) -> int:
    """The gradient of one row of a convolution."""
    buffer = graph.tensors[node.inputs[-1]]
    return 4 * buffer.size // buffer.shape[0] if len(buffer.shape) == 4 else 0


def _macs(node: Node, graph: Graph) -> int:
    buffer, dy = graph.tensors[node.inputs[-1]], graph.tensors[node.inputs[0]]
    return buffer.size * dy.size // dy.shape[-1]


accumulate_f32 = OpDef(
    name="accumulate_f32",
    operands=("dy", "x", "bias_buffer", "buffer"),
    infer=lambda attributes, inputs: [],
    integer_reference=_accumulate,
    c_call=_accumulate_c,
    scratch_bytes=_scratch,
    macs=_macs,
)
"""v += share dy x. Inputs: dy, x, bias buffer, buffer."""


def _apply(node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]) -> list[Array]:
    rate, bias_buffer, buffer, bias, w = (value.array for value in inputs)
    momentum, decay = (F32(node.attributes[name]) for name in ("momentum", "weight_decay"))
    with np.errstate(all="ignore"):
        v = buffer + decay * w if decay > 0 else buffer
        kept = [momentum * a if momentum > 0 else np.zeros_like(a) for a in (bias_buffer, v)]
        return [*kept, bias - rate[0] * bias_buffer, w - rate[0] * v]


def _apply_c(node: Node, graph: Graph) -> CCall:
    w = graph.tensors[node.inputs[-1]]
    return CCall(
        function="insitu_apply_f32",
        params_type="insitu_apply_f32_params_t",
        params={
            "rows": w.shape[0],
            "weights": w.size,
            "momentum": float(node.attributes["momentum"]),
            "weight_decay": float(node.attributes["weight_decay"]),
        },
        arguments=tuple(f"${name}" for name in node.inputs),
    )


apply_f32 = OpDef(
    name="apply_f32",
    operands=("rate", "bias_buffer", "buffer", "bias", "w"),
    infer=lambda attributes, inputs: [],
    integer_reference=_apply,
    c_call=_apply_c,
)
"""w -= rate v, v *= momentum. Inputs: rate, bias buffer, buffer, bias, w."""
