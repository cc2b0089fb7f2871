"""Activation functions that are neither a clip nor made of straight lines, and their gradients.

In integers y = round(f(x) / y_scale) + zero is a function of 256 values, a table: a constant where
neither scale moves; else made at every step, or, for maps smaller than the table, computed element
by element. All three are the same float32 operations, and so are those of the slopes in
dx = (dy slope + 2^13) >> 14. Twins: activation.c, activation_f32.c, functions.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from insitu.fixed_point import range_qparams
from insitu.graph.builder import Builder
from insitu.graph.model import Node, OpDef, Phase
from insitu.graph.rules import Arrays, Attributes, Quantizations, Tensors, Types, Values, same_type
from insitu.ops.activations import tables
from insitu.ops.activations.functions import EXACT, FUNCTIONS, REAL
from insitu.ops.numerics import ranges
from insitu.ops.numerics.arguments import pointers, rescaled, size_call
from insitu.ops.numerics.by_type import bit_exact, by_type

if TYPE_CHECKING:
    from insitu.graph.rewriter import Rewriter
    from insitu.quantize.assign import Quantizer


def _infer(attributes: Attributes, inputs: Tensors) -> Types:
    tables.check_slope(attributes)
    return ranges.observed_too(attributes, *same_type(attributes, inputs))


def _float(attributes: Attributes, inputs: Arrays) -> Arrays:
    return [FUNCTIONS[attributes["function"]].value(inputs[0], attributes, REAL)]


def _float_grad(attributes: Attributes, inputs: Arrays) -> Arrays:
    dy, x = inputs
    return [dy * FUNCTIONS[attributes["function"]].slope(x, attributes, REAL)]


def _integer(node: Node, inputs: Values, outputs: Quantizations) -> Arrays:
    x_q, y_q = inputs[0].qparams, outputs[0]
    assert x_q is not None and y_q is not None
    y = tables.table_of(node, inputs[0].array, x_q, y_q)
    return [y, tables.reach(node, x_q, y_q)][: len(node.outputs)]


def _exact_float(node: Node, inputs: Values, outputs: Quantizations) -> Arrays:
    return [tables.function_of(node).value(inputs[0].array, node.attributes, EXACT)]


def _integer_grad(node: Node, inputs: Values, outputs: Quantizations) -> Arrays:
    dy, x = inputs
    assert x.qparams is not None
    return [tables.times_slope(dy.array, tables.slopes_of(node, x.array, x.qparams))]


def _exact_float_grad(node: Node, inputs: Values, outputs: Quantizations) -> Arrays:
    dy, x = (value.array for value in inputs)
    return [dy * tables.function_of(node).slope(x, node.attributes, EXACT)]


def _lookup(node: Node, inputs: Values, outputs: Quantizations) -> Arrays:
    x, table = (value.array for value in inputs)
    return [table[x.astype(np.int64) + 128]]


def _quantize(quantizer: Quantizer, node: Node) -> None:
    """Emit the function itself or a lookup, after what moves and how large the map is.

    The output's range is that of the function where it has bounds, and the network none of its own;
    else the calibrated one, which follows what the function makes of its input's range where that
    moves.
    """
    builder, x = quantizer.builder, quantizer.quantized(node["x"])
    x_q, bounds = builder.tensors[x].qparams, tables.function_of(node).bounds
    assert x_q is not None
    dynamic = x_q.range is not None
    own = not dynamic and quantizer.known(node.outputs[0]) is not None
    if bounds is None or own:
        y_q = ranges.activation_qparams(quantizer, node, ranges.UNCLIPPED, dynamic=dynamic)
    else:
        y_q = range_qparams(*bounds, *ranges.UNCLIPPED)
    attributes = {**node.attributes, "observe": y_q.range is not None}
    direct = dynamic and builder.tensors[x].size < tables.ENTRIES
    if dynamic:
        made = builder.node(
            activation if direct else tables.activation_table,
            (x,),
            name=node.name if direct else f"{node.name}.table",
            outputs=(f"{node.name}.{'y' if direct else 'table'}", f"{node.name}.observed"),
            attributes=attributes,
            qparams=(y_q, y_q),
            layer=node.name,
        )
    else:
        made = (
            builder.constant(f"{node.name}.table", tables.table_of(node, tables.GRID, x_q, y_q)),
        )
    y = made[0]
    if not direct:
        (y,) = builder.node(
            lookup, (x, y), name=node.name, attributes=node.attributes, qparams=(y_q,)
        )
    quantizer.set(node.outputs[0], y)
    for name in made[1:]:
        ranges.emit_follow_range(builder, node, y_q, name)


def _vjp(builder: Builder, node: Node, dy: str, wanted: frozenset[str]) -> dict[str, str]:
    slopes = _slopes(builder, node, node["x"])
    op = tables.lookup_grad if slopes else activation_grad
    attributes = {key: node.attributes[key] for key in ("function", "alpha", "beta")}
    dx = builder.gradient(op, node, (dy, node["x"], *slopes), attributes=attributes)
    return {"x": dx}


def _slopes(builder: Builder, node: Node, x: str) -> tuple[str, ...]:
    """The table of the slopes, or nothing where they are computed element by element."""
    x_q, name = builder.tensors[x].qparams, f"{node.name}.slopes"
    if x_q is None or (x_q.range is not None and builder.tensors[x].size < tables.ENTRIES):
        return ()
    if x_q.range is None:
        return (builder.constant(name, tables.slopes_of(node, tables.GRID, x_q)),)
    return builder.node(
        tables.activation_slopes,
        (x,),
        name=name,
        outputs=(name,),
        attributes=node.attributes,
        layer=node.layer,
        phase=Phase.BACKWARD,
    )


def _simplify(rewriter: Rewriter, node: Node) -> bool:
    """At the end of a network that is trained with a loss of its kind it belongs to that."""
    return rewriter.is_of_loss(node, node.attributes["function"]) and rewriter.bypass(node)


activation = OpDef(
    name="activation",
    infer=_infer,
    float_reference=_float,
    integer_reference=bit_exact(_integer, _exact_float),
    vjp=_vjp,
    quantize=_quantize,
    simplify=_simplify,
    c_call=by_type(
        tables.function_call("insitu_activation_s8", rescaled),
        tables.function_call("insitu_activation_f32", pointers),
    ),
    in_place=((0, 0),),
)
"""y = f(x). Attributes function, a key of `FUNCTIONS`, and its alpha and beta."""

activation_grad = OpDef(
    name="activation_grad",
    operands=("dy", "x"),
    infer=same_type,
    float_reference=_float_grad,
    integer_reference=bit_exact(_integer_grad, _exact_float_grad),
    c_call=by_type(
        tables.function_call(
            "insitu_activation_grad_s8", lambda node: (f"?{node['x']}", *pointers(node)), slope=True
        ),
        tables.function_call("insitu_activation_grad_f32", pointers, slope=True),
    ),
    in_place=((0, 0),),
)
"""dx = dy f'(x). Inputs: dy, x."""

lookup = OpDef(
    name="lookup",
    operands=("x", "table"),
    infer=same_type,
    integer_reference=_lookup,
    vjp=_vjp,
    c_call=size_call("insitu_lookup_s8"),
    in_place=((0, 0),),
)
"""y = table[x]. Inputs: x, table; attributes those of the activation."""
