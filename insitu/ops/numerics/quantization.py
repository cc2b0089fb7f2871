"""Quantized values in references, and the quantization rule that several ops share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from insitu.fixed_point import F32
from insitu.graph.model import Array, Node, Value

if TYPE_CHECKING:
    from insitu.quantize.assign import Quantizer


def centred(x: Value) -> Array:
    """x - zero point, int64."""
    assert x.qparams is not None
    return x.array.astype(np.int64) - x.qparams.zero_point


def scale_of(x: Value) -> np.float32:
    """The one scale of an activation or an error."""
    assert x.qparams is not None
    return F32(x.qparams.scale)


def keeps_quantization(quantizer: Quantizer, node: Node) -> None:
    """The quantize rule of an op with one input whose output has that input's quantization."""
    (x,) = (quantizer.quantized(name) for name in node.inputs)
    (y,) = quantizer.builder.node(
        node.op,
        (x,),
        name=node.name,
        attributes=node.attributes,
        qparams=(quantizer.builder.tensors[x].qparams,),
    )
    quantizer.set(node.outputs[0], y)
