"""Does the library compute activation functions as docs/arithmetic.md says?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pages import DOCS, blocks

from insitu.fixed_point import F32, range_qparams
from insitu.graph.model import Array, Node, QParams, Value
from insitu.ops import OPS
from insitu.ops.activations.functions import FUNCTIONS
from insitu.ops.activations.tables import times_slope

PARAMETERS = {"alpha": 0.3, "beta": 0.5}
QUANTIZED = [
    range_qparams(low, high, -np.inf, np.inf)
    for low, high in ((-1, 1), (-9, 4), (0, 30), (-0.01, 0.001), (-200, 0))
] + [range_qparams(-2, 3, 0, 6)]


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """What the blocks of docs/arithmetic.md define."""
    names: dict[str, Any] = {}
    for block in blocks(DOCS / "arithmetic.md"):
        exec(block.text, names)
    return names


def said(q: QParams) -> dict[str, Any]:
    """A quantization as the page writes it."""
    return {"scale": F32(q.scale), "zero": q.zero_point, "clamp": (q.clamp_min, q.clamp_max)}


def result(op: str, values: list[Value], outputs: list[QParams | None], **attributes: Any) -> Any:
    node = Node("n", OPS[op], ("x",), ("y", "observed")[: len(outputs)], attributes)
    assert node.op.integer_reference is not None
    return node.op.integer_reference(node, values, outputs)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_are_as_the_page_says(name: str, page: dict[str, Any]) -> None:
    x = np.random.default_rng(0).normal(0, 4, 400).astype(F32)
    x = np.concatenate([x, np.asarray([0, 3, -3, 30, -30, 300, -300], F32)])
    attributes = {"function": name, **PARAMETERS}
    a, b = (F32(v) for v in PARAMETERS.values())
    value, slope = page["FUNCTIONS"][name]
    (got,) = result("activation", [Value(x)], [None], **attributes)
    assert [value(v, a, b) for v in x] == got.tolist()
    (got,) = result("activation_grad", [Value(np.ones_like(x)), Value(x)], [None], **attributes)
    assert [slope(v, a, b) for v in x] == got.tolist()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_tables_are_as_the_page_says(name: str, page: dict[str, Any]) -> None:
    a, b = (F32(v) for v in PARAMETERS.values())
    value, slope = (lambda x, f=f: f(x, a, b) for f in page["FUNCTIONS"][name])
    attributes = {"function": name, **PARAMETERS}
    grid = np.arange(-128, 128).astype(np.int8)
    for x_q in QUANTIZED:
        y_q = QUANTIZED[1]
        x, y = said(x_q), said(y_q)
        wanted = [page["entry"](q, value, x, y) for q in range(-128, 128)]
        seen = page["reach"](value, page["LOWEST"].get(name, 0.0), x, y)
        for op in ("activation", "activation_table"):
            got, observed = result(op, [Value(grid, x_q)], [y_q, y_q], **attributes)
            assert got.tolist() == wanted
            assert tuple(observed) == seen
        slopes = [page["slope_of"](q, slope, x) for q in range(-128, 128)]
        (got,) = result("activation_slopes", [Value(grid, x_q)], [None], **attributes)
        assert got.tolist() == slopes


def test_errors_pass_slopes_as_the_page_says(page: dict[str, Any]) -> None:
    errors: Array = np.arange(-127, 128)
    for slope in (-32768, -16384, -1, 0, 1, 8191, 8192, 16384, 16385, 32767):
        got = times_slope(errors.astype(np.int8), np.full(errors.shape, slope))
        assert [page["through"](int(e), slope) for e in errors] == got.tolist()


@pytest.mark.parametrize("real", [0.0, 0.01, 0.25, -0.5, 1.9])
def test_leaky_relu_is_as_the_page_says(real: float, page: dict[str, Any]) -> None:
    slope = np.asarray([round(real * 2**14)], np.int16)
    grid = np.arange(-128, 128).astype(np.int8)
    for x_q in QUANTIZED:
        for y_q in QUANTIZED:
            got, _ = result("prelu", [Value(grid, x_q), Value(slope)], [y_q, y_q])
            x, y = said(x_q), said(y_q)
            assert got.tolist() == [page["leaky"](q, int(slope[0]), x, y) for q in range(-128, 128)]
