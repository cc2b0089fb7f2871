"""Clip (ReLU, ReLU6, any bounds around or beside 0) and its gradient. Twin: clip.c.

After a layer with weights a clip is absorbed into the layer's own clamp; what stays alone (after
pooling, say) keeps its input's quantization.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from insitu.fixed_point import F32, round_clamp
from insitu.graph.builder import Builder
from insitu.graph.model import Call, CCall, Graph, Node, OpDef, QParams
from insitu.graph.rules import Arrays, Attributes, Quantizations, Values, same_type
from insitu.ops.numerics.arguments import pointers
from insitu.ops.numerics.by_type import bit_exact, by_type, clamped, finite
from insitu.ops.numerics.quantization import keeps_quantization

if TYPE_CHECKING:
    from insitu.graph.rewriter import Rewriter


def bounds_of(attributes: Attributes) -> tuple[float, float]:
    """The clip that a layer has taken into itself; infinite where it has none."""
    low, high = attributes.get("clip", (-math.inf, math.inf))
    return float(low), float(high)


def with_clip(attributes: Attributes, bounds: tuple[float, float]) -> Attributes:
    """The attributes of a layer that takes a clip into itself."""
    return {**attributes, "clip": bounds}


def clip_error(builder: Builder, node: Node, dy: str) -> str:
    """dy where the layer's own clip let the value pass, 0 elsewhere; dy itself if it has none."""
    y = node.outputs[0]
    y_q = builder.tensors[y].qparams
    bounds = bounds_of(node.attributes) if y_q is None else (y_q.clip_min, y_q.clip_max)
    if bounds == (-math.inf, math.inf):
        return dy
    limits = {"min": bounds[0], "max": bounds[1]}
    return builder.gradient(
        clip_grad, node, (dy, y), name="clip_grad", output="dy", attributes=limits
    )


def _integer(node: Node, inputs: Values, outputs: Quantizations) -> Arrays:
    q = inputs[0].qparams
    assert q is not None
    low, high = clamp_bounds(node.attributes["min"], node.attributes["max"], q)
    return [np.clip(inputs[0].array, low, high)]


def _exact_float(node: Node, inputs: Values, outputs: Quantizations) -> Arrays:
    return [clamped(inputs[0].array, (node.attributes["min"], node.attributes["max"]))]


def clamp_bounds(clip_min: float, clip_max: float, q: QParams) -> tuple[int, int]:
    """Real bounds on the int8 grid of `q`."""
    zero, bounds = q.zero_point, []
    for bound, open_end in ((clip_min, -128), (clip_max, 127)):
        if math.isinf(bound):
            bounds.append(open_end)
        else:
            scaled = round_clamp(F32(bound) / F32(q.scale), -128 - zero, 127 - zero)
            bounds.append(zero + int(scaled))
    return bounds[0], bounds[1]


def _vjp(builder: Builder, node: Node, dy: str, wanted: frozenset[str]) -> dict[str, str]:
    attributes = {"min": node.attributes["min"], "max": node.attributes["max"]}
    return {"x": builder.gradient(clip_grad, node, (dy, node["x"]), attributes=attributes)}


def _simplify(rewriter: Rewriter, node: Node) -> bool:
    """Become part of the layer before it."""
    producer = rewriter.sole_producer(node)
    if producer is None or "clip" not in producer.op.absorb or "clip" in producer.attributes:
        return False
    bounds = (float(node.attributes["min"]), float(node.attributes["max"]))
    rewriter.replace(producer, attributes=producer.op.absorb["clip"](producer.attributes, bounds))
    return rewriter.bypass(node)


def _c_call(node: Node, graph: Graph) -> CCall:
    call = _float_c("insitu_clip_s8")(node, graph)
    return replace(call, arguments=(f"?{node['x']}", *call.arguments))


def _float_c(function: str) -> Call:
    """The call of a clip or its gradient in float."""

    def c_call(node: Node, graph: Graph) -> CCall:
        low, high = float(node.attributes["min"]), float(node.attributes["max"])
        return CCall(
            function=function,
            params_type="insitu_clip_params_t",
            params={"size": graph.tensors[node.outputs[0]].size, "min": low, "max": high},
            arguments=pointers(node),
        )

    return c_call


clip = OpDef(
    name="clip",
    infer=same_type,
    float_reference=lambda attributes, inputs: [
        np.clip(inputs[0], attributes["min"], attributes["max"])
    ],
    integer_reference=bit_exact(_integer, _exact_float),
    vjp=_vjp,
    quantize=keeps_quantization,
    simplify=_simplify,
    c_call=by_type(_c_call, _float_c("insitu_clip_f32")),
    in_place=((0, 0),),
)
"""y = min(max(x, min), max). Attributes min, max: real, possibly infinite."""


def _float_grad(attributes: Attributes, inputs: Arrays) -> Arrays:
    dy, y = inputs
    return [np.where((y > attributes["min"]) & (y < attributes["max"]), dy, 0)]


def _pass_bounds(node: Node, q: QParams) -> tuple[int, int]:
    """What passes: strictly inside the clip; a bound beyond the range stops nothing."""
    if (q.clip_min, q.clip_max) == (node.attributes["min"], node.attributes["max"]):
        return q.pass_min, q.pass_max
    clip_min, clip_max = node.attributes["min"], node.attributes["max"]
    low, high = clamp_bounds(clip_min, clip_max, q)
    lowest, highest = F32(-128 - q.zero_point), F32(127 - q.zero_point)
    first = low + 1 if F32(clip_min) / F32(q.scale) >= lowest else -128
    last = high - 1 if F32(clip_max) / F32(q.scale) <= highest else 127
    return first, last


def _integer_grad(node: Node, inputs: Values, outputs: Quantizations) -> Arrays:
    dy, y = inputs
    assert y.qparams is not None
    first, last = _pass_bounds(node, y.qparams)
    passes = (y.array >= first) & (y.array <= last)
    return [np.where(passes, dy.array, np.int8(0)).astype(np.int8)]


def _exact_float_grad(node: Node, inputs: Values, outputs: Quantizations) -> Arrays:
    dy, y = inputs[0].array, inputs[1].array
    low, high = finite(node.attributes["min"]), finite(node.attributes["max"])
    return [np.where((y > low) & (y < high), dy, F32(0.0))]


def _grad_c(node: Node, graph: Graph) -> CCall:
    call, q = _float_c("insitu_clip_grad_s8")(node, graph), graph.operand(node, "y").qparams
    assert q is not None
    if (q.clip_min, q.clip_max) == (node.attributes["min"], node.attributes["max"]):
        params = {"size": call.params["size"]}
        call = CCall("insitu_layer_clip_grad_s8", "insitu_size_params_t", params, call.arguments)
    return replace(call, arguments=(f"?{node['y']}", *call.arguments))


clip_grad = OpDef(
    name="clip_grad",
    operands=("dy", "y"),
    infer=same_type,
    float_reference=_float_grad,
    integer_reference=bit_exact(_integer_grad, _exact_float_grad),
    c_call=by_type(_grad_c, _float_c("insitu_clip_grad_f32")),
    in_place=((0, 0),),
)
"""dx = dy where the clipped (or, for a clip of its own, the unclipped) value lies inside.

Inputs: dy, y. At a bound the gradient is 0, as torch has it for relu and hardtanh.
"""
