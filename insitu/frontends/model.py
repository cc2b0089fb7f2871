"""a front end's answer: the float graph, how users' data must look, what is not supported.

Invariant: where `unsupported` is empty, the graph holds no `opaque` node and is ready for the next
stage; else it serves `insitu inspect` only.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from insitu.errors import ModelError
from insitu.graph.model import Graph


@dataclass(frozen=True)
class Unsupported:
    """A node of the user's network that we cannot train.

    Attributes:
        name: the node's name in the graph.
        op: its operator as the foreign format calls it.
        reason: why, with both numbers where there are any.
        advice: what the user can do about it.
    """

    name: str
    op: str
    reason: str
    advice: str


@dataclass(frozen=True, eq=False)
class Model:
    """A network as read.

    Attributes:
        graph: float ops, channels last; nodes are named after the network's own nodes.
        input_shape: of one sample of the users' data, as the file has it, without batch.
        unsupported: every node that stands in the way, in order of execution.
        notes: what of the file is not kept, though it stands in no way.
    """

    name: str
    graph: Graph = field(repr=False)
    input_shape: tuple[int, ...]
    unsupported: tuple[Unsupported, ...] = ()
    notes: tuple[str, ...] = ()

    def check_supported(self) -> None:
        """Raise where a node stands in the way."""
        if self.unsupported:
            nodes = "; ".join(f'{u.op} "{u.name}": {u.reason}' for u in self.unsupported)
            raise ModelError(
                f"{self.name}: {len(self.unsupported)} unsupported "
                f"node{'s' * (len(self.unsupported) > 1)}: {nodes}; see insitu inspect"
            )
