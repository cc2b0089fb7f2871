"""Convolution, 1-D and 2-D: forward, input gradient, weight gradient with its update.

y[oy, ox, o] = b[o] + sum over ky, kx, i of w[o, ky, kx, i] x[iy, ix, i], clipped;
iy = oy stride - top + ky dilation, ix = ox stride - left + kx dilation, i over the channels of
o's group. Twin: conv.c; with groups or dilation conv_grouped.c.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from insitu.errors import ModelError
from insitu.fixed_point import F32, draw_bytes, rescale, round_clamp
from insitu.graph.builder import Builder
from insitu.graph.model import (
    Array,
    Bound,
    CCall,
    Graph,
    Node,
    OpDef,
    QParams,
    Tensor,
    TensorType,
    Value,
)
from insitu.ops.kernels.bands import forward_band, grad_input_band, gradient_band
from insitu.ops.kernels.choice import (
    DEPTHWISE_BLOCK,
    GROUPED,
    band,
    gradient_scratch,
    is_depthwise,
    is_product,
    kernel_of,
    live_scratch,
    shape_params,
)
from insitu.ops.kernels.tiles import (
    Tile,
    forward_tile,
    grad_input_tile,
    listed_errors,
    tiled,
    update_tile,
)
from insitu.ops.layers import conv_f32
from insitu.ops.layers.gradient import LayerGradient, grad_input_bounds, layer_vjp, window
from insitu.ops.layers.linear import forward_c, grad_input_c, input_bytes, list_bytes
from insitu.ops.layers.rows import (
    UNCLIPPED,
    accumulator_bound,
    expand_error,
    quantize_layer,
    requantize,
    update_bias,
)
from insitu.ops.numerics.by_type import by_type, exact, is_float
from insitu.ops.numerics.geometry import Padding, dilation_of, groups_of, output_size
from insitu.ops.numerics.grouped import products, transposed, weight_gradient


def _infer(attributes: Mapping[str, Any], inputs: Sequence[Tensor]) -> list[TensorType]:
    x, w, groups = inputs[0], inputs[1], groups_of(attributes)
    if len(x.shape) != 3 or x.shape[2] != groups * w.shape[3]:
        raise ModelError(
            f"x{list(x.shape)} has {x.shape[-1]} channels but w{list(w.shape)} takes "
            f"{groups * w.shape[3]}; check the layer before it"
        )
    if w.shape[0] % groups != 0:
        raise ModelError(
            f"w{list(w.shape)} has {w.shape[0]} rows for {groups} groups; each takes as many"
        )
    kernel, size = (w.shape[1], w.shape[2]), (x.shape[0], x.shape[1])
    stride, padding = attributes["stride"], attributes["padding"]
    out = output_size(size, kernel, stride, padding, dilation_of(attributes))
    types = [TensorType((*out, w.shape[0]), x.dtype)]
    return [*types, TensorType((2,), "int32")] if attributes.get("observe") else types


def _float(attributes: Mapping[str, Any], inputs: Sequence[Array]) -> list[Array]:
    x, w, b = inputs
    y = products(attributes, x, w) + b
    return [np.clip(y, *attributes.get("clip", UNCLIPPED))]


def _integer(node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]) -> list[Array]:
    x, w, bias, multiplier, shift = (value.array for value in inputs[:5])
    x_q, y_q = inputs[0].qparams, outputs[0]
    assert x_q is not None and y_q is not None
    centred = x.astype(np.int64)[None] - x_q.zero_point
    accumulator = products(node.attributes, centred, w.astype(np.int64))[0]
    y, observed = requantize(accumulator, bias, multiplier, shift, y_q)
    return [y, observed][: len(node.outputs)]


def _vjp(builder: Builder, node: Node, dy: str, wanted: frozenset[str]) -> dict[str, str]:
    return layer_vjp(GRADIENT, builder, node, dy, wanted)


def _macs(node: Node, graph: Graph) -> int:
    w, y = graph.tensors[node.inputs[1]], graph.tensors[node.outputs[0]]
    return y.shape[0] * y.shape[1] * w.size


def _bounds(node: Node, graph: Graph) -> list[Bound]:
    if is_float(node, graph):
        return []
    w = graph.tensors[node.inputs[1]]
    return [accumulator_bound(node, w.size // w.shape[0])]


def _c_call(node: Node, graph: Graph) -> CCall:
    x, w, bias, multiplier, shift = node.inputs[:5]
    if is_product(node.attributes, graph.tensors[x], graph.tensors[w]):
        return forward_c(node, graph)
    y, tensors = node.outputs[0], graph.tensors
    observed = f"${node.outputs[1]}" if len(node.outputs) > 1 else "0"
    kernel = kernel_of(node.attributes)
    return CCall(
        function=f"insitu_{kernel}_s8",
        params_type=f"insitu_{kernel}_params_t",
        params=tiled(
            shape_params(node.attributes, tensors[x], tensors[w], tensors[y], forward_band),
            _forward_tile(node, graph),
        ),
        arguments=(
            f"?{x}",
            f"?{y}",
            f"${x}",
            f"${w}",
            f"${bias}",
            f"${multiplier}",
            f"${shift}",
            "!",
            f"${y}",
            observed,
        ),
    )


def _forward_tile(node: Node, graph: Graph) -> Tile:
    x, w, y = (graph.tensors[name].shape for name in (*node.inputs[:2], node.outputs[0]))
    return forward_tile(node.attributes, x, w, y)


def _scratch(node: Node, graph: Graph) -> int:
    """One patch, int16, or a tile; of depthwise layers the weights of a block, or planes."""
    x, w, y = (graph.tensors[name] for name in (*node.inputs[:2], node.outputs[0]))
    if is_product(node.attributes, x, w):
        return input_bytes(w)
    rows = DEPTHWISE_BLOCK if is_depthwise(node.attributes, w) else 1
    planes = band(node.attributes, x, w, y, forward_band)
    return max(2 * rows * (w.size // w.shape[0]), planes.bytes, _forward_tile(node, graph).bytes)


def _wider(attributes: Mapping[str, Any], border: Padding) -> dict[str, Any]:
    """The attributes with a border of zeros added to the padding."""
    padding = tuple(a + b for a, b in zip(attributes["padding"], border, strict=True))
    return {**attributes, "padding": padding}


conv: OpDef = OpDef(
    name="conv",
    operands=("x", "w", "bias", "multiplier", "shift", "trained_bias", "row_scale"),
    infer=_infer,
    float_reference=_float,
    integer_reference=exact(_integer, conv_f32.forward),
    vjp=_vjp,
    quantize=lambda quantizer, node: quantize_layer(quantizer, node, conv, window(node.attributes)),
    absorb={
        "clip": lambda attributes, clip: {**attributes, "clip": clip},
        "affine": lambda w, b, scale, shift: (w * scale.reshape(-1, 1, 1, 1), b * scale + shift),
        "padding": _wider,
    },
    c_call=by_type(_c_call, conv_f32.forward_c),
    scratch_bytes=by_type(_scratch, conv_f32.forward_scratch),
    macs=_macs,
    bounds=_bounds,
    weights=("w",),
)
"""Inputs float: x, w, b. Integer: x, w, bias, multiplier, shift [, trained bias, row scale]."""


def _infer_grad_input(attributes: Mapping[str, Any], inputs: Sequence[Tensor]) -> list[TensorType]:
    channels = groups_of(attributes) * inputs[1].shape[3]
    return [TensorType((*attributes["size"], channels), inputs[0].dtype)]


def _integer_grad_input(
    node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]
) -> list[Array]:
    dy, w, rel = (value.array for value in inputs)
    attributes = node.attributes
    expanded = expand_error(dy, rel, attributes["drop"])
    total = transposed(attributes, expanded[None], w.astype(np.int64))[0]
    v = rescale(total, attributes["multiplier"], attributes["shift"])
    return [np.clip(v, -127, 127).astype(np.int8)]


def _grad_input_c(node: Node, graph: Graph) -> CCall:
    (dy, w, rel), dx = node.inputs, node.outputs[0]
    tensors, kernel = graph.tensors, kernel_of(node.attributes)
    if is_product(node.attributes, tensors[dx], tensors[w]):
        return grad_input_c(node, graph)
    return CCall(
        function=f"insitu_{kernel}_grad_input_s8",
        params_type=f"insitu_{kernel}_grad_input_params_t",
        params={
            "shape": tiled(
                shape_params(
                    *(node.attributes, tensors[dx], tensors[w], tensors[dy], grad_input_band),
                    live=_grad_input_live(node, graph),
                ),
                _grad_input_tile(node, graph),
            ),
            **{name: node.attributes[name] for name in ("drop", "multiplier", "shift")},
            **({} if kernel == GROUPED else {"entries": _listed(node, graph)}),
        },
        arguments=(f"${dy}", f"${w}", f"${rel}", "!", f"${dx}"),
    )


def _grad_input_tile(node: Node, graph: Graph) -> Tile:
    dy, w, dx = (graph.tensors[name].shape for name in (*node.inputs[:2], node.outputs[0]))
    return grad_input_tile(node.attributes, dx, w, dy)


def _listed(node: Node, graph: Graph) -> int:
    return listed_errors(node.attributes, graph.tensors[node.inputs[1]].shape)


def _grad_input_planes(node: Node, graph: Graph) -> int:
    dy, w, dx = (graph.tensors[name] for name in (*node.inputs[:2], node.outputs[0]))
    planes = band(node.attributes, dx, w, dy, grad_input_band)
    return max(2 * DEPTHWISE_BLOCK * (w.size // w.shape[0]), planes.bytes)


def _grad_input_live(node: Node, graph: Graph) -> int:
    dy, w, dx = (graph.tensors[name] for name in (*node.inputs[:2], node.outputs[0]))
    if band(node.attributes, dx, w, dy, grad_input_band).lines == 0:
        return 0
    return live_scratch(node.attributes, dx, w, dy, _grad_input_planes(node, graph))


def _grad_input_scratch(node: Node, graph: Graph) -> int:
    """Sums over the channels, int32, and a list, or a tile; depthwise: the weights, or planes."""
    w, dx = graph.tensors[node.inputs[1]], graph.tensors[node.outputs[0]]
    if is_product(node.attributes, dx, w):
        return list_bytes(w)
    if is_depthwise(node.attributes, w):
        return _grad_input_planes(node, graph) + _grad_input_live(node, graph)
    listed = 0 if kernel_of(node.attributes) == GROUPED else 8 * _listed(node, graph)
    return max(4 * dx.shape[2] + listed, _grad_input_tile(node, graph).bytes)


conv_grad_input = OpDef(
    name="conv_grad_input",
    operands=("dy", "w", "rel"),
    infer=_infer_grad_input,
    float_reference=lambda attributes, inputs: [transposed(attributes, *inputs)],
    integer_reference=exact(_integer_grad_input, conv_f32.grad_input),
    c_call=by_type(_grad_input_c, conv_f32.grad_input_c),
    scratch_bytes=by_type(_grad_input_scratch, lambda node, graph: 0),
    macs=lambda node, graph: (
        graph.tensors[node.inputs[1]].size
        * graph.tensors[node.inputs[0]].size
        // graph.tensors[node.inputs[1]].shape[0]
    ),
    bounds=grad_input_bounds,
)
"""Inputs: dy, w (before this step's update), rel[out] where integer."""


def _float_update(attributes: Mapping[str, Any], inputs: Sequence[Array]) -> list[Array]:
    dy, x, w, b, rate = inputs
    dw = weight_gradient(attributes, dy, x, w.shape)
    kept = w * (1 - rate * attributes.get("weight_decay", 0.0))
    return [kept - rate * dw, b - rate * dy.sum(axis=(0, 1, 2))]


def _integer_update(
    node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]
) -> list[Array]:
    dy, x, w, bias, rate, scale, generator = (value.array for value in inputs)
    dy_q, x_q = inputs[0].qparams, inputs[1].qparams
    assert dy_q is not None and x_q is not None
    errors, centred = dy.astype(np.int64), x.astype(np.int64)[None] - x_q.zero_point
    gradient = weight_gradient(node.attributes, errors[None], centred, w.shape)
    gradient = gradient.reshape(len(w), -1)
    factor = F32(F32(rate[0]) * F32(dy_q.scale)) * F32(x_q.scale) * F32(2.0**32)
    rows, state = w.reshape(w.shape[0], -1).astype(np.int64), int(generator[0])
    for row in range(w.shape[0]):
        if not errors[..., row].any():
            continue
        multiplier = int(round_clamp(factor / scale[row], 0, 2**31 - 1))
        octets, state = draw_bytes(state, rows.shape[1])
        step = (gradient[row] * multiplier + (octets << 24) + (1 << 23)) >> 32
        rows[row] = np.clip(rows[row] - step, -127, 127)
    new_bias = update_bias(bias, errors.sum(axis=(0, 1)), F32(rate[0]), F32(dy_q.scale))
    return [
        rows.reshape(w.shape).astype(np.int8),
        new_bias,
        np.asarray([state], np.uint32),
    ]


