"""the state of one import: which ONNX names are constants, which are tensors of our graph.

Invariant: a `Value` holds the elements of an ONNX activation and knows in which order ONNX reads
them: of a map x[h, w, c] mostly channels first. Reshape therefore only changes `Value.shape` and
Transpose only `Value.order`; `flatten`, `unflatten`, `permute` and `reshape` nodes are made when an
op needs another form.
"""

from __future__ import annotations

import math
from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from insitu.errors import ModelError
from insitu.frontends.model import Unsupported
from insitu.frontends.onnx.operation import NotSupportedError, Operation
from insitu.frontends.onnx.order import Facing, Order, Shape
from insitu.graph.builder import Builder
from insitu.graph.model import Array, Node, QParams
from insitu.ops import OPS

LARGEST_TENSOR = 2**27  # elements; half a gigabyte in float, far beyond any microcontroller


@dataclass(frozen=True)
class Value:
    """An activation: `tensor` of our graph, seen with ONNX's `shape`.

    Attributes:
        shape: with the batch axis (1) where ONNX has one; None where nobody knows.
        layout: name of the last node that changed the shape only.
        order: how ONNX reads the tensor, where it is not `Order.of` its shape.
    """

    tensor: str
    shape: Shape | None
    layout: str = ""
    order: Order | None = None


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
        self.factors: dict[str, float] = {}  # of sums held as averages, which a constant divides
        self.integers: dict[str, QParams] = {}  # outputs of QuantizeLinear
        self.wide: set[str] = set()  # outputs of QuantizeLinear that are read as floats
        self.readers: dict[str, list[onnx.NodeProto]] = {}
        self._leads: dict[frozenset[str], dict[str, bool]] = {}  # what `leads_through` has found
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
        if value.order is not None:
            return self._rearranged(value, value.order, form)
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

    def _rearranged(self, value: Value, order: Order, form: Shape) -> str:
        """The tensor of a value that ONNX reads in an order of its own."""
        arranged = order.arranged(form)
        if arranged is None:
            vector = self._rearranged(value, order, (self.builder.tensors[value.tensor].size,))
            return self._with_form(Value(vector, value.shape, value.layout), form)
        sizes, reading = arranged.sizes, arranged.reading
        if len(sizes) > 3:
            raise NotSupportedError(
                f"the transpositions before it move {len(sizes)} groups of axes, {list(sizes)}; "
                "at most 3 groups can change places",
                "transpose in steps, each of which changes two axes, with an operator between them",
            )
        tensor = value.tensor
        if reading != tuple(range(len(reading))):
            missing = 3 - len(sizes)
            tensor = self._layout(value, "reshape", tensor, shape=(1,) * missing + sizes)
            axes = (*range(missing), *(axis + missing for axis in reading))
            tensor = self._layout(value, "permute", tensor, order=axes)
        return self._layout(value, "reshape", tensor, shape=form)

    def _layout(self, value: Value, kind: str, tensor: str, **attributes: Shape) -> str:
        if attributes.get("shape") == self.builder.tensors[tensor].shape:
            return tensor
        name = self.builder.unique(value.layout or "layout")
        (tensor,) = self.builder.node(OPS[kind], [tensor], name=name, attributes=attributes)
        return tensor

    def facing(self, op: Operation, *operands: str) -> Facing:
        """Whether maps that `op` reads, by default its first, lie here as ONNX has them."""
        return Facing(all(self._lies_last(*self.value(op, o)) for o in operands or ("",)))

    def _lies_last(self, value: Value, shape: Shape) -> bool:
        held = self.builder.tensors[value.tensor].shape
        if len(held) != 3 or not 3 <= len(shape) <= 4 or shape[0] != 1:
            return False
        if value.order is None and held == form_of(shape):
            return False
        order = value.order or Order.of(held)
        return held == (1, *shape[1:])[-3:] and order.plain == Order(held, (0, 1, 2)).plain

    def seen(self, op: Operation, facing: Facing, operand: str = "") -> str:
        """The map x[h, w, c] that `op` reads there, which lies as `facing` says."""
        return self.value(op, operand)[0].tensor if facing.last else self.in_form(op, operand)

    def with_channels_last(self, op: Operation) -> str:
        """The first input of `op` as a map x[h, w, c] whose channels are ONNX's last axis."""
        value, shape = self.value(op)
        if self._lies_last(value, shape if len(shape) > 2 else (1, *shape)):
            return value.tensor
        axes = shape[1:] if len(shape) > 2 else shape
        form = (1,) * (3 - len(axes)) + axes
        if len(form) != 3 or math.prod(form) != math.prod(shape):
            raise NotSupportedError(
                f"its input has the shape {list(shape)}; at most 3 axes of one sample can be read",
                "reshape to [1, places, features] before it",
            )
        vector = self.as_vector(value)
        return self._layout(value, "reshape", vector, shape=form)

    def as_seen(self, tensor: str, shape: Shape, seen: Order | Facing | None) -> Value:
        """The value that a tensor is in ONNX's shape."""
        held = self.builder.tensors[tensor].shape
        if isinstance(seen, Facing):
            seen = Order(held, (0, 1, 2)) if seen.last else None
        usual = seen is None or seen.plain == Order.of(held).plain
        return Value(tensor, shape, order=None if usual else seen)

    def arranged(self, value: Value, data: Array) -> Array:
        """A constant in ONNX's shape of a value -> in the shape of its tensor."""
        held = self.builder.tensors[value.tensor].shape
        order = value.order or Order.of(held)
        data = data.reshape([order.sizes[axis] for axis in order.reading])
        return data.transpose(np.argsort(order.reading)).reshape(held)

    def emit(
        self,
        op: Operation,
        kind: str,
        inputs: Sequence[str],
        shape: Shape | None = None,
        seen: Order | Facing | None = None,
        /,
        **attributes: Any,
    ) -> None:
        """Append a node of ours for `op`.

        Args:
            shape: ONNX's, by default made from the tensor's.
            seen: how ONNX reads the tensor, by default by `Order.of` its shape.
        """
        name = self.builder.unique(op.name)
        (tensor,) = self.builder.node(OPS[kind], inputs, name=name, attributes=attributes)
        if shape is None:
            height, width, channels = self.builder.tensors[tensor].shape
            rank = len(self.value(op)[1])
            shape = (1, channels, width) if rank == 3 else (1, channels, height, width)
        self.bind(op, 0, self.as_seen(tensor, shape, seen))
        if OPS[kind].weights:
            self.layers.add(op.outputs[0])

    def elementwise(self, op: Operation, kind: str, **attributes: Any) -> None:
        """Append a node of ours for `op`, whose output is like its first input."""
        value, shape = self.value(op)
        self.emit(op, kind, [value.tensor], shape, value.order, **attributes)

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
        known = self._leads.setdefault(frozenset(operators), {})
        waiting = [name]
        while waiting:  # a tensor is decided once all that its readers make is
            nodes = self.readers.get(waiting[-1], ())
            made = [output for node in nodes for output in node.output if output]
            passes = all(node.op_type in operators for node in nodes)
            undecided = [output for output in made if output not in known]
            if passes and undecided:
                waiting.extend(undecided)
            else:
                known[waiting.pop()] = passes and all(known[output] for output in made)
        return known[name]

    def writer(self, tensor: str) -> Node | None:
        """The node that makes a tensor of our graph."""
        return self.builder.producer(tensor)

    def reshaped(self, op: Operation, shape: Shape) -> None:
        """The first input of `op` with another shape."""
        value, old = self.value(op)
        if math.prod(shape) != math.prod(old):
            raise op.error(
                f"the input {list(old)} has {math.prod(old)} elements, "
                f"{list(shape)} has {math.prod(shape)}"
            )
        self.bind(op, 0, Value(value.tensor, shape, op.name, value.order))


def check_shape(shape: Sequence[int], what: str) -> None:
    """Raise where a tensor has no elements, or more than any board could hold."""
    if any(d < 1 for d in shape):
        raise ModelError(f"{what} has the shape {list(shape)}; every axis needs at least 1")
    if math.prod(shape) > LARGEST_TENSOR:
        raise ModelError(
            f"{what} has the shape {list(shape)}, {math.prod(shape)} elements; "
            f"at most {LARGEST_TENSOR} can be read"
        )
