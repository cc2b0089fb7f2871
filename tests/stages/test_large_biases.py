"""Biases that are large beside what weights and inputs make: are they as in float, or refused?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from insitu.errors import ModelError, PrecisionWarning
from insitu.frontends.model import Model
from insitu.graph.builder import Builder
from insitu.graph.evaluate import evaluate_float
from insitu.graph.model import Array, Graph
from insitu.graph.scheme import Scheme
from insitu.ops import OPS
from insitu.pipeline import compare
from insitu.quantize import calibrate, input_units, quantize_graph
from insitu.run.reference import Reference

BIAS = np.asarray([1, -1, 0.5, 0.3, 0.2, 1, -0.5, 0.8])
RNG = np.random.default_rng(6)
W, X, TOP = RNG.normal(size=(8, 4)), RNG.normal(size=(64, 4)), RNG.normal(size=(3, 8))
ONE_ORDINARY = W * 1e-7
ONE_ORDINARY[3] = W[3]


def network(layers: Mapping[str, tuple[Array, Array]]) -> Graph:
    """Linear layers by name, with a ReLU between them."""
    builder = Builder("biases")
    h = builder.input("x", (4,))
    for name, (w, b) in layers.items():
        parameters = [
            builder.constant(f"{name}.{key}", value.astype(np.float32))
            for key, value in (("w", w), ("b", b))
        ]
        clip = {} if name == "scores" else {"clip": (0.0, np.inf)}
        (h,) = builder.node(OPS["linear"], (h, *parameters), name=name, attributes=clip)
    return builder.finish((h,))


def scores(
    graph: Graph, x: Array, trained: frozenset[str], scheme: Scheme | None = None
) -> tuple[Array, Array]:
    """In float and in integers."""
    x = x.astype(np.float32)
    units, ranges = input_units(graph, x, calibrate(graph, x), trained, "minmax")
    integers = quantize_graph(graph, ranges, trained, scheme, units)
    q = integers.sample.qparams
    assert q is not None
    reference, offset = Reference(integers), 0 if units is None else units.offset
    grid = np.clip(np.rint((x - offset) / q.channel_scale) + q.zero_point, -128, 127)
    got = [reference.predict(row) for row in grid.astype(np.int8)]
    return evaluate_float(graph, {"x": x.astype(np.float64)})[graph.outputs[0]], np.stack(got)


CASES = {
    "tiny-weights": (W * 1e-6, BIAS, X),
    "tinier-weights": (W * 1e-7, BIAS, X),
    "denormal-weights": (W * 1e-40, BIAS, X),
    "weights-of-0": (W * 0, BIAS, X),
    "microvolts": (W * 0.3, BIAS, X * 1e-6),
    "tenths-of-microvolts": (W * 0.3, BIAS, X * 1e-7),
    "one-ordinary-row": (ONE_ORDINARY, BIAS, X),
    "beyond-float32": (W * 1e-30, BIAS, X * 1e30),
    "large-biases": (W * 1e-7, BIAS * 500, X),
}
TRAINED = {
    "all": frozenset({"hidden", "scores"}),
    "last": frozenset({"scores"}),
    "first": frozenset({"hidden"}),
}


@pytest.mark.parametrize("trained", TRAINED)
@pytest.mark.parametrize("name", CASES)
def test_a_large_bias_is_as_in_float(name: str, trained: str) -> None:
    w, b, x = CASES[name]
    graph = network({"hidden": (w, b), "scores": (TOP, np.zeros(3))})
    want, got = scores(graph, x, TRAINED[trained])
    assert np.abs(got - want).max() < 0.02 * np.abs(want).max()
    assert (got.argmax(axis=1) == want.argmax(axis=1)).mean() > 0.95


@pytest.mark.parametrize("name", [name for name in CASES if name != "beyond-float32"])
def test_a_frozen_layer_behind_a_trained_one_holds_it_too(name: str) -> None:
    w, b, x = CASES[name]
    first = (np.eye(8, 4) * 2, np.zeros(8))
    middle = (np.hstack([w, w * 0]), b)
    graph = network({"first": first, "middle": middle, "scores": (TOP, np.zeros(3))})
    want, got = scores(graph, x, frozenset({"first"}))
    assert np.abs(got - want).max() < 0.04 * np.abs(want).max()


def test_steps_that_float32_cannot_bring_together_are_refused() -> None:
    first, middle = (np.eye(8, 4), np.zeros(8)), (np.eye(8) * 1e-30, BIAS)
    graph = network({"first": first, "middle": middle, "scores": (TOP, np.zeros(3))})
    with pytest.raises(ModelError, match=r'"middle": a step of its input is .*e\+2\d but one of'):
        scores(graph, X * 1e30, frozenset({"first"}))


def test_other_rows_keep_their_weights() -> None:
    """A row that is enlarged for its bias costs its neighbours nothing."""
    graph = network({"hidden": (ONE_ORDINARY, BIAS), "scores": (TOP, np.zeros(3))})
    ranges = calibrate(graph, X.astype(np.float32))
    integers = quantize_graph(graph, ranges, TRAINED["all"])
    rows = integers.tensors["hidden.row_scale"].data
    assert rows is not None
    assert rows[3] == np.float32(np.abs(W[3].astype(np.float32)).max() / np.float32(127))


def test_a_trained_bias_beyond_its_unit_is_refused() -> None:
    graph = network({"hidden": (W, BIAS * 2000), "scores": (TOP, np.zeros(3))})
    with pytest.raises(ModelError, match=r'"hidden": a bias of 2000 is beyond the 1024'):
        scores(graph, X, TRAINED["all"])
    want, got = scores(graph, X, TRAINED["last"])
    assert np.abs(got - want).max() < 0.02 * np.abs(want).max()


def test_compare_says_what_compile_would_refuse() -> None:
    graph = network({"hidden": (W, BIAS * 2000), "scores": (TOP, np.zeros(3))})
    with pytest.warns(PrecisionWarning, match=r'"hidden": a bias of 2000 is beyond the 1024'):
        found = compare(Model("biases", graph, (4,)), data=X.astype(np.float32))
    assert found.score_cosine > 0.999


def test_the_preset_paper_refuses_what_its_accumulators_do_not_hold() -> None:
    graph = network({"hidden": (W * 1e-7, BIAS), "scores": (TOP, np.zeros(3))})
    with pytest.raises(ModelError, match=r'"hidden": a bias of 1 is beyond the 0\.\d+ that the'):
        scores(graph, X, TRAINED["all"], Scheme(preset="paper"))
