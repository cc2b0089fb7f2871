"""Layers of the preset `paper`: 8-bit affine weights, one scale and one zero point a tensor.

y = clamp(round((sum of (w - z_w)(x - z_x) + b) s_w s_x / s_y) + z_y). A linear layer is a
convolution of one position. The scale of trained weights is state and follows their smallest and
largest value at every update, see `ops.updates.standardized`. Twin: affine.c.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from insitu.errors import ModelError
from insitu.fixed_point import BIAS_SCALE, F32, range_qparams, round_clamp
from insitu.graph.builder import Builder
from insitu.graph.model import Array, Bound, CCall, Graph, Node, OpDef, Phase, Role, TensorType
from insitu.graph.rules import Attributes, Quantizations, Tensors, Values
from insitu.ops.activations.clip import clip_error
from insitu.ops.layers.calls import layer_macs, layer_tensors
from insitu.ops.layers.gradient import window
from insitu.ops.layers.rows import FRESH_RANGE
from insitu.ops.numerics.geometry import groups_of
from insitu.ops.numerics.grouped import products, transposed
from insitu.ops.numerics.quantization import centred, scale_of
from insitu.ops.numerics.ranges import UNCLIPPED
from insitu.ops.updates import standardized
from insitu.ops.updates.selected_rows import keep_error, select_error

if TYPE_CHECKING:
    from insitu.quantize.assign import Quantizer

ONE_PLACE: Attributes = {
    "stride": (1, 1),
    "padding": (0, 0, 0, 0),
    "kernel": (1, 1),
    "size": (1, 1),
}
"""The window of a linear layer."""

ERROR_GRID = F32(128.0 / 127.0)
"""A range of errors is [-m 128 / 127, m], so that its zero point is 0 and its scale m / 127."""

MISS = 512
"""Requantized values are clamped to +-512 before the zero point is added: all 8-bit results."""


def quantize_affine(quantizer: Quantizer, node: Node) -> None:
    """Put a convolution or a linear layer in integers: ranges of activations stay as calibrated.

    A value that is clamped at an end of such a range no longer depends on the weights, so the ends
    are bounds of the activation function too: no error passes there. Else a layer that is trained
    beyond its range would be told to grow further, and never hear that it has grown.

    Raises:
        ModelError: a bias beyond what can be held.
    """
    builder, float_y = quantizer.builder, node.outputs[0]
    assert node.op.window is not None, node.op.name
    place = node.op.window(node, quantizer.graph)
    clip = node.attributes.get("clip", UNCLIPPED)
    scores = quantizer.is_scores(float_y) and clip == UNCLIPPED
    low, high = (float(F32(end)) for end in quantizer.calibrated(float_y))
    low, high = min(low, 0.0), max(high, 0.0)
    y_q = None if scores else range_qparams(low, high, max(low, clip[0]), min(high, clip[1]))
    shape = quantizer.graph.tensors[float_y].shape
    (y,) = builder.node(
        affine,
        (quantizer.quantized(node["x"]), *_weights(quantizer, node)),
        name=node.name,
        outputs=(f"{node.name}.y",),
        attributes={**place, **window(node.attributes), "shape": shape, "scores": scores},
        qparams=(y_q,),
        layer=node.name,
    )
    quantizer.set(float_y, y)


def _weights(quantizer: Quantizer, node: Node) -> tuple[str, str]:
    """Names of the weights and the biases (units of 2^-20) in the integer graph.

    Raises:
        ModelError: a bias is larger than what these units hold.
    """
    real = quantizer.data(node["w"]).astype(F32)
    low, high = min(real.min(), F32(0.0)), max(real.max(), F32(0.0))
    if not high - low > F32(1e-20):
        high = F32(FRESH_RANGE / np.sqrt(real[0].size))
        low = -high
    q = range_qparams(float(low), float(high), *UNCLIPPED)
    biases = _biases(quantizer, node, F32(q.scale))
    zero = q.zero_point
    data = zero + round_clamp(real / F32(q.scale), -128 - zero, 127 - zero)
    if quantizer.is_trained(node):
        ends = np.asarray([low, high], F32)
        name = quantizer.builder.state("w_range", ends, Role.RANGE, layer=node.name)
        q = replace(q, range=name)
    return (
        quantizer.parameter(node, "w", data.astype(np.int8), q),
        quantizer.parameter(node, "bias", biases),
    )


def _biases(quantizer: Quantizer, node: Node, w_scale: np.float32) -> Array:
    """int32 in units of 2^-20.

    Raises:
        ModelError: one is larger than what these units, or those of the accumulator, hold.
    """
    bias = quantizer.data(node["bias"]).astype(F32)
    largest, limit = float(np.abs(bias).max()), 2**30 * float(BIAS_SCALE)
    x_q = quantizer.builder.tensors[quantizer.quantized(node["x"])].qparams
    scores = quantizer.is_scores(node.outputs[0]) and "clip" not in node.attributes
    if not scores and x_q is not None:
        limit = min(limit, 2**30 * float(x_q.scale) * float(w_scale))
    if largest > limit:
        raise ModelError(
            f'{node.op.name} "{node.name}": a bias of {largest:g} is beyond the {limit:g} that the '
            "preset paper can hold; scale the samples, or these weights, so that the bias is "
            "nearer to what they make of each other, or take the preset default"
        )
    return round_clamp(bias / BIAS_SCALE, -(2**30), 2**30).astype(np.int32)


def _infer(attributes: Attributes, inputs: Tensors) -> list[TensorType]:
    return [TensorType(attributes["shape"], "float32" if attributes["scores"] else "int8")]


def _integer(node: Node, inputs: Values, outputs: Quantizations) -> list[Array]:
    x, w, bias = inputs
    (y_q,) = outputs
    rows = standardized.as_window(node.attributes, centred(w))
    (acc,) = products(
        node.attributes, standardized.as_map(node.attributes["size"], centred(x)), rows
    )
    unit = F32(scale_of(x) * scale_of(w))
    shape = node.attributes["shape"]
    if y_q is None:
        y = acc.astype(F32) * unit + bias.array.astype(F32) * BIAS_SCALE
        return [y.reshape(shape)]
    in_acc = round_clamp(bias.array.astype(F32) * F32(BIAS_SCALE / unit), -(2**30), 2**30)
    ratio = F32(unit / F32(y_q.scale))
    v = round_clamp((acc + in_acc).astype(F32) * ratio, -MISS, MISS) + y_q.zero_point
    y = np.clip(v, y_q.clamp_min, y_q.clamp_max).astype(np.int8)
    return [y.reshape(shape)]


def _vjp(builder: Builder, node: Node, dy: str, wanted: frozenset[str]) -> dict[str, str]:
    dy = select_error(builder, node, clip_error(builder, node, dy))
    gradients = {}
    if "x" in wanted:
        gradients["x"] = _emit_grad_input(builder, node, dy)
    kept = keep_error(builder, node, dy) if "w" in wanted else None
    if kept is not None:
        standardized.emit_update(builder, node, kept, window(node.attributes))
    return gradients


def _emit_grad_input(builder: Builder, node: Node, dy: str) -> str:
    """Emit dx, on the range of dy or on one of its own that moves."""
    error = builder.tensors[dy].qparams
    assert error is not None
    dynamic = builder.scheme.error_range == "moving"
    if dynamic:
        largest = F32(F32(error.scale) * F32(127.0))
        data = np.asarray([-largest * ERROR_GRID, largest], F32)
        name = builder.state("error_range", data, Role.RANGE, layer=node.layer)
        dynamic_q = range_qparams(float(data[0]), float(data[1]), *UNCLIPPED)
        error = replace(dynamic_q, range=name)
    dx, *observed = builder.node(
        affine_grad_input,
        (dy, node["w"]),
        name=f"{node.name}.grad_input",
        outputs=(f"{node.name}.dx", f"{node.name}.largest_dx"),
        attributes={
            **window(node.attributes),
            "shape": builder.tensors[node["x"]].shape,
            "observe": dynamic,
        },
        qparams=(error,),
        layer=node.layer,
        phase=Phase.BACKWARD,
    )
    if observed:
        assert error.range is not None
        standardized.follow_error(builder, node, error.range, observed[0])
    return dx


def _terms(node: Node, graph: Graph) -> int:
    w = graph.operand(node, "w")
    return w.size // w.shape[0]


def _c_call(node: Node, graph: Graph) -> CCall:
    (x, w, bias), (y,) = node.inputs, node.outputs
    scores = node.attributes["scores"]
    quantization = (f"?{x}", f"?{w}") if scores else (f"?{x}", f"?{w}", f"?{y}")
    return CCall(
        function="insitu_affine_logits_s8" if scores else "insitu_affine_s8",
        params_type=standardized.PARAMS,
        params=standardized.affine_params(node.attributes, *layer_tensors(node, graph)),
        arguments=(*quantization, f"${x}", f"${w}", f"${bias}", "!", f"${y}"),
    )


def _bounds(node: Node, graph: Graph) -> list[Bound]:
    terms = _terms(node, graph)
    largest = 255 * 255 * terms + 2**30
    return [Bound(f"{node.name}: accumulator of {terms} products", largest)]


affine = OpDef(
    name="affine",
    operands=("x", "w", "bias"),
    infer=_infer,
    integer_reference=_integer,
    vjp=_vjp,
    c_call=_c_call,
    scratch_bytes=lambda node, graph: 2 * _terms(node, graph),
    macs=layer_macs,
    bounds=_bounds,
    weights=("w",),
)
"""Inputs: x, w, bias at 2^-20. Attributes: scores (float32 output), shape of y, and a window:
stride, padding, kernel, size (of the map x) [, groups, dilation]."""


def _grad_input(node: Node, inputs: Values, outputs: Quantizations) -> list[Array]:
    dy, w = inputs
    dx_q, *_ = outputs
    assert dx_q is not None
    rows = standardized.as_window(node.attributes, centred(w))
    errors = standardized.as_map(
        standardized.output_places(node.attributes), dy.array.astype(np.int64)
    )
    acc = transposed(node.attributes, errors, rows)
    unit = F32(scale_of(dy) * scale_of(w))
    ratio = F32(unit / F32(dx_q.scale))
    dx = round_clamp(acc.astype(F32) * ratio, -127, 127).astype(np.int8)
    largest = np.asarray([F32(np.abs(acc).max().astype(F32) * unit)], F32)
    return [dx.reshape(node.attributes["shape"]), largest][: len(node.outputs)]


def _infer_grad_input(attributes: Attributes, inputs: Tensors) -> list[TensorType]:
    types = [TensorType(attributes["shape"], "int8")]
    return [*types, TensorType((1,), "float32")] if attributes["observe"] else types


def _grad_input_c(node: Node, graph: Graph) -> CCall:
    (dy, w), (dx, *observed) = node.inputs, node.outputs
    return CCall(
        function="insitu_affine_grad_input_s8",
        params_type=standardized.PARAMS,
        params=standardized.affine_params(node.attributes, *layer_tensors(node, graph)),
        arguments=(
            *(f"?{dy}", f"?{w}", f"?{dx}", f"${dy}", f"${w}", f"${dx}"),
            f"${observed[0]}" if observed else "0",
        ),
    )


def _grad_input_bounds(node: Node, graph: Graph) -> list[Bound]:
    w = graph.operand(node, "w")
    terms = w.size // w.shape[-1] // groups_of(node.attributes)
    return [Bound(f"{node.name}: error of {terms} products", 255 * 127 * terms)]


affine_grad_input = OpDef(
    name="affine_grad_input",
    operands=("dy", "w"),
    infer=_infer_grad_input,
    integer_reference=_grad_input,
    c_call=_grad_input_c,
    macs=layer_macs,
    bounds=_grad_input_bounds,
)
"""dx = sum of (w - z_w) dy. Inputs: dy, w. Outputs: dx [, largest |dx| float32[1]]."""
