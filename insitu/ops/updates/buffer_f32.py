"""Mini-batches and momentum of float layers: SGD as PyTorch has it, to the bit on every core.

v = v + mean gradient + weight_decay w; w = w - rate v; v = momentum v. Biases likewise, without
decay. Samples add their part to v, which is the only buffer. Twin: buffer_f32.c.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from insitu.fixed_point import F32
from insitu.graph.builder import Builder
from insitu.graph.model import Array, CCall, Graph, Node, OpDef, Role
from insitu.graph.rules import Attributes, Quantizations, Values, no_outputs
from insitu.ops.numerics.grouped import terms
from insitu.ops.numerics.sums import outer_sum, step_is_small, sum_of
from insitu.ops.updates.buffer import (
    Names,
    accumulate_macs,
    call_of_features,
    call_of_map,
    emit_batch_update,
    weights_of,
)


def gradient_buffers(
    builder: Builder, node: Node, shape: tuple[int, ...], dtype: str
) -> tuple[str, str]:
    """State of one type that gradients are added to: of the biases, of the weights."""
    return (
        builder.state("bias_buffer", np.zeros(shape[:1], dtype), Role.BUFFER, layer=node.layer),
        builder.state("w_buffer", np.zeros(shape, dtype), Role.BUFFER, layer=node.layer),
    )


def emit_float_update(
    builder: Builder, node: Node, dy: str, accumulate: OpDef, window: Attributes
) -> None:
    """Emit the update of a float layer; arguments as those of `buffer.emit_buffered_update`."""
    scheme, shape = builder.scheme, builder.tensors[node["w"]].shape
    settings = {"momentum": scheme.momentum, "weight_decay": scheme.weight_decay}
    share = float(F32(1.0) / F32(scheme.batch))
    emit_batch_update(
        *(builder, node),
        ((accumulate, {**window, "share": share}), (apply_f32, settings)),
        reads=(dy, node["x"]),
        kept=gradient_buffers(builder, node, shape, "float32"),
        moved=weights_of(node),
    )


BatchShare = Callable[[Node, Array, Array, tuple[int, ...]], tuple[Array, Array]]
"""(node, dy[position, row], x, shape of the weights) -> what biases and weights get of a sample."""


def _share_of_map(node: Node, dy: Array, x: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
    share = F32(node.attributes["share"])
    gradient = outer_sum(dy, terms(node.attributes, x, shape))
    return share * sum_of(dy), share * gradient.reshape(shape)


def _share_of_features(
    node: Node, dy: Array, x: Array, shape: tuple[int, ...]
) -> tuple[Array, Array]:
    (errors,) = F32(node.attributes["share"]) * dy
    return errors, errors[:, None] * x.reshape(-1)


def _accumulate(
    batch_share: BatchShare, node: Node, inputs: Values, outputs: Quantizations
) -> list[Array]:
    dy, x, bias_buffer, buffer = (value.array for value in inputs)
    errors = dy.reshape(-1, len(buffer))
    nonzero = np.asarray(errors.any(axis=0))
    with np.errstate(all="ignore"):
        if not step_is_small(F32(node.attributes["share"]), errors, x):
            return [bias_buffer, buffer]
        biases, weights = batch_share(node, errors, x, buffer.shape)
        learns = nonzero.reshape(-1, *[1] * (buffer.ndim - 1))
        return [
            np.where(nonzero, bias_buffer + biases, bias_buffer),
            np.where(learns, buffer + weights, buffer),
        ]


def _call(node: Node, graph: Graph, kernel: str, shape: Attributes, scratch: Names) -> CCall:
    dy, x, bias_buffer, buffer = node.inputs
    return CCall(
        function=f"insitu_{kernel}_accumulate_f32",
        params_type=f"insitu_{kernel}_accumulate_f32_params_t",
        params={"shape": shape, "share": node.attributes["share"]},
        arguments=(f"${dy}", f"${x}", *scratch, f"${bias_buffer}", f"${buffer}"),
        counts_saturated=True,
    )


def _conv_accumulate_scratch(node: Node, graph: Graph) -> int:
    """The gradient of one row."""
    buffer = graph.operand(node, "buffer")
    return 4 * buffer.size // buffer.shape[0]


linear_accumulate_f32 = OpDef(
    name="linear_accumulate_f32",
    operands=("dy", "x", "bias_buffer", "buffer"),
    infer=no_outputs,
    integer_reference=partial(_accumulate, _share_of_features),
    c_call=call_of_features(_call),
    macs=accumulate_macs,
)
"""v += share dy x. Inputs: dy, x, bias buffer, buffer."""


conv_accumulate_f32 = replace(
    linear_accumulate_f32,
    name="conv_accumulate_f32",
    integer_reference=partial(_accumulate, _share_of_map),
    c_call=call_of_map(_call),
    scratch_bytes=_conv_accumulate_scratch,
)
"""The same, summed over positions."""


def _apply(node: Node, inputs: Values, outputs: Quantizations) -> list[Array]:
    rate, bias_buffer, buffer, bias, w = (value.array for value in inputs)
    momentum, decay = (F32(node.attributes[name]) for name in ("momentum", "weight_decay"))
    with np.errstate(all="ignore"):
        v = buffer + decay * w if decay > 0 else buffer
        kept = [momentum * a if momentum > 0 else np.zeros_like(a) for a in (bias_buffer, v)]
        return [*kept, bias - rate[0] * bias_buffer, w - rate[0] * v]


def _apply_c(node: Node, graph: Graph) -> CCall:
    w = graph.operand(node, "w")
    settings = {name: float(node.attributes[name]) for name in ("momentum", "weight_decay")}
    return CCall(
        function="insitu_apply_f32",
        params_type="insitu_apply_f32_params_t",
        params={"rows": w.shape[0], "weights": w.size, **settings},
        arguments=tuple(f"${name}" for name in node.inputs),
    )


apply_f32 = OpDef(
    name="apply_f32",
    operands=("rate", "bias_buffer", "buffer", "bias", "w"),
    infer=no_outputs,
    integer_reference=_apply,
    c_call=_apply_c,
)
"""w -= rate v, v *= momentum. Inputs: rate, bias buffer, buffer, bias, w."""
