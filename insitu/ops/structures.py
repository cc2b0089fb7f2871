"""Which rows of a layer learn from a sample: those with the largest error, or always the same.

The error of the other rows becomes 0; kernels pass over errors that are 0, so neither what these
rows add to the error before the layer nor their gradient is computed. Twin:
runtime/src/structures.c.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from insitu.errors import ConfigError
from insitu.fixed_point import F32
from insitu.graph.builder import Builder
from insitu.graph.model import (
    Array,
    Bound,
    CCall,
    Graph,
    Kind,
    Node,
    OpDef,
    Phase,
    QParams,
    TensorType,
    Value,
)
from insitu.graph.scheme import fixed_fraction


def select_error(builder: Builder, node: Node, dy: str) -> str:
    """dy[..., rows] with the rows that a dynamic update passes over set to 0; else dy itself."""
    partial = builder.scheme.partial
    if partial.kind != "dynamic":
        return dy
    error = builder.tensors[dy]
    dtype = np.float32 if error.qparams is None else np.int32
    largest = builder.constant(f"{node.name}.largest_error", np.zeros(1, dtype), kind=Kind.STATE)
    (selected,) = builder.node(
        select_rows,
        (dy, largest),
        name=f"{node.name}.select_rows",
        outputs=(f"{node.name}.selected",),
        attributes={
            "least": fixed_fraction(partial.least),
            "most": fixed_fraction(partial.most),
        },
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


def _select(dy: Array, seen: Array, attributes: Mapping[str, Any]) -> tuple[Array, Array]:
    """dy[..., rows], the largest error so far[1] -> the same two after the selection."""
    rows = dy.shape[-1]
    least, most = attributes["least"], attributes["most"]
    magnitude = np.abs(dy.reshape(-1, rows).astype(np.int64))
    sums = magnitude.sum(axis=0)
    total = int(sums.sum())
    largest = max(total, int(seen[0]))
    if total == 0:
        return dy, seen
    k = rows_to_keep(total, largest, rows, least, most)
    return np.where(largest_rows(sums, k), dy, dy.dtype.type(0)), np.asarray([largest], seen.dtype)


def _select_float(dy: Array, seen: Array, attributes: Mapping[str, Any]) -> tuple[Array, Array]:
    """The same in float, sums in memory order, one rounding an operation."""
    kind, rows = dy.dtype.type, dy.shape[-1]
    sums = np.zeros(rows, dy.dtype)
    for position in dy.reshape(-1, rows):
        sums = sums + np.abs(position)
    total = kind(0)
    for value in sums:
        total = total + value
    largest = max(total, kind(seen[0]))
    if not total > 0:
        return dy, seen
    least, most = (kind(attributes[name] / 65536) for name in ("least", "most"))
    share = least + total / largest * (most - least)
    k = min(max(int(share * kind(rows)), 1), rows)
    return np.where(largest_rows(sums, k), dy, kind(0)), np.asarray([largest], seen.dtype)


def _integer_select(
    node: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]
) -> list[Array]:
    dy, seen = inputs[0].array, inputs[1].array
    select = _select_float if dy.dtype == F32 else _select
    return list(select(dy, seen, node.attributes))


def _float_select(attributes: Mapping[str, Any], inputs: Sequence[Array]) -> list[Array]:
    """dy[batch, ..., rows], sample after sample."""
    dy, seen = inputs[0], inputs[1].astype(inputs[0].dtype)
    selected = np.empty_like(dy)
    for index, sample in enumerate(dy):
        selected[index], seen = _select_float(sample, seen, attributes)
    return [selected, seen]


def _suffix(dtype: str) -> str:
    return "f32" if dtype == "float32" else "s8"


def _select_c(node: Node, graph: Graph) -> CCall:
    dy, largest = node.inputs
    error = graph.tensors[dy]
    rows = error.shape[-1]
    return CCall(
        function=f"insitu_select_rows_{_suffix(error.dtype)}",
        params_type="insitu_select_rows_params_t",
        params={
            "positions": error.size // rows,
            "rows": rows,
            "least": node.attributes["least"],
            "most": node.attributes["most"],
        },
        arguments=(f"${dy}", "!", f"${largest}", f"${node.outputs[0]}"),
        source="structures.c",
    )


def _select_bounds(node: Node, graph: Graph) -> list[Bound]:
    error = graph.tensors[node.inputs[0]]
    return [
        Bound(f"{node.name}: sum of {error.size} errors", 127 * error.size),
        Bound(f"{node.name}: rows", error.shape[-1], 2**16 - 1),
    ]


select_rows = OpDef(
    name="select_rows",
    infer=lambda attributes, inputs: [TensorType(inputs[0].shape, inputs[0].dtype)],
    float_reference=_float_select,
    integer_reference=_integer_select,
    c_call=_select_c,
    scratch_bytes=lambda node, graph: 4 * graph.tensors[node.inputs[0]].shape[-1],
    in_place=((0, 0),),
    bounds=_select_bounds,
)
"""The k rows with the largest sum of |error| keep their error. Inputs: dy[..., rows], largest[1].

Attributes least, most: fractions of the rows, times 2^16."""


def _keep(attributes: Mapping[str, Any], dy: Array) -> Array:
    row = np.arange(dy.shape[-1])
    kept = (row >= attributes["first"]) & (row < attributes["end"])
    return np.where(kept, dy, dy.dtype.type(0))


def _keep_c(node: Node, graph: Graph) -> CCall:
    error = graph.tensors[node.inputs[0]]
    rows = error.shape[-1]
    return CCall(
        function=f"insitu_keep_rows_{_suffix(error.dtype)}",
        params_type="insitu_keep_rows_params_t",
        params={
            "positions": error.size // rows,
            "rows": rows,
            "first": node.attributes["first"],
            "end": node.attributes["end"],
        },
        arguments=(f"${node.inputs[0]}", f"${node.outputs[0]}"),
        source="structures.c",
    )


keep_rows = OpDef(
    name="keep_rows",
    infer=lambda attributes, inputs: [TensorType(inputs[0].shape, inputs[0].dtype)],
    float_reference=lambda attributes, inputs: [_keep(attributes, inputs[0])],
    integer_reference=lambda node, inputs, outputs: [_keep(node.attributes, inputs[0].array)],
    c_call=_keep_c,
    in_place=((0, 0),),
)
"""Rows [first, end) keep their error. Input: dy[..., rows]."""
