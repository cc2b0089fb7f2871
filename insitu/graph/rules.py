"""What the rules of an op take, in words that fit a line, and shape rules that many ops have.

`OpDef` says what each rule is for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from insitu.graph.model import Array, QParams, Tensor, TensorType, Value

Attributes = Mapping[str, Any]
"""Of a node."""

Tensors = Sequence[Tensor]
"""A node's inputs where shapes are made."""

Types = list[TensorType]
"""A node's outputs where shapes are made."""

Arrays = Sequence[Array]
"""A node's inputs in real numbers."""

Values = Sequence[Value]
"""A node's inputs in integers, or in floats to the bit."""

Quantizations = Sequence[QParams | None]
"""Of a node's outputs, in force during this step."""


def no_outputs(attributes: Attributes, inputs: Tensors) -> Types:
    """The shape rule of an op that only changes state."""
    return []


def same_type(attributes: Attributes, inputs: Tensors) -> Types:
    """The shape rule of an op whose output is like its first input."""
    first, *_ = inputs
    return [TensorType(first.shape, first.dtype)]


def of_shape(attributes: Attributes, inputs: Tensors) -> Types:
    """The shape rule of an op whose attribute shape is that of its output."""
    first, *_ = inputs
    return [TensorType(tuple(attributes["shape"]), first.dtype)]
