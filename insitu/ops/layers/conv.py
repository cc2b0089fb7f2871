"""Convolution, 1-D and 2-D: forward, input gradient, weight gradient with its update.

y[oy, ox, o] = b[o] + sum over ky, kx, i of w[o, ky, kx, i] x[iy, ix, i], clipped;
iy = oy stride - top + ky dilation, ix = ox stride - left + kx dilation, i over the channels of
o's group. Twin: conv.c; with groups or dilation conv_grouped.c.
"""

from __future__ import annotations

import numpy as np

from insitu.errors import ModelError
from insitu.fixed_point import F32, draw_bytes, round_clamp
from insitu.graph.builder import Builder
from insitu.graph.model import Array, Bound, CCall, Graph, Node, OpDef, TensorType, Units
from insitu.graph.rules import Arrays, Attributes, Quantizations, Tensors, Values, no_outputs
from insitu.ops.kernels import choice, tiles
from insitu.ops.kernels.bands import forward_band, grad_input_band, gradient_band
from insitu.ops.layers import calls, conv_f32
from insitu.ops.layers.error import expand_error, rescaled_error
from insitu.ops.layers.gradient import LayerGradient, grad_input_bounds, layer_vjp, window
from insitu.ops.layers.linear import forward_c, grad_input_c, input_bytes, list_bytes
from insitu.ops.layers.rows import accumulator_bound, quantize_layer, requantize
from insitu.ops.numerics.by_type import bit_exact, by_type, is_float, no_scratch
from insitu.ops.numerics.geometry import Padding, dilation_of, groups_of, output_size
from insitu.ops.numerics.grouped import columns, products, transposed, weight_gradient
from insitu.ops.numerics.quantization import centred, scale_of
from insitu.ops.numerics.ranges import UNCLIPPED, observed_too
from insitu.ops.updates.bias import update_bias
from insitu.ops.updates.buffer import conv_accumulate
from insitu.ops.updates.buffer_f32 import conv_accumulate_f32


def _infer(attributes: Attributes, inputs: Tensors) -> list[TensorType]:
    (x, w, *_), groups = inputs, groups_of(attributes)
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
    return observed_too(attributes, TensorType((*out, w.shape[0]), x.dtype))


def _float(attributes: Attributes, inputs: Arrays) -> list[Array]:
    x, w, b = inputs
    y = products(attributes, x, w) + b
    return [np.clip(y, *attributes.get("clip", UNCLIPPED))]


def _integer(node: Node, inputs: Values, outputs: Quantizations) -> list[Array]:
    x, w, bias, multiplier, shift, *_ = inputs
    accumulator = products(node.attributes, centred(x)[None], w.array.astype(np.int64))[0]
    return requantize(accumulator, (bias, multiplier, shift), outputs)


def _vjp(builder: Builder, node: Node, dy: str, wanted: frozenset[str]) -> dict[str, str]:
    return layer_vjp(GRADIENT, builder, node, dy, wanted)


def _window(node: Node, graph: Graph) -> Attributes:
    x, w = (graph.operand(node, name) for name in ("x", "w"))
    return {"kernel": w.shape[1:3], "size": x.shape[:2]}


