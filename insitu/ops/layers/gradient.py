"""The backward pass that convolution and linear layers share, as nodes.

clip -> rows whose error counts -> input gradient (with the weights before the step) -> rows that
learn -> update -> whether the layers before learn too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from insitu.graph.builder import Builder
from insitu.graph.model import Bound, Graph, Node, OpDef, Phase
from insitu.graph.names import GENERATOR
from insitu.ops.activations.clip import clip_error
from insitu.ops.layers.rows import error_rescale
from insitu.ops.updates.bias import emit_bias_update
from insitu.ops.updates.buffer import check_bias_only, emit_buffered_update, emit_decay
from insitu.ops.updates.buffer_f32 import emit_float_update
from insitu.ops.updates.drawn_samples import emit_draw, step_rate
from insitu.ops.updates.selected_rows import keep_error, select_error


@dataclass(frozen=True)
class LayerGradient:
    """What a kind of layer adds to the backward pass.

    Attributes:
        grad_input, update: its ops.
        terms: (node, builder) -> products in one sum of the input gradient.
        attributes: (node, builder) -> attributes of the input gradient.
    """

    grad_input: OpDef
    update: OpDef
    terms: Any
    attributes: Any


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
    w, error = builder.tensors[node.inputs[1]], builder.tensors[dy].qparams
    inputs: tuple[str, ...] = (dy, node.inputs[1])
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
    x, w = node.inputs[:2]
    integer = builder.tensors[dy].qparams is not None
    bias = node["trained_bias" if "trained_bias" in node else "bias"]
    if builder.scheme.partial.kind == "bias":
        check_bias_only(builder)
        emit_bias_update(builder, node, dy, bias)
        return
    attributes = window(node.attributes)
    if integer and not builder.scheme.in_place:
        emit_buffered_update(builder, node, dy, (w, bias, node["row_scale"]), attributes)
        return
    if not integer and not builder.scheme.in_place:
        emit_float_update(builder, node, dy, (w, bias), attributes)
        return
    if not integer:
        attributes["weight_decay"] = builder.scheme.weight_decay
    of_integers = [node["row_scale"], GENERATOR] if integer else []
    builder.node(
        layer.update,
        (dy, x, w, bias, step_rate(builder), *of_integers),
        name=f"{node.name}.update",
        attributes=attributes,
        updates=(w, bias, *of_integers[1:]),
        layer=node.layer,
        phase=Phase.UPDATE,
    )
    if integer and builder.scheme.weight_decay > 0:
        emit_decay(builder, node, w)


def window(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes that say where a layer's window goes; none for linear layers."""
    names = ("stride", "padding", "groups", "dilation")
    return {name: attributes[name] for name in names if name in attributes}


def grad_input_bounds(node: Node, graph: Graph) -> list[Bound]:
    """|sum of w e'|."""
    if "terms" not in node.attributes:
        return []
    terms, drop = node.attributes["terms"], node.attributes["drop"]
    largest = 127 * ((127 * 32768 + (1 << (7 + drop))) >> (8 + drop)) * terms
    return [Bound(f"{node.name}: error of {terms} products", largest)]
