"""Every operation that there is, by name, and what the stages emit around a user's network.

A new op is one line here. Stages import this module and the table of losses, nothing else below.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from insitu.graph.model import OpDef
from insitu.ops.activations.activation import activation, activation_grad, lookup
from insitu.ops.activations.clip import clip, clip_grad
from insitu.ops.activations.prelu import prelu, prelu_grad
from insitu.ops.activations.tables import activation_slopes, activation_table, lookup_grad
from insitu.ops.layers.affine import affine, affine_grad_input, quantize_affine
from insitu.ops.layers.batch_norm import batch_norm
from insitu.ops.layers.conv import conv, conv_grad_input, conv_update
from insitu.ops.layers.linear import linear, linear_grad_input, linear_update, logits
from insitu.ops.layers.rows import row_parameters
from insitu.ops.losses.border import dequantize, quantize_error
from insitu.ops.losses.cross_entropy import softmax, softmax_cross_entropy
from insitu.ops.losses.table import emit_label, emit_loss
from insitu.ops.losses.targets import binary_cross_entropy, mean_squared_error
from insitu.ops.maps.layout import flatten, identity, unflatten
from insitu.ops.maps.pad import pad, slice_op
from insitu.ops.maps.permute import permute, reshape
from insitu.ops.maps.pool import average_pool, average_pool_grad, max_pool, max_pool_grad
from insitu.ops.maps.resize import resize, resize_grad
from insitu.ops.merge.add import add, add_errors, emit_sum_of_errors, negate
from insitu.ops.merge.concat import concat
from insitu.ops.merge.multiply import multiply, multiply_grad, multiply_grad_factor
from insitu.ops.numerics.ranges import follow_range
from insitu.ops.opaque import opaque
from insitu.ops.updates import standardized
from insitu.ops.updates.bias import bias_update
from insitu.ops.updates.buffer import (
    apply,
    conv_accumulate,
    count_sample,
    emit_batch_count,
    linear_accumulate,
)
from insitu.ops.updates.buffer_f32 import apply_f32, conv_accumulate_f32, linear_accumulate_f32
from insitu.ops.updates.decay import decay
from insitu.ops.updates.drawn_samples import draw_sample
from insitu.ops.updates.selected_rows import keep_rows, select_rows

if TYPE_CHECKING:
    from insitu.graph.builder import Builder
    from insitu.graph.model import Node
    from insitu.quantize.assign import Quantizer

OPS: dict[str, OpDef] = {
    op.name: op
    for op in (
        identity,
        batch_norm,
        clip,
        clip_grad,
        activation,
        activation_grad,
        activation_table,
        activation_slopes,
        lookup,
        lookup_grad,
        prelu,
        prelu_grad,
        row_parameters,
        conv,
        conv_grad_input,
        conv_update,
        linear,
        logits,
        linear_grad_input,
        linear_update,
        follow_range,
        select_rows,
        keep_rows,
        draw_sample,
        bias_update,
        affine,
        affine_grad_input,
        standardized.affine_accumulate,
        standardized.affine_apply,
        standardized.average_error,
        standardized.adopt_error,
        count_sample,
        conv_accumulate,
        conv_accumulate_f32,
        linear_accumulate,
        linear_accumulate_f32,
        apply,
        apply_f32,
        decay,
        add,
        add_errors,
        negate,
        concat,
        multiply,
        multiply_grad,
        multiply_grad_factor,
        pad,
        resize,
        resize_grad,
        slice_op,
        max_pool,
        max_pool_grad,
        average_pool,
        average_pool_grad,
        flatten,
        unflatten,
        permute,
        reshape,
        softmax,
        dequantize,
        quantize_error,
        softmax_cross_entropy,
        mean_squared_error,
        binary_cross_entropy,
        opaque,
    )
}


@dataclass(frozen=True, kw_only=True)
class Training:
    """What a training step has beside the gradients of its ops; each emits nodes into a builder.

    Attributes:
        label: (builder, scores) -> the label's name.
        loss: (builder, scores, label, integer=) -> the names of the error and of the loss.
        join_errors: (builder, x, a, b) -> the error of an activation that two nodes read.
        count_batch: counts samples, where a batch has several.
        to_float: the op behind the last integer node.
    """

    label: Callable[[Builder, str], str]
    loss: Callable[..., tuple[str, str]]
    join_errors: Callable[[Builder, str, str, str], str]
    count_batch: Callable[[Builder], None]
    to_float: OpDef


TRAINING = Training(
    label=emit_label,
    loss=emit_loss,
    join_errors=emit_sum_of_errors,
    count_batch=emit_batch_count,
    to_float=dequantize,
)

LAYER_RULES: Mapping[str, Callable[[Quantizer, Node], None] | None] = {
    "default": None,
    "paper": quantize_affine,
}
"""Preset -> how it quantizes layers, ops with weights; None: by the op's own rule."""
