"""Is every integer reference as near to the real numbers as its derived bound says?

Each node is judged alone, on the integers that it was given, so that bounds do not add up; the
derivations stand in integer_bounds.py. The update is also judged in expectation.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from case_layers import Case
from case_models import Compiled
from cases import CASES, MAP
from function_bounds import FUNCTION_RULES
from hypothesis import given, settings
from integer_bounds import RULES as ALONE
from integer_bounds import Executed
from made_cases import examples, networks
from mixing_bounds import MIXING
from selection import ELSEWHERE

from insitu.graph.model import Array, Node, QParams, Value
from insitu.graph.names import LABEL
from insitu.graph.scheme import Scheme
from insitu.ops import OPS
from insitu.ops.numerics.grouped import weight_gradient
from insitu.run.reference import Reference

RATE = 0.01
RULES = {**ALONE, **FUNCTION_RULES, **MIXING}


def executed_steps(compiled: Compiled, count: int) -> list[Executed]:
    """Training steps on samples of the calibration's kind and on noise."""
    step, stream = compiled.step, compiled.stream(count)
    reference = Reference(step, seed=1)
    shape = step.tensors[step.inputs[0]].shape
    reference.state["learning_rate"] = np.asarray([RATE], np.float32)
    runs = []
    for x, label in zip(stream.x, np.nan_to_num(stream.labels), strict=True):
        before = {name: value.copy() for name, value in reference.state.items()}
        in_force = reference._qparams_in_force()
        inputs = {step.inputs[0]: x.reshape(shape), LABEL: reference._label(np.maximum(label, 0))}
        values = reference._execute(inputs, lambda node: True)
        after = {**values, **reference.state}
        rate = float(np.float32(RATE))
        runs.append(Executed(step, compiled.simple, before, after, in_force, rate))
    return runs


def assert_within_bounds(case: Case, count: int, scheme: Scheme | None = None) -> None:
    assert_nodes_within_bounds(Compiled(case, scheme or Scheme()), count)


def assert_nodes_within_bounds(compiled: Compiled, count: int) -> None:
    for run in executed_steps(compiled, count):
        for node in run.step.nodes:
            if all(name in run.values for name in node.outputs):
                if node.updates and any(name not in run.values for name in node.inputs):
                    continue  # the step ended at a loss without error
                RULES[node.op.name](run, node)


def test_there_is_a_bound_for_every_op_that_reaches_c() -> None:
    for name in set(ELSEWHERE.values()):
        assert (Path(__file__).parent / name).is_file(), name
    assert {name for name, op in OPS.items() if op.c_call is not None} == {*RULES, *ELSEWHERE}


@pytest.mark.parametrize("case", CASES)
def test_every_node_of_a_case_is_within_its_bound(case: str) -> None:
    assert_within_bounds(CASES[case], 6)


@pytest.mark.parametrize("loss", ["mse", "bce"])
@pytest.mark.parametrize("case", ["linear", "linear-clipped-scores", "zoo-1d", "map", "last-2"])
def test_every_node_of_a_case_with_targets_is_within_its_bound(case: str, loss: str) -> None:
    scheme = Scheme(loss=loss, error_unit=1.7)
    assert_within_bounds({**CASES, "map": MAP}[case], 6, scheme)


@given(case=networks())
@settings(max_examples=examples(60))
def test_every_node_of_any_network_is_within_its_bound(case: Case) -> None:
    assert_within_bounds(case, 3)


# the update in expectation

SCALES = {"dy": 1 / 127, "x": 0.02}


def value(array: Any, scale: Any, zero: int = 0, dtype: str = "int8") -> Value:
    q = QParams(scale=np.asarray(scale, np.float32), zero_point=zero)
    return Value(np.asarray(array, dtype), q)


