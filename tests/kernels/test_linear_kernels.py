"""Do the kernels of linear layers with a core's own inner loops equal the integer reference?

Widths and rows leave every rest; rates of 1 and rows of tiny weights make steps that are held;
inputs go over all of int8, so that zero points are anywhere.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from builds import core_firmware, source_of
from case_layers import RELU, RELU6, Case, Layer, clip, linear
from case_models import Compiled
from cores import assert_same, run_on_core
from hypothesis import given, settings
from hypothesis import strategies as st
from made_cases import examples
from test_worst_case import SCHEMES, extreme_step, worst_stream

from insitu.fixed_point import F32
from insitu.generate import state_layout
from insitu.run import emulator
from insitu.run.reference import Reference

pytestmark = pytest.mark.toolchain


def network(features: int, *rows: int, weights: str = "normal", scale: float = 1.0) -> Case:
    """Linear layers one after the other, with activation functions in turn."""
    activations = (RELU, RELU6, clip(-1.0, 1.0))
    layers: list[Layer] = []
    for index, out in enumerate(rows):
        layers += [linear(out, weights=weights), activations[index % 3]]
    return Case((features,), (*layers[:-1],), scale=scale, seed=features)


CASES = {
    "blocks": network(128, 64, 32, 16, 8),
    "rests-of-one": network(65, 33, 17, 9, 5),
    "rests-of-two": network(130, 34, 18, 6, 2),
    "rests-of-three": network(67, 35, 19, 7, 3),
    "narrow": network(1, 1, 2, 3),
    "long-rows": network(391, 3, 11),
    "dead-rows": network(40, 24, 24, 5, weights="zero-rows"),
    "held-steps": network(70, 21, 13, 4, weights="tiny-rows"),
    "held-sums": network(70, 21, 13, 4, weights="large", scale=30.0),
}

RUNS = [
    *((case, "cortex-m4-fpu", "gcc") for case in CASES),
    *((case, "cortex-m4-fpu", "zig") for case in ("rests-of-one", "held-steps")),
    *((case, "cortex-m0plus", "gcc") for case in ("blocks", "rests-of-three", "held-steps")),
    *(("rests-of-two", core, "gcc") for core in ("cortex-m3", "cortex-m7-fpu", "cortex-m33")),
    ("rests-of-two", "cortex-m0plus", "zig"),
    *((case, "cortex-m55-fpu", "gcc") for case in CASES),
    *((case, "cortex-m55-fpu", "zig") for case in ("rests-of-one", "held-steps")),
    ("rests-of-two", "cortex-m55", "gcc"),
]


@pytest.mark.parametrize(("case", "machine", "name"), RUNS)
def test_a_core_equals_the_reference(case: str, machine: str, name: str) -> None:
    compiled = Compiled(CASES[case])
    stream = compiled.stream(20)
    assert_same(compiled.step, stream, run_on_core(compiled, stream, machine, name))


def test_the_streams_hold_steps() -> None:
    """A multiplier at its limit is computed in another loop than the others."""
    compiled = Compiled(CASES["held-steps"])
    stream = compiled.stream(20)
    largest = 0.0
    for node in compiled.step.nodes:
        if node.op.name == "linear_update":
            dy, x, scale = (compiled.step.tensors[node.inputs[i]] for i in (0, 1, 4))
            assert dy.qparams and x.qparams and scale.data is not None
            factor = 127 * F32(dy.qparams.scale) * F32(x.qparams.scale) * 65536
            largest = max(largest, float((factor / scale.data).max() * stream.rates.max()))
    assert largest > 32767


@st.composite
def networks(draw: st.DrawFn) -> Case:
    """Up to three linear layers of any size."""
    size = st.integers(1, 150)
    rows = draw(st.lists(st.integers(1, 40), min_size=1, max_size=2))
    weights = draw(st.sampled_from(["normal", "zero-rows", "tiny-rows", "large"]))
    scale = draw(st.sampled_from([0.01, 1.0, 30.0]))
    return network(draw(size), *rows, draw(st.integers(2, 12)), weights=weights, scale=scale)


@given(
    case=networks(), machine=st.sampled_from(["cortex-m4-fpu", "cortex-m0plus", "cortex-m55-fpu"])
)
@settings(max_examples=examples(6))
def test_any_network_on_a_core_equals_the_reference(case: Case, machine: str) -> None:
    compiled = Compiled(case)
    stream = compiled.stream(8)
    assert_same(compiled.step, stream, run_on_core(compiled, stream, machine, "gcc"))


@pytest.mark.parametrize("machine", ["cortex-m4-fpu", "cortex-m0plus", "cortex-m55-fpu"])
@pytest.mark.parametrize("signs", ["minus", "rows"])
def test_extreme_values_on_a_core_equal_the_reference(
    signs: str, machine: str, tmp_path: Path
) -> None:
    """Weights at +-127, inputs at -128 and 127, rate 1."""
    step = extreme_step("digits-mlp", signs, tmp_path, SCHEMES["default"])
    stream = worst_stream(step, 16)
    got = emulator.run(core_firmware(source_of(step), machine, "gcc"), stream).state
    reference = Reference(step, seed=stream.seed)
    for x, label in zip(stream.x, stream.labels, strict=True):
        reference.train_step(x.reshape(step.tensors[step.inputs[0]].shape), int(label), 1.0)
    state = {**reference.state, "seed": np.asarray([stream.seed], np.uint32)}
    assert got == state_layout(step).pack(state)
