"""Do targets given to compile ever make the errors of mse coarser than they must be, or held?"""

from __future__ import annotations

import numpy as np
import pytest
from case_layers import RELU, Case, linear
from case_models import float_graph

from insitu.config import TrainingConfig
from insitu.data.samples import Samples
from insitu.errors import DataError
from insitu.graph.model import Array
from insitu.prepare.simplify import simplify
from insitu.quantize import calibrate
from insitu.quantize.error_unit import with_error_unit

GRAPH = simplify(float_graph(Case((4,), (linear(8), RELU, linear(2)))))
X = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
RANGES = calibrate(GRAPH, X)
LOW, HIGH = RANGES[GRAPH.outputs[0]]
OWN = (HIGH - LOW) / 2
"""The unit without targets."""


def unit(y: Array | None) -> float:
    given = Samples(X, y, "calibration")
    return with_error_unit(TrainingConfig(loss="mse"), given, GRAPH, RANGES).error_unit


TARGETS = {
    "none": (None, OWN),
    "as-the-scores": (np.linspace(LOW, HIGH, 128), OWN),
    "a-hundredth": (0.01 * np.linspace(LOW, HIGH, 128), OWN),
    "elsewhere": (np.linspace(1000, 1000 + OWN, 128), OWN),
    "all-alike": (np.full(128, 7.0), OWN),
    "twenty-times": (20 * np.linspace(LOW, HIGH, 128), 20 * OWN),
}


@pytest.mark.parametrize("case", TARGETS)
def test_targets_can_only_widen_the_unit(case: str) -> None:
    """Below the scores' own range nearly all errors are held at first, and steps are too short."""
    y, wanted = TARGETS[case]
    targets = None if y is None else y.reshape(64, 2).astype(np.float32)
    assert unit(targets) == pytest.approx(wanted, rel=1e-5)


def test_targets_beyond_what_scales_hold_are_refused_with_their_range() -> None:
    with pytest.raises(DataError, match=r"from 0 to 1e\+30, .*scale the targets"):
        unit(np.linspace(0, 1e30, 128).reshape(64, 2).astype(np.float32))
