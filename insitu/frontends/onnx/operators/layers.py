"""ONNX's layers with weights -> conv, linear, batch_norm.

Invariant: weights leave as float32, finite, in our layout: conv w[o, kh, kw, i], linear w[o, i];
every layer has a bias.
"""

from __future__ import annotations

import math

import numpy as np

from insitu.frontends.onnx.operation import NotSupportedError, Operation, broadcast
from insitu.frontends.onnx.operators.shape import PASSES_ON
from insitu.frontends.onnx.order import Facing, Shape
from insitu.frontends.onnx.qdq import row_scales
from insitu.frontends.onnx.scope import Scope
from insitu.frontends.onnx.windows import check_cost, window_of
from insitu.graph.model import Array


def conv(scope: Scope, op: Operation) -> None:
    """Conv, 1-D and 2-D."""
    _, shape = scope.value(op)
    w = scope.floats(op, "W", "weight")
    if w.ndim != len(shape) or w.ndim not in (3, 4):
        if w.ndim == len(shape):
            raise NotSupportedError(f"a convolution over {w.ndim - 2} axes, only 1 or 2 are there")
        raise op.error(f"x{list(shape)} has {len(shape)} axes but w{list(w.shape)} {w.ndim}")
    group = int(op.attributes.get("group", 1))
    if group < 1 or w.shape[0] % group != 0:
        raise op.error(f"group is {group} but w{list(w.shape)} has {w.shape[0]} rows")
    if w.shape[1] * group != shape[1]:
        raise op.error(
            f"x{list(shape)} has {shape[1]} channels but w{list(w.shape)} takes "
            f"{w.shape[1] * group}; check the layer before it"
        )
    kernel = tuple(int(k) for k in op.attributes.get("kernel_shape", w.shape[2:]))
    if kernel != w.shape[2:]:
        raise op.error(f"kernel_shape is {list(kernel)} but w{list(w.shape)} is another size")
    b = bias(scope, op, w.shape[0])
    window = window_of(op, shape[2:], kernel)
    check_cost(op, shape, window)
    w = w[:, :, None, :] if w.ndim == 3 else w
    x, kernels = scope.in_form(op), layer_weight(scope, op, "W", w.transpose(0, 2, 3, 1))
    geometry = {"stride": window.stride, "padding": window.padding, "groups": group}
    inputs = [x, kernels, scope.weight(op, "b", b)]
    scope.emit(op, "conv", inputs, **geometry, dilation=window.dilation)


def keep_origin(scope: Scope, op: Operation) -> None:
    """Remember which constant a folded node gives another form."""
    if op.op in PASSES_ON and op.first in op:
        scope.origins[op.outputs[0]] = scope.origins.get(op[op.first], op[op.first])


def layer_weight(scope: Scope, op: Operation, operand: str, w: Array) -> str:
    """Add the weight w[out, ...] that stands there, with the scales of its rows in the file."""
    origin = scope.origins.get(op[operand], op[operand])
    first = scope.weighted.setdefault(origin, op.name)
    if first != op.name:
        scope.notes.append(
            f'"{first}" and "{op.name}" share the weight "{origin}"; here each has its own, and '
            "training changes them apart"
        )
    known = scope.quantized.get(op[operand])
    scale = None
    if known is not None:
        scale, note = row_scales(known, w)
        scope.notes += [f'"{op.name}": {note}'] if note else []
    return scope.weight(op, "w", w, scale=scale)


def bias(scope: Scope, op: Operation, count: int) -> Array:
    """The bias[count] of a convolution, zeros where it has none."""
    if "B" not in op:
        return np.zeros(count, np.float32)
    b = scope.floats(op, "B", "bias")
    if b.shape != (count,):
        raise op.error(f"its bias has the shape {list(b.shape)} but its weight {count} rows")
    return b


