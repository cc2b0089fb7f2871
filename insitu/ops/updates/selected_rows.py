"""Which rows of a layer learn from a sample: those with the largest error, or always the same.

The error of the other rows becomes 0; kernels pass over errors that are 0, so neither what these
rows add to the error before the layer nor their gradient is computed. Twin:
select_rows.c, select_rows_f32.c.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from insitu.errors import ConfigError
from insitu.fixed_point import F32
from insitu.graph.builder import Builder
from insitu.graph.model import Array, Bound, CCall, FloatReference, Graph, Node, OpDef, Phase, Role
from insitu.graph.rules import Arrays, Attributes, Quantizations, Values, same_type
from insitu.graph.scheme import fixed_fraction
from insitu.ops.numerics.by_type import suffix


def select_error(builder: Builder, node: Node, dy: str) -> str:
    """dy[..., rows] as a dynamic update leaves it; dy itself for the others."""
    partial = builder.scheme.partial
    if partial.kind != "dynamic":
        return dy
    error = builder.tensors[dy]
    dtype = np.float32 if error.qparams is None else np.int32
    largest = builder.state("largest_error", np.zeros(1, dtype), Role.STATISTIC, layer=node.layer)
    (selected,) = builder.node(
        select_rows,
        (dy, largest),
        name=f"{node.name}.select_rows",
        outputs=(f"{node.name}.selected",),
        attributes={"least": fixed_fraction(partial.least), "most": fixed_fraction(partial.most)},
        qparams=(error.qparams,),
        updates=(largest,),
        layer=node.layer,
        phase=Phase.BACKWARD,
    )
    return selected


def keep_error(builder: Builder, node: Node, dy: str) -> str | None:
    """dy[..., rows] with only the rows that a static update trains; None where it trains none.

    Raises:
        ConfigError: the layer has fewer rows than the update names.
    """
    partial = builder.scheme.partial
    if partial.kind != "static":
        return dy
    part = partial.static_rows(node.layer)
    if part is None:
        return None
    error = builder.tensors[dy]
    rows = error.shape[-1]
    first, end = part.of(rows)
    if end > rows:
        raise ConfigError(
            f'{node.op.name} "{node.layer}": rows {first}-{end} are to be trained but it has '
            f"{rows}; say {part.pattern}={min(first, rows - 1)}-{rows} or less"
        )
    if (first, end) == (0, rows):
        return dy
    (kept,) = builder.node(
        keep_rows,
        (dy,),
        name=f"{node.name}.keep_rows",
        outputs=(f"{node.name}.kept",),
        attributes={"first": first, "end": end},
        qparams=(error.qparams,),
        layer=node.layer,
        phase=Phase.BACKWARD,
    )
    return kept


def rows_to_keep(total: int, largest: int, rows: int, least: int, most: int) -> int:
    """k = max(floor((least + total / largest (most - least)) rows), 1), exactly.

    Args:
        total, largest: sum of |error| over the layer, now and at its largest; total <= largest.
        least, most: fractions of the rows, times 2^16.

    Source: Deutel et al. 2025, dynamic partial updates; the mean error is the sum over the
    number of elements, which does not change.
    """
    share = least * largest + (most - least) * total
    return max(rows * share // (largest << 16), 1)


def largest_rows(sums: Array, k: int) -> Array:
    """Which k of sums[rows] are the largest, bool[rows]; of equal ones the first."""
    kept = np.zeros(len(sums), bool)
    kept[np.argsort(-sums, kind="stable")[:k]] = True
    return kept


@dataclass(frozen=True)
class RowErrors:
    """What the rule asks of dy[..., rows]: sums of |error|, and how many rows may stay.

    Attributes:
        sums: of each row; int64, or float32 summed in memory order.
        total: of all rows. largest: the largest total so far, this one included.
        k: 0 where there is no error at all, or one that is not finite.
    """

    sums: Array
    total: int | np.floating
    largest: int | np.floating
    k: int


def row_errors(dy: Array, seen: Array, attributes: Attributes) -> RowErrors:
    """In integers exactly; in float in memory order, one rounding an operation."""
    rows = dy.shape[-1]
    least, most = attributes["least"], attributes["most"]
    if not np.issubdtype(dy.dtype, np.floating):
        sums = np.abs(dy.reshape(-1, rows).astype(np.int64)).sum(axis=0)
        total = int(sums.sum())
        largest = max(total, int(seen[0]))
        k = rows_to_keep(total, largest, rows, least, most) if total else 0
        return RowErrors(sums, total, largest, k)
    kind = dy.dtype.type
    sums, sum_of_all = np.zeros(rows, dy.dtype), kind(0)
    for position in dy.reshape(-1, rows):
        sums = sums + np.abs(position)
    for value in sums:
        sum_of_all = sum_of_all + value
    highest = max(sum_of_all, kind(seen[0]))
    if not 0 < sum_of_all <= np.finfo(F32).max:
        return RowErrors(sums, sum_of_all, highest, 0)
    share = sum_of_all / highest * kind((most - least) / 65536) + kind(least / 65536)
    k = min(max(int(share * kind(rows)), 1), rows)
    return RowErrors(sums, sum_of_all, highest, k)


def _select(attributes: Attributes, dy: Array, seen: Array) -> list[Array]:
    errors = row_errors(dy, seen, attributes)
    if errors.k == 0:
        return [dy, seen]
    kept = largest_rows(errors.sums, errors.k)
    return [np.where(kept, dy, dy.dtype.type(0)), np.asarray([errors.largest], seen.dtype)]


def _integer_select(node: Node, inputs: Values, outputs: Quantizations) -> list[Array]:
    dy, seen = (value.array for value in inputs)
    return _select(node.attributes, dy, seen)


def _sample_by_sample(rule: Callable[..., list[Array]]) -> FloatReference:
    """The rule for dy[batch, ..., rows], one sample after the other."""

    def reference(attributes: Attributes, inputs: Arrays) -> list[Array]:
        dy, *state = inputs
        selected = np.empty_like(dy)
        for index, sample in enumerate(dy):
            selected[index], *state = rule(attributes, sample, *state)
        return [selected, *state]

    return reference


def _rows_call(node: Node, graph: Graph, fields: tuple[str, str], *arguments: str) -> CCall:
    """The call of a kernel of rows; fields: the attributes that it takes."""
    error = graph.operand(node, "dy")
    rows = error.shape[-1]
    return CCall(
        function=f"insitu_{node.op.name}_{suffix(node, graph)}",
        params_type=f"insitu_{node.op.name}_params_t",
        params={
            "positions": error.size // rows,
            "rows": rows,
            **{name: node.attributes[name] for name in fields},
        },
        arguments=(f"${error.name}", *arguments, f"${node.outputs[0]}"),
    )


def _select_c(node: Node, graph: Graph) -> CCall:
    return _rows_call(node, graph, ("least", "most"), "!", f"${node['largest']}")


def _select_bounds(node: Node, graph: Graph) -> list[Bound]:
    error = graph.operand(node, "dy")
    return [
        Bound(f"{node.name}: sum of {error.size} errors", 127 * error.size),
        Bound(f"{node.name}: rows", error.shape[-1], 2**16 - 1),
    ]


select_rows = OpDef(
    name="select_rows",
    operands=("dy", "largest"),
    infer=same_type,
    float_reference=_sample_by_sample(_select),
    integer_reference=_integer_select,
    c_call=_select_c,
    scratch_bytes=lambda node, graph: 4 * graph.operand(node, "dy").shape[-1],
    in_place=((0, 0),),
    bounds=_select_bounds,
    silences=True,
)
"""The k rows with the largest sum of |error| keep their error. Inputs: dy[..., rows], largest[1].

Attributes least, most: fractions of the rows, times 2^16."""


def _keep(attributes: Attributes, inputs: Arrays) -> list[Array]:
    (dy,) = inputs
    row = np.arange(dy.shape[-1])
    kept = (row >= attributes["first"]) & (row < attributes["end"])
    return [np.where(kept, dy, dy.dtype.type(0))]


keep_rows = OpDef(
    name="keep_rows",
    operands=("dy",),
    infer=same_type,
    float_reference=_keep,
    integer_reference=lambda node, inputs, _: _keep(node.attributes, [v.array for v in inputs]),
    c_call=lambda node, graph: _rows_call(node, graph, ("first", "end")),
    in_place=((0, 0),),
    silences=True,
)
"""Rows [first, end) keep their error. Input: dy[..., rows]."""
