"""Does every file that is not a network we can read end in one clear line?"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from onnx_models import digits_cnn, layer, model, node, normal, saved

from insitu.errors import ModelError
from insitu.frontends.onnx.reader import read

DIGITS = digits_cnn().SerializeToString()


def refusal(path: Path) -> str:
    """What `read` says, without the path that it has to begin with."""
    with pytest.raises(ModelError) as caught:
        read(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    return text.removeprefix(f"{path}: ")


FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "is empty (0 bytes)"),
    "text": (b"this is not a protobuf at all", "is not an ONNX model"),
    "truncated": (DIGITS[: len(DIGITS) // 2], "is not an ONNX model, or only a part of one"),
    "zeros": (bytes(1000), "is not an ONNX model"),
    "no-graph": (onnx.ModelProto(ir_version=8).SerializeToString(), "has opset 0"),
    "not-utf-8": (DIGITS.replace(b"conv1", b"con\xff1"), "is damaged: name b'con\\xff1'"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_is_no_model(case: str, tmp_path: Path) -> None:
    content, expected = FILES[case]
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    assert expected in refusal(path)


def test_a_path_that_is_no_file(tmp_path: Path) -> None:
    assert refusal(tmp_path) == "is a folder; give the .onnx file in it"
    assert refusal(tmp_path / "missing.onnx") == "does not exist"


def test_weights_in_a_file_that_is_not_there(tmp_path: Path) -> None:
    proto = digits_cnn()
    onnx.save_model(
        proto,
        str(tmp_path / "model.onnx"),
        save_as_external_data=True,
        location="model.data",
        size_threshold=0,
    )
    data = tmp_path / "model.data"
    data.write_bytes(data.read_bytes()[:500])
    assert "cannot be read" in refusal(tmp_path / "model.onnx")
    data.unlink()
    expected = 'tensor "w1" lies in the file "model.data", which is not there'
    assert expected in refusal(tmp_path / "model.onnx")


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "", "a\0b"])
def test_weights_outside_the_folder_are_not_read(location: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(16))
    folder = tmp_path / "folder"
    folder.mkdir()
    proto = model([1, 2], [node("MatMul", "x w")], {"w": normal(2, 2)})
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    assert 'tensor "w"' in refusal(saved(proto, folder))


def changed(change: Callable[[onnx.ModelProto], object]) -> onnx.ModelProto:
    """The classifier with one thing wrong."""
    proto = digits_cnn()
    change(proto)
    return proto


def set_dims(proto: onnx.ModelProto, name: str, *dims: int) -> None:
    tensor = next(t for t in proto.graph.initializer if t.name == name)
    del tensor.dims[:]
    tensor.dims.extend(dims)


def spoil(value: float) -> dict[str, Any]:
    weights = normal(3, 2, 3, 3)
    weights[1, 1, 2, 0] = value
    return {"w": weights}


def node_of(proto: onnx.ModelProto, name: str) -> onnx.NodeProto:
    (found,) = (n for n in proto.graph.node if n.name == name)
    assert isinstance(found, onnx.NodeProto)
    return found


def second_input(proto: onnx.ModelProto) -> None:
    proto.graph.input.add().CopyFrom(helper.make_tensor_value_info("state", 1, [1, 4]))


HOSTILE: dict[str, tuple[onnx.ModelProto, str]] = {
    "cycle": (
        changed(lambda p: node_of(p, "norm1").input.__setitem__(0, "r2")),
        "depends on its own output: the graph has a cycle",
    ),
    "self-cycle": (
        changed(lambda p: node_of(p, "relu1").input.__setitem__(0, "r1")),
        'Relu "relu1" depends on its own output: the graph has a cycle',
    ),
    "dangling": (
        changed(lambda p: node_of(p, "relu1").input.__setitem__(0, "lost")),
        'Relu "relu1" reads "lost", which nothing writes',
    ),
    "written-twice": (
        changed(lambda p: node_of(p, "relu1").output.__setitem__(0, "n1")),
        'tensor "n1" is written twice, here by Relu "relu1"',
    ),
    "weights-twice": (
        changed(lambda p: p.graph.initializer.add().CopyFrom(p.graph.initializer[0])),
        'two weights have the name "w1"',
    ),
    "no-output": (changed(lambda p: p.graph.ClearField("output")), "no graph with an output"),
    "lost-output": (
        changed(lambda p: setattr(p.graph.output[0], "name", "lost")),
        'nothing writes the output "lost"',
    ),
    "two-inputs": (changed(second_input), "has 2 inputs (x, state), 1 belongs"),
    "two-outputs": (
        changed(
            lambda p: p.graph.output.add().CopyFrom(helper.make_tensor_value_info("a", 1, [1, 3]))
        ),
        "has 2 outputs (y[?], a[1, 3]), 1 carries the loss; say which: --output y",
    ),
    "constant-output": (
        model([1, 2], [node("Identity", "w")], {"w": normal(2)}),
        'the output "y" does not depend on the input "x"',
    ),
    "old-opset": (digits_cnn(6), "has opset 6, 7 to"),
    "future-opset": (digits_cnn(99), "has opset 99"),
    "integer-input": (
        model([1, 4], [node("Relu", "x")], dtype=TensorProto.INT8),
        'input "x" is int8, only float can be read',
    ),
    "symbolic-size": (
        model(["n", 1, "height", "width"], [node("Relu", "x")]),
        'input "x" leaves height, width open, only the batch may be',
    ),
    "unknown-size": (model(["n", 1, None], [node("Relu", "x")]), 'input "x" leaves ? open'),
    "volume": (model([1, 1, 2, 2, 2], [node("Relu", "x")]), 'input "x" has 5 axes'),
    "no-batch": (model([4], [node("Relu", "x")]), 'input "x" has 1 axes'),
    "zero-size": (model([1, 3, 0, 4], [node("Relu", "x")]), "the shape [3, 0, 4]; every axis"),
    "huge-input": (
        model([1, 2**20, 2**20, 2**20], [node("Relu", "x")]),
        f"{2**60} elements; at most {2**27} can be read",
    ),
    "huge-output": (
        layer("Conv", [1, 1, 1], {"w": normal(1, 1, 1, 1)}, pads=[2**14] * 4),
        f"hold {(2**15 + 1) ** 2} numbers together; at most {2**25} can be read",
    ),
    "complex-axes": (
        model(
            [1, 2, 4, 4],
            [node("ReduceMean", "x a")],
            {"a": np.asarray([2 + 1j, 3], np.complex64)},
            opset=18,
        ),
        "its axes are complex64[2], not a list of axes",
    ),
    "output-shape": (
        layer("ConvTranspose", [2, 4, 4], {"w": normal(2, 2, 3, 3)}, output_shape=[8]),
        "output_shape has 1 sizes, 2 belong",
    ),
    "huge-windows": (
        layer("MaxPool", [3, 64, 64], {}, kernel_shape=[60, 60], pads=[59] * 4),
        f"hold {3 * 123**2 * 60**2} numbers together",
    ),
    "huge-padding": (
        layer("Conv", [1, 9, 9], {"w": normal(1, 1, 3, 3)}, pads=[2**40] * 4),
        "is outside [0, 32768)",
    ),
    "negative-padding": (
        layer("Conv", [1, 9, 9], {"w": normal(1, 1, 3, 3)}, pads=[0, 0, -1, 0]),
        "pads = [0, 0, -1, 0] is outside",
    ),
    "channels": (
        layer("Conv", [2, 9, 9], {"w": normal(4, 3, 3, 3)}, name="c"),
        'Conv "c": x[1, 2, 9, 9] has 2 channels but w[4, 3, 3, 3] takes 3',
    ),
    "conv-axes": (
        layer("Conv", [2, 9], {"w": normal(4, 2, 3, 3)}, name="c"),
        'Conv "c": x[1, 2, 9] has 3 axes but w[4, 2, 3, 3] 4',
    ),
    "conv-kernel-shape": (
        layer("Conv", [2, 9, 9], {"w": normal(4, 2, 3, 3)}, kernel_shape=[5, 5]),
        "kernel_shape is [5, 5] but w[4, 2, 3, 3]",
    ),
    "conv-bias": (
        layer("Conv", [2, 9, 9], {"w": normal(4, 2, 3, 3), "b": normal(5)}),
        "its bias has the shape [5] but its weight 4 rows",
    ),
    "kernel-too-large": (
        layer("Conv", [2, 4, 4], {"w": normal(4, 2, 5, 3)}, name="c"),
        'conv "c": the kernel is 5 high but its padded input only 4',
    ),
    "strides": (
        layer("Conv", [2, 9, 9], {"w": normal(4, 2, 3, 3)}, strides=[0, 1]),
        "strides [0, 1]: all are at least 1",
    ),
    "strides-count": (
        layer("Conv", [2, 9, 9], {"w": normal(4, 2, 3, 3)}, strides=[1]),
        "strides = [1] has 1 entries, 2 belong",
    ),
    "flag": (
        layer("MaxPool", [2, 9, 9], {}, kernel_shape=[2, 2], ceil_mode=3),
        "ceil_mode is 3, it is 0 or 1",
    ),
    "features": (
        layer("Gemm", [6], {"w": normal(5, 4)}, name="fc"),
        'Gemm "fc": x[1, 6] has 6 features but the weight takes 5',
    ),
    "no-axes": (
        model(
            [1, 1],
            [node("Reshape", "x s", "r"), node("MatMul", "r w")],
            {"s": np.zeros(0, np.int64), "w": normal(1, 2)},
        ),
        "its input is a single number without axes",
    ),
    "gemm-bias": (
        layer("Gemm", [6], {"w": normal(6, 4), "b": normal(3)}),
        "its constant has the shape [3] but its result [1, 4]",
    ),
    "norm-channels": (
        changed(lambda p: set_dims(p, "gamma", 2, 2)),
        "x[1, 4, 8, 8] has 4 channels but its scale has the shape [2, 2]",
    ),
    "norm-variance": (
        layer(
            "BatchNormalization",
            [2],
            {"g": normal(2), "b": normal(2), "m": normal(2), "v": np.array([1, -1], np.float32)},
        ),
        "its variance reaches -1.0",
    ),
    "reshape": (
        layer("Reshape", [6], {"s": np.array([0, 5])}),
        "the input [1, 6] has 6 elements, [1, 5] has 5",
    ),
    "reshape-rest": (
        layer("Reshape", [6], {"s": np.array([-1, 4])}),
        "the input [1, 6] has 6 elements, which shape [-1, 4] cannot take",
    ),
    "clip-bounds": (
        layer("Clip", [6], {"a": np.float32(2), "b": np.float32(1)}),
        "its bounds [2.0, 1.0] leave nothing between them",
    ),
    "nan": (
        layer("Conv", [2, 9, 9], spoil(np.nan), name="c"),
        'Conv "c": its weight "w" holds 1 of 54 numbers that are NaN or infinite',
    ),
    "infinite": (layer("Conv", [2, 9, 9], spoil(np.inf)), 'its weight "w" holds 1 of 54'),
    "beyond-float32": (
        model([1, 2], [node("MatMul", "x w")], {"w": np.full((2, 3), 1e300)}),
        'its weight "w" holds 6 of 6',
    ),
    "weights-cut": (
        changed(lambda p: set_dims(p, "w1", 4, 1, 3, 4)),
        'tensor "w1"[4, 1, 3, 4] takes 192 bytes, the file holds 144',
    ),
    "weights-huge": (
        changed(lambda p: set_dims(p, "w1", 2**40, 2**40)),
        f"takes {2**82} bytes, the file holds 144",
    ),
    "weights-negative": (changed(lambda p: set_dims(p, "w1", -4, -9)), "has the shape [-4, -9]"),
    "expand-bomb": (
        model(
            [1, 2],
            [node("Expand", "one shape", "w"), node("MatMul", "x w")],
            {"one": normal(1), "shape": np.array([2, 2**40])},
        ),
        f"its result [2, {2**40}] would take",
    ),
    "constant-of-shape-bomb": (
        model(
            [1, 2],
            [node("ConstantOfShape", "shape", "w"), node("MatMul", "x w")],
            {"shape": np.array([2**20, 2**20])},
        ),
        f"its result [{2**20}, {2**20}] would take {2**43} bytes",
    ),
    "constants-that-fail": (
        model(
            [1, 2],
            [node("Reshape", "a s", "w"), node("MatMul", "x w")],
            {"a": normal(5), "s": np.array([2, 2])},
        ),
        'Reshape "reshape1": ',
    ),
    "checker": (layer("Conv", [2, 9, 9], {"w": normal(1, 2, 1, 1)}, colour=3), "colour"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_model_that_is_wrong_says_where_and_what(case: str, tmp_path: Path) -> None:
    proto, expected = HOSTILE[case]
    assert expected in refusal(saved(proto, tmp_path))


def read_damaged(content: bytes, folder: Path) -> None:
    """Reading may succeed or be refused in one line; anything else is an error of ours."""
    path = folder / "model.onnx"
    path.write_bytes(content)
    try:
        read(path)
    except ModelError as error:
        text = str(error)
    else:
        return
    assert re.fullmatch(rf"{re.escape(str(path))}: [^\n]+", text)


def flipped(flips: list[tuple[int, int]]) -> bytes:
    """The classifier's file with some bytes changed."""
    content = bytearray(DIGITS)
    for place, value in flips:
        content[place] = value
    return bytes(content)


