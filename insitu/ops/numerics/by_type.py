"""One op in integers and in floats: which of its two definitions a node means.

Invariant: what decides is the type of the node's first input, in the graph as at run time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from insitu.fixed_point import F32, NO_BOUND
from insitu.graph.model import Array, Graph, IntegerReference, Node
from insitu.graph.rules import Quantizations, Values

T = TypeVar("T")


def bit_exact(integer: IntegerReference, floating: IntegerReference) -> IntegerReference:
    """The bit-exact reference that is `integer` of quantized values and `floating` of float32.

    Floats may leave the finite numbers where a learning rate is far too large.
    """

    def either(node: Node, inputs: Values, outputs: Quantizations) -> Sequence[Array]:
        first, *_ = inputs
        if first.array.dtype != F32:
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
    first, *_ = node.inputs
    return graph.tensors[first].dtype == "float32"


def suffix(node: Node, graph: Graph) -> str:
    """What the name of its kernel ends with."""
    return "f32" if is_float(node, graph) else "s8"


def no_scratch(node: Node, graph: Graph) -> int:
    """Of kernels that need none, beside others that do."""
    return 0


def clamped(v: Array, bounds: tuple[float, float]) -> Array:
    """v float32, clamped to the bounds of an activation function; NaN passes."""
    low, high = (finite(bound) for bound in bounds)
    return np.where(v < low, low, np.where(v > high, high, v))


def finite(bound: float) -> np.float32:
    """A bound as float32; that of infinity is `NO_BOUND`, so that sums stay finite."""
    return F32(np.clip(bound, -NO_BOUND, NO_BOUND))
