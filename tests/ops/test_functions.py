"""Are activation functions and their slopes as near to the real ones as claimed, and alike in C?

The oracle is float64, which has 29 bits more; onnxruntime and torch judge its formulas elsewhere.
"""

from __future__ import annotations

from math import erfc

import numpy as np
import pytest
from c_arithmetic import Harness, build
from function_bounds import CLAIM

from insitu.errors import ModelError
from insitu.fixed_point import F32, erfc_positive, expm1_negative
from insitu.graph.builder import Builder
from insitu.graph.model import Array
from insitu.ops import OPS
from insitu.ops.activations.functions import EXACT, FUNCTIONS, REAL, steepest

PARAMETERS = {"alpha": 0.3, "beta": 0.5}
STEEPEST = 1.5
"""No slope of a function without parameters is larger."""


@pytest.fixture(scope="module")
def c(tmp_path_factory: pytest.TempPathFactory) -> Harness:
    return build(tmp_path_factory.mktemp("arithmetic"))


def arguments() -> Array:
    """float32 of every size, and where functions bend."""
    small = np.geomspace(1e-30, 1, 2000)
    large = np.geomspace(30, 1e30, 300)
    bends = np.asarray([0.0, 0.5, 1, 3, 16, 43.5, 87])
    positive = np.concatenate([small, large, np.linspace(0, 30, 60_000), bends]).astype(F32)
    beside = np.concatenate([np.nextafter(bends.astype(F32), F32(d)) for d in (-1e9, 1e9)])
    return np.concatenate([positive, -positive, beside])


@pytest.mark.parametrize("part", ["value", "slope"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_keeps_its_claim(name: str, part: str) -> None:
    """At a bend the two may stand on different sides, so their arguments are the same float32.

    A hard sigmoid rounds alpha x + beta, and with it the place of its bends.
    """
    x, formula = arguments(), getattr(FUNCTIONS[name], part)
    exact = formula(x, PARAMETERS, EXACT)
    with np.errstate(under="ignore"):
        real = formula(x.astype(np.float64), PARAMETERS, REAL)
    assert exact.dtype == F32
    apart = np.abs(exact - real) > CLAIM * np.maximum(1, np.abs(x))
    if name == "hard_sigmoid":
        v = 0.3 * x.astype(np.float64) + 0.5
        apart &= np.minimum(np.abs(v), np.abs(v - 1)) > 2.0**-23
    assert not apart.any(), x[apart]


@pytest.mark.parametrize("part", ["value", "slope"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_in_c_is_the_same(name: str, part: str, c: Harness) -> None:
    x = arguments()
    out = np.empty(len(x), F32)
    which = 2 * list(FUNCTIONS).index(name) + (part == "slope")
    alpha, beta = (F32(PARAMETERS[key]) for key in ("alpha", "beta"))
    c("function", len(x), which, alpha, beta, x, out)
    wanted = getattr(FUNCTIONS[name], part)(x, PARAMETERS, EXACT)
    np.testing.assert_array_equal(out, wanted.astype(F32))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_slope_is_that_of_the_function(name: str) -> None:
    """The mean slope between two near points, but where there is a bend between them."""
    x, step = np.linspace(-9, 9, 40_001), 1e-6
    bends = {"hard_swish": (-3, 3), "hard_sigmoid": (-5 / 3, 5 / 3), "elu": (0,)}.get(name, ())
    x = x[[all(abs(v - b) > 1e-4 for b in bends) for v in x]]
    function = FUNCTIONS[name]
    low, high = (function.value(x + d, PARAMETERS, REAL) for d in (-step, step))
    slope = function.slope(x, PARAMETERS, REAL)
    assert np.abs((high - low) / (2 * step) - slope).max() < 1e-8
    largest = np.abs(slope).max()
    assert largest <= max(STEEPEST, steepest({"function": name, **PARAMETERS}))


@pytest.mark.parametrize("name", [n for n, f in FUNCTIONS.items() if f.bounds is None])
def test_a_function_is_lowest_where_it_says(name: str) -> None:
    function = FUNCTIONS[name]
    x = np.linspace(-20, 5, 2_500_001)
    lowest = x[function.value(x, PARAMETERS, REAL).argmin()]
    if function.lowest != 0:
        assert abs(lowest - function.lowest) < 2e-5
    else:
        assert lowest == -20  # it only rises
    values = function.value(np.linspace(function.lowest, 50, 9_999), PARAMETERS, REAL)
    assert (np.diff(values) > 0).all()


@pytest.mark.parametrize("name", [n for n, f in FUNCTIONS.items() if f.bounds is not None])
def test_a_function_keeps_its_bounds(name: str) -> None:
    bounds = FUNCTIONS[name].bounds
    values = FUNCTIONS[name].value(arguments(), PARAMETERS, EXACT)
    assert (values.min(), values.max()) == bounds


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"function": "hard_sigmoid", "alpha": 2.0, "beta": 0.5}, "slope of 2,"),
        ({"function": "elu", "alpha": -2.5, "beta": 1.0}, "slope of 2.5,"),
        ({"function": "elu", "alpha": 1.0, "beta": np.nan}, "slope of nan,"),
    ],
)
def test_a_slope_that_int16_does_not_hold_is_refused(attributes: object, said: str) -> None:
    builder = Builder("steep")
    x = builder.input("x", (4,))
    with pytest.raises(ModelError, match=f'activation "gate": .* has a {said} only slopes below 2'):
        builder.node(OPS["activation"], (x,), name="gate", attributes=attributes)  # type: ignore[arg-type]


def test_a_slope_for_each_of_other_channels_is_refused() -> None:
    builder = Builder("slopes")
    x = builder.input("x", (4, 4, 3))
    slope = builder.constant("slope", np.zeros(4, F32))
    with pytest.raises(ModelError, match=r'prelu "act": x\[4, 4, 3\] has 3 channels but slope'):
        builder.node(OPS["prelu"], (x, slope), name="act")


def test_the_exponential_less_1_keeps_its_claim(c: Harness) -> None:
    x = -np.concatenate([np.geomspace(1e-30, 1, 9_999), np.linspace(0, 90, 99_999)]).astype(F32)
    out = np.empty(len(x), F32)
    c("expm1_negative", len(x), x, out)
    exact = np.expm1(x.astype(np.float64))
    assert (np.abs(out - exact) <= 3e-7 * np.abs(exact)).all()
    np.testing.assert_array_equal(out, expm1_negative(x))


def test_the_error_function_keeps_its_claim(c: Harness) -> None:
    x = np.concatenate([np.geomspace(1e-30, 1, 9_999), np.linspace(0, 30, 99_999)]).astype(F32)
    out = np.empty(len(x), F32)
    c("erfc_positive", len(x), x, out)
    assert max(abs(float(got) - erfc(v)) for got, v in zip(out, x, strict=True)) < 5e-7
    np.testing.assert_array_equal(out, erfc_positive(x))