def layer_update(
    kind: str, rng: np.random.Generator, rate: float
) -> tuple[Node, list[Value], Array]:
    """(node, inputs, the real-valued step of each weight in steps of its row's scale)."""
    row_scale = rng.uniform(0.002, 0.01, 5).astype(np.float32)
    zero = -20
    if kind == "linear":
        shape: tuple[int, ...] = (5, 11)
        attributes: dict[str, Any] = {}
        dy, x = rng.integers(-127, 128, 5), rng.integers(-128, 128, 11)
        gradient = np.outer(dy, x - zero)
        op = OPS["linear_update"]
    else:
        shape, op = (5, 2, 3, 2), OPS["conv_update"]
        attributes = {"stride": (2, 1), "padding": (0, 1, 1, 0)}
        dy, x = rng.integers(-9, 10, (3, 4, 5)), rng.integers(-128, 128, (6, 5, 2))
        centred = (x - zero)[None].astype(np.float64)
        gradient = weight_gradient(attributes, dy[None].astype(np.float64), centred, shape)
    node = Node("update", op, ("dy", "x", "w", "b", "r", "s", "g"), (), attributes)
    inputs = [
        value(dy, SCALES["dy"]),
        value(x, SCALES["x"], zero),
        value(rng.integers(-20, 21, shape), row_scale),
        value(np.zeros(5), 1.0, dtype="int32"),
        value([rate], 1.0, dtype="float32"),
        value(row_scale, 1.0, dtype="float32"),
        value([1], 1.0, dtype="uint32"),
    ]
    factor = np.float64(np.float32(rate)) * np.float64(np.float32(SCALES["dy"]))
    factor *= np.float64(np.float32(SCALES["x"]))
    step = gradient * factor / row_scale.astype(np.float64).reshape(-1, *[1] * (len(shape) - 1))
    return node, inputs, step


def taken(node: Node, inputs: list[Value]) -> Array:
    """The step that the update took, in steps of the rows' scales."""
    assert node.op.integer_reference is not None
    after = node.op.integer_reference(node, inputs, [])[0]
    return inputs[2].array.astype(np.int64) - after


@pytest.mark.parametrize("rate", [0.04, 0.01, 0.0005])
@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_the_mean_over_all_random_bytes_is_the_real_step(
    kind: str, rate: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over each byte r once, floor(step + r / 256 + 1 / 512) is the step rounded to 1/256.

    So it is off by 1/512, and by the rounding of the factor: kappa |x| / 2^17 (|x| <= 255), M
    |G| / 2^33, and five float operations.
    """
    rng = np.random.default_rng(3)
    node, inputs, step = layer_update(kind, rng, rate)
    module = sys.modules[f"insitu.ops.layers.{kind}"]
    total = np.zeros(step.shape)
    for byte in range(256):
        monkeypatch.setattr(
            module, "draw_bytes", lambda state, count, byte=byte: (np.full(count, byte), state)
        )
        total += taken(node, inputs)
    bound = 1 / 512 + (255 / 2**17 if kind == "linear" else 2.0**-15) + 5 * 2.0**-24 * np.abs(step)
    free = np.abs(step) < 100  # beyond, weights saturate
    assert free.any()
    assert (np.abs(total / 256 - step) <= bound)[free].all()


@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_the_mean_over_many_seeds_approaches_the_real_step(kind: str) -> None:
    """A step is one of two neighbours, so Hoeffding bounds the mean of n.

    It is off by t with probability 2 exp(-2 n t^2) at most: for all 60 weights together below
    1e-9 at t = sqrt(ln(1.2e11) / 2n).
    """
    rng = np.random.default_rng(4)
    node, inputs, step = layer_update(kind, rng, 0.01)
    n = 1500
    total = np.zeros(step.shape)
    for seed in range(n):
        generator = value([seed * 2654435761 % 2**32 or 1], 1.0, dtype="uint32")
        total += taken(node, [*inputs[:6], generator])
    bound = np.sqrt(np.log(1.2e11) / (2 * n)) + 1 / 512 + 255 / 2**17
    assert np.abs(total / n - step).max() <= bound


def test_noise_of_neighbouring_weights_is_not_the_same() -> None:
    """A draw serves one weight: two weights with the same step round apart in half of the cases."""
    rng = np.random.default_rng(5)
    node, inputs, _ = layer_update("linear", rng, 0.01)
    same = value(np.full(11, 5), SCALES["x"], -20)
    ups = []
    for seed in range(400):
        generator = value([seed * 2654435761 % 2**32 or 1], 1.0, dtype="uint32")
        ups.append(taken(node, [inputs[0], same, *inputs[2:6], generator])[0])
    steps = np.asarray(ups)
    assert (steps[:, 0] != steps[:, 1]).mean() > 0.1
