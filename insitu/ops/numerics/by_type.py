"""One op in integers and in floats: which of its two definitions a node means.

Invariant: what decides is the type of the node's first input, in the graph as at run time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from insitu.fixed_point import F32
from insitu.graph.model import (
    Array,
    Graph,
    IntegerReference,
    Node,
    QParams,
    Value,
)

T = TypeVar("T")

NO_BOUND = F32(3.402823466e38)
"""Stands for infinity: INSITU_NO_BOUND in insitu.h."""


def exact(integer: IntegerReference, floating: IntegerReference) -> IntegerReference:
    """The reference that is `integer` of quantized values and `floating` of float32.

    Floats may leave the finite numbers where a learning rate is far too large.
    """

    def either(
        node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]
    ) -> Sequence[Array]:
        if inputs[0].array.dtype != F32:
            return integer(node, inputs, outputs)
        with np.errstate(all="ignore"):
            return floating(node, inputs, outputs)

    return either


def by_type(
    integer: Callable[[Node, Graph], T], floating: Callable[[Node, Graph], T]
) -> Callable[[Node, Graph], T]:
    """A fact about a node (its call, its scratch) that depends on the type of its input."""

    def either(node: Node, graph: Graph) -> T:
        return (floating if is_float(node, graph) else integer)(node, graph)

    return either


def is_float(node: Node, graph: Graph) -> bool:
    """Whether a node reads floats."""
    return graph.tensors[node.inputs[0]].dtype == "float32"


def suffix(node: Node, graph: Graph) -> str:
    """What the name of its kernel ends with."""
    return "f32" if is_float(node, graph) else "s8"


def held(v: Array, bounds: tuple[float, float]) -> Array:
    """v float32, held to the bounds of an activation function; NaN passes."""
    low, high = (finite(bound) for bound in bounds)
    return np.where(v < low, low, np.where(v > high, high, v))


def finite(bound: float) -> Any:
    """A bound as float32; that of infinity is `NO_BOUND`, so that sums stay finite."""
    return np.clip(bound, -NO_BOUND, NO_BOUND).astype(F32)
