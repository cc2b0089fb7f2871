"""sorted ONNX nodes -> the same with activation functions in one node that exporters wrote as many.

Invariant: a node that is replaced keeps its output and its name, and computes the same function of
a tensor that depends on the sample. What nobody reads afterwards is left in place.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, helper

from insitu.errors import ModelError
from insitu.frontends.onnx.folding import to_array
from insitu.graph.model import Array

DEPTH = 4
"""Of nested products; the tanh form of Gelu has 3."""

SIXTH = {"alpha": 1 / 6, "beta": 0.5}
"""Of torch's hard sigmoid."""

INPUTS = {
    **dict.fromkeys(("Add", "Div", "Greater", "Mul", "Pow"), 2),
    **dict.fromkeys(("Erf", "HardSigmoid", "Sigmoid", "Softplus", "Tanh"), 1),
    "Constant": 0,
    "Where": 3,
}
"""How many each operator has that patterns are made of; Clip has 1 to 3."""

Found = tuple[str, str, dict[str, Any]]
"""(operator, its input, its attributes)"""


def with_functions(
    nodes: Iterable[NodeProto], constants: Mapping[str, Array], entry: str, standard: Sequence[str]
) -> list[NodeProto]:
    """The nodes, with one in place of each product that ends a known activation function.

    Args:
        entry: the sample's name.
        standard: domains whose operators are ONNX's own.
    """
    reader = _Reader(constants)
    dependent, result = {entry}, []
    for written in nodes:
        node = written
        if node.domain in standard and _has_its_inputs(node):
            reader.producers[node.output[0]] = node
            found = _found(reader, node)
            if found is not None and found[1] in dependent:
                node = _in_place_of(node, *found)
                reader.producers[node.output[0]] = node
        if any(name in dependent for name in node.input):
            dependent.update(node.output)
        result.append(node)
    return result


def _in_place_of(node: NodeProto, op: str, x: str, attributes: dict[str, Any]) -> NodeProto:
    """A node with the name of the one that it replaces, but for the operator in it."""
    name = re.sub(rf"{node.op_type}(_\d+)?$", op, node.name)
    result = helper.make_node(op, [x], list(node.output), name=name, **attributes)
    result.metadata_props.extend(node.metadata_props)
    return result


def _has_its_inputs(node: NodeProto) -> bool:
    if node.op_type == "Clip":
        return len(node.input) in (1, 2, 3) and len(node.output) == 1
    return len(node.input) == INPUTS.get(node.op_type) and len(node.output) == 1


def _found(reader: _Reader, node: NodeProto) -> Found | None:
    if node.op_type == "Where":
        return _softplus(reader, node)
    if node.op_type not in ("Mul", "Div"):
        return None
    coefficient, factors = reader.product(node.output[0])
    if len(factors) == 1 and _near(coefficient, 1 / 6):
        x = reader.shifted_relu6(factors[0])
        return None if x is None else ("HardSigmoid", x, dict(SIXTH))
    if len(factors) != 2:
        return None
    for x, other in (factors, factors[::-1]):
        op = _times(reader, coefficient, x, other)
        if op is not None:
            return op
    return None


def _times(reader: _Reader, coefficient: float, x: str, other: str) -> Found | None:
    """The function that is coefficient x other, if one is."""
    node = reader.producers.get(other)
    if node is None:
        return None
    of_x = list(node.input) == [x]
    if _near(coefficient, 1) and of_x and node.op_type == "Sigmoid":
        return "Swish", x, {}
    if _near(coefficient, 1) and of_x and node.op_type == "HardSigmoid":
        given = {a.name: float(a.f) for a in node.attribute}
        same = _near(given.get("alpha", 0.2), 1 / 6) and _near(given.get("beta", 0.5), 0.5)
        return ("HardSwish", x, {}) if same else None
    if _near(coefficient, 1 / 6) and reader.shifted_relu6(other) == x:
        return "HardSwish", x, {}
    if _near(coefficient, 0.5) and (inner := reader.plus(other, 1.0)) is not None:
        return _gelu(reader, x, inner)
    return None


