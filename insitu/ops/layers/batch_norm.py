"""Batch normalization at inference: folded into the layer before it, or a layer of its own.

Where nothing can take it, or where it is to be trained, a map's normalization becomes a depthwise
1x1 convolution under its name: a scale and a shift a channel.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from insitu.errors import ModelError
from insitu.graph.model import Array, Node, OpDef, QParams, TensorType
from insitu.graph.rules import Arrays, Attributes, Tensors
from insitu.ops.layers.conv import conv

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
    """Multiply scale and shift into the layer before, or become a layer."""
    _x, *parameters = node.inputs
    gamma, beta, mean, variance = (rewriter.data(name) for name in parameters)
    scale, shift = scale_and_shift(gamma, beta, mean, variance, node.attributes["epsilon"])
    producer = None if rewriter.is_kept(node) else rewriter.sole_producer(node)
    if producer is None or "affine" not in producer.op.absorb or "clip" in producer.attributes:
        return _become_layer(rewriter, node, scale, shift)
    known = rewriter.tensor(producer["w"]).qparams
    w, b = (rewriter.data(producer[name]).astype(np.float64) for name in ("w", "bias"))
    w, b = producer.op.absorb["affine"](w, b, scale, shift)
    rewriter.replace_data(producer, "w", w.astype(np.float32), _scaled(known, scale))
    rewriter.replace_data(producer, "bias", b.astype(np.float32))
    return rewriter.bypass(node, same_values=False)


def _become_layer(rewriter: Rewriter, node: Node, scale: Array, shift: Array) -> bool:
    """A depthwise 1x1 convolution, which others behind it can join; not of vectors."""
    if len(rewriter.tensor(node["x"]).shape) != 3:
        return False
    w, b = scale.astype(np.float32).reshape(-1, 1, 1, 1), shift.astype(np.float32)
    attributes = {"stride": (1, 1), "padding": (0, 0, 0, 0), "groups": len(b), "dilation": (1, 1)}
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
