"""A node that we do not support: it has a name, a reason and shapes, and stops the compiler."""

from __future__ import annotations

from insitu.graph.model import OpDef, TensorType

opaque = OpDef(
    name="opaque",
    operands=("x...",),
    infer=lambda attributes, inputs: [TensorType(tuple(s)) for s in attributes["shapes"]],
)
"""Attributes: op (the foreign name), reason, shapes of the outputs."""