@given(
    flips=st.lists(
        st.tuples(st.integers(0, len(DIGITS) - 1), st.integers(0, 255)), min_size=1, max_size=8
    ),
    cut=st.integers(0, len(DIGITS)),
    doubled=st.booleans(),
)
@settings(max_examples=400)
def test_no_damage_to_a_file_raises_anything_but_one_line(
    tmp_path_factory: pytest.TempPathFactory,
    flips: list[tuple[int, int]],
    cut: int,
    doubled: bool,
) -> None:
    content = flipped(flips)
    if doubled:
        content = content[:cut] + content[cut // 2 :]
    read_damaged(content, tmp_path_factory.mktemp("damaged"))


def structure() -> list[int]:
    """Where the file holds names, sizes and attributes, not weights."""
    weights: set[int] = set()
    for tensor in onnx.load_from_string(DIGITS).graph.initializer:
        start = DIGITS.find(tensor.raw_data)
        weights.update(range(start, start + len(tensor.raw_data)))
    return [place for place in range(len(DIGITS)) if place not in weights]


PLACES = st.sampled_from(structure())


@given(flips=st.lists(st.tuples(PLACES, st.integers(0, 255)), max_size=3))
@settings(max_examples=400)
def test_no_damage_to_the_structure_raises_anything_but_one_line(
    tmp_path_factory: pytest.TempPathFactory, flips: list[tuple[int, int]]
) -> None:
    read_damaged(flipped(flips), tmp_path_factory.mktemp("damaged"))
