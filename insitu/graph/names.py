"""Names of the tensors that every training step has, and no layer."""

from __future__ import annotations

from insitu.graph.model import Graph

LABEL = "label"
"""Input: int32[1], the class; or float32 in the shape of the scores, against real targets."""

LEARNING_RATE = "learning_rate"
"""State float32[1]: the rate of the present step."""

GENERATOR = "generator"
"""State uint32[1]: the random generator."""

SEED = "seed"
"""State uint32[1]: what the generator starts from."""

BATCH_COUNT = "batch_count"
"""State int32[1]: samples of the present batch."""


def order_of(graph: Graph) -> str:
    """Of the axes of users' samples, in words."""
    return "channels last" if graph.channels_last else "channels first"
