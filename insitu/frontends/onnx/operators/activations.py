"""ONNX's activation functions of one argument -> activation, prelu."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from insitu.frontends.onnx.scope import NotSupportedError, Operation, Scope
from insitu.graph.model import Array


def plain(function: str, scope: Scope, op: Operation, **parameters: float) -> None:
    """A function without attributes."""
    value, shape = scope.value(op)
    parameters = {"alpha": 0.0, "beta": 0.0, **parameters}
    scope.emit(op, "activation", [value.tensor], shape, function=function, **parameters)


def hard_sigmoid(scope: Scope, op: Operation) -> None:
    """HardSigmoid: alpha x + beta in [0, 1]."""
    plain("hard_sigmoid", scope, op, alpha=_number(op, "alpha", 0.2), beta=_number(op, "beta", 0.5))


def elu(scope: Scope, op: Operation) -> None:
    """Elu: alpha (e^x - 1) below 0."""
    plain("elu", scope, op, alpha=_number(op, "alpha", 1.0), beta=1.0)


def selu(scope: Scope, op: Operation) -> None:
    """Selu: gamma times an Elu."""
    alpha, gamma = _number(op, "alpha", 1.6732632423), _number(op, "gamma", 1.0507009873)
    plain("elu", scope, op, alpha=alpha, beta=gamma)


def gelu(scope: Scope, op: Operation) -> None:
    """Gelu, exact or with the hyperbolic tangent."""
    approximate = op.text("approximate", "none")
    if approximate not in ("none", "tanh"):
        raise op.error(f'approximate is "{approximate}", it is "none" or "tanh"')
    plain("gelu" if approximate == "none" else "gelu_tanh", scope, op)


def swish(scope: Scope, op: Operation) -> None:
    """Swish: x sigmoid(alpha x), alpha = 1."""
    alpha = _number(op, "alpha", 1.0)
    if alpha != 1:
        raise NotSupportedError(f"alpha is {alpha:g}, only 1 is available")
    plain("silu", scope, op)


def leaky_relu(scope: Scope, op: Operation) -> None:
    """LeakyRelu: one slope."""
    _prelu(scope, op, np.asarray([_number(op, "alpha", 0.01)]))


def prelu(scope: Scope, op: Operation) -> None:
    """PRelu with one slope, or one a channel."""
    slope = scope.floats(op, 1, "slope")
    if slope.size == 1:
        _prelu(scope, op, slope.reshape(1))
        return
    _, shape = scope.value(op)
    aligned = (1,) * (len(shape) - slope.ndim) + slope.shape
    channels = shape[1] if len(shape) > 1 else 1
    if len(aligned) != len(shape) or math.prod(aligned) != channels or aligned[1] != channels:
        raise NotSupportedError(
            f"its slope{list(slope.shape)} for x{list(shape)} is neither one number nor one for "
            f"each of {channels} channels"
        )
    scope.in_form(op)
    _prelu(scope, op, slope.reshape(-1))


def _prelu(scope: Scope, op: Operation, slope: Array) -> None:
    value, shape = scope.value(op)
    scope.emit(op, "prelu", [value.tensor, scope.weight(op, "slope", slope)], shape)


def _number(op: Operation, key: str, default: float) -> float:
    number: Any = op.attributes.get(key, default)
    if not isinstance(number, float | int) or not abs(number) <= np.finfo(np.float32).max:
        raise op.error(f"{key} is {number}, a finite number belongs there")
    return float(number)
