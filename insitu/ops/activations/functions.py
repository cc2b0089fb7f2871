"""Activation functions of one argument: their values and slopes, where they end and are lowest.

Each formula is written once. With `REAL` it is the definition in real numbers, with `EXACT` it is
float32, one rounding an operation, as functions.c does it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from insitu.fixed_point import erfc_positive, exp_negative, expm1_negative, log_positive
from insitu.graph.model import Array
from insitu.graph.rules import Attributes
from insitu.ops.numerics.by_type import clamped


class Elementary(NamedTuple):
    """What the formulas are made of."""

    exp: Callable[[Array], Array]  # of x <= 0
    expm1: Callable[[Array], Array]  # of x <= 0
    log: Callable[[Array], Array]  # of x >= 1
    erfc: Callable[[Array], Array]  # of x >= 0


REAL = Elementary(np.exp, np.expm1, np.log, np.vectorize(math.erfc, otypes=[np.float64]))
EXACT = Elementary(exp_negative, expm1_negative, log_positive, erfc_positive)

Formula = Callable[[Array, Attributes, Elementary], Any]
"""(x, attributes alpha and beta, elementary functions) -> y of the shape and type of x."""


@dataclass(frozen=True)
class Function:
    """An activation function.

    Attributes:
        value, slope: the function and its derivative; at a kink that of torch.
        bounds: all values lie in there; None where they may leave every range.
        lowest: where it is smallest, if that may be inside a range; it has no largest value inside.
    """

    value: Formula
    slope: Formula
    bounds: tuple[float, float] | None = None
    lowest: float = 0.0


def _below(x: Array) -> Array:
    """-|x|."""
    return -np.where(x < 0, -x, x)


def _sigmoid(x: Array, _: Attributes, of: Elementary) -> Any:
    e = of.exp(_below(x))
    return np.where(x < 0, e, np.ones_like(x)) / (1 + e)


def _sigmoid_slope(x: Array, _: Attributes, of: Elementary) -> Any:
    e = of.exp(_below(x))
    s = 1 / (1 + e)
    return e * s * s


def _tanh(x: Array, _: Attributes, of: Elementary) -> Any:
    t = of.expm1(2 * _below(x))
    y = -t / (2 + t)
    return np.where(x < 0, -y, y)


def _tanh_slope(x: Array, _: Attributes, of: Elementary) -> Any:
    e = of.exp(2 * _below(x))
    s = 1 / (1 + e)
    return 4 * (e * s * s)


def _hard_sigmoid(x: Array, a: Attributes, _: Elementary) -> Any:
    return clamped(a["alpha"] * x + a["beta"], (0.0, 1.0))


def _hard_sigmoid_slope(x: Array, a: Attributes, _: Elementary) -> Any:
    v = a["alpha"] * x + a["beta"]
    return np.where((v > 0) & (v < 1), np.full_like(x, a["alpha"]), np.zeros_like(x))


def _hard_swish(x: Array, _: Attributes, __: Elementary) -> Any:
    return x * (clamped(x + 3, (0.0, 6.0)) * (1 / 6))


def _hard_swish_slope(x: Array, _: Attributes, __: Elementary) -> Any:
    inside = np.where(x < 3, x * (1 / 3) + 0.5, np.ones_like(x))
    return np.where(x > -3, inside, np.zeros_like(x))


def _silu(x: Array, a: Attributes, of: Elementary) -> Any:
    return x * _sigmoid(x, a, of)


def _silu_slope(x: Array, a: Attributes, of: Elementary) -> Any:
    s = _sigmoid(x, a, of)
    return s + x * s * (1 - s)


def _elu(x: Array, a: Attributes, of: Elementary) -> Any:
    below = np.where(x > 0, np.zeros_like(x), x)
    return np.where(x > 0, a["beta"] * x, a["beta"] * (a["alpha"] * of.expm1(below)))


def _elu_slope(x: Array, a: Attributes, of: Elementary) -> Any:
    below = np.where(x > 0, np.zeros_like(x), x)
    rising = np.full_like(x, a["beta"])
    return np.where(x > 0, rising, a["beta"] * (a["alpha"] * of.exp(below)))


def _near(x: Array) -> Array:
    """x where a bell curve is not 0 in float32."""
    return clamped(x, (-16.0, 16.0))


def _tail(x: Array, of: Elementary) -> Array:
    """The share of a normal distribution beyond |x|."""
    return 0.5 * of.erfc(-_below(_near(x)) * math.sqrt(0.5))


def _gelu(x: Array, _: Attributes, of: Elementary) -> Any:
    tail = x * _tail(x, of)
    return np.where(x < 0, tail, x - tail)


def _gelu_slope(x: Array, _: Attributes, of: Elementary) -> Any:
    tail, near = _tail(x, of), _near(x)
    density = 1 / math.sqrt(2 * math.pi) * of.exp(-0.5 * near * near)
    return np.where(x < 0, tail, 1 - tail) + near * density


GELU_TANH = (math.sqrt(8 / math.pi), 0.044715 * math.sqrt(8 / math.pi))
"""x (1 + tanh(v / 2)) / 2 = x sigmoid(v), v = first x + second x^3."""


def _gelu_tanh(x: Array, a: Attributes, of: Elementary) -> Any:
    near = _near(x)
    return x * _sigmoid(near * (GELU_TANH[0] + GELU_TANH[1] * near * near), a, of)


def _gelu_tanh_slope(x: Array, a: Attributes, of: Elementary) -> Any:
    near = _near(x)
    s = _sigmoid(near * (GELU_TANH[0] + GELU_TANH[1] * near * near), a, of)
    return s + near * s * (1 - s) * (GELU_TANH[0] + 3 * GELU_TANH[1] * near * near)


def _softplus(x: Array, _: Attributes, of: Elementary) -> Any:
    return np.where(x > 0, x, np.zeros_like(x)) + of.log(1 + of.exp(_below(x)))


FUNCTIONS: dict[str, Function] = {
    "sigmoid": Function(_sigmoid, _sigmoid_slope, bounds=(0.0, 1.0)),
    "tanh": Function(_tanh, _tanh_slope, bounds=(-1.0, 1.0)),
    "hard_sigmoid": Function(_hard_sigmoid, _hard_sigmoid_slope, bounds=(0.0, 1.0)),
    "hard_swish": Function(_hard_swish, _hard_swish_slope, lowest=-1.5),
    "silu": Function(_silu, _silu_slope, lowest=-1.2784645),
    "elu": Function(_elu, _elu_slope),
    "gelu": Function(_gelu, _gelu_slope, lowest=-0.7517916),
    "gelu_tanh": Function(_gelu_tanh, _gelu_tanh_slope, lowest=-0.7524614),
    "softplus": Function(_softplus, _sigmoid),
}
"""By name. hard_sigmoid: alpha x + beta in [0, 1]. elu: beta x, beta alpha (e^x - 1) below 0."""


def steepest(attributes: Attributes) -> float:
    """No slope that the attributes can choose is larger; those of the others are at most 1.5."""
    alpha, beta = attributes["alpha"], attributes["beta"]
    if attributes["function"] == "elu":
        return float(max(abs(beta), abs(alpha * beta)))
    return float(abs(alpha))
