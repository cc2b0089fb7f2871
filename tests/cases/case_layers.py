"""What cases are made of: `Case`, `Layer`, and a word for every op."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Quad = tuple[int, int, int, int]
NONE: Quad = (0, 0, 0, 0)
ALL_1: Quad = (1, 1, 1, 1)


@dataclass(frozen=True)
class Layer:
    """One op of a case.

    Attributes:
        weights: "normal", "zero" (all), "zero-rows" (every other row), "tiny-rows" (every other
            row a 5000th of the others), "large" (30 times the others).
        out, kernel: output channels or features, and the window, of layers with weights.
        slopes: of a prelu, one or one a channel.
        of: positions of the layers that it reads, from 1; 0 is the sample. By default the layer
            before it.
    """

    op: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    out: int = 0
    kernel: tuple[int, int] = (1, 1)
    weights: str = "normal"
    name: str = ""
    of: tuple[int, ...] = ()
    slopes: tuple[float, ...] = ()


@dataclass(frozen=True)
class Case:
    """A network.

    Attributes:
        shape: of a sample, channels last.
        trained: as for `insitu compile --train`.
        scale: of the samples; they are normal with this standard deviation.
        bias: standard deviation of the biases, relative to that of the samples.
        seed: of weights and samples.
    """

    shape: tuple[int, ...]
    layers: tuple[Layer, ...]
    trained: str = "all"
    scale: float = 1.0
    bias: float = 0.2
    seed: int = 0

    @property
    def about(self) -> frozenset[str]:
        """The ops that it is there for: not what any network has, where there is something else."""
        layers = self.layers
        start = 1 if layers[0] == FRONT else 0
        end = -2 if [layer.op for layer in layers[-2:]] == ["flatten", "linear"] else None
        before = ("", *(layer.op for layer in layers))
        ops = {
            layer.op
            for layer, last in [*zip(layers, before, strict=False)][start:end]
            if layer != RELU or last not in ("conv", "linear", "add", "batch_norm")
        }
        return frozenset(ops or {layer.op for layer in layers})


def conv(
    out: int,
    kernel: tuple[int, int] = (3, 3),
    stride: tuple[int, int] = (1, 1),
    padding: Quad = NONE,
    **fields: Any,
) -> Layer:
    return Layer("conv", {"stride": stride, "padding": padding}, out, kernel, **fields)


def grouped(
    out: int,
    groups: int,
    kernel: tuple[int, int] = (3, 3),
    *,
    stride: tuple[int, int] = (1, 1),
    padding: Quad = NONE,
    dilation: tuple[int, int] = (1, 1),
    **fields: Any,
) -> Layer:
    window = {"stride": stride, "padding": padding, "groups": groups, "dilation": dilation}
    return Layer("conv", window, out, kernel, **fields)


def linear(out: int, **fields: Any) -> Layer:
    return Layer("linear", out=out, **fields)


def clip(low: float, high: float) -> Layer:
    return Layer("clip", {"min": low, "max": high})


def max_pool(
    kernel: tuple[int, int] = (2, 2), stride: tuple[int, int] = (2, 2), padding: Quad = NONE
) -> Layer:
    return Layer("max_pool", {"kernel": kernel, "stride": stride, "padding": padding})


def average_pool(
    kernel: tuple[int, int] = (2, 2),
    stride: tuple[int, int] = (2, 2),
    padding: Quad = NONE,
    *,
    counted: bool = False,
) -> Layer:
    attributes = {"kernel": kernel, "stride": stride, "padding": padding}
    return Layer("average_pool", {**attributes, "count_include_pad": counted})


def unflatten(*shape: int) -> Layer:
    return Layer("unflatten", {"shape": shape})


def activation(function: str, alpha: float = 0.0, beta: float = 0.0) -> Layer:
    return Layer("activation", {"function": function, "alpha": alpha, "beta": beta})


def prelu(*slopes: float) -> Layer:
    """Slopes are the layer's one constant."""
    return Layer("prelu", slopes=slopes)


def add(*of: int, subtract: bool = False) -> Layer:
    return Layer("add", {"subtract": subtract}, of=of)


def permute(*order: int) -> Layer:
    """The axes of a map in another order."""
    return Layer("permute", {"order": order})


def reshape(*shape: int) -> Layer:
    """The same memory by another shape."""
    return Layer("reshape", {"shape": shape})


RELU = clip(0.0, math.inf)
RELU6 = clip(0.0, 6.0)
FLATTEN = Layer("flatten")
NORM = Layer("batch_norm", {"epsilon": 1e-3})
IDENTITY = Layer("identity")
SOFTMAX = Layer("softmax")
HEAD = (FLATTEN, linear(4))

FRONT = conv(3, padding=ALL_1)
"""A trained layer that asks for the gradient of what stands behind it."""


def after_front(*layers: Layer, shape: tuple[int, ...] = (6, 7, 2), **fields: Any) -> Case:
    """The layers between a trained convolution with ReLU and a linear head."""
    return Case(shape, (FRONT, RELU, *layers, *HEAD), **fields)
