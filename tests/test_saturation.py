"""Are users told which layers' weights training has brought to the end of their range?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_report import HISTORY, TWIN, compiled, ran, said

from insitu.network import Network
from insitu.report import text
from insitu.saturation import weights_at_bound


@pytest.fixture(scope="module")
def network() -> Network:
    return compiled()


def stopped(network: Network, rows: int) -> bytes:
    """The state at the start, but with so many rows of fc2 at the end of their range."""
    values = {t.name: np.array(t.data) for t in network.state.tensors}
    values["fc2.w"][:rows] = -127
    return network.state.pack(values)


def test_only_weights_that_training_stopped_count(network: Network) -> None:
    weights = network.graph.tensors["fc2.w"].data
    assert weights is not None and (np.abs(weights[:2].astype(int)) == 127).sum() >= 2
    assert weights_at_bound(network, stopped(network, 0)) == {"conv2": 0, "fc1": 0, "fc2": 0}
    moved = int((np.abs(weights[:2].astype(int)) != 127).sum())
    assert weights_at_bound(network, stopped(network, 2))["fc2"] == moved / weights.size


def test_layers_with_many_are_named(network: Network) -> None:
    figures = replace(ran(network), state=stopped(network, 2)).figures
    words = " ".join(said(text.print_run, figures).split())
    assert "% of fc2's weights came to the end of their range" in words
    assert "fc1's weights" not in words
    history = replace(HISTORY, at_bound={"fc1": 0.0123, "fc2": 0.004})
    words = " ".join(said(text.print_twin, TWIN, history).split())
    assert "1.2 % of fc1's weights" in words and "fc2's weights" not in words
