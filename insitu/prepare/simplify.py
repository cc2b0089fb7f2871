"""float graph -> smaller float graph: the ops' own simplifications, applied until none is left.

What can be folded into what is said by the ops (`OpDef.simplify`, `OpDef.absorb`); this stage
only walks. The result computes the same function.
"""

from __future__ import annotations

import heapq
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
    while _walked(rewriter):
        pass
    return rewriter.finish()


def _walked(rewriter: Rewriter) -> bool:
    """Simplify until nothing is left beside what was changed; whether something was.

    The first node in order that can be simplified is, each time. Nodes that could not be are asked
    again where something beside them has changed, and once more when `simplify` walks again.
    """
    rewriter.changed()
    places = {node.name: place for place, node in enumerate(rewriter.graph.nodes)}
    names = list(places)
    waiting, asked = list(range(len(names))), set(range(len(names)))
    found = False
    while waiting:
        place = heapq.heappop(waiting)
        asked.discard(place)
        node = rewriter.named(names[place])
        if node is None or node.op.simplify is None or not node.op.simplify(rewriter, node):
            continue
        found = True
        beside = [each.name for each in rewriter.changed()]  # new nodes wait for the next walk
        for near in {places[name] for name in beside if name in places} - asked:
            heapq.heappush(waiting, near)
            asked.add(near)
    return found
