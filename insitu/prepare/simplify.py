"""float graph -> smaller float graph: the ops' own simplifications, applied until none is left.

What can be folded into what is said by the ops (`OpDef.simplify`, `OpDef.absorb`); this stage
only walks. The result computes the same function.
"""

from __future__ import annotations

from collections.abc import Set

from insitu.graph.model import Graph
from insitu.graph.rewriter import Rewriter
from insitu.ops.losses.table import LOSSES


def simplify(graph: Graph, loss: str = "cross_entropy", *, keep: Set[str] = frozenset()) -> Graph:
    """The graph with everything folded that can be.

    Args:
        loss: that the network is to be trained with; what it contains is dropped at the end.
        keep: names of nodes to stay as layers of their own, see `prepare.layers.select_kept`.
    """
    rewriter = Rewriter(graph, LOSSES[loss].absorbs, keep)
    changed = True
    while changed:
        changed = any(
            node.op.simplify is not None and node.op.simplify(rewriter, node)
            for node in rewriter.graph.nodes
        )
    return rewriter.finish()
