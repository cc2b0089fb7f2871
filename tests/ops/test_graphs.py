"""Does every question of the proof chain hold of networks whose branches part and meet anyhow?

The questions are those of test_ops_*.py and test_simplify.py; the networks have up to twelve nodes.
"""

from __future__ import annotations

import numpy as np
import pytest
from builds import host_library
from case_layers import Case
from case_models import Compiled, HostBuilder, run_reference
from cases import CASES
from fakes import toolchain_or_skip
from hypothesis import given, settings
from made_cases import examples
from made_graphs import graphs
from sanitized import run_sanitized
from test_ops_float import assert_same as assert_that_of_onnxruntime
from test_ops_gradient import assert_same_step
from test_ops_integer import assert_within_bounds
from test_simplify import assert_same_function

from insitu.graph.scheme import Scheme
from insitu.tools.compilers import sanitizer_environment

FLOAT = Scheme(precision="float32")


@given(case=graphs())
@settings(max_examples=examples(60))
def test_every_node_of_any_graph_is_that_of_onnxruntime(case: Case) -> None:
    assert_that_of_onnxruntime(case)


@given(case=graphs())
@settings(max_examples=examples(60))
def test_any_simplified_graph_is_the_same_function(case: Case) -> None:
    assert_same_function(case)


@given(case=graphs())
@settings(max_examples=examples(100))
def test_a_step_of_any_graph_is_that_of_autograd(case: Case) -> None:
    assert_same_step(case)


@given(case=graphs())
@settings(max_examples=examples(60))
def test_every_node_of_any_graph_is_within_its_bound(case: Case) -> None:
    assert_within_bounds(case, 3)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> HostBuilder:
    return HostBuilder(tmp_path_factory.mktemp("host"))


def assert_twin_equals_reference(compiled: Compiled, host: HostBuilder) -> None:
    stream = compiled.stream(12)
    expected, got = run_reference(compiled.step, stream), host.library(compiled).run(stream)
    np.testing.assert_array_equal(got.predicted, expected.predicted)
    np.testing.assert_array_equal(got.losses, expected.losses)
    assert got.state == expected.state


AT_EDGES = (
    "concat-of-three",
    "excited-by-features",
    "pad-crops",
    "pad-spread",
    "product-of-features",
    "resize-uneven",
    "slice-beyond",
    "zoo-mixing",
)


@pytest.mark.toolchain
@pytest.mark.parametrize("case", AT_EDGES)
def test_kernels_that_move_stay_within_their_arrays(case: str) -> None:
    """With AddressSanitizer and UBSan."""
    chosen = toolchain_or_skip("host", "gcc")
    compiled = Compiled(CASES[case])
    library = host_library(compiled.source(), chosen, sanitize=True)
    stream = compiled.stream(12)
    digest, said = run_sanitized(library, "model", stream, sanitizer_environment(chosen))
    assert digest == run_reference(compiled.step, stream).sha256, said


@pytest.mark.toolchain
@given(case=graphs())
@settings(max_examples=examples(40))
def test_c_of_any_graph_equals_the_reference(case: Case, host: HostBuilder) -> None:
    assert_twin_equals_reference(Compiled(case), host)


@pytest.mark.toolchain
@given(case=graphs())
@settings(max_examples=examples(20))
def test_float_c_of_any_graph_equals_the_reference(case: Case, host: HostBuilder) -> None:
    assert_twin_equals_reference(Compiled(case, FLOAT), host)
