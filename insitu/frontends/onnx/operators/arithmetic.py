"""ONNX's Add, Sub, Mul and Div -> add, multiply, or batch_norm where one side is constant.

Invariant: a constant scale and shift may stand anywhere; simplification folds it into a layer
beside it, or makes it one.
"""

from __future__ import annotations

import math

import numpy as np

from insitu.frontends.onnx.operation import NotSupportedError, Operation, broadcast
from insitu.frontends.onnx.order import Order, Shape
from insitu.frontends.onnx.scope import Scope
from insitu.graph.model import Array

OTHER = {"A": "B", "B": "A"}
"""Side -> the side across."""


def add(scope: Scope, op: Operation) -> None:
    """Add of two activations, or of a constant."""
    constant = _constant_side(scope, op)
    if constant is None:
        _meet(scope, op)
    else:
        c = _by_channel(scope, op, constant)
        _affine(scope, op, OTHER[constant], np.ones_like(c), c)


def subtract(scope: Scope, op: Operation) -> None:
    """Sub of two activations, of a constant, or from one."""
    constant = _constant_side(scope, op)
    if constant is None:
        _meet(scope, op, subtract=True)
    else:
        c, ones = _by_channel(scope, op, constant), np.ones(1)
        sign = ones if constant == "B" else -ones
        _affine(scope, op, OTHER[constant], np.broadcast_to(sign, c.shape), -sign * c)


def multiply(scope: Scope, op: Operation) -> None:
    """Mul of two activations, element by element or by channel, or by a constant."""
    constant = _constant_side(scope, op)
    if constant is not None:
        c = _by_channel(scope, op, constant)
        _affine(scope, op, OTHER[constant], c, np.zeros_like(c))
        return
    (_, first), (_, second) = scope.value(op, "A"), scope.value(op, "B")
    large = "B" if math.prod(second) > math.prod(first) else "A"
    small = OTHER[large]
    shape, other = (second, first) if large == "B" else (first, second)
    facing = scope.facing(op, large)
    channels = facing.back([1, facing.first(shape)[1], *(1 for _ in shape[2:])])
    by_channel = len(shape) > 2 and other == channels
    if shape != other and not by_channel:
        raise NotSupportedError(
            f"its inputs have the shapes {list(first)} and {list(second)}, only equal ones, "
            "or one number a channel, can be multiplied",
            "bring both to one shape before it",
        )
    if shape == other:
        tensors, seen = _alike(scope, op)
        scope.emit(op, "multiply", tensors, shape, seen)
        return
    factor = scope.values[op[small]].tensor  # a vector, or a map of one place
    if scope.builder.tensors[factor].size != scope.builder.tensors[factor].shape[-1]:
        factor = scope.in_form(op, small)
    scope.emit(op, "multiply", [scope.seen(op, facing, large), factor], shape, facing)


def divide(scope: Scope, op: Operation) -> None:
    """Div by a constant."""
    if _constant_side(scope, op) != "B":
        raise NotSupportedError(
            "it divides by what is computed from the input, only constants are available",
            "multiply instead, or cut the network before it and export again",
        )
    c = _by_channel(scope, op, "B")
    if not c.all():
        raise op.error(f'its divisor "{op["B"]}" holds a 0')
    _affine(scope, op, "A", 1 / c, np.zeros_like(c))


def scaler(scope: Scope, op: Operation) -> None:
    """ai.onnx.ml's Scaler: (x - offset) scale, of features each or all alike."""
    side = op.first
    _, shape = scope.value(op, side)
    if len(shape) != 2:
        raise NotSupportedError(f"its input has the shape {list(shape)}, only [1, f] is available")
    offset, scale = (_numbers(op, key, default, shape) for key, default in DEFAULTS)
    _affine(scope, op, side, scale, -offset * scale)


DEFAULTS = (("offset", 0.0), ("scale", 1.0))
"""Of a Scaler."""


