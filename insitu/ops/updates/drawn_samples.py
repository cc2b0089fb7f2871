"""Which samples the layers before the last one learn from: drawn by the size of their error.

The last trained layer learns from every sample. Behind its update, with a probability that follows
the error, the backward pass goes on at a rate that is as much higher; else it ends there. So the
expectation of every step is what it was. Twin: draw_sample.c.
"""

from __future__ import annotations

import numpy as np

from insitu.fixed_point import F32, NO_BOUND, draw_bytes
from insitu.graph import model
from insitu.graph.builder import Builder
from insitu.graph.names import GENERATOR, LEARNING_RATE
from insitu.graph.rules import Quantizations, Values
from insitu.graph.scheme import fixed_fraction
from insitu.ops.numerics.by_type import suffix

DRAWN_RATE = "drawn_rate"
"""Activation float32[1]: the rate of the layers behind the draw in this step."""

STEPS = 32
"""Of the generator before a draw, so that its number shares no bit with the one before."""


def emit_draw(builder: Builder, node: model.Node, dy: str) -> None:
    """Behind the first update of a sampled step: draw whether the layers before `node` learn.

    Args:
        dy: the error of `node`, whose size the probability follows.
    """
    partial = builder.scheme.partial
    if partial.kind != "sampled" or DRAWN_RATE in builder.tensors:
        return
    dtype = np.float32 if builder.tensors[dy].qparams is None else np.int32
    largest = builder.state("largest_error", np.zeros(1, dtype), model.Role.STATISTIC)
    least, most = fixed_fraction(partial.least), fixed_fraction(partial.most)
    builder.node(
        draw_sample,
        (dy, largest, GENERATOR, LEARNING_RATE),
        name=f"{node.name}.draw",
        outputs=(DRAWN_RATE,),
        attributes={"least": least / 65536, "spread": (most - least) / 65536},
        updates=(largest, GENERATOR),
        layer=node.layer,
        phase=model.Phase.BACKWARD,
    )


def step_rate(builder: Builder) -> str:
    """The rate of the updates that are emitted now."""
    return DRAWN_RATE if DRAWN_RATE in builder.tensors else LEARNING_RATE


def _draw(node: model.Node, inputs: Values, outputs: Quantizations) -> list[model.Array]:
    dy, seen, generator, rate = (value.array for value in inputs)
    total = _size(dy)
    if not total <= NO_BOUND:
        return [rate, seen, generator]
    largest = max(seen.dtype.type(total), seen[0])
    highest = np.asarray([largest], seen.dtype)
    if seen[0] == 0:
        return [rate, highest, generator]
    share = F32(F32(total) / F32(largest))
    probability = F32(share * F32(node.attributes["spread"])) + F32(node.attributes["least"])
    _, state = draw_bytes(int(generator[0]), 4 * STEPS)
    kept = F32(state >> 8) * F32(2.0**-24) < probability
    drawn = F32(rate[0] / probability) if kept else F32(0.0)
    return [np.asarray([drawn], F32), highest, np.asarray([state], np.uint32)]


def _size(dy: model.Array) -> int | np.float32:
    """The sum of |dy|: exact, or in memory order, one rounding an addition."""
    if not np.issubdtype(dy.dtype, np.floating):
        return int(np.abs(dy.astype(np.int64)).sum())
    total = F32(0.0)
    with np.errstate(all="ignore"):
        for size in np.abs(dy).ravel():
            total = F32(total + size)
    return total


def _draw_c(node: model.Node, graph: model.Graph) -> model.CCall:
    return model.CCall(
        function=f"insitu_draw_sample_{suffix(node, graph)}",
        params_type="insitu_draw_sample_params_t",
        params={"size": graph.operand(node, "dy").size, **node.attributes},
        arguments=(*(f"${name}" for name in node.inputs), f"${node.outputs[0]}"),
    )


def _draw_bounds(node: model.Node, graph: model.Graph) -> list[model.Bound]:
    size = graph.operand(node, "dy").size
    return [model.Bound(f"{node.name}: sum of {size} errors", 127 * size)]


draw_sample = model.OpDef(
    name="draw_sample",
    operands=("dy", "largest", "generator", "rate"),
    infer=lambda attributes, inputs: [model.TensorType((1,), "float32")],
    integer_reference=_draw,
    c_call=_draw_c,
    bounds=_draw_bounds,
    ends=model.Ends.LEFT_OUT,
)
"""Rate of what follows: rate / p with probability p = least + spread sum |dy| / largest sum so far,
else 0, and the backward pass ends here. The first error is always kept. Inputs: dy, largest[1],
generator[1], rate[1]."""
