"""the state of one import: which ONNX names are constants, which are tensors of our graph.

Invariant: a `Value` holds the elements of an ONNX activation in ONNX's own (row-major, channels
first) order: as a vector x[f], or as a map x[h, w, c] whose channels-first reading is that order.
Reshape and its like therefore only change `Value.shape`; `flatten` and `unflatten` nodes are made
when an op needs the other form.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper

from insitu.errors import ModelError
from insitu.frontends.model import Unsupported
from insitu.frontends.onnx.file import STANDARD_DOMAINS
from insitu.graph.builder import Builder
from insitu.graph.model import Array, Node, QParams
from insitu.ops import OPS

LARGEST_TENSOR = 2**27  # elements; half a gigabyte in float, far beyond any microcontroller
LARGEST_ATTRIBUTE = 2**15  # for kernels, strides and padding

LATEST = onnx.defs.onnx_opset_version()
VARIADIC = onnx.defs.OpSchema.FormalParameterOption.Variadic

Shape = tuple[int, ...]


class NotSupportedError(Exception):
    """Raised by an importer, caught by the walk: the node becomes `opaque` and is listed."""

    def __init__(self, reason: str, advice: str = "") -> None:
        """Keep both halves apart; without an advice of its own the operator's is given."""
        super().__init__(reason)
        self.reason = reason
        self.advice = advice


@dataclass(frozen=True)
class Value:
    """An activation: `tensor` of our graph, seen with ONNX's `shape`.

    Attributes:
        shape: with the batch axis (1) where ONNX has one; None where nobody knows.
        layout: name of the last node that changed the shape only.
    """

    tensor: str
    shape: Shape | None
    layout: str = ""


@dataclass(frozen=True)
class QuantizedData:
    """What a DequantizeLinear says of a constant that it made.

    Attributes:
        dtype: of the integers, as numpy calls it.
        scale, zero: one number, or one a slice along some axis.
    """

    dtype: str
    scale: Array
    zero: Array


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


def form_of(shape: Shape) -> Shape | None:
    """How a tensor of ONNX's shape[batch = 1, ...] looks in our graph, None if it cannot."""
    if not 2 <= len(shape) <= 4 or shape[0] != 1:
        return None
    if len(shape) == 2:
        return shape[1:]
    channels, *spatial = shape[1:]
    return (1,) * (2 - len(spatial)) + (*spatial, channels)


