"""int8 outputs of ops without weights: from steps of the output's scale to what is stored."""

from __future__ import annotations

import numpy as np

from insitu.graph.model import Array, Node, QParams
from insitu.graph.rules import Arrays
from insitu.ops.numerics.ranges import reached


def put_out(node: Node, v: Array, y_q: QParams | None) -> Arrays:
    """v int64, in steps from the zero point -> y, and observed[2] where the node has that too."""
    assert y_q is not None
    y = np.clip(v + y_q.zero_point, y_q.clamp_min, y_q.clamp_max).astype(np.int8)
    return [y, reached(v)][: len(node.outputs)]


def error(v: Array) -> Array:
    """An error in steps of its scale -> int8."""
    return np.clip(v, -127, 127).astype(np.int8)
