"""Is one step of the float training graph the step of SGD that torch's autograd computes?

Everything is float64. Each case's op stands behind a trained layer, whose update is wrong where
the op's input gradient is.
"""

from __future__ import annotations

import numpy as np
import pytest
from autograd import BATCH, assert_same_step_of
from case_layers import Case
from case_models import float_graph, samples, trainable
from cases import CASES, ENDS, LINEARS, MAP
from hypothesis import given, settings
from made_cases import examples, networks

from insitu.graph.model import Array
from insitu.prepare.simplify import simplify


def assert_same_step(case: Case, loss: str = "cross_entropy") -> None:
    graph = trainable(simplify(float_graph(case)), case.trained)
    x = samples(case, BATCH).astype(np.float64)
    scores, rng = graph.tensors[graph.outputs[0]], np.random.default_rng(case.seed)
    labels: Array = rng.integers(0, scores.size, BATCH)
    if loss != "cross_entropy":
        labels = rng.random((BATCH, *scores.shape))
    assert_same_step_of(graph, x, labels, loss)


@pytest.mark.parametrize("case", CASES)
def test_a_step_of_a_case_is_that_of_autograd(case: str) -> None:
    assert_same_step(CASES[case])


@pytest.mark.parametrize("loss", ["mse", "bce"])
@pytest.mark.parametrize("case", [*LINEARS, *ENDS, "map"])
def test_a_step_against_targets_is_that_of_autograd(case: str, loss: str) -> None:
    """torch's MSELoss and BCEWithLogitsLoss."""
    if "softmax" not in case:
        assert_same_step({**CASES, "map": MAP}[case], loss)


@given(case=networks())
@settings(max_examples=examples(100))
def test_a_step_of_any_network_is_that_of_autograd(case: Case) -> None:
    assert_same_step(case)
