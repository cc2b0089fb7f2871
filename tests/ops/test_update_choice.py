"""Is --update what docs/arithmetic.md says, and is a choice that makes no sense explained?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from networks import DEMO_ONNX

import insitu
from insitu.config import TrainingConfig, parse_update
from insitu.data.datasets import turned_digits
from insitu.errors import ConfigError
from insitu.graph.model import Node, Value
from insitu.graph.scheme import fixed_fraction
from insitu.ops import OPS


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("some", '"some" is not available; choose from: full, bias, dynamic:MIN:MAX'),
        ("dynamic", '"dynamic" is not available'),
        ("bias:1", '"bias:1" is not available'),
        ("dynamic:0.5", "should hold two fractions, as in dynamic:0.5:1"),
        ("sampled:a:b", "should hold two fractions, as in sampled:0.5:1"),
        ("dynamic:0:1", "0 and 1 should be 0 < MIN <= MAX <= 1"),
        ("dynamic:0.6:0.5", "0.6 and 0.5 should be 0 < MIN <= MAX <= 1"),
        ("dynamic:nan:1", "nan and 1 should be"),
        ("static:fc1", '"fc1" should be LAYER=FRACTION or LAYER=FIRST-END'),
        ("static:=1", '"=1" should be LAYER=FRACTION'),
        ("static:a=2", "2 of the rows of a is outside (0, 1]"),
        ("static:a=8-8", "rows 8-8 are none"),
    ],
)
def test_a_wrong_update_is_explained(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        TrainingConfig(update=text)
    assert said in str(error.value)


def test_static_rows_are_read() -> None:
    update = parse_update("static: conv*=0.5, fc1=0-16 ,fc*=1")
    names: Sequence[Any] = [update.static_rows(n) for n in ("conv2", "fc1", "fc2", "head")]
    assert [part and part.of(10) for part in names] == [(0, 5), (0, 16), (0, 10), None]


@pytest.mark.parametrize(
    ("update", "said"),
    [
        ("static:fc1=0-33", 'linear "fc1": rows 0-33 are to be trained but it has 32'),
        ("static:fc9=1", 'rows of "fc9" are to be trained but the layers that are trained are'),
    ],
)
def test_rows_that_are_not_there_are_refused(update: str, said: str) -> None:
    x, config = turned_digits().train.x, TrainingConfig(update=update)
    with pytest.raises(ConfigError) as error:
        insitu.compile(insitu.load(DEMO_ONNX), calibration=x, training=config)
    assert said in str(error.value)


# the page


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """What the blocks of docs/arithmetic.md define."""
    names: dict[str, Any] = {}
    text = (Path(__file__).parents[2] / "docs" / "arithmetic.md").read_text()
    for block in re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        exec(block, names)
    return names


def test_rows_are_chosen_as_the_page_says(page: dict[str, Any]) -> None:
    rng = np.random.default_rng(3)
    largest = 0
    for index in range(300):
        least, most = map(fixed_fraction, ((0.1, 1.0), (0.3, 0.7), (0.02, 0.02))[index % 3])
        dy = rng.normal(0, 10.0 ** rng.uniform(-1, 1.5), (rng.integers(1, 9), rng.integers(1, 30)))
        dy = np.clip(np.round(dy), -127, 127).astype(np.int8)
        op = OPS["select_rows"]
        node = Node("select", op, (), (), {"least": least, "most": most})
        assert op.integer_reference is not None
        values = [Value(dy), Value(np.asarray([largest], np.int32))]
        selected, after = op.integer_reference(node, values, [])
        columns = dy.T.astype(int).tolist()
        sums = [sum(map(abs, column)) for column in columns]
        kept, largest = page["select"](sums, largest, least, most)
        said = [c if k else [0] * len(c) for c, k in zip(columns, kept, strict=True)]
        assert said == selected.T.tolist()
        assert largest == after[0]


def test_samples_are_drawn_as_the_page_says(page: dict[str, Any]) -> None:
    rng = np.random.default_rng(4)
    state: list[Any] = [0, 4711]
    op, rate, left_out = OPS["draw_sample"], np.float32(0.03), 0
    for index in range(300):
        fractions = ((0.1, 1.0), (0.3, 0.7), (0.02, 0.02))[index % 3]
        least, most = map(fixed_fraction, fractions)
        dy = np.clip(np.round(rng.normal(0, 10.0 ** rng.uniform(-1, 1.5), 10)), -127, 127)
        attributes = {"least": least / 65536, "spread": (most - least) / 65536}
        node = Node("draw", op, (), (), attributes)
        largest, generator = (np.asarray([s], t) for s, t in zip(state, "iI", strict=True))
        arrays = (dy.astype(np.int8), largest, generator, np.asarray([rate]))
        assert op.integer_reference is not None
        drawn, *after = op.integer_reference(node, [Value(a) for a in arrays], [])
        said, *state = page["draw_sample"](dy.astype(int).tolist(), *state, rate, least, most)
        assert (said, *state) == (drawn[0], after[0][0], after[1][0])
        left_out += said == 0
    assert 100 < left_out < 250