def _update_bounds(node: Node, graph: Graph) -> list[Bound]:
    if is_float(node, graph):
        return []
    dy = graph.tensors[node.inputs[0]]
    positions = dy.shape[0] * dy.shape[1]
    return [Bound(f"{node.name}: gradient over {positions} positions", 127 * 255 * positions)]


def _update_c(node: Node, graph: Graph) -> CCall:
    dy, x, w, bias, rate, scale, generator = node.inputs
    tensors, kernel = graph.tensors, kernel_of(node.attributes)
    return CCall(
        function=f"insitu_{kernel}_update_s8",
        params_type=f"insitu_{kernel}_params_t",
        params=tiled(
            shape_params(
                *(node.attributes, tensors[x], tensors[w], tensors[dy], gradient_band),
                live=_update_live(node, graph),
            ),
            _update_tile(node, graph),
        ),
        arguments=(
            f"?{dy}",
            f"?{x}",
            f"${dy}",
            f"${x}",
            f"${scale}",
            f"${rate}",
            "!",
            f"${generator}",
            f"${bias}",
            f"${w}",
        ),
        counts_saturated=True,
    )


def _update_tile(node: Node, graph: Graph) -> Tile:
    dy, x, w = (graph.tensors[name].shape for name in node.inputs[:3])
    return update_tile(node.attributes, x, w, dy)


