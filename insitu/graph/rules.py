"""What the rules of an op take, in words that fit a line; `OpDef` says what each is for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from insitu.graph.model import Array, CCall, Graph, Node, QParams, Tensor, TensorType, Value

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

Call = Callable[[Node, Graph], CCall]
"""How generated C calls a node."""
