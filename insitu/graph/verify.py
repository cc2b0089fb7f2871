"""graph -> nothing, or an error: the invariants of `graph.model`, and the ops' numeric bounds."""

from __future__ import annotations

from insitu.errors import ModelError
from insitu.graph.model import Graph, Kind, Node


def verify(graph: Graph) -> None:
    """Check a graph that a stage has made.

    Raises:
        ModelError: a sum could overflow its accumulator for this network's shapes.
        AssertionError: the graph is malformed, which is our own bug.
    """
    written = {t.name for t in graph.tensors.values() if t.kind is not Kind.ACTIVATION}
    for node in graph.nodes:
        for name in node.inputs:
            assert not name or name in written, f"{node.name} reads {name} before it is written"
        for name in node.outputs:
            assert name not in written, f"{node.name} writes {name} a second time"
            assert name in graph.tensors, name
            written.add(name)
        for name in node.updates:
            assert graph.tensors[name].kind is Kind.STATE, f"{node.name} updates {name}"
        _check_bounds(graph, node)
    for name in graph.outputs:
        assert name in written, f"{name} is never written"


def _check_bounds(graph: Graph, node: Node) -> None:
    for bound in node.op.bounds(node, graph):
        if bound.largest > bound.limit:
            raise ModelError(
                f"{graph.name}: {bound.what} could reach {bound.largest}, beyond {bound.limit} "
                "of its 32-bit accumulator; split the layer, pool before it or take a smaller batch"
            )
