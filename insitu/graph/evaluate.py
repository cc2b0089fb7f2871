"""graph, inputs -> every tensor's value: the float executor.

Activations carry a leading batch axis here. The integer executor is `run.reference`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from insitu.graph.model import Array, Graph, Kind


def evaluate_float(
    graph: Graph,
    inputs: Mapping[str, Array],
    *,
    observe: Callable[[str, Array], None] | None = None,
) -> dict[str, Array]:
    """Run a float graph.

    Args:
        inputs: by name: inputs, and state tensors whose value is not the initial one.
        observe: called with the name and value of each activation as it is made; then only the
            graph's outputs, and what nodes still need, are kept.

    Returns:
        Values by tensor name, updated state included.
    """
    values = {name: t.data for name, t in graph.tensors.items() if t.data is not None}
    values.update(inputs)
    last_use = _last_uses(graph) if observe else {}
    for index, node in enumerate(graph.nodes):
        assert node.op.float_reference is not None, node.op.name
        arguments = [values[name] for name in node.inputs if name]
        results = node.op.float_reference(node.attributes, arguments)
        for name, result in zip((*node.outputs, *node.updates), results, strict=True):
            values[name] = result
            if observe and name in node.outputs:
                observe(name, result)
        for name in last_use.get(index, ()):
            del values[name]
    return values


def _last_uses(graph: Graph) -> dict[int, list[str]]:
    """Node index -> activations that no later node reads."""
    last: dict[str, int] = {}
    for index, node in enumerate(graph.nodes):
        for name in (*node.inputs, *node.outputs):
            if name and graph.tensors[name].kind is Kind.ACTIVATION:
                last[name] = index
    by_index: dict[int, list[str]] = {}
    for name, index in last.items():
        if name not in graph.outputs:
            by_index.setdefault(index, []).append(name)
    return by_index