class Scope:
    """What has been imported so far."""

    def __init__(self, builder: Builder, opset: int, batch: int) -> None:
        """Start with nothing but the builder.

        Args:
            batch: what the file says of the batch axis; reshapes may have it baked in.
        """
        self.builder = builder
        self.opset = opset
        self.batch = batch
        self.constants: dict[str, Array] = {}
        self.values: dict[str, Value] = {}
        self.layers: set[str] = set()  # outputs of convolutions and linear layers
        self.quantized: dict[str, QuantizedData] = {}  # constants behind a DequantizeLinear
        self.origins: dict[str, str] = {}  # constants -> those that they are other forms of
        self.weighted: dict[str, str] = {}  # such a constant -> the first layer that reads it
        self.integers: dict[str, QParams] = {}  # outputs of QuantizeLinear
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        self.outputs: frozenset[str] = frozenset()
        self.unsupported: list[Unsupported] = []
        self.notes: list[str] = []

    def value(self, op: Operation, operand: str = "") -> tuple[Value, Shape]:
        """The activation that `op` reads there, by default first, and its known shape."""
        name = op[operand or op.first]
        if name in self.constants:
            raise NotSupportedError(f'its input "{name}" is a constant, not a layer\'s output')
        value = self.values[name]
        assert value.shape is not None, name  # the walk keeps nodes with unknown inputs away
        return value, value.shape

    def constant(self, op: Operation, operand: str, what: str) -> Array:
        """The constant that `op` reads there."""
        if op[operand] not in self.constants:
            raise NotSupportedError(
                f'its {what} "{op[operand]}" is computed from the input, not a constant',
                "keep it constant, as a weight is, and export again",
            )
        return self.constants[op[operand]]

    def floats(self, op: Operation, operand: str, what: str, *, finite: bool = True) -> Array:
        """The constant there as float32.

        Raises:
            ModelError: it is not of a float type, or holds NaN or infinite numbers.
        """
        array = self.constant(op, operand, what)
        kind = array.dtype
        if kind.kind != "f" and kind.name not in ("bfloat16", "float16"):
            raise NotSupportedError(f'its {what} "{op[operand]}" is {kind}, not float')
        with np.errstate(over="ignore", invalid="ignore"):
            floats = np.ascontiguousarray(array, dtype=np.float32).reshape(array.shape)
        bad = int(np.count_nonzero(~np.isfinite(floats)))
        if finite and bad:
            raise op.error(
                f'its {what} "{op[operand]}" holds {bad} of {floats.size} numbers that are '
                "NaN or infinite in float32; train or export the model again"
            )
        return floats

    def in_form(self, op: Operation, operand: str = "") -> str:
        """The tensor that `op` reads there, as vector x[f] or map x[h, w, c] after its rank."""
        value, shape = self.value(op, operand)
        tensor = self.as_form(value)
        self.values[op[operand or op.first]] = Value(tensor, shape)
        return tensor

    def as_form(self, value: Value) -> str:
        """The tensor of a value as vector or map, after the rank of its shape."""
        form = form_of(value.shape or ())
        if form is None:
            raise NotSupportedError(
                f"its input has the shape {list(value.shape or ())}; vectors [1, f], signals "
                "[1, c, l] and images [1, c, h, w] of one sample can be read"
            )
        return self._with_form(value, form)

    def as_vector(self, value: Value) -> str:
        """The tensor x[f] of all elements of a value."""
        return self._with_form(value, (self.builder.tensors[value.tensor].size,))

    def _with_form(self, value: Value, form: Shape) -> str:
        tensor = value.tensor
        held = self.builder.tensors[tensor].shape
        if held == form:
            return tensor
        name = value.layout or "layout"
        if len(held) != 1:
            (tensor,) = self.builder.node(OPS["flatten"], [tensor], name=name)
        if len(form) == 1:
            return tensor
        attributes = {"shape": form}
        (tensor,) = self.builder.node(OPS["unflatten"], [tensor], name=name, attributes=attributes)
        return tensor

    def emit(
        self,
        op: Operation,
        kind: str,
        inputs: Sequence[str],
        shape: Shape | None = None,
        /,
        **attributes: Any,
    ) -> None:
        """Append a node of ours for `op`; `shape` is ONNX's, by default made from the tensor's."""
        name = self.builder.unique(op.name)
        (tensor,) = self.builder.node(OPS[kind], inputs, name=name, attributes=attributes)
        if shape is None:
            height, width, channels = self.builder.tensors[tensor].shape
            rank = len(self.value(op)[1])
            shape = (1, channels, width) if rank == 3 else (1, channels, height, width)
        self.bind(op, 0, Value(tensor, shape))
        if OPS[kind].weights:
            self.layers.add(op.outputs[0])

    def elementwise(self, op: Operation, kind: str, **attributes: Any) -> None:
        """Append a node of ours for `op`, whose output is like its first input."""
        value, shape = self.value(op)
        self.emit(op, kind, [value.tensor], shape, **attributes)

    def weight(self, op: Operation, letter: str, data: Array, *, scale: Array | None = None) -> str:
        """Add a constant named after `op`; scale[row], where the file says it."""
        data = np.ascontiguousarray(data, dtype=np.float32)
        q = None if scale is None else QParams(scale=scale)
        return self.builder.constant(f"{op.name}.{letter}", data, qparams=q)

    def bind(self, op: Operation, index: int, value: Value) -> None:
        """Say what output `index` of `op` is."""
        if value.shape is not None:
            check_shape(value.shape, f'{op.op} "{op.name}": its output')
        self.values[op.outputs[index]] = value

    def leads_through(self, name: str, operators: Set[str]) -> bool:
        """Whether nothing but these operators follows a tensor."""
        waiting = [name]
        while waiting:
            for node in self.readers.get(waiting.pop(), ()):
                if node.op_type not in operators:
                    return False
                waiting.extend(node.output)
        return True

    def writer(self, tensor: str) -> Node | None:
        """The node that makes a tensor of our graph."""
        return next((node for node in self.builder.nodes if tensor in node.outputs), None)

    def reshaped(self, op: Operation, shape: Shape) -> None:
        """The first input of `op` with another shape."""
        value, old = self.value(op)
        if math.prod(shape) != math.prod(old):
            raise op.error(
                f"the input {list(old)} has {math.prod(old)} elements, "
                f"{list(shape)} has {math.prod(shape)}"
            )
        self.bind(op, 0, Value(value.tensor, shape, op.name))


def check_shape(shape: Sequence[int], what: str) -> None:
    """Raise where a tensor has no elements, or more than any board could hold."""
    if any(d < 1 for d in shape):
        raise ModelError(f"{what} has the shape {list(shape)}; every axis needs at least 1")
    if math.prod(shape) > LARGEST_TENSOR:
        raise ModelError(
            f"{what} has the shape {list(shape)}, {math.prod(shape)} elements; "
            f"at most {LARGEST_TENSOR} can be read"
        )
