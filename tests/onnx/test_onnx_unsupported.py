"""Is every node that we cannot train named at once, with its reason, and do shapes go on?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_models import layer, model, node, normal, saved

from insitu.frontends.model import Model
from insitu.frontends.onnx.reader import read


def unsupported(read_model: Model) -> list[tuple[str, str, str]]:
    return [(u.op, u.name, u.reason) for u in read_model.unsupported]


def test_all_unsupported_nodes_are_named_at_once_and_the_walk_goes_on(tmp_path: Path) -> None:
    nodes = [
        node("Conv", "x w", "c", "narrow", group=2, pads=[1, 1, 1, 1]),
        node("Cos", "c", "s", "gate"),
        node("Mul", "c s", "m", "swish"),
        node("Sin", "m", "a", "wave"),
        node("Conv", "a w2", "d", "wide", dilations=[2, 2]),
        node("Softmax", "d", "e", "attention"),
        node("MyOp", "e", "o", "mine"),
        node("Relu", "o", "r", "relu"),
        node("GlobalAveragePool", "r", "g", "gap"),
        node("Flatten", "g", "f", "flatten"),
        node("Gemm", "f w3", "y", "fc"),
    ]
    weights = {"w": normal(4, 1, 3, 3), "w2": normal(6, 4, 3, 3), "w3": normal(6, 3)}
    proto = model(["n", 2, 9, 8], nodes, weights)
    known = helper.make_tensor_value_info("o", TensorProto.FLOAT, ["n", 6, 5, 4])
    proto.graph.value_info.add().CopyFrom(known)
    result = read(saved(proto, tmp_path))
    assert [(op, name) for op, name, _ in unsupported(result)] == [
        ("Cos", "gate"),
        ("Sin", "wave"),
        ("Softmax", "attention"),
        ("MyOp", "mine"),
    ]
    shapes = {n.name: result.graph.tensors[n.outputs[0]].shape for n in result.graph.nodes}
    assert shapes["narrow"] == shapes["wave"] == (9, 8, 4)
    assert shapes["wide"] == shapes["relu"] == (5, 4, 6)
    assert shapes["fc"] == (3,)


def test_a_node_of_unknown_shape_does_not_stop_the_walk(tmp_path: Path) -> None:
    nodes = [
        node("Rotate", "x", "r", "rotate", domain="com.example"),
        node("Relu", "r", "s", "relu"),
        node("Tan", "s", "y", "tan"),
    ]
    result = read(saved(model([1, 4], nodes, domains=["com.example"]), tmp_path))
    assert [(op, name) for op, name, _ in unsupported(result)] == [
        ("Rotate", "rotate"),
        ("Tan", "tan"),
    ]
    assert 'domain "com.example"' in result.unsupported[0].reason


IMAGE = [2, 6, 6]


def resized(*scales: float, **attributes: Any) -> onnx.ModelProto:
    given = {"s": np.asarray([1, *scales], np.float32)}
    return model([1, *IMAGE], [node("Resize", "x - s", **attributes)], given)


UNMIXED: dict[str, tuple[onnx.ModelProto, str]] = {
    "product-of-shapes": (
        model([1, *IMAGE], [node("ReduceMean", "x", "m", axes=[3]), node("Mul", "x m")]),
        "[1, 2, 6, 6] and [1, 2, 6, 1]",
    ),
    "quotient": (
        model([1, 4], [node("Relu", "x", "r"), node("Div", "x r")]),
        "divides by what is computed",
    ),
    "times-a-map": (
        model(
            [1, *IMAGE],
            [node("Conv", "x w", "c"), node("Mul", "c m")],
            {"w": normal(2, 2, 1, 1), "m": normal(6, 6)},
        ),
        "its constant has the shape [6, 6]",
    ),
    "samples-joined": (
        model([1, 4], [node("Relu", "x", "r"), node("Concat", "x r", axis=0)]),
        "joins samples",
    ),
    "joined-with-a-constant": (
        model([1, 4], [node("Concat", "x c", axis=1)], {"c": normal(1, 2)}),
        'its input "c" is a constant',
    ),
    "pad-reflects": (
        model([1, 3, 6], [node("Pad", "x p", mode="reflect")], {"p": np.array([0, 0, 1, 0, 0, 1])}),
        "pads by reflect",
    ),
    "pad-with-one": (
        model([1, 4], [node("Pad", "x p v")], {"p": np.array([0, 1, 0, 1]), "v": np.float32(1)}),
        "which is not 0",
    ),
    "pad-of-samples": (
        model([1, 4], [node("Pad", "x p")], {"p": np.array([1, 0, 0, 0])}),
        "changes the batch axis",
    ),
    "slice-backwards": (
        layer(
            "Slice",
            [4],
            {"s": np.array([3]), "e": np.array([0]), "a": np.array([1]), "by": np.array([-1])},
        ),
        "steps [-1]",
    ),
    "resize-by-one-and-a-half": (resized(1, 1.5, 2), "only whole factors"),
    "resize-smaller": (resized(1, 0.5, 1), "only whole factors"),
    "resize-of-channels": (resized(2, 1, 1), "repeats samples or channels"),
    "resize-linear": (resized(1, 2, 2, mode="linear"), "mode linear"),
    "resize-uneven": (
        resized(1, 2, 2, nearest_mode="floor"),
        "only whole factors that repeat every element alike",
    ),
    "resize-cropped": (
        resized(1, 2, 2, coordinate_transformation_mode="tf_crop_and_resize"),
        "tf_crop_and_resize",
    ),
    "transposed-beyond-reach": (
        layer("ConvTranspose", IMAGE, {"w": normal(2, 2, 1, 1)}, output_shape=[9, 9]),
        "an output of 9 places where only 6",
    ),
}
UNSUPPORTED: dict[str, tuple[onnx.ModelProto, str]] = {
    "sum-of-shapes": (
        model(
            [1, *IMAGE],
            [node("GlobalAveragePool", "x", "g"), node("Add", "x g", "s"), node("Flatten", "s")],
        ),
        "[1, 2, 6, 6] and [1, 2, 1, 1]",
    ),
    "same-padding-dilated": (
        layer("Conv", IMAGE, {"w": normal(2, 2, 3, 3)}, dilations=[2, 1], auto_pad="SAME_LOWER"),
        "auto_pad SAME_LOWER with dilation 2",
    ),
    "same-padding-below-zero": (
        layer("Conv", IMAGE, {"w": normal(2, 2, 1, 1)}, strides=[3, 3], auto_pad="SAME_UPPER"),
        "auto_pad SAME_UPPER with stride 3 over kernel 1",
    ),
    "pool-dilation": (
        layer("MaxPool", IMAGE, {}, kernel_shape=[2, 2], dilations=[2, 2]),
        "dilation [2, 2]",
    ),
    "pool-indices": (
        model([1, *IMAGE], [node("MaxPool", "x", "y i", kernel_shape=[2, 2])]),
        'further output "i"',
    ),
    "average-ceil": (
        layer(
            "AveragePool",
            IMAGE,
            {},
            kernel_shape=[3, 3],
            strides=[2, 2],
            ceil_mode=1,
            count_include_pad=1,
        ),
        "ceil_mode 1 with count_include_pad 1",
    ),
    "mean-of-channels": (layer("ReduceMean", IMAGE, {}, axes=[1]), "ReduceMean over axes [1]"),
    "dynamic-weight": (
        model([1, 4], [node("Relu", "x", "r"), node("MatMul", "x r")]),
        'its weight "r" is computed from the input',
    ),
    "transposed-gemm": (
        layer("Gemm", [1], {"w": normal(1, 3)}, transA=1),
        "transA 1",
    ),
    "training-norm": (
        layer(
            "BatchNormalization",
            [2],
            {"g": normal(2), "b": normal(2), "m": normal(2), "v": np.ones(2, np.float32)},
            training_mode=1,
        ),
        "training_mode 1",
    ),
    "inner-softmax": (
        model([1, 4], [node("Softmax", "x", "s"), node("Relu", "s")]),
        "a Softmax within the network",
    ),
    "softmax-of-map": (layer("Softmax", IMAGE, {}, axis=1), "over axis 1 of [1, 2, 6, 6]"),
    "random": (
        model(
            [1, 4],
            [node("RandomNormal", "", "w", shape=[4, 2]), node("MatMul", "x w")],
        ),
        "RandomNormal works on constants",
    ),
    **UNMIXED,
    "cast-to-integer": (layer("Cast", [4], {}, to=TensorProto.INT8), "a cast to the type 3"),
}


@pytest.mark.parametrize("case", UNSUPPORTED)
def test_what_is_not_supported_gives_its_reason(case: str, tmp_path: Path) -> None:
    proto, expected = UNSUPPORTED[case]
    first = read(saved(proto, tmp_path)).unsupported[0]
    assert expected in first.reason
    assert first.advice