def _update_scratch(node: Node, graph: Graph) -> int:
    """The gradient of a row or of some, or a tile."""
    x, w, dy = (graph.tensors[node.inputs[index]] for index in (1, 2, 0))
    rows = gradient_scratch(node.attributes, x, w, dy)
    return max(rows + _update_live(node, graph), _update_tile(node, graph).bytes)


def _update_live(node: Node, graph: Graph) -> int:
    x, w, dy = (graph.tensors[node.inputs[index]] for index in (1, 2, 0))
    if band(node.attributes, x, w, dy, gradient_band).lines == 0:
        return 0
    return live_scratch(node.attributes, x, w, dy, gradient_scratch(node.attributes, x, w, dy))


conv_update = OpDef(
    name="conv_update",
    operands=("dy", "x", "w", "bias", "rate", "row_scale", "generator"),
    infer=lambda attributes, inputs: [],
    float_reference=_float_update,
    integer_reference=exact(_integer_update, conv_f32.update),
    c_call=by_type(_update_c, conv_f32.update_c),
    scratch_bytes=by_type(_update_scratch, conv_f32.update_scratch),
    macs=lambda node, graph: (
        graph.tensors[node.inputs[2]].size
        * graph.tensors[node.inputs[0]].size
        // graph.tensors[node.inputs[2]].shape[0]
    ),
    bounds=_update_bounds,
)
"""w -= rate dy x, in place. Inputs: dy, x, w, bias, rate [, row scale, generator].

Attribute weight_decay, in float: w (1 - rate weight_decay) before."""


GRADIENT = LayerGradient(
    grad_input=conv_grad_input,
    update=conv_update,
    terms=lambda node, builder: (
        builder.tensors[node.inputs[1]].size // builder.tensors[node.inputs[0]].shape[2]
    ),
    attributes=lambda node, builder: {
        **window(node.attributes),
        "size": builder.tensors[node.inputs[0]].shape[:2],
    },
)
