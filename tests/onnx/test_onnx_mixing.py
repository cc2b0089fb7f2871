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

import insitu


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
        "is infinite in float32",
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


GATED = [
    node("Mul", "x scale", "x1"),
    node("Sub", "x1 mean", "x2"),
    node("Conv", "x2 w1", "c1", pads=[1, 1, 1, 1], strides=[2, 2]),
    node("HardSwish", "c1", "h"),
    node("GlobalAveragePool", "h", "g"),
    node("Conv", "g w2", "s1"),
    node("Relu", "s1", "s2"),
    node("Conv", "s2 w3", "s3"),
    node("HardSigmoid", "s3", "s4"),
    node("Mul", "h s4", "m"),
    node("Split", "m", "p q", axis=1),
    node("Concat", "q p h", "j", axis=1),
    node("Conv", "j w4", "c4"),
    node("Relu", "c4", "r4"),
    node("Resize", "r4 - up", "u1"),
    node("ConvTranspose", "r4 w5", "u2", strides=[2, 2]),
    node("Add", "u1 u2", "a"),
    node("Pad", "a pads", "b"),
    node("Conv", "b w6", "c6", strides=[2, 2]),
    node("Relu", "c6", "r6"),
    node("ReduceMean", "r6", "f", axes=[2, 3], keepdims=0),
    node("Gemm", "f w7", "y", transB=1),
]
"""Every operator of these in one network: prepared input, gate, split, join, two ways up."""


def gated() -> onnx.ModelProto:
    """The network of `GATED`."""
    shapes = {
        "w1": (8, 3, 3, 3),
        "w2": (4, 8, 1, 1),
        "w3": (8, 4, 1, 1),
        "w4": (6, 16, 1, 1),
        "w5": (6, 6, 2, 2),
        "w6": (8, 6, 3, 3),
        "w7": (5, 8),
    }
    weights = {name: normal(*s) / np.sqrt(np.prod(s[1:])) for name, s in shapes.items()}
    constants = {
        "scale": np.float32(1 / 64),
        "mean": np.full((1, 3, 1, 1), 0.5, np.float32),
        "up": np.asarray([1, 1, 2, 2], np.float32),
        "pads": np.asarray([0, 0, 0, 0, 0, 0, 1, 1]),
    }
    return model(["n", 3, 12, 12], GATED, {**weights, **constants})


@pytest.mark.toolchain
def test_a_gated_network_trains_on_a_board_as_on_the_desk(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 128, (30, 3, 12, 12)).astype(np.float32)
    y = rng.integers(0, 5, 30)
    network = insitu.compile(insitu.load(saved(gated(), tmp_path)), calibration=x)
    assert {"multiply_grad", "concat", "resize_grad", "slice"} <= {
        n.op.name for n in network.graph.nodes
    }
    assert network.run(x, y, steps=10).twin_equal
