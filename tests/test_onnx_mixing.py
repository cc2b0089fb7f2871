"""Do operators that mix and move refuse what is wrong, in one line, and survive damage?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_mixing_cases import CASES, moved, resized, transposed
from onnx_models import model, node, normal, saved
from test_onnx_hostile import read_damaged, refusal


def split(sizes: Any, outputs: str = "y b", **attributes: Any) -> onnx.ModelProto:
    given = {"s": np.asarray(sizes)}
    return model([1, 4, 3], [node("Split", "x s", outputs, **attributes)], given)


HOSTILE: dict[str, tuple[onnx.ModelProto, str]] = {
    "division-by-zero": (
        model(
            [1, 3],
            [node("MatMul", "x w", "m"), node("Div", "m c")],
            {"w": normal(3, 2), "c": np.zeros(2, np.float32)},
        ),
        'its divisor "c" holds a 0',
    ),
    "constant-too-large": (
        model(
            [1, 3],
            [node("MatMul", "x w", "m"), node("Div", "m c")],
            {"w": normal(3, 2), "c": np.full(2, 1e-45, np.float32)},
        ),
        "its constant makes the layer before it infinite",
    ),
    "constant-of-another-shape": (
        model(
            [1, 3],
            [node("MatMul", "x w", "m"), node("Mul", "m c")],
            {"w": normal(3, 2), "c": normal(5)},
        ),
        "its constant has the shape [5] but its result [1, 2]",
    ),
    "concat-of-sizes": (
        model(
            [1, 2, 6, 6],
            [node("MaxPool", "x", "p", kernel_shape=[2, 2]), node("Concat", "x p", axis=1)],
        ),
        "[1, 2, 6, 6] and [1, 2, 5, 5] differ beside axis 1",
    ),
    "concat-axis": (
        model([1, 4], [node("Relu", "x", "r"), node("Concat", "x r", axis=2)]),
        "axis 2 of 2 axes",
    ),
    "pads-missing": (moved("Pad", (3, 5), pads=[0, 1]), "do not belong to"),
    "pads-huge": (moved("Pad", (5,), pads=[0, 0, 0, 2**40]), "reach 32768"),
    "pads-leave-nothing": (moved("Pad", (5,), pads=[0, -3, 0, -2]), "leave [1, 0] of [1, 5]"),
    "pads-axis-twice": (
        moved("Pad", (3, 5), pads=[1, 1, 1, 1], value=None, axes=[1, 1]),
        "its axes [1, 1] do not belong to 2 numbers",
    ),
    "slice-of-nothing": (
        moved("Slice", (5,), starts=[3], ends=[3], axes=[1]),
        "it leaves [1, 0] of [1, 5]",
    ),
    "slice-step-0": (
        moved("Slice", (5,), starts=[0], ends=[3], axes=[1], steps=[0]),
        "its steps [0] hold a 0",
    ),
    "slice-lengths": (
        moved("Slice", (5,), starts=[0], ends=[3, 4], axes=[1]),
        "starts [0], ends [3, 4] and steps [1] differ in length",
    ),
    "split-sizes": (split([1, 2], axis=1), "its sizes [1, 2] do not make 4 in 2 outputs"),
    "split-empty": (split([4, 0], axis=1), "its sizes [4, 0] do not make 4"),
    "resize-scales": (resized((3, 4, 5), 2), "it has 3 scales or sizes for 4 axes"),
    "transposed-group": (transposed((3, 4, 5), 1, 2, 2, group=2), "group is 2 but x[1, 3, 4, 5]"),
    "transposed-pads": (
        transposed((3, 2, 2), 1, 2, 2, pads=[2, 0, 1, 0]),
        "its pads leave nothing of axis 0 of [2, 2]",
    ),
    "transposed-channels": (
        model([1, 2, 5], [node("ConvTranspose", "x w")], {"w": normal(3, 1, 2)}),
        "has 2 channels but w[3, 1, 2] takes 3",
    ),
    "transposed-kernel": (
        transposed((3, 4, 5), 1, 2, 2, kernel_shape=[3, 2]),
        "kernel_shape is not that of its weight, [2, 2]",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_model_that_is_wrong_says_where_and_what(case: str, tmp_path: Path) -> None:
    proto, expected = HOSTILE[case]
    assert expected in refusal(saved(proto, tmp_path))


FILES = {name: proto.SerializeToString() for name, proto in CASES.items()}


@given(
    case=st.sampled_from(sorted(FILES)),
    flips=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4),
)
@settings(max_examples=400)
def test_no_damage_raises_anything_but_one_line(
    tmp_path_factory: pytest.TempPathFactory, case: str, flips: list[tuple[float, int]]
) -> None:
    content = bytearray(FILES[case])
    for place, value in flips:
        content[int(place * (len(content) - 1))] = value
    read_damaged(bytes(content), tmp_path_factory.mktemp("damaged"))
