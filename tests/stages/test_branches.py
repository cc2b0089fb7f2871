"""Branches of unlike size that meet side by side: do 8 bits hold each of them?"""

from __future__ import annotations

import numpy as np
import pytest
from case_layers import ALL_1, FLATTEN, RELU, Case, conv, linear, max_pool
from case_models import float_graph, samples
from mixing_cases import concat

from insitu.data.samples import Samples
from insitu.errors import PrecisionWarning
from insitu.graph.evaluate import evaluate_float
from insitu.graph.model import Array, Graph
from insitu.measure.fidelity import measure_fidelity
from insitu.prepare.simplify import simplify
from insitu.quantize import Sized, calibrate, with_alike_branches

MAPS = Case(
    (6, 6, 2),
    (
        *(conv(3, padding=ALL_1), RELU, conv(3, padding=ALL_1, of=(0,)), RELU),
        *(concat(2, 4), max_pool(), FLATTEN, linear(4)),
    ),
)
FEATURES = Case((6,), (linear(4), RELU, linear(4, of=(0,)), RELU, concat(2, 4, axis=0), linear(4)))
CASES = {"maps": MAPS, "features": FEATURES}


def unlike(case: Case) -> Graph:
    """The first branch a 300th of what it was, and weighed 300 times as much."""
    graph = simplify(float_graph(case))
    first, *_, last = graph.nodes
    for name in first.inputs[1:]:
        data = graph.tensors[name].data
        assert data is not None
        data /= 300
    w, branch = graph.operand(last, "w"), graph.tensors[first.outputs[0]].shape[-1]
    assert w.data is not None
    small = np.arange(w.shape[1]) % (2 * branch) < branch
    w.data[:, small] *= 300
    return graph


def scores(graph: Graph, x: Array) -> Array:
    return evaluate_float(graph, {graph.inputs[0]: x.astype(np.float64)})[graph.outputs[0]]


@pytest.mark.parametrize("name", CASES)
def test_a_small_branch_is_scaled_up(name: str) -> None:
    graph, x = unlike(CASES[name]), samples(CASES[name], 100)
    ranges = calibrate(graph, x)
    alike = with_alike_branches(graph, ranges)
    np.testing.assert_allclose(scores(alike, x), scores(graph, x), rtol=1e-4, atol=1e-4)
    given = Samples(x.transpose(0, 3, 1, 2) if x.ndim == 4 else x, None, "x")
    before = measure_fidelity(Sized(graph, ranges), given)
    after = measure_fidelity(Sized(alike, calibrate(alike, x)), given)
    assert before.score_cosine < 0.97
    assert after.score_cosine > 0.999


@pytest.mark.parametrize("name", CASES)
def test_branches_of_one_size_stay_as_they_are(name: str) -> None:
    graph = simplify(float_graph(CASES[name]))
    assert with_alike_branches(graph, calibrate(graph, samples(CASES[name], 100))) is graph


def test_a_branch_that_cannot_be_scaled_gets_a_warning() -> None:
    """The sample itself, beside a layer's output."""
    case = Case((6,), (linear(4), RELU, concat(0, 2, axis=0), linear(4)), scale=1e-3, bias=1e4)
    graph = simplify(float_graph(case))
    said = r'concat "concat3": branch 0 of 2 has a range of .* no layer alone makes it; put a norm'
    with pytest.warns(PrecisionWarning, match=said):
        assert with_alike_branches(graph, calibrate(graph, samples(case, 100))) is graph
