"""Quantization rules that several ops share."""

from __future__ import annotations

from typing import Any

from insitu.graph.model import Node


def keeps_quantization(quantizer: Any, node: Node) -> None:
    """The quantize rule of an op with one input whose output has that input's quantization."""
    x = quantizer.quantized(node.inputs[0])
    (y,) = quantizer.builder.node(
        node.op,
        (x,),
        name=node.name,
        attributes=node.attributes,
        qparams=(quantizer.builder.tensors[x].qparams,),
    )
    quantizer.set(node.outputs[0], y)
