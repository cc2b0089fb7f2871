"""Activation functions of int8 as tables of 256 entries: what they hold, and who makes them.

A table belongs to a scale of its input and one of its output. Both its entries and the slopes, in
units of 2^-14, come from float32 operations. Twin: activation.c.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from insitu.errors import ModelError
from insitu.fixed_point import F32, round_clamp
from insitu.graph.model import Array, Call, CCall, Graph, Node, OpDef, QParams, TensorType
from insitu.graph.rules import Arrays, Attributes, Quantizations, Tensors, Types, Values, same_type
from insitu.ops.activations.functions import EXACT, FUNCTIONS, Function, steepest
from insitu.ops.numerics.arguments import observed, size_call
from insitu.ops.numerics.outputs import error
from insitu.ops.numerics.ranges import observed_too, reached

SLOPE_BITS = 14
"""Of a slope's fraction: int16 holds slopes in [-2, 2)."""

ENTRIES = 256

LARGEST_STEPS = 32767
"""A value in steps of the output, before its clamp, is clamped to +- this."""

GRID = np.arange(-128, 128)


def function_of(node: Node) -> Function:
    """The function that a node's attributes name."""
    return FUNCTIONS[node.attributes["function"]]


def check_slope(attributes: Attributes) -> None:
    """Refuse slopes that int16 does not hold.

    Raises:
        ModelError: a slope is 2 or more.
    """
    if not steepest(attributes) < 2:
        raise ModelError(
            f"{attributes['function']} has a slope of {steepest(attributes):g}, only slopes below "
            "2 are available; scale the weights before it instead"
        )


def table_of(node: Node, q: Array, x_q: QParams, y_q: QParams) -> Array:
    """int8: what becomes of stored values q."""
    y = _steps(node, q, x_q, y_q) + y_q.zero_point
    return np.asarray(np.clip(y, y_q.clamp_min, y_q.clamp_max), np.int8)


def slopes_of(node: Node, q: Array, x_q: QParams) -> Array:
    """int16: f' at stored values q, in units of 2^-14."""
    slope = function_of(node).slope(_real(q, x_q), node.attributes, EXACT)
    return round_clamp(slope * F32(2.0**SLOPE_BITS), -32768, 32767).astype(np.int16)


def reach(node: Node, x_q: QParams, y_q: QParams) -> Array:
    """observed[2]: the least and the largest of f over the input's range, in steps of the output.

    They lie at the range's ends, or where the function is lowest.
    """
    zero = x_q.zero_point
    lowest = F32(function_of(node).lowest) / F32(x_q.scale)
    place = zero + int(round_clamp(lowest, -128 - zero, 127 - zero))
    v = _steps(node, np.clip([-128, place, 127], x_q.clamp_min, x_q.clamp_max), x_q, y_q)
    return reached(v)


def times_slope(dy: Array, slope: Array) -> Array:
    """dx int8 of errors and slopes in units of 2^-14."""
    wide = dy.astype(np.int64) * slope + (1 << (SLOPE_BITS - 1))
    return error(wide >> SLOPE_BITS)


def _real(q: Array, x_q: QParams) -> Array:
    """float32 of what is stored."""
    return (q.astype(np.int64) - x_q.zero_point).astype(F32) * F32(x_q.scale)


def _steps(node: Node, q: Array, x_q: QParams, y_q: QParams) -> Array:
    """f of stored values, in steps of the output, int64."""
    value = function_of(node).value(_real(q, x_q), node.attributes, EXACT)
    return round_clamp(value * (F32(1.0) / F32(y_q.scale)), -LARGEST_STEPS, LARGEST_STEPS)


def function_call(
    kernel: str, following: Callable[[Node], tuple[str, ...]], *, slope: bool = False
) -> Call:
    """The call of a kernel that is given the node's function, or its slope, and `following`."""

    def c_call(node: Node, graph: Graph) -> CCall:
        chosen = f"insitu_{node.attributes['function']}{'_slope' if slope else ''}"
        return CCall(
            function=kernel,
            params_type="insitu_activation_params_t",
            params={
                "size": graph.tensors[node.outputs[0]].size,
                **{key: float(node.attributes[key]) for key in ("alpha", "beta")},
                "lowest": function_of(node).lowest,
            },
            arguments=(chosen, *following(node)),
        )

    return c_call


def _infer_table(attributes: Attributes, inputs: Tensors) -> Types:
    return observed_too(attributes, TensorType((ENTRIES,), "int8"))


def _table(node: Node, inputs: Values, outputs: Quantizations) -> Arrays:
    x_q, y_q = inputs[0].qparams, outputs[0]
    assert x_q is not None and y_q is not None
    return [table_of(node, GRID, x_q, y_q), reach(node, x_q, y_q)][: len(node.outputs)]


def _table_arguments(node: Node) -> tuple[str, ...]:
    table = node.outputs[0]
    return (f"?{node['x']}", f"?{table}", f"${table}", observed(node))


activation_table = OpDef(
    name="activation_table",
    infer=_infer_table,
    integer_reference=_table,
    c_call=function_call("insitu_activation_table", _table_arguments),
)
"""Scales in force -> table int8[256] [, observed int32[2]].

Input: x, for its scale alone. The table carries the quantization of the activation's output.
"""


def _slopes(node: Node, inputs: Values, outputs: Quantizations) -> Arrays:
    x_q = inputs[0].qparams
    assert x_q is not None
    return [slopes_of(node, GRID, x_q)]


activation_slopes = OpDef(
    name="activation_slopes",
    infer=lambda attributes, inputs: [TensorType((ENTRIES,), "int16")],
    integer_reference=_slopes,
    c_call=function_call(
        "insitu_activation_slopes",
        lambda node: (f"?{node['x']}", f"${node.outputs[0]}"),
        slope=True,
    ),
)
"""Scale in force -> slopes int16[256]. Input: x, for its scale alone."""


def _lookup_grad(node: Node, inputs: Values, outputs: Quantizations) -> Arrays:
    dy, x, slopes = (value.array for value in inputs)
    return [times_slope(dy, slopes[x.astype(np.int64) + 128])]


lookup_grad = OpDef(
    name="lookup_grad",
    operands=("dy", "x", "slopes"),
    infer=same_type,
    integer_reference=_lookup_grad,
    c_call=size_call("insitu_lookup_grad_s8"),
    in_place=((0, 0),),
)
"""dx = sat((dy slopes[x] + 2^13) >> 14). Inputs: dy, x, slopes."""
