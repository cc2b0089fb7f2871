"""training-step graph, memory plan -> readable C."""

from insitu.generate.network import generate
from insitu.generate.state import StateLayout, state_layout

__all__ = ["StateLayout", "generate", "state_layout"]
