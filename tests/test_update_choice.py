"""Is --update read as it is documented, and is what makes no sense explained?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from networks import DEMO_ONNX

import insitu
from insitu.config import TrainingConfig, parse_update
from insitu.datasets import turned_digits
from insitu.errors import ConfigError


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
