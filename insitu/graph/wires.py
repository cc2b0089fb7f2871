"""nodes -> who writes a tensor and who reads it, looked up once for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from insitu.graph.model import Node


class Wires(NamedTuple):
    """Tensor -> the first node that writes it, and those that read it, in order and each once."""

    makers: Mapping[str, Node]
    readers: Mapping[str, list[Node]]


def wires_of(nodes: Iterable[Node]) -> Wires:
    """The wires between nodes; the name "" of what is left out has readers too."""
    makers: dict[str, Node] = {}
    readers: dict[str, list[Node]] = {}
    for node in nodes:
        for name in dict.fromkeys(node.inputs):
            readers.setdefault(name, []).append(node)
        for name in node.outputs:
            makers.setdefault(name, node)
    return Wires(makers, readers)
