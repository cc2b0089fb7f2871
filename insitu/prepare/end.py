"""float graph, training -> float graph that ends as its loss wants; the layers that learn."""

from __future__ import annotations

import math

from insitu.config import TrainingConfig
from insitu.data.labels import label_type
from insitu.errors import ConfigError, ModelError
from insitu.graph.model import Graph
from insitu.prepare.head import head_of, replace_head
from insitu.prepare.layers import select_layers, select_learning


def with_end(graph: Graph, training: TrainingConfig) -> Graph:
    """The graph, with a fresh head where one is wanted; refuses what the loss cannot follow."""
    if training.classes is not None:
        graph = replace_head(graph, training.classes)
    loss = training.loss
    for node in graph.nodes:
        if node.op.of_loss not in ("", loss):
            raise ModelError(
                f'{graph.name}: ends in {node.op.name} "{node.name}", which belongs to the loss '
                f"{node.op.of_loss}, not {loss}; train with --loss {node.op.of_loss} or remove it"
            )
    shape = graph.tensors[graph.outputs[0]].shape
    scores = math.prod(shape)
    if scores > max(shape) and loss == "cross_entropy":
        raise ModelError(
            f"{graph.name}: puts out a map {list(label_type(graph, loss).first)}, channels first, "
            "but cross-entropy takes one score for each class; end the network with a pool over "
            "the map and a flatten, or train it against targets with --loss mse or bce"
        )
    if scores < 2 and loss == "cross_entropy":
        raise ModelError(
            f"{graph.name}: {scores} score; cross-entropy needs 2 classes or more; end the network "
            "with a score for each class, or replace its last layer with --classes"
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