def _gelu(reader: _Reader, x: str, inner: str) -> Found | None:
    """Of x and what 1 was added to: erf(x / sqrt 2), or tanh(sqrt(2 / pi) (x + 0.044715 x^3))."""
    node = reader.producers.get(inner)
    if node is None or node.op_type not in ("Erf", "Tanh"):
        return None
    coefficient, factors = reader.product(node.input[0])
    if node.op_type == "Erf":
        same = factors == [x] and _near(coefficient, math.sqrt(0.5))
        return ("Gelu", x, {"approximate": "none"}) if same else None
    terms = reader.producers.get(factors[0]) if len(factors) == 1 else None
    if terms is None or terms.op_type != "Add" or not _near(coefficient, math.sqrt(2 / math.pi)):
        return None
    others = [name for name in terms.input if name != x]
    if len(others) == 1:
        cubic, powers = reader.product(others[0])
        if powers == [x] * 3 and _near(cubic, 0.044715):
            return "Gelu", x, {"approximate": "tanh"}
    return None


def _softplus(reader: _Reader, node: NodeProto) -> Found | None:
    """Torch's x where x > threshold, else softplus(x): a difference below 2e-9 from 20 on."""
    condition, x, other = node.input
    greater, softplus = reader.producers.get(condition), reader.producers.get(other)
    if greater is None or softplus is None or greater.op_type != "Greater":
        return None
    threshold = reader.scalar(greater.input[1])
    same = greater.input[0] == x and softplus.op_type == "Softplus" and softplus.input[0] == x
    return ("Softplus", x, {}) if same and threshold is not None and threshold >= 20 else None


def _near(value: float, wanted: float) -> bool:
    """Equal but for what float32, or a constant of few digits, loses."""
    return abs(value - wanted) <= 2e-6 * abs(wanted)


class _Reader:
    """What stands behind a name."""

    def __init__(self, constants: Mapping[str, Array]) -> None:
        self.constants = constants
        self.producers: dict[str, NodeProto] = {}

    def scalar(self, name: str) -> float | None:
        """The one number that a constant holds."""
        array: Any = self.constants.get(name)
        node = self.producers.get(name)
        if node is not None and node.op_type == "Constant" and len(node.attribute) == 1:
            array = _value(node)
        if array is None or array.size != 1 or array.dtype.kind not in "fiu":
            return None
        return float(array.reshape(()))

    def product(self, name: str, depth: int = DEPTH) -> tuple[float, list[str]]:
        """What a tensor is: a number times these tensors."""
        node = self.producers.get(name)
        if depth == 0 or node is None or node.op_type not in ("Mul", "Div", "Pow"):
            return 1.0, [name]
        first, second = node.input
        number = self.scalar(second)
        if node.op_type == "Pow":
            return (1.0, [first] * 3) if number == 3 else (1.0, [name])
        if node.op_type == "Div":
            if not number:
                return 1.0, [name]
            coefficient, factors = self.product(first, depth - 1)
            return coefficient / number, factors
        coefficient, factors = 1.0, []
        for part in (first, second):
            value = self.scalar(part)
            scale, names = (value, []) if value is not None else self.product(part, depth - 1)
            coefficient, factors = coefficient * scale, factors + names
        return coefficient, factors

    def plus(self, name: str, number: float) -> str | None:
        """What a tensor is the sum of, beside a number."""
        node = self.producers.get(name)
        if node is None or node.op_type != "Add":
            return None
        for one, other in (tuple(node.input), tuple(node.input)[::-1]):
            value = self.scalar(one)
            if value is not None and _near(value, number):
                return str(other)
        return None

    def shifted_relu6(self, name: str) -> str | None:
        """x where a tensor is x + 3 in [0, 6]."""
        node = self.producers.get(name)
        if node is None or node.op_type != "Clip":
            return None
        given = {a.name: float(a.f) for a in node.attribute}
        bounds = [given.get("min"), given.get("max")]
        for index, bound in enumerate(node.input[1:3]):
            bounds[index] = self.scalar(bound)
        return self.plus(node.input[0], 3.0) if bounds == [0.0, 6.0] else None


def _value(node: NodeProto) -> Array | None:
    """The numbers of a Constant node; None where they are damaged or no numbers."""
    (attribute,) = node.attribute
    if attribute.name == "value":
        try:
            return to_array(attribute.t)
        except ModelError:
            return None
    single = {"value_float": attribute.f, "value_int": attribute.i}.get(attribute.name)
    return None if single is None else np.asarray(single)
