"""an ONNX node -> Operation: its name readable, its inputs by ONNX's names, attributes unpacked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper

from insitu.errors import ModelError
from insitu.frontends.onnx.file import STANDARD_DOMAINS
from insitu.frontends.onnx.order import Shape
from insitu.graph.model import Array

LARGEST_ATTRIBUTE = 2**15  # for kernels, strides and padding

LATEST = onnx.defs.onnx_opset_version()
VARIADIC = onnx.defs.OpSchema.FormalParameterOption.Variadic


class NotSupportedError(Exception):
    """Raised by an importer, caught by the walk: the node becomes `opaque` and is listed."""

    def __init__(self, reason: str, advice: str = "") -> None:
        """Keep both halves apart; without an advice of its own the operator's is given."""
        super().__init__(reason)
        self.reason = reason
        self.advice = advice


@dataclass(frozen=True)
class Operation:
    """An ONNX node, its name readable and its attributes unpacked.

    Attributes:
        inputs: the names of tensors in their order, "" for one that is left out.
        operands: what ONNX calls an input -> its tensor.
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    operands: Mapping[str, str]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    proto: onnx.NodeProto = field(repr=False)

    def error(self, text: str) -> ModelError:
        """A ModelError that says where."""
        return ModelError(f'{self.op} "{self.name}": {text}')

    def __contains__(self, operand: str) -> bool:
        """Whether the optional input is given."""
        return bool(self.operands.get(operand))

    def __getitem__(self, operand: str) -> str:
        """The tensor that stands there."""
        if operand not in self:
            places = {name: f"input {index}" for index, name in enumerate(self.operands)}
            what = "" if operand[-1].isdigit() else f", its {operand},"
            raise self.error(f"{places.get(operand, 'an input')}{what} is missing")
        return self.operands[operand]

    @property
    def first(self) -> str:
        """What its first input is called."""
        return next(iter(self.operands), "x")

    def one_output(self) -> None:
        """Refuse further outputs that somebody asks for."""
        extra = [name for name in self.outputs[1:] if name]
        if extra:
            raise NotSupportedError(f'its further output "{extra[0]}" is not available')

    def integers(self, key: str, count: int, default: int) -> Shape:
        """The attribute `key` of `count` integers in [0, 2^15)."""
        values = tuple(int(v) for v in self.attributes.get(key, (default,) * count))
        if len(values) != count:
            raise self.error(f"{key} = {list(values)} has {len(values)} entries, {count} belong")
        low = min(values, default=0)
        if low < 0 or max(values, default=0) >= LARGEST_ATTRIBUTE:
            raise self.error(f"{key} = {list(values)} is outside [0, {LARGEST_ATTRIBUTE})")
        return values

    def flag(self, key: str, *, default: bool = False) -> bool:
        """The attribute `key`, 0 or 1."""
        value = self.attributes.get(key, int(default))
        if value not in (0, 1):
            raise self.error(f"{key} is {value}, it is 0 or 1")
        return bool(value)

    def text(self, key: str, default: str) -> str:
        """The attribute `key`, a string."""
        value = self.attributes.get(key, default)
        return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def operation(node: onnx.NodeProto, name: str, opset: int) -> Operation:
    """Unpack a node.

    Raises:
        ModelError: an attribute that cannot be read.
    """
    attributes = {}
    for attribute in node.attribute:
        try:
            attributes[attribute.name] = helper.get_attribute_value(attribute)
        except (ValueError, TypeError):
            raise ModelError(
                f'{node.op_type} "{name}": attribute {attribute.name} is damaged'
            ) from None
    inputs, outputs = tuple(node.input), tuple(node.output)
    names = _input_names(node, opset)
    operands = dict(zip(names, inputs, strict=False))
    return Operation(node.op_type, name, inputs, operands, outputs, attributes, node)


def _input_names(node: onnx.NodeProto, opset: int) -> list[str]:
    """What ONNX calls the inputs of a standard operator, in all opsets alike: "mean", "W"."""
    known = [v for v in (opset, LATEST) if onnx.defs.has(node.op_type, v, "")]
    if node.domain not in STANDARD_DOMAINS or not known:
        return [f"input{index}" for index in range(len(node.input))]
    formal = onnx.defs.get_schema(node.op_type, known[0], "").inputs
    names = [parameter.name.removeprefix("input_") for parameter in formal]
    if formal and formal[-1].option == VARIADIC:
        return [*names[:-1], *(f"{names[-1]}{i}" for i in range(len(node.input)))]
    return names


def broadcast(op: Operation, c: Array, shape: Shape) -> Array:
    """A constant of `op` in the shape of its result."""
    try:
        return np.broadcast_to(c, shape)
    except ValueError:
        raise op.error(
            f"its constant has the shape {list(c.shape)} but its result {list(shape)}"
        ) from None
