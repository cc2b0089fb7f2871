"""ONNX's Add, Sub, Mul and Div -> add, multiply, or batch_norm where one side is constant.

Invariant: a constant scale and shift of features follows a layer that it will be folded into; that
of a map may stand anywhere.
"""

from __future__ import annotations

import math

import numpy as np

from insitu.frontends.onnx.operators.layers import broadcast
from insitu.frontends.onnx.scope import NotSupportedError, Operation, Scope
from insitu.graph.model import Array


def add(scope: Scope, op: Operation) -> None:
    """Add of two activations, or of a constant."""
    constant = _constant_side(scope, op)
    if constant is None:
        _meet(scope, op)
    else:
        c = _by_channel(scope, op, constant)
        _affine(scope, op, 1 - constant, np.ones_like(c), c)


def subtract(scope: Scope, op: Operation) -> None:
    """Sub of two activations, of a constant, or from one."""
    constant = _constant_side(scope, op)
    if constant is None:
        _meet(scope, op, subtract=True)
    else:
        c, ones = _by_channel(scope, op, constant), np.ones(1)
        sign = ones if constant == 1 else -ones
        _affine(scope, op, 1 - constant, np.broadcast_to(sign, c.shape), -sign * c)


def multiply(scope: Scope, op: Operation) -> None:
    """Mul of two activations, element by element or by channel, or by a constant."""
    constant = _constant_side(scope, op)
    if constant is not None:
        c = _by_channel(scope, op, constant)
        _affine(scope, op, 1 - constant, c, np.zeros_like(c))
        return
    shapes = [scope.value(op, index)[1] for index in (0, 1)]
    large = int(math.prod(shapes[1]) > math.prod(shapes[0]))
    shape, other = shapes[large], shapes[1 - large]
    by_channel = len(shape) > 2 and other == (1, shape[1], *(1 for _ in shape[2:]))
    if shape != other and not by_channel:
        raise NotSupportedError(
            f"its inputs have the shapes {list(shapes[0])} and {list(shapes[1])}, only equal ones, "
            "or one number a channel, can be multiplied",
            "bring both to one shape before it",
        )
    factor = scope.values[op.inputs[1 - large]].tensor
    if shape == other or scope.builder.tensors[factor].shape != (shape[1],):
        factor = scope.in_form(op, 1 - large)
    scope.emit(op, "multiply", [scope.in_form(op, large), factor], shape)


def divide(scope: Scope, op: Operation) -> None:
    """Div by a constant."""
    if _constant_side(scope, op) != 1:
        raise NotSupportedError(
            "it divides by what is computed from the input, only constants are available",
            "multiply instead, or cut the network before it and export again",
        )
    c = _by_channel(scope, op, 1)
    if not c.all():
        raise op.error(f'its divisor "{op.inputs[1]}" holds a 0')
    _affine(scope, op, 0, 1 / c, np.zeros_like(c))


def _constant_side(scope: Scope, op: Operation) -> int | None:
    """Which input is constant, None where neither is."""
    return next((i for i, name in enumerate(op.inputs[:2]) if name in scope.constants), None)


def _meet(scope: Scope, op: Operation, **attributes: bool) -> None:
    """Add or Sub of two activations."""
    (_, first), (_, second) = scope.value(op, 0), scope.value(op, 1)
    if first != second:
        raise NotSupportedError(
            f"its inputs have the shapes {list(first)} and {list(second)}, only equal ones meet",
            "bring both to one shape before it",
        )
    scope.emit(op, "add", [scope.in_form(op, 0), scope.in_form(op, 1)], first, **attributes)


def _by_channel(scope: Scope, op: Operation, index: int) -> Array:
    """The constant there as one number a channel of the other side, float64."""
    _, shape = scope.value(op, 1 - index)
    c = scope.floats(op, index, "constant")
    channels = scope.builder.tensors[_changed(scope, op, 1 - index)].shape[-1]
    by_channel = broadcast(op, c, shape).reshape(channels, -1)
    if (by_channel != by_channel[:, :1]).any():
        raise NotSupportedError(
            f"its constant has the shape {list(c.shape)}, only one number a channel is available",
            "use one number a channel, and train again",
        )
    return by_channel[:, 0].astype(np.float64)


def _changed(scope: Scope, op: Operation, index: int) -> str:
    """The tensor there: as its layer wrote it, else in the form of its shape."""
    if op.inputs[index] in scope.layers:
        return scope.values[op.inputs[index]].tensor
    return scope.in_form(op, index)


def _affine(scope: Scope, op: Operation, index: int, scale: Array, shift: Array) -> None:
    """The activation there times scale[c] plus shift[c]."""
    name, tensor = op.inputs[index], _changed(scope, op, index)
    alone = name in scope.layers and len(scope.readers[name]) == 1 and name not in scope.outputs
    if len(scope.builder.tensors[tensor].shape) != 3 and not alone:
        raise NotSupportedError(
            "it changes features by a constant, which are not the output of a linear layer alone",
            "put the constant into the layer before it, or prepare the samples so",
        )
    with np.errstate(over="ignore", invalid="ignore"):
        parameters: dict[str, Array] = {
            "gamma": scale.astype(np.float32),
            "beta": shift.astype(np.float32),
        }
    if not all(np.isfinite(data).all() for data in parameters.values()):
        raise op.error("its constant, or one divided by it, is infinite in float32")
    parameters |= {"mean": np.zeros(len(scale)), "variance": np.ones(len(scale))}
    inputs = [scope.weight(op, letter, data) for letter, data in parameters.items()]
    scope.emit(op, "batch_norm", [tensor, *inputs], scope.value(op, index)[1], epsilon=0.0)
    scope.layers.add(op.outputs[0])
