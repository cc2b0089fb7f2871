"""The losses that there are, by the name that users give them, and the label that each takes.

Invariant: the label is the graph's tensor `LABEL`: int32[1], the class; or, for a loss against real
targets, float32 in the shape of the scores.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from insitu.fixed_point import F32
from insitu.graph.builder import Builder
from insitu.graph.model import Array, Graph, Node, OpDef, Phase
from insitu.graph.names import LABEL
from insitu.ops.losses.cross_entropy import error_qparams, softmax_cross_entropy
from insitu.ops.losses.targets import binary_cross_entropy, mean_squared_error

LOSSES: dict[str, OpDef] = {
    "cross_entropy": softmax_cross_entropy,
    "mse": mean_squared_error,
    "bce": binary_cross_entropy,
}

TARGETS = {"mse": (-math.inf, math.inf), "bce": (0.0, 1.0)}
"""Losses whose labels are real targets, and what these may be."""


def emit_label(builder: Builder, scores: str) -> str:
    """Declare the label that the scheme's loss takes; returns its name."""
    if builder.scheme.loss not in TARGETS:
        return builder.input(LABEL, (1,), dtype="int32")
    return builder.input(LABEL, builder.tensors[scores].shape, dtype="float32")


def emit_loss(builder: Builder, scores: str, label: str, *, integer: bool) -> tuple[str, str]:
    """Append the scheme's loss; returns the names of its error and its value."""
    scheme = builder.scheme
    attributes: dict[str, Any] = {"integer": integer, "skip": scheme.skip}
    if scheme.loss in TARGETS:
        squared = scheme.loss == "mse"
        attributes |= {
            "unit": scheme.error_unit if squared else 1.0,
            "factor": (2.0 if squared else 1.0) / builder.tensors[scores].size,
            "targets": TARGETS[scheme.loss],
        }
    dy, loss = builder.node(
        LOSSES[scheme.loss],
        (scores, label),
        name="loss",
        outputs=("loss.dy", "loss.value"),
        attributes=attributes,
        qparams=(error_qparams(attributes) if integer else None,),
        phase=Phase.LOSS,
    )
    return dy, loss


def loss_node(graph: Graph) -> Node:
    """The loss of a training step."""
    return next(node for node in graph.nodes if node.phase is Phase.LOSS)


def far_label(graph: Graph, scores: Array) -> Array:
    """A label whose error is as large as errors are, for scores[outputs] of a training step.

    Returns:
        int32[] the class that is least likely, or float32[outputs].
    """
    node = loss_node(graph)
    if "targets" not in node.attributes:
        return np.asarray(scores.argmin(), np.int32)
    low, high = node.attributes["targets"]
    if math.isinf(low):
        return np.asarray(scores + F32(2.0 * node.attributes["unit"]), F32)
    return np.where(scores > 0, F32(low), F32(high)).astype(F32)
