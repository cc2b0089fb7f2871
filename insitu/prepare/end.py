"""float graph, training -> float graph that ends as its loss wants; the layers that learn."""

from __future__ import annotations

from insitu.config import TrainingConfig
from insitu.data.labels import label_type
from insitu.errors import ConfigError, ModelError
from insitu.graph.model import Graph
from insitu.ops.losses.table import LOSSES, losses_with
from insitu.prepare.head import head_of, replace_head
from insitu.prepare.layers import select_layers, select_learning


def with_end(graph: Graph, training: TrainingConfig) -> Graph:
    """The graph, with a fresh head where one is wanted; refuses what the loss cannot follow."""
    if training.classes is not None:
        graph = replace_head(graph, training.classes)
    loss = training.loss
    for node in graph.nodes:
        suiting = losses_with(node.op)
        if suiting and loss not in suiting:
            raise ModelError(
                f'{graph.name}: ends in {node.op.name} "{node.name}", which belongs to the loss '
                f"{suiting[0]}, not {loss}; train with --loss {suiting[0]} or remove it"
            )
    labels = label_type(graph, loss)
    if labels.are_targets:
        return graph
    if labels.outputs > max(labels.shape):
        others = " or ".join(other.name for other in LOSSES.values() if other.targets)
        raise ModelError(
            f"{graph.name}: puts out a map {list(labels.first)}, channels first, "
            "but cross-entropy takes one score for each class; end the network with a pool over "
            f"the map and a flatten, or train it against targets with --loss {others}"
        )
    if labels.outputs < 2:
        raise ModelError(
            f"{graph.name}: {labels.outputs} score; cross-entropy needs 2 classes or more; end the "
            "network with a score for each class, or replace its last layer with --classes"
        )
    return graph


def layers_that_learn(graph: Graph, training: TrainingConfig) -> frozenset[str]:
    """Names of the layers to be trained; refuses a fresh head that would stay as it is."""
    trained = select_learning(graph, select_layers(graph, training.layers), training.scheme.partial)
    if training.classes is None:
        return trained
    head = f'{graph.name}: the head "{head_of(graph).name}" is new, with {training.classes} classes'
    if head_of(graph).name not in trained:
        raise ConfigError(
            f"{head}, but only {', '.join(sorted(trained))} would be trained; train it too"
        )
    if training.update == "bias":
        raise ConfigError(f'{head} and weights of 0; update "bias" would leave them so; say "full"')
    return trained
