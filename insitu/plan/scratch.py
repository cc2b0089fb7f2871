"""graph, bytes -> graph: kernels that can do with less scratch are told to.

Invariant: only nodes that take less under their limit change; what an op makes of it is its own
matter (`SCRATCH_LIMIT`), and results are the same in every bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from insitu.graph.model import SCRATCH_LIMIT, Graph, Node
from insitu.plan.lifetimes import find_lifetimes
from insitu.plan.place import ALIGNMENT, aligned


def limit_scratch(graph: Graph, limit_bytes: int) -> Graph:
    """Each kernel keeps to so many bytes of scratch, where it has a choice."""
    return _limited(graph, dict.fromkeys((node.name for node in graph.nodes), limit_bytes))


def fill_arena(graph: Graph, arena_bytes: int) -> Graph:
    """Each kernel keeps to what an arena of so many bytes has free while it runs."""
    lifetimes, _ = find_lifetimes(graph)
    free = {}
    for index, node in enumerate(graph.nodes):
        held = (
            aligned(life.nbytes)
            for life in lifetimes
            if life.first <= index <= life.last and life.scratch_of != node.name
        )
        free[node.name] = max(arena_bytes - sum(held), 0) // ALIGNMENT * ALIGNMENT
    return _limited(graph, free)


def _limited(graph: Graph, limits: Mapping[str, int]) -> Graph:
    def limited(node: Node) -> Node:
        wanted = node.op.scratch_bytes(node, graph)
        if wanted <= limits[node.name]:
            return node
        limit = {SCRATCH_LIMIT: limits[node.name]}
        less = replace(node, attributes={**node.attributes, **limit})
        return less if less.op.scratch_bytes(less, graph) < wanted else node

    return graph.with_nodes([limited(node) for node in graph.nodes])
