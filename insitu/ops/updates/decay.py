"""Weight decay of integers: rounded stochastically, with 32 bits a weight.

A layer that is updated in place loses one row's share a step, the next step the next row's.
Twin: buffer.c.
"""

from __future__ import annotations

import numpy as np

from insitu.fixed_point import F32, LFSR_POLYNOMIAL, round_clamp
from insitu.graph.builder import Builder
from insitu.graph.model import Array, CCall, Graph, Node, OpDef, Phase, Role
from insitu.graph.names import GENERATOR
from insitu.graph.rules import Quantizations, Values, no_outputs
from insitu.ops.updates.drawn_samples import step_rate


def emit_decay(builder: Builder, node: Node, w: str) -> None:
    """Emit the weight decay of a layer that is updated in place: one row a step, in turn."""
    row = builder.state("decay_row", np.zeros(1, np.int32), Role.STATISTIC, layer=node.layer)
    builder.node(
        decay,
        (step_rate(builder), GENERATOR, row, w),
        name=f"{node.name}.decay",
        attributes={"weight_decay": builder.scheme.weight_decay},
        updates=(GENERATOR, row, w),
        layer=node.layer,
        phase=Phase.UPDATE,
    )


def draw_words(state: int, count: int) -> tuple[Array, int]:
    """`count` steps of the generator, all 32 bits of each -> (words int64, next state)."""
    words = np.empty(count, np.int64)
    for index in range(count):
        state = (state >> 1) ^ (LFSR_POLYNOMIAL if state & 1 else 0)
        words[index] = state
    return words, state


def decay_multiplier(rate: np.float32, weight_decay: np.float32) -> int:
    """The part of a weight that is lost, times 2^32, clamped below a half."""
    return int(round_clamp(F32(rate * weight_decay) * F32(2.0**32), 0, 2**31 - 1))


def _decay(node: Node, inputs: Values, outputs: Quantizations) -> list[Array]:
    rate, generator, row, w = (value.array for value in inputs)
    shrink = decay_multiplier(F32(rate[0]), row_decay(node, len(w)))
    index = int(row[0])
    flat = w[index].reshape(-1).astype(np.int64)
    words, state = draw_words(int(generator[0]), flat.size)
    new = w.copy()
    new[index] = (flat - ((flat * shrink + words) >> 32)).reshape(w[index].shape)
    return [np.asarray([state], np.uint32), (row + 1) % np.int32(len(w)), new]


def row_decay(node: Node, rows: int) -> np.float32:
    """The weight decay of a row that has its turn once in `rows` steps."""
    return F32(F32(node.attributes["weight_decay"]) * F32(rows))


def _c_call(node: Node, graph: Graph) -> CCall:
    w = graph.operand(node, "w")
    return CCall(
        function="insitu_decay_s8",
        params_type="insitu_decay_params_t",
        params={
            "rows": w.shape[0],
            "weights": w.size // w.shape[0],
            "weight_decay": float(row_decay(node, w.shape[0])),
        },
        arguments=tuple(f"${name}" for name in node.inputs),
    )


decay = OpDef(
    "decay", no_outputs, ("rate", "generator", "row", "w"), integer_reference=_decay, c_call=_c_call
)
"""One row loses rate weight_decay rows of itself, the next step the next row; rounded
stochastically with 32 bits. Inputs: rate, generator, row[1], w."""