def _numbers(op: Operation, key: str, default: float, shape: Shape) -> Array:
    given = np.asarray(op.attributes.get(key, [default]), np.float64)
    if given.size not in (1, shape[1]):
        raise op.error(f"its {key} holds {given.size} numbers for {shape[1]} features")
    return np.broadcast_to(given, shape[1])


def _constant_side(scope: Scope, op: Operation) -> str | None:
    """Which input is constant, None where neither is."""
    return next((side for side in OTHER if op[side] in scope.constants), None)


def _meet(scope: Scope, op: Operation, **attributes: bool) -> None:
    """Add or Sub of two activations."""
    (_, first), (_, second) = scope.value(op, "A"), scope.value(op, "B")
    if first != second:
        raise NotSupportedError(
            f"its inputs have the shapes {list(first)} and {list(second)}, only equal ones meet",
            "bring both to one shape before it",
        )
    tensors, seen = _alike(scope, op)
    scope.emit(op, "add", tensors, first, seen, **attributes)


def _alike(scope: Scope, op: Operation) -> tuple[list[str], Order | None]:
    """Two tensors of one shape that ONNX reads alike, and how."""
    (first, _), (second, _) = scope.value(op, "A"), scope.value(op, "B")
    held = [scope.builder.tensors[value.tensor].shape for value in (first, second)]
    if held[0] == held[1] and len(held[0]) == 3 and first.order == second.order is not None:
        return [first.tensor, second.tensor], first.order
    return [scope.in_form(op, "A"), scope.in_form(op, "B")], None


def _by_channel(scope: Scope, op: Operation, side: str) -> Array:
    """The constant there as one number a channel of the other side, float64."""
    _, shape = scope.value(op, OTHER[side])
    c = scope.floats(op, side, "constant")
    _changed(scope, op, OTHER[side])
    value, _ = scope.value(op, OTHER[side])
    by_channel = scope.arranged(value, broadcast(op, c, shape))
    by_channel = by_channel.reshape(-1, by_channel.shape[-1]).T
    if (by_channel != by_channel[:, :1]).any():
        raise NotSupportedError(
            f"its constant has the shape {list(c.shape)}, only one number a channel is available",
            "use one number a channel, and train again",
        )
    return by_channel[:, 0].astype(np.float64)


def _changed(scope: Scope, op: Operation, side: str) -> str:
    """The tensor there: as its layer wrote it, else in the form of its shape."""
    value, _ = scope.value(op, side)
    held = scope.builder.tensors[value.tensor]
    one_place = len(held.shape) == 3 and held.size == held.shape[-1]
    if op[side] in scope.layers or one_place or scope.facing(op, side).last:
        return value.tensor
    return scope.in_form(op, side)


def _affine(scope: Scope, op: Operation, side: str, scale: Array, shift: Array) -> None:
    """The activation there times scale[c] plus shift[c]."""
    name, tensor = op[side], _changed(scope, op, side)
    if name in scope.factors:
        scale = scale * scope.factors[name]
        if np.allclose(scale, 1, rtol=2e-6, atol=0) and not shift.any():
            scope.bind(op, 0, scope.value(op, side)[0])
            return
    with np.errstate(over="ignore", invalid="ignore"):
        parameters: dict[str, Array] = {
            "gamma": scale.astype(np.float32),
            "beta": shift.astype(np.float32),
        }
    if not all(np.isfinite(data).all() for data in parameters.values()):
        raise op.error("its constant, or one divided by it, is infinite in float32")
    parameters |= {"mean": np.zeros(len(scale)), "variance": np.ones(len(scale))}
    inputs = [scope.weight(op, letter, data) for letter, data in parameters.items()]
    value, shape = scope.value(op, side)
    scope.emit(op, "batch_norm", [tensor, *inputs], shape, value.order, epsilon=0.0)
    scope.layers.add(op.outputs[0])
