"""The backward pass that convolution and linear layers share, as nodes.

clip -> rows whose error counts -> input gradient (with the weights before the step) -> rows that
learn -> update -> whether the layers before learn too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from insitu.fixed_point import F32, rescale, round_clamp, split_ratio
from insitu.graph.builder import Builder
from insitu.graph.model import Array, Bound, Graph, Node, OpDef, Phase
from insitu.graph.names import GENERATOR
from insitu.graph.rules import Attributes
from insitu.ops.activations.clip import clip_error
from insitu.ops.updates.bias import check_bias_only, emit_bias_update
from insitu.ops.updates.buffer import emit_buffered_update
from insitu.ops.updates.buffer_f32 import emit_float_update
from insitu.ops.updates.decay import emit_decay
from insitu.ops.updates.drawn_samples import emit_draw, step_rate
from insitu.ops.updates.selected_rows import keep_error, select_error


@dataclass(frozen=True)
class LayerGradient:
    """What a kind of layer adds to the backward pass.

    Attributes:
        grad_input, update: its ops.
        accumulate, accumulate_f32: what adds its gradient to a buffer.
        terms: (node, builder) -> products in one sum of the input gradient.
        attributes: (node, builder) -> attributes of the input gradient.
    """

    grad_input: OpDef
    update: OpDef
    accumulate: OpDef
    accumulate_f32: OpDef
    terms: Callable[[Node, Builder], int]
    attributes: Callable[[Node, Builder], Attributes]


def layer_vjp(
    layer: LayerGradient, builder: Builder, node: Node, dy: str, wanted: frozenset[str]
) -> dict[str, str]:
    """The gradient rule of a layer: emits its nodes, returns {"x": dx} where dx is wanted."""
    dy = select_error(builder, node, clip_error(builder, node, dy))
    gradients = {}
    if "x" in wanted:
        gradients["x"] = _emit_grad_input(layer, builder, node, dy)
    kept = keep_error(builder, node, dy) if "w" in wanted else None
    if kept is not None:
        _emit_update(layer, builder, node, kept)
    if kept is not None and "x" in wanted:
        emit_draw(builder, node, kept)
    return gradients


def _emit_grad_input(layer: LayerGradient, builder: Builder, node: Node, dy: str) -> str:
    """Emit dx = (transpose of the layer) dy."""
    w, error = builder.tensors[node["w"]], builder.tensors[dy].qparams
    inputs: tuple[str, ...] = (dy, w.name)
    attributes = dict(layer.attributes(node, builder))
    if error is not None:
        assert w.qparams is not None
        terms = layer.terms(node, builder)
        constants = error_rescale(w.qparams.scale, terms)
        inputs = (*inputs, builder.constant(f"{node.name}.rel", constants.rel))
        attributes |= {
            "drop": constants.drop,
            "multiplier": constants.multiplier,
            "shift": constants.shift,
            "terms": terms,
        }
    (dx,) = builder.node(
        layer.grad_input,
        inputs,
        name=f"{node.name}.grad_input",
        outputs=(f"{node.name}.dx",),
        attributes=attributes,
        qparams=(error,),
        layer=node.layer,
        phase=Phase.BACKWARD,
    )
    return dx


def _emit_update(layer: LayerGradient, builder: Builder, node: Node, dy: str) -> None:
    """Emit the weight gradient with its update, in place or by way of a buffer."""
    scheme, attributes = builder.scheme, window(node.attributes)
    integer = builder.tensors[dy].qparams is not None
    w, bias = node["w"], node["trained_bias" if "trained_bias" in node else "bias"]
    if scheme.partial.kind == "bias":
        check_bias_only(builder)
        emit_bias_update(builder, node, dy, bias)
        return
    if not scheme.in_place:
        emit, accumulate = (
            (emit_buffered_update, layer.accumulate)
            if integer
            else (emit_float_update, layer.accumulate_f32)
        )
        emit(builder, node, dy, (bias, w), accumulate, attributes)
        return
    if not integer:
        attributes["weight_decay"] = scheme.weight_decay
    of_integers = [node["row_scale"], GENERATOR] if integer else []
    builder.node(
        layer.update,
        (dy, node["x"], w, bias, step_rate(builder), *of_integers),
        name=f"{node.name}.update",
        attributes=attributes,
        updates=(w, bias, *of_integers[1:]),
        layer=node.layer,
        phase=Phase.UPDATE,
    )
    if integer and scheme.weight_decay > 0:
        emit_decay(builder, node, w)


def window(attributes: Attributes) -> dict[str, Any]:
    """The attributes that say where a layer's window goes; none for linear layers."""
    names = ("stride", "padding", "groups", "dilation", "kernel", "size")
    return {name: attributes[name] for name in names if name in attributes}


@dataclass(frozen=True)
class ErrorRescale:
    """How a layer's error becomes the error of its input.

    Attributes:
        rel: uint16[out], round(2^15 scale[o] / largest scale).
        drop: e' = round(e rel / 2^(8 + drop)).
        multiplier, shift: of the sum, see `fixed_point.rescale`.
    """

    rel: Array
    drop: int
    multiplier: int
    shift: int


def error_rescale(scale: Array, terms: int) -> ErrorRescale:
    """Row scales -> constants of the input gradient, for sums of `terms` products |w e'|.

    The error keeps its scale on the way through a layer. Bits of e' are dropped until the sum is
    sure to fit int32.
    """
    largest = scale.max()
    rel = round_clamp(scale / largest * F32(32768.0), 0, 32768).astype(np.uint16)
    drop = 0
    while 127 * largest_error(drop) * terms > 2**31 - 1 and drop < 7:
        drop += 1
    multiplier, shift = split_ratio(float(largest) / 2.0 ** (7 - drop))
    return ErrorRescale(rel, drop, multiplier, shift)


def largest_error(drop: int) -> int:
    """The largest |e'|."""
    return (127 * 32768 + (1 << (7 + drop))) >> (8 + drop)


def expand_error(dy: Array, rel: Array, drop: int) -> Array:
    """e'[..., out] = round(e rel / 2^(8 + drop)), int64, halves up."""
    wide = dy.astype(np.int64) * rel.astype(np.int64)
    return (wide + (1 << (7 + drop))) >> (8 + drop)


def rescaled_error(total: Array, attributes: Attributes) -> Array:
    """int8 on the scale of dy from the sums of w e'."""
    v = rescale(total, attributes["multiplier"], attributes["shift"])
    return np.clip(v, -127, 127).astype(np.int8)


def grad_input_bounds(node: Node, graph: Graph) -> list[Bound]:
    """|sum of w e'|."""
    if "terms" not in node.attributes:
        return []
    terms, drop = node.attributes["terms"], node.attributes["drop"]
    return [Bound(f"{node.name}: error of {terms} products", 127 * largest_error(drop) * terms)]
