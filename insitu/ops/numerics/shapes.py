"""Shape rules that several ops share."""

from __future__ import annotations

from insitu.graph.model import TensorType
from insitu.graph.rules import Attributes, Tensors, Types


def same(attributes: Attributes, inputs: Tensors) -> Types:
    """Of an op whose output is like its first input."""
    return [TensorType(inputs[0].shape, inputs[0].dtype)]


def given(attributes: Attributes, inputs: Tensors) -> Types:
    """Of an op whose attributes say the shape of its output."""
    return [TensorType(tuple(attributes["shape"]), inputs[0].dtype)]


def with_observed(attributes: Attributes, output: TensorType) -> Types:
    """The output, and observed[2] where the attributes ask for it."""
    return [output, TensorType((2,), "int32")] if attributes.get("observe") else [output]
