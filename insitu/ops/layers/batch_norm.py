"""Batch normalization at inference: folded into a layer beside it, or a layer of its own.

The layer before takes it into its rows; where there is none, those behind take it into their
columns, as far as that is exact. Where nothing can take it, or where it is to be trained, it
becomes a depthwise 1x1 convolution under its name: a scale and a shift a channel.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from insitu.errors import ModelError
from insitu.graph.model import Array, Node, OpDef, QParams, TensorType, Units
from insitu.graph.rules import Arrays, Attributes, Tensors
from insitu.ops.layers.conv import conv
from insitu.ops.maps.layout import flatten, unflatten

if TYPE_CHECKING:
    from insitu.graph.rewriter import Rewriter


def _infer(attributes: Attributes, inputs: Tensors) -> list[TensorType]:
    x, *parameters = inputs
    for parameter in parameters:
        if parameter.shape != (x.shape[-1],):
            raise ModelError(
                f"x{list(x.shape)} has {x.shape[-1]} channels but {parameter.name} has shape "
                f"{list(parameter.shape)}; check the layer before it"
            )
    return [TensorType(x.shape, x.dtype)]


def scale_and_shift(
    gamma: Array, beta: Array, mean: Array, variance: Array, epsilon: float
) -> tuple[Array, Array]:
    """The same as y = x * scale + shift, float64."""
    scale = gamma.astype(np.float64) / np.sqrt(variance.astype(np.float64) + epsilon)
    return scale, beta.astype(np.float64) - mean.astype(np.float64) * scale


def _float(attributes: Attributes, inputs: Arrays) -> list[Array]:
    x, gamma, beta, mean, variance = inputs
    scale, shift = scale_and_shift(gamma, beta, mean, variance, attributes["epsilon"])
    return [(x * scale + shift).astype(x.dtype)]


def _simplify(rewriter: Rewriter, node: Node) -> bool:
    """Become part of the layer before or behind, of the constants before, or else a layer."""
    _x, *parameters = node.inputs
    gamma, beta, mean, variance = (rewriter.data(name) for name in parameters)
    scale, shift = scale_and_shift(gamma, beta, mean, variance, node.attributes["epsilon"])
    if rewriter.is_kept(node):
        return _become_layer(rewriter, node, scale, shift)
    producer = rewriter.sole_producer(node)
    if producer is not None and producer.op is batch_norm and not rewriter.is_kept(producer):
        return _join(rewriter, producer, node, scale, shift)
    if producer is None or "affine" not in producer.op.absorb or "clip" in producer.attributes:
        return (
            _into_readers(rewriter, node, scale, shift)
            or rewriter.reader_first(node)
            or _become_layer(rewriter, node, scale, shift)
        )
    known = rewriter.tensor(producer["w"]).qparams
    w, b = (rewriter.data(producer[name]).astype(np.float64) for name in ("w", "bias"))
    w, b = producer.op.absorb["affine"](w, b, scale, shift)
    rewriter.replace_data(producer, "w", w.astype(np.float32), _scaled(known, scale))
    rewriter.replace_data(producer, "bias", b.astype(np.float32))
    return rewriter.bypass(node, same_values=False)


def _join(rewriter: Rewriter, first: Node, node: Node, scale: Array, shift: Array) -> bool:
    """Two scales and shifts as one, under the name of the first."""
    gamma, beta, mean, variance = (rewriter.data(name) for name in first.inputs[1:])
    before = scale_and_shift(gamma, beta, mean, variance, first.attributes["epsilon"])
    a, b = (part.astype(np.float32) for part in before)
    parameters = {
        "gamma": a * scale,
        "beta": b * scale + shift,
        "mean": np.zeros_like(a),
        "variance": np.ones_like(a),
    }
    for operand, data in parameters.items():
        rewriter.replace_data(first, operand, data.astype(np.float32))
    rewriter.replace(rewriter.current(first), attributes={**first.attributes, "epsilon": 0.0})
    return rewriter.bypass(rewriter.current(node), same_values=False)


def _into_readers(rewriter: Rewriter, node: Node, scale: Array, shift: Array) -> bool:
    """Multiply scale and shift into the columns of all layers behind, where that is exact."""
    readers = rewriter.readers(node)
    if not readers or not all(_can_take(rewriter, reader, node, shift) for reader in readers):
        return False
    units = Units(scale.astype(np.float32), shift.astype(np.float32))
    for reader in readers:
        w, b = (rewriter.data(reader[name]).astype(np.float64) for name in ("w", "bias"))
        w, b = reader.op.absorb["units"](reader.attributes, w, b, units)
        rewriter.replace_data(reader, "w", w.astype(np.float32))
        rewriter.replace_data(reader, "bias", b.astype(np.float32))
    return rewriter.left_to_readers(node, _units(scale, shift))


def _can_take(rewriter: Rewriter, reader: Node, node: Node, shift: Array) -> bool:
    """Whether a layer can read x instead: a border of zeros is not shifted, a grid is fixed."""
    padded = any(reader.attributes.get("padding", ()))
    return (
        "units" in reader.op.absorb
        and rewriter.tensor(reader["w"]).qparams is None
        and not (padded and shift.any())
    )


def _units(scale: Array, shift: Array) -> Units | None:
    """Units of x in which its values are those of y; None where there are none."""
    with np.errstate(all="ignore"):
        unit, offset = (1 / scale).astype(np.float32), (-shift / scale).astype(np.float32)
    usable = np.isfinite(unit).all() and np.isfinite(offset).all() and (unit > 0).all()
    return Units(unit, offset) if usable else None


def _become_layer(rewriter: Rewriter, node: Node, scale: Array, shift: Array) -> bool:
    """A depthwise 1x1 convolution, which others behind it can join; of a vector, over 1 place."""
    shape = rewriter.tensor(node["x"]).shape
    w, b = scale.astype(np.float32).reshape(-1, 1, 1, 1), shift.astype(np.float32)
    attributes = {"stride": (1, 1), "padding": (0, 0, 0, 0), "groups": len(b), "dilation": (1, 1)}
    if len(shape) == 1:
        rewriter.enclose(node, (unflatten, {"shape": (1, 1, *shape)}), (flatten, {}))
        node = rewriter.current(node)
    rewriter.substitute(node, conv, {"w": w, "b": b}, attributes)
    return True


def _scaled(known: QParams | None, scale: Array) -> QParams | None:
    """Known scales of rows -> those with which weights times scale[row] keep their |integers|."""
    if known is None:
        return None
    return replace(known, scale=(known.scale * np.abs(scale)).astype(np.float32))


batch_norm = OpDef(
    name="batch_norm",
    operands=("x", "gamma", "beta", "mean", "variance"),
    infer=_infer,
    float_reference=_float,
    simplify=_simplify,
)
"""y = gamma (x - mean) / sqrt(variance + epsilon) + beta, per channel."""
