"""Pad and slice: maps moved into larger and smaller ones. Twin: pad.c.

Pad:   y[low + i step] = x[i] along every axis, zero elsewhere; what falls outside y is dropped.
Slice: y[i] = x[low + i step] along every axis, zero where that lies outside x.
Either is the gradient of the other. `low` may be negative, so pad crops, and with a step it sets
elements apart, as transposed convolutions need it. Zero is the zero point: the output keeps the
input's quantization. Source: the operation Pad of XLA, with negative and interior padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from insitu.errors import ModelError
from insitu.graph.builder import Builder
from insitu.graph.model import Array, Call, CCall, Graph, Node, OpDef, TensorType
from insitu.graph.rules import Arrays, Attributes, Tensors, Types, Values
from insitu.ops.numerics.arguments import pointers
from insitu.ops.numerics.by_type import is_float, suffix
from insitu.ops.numerics.quantization import keeps_quantization

if TYPE_CHECKING:
    from insitu.graph.rewriter import Rewriter


def _infer(attributes: Attributes, inputs: Tensors) -> Types:
    shape = tuple(attributes["shape"])
    if len(shape) != len(inputs[0].shape) or min(shape) < 1:
        raise ModelError(
            f"x{list(inputs[0].shape)} cannot become y{list(shape)}; every axis needs at least 1"
        )
    return [TensorType(shape, inputs[0].dtype)]


def _span(low: int, step: int, small: int, large: int) -> tuple[slice, slice]:
    """Where the small map's elements that lie on the large one are: in the small, in the large."""
    first = max(0, -(low // step))
    end = min(small, (large - 1 - low) // step + 1)
    if end <= first:
        return slice(0, 0), slice(0, 0)
    return slice(first, end), slice(low + first * step, low + (end - 1) * step + 1, step)


def _moved(attributes: Attributes, x: Array, value: int, *, pads: bool) -> Array:
    """x[batch, ...] -> y[batch, ...] with `value` for zero."""
    shape = tuple(attributes["shape"])
    y = np.full((len(x), *shape), value, x.dtype)
    small, large = (x.shape[1:], shape) if pads else (shape, x.shape[1:])
    low, step = attributes["low"], attributes["step"]
    spans = [_span(*axis) for axis in zip(low, step, small, large, strict=True)]
    in_small = (slice(None), *(span[0] for span in spans))
    in_large = (slice(None), *(span[1] for span in spans))
    if pads:
        y[in_large] = x[in_small]
    else:
        y[in_small] = x[in_large]
    return y


def _integer(node: Node, inputs: Values, *, pads: bool) -> Arrays:
    """The same for int8 and float32."""
    q = inputs[0].qparams
    zero = 0 if q is None else q.zero_point
    return [_moved(node.attributes, inputs[0].array[None], zero, pads=pads)[0]]


def emit_slice(
    builder: Builder, node: Node, dy: str, name: str, low: Sequence[int], shape: Sequence[int]
) -> str:
    """NODE.name: the piece of an error dy that begins at `low` and has `shape`."""
    attributes = {"low": tuple(low), "step": (1,) * len(shape), "shape": tuple(shape)}
    return builder.gradient(slice_op, node, (dy,), name=name, output=name, attributes=attributes)


def _gradient(op: OpDef, builder: Builder, node: Node, dy: str) -> dict[str, str]:
    attributes = {**node.attributes, "shape": builder.tensors[node["x"]].shape}
    return {"x": builder.gradient(op, node, (dy,), name="dx", attributes=attributes)}


def _simplify(rewriter: Rewriter, node: Node) -> bool:
    """Disappear where nothing is added, or into the padding of the convolution or pool behind."""
    low, shape = node.attributes["low"], node.attributes["shape"]
    x, dense = rewriter.tensor(node["x"]), set(node.attributes["step"]) == {1}
    if set(low) == {0} and tuple(shape) == x.shape and dense:
        return rewriter.bypass(node)
    consumer = rewriter.sole_consumer(node)
    if consumer is None or "padding" not in consumer.op.absorb or not dense:
        return False
    high = [y - a - b for y, a, b in zip(shape, low, x.shape, strict=True)]
    if len(x.shape) != 3 or min(*low, *high) < 0 or (low[2], high[2]) != (0, 0):
        return False
    attributes = consumer.op.absorb["padding"](consumer.attributes, (*low[:2], *high[:2]))
    if attributes is None:
        return False
    rewriter.replace(consumer, attributes=attributes)
    return rewriter.bypass(node)


def _c_call(function: str, *, pads: bool) -> Call:
    def c_call(node: Node, graph: Graph) -> CCall:
        x, y = graph.operand(node, "x"), graph.tensors[node.outputs[0]]
        missing = (3 - len(x.shape)) * (1,)
        shapes = {
            "small": (*missing, *(x if pads else y).shape),
            "large": (*missing, *(y if pads else x).shape),
            "low": (*(0 for _ in missing), *node.attributes["low"]),
            "step": (*missing, *node.attributes["step"]),
        }
        axes = ("height", "width", "channels")
        quantization = () if is_float(node, graph) else (f"?{x.name}",)
        return CCall(
            function=f"{function}_{suffix(node, graph)}",
            params_type="insitu_pad_params_t",
            params={name: dict(zip(axes, values, strict=True)) for name, values in shapes.items()},
            arguments=(*quantization, *pointers(node)),
        )

    return c_call


pad: OpDef = OpDef(
    name="pad",
    infer=_infer,
    float_reference=lambda attributes, inputs: [_moved(attributes, inputs[0], 0, pads=True)],
    integer_reference=lambda node, inputs, outputs: _integer(node, inputs, pads=True),
    vjp=lambda builder, node, dy, wanted: _gradient(slice_op, builder, node, dy),
    quantize=keeps_quantization,
    simplify=_simplify,
    c_call=_c_call("insitu_pad", pads=True),
)
"""Attributes low, step, shape: one number an axis; shape is that of y."""

slice_op: OpDef = OpDef(
    name="slice",
    infer=_infer,
    float_reference=lambda attributes, inputs: [_moved(attributes, inputs[0], 0, pads=False)],
    integer_reference=lambda node, inputs, outputs: _integer(node, inputs, pads=False),
    vjp=lambda builder, node, dy, wanted: _gradient(pad, builder, node, dy),
    quantize=keeps_quantization,
    c_call=_c_call("insitu_slice", pads=False),
)
"""Attributes low, step, shape: one number an axis; shape is that of y."""