def gemm(scope: Scope, op: Operation) -> None:
    """Gemm: y = alpha x w + beta c."""
    _, shape = scope.value(op)
    if len(shape) != 2:
        raise op.error(f"its input has the shape {list(shape)}, 2 axes belong; flatten before it")
    if op.flag("transA"):
        raise NotSupportedError("transA 1, only 0 is available")
    w = scope.floats(op, "B", "weight")
    if w.ndim != 2:
        raise op.error(f"its weight has the shape {list(w.shape)}, 2 axes belong")
    w = w if op.flag("transB") else w.T
    alpha, beta = (np.float32(op.attributes.get(key, 1.0)) for key in ("alpha", "beta"))
    b = np.zeros(w.shape[0], np.float32)
    if "C" in op:
        c = scope.floats(op, "C", "bias")
        b = beta * broadcast(op, c, (1, w.shape[0])).reshape(-1)
    _linear(scope, op, alpha * w, b, (shape[0], w.shape[0]))


def matmul(scope: Scope, op: Operation) -> None:
    """MatMul with a constant on the right; an Add behind it joins later."""
    _, shape = scope.value(op)
    if not shape:
        raise op.error("its input is a single number without axes")
    w = scope.floats(op, "B", "weight")
    if w.ndim != 2:
        raise NotSupportedError(f"its weight has the shape {list(w.shape)}, only 2 axes are there")
    b = np.zeros(w.shape[1], np.float32)
    _linear(scope, op, w.T, b, (*shape[:-1], w.shape[1]))


def _linear(scope: Scope, op: Operation, w: Array, b: Array, result: Shape) -> None:
    value, shape = scope.value(op)
    if w.shape[1] != shape[-1]:
        raise op.error(
            f"x{list(shape)} has {shape[-1]} features but the weight takes {w.shape[1]}; "
            "check the flatten before it"
        )
    if not (np.isfinite(w).all() and np.isfinite(b).all()):
        raise op.error("alpha or beta make its weights NaN or infinite")
    if math.prod(shape[:-1]) != 1:
        _at_each_place(scope, op, w, b, result)
        return
    x = scope.as_vector(value)
    inputs = [x, layer_weight(scope, op, "B", w), scope.weight(op, "b", b)]
    scope.emit(op, "linear", inputs, result)


def _at_each_place(scope: Scope, op: Operation, w: Array, b: Array, result: Shape) -> None:
    """A linear layer over the last axis: a convolution by 1 x 1, channels last."""
    x = scope.with_channels_last(op)
    inputs = [x, layer_weight(scope, op, "B", w[:, None, None]), scope.weight(op, "b", b)]
    geometry = {"stride": (1, 1), "padding": (0, 0, 0, 0), "dilation": (1, 1), "groups": 1}
    scope.emit(op, "conv", inputs, result, Facing(last=True), **geometry)


def batch_norm(scope: Scope, op: Operation) -> None:
    """BatchNormalization as it infers."""
    if op.flag("training_mode"):
        raise NotSupportedError(
            "training_mode 1 changes its statistics", "export the model in eval mode"
        )
    op.one_output()
    _, shape = scope.value(op)
    channels = shape[1] if len(shape) > 1 else 1
    inputs = [scope.in_form(op)]
    epsilon = float(op.attributes.get("epsilon", 1e-5))
    for operand, what, letter in (
        ("scale", "scale", "gamma"),
        ("B", "bias", "beta"),
        ("mean", "mean", "mean"),
        ("var", "variance", "variance"),
    ):
        data = scope.floats(op, operand, what)
        if data.shape != (channels,):
            raise op.error(
                f"x{list(shape)} has {channels} channels but its {what} has the shape "
                f"{list(data.shape)}"
            )
        if operand == "var" and not float(data.min()) + epsilon > 0:
            raise op.error(f"its variance reaches {data.min()} and epsilon is {epsilon}")
        inputs.append(scope.weight(op, letter, data))
    scope.emit(op, "batch_norm", inputs, shape, epsilon=epsilon)
    scope.layers.add(op.outputs[0])