def _bounds(node: Node, graph: Graph) -> list[Bound]:
    if is_float(node, graph):
        return []
    w = graph.operand(node, "w")
    return [accumulator_bound(node, w.size // w.shape[0])]


def _c_call(node: Node, graph: Graph) -> CCall:
    x, w, y = calls.layer_tensors(node, graph)
    if choice.is_fully_connected(node.attributes, x, w):
        return forward_c(node, graph)
    shape = choice.shape_params(node.attributes, x, w, y, forward_band)
    tiled = tiles.tiled(shape, _forward_tile(node, graph))
    return calls.forward_call(node, choice.kernel_of(node.attributes), tiled)


def _forward_tile(node: Node, graph: Graph) -> tiles.Tile:
    return tiles.forward_tile(node.attributes, *(t.shape for t in calls.layer_tensors(node, graph)))


def _scratch(node: Node, graph: Graph) -> int:
    """One patch, int16, or a tile; of depthwise layers the weights of a block, or planes."""
    x, w, y = calls.layer_tensors(node, graph)
    if choice.is_fully_connected(node.attributes, x, w):
        return input_bytes(w)
    rows = choice.DEPTHWISE_BLOCK if choice.is_depthwise(node.attributes, w) else 1
    planes = choice.band(node.attributes, x, w, y, forward_band)
    return max(2 * rows * (w.size // w.shape[0]), planes.bytes, _forward_tile(node, graph).bytes)


def _wider(attributes: Attributes, border: Padding) -> Attributes:
    """The attributes with a border of zeros added to the padding."""
    padding = tuple(a + b for a, b in zip(attributes["padding"], border, strict=True))
    return {**attributes, "padding": padding}


def _in_units(attributes: Attributes, w: Array, b: Array, units: Units) -> tuple[Array, Array]:
    """The weights for x, and not for offset + scale x; no offset where there is a border."""
    group = np.arange(len(w)) * groups_of(attributes) // len(w)
    channels = group[:, None] * w.shape[3] + np.arange(w.shape[3])
    scale, offset = (part[channels][:, None, None] for part in (units.scale, units.offset))
    return w * scale, b + (w * offset).sum(axis=(1, 2, 3))


conv: OpDef = OpDef(
    name="conv",
    operands=("x", "w", "bias", "multiplier", "shift", "trained_bias", "row_scale"),
    infer=_infer,
    float_reference=_float,
    integer_reference=bit_exact(_integer, conv_f32.forward),
    vjp=_vjp,
    quantize=lambda quantizer, node: quantize_layer(quantizer, node, conv, window(node.attributes)),
    window=_window,
    absorb={
        "clip": lambda attributes, clip: {**attributes, "clip": clip},
        "affine": lambda w, b, scale, shift: (w * scale.reshape(-1, 1, 1, 1), b * scale + shift),
        "padding": _wider,
        "units": _in_units,
    },
    columns=columns,
    c_call=by_type(_c_call, conv_f32.forward_c),
    scratch_bytes=by_type(_scratch, conv_f32.forward_scratch),
    macs=calls.layer_macs,
    bounds=_bounds,
    weights=("w",),
)
"""Inputs float: x, w, b. Integer: x, w, bias, multiplier, shift [, trained bias, row scale]."""


def _infer_grad_input(attributes: Attributes, inputs: Tensors) -> list[TensorType]:
    dy, w, *_ = inputs
    channels = groups_of(attributes) * w.shape[3]
    return [TensorType((*attributes["size"], channels), dy.dtype)]


def _integer_grad_input(node: Node, inputs: Values, outputs: Quantizations) -> list[Array]:
    dy, w, rel = (value.array for value in inputs)
    expanded = expand_error(dy, rel, node.attributes["drop"])
    (total,) = transposed(node.attributes, expanded[None], w.astype(np.int64))
    return [rescaled_error(total, node.attributes)]


def _grad_input_c(node: Node, graph: Graph) -> CCall:
    (dx, w, dy), kernel = calls.layer_tensors(node, graph), choice.kernel_of(node.attributes)
    if choice.is_fully_connected(node.attributes, dx, w):
        return grad_input_c(node, graph)
    nonzero = _grad_input_nonzero(node, graph)
    shape = choice.shape_params(node.attributes, dx, w, dy, grad_input_band, nonzero)
    tiled = tiles.tiled(shape, _grad_input_tile(node, graph))
    if kernel == choice.GROUPED:
        return calls.grad_input_call(node, kernel, tiled)
    entries = tiles.listed_errors(node.attributes, w.shape)
    return calls.grad_input_call(node, kernel, tiled, entries=entries)


def _grad_input_tile(node: Node, graph: Graph) -> tiles.Tile:
    return tiles.grad_input_tile(
        node.attributes, *(t.shape for t in calls.layer_tensors(node, graph))
    )


def _grad_input_planes(node: Node, graph: Graph) -> int:
    dx, w, dy = calls.layer_tensors(node, graph)
    planes = choice.band(node.attributes, dx, w, dy, grad_input_band)
    return max(2 * choice.DEPTHWISE_BLOCK * (w.size // w.shape[0]), planes.bytes)


def _grad_input_nonzero(node: Node, graph: Graph) -> int:
    dx, w, dy = calls.layer_tensors(node, graph)
    if choice.band(node.attributes, dx, w, dy, grad_input_band).lines == 0:
        return 0
    return choice.nonzero_scratch(node.attributes, dx, w, dy, _grad_input_planes(node, graph))


def _grad_input_scratch(node: Node, graph: Graph) -> int:
    """Sums over the channels, int32, and a list, or a tile; depthwise: the weights, or planes."""
    dx, w, _ = calls.layer_tensors(node, graph)
    if choice.is_fully_connected(node.attributes, dx, w):
        return list_bytes(w)
    if choice.is_depthwise(node.attributes, w):
        return _grad_input_planes(node, graph) + _grad_input_nonzero(node, graph)
    is_grouped = choice.kernel_of(node.attributes) == choice.GROUPED
    listed = 0 if is_grouped else 8 * tiles.listed_errors(node.attributes, w.shape)
    return max(4 * dx.shape[2] + listed, _grad_input_tile(node, graph).bytes)


conv_grad_input = OpDef(
    name="conv_grad_input",
    operands=("dy", "w", "rel"),
    infer=_infer_grad_input,
    float_reference=lambda attributes, inputs: [transposed(attributes, *inputs)],
    integer_reference=bit_exact(_integer_grad_input, conv_f32.grad_input),
    c_call=by_type(_grad_input_c, conv_f32.grad_input_c),
    scratch_bytes=by_type(_grad_input_scratch, no_scratch),
    macs=calls.layer_macs,
    bounds=grad_input_bounds,
)
"""Inputs: dy, w (before this step's update), rel[out] where integer."""


def _float_update(attributes: Attributes, inputs: Arrays) -> list[Array]:
    dy, x, w, b, rate = inputs
    dw = weight_gradient(attributes, dy, x, w.shape)
    kept = w * (1 - rate * attributes.get("weight_decay", 0.0))
    return [kept - rate * dw, b - rate * dy.sum(axis=(0, 1, 2))]


def _integer_update(node: Node, inputs: Values, outputs: Quantizations) -> list[Array]:
    error, x, *_ = inputs
    dy, _, w, bias, rate, scale, generator = (value.array for value in inputs)
    errors = dy.astype(np.int64)
    gradient = weight_gradient(node.attributes, errors[None], centred(x)[None], w.shape)
    gradient = gradient.reshape(len(w), -1)
    factor = F32(F32(rate[0]) * scale_of(error)) * scale_of(x) * F32(2.0**32)
    rows, state = w.reshape(w.shape[0], -1).astype(np.int64), int(generator[0])
    for row in range(w.shape[0]):
        if not errors[..., row].any():
            continue
        multiplier = int(round_clamp(factor / scale[row], 0, 2**31 - 1))
        octets, state = draw_bytes(state, rows.shape[1])
        step = (gradient[row] * multiplier + (octets << 24) + (1 << 23)) >> 32
        rows[row] = np.clip(rows[row] - step, -127, 127)
    new_bias = update_bias(bias, errors.sum(axis=(0, 1)), F32(rate[0]), scale_of(error))
    return [rows.reshape(w.shape).astype(np.int8), new_bias, np.asarray([state], np.uint32)]


def _update_bounds(node: Node, graph: Graph) -> list[Bound]:
    if is_float(node, graph):
        return []
    dy = graph.operand(node, "dy")
    positions = dy.shape[0] * dy.shape[1]
    return [Bound(f"{node.name}: gradient over {positions} positions", 127 * 255 * positions)]


def _update_c(node: Node, graph: Graph) -> CCall:
    nonzero = _update_nonzero(node, graph)
    shape = choice.shape_params(
        node.attributes, *calls.layer_tensors(node, graph), gradient_band, nonzero
    )
    tiled = tiles.tiled(shape, _update_tile(node, graph))
    return calls.update_call(node, choice.kernel_of(node.attributes), tiled)


def _update_tile(node: Node, graph: Graph) -> tiles.Tile:
    return tiles.update_tile(node.attributes, *(t.shape for t in calls.layer_tensors(node, graph)))


def _update_scratch(node: Node, graph: Graph) -> int:
    """The gradient of a row or of some, or a tile."""
    rows = choice.gradient_scratch(node.attributes, *calls.layer_tensors(node, graph))
    return max(rows + _update_nonzero(node, graph), _update_tile(node, graph).bytes)


def _update_nonzero(node: Node, graph: Graph) -> int:
    x, w, dy = calls.layer_tensors(node, graph)
    if choice.band(node.attributes, x, w, dy, gradient_band).lines == 0:
        return 0
    rows = choice.gradient_scratch(node.attributes, x, w, dy)
    return choice.nonzero_scratch(node.attributes, x, w, dy, rows)


conv_update = OpDef(
    name="conv_update",
    operands=("dy", "x", "w", "bias", "rate", "row_scale", "generator"),
    infer=no_outputs,
    float_reference=_float_update,
    integer_reference=bit_exact(_integer_update, conv_f32.update),
    c_call=by_type(_update_c, conv_f32.update_c),
    scratch_bytes=by_type(_update_scratch, conv_f32.update_scratch),
    macs=calls.layer_macs,
    bounds=_update_bounds,
)
"""w -= rate dy x, in place. Inputs: dy, x, w, bias, rate [, row scale, generator].

Attribute weight_decay, in float: w (1 - rate weight_decay) before."""


def _terms(node: Node, builder: Builder) -> int:
    x, w = (builder.tensors[node[name]] for name in ("x", "w"))
    return w.size // x.shape[2]


GRADIENT = LayerGradient(
    grad_input=conv_grad_input,
    update=conv_update,
    accumulate=conv_accumulate,
    accumulate_f32=conv_accumulate_f32,
    terms=_terms,
    attributes=lambda node, builder: {
        **window(node.attributes),
        "size": builder.tensors[node["x"]].shape[:2],
    },
)
