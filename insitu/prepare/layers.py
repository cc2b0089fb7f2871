"""graph -> its layers as users see them: names, shapes, parameters, MACs; which to train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from insitu.errors import ConfigError, ModelError
from insitu.graph.model import Graph, Node
from insitu.graph.scheme import PartialUpdate


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A row of `insitu inspect`.

    Attributes:
        output_shape: channels last, without batch.
        parameters: weights and biases.
        macs: multiply-accumulates of a forward pass.
        trainable: the layer has weights that can be trained.
    """

    name: str
    op: str
    output_shape: tuple[int, ...]
    parameters: int
    macs: int
    trainable: bool


def list_layers(graph: Graph) -> tuple[Layer, ...]:
    """Every node of a float graph as a layer."""
    return tuple(
        Layer(
            name=node.name,
            op=node.attributes.get("op", node.op.name),
            output_shape=graph.tensors[node.outputs[0]].shape,
            parameters=sum(t.size for t in graph.inputs_of(node) if t.data is not None),
            macs=node.op.macs(node, graph),
            trainable=bool(node.op.weights),
        )
        for node in graph.nodes
    )


def select_layers(graph: Graph, wanted: str) -> frozenset[str]:
    """Names of the layers that "last:N", "all" or comma-separated globs mean.

    Raises:
        ModelError: there is no layer with weights.
        ConfigError: N is not a number of layers there are, or a glob matches none.
    """
    layers = [node for node in graph.nodes if node.op.weights]
    if not layers:
        raise ModelError(
            f"{graph.name}: {len(graph.nodes)} nodes but 0 layers with weights, so nothing "
            "can be trained; give a network with a convolution or a linear layer"
        )
    if wanted == "all":
        return frozenset(node.name for node in layers)
    if wanted.startswith("last:"):
        return frozenset(node.name for node in _last(layers, wanted, graph.name))
    names: set[str] = set()
    for pattern in (part.strip() for part in wanted.split(",")):
        matching = [node.name for node in layers if fnmatchcase(node.name, pattern)]
        if not matching:
            raise ConfigError(
                f'{graph.name}: no layer with weights is called "{pattern}"; there are: '
                f"{', '.join(node.name for node in layers)}"
            )
        names.update(matching)
    return frozenset(names)


def select_kept(graph: Graph, wanted: str) -> frozenset[str]:
    """Nodes of a network, not yet simplified, that are named for training but hold no weights.

    A glob that suits layers with weights means these; one that suits only other nodes, such as
    normalizations, asks for them as layers of their own.
    """
    names: set[str] = set()
    for pattern in (part.strip() for part in wanted.split(",")):
        matching = [node for node in graph.nodes if fnmatchcase(node.name, pattern)]
        if not any(node.op.weights for node in matching):
            names.update(node.name for node in matching)
    return frozenset(names)


def select_learning(
    graph: Graph, trained: frozenset[str], partial: PartialUpdate
) -> frozenset[str]:
    """Those of the trained layers that a partial update lets learn.

    Raises:
        ConfigError: a glob of a static update suits none of them.
    """
    if partial.kind != "static":
        return trained
    for part in partial.rows:
        if not any(fnmatchcase(name, part.pattern) for name in trained):
            raise ConfigError(
                f'{graph.name}: rows of "{part.pattern}" are to be trained but the layers that '
                f"are trained are {', '.join(sorted(trained))}; name one of them"
            )
    return frozenset(name for name in trained if partial.static_rows(name) is not None)


def _last(layers: Sequence[Node], wanted: str, network: str) -> Sequence[Node]:
    number = wanted.removeprefix("last:")
    if not number.isascii() or not number.isdigit() or not 1 <= int(number) <= len(layers):
        raise ConfigError(
            f'{network}: "{wanted}" but there are {len(layers)} layers with weights; '
            f"say last:1 to last:{len(layers)}"
        )
    return layers[-int(number) :]
