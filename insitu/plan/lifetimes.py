"""graph -> lifetimes, aliases: from which node to which node each byte of the arena is needed.

Invariant: a tensor is alive from the node that writes it to the last that reads it, both included;
a node's scratch during that node alone. Inputs, constants and state live elsewhere.
"""

from __future__ import annotations

from insitu.artifacts import Lifetime
from insitu.graph.model import Graph, Kind, Phase


def find_lifetimes(graph: Graph) -> tuple[tuple[Lifetime, ...], dict[str, str]]:
    """What must be placed, and whose memory each activation shares.

    Returns:
        The lifetimes, in the order in which they start: one for each piece of memory, named after
        the tensor that is written to it first, or "NODE!scratch"; and for every activation the
        name of its lifetime.
    """
    last = _last_uses(graph)
    aliases: dict[str, str] = {}
    span: dict[str, tuple[int, int, int, str | None]] = {}  # name -> bytes, first, last, scratch of
    for index, node in enumerate(graph.nodes):
        for output, name in enumerate(node.outputs):
            tensor = graph.tensors[name]
            if tensor.kind is not Kind.ACTIVATION:
                continue
            taken = {aliases[other] for other in node.outputs[:output] if other in aliases}
            owner = _shared_memory(graph, index, output, last, aliases, taken)
            first = span[owner][1] if owner else index
            aliases[name] = owner or name
            span[aliases[name]] = (tensor.nbytes, first, last[name], None)
        scratch_bytes = node.op.scratch_bytes(node, graph)
        if scratch_bytes > 0:
            span[f"{node.name}!scratch"] = (scratch_bytes, index, index, node.name)
    lifetimes = (
        Lifetime(name=name, nbytes=nbytes, first=first, last=end, scratch_of=node)
        for name, (nbytes, first, end, node) in span.items()
    )
    return tuple(lifetimes), aliases


def _last_uses(graph: Graph) -> dict[str, int]:
    """For each activation, the last node at which it is still needed.

    Outputs of the graph are read by the caller: those of the forward pass when it ends (`predict`
    stops there), others when the step ends.
    """
    forward = [i for i, node in enumerate(graph.nodes) if node.phase is Phase.FORWARD]
    last: dict[str, int] = {}
    for index, node in enumerate(graph.nodes):
        for name in (*node.inputs, *node.outputs):
            if name:
                last[name] = index
    for index, node in enumerate(graph.nodes):
        for name in node.outputs:
            if name in graph.outputs:
                end = forward[-1] if node.phase is Phase.FORWARD else len(graph.nodes) - 1
                last[name] = max(last[name], end, index)
    return last


def _shared_memory(
    graph: Graph,
    index: int,
    output: int,
    last: dict[str, int],
    aliases: dict[str, str],
    taken: set[str],
) -> str | None:
    """The lifetime that an output can continue in place, or None where it needs its own.

    The input must be an activation of equal size that nobody needs after this node, the caller
    included, that the node reads through one operand only, and that none of its other outputs has
    `taken`.
    """
    node = graph.nodes[index]
    nbytes = graph.tensors[node.outputs[output]].nbytes
    for pair in node.op.in_place:
        if pair[0] != output or pair[1] >= len(node.inputs):
            continue
        name = node.inputs[pair[1]]
        if (
            name in aliases
            and name not in graph.outputs
            and aliases[name] not in taken
            and last[name] == index
            and node.inputs.count(name) == 1
            and graph.tensors[name].nbytes == nbytes
        ):
            return aliases[name]
    return None
