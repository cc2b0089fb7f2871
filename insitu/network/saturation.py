"""network, its state -> how many weights training brought to the end of their range, by layer.

Where ranges are fixed a weight stays at +-127 when a step would take it further. A few such weights
cost nothing; many mean that the learning rate is too high, or the range too narrow for the task.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from insitu.graph.model import Array
from insitu.network.compiled import Network

BOUND = 127

NOTABLE = 0.01
"""Share of a layer's weights from which on users are told."""

CURE = (
    "lower the rate, or compile with --weight-decay; a layer that is not pretrained has more room "
    "where it starts from larger weights, such as Kaiming's"
)
"""The range of a row is fixed by its weights at the start: see `ops.layers.initial`."""


def weights_at_bound(network: Network, state: bytes) -> dict[str, float]:
    """By trained layer, the share of its int8 weights at +-127 that did not start there.

    The largest weight of a row may start at its end, since that is what its range was taken from.
    Layers whose range follows the weights are left out: there none is stopped.

    Args:
        state: bytes of the state struct.
    """
    values = network.state.unpack(state)
    found = {}
    for layer in sorted(network.trained):
        fixed = network.state.fixed_range_weights
        weights = [t for t in fixed if t.layer == layer]
        if weights:
            stopped = sum(_arrived(t.data, values[t.name]) for t in weights)
            found[layer] = stopped / sum(t.size for t in weights)
    return found


def _arrived(start: Array | None, now: Array) -> int:
    """How many are at +-127 that were not."""
    before, after = (np.abs(np.asarray(a, np.int16)) == BOUND for a in (start, now))
    return int((after & ~before).sum())


def notable(shares: Mapping[str, float]) -> dict[str, float]:
    """Layers of which users are to be told, the largest share first."""
    told = {layer: share for layer, share in shares.items() if share > NOTABLE}
    return dict(sorted(told.items(), key=lambda item: -item[1]))
