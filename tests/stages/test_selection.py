"""Does `--op NAME` find what is about an op?"""

from __future__ import annotations

from pathlib import Path

import pytest
from case_layers import RELU, Case, after_front, linear, max_pool
from cases import CASES
from selection import ELSEWHERE, LAYERS, names, subject

from insitu.ops import OPS

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("op", sorted({*OPS} - {"opaque"}))
def test_every_op_has_cases_or_a_file(op: str) -> None:
    name = subject(op)
    files = [path for path in TESTS.rglob("test_*.py") if path.name == ELSEWHERE.get(name)]
    said = [path for path in TESTS.rglob("*.py") if names(path.read_text(), name)]
    assert any(name in case.about for case in CASES.values()) or files or said


def test_every_case_is_about_something() -> None:
    assert all(case.about for case in CASES.values())
    assert {op for case in CASES.values() for op in case.about} == LAYERS


def test_what_any_network_has_is_not_what_a_case_is_about() -> None:
    assert after_front(max_pool()).about == {"max_pool"}
    assert CASES["conv-odd"].about == {"conv"}
    assert CASES["clip-after-max"].about == {"clip", "max_pool"}
    assert Case((6,), (linear(5), RELU, linear(3))).about == {"linear"}
    assert {"conv", "resize", "concat"} <= CASES["zoo-mixing"].about


def test_a_name_is_found_word_for_word() -> None:
    assert names("test_a_max_pool_of_one", "max_pool") and names("MaxPool-2", "max_pool")
    assert names("insitu_resize_grad_s8", "resize") and not names("test_it_adds_up", "add")


def test_an_op_of_training_belongs_to_its_layer() -> None:
    assert subject("conv_grad_input") == "conv" and subject("linear_update") == "linear"
    assert subject("apply") == "apply"


def test_an_unknown_op_is_told_the_known_ones() -> None:
    with pytest.raises(pytest.UsageError, match=r'no op "convolution"; choose from: .*conv, '):
        subject("convolution")
