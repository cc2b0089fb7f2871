"""Do convolutions with a core's own microkernels equal the integer reference?

Channels and columns leave every rest of a block; values are held, and leave int16 before; windows
are the whole map; lines are no multiple of four weights.
"""

from __future__ import annotations

import pytest
from case_layers import HEAD, RELU, Case, clip, conv
from case_models import Compiled
from cores import assert_same, run_on_core
from hypothesis import given, settings
from hypothesis import strategies as st
from made_cases import examples

pytestmark = pytest.mark.toolchain

CASES = {
    "rests": Case((7, 6, 5), (conv(6, padding=(1, 1, 1, 1)), RELU, conv(9, (2, 3)), RELU)),
    "whole-blocks": Case((6, 8, 8), (conv(12, padding=(1, 1, 1, 1)), RELU, conv(8, (1, 1)), RELU)),
    "stride": Case((11, 9, 4), (conv(8, stride=(2, 2)), RELU, conv(5, stride=(1, 2)), RELU)),
    "whole-map": Case((3, 4, 6), (conv(7, (2, 2)), RELU, conv(10, (2, 3)), RELU, conv(5, (1, 1)))),
    "held": Case((5, 5, 9), (conv(8, weights="large"), clip(0.5, 40.0), conv(4)), scale=30.0),
    "dead-channels": Case((6, 6, 8), (conv(11, weights="zero-rows"), RELU, conv(6), RELU)),
}
RUNS = [
    *((case, "cortex-m4-fpu", "gcc") for case in CASES),
    ("rests", "cortex-m4-fpu", "zig"),
    ("whole-map", "cortex-m0plus", "gcc"),
    ("whole-map", "cortex-m33", "gcc"),
    ("rests", "cortex-m7-fpu", "gcc"),
]


def headed(case: Case) -> Case:
    return Case(case.shape, (*case.layers, *HEAD), scale=case.scale, seed=case.seed)


@pytest.mark.parametrize(("case", "machine", "name"), RUNS)
def test_a_core_equals_the_reference(case: str, machine: str, name: str) -> None:
    compiled = Compiled(headed(CASES[case]))
    stream = compiled.stream(6)
    assert_same(compiled.step, stream, run_on_core(compiled, stream, machine, name))


@st.composite
def networks(draw: st.DrawFn) -> Case:
    """Two convolutions of any kernel, stride and padding."""
    side, channels = st.integers(7, 12), st.integers(1, 18)  # 7 leaves 3 for the second kernel
    layers = []
    for _ in range(2):
        kernel = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
        stride = (draw(st.integers(1, 2)), draw(st.integers(1, 2)))
        padding = (1, 1, 1, 1) if min(kernel) == 3 else (0, 0, 0, 0)
        weights = draw(st.sampled_from(["normal", "zero-rows", "large"]))
        layers += [conv(draw(channels), kernel, stride, padding, weights=weights), RELU]
    shape = (draw(side), draw(side), draw(channels))
    return headed(Case(shape, (*layers,), scale=draw(st.sampled_from([1.0, 30.0]))))


@given(case=networks())
@settings(max_examples=examples(3))
def test_any_convolutions_on_a_core_equal_the_reference(case: Case) -> None:
    compiled = Compiled(case)
    stream = compiled.stream(4)
    assert_same(compiled.step, stream, run_on_core(compiled, stream, "cortex-m4-fpu", "gcc"))
