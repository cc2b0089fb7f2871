"""Pad and slice: maps moved into larger and smaller ones. Twin: pad.c.

Pad:   y[low + i step] = x[i] along every axis, zero elsewhere; what falls outside y is dropped.
Slice: y[i] = x[low + i step] along every axis, zero where that lies outside x.
Either is the gradient of the other. `low` may be negative, so pad crops, and with a step it sets
elements apart, as transposed convolutions need it. Zero is the zero point: the output keeps the
input's quantization. Source: the operation Pad of XLA, with negative and interior padding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from insitu.errors import ModelError
from insitu.graph.builder import Builder
from insitu.graph.model import (
    Array,
    CCall,
    Graph,
    Node,
    OpDef,
    Phase,
    QParams,
    Tensor,
    TensorType,
    Value,
)
from insitu.ops.numerics.by_type import is_float, suffix
from insitu.ops.numerics.quantization import keeps_quantization


def _infer(attributes: Mapping[str, Any], inputs: Sequence[Tensor]) -> list[TensorType]:
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


def _moved(attributes: Mapping[str, Any], x: Array, value: int, *, pads: bool) -> Array:
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


def _float(*, pads: bool) -> Any:
    def reference(attributes: Mapping[str, Any], inputs: Sequence[Array]) -> list[Array]:
        return [_moved(attributes, inputs[0], 0, pads=pads)]

    return reference


def _integer(*, pads: bool) -> Any:
    """The same for int8 and float32."""

    def reference(
        node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]
    ) -> list[Array]:
        q = inputs[0].qparams
        zero = 0 if q is None else q.zero_point
        return [_moved(node.attributes, inputs[0].array[None], zero, pads=pads)[0]]

    return reference


def _emit(
    op: OpDef, builder: Builder, node: Node, x: str, attributes: Mapping[str, Any], name: str
) -> str:
    (dx,) = builder.node(
        op,
        (x,),
        name=name,
        outputs=(name,),
        attributes=attributes,
        qparams=(builder.tensors[x].qparams,),
        layer=node.layer,
        phase=Phase.BACKWARD,
    )
    return dx


def emit_slice(
    builder: Builder, node: Node, dy: str, name: str, low: Sequence[int], shape: Sequence[int]
) -> str:
    """The piece of an error dy that begins at `low` and has `shape`."""
    attributes = {"low": tuple(low), "step": (1,) * len(shape), "shape": tuple(shape)}
    return _emit(slice_op, builder, node, dy, attributes, name)


def _vjp(*, pads: bool) -> Any:
    def vjp(builder: Builder, node: Node, dy: str, wanted: frozenset[str]) -> dict[str, str]:
        shape = builder.tensors[node.inputs[0]].shape
        attributes = {**node.attributes, "shape": shape}
        op = slice_op if pads else pad
        return {"x": _emit(op, builder, node, dy, attributes, f"{node.name}.dx")}

    return vjp


def _simplify(rewriter: Any, node: Node) -> bool:
    """Disappear where nothing is added, or into the padding of the convolution or pool behind."""
    low, shape = node.attributes["low"], node.attributes["shape"]
    x = rewriter.tensor(node.inputs[0])
    if set(low) == {0} and tuple(shape) == x.shape and set(node.attributes["step"]) == {1}:
        rewriter.bypass(node)
        return True
    consumer = rewriter.sole_consumer(node)
    if (
        consumer is None
        or "padding" not in consumer.op.absorb
        or set(node.attributes["step"]) != {1}
    ):
        return False
    high = [y - a - b for y, a, b in zip(shape, low, x.shape, strict=True)]
    if len(x.shape) != 3 or min(*low, *high) < 0 or (low[2], high[2]) != (0, 0):
        return False
    attributes = consumer.op.absorb["padding"](consumer.attributes, (*low[:2], *high[:2]))
    if attributes is None:
        return False
    rewriter.replace(consumer, attributes=attributes)
    rewriter.bypass(node)
    return True


def _c_call(function: str, *, pads: bool) -> Any:
    def c_call(node: Node, graph: Graph) -> CCall:
        x, y = graph.tensors[node.inputs[0]], graph.tensors[node.outputs[0]]
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
            arguments=(*quantization, f"${x.name}", f"${y.name}"),
        )

    return c_call


pad: OpDef = OpDef(
    name="pad",
    infer=_infer,
    float_reference=_float(pads=True),
    integer_reference=_integer(pads=True),
    vjp=_vjp(pads=True),
    quantize=keeps_quantization,
    simplify=_simplify,
    c_call=_c_call("insitu_pad", pads=True),
)
"""Attributes low, step, shape: one number an axis; shape is that of y."""

slice_op: OpDef = OpDef(
    name="slice",
    infer=_infer,
    float_reference=_float(pads=False),
    integer_reference=_integer(pads=False),
    vjp=_vjp(pads=False),
    quantize=keeps_quantization,
    c_call=_c_call("insitu_slice", pads=False),
)
"""Attributes low, step, shape: one number an axis; shape is that of y."""
