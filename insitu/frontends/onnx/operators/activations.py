"""ONNX's activation functions of one argument -> activation, clip, prelu, softmax."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from insitu.frontends.onnx.operation import NotSupportedError, Operation, broadcast
from insitu.frontends.onnx.operators.shape import PASSES_ON
from insitu.frontends.onnx.scope import Scope
from insitu.graph.model import Array

FUNCTIONS = {
    "HardSwish": "hard_swish",
    "LogSoftmax": "softmax",
    "Sigmoid": "sigmoid",
    "Softmax": "softmax",
    "Softplus": "softplus",
    "Tanh": "tanh",
}
"""ONNX operator -> the function that it computes, where no attribute changes that."""


def relu(scope: Scope, op: Operation) -> None:
    """Relu."""
    scope.elementwise(op, "clip", min=0.0, max=math.inf)


def clip(scope: Scope, op: Operation) -> None:
    """Clip with constant bounds."""
    low, high = _bound(scope, op, "min", -math.inf), _bound(scope, op, "max", math.inf)
    if not low < high:
        raise op.error(f"its bounds [{low}, {high}] leave nothing between them")
    if low == -math.inf and high == math.inf:
        scope.elementwise(op, "identity")
    else:
        scope.elementwise(op, "clip", min=low, max=high)


def _bound(scope: Scope, op: Operation, operand: str, default: float) -> float:
    if operand not in op:
        return default
    bound = scope.floats(op, operand, "bound", finite=False)
    if bound.size != 1:
        raise op.error(f'its bound "{op[operand]}" has {bound.size} numbers, 1 belongs')
    number = float(bound.reshape(()))
    # the largest float32 is how exporters write "no bound"
    return math.copysign(math.inf, number) if abs(number) >= np.finfo(np.float32).max else number


def plain(scope: Scope, op: Operation) -> None:
    """A function without attributes."""
    _function(scope, op, FUNCTIONS[op.op])


def _function(
    scope: Scope, op: Operation, name: str, *, alpha: float = 0.0, beta: float = 0.0
) -> None:
    scope.elementwise(op, "activation", function=name, alpha=alpha, beta=beta)


def hard_sigmoid(scope: Scope, op: Operation) -> None:
    """HardSigmoid: alpha x + beta in [0, 1]."""
    alpha, beta = _number(op, "alpha", 0.2), _number(op, "beta", 0.5)
    _function(scope, op, "hard_sigmoid", alpha=alpha, beta=beta)


def elu(scope: Scope, op: Operation) -> None:
    """Elu: alpha (e^x - 1) below 0."""
    _function(scope, op, "elu", alpha=_number(op, "alpha", 1.0), beta=1.0)


def selu(scope: Scope, op: Operation) -> None:
    """Selu: gamma times an Elu."""
    alpha, gamma = _number(op, "alpha", 1.6732632423), _number(op, "gamma", 1.0507009873)
    _function(scope, op, "elu", alpha=alpha, beta=gamma)


def gelu(scope: Scope, op: Operation) -> None:
    """Gelu, exact or with the hyperbolic tangent."""
    approximate = op.text("approximate", "none")
    if approximate not in ("none", "tanh"):
        raise op.error(f'approximate is "{approximate}", it is "none" or "tanh"')
    _function(scope, op, "gelu" if approximate == "none" else "gelu_tanh")


def swish(scope: Scope, op: Operation) -> None:
    """Swish: x sigmoid(alpha x), alpha = 1."""
    alpha = _number(op, "alpha", 1.0)
    if alpha != 1:
        raise NotSupportedError(f"alpha is {alpha:g}, only 1 is available")
    _function(scope, op, "silu")


def leaky_relu(scope: Scope, op: Operation) -> None:
    """LeakyRelu: one slope."""
    _prelu(scope, op, np.asarray([_number(op, "alpha", 0.01)]))


def prelu(scope: Scope, op: Operation) -> None:
    """PRelu with one slope, or one a channel."""
    slope = scope.floats(op, "slope", "slope")
    if slope.size == 1:
        _prelu(scope, op, slope.reshape(1))
        return
    if not scope.facing(op).last:
        scope.in_form(op)
    value, shape = scope.value(op)
    channels = scope.builder.tensors[value.tensor].shape[-1]
    by_channel = np.zeros((2, 1))
    if slope.ndim <= len(shape):
        by_channel = scope.arranged(value, broadcast(op, slope, shape)).reshape(-1, channels)
    if by_channel.shape[1] != channels or (by_channel != by_channel[:1]).any():
        raise NotSupportedError(
            f"its slope{list(slope.shape)} for x{list(shape)} is neither one number nor one for "
            f"each of {channels} channels"
        )
    _prelu(scope, op, by_channel[0])


def _prelu(scope: Scope, op: Operation, slope: Array) -> None:
    value, shape = scope.value(op)
    scope.emit(op, "prelu", [value.tensor, scope.weight(op, "slope", slope)], shape, value.order)


def softmax(scope: Scope, op: Operation) -> None:
    """A trailing Softmax or LogSoftmax; both become the loss's softmax."""
    value, shape = scope.value(op)
    axis = int(op.attributes.get("axis", -1 if scope.opset >= 13 else 1))
    if not -len(shape) <= axis < max(len(shape), 1):
        raise op.error(f"axis {axis} of an input with {len(shape)} axes")
    # before opset 13 all axes from `axis` on are one
    along = shape[axis] if scope.opset >= 13 else math.prod(shape[axis:])
    if along != math.prod(shape):
        raise NotSupportedError(
            f"over axis {axis} of {list(shape)}, only over all classes of a vector"
        )
    if not scope.leads_through(op.outputs[0], PASSES_ON):
        raise NotSupportedError(f"a {op.op} within the network, only one at its end is available")
    attributes = {"log": True} if op.op == "LogSoftmax" else {}
    scope.emit(op, "softmax", [scope.as_vector(value)], shape, **attributes)


def _number(op: Operation, key: str, default: float) -> float:
    number: Any = op.attributes.get(key, default)
    if not isinstance(number, float | int) or not abs(number) <= np.finfo(np.float32).max:
        raise op.error(f"{key} is {number}, a finite number belongs there")
    return float(number)
