"""small ONNX models by name: operators that mix and move activations."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx_models import model, node, normal


def transposed(
    shape: tuple[int, ...], out: int, *kernel: int, group: int = 1, **attributes: Any
) -> onnx.ModelProto:
    """out: channels of each group."""
    weights = {"w": normal(shape[0], out, *kernel), "b": normal(out * group)}
    nodes = [node("ConvTranspose", "x w b", group=group, **attributes)]
    return model(["n", *shape], nodes, weights)


def moved(op: str, shape: tuple[int, ...], opset: int = 18, **inputs: Any) -> onnx.ModelProto:
    """One node with constant inputs in order; those that are None are left out."""
    names = [name if value is not None else "-" for name, value in inputs.items()]
    arrays = {name: np.asarray(value) for name, value in inputs.items() if value is not None}
    return model(["n", *shape], [node(op, " ".join(["x", *names]))], arrays, opset=opset)


def resized(shape: tuple[int, ...], *scales: float, **attributes: Any) -> onnx.ModelProto:
    given = {"s": np.asarray([1, 1, *scales], np.float32)}
    return model(["n", *shape], [node("Resize", "x - s", **attributes)], given)


MAP = (3, 4, 5)
BY_CHANNEL = {"w": normal(3, 3, 1, 1), "c": np.abs(normal(3, 1, 1)) + 1, "d": normal(1, 3, 1, 1)}


def changed(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    """A convolution, whose output "c1" is changed by constants "c", "d" and "two"."""
    constants = {**BY_CHANNEL, "two": np.float32(2)}
    return model(["n", *MAP], [node("Conv", "x w", "c1"), *nodes], constants)


ARITHMETIC = {
    "sum": model(["n", *MAP], [node("Relu", "x", "r"), node("Add", "r x")]),
    "difference": model(["n", *MAP], [node("Relu", "x", "r"), node("Sub", "r x")]),
    "product": model(["n", *MAP], [node("Relu", "x", "r"), node("Mul", "r x")]),
    "square": model(["n", 7], [node("Mul", "x x")]),
    "product-by-channel": model(
        ["n", *MAP], [node("GlobalAveragePool", "x", "g"), node("Mul", "x g")]
    ),
    "product-by-channel-turned": model(
        ["n", 3, 7], [node("GlobalAveragePool", "x", "g"), node("Mul", "g x")]
    ),
    "excited-by-features": model(
        ["n", *MAP],
        [
            node("ReduceMean", "x", "m", axes=[2, 3], keepdims=0),
            node("MatMul", "m w", "f"),
            node("Reshape", "f s", "g"),
            node("Mul", "g x"),
        ],
        {"w": normal(3, 3), "s": np.array([0, 3, 1, 1])},
    ),
    "times-constant": changed(node("Mul", "c1 c")),
    "times-number": changed(node("Mul", "two c1")),
    "by-constant": changed(node("Div", "c1 c")),
    "minus-constant": changed(node("Sub", "c1 d")),
    "from-constant": changed(node("Sub", "d c1")),
    "norm-in-parts": changed(
        node("Sub", "c1 d", "s"),
        node("Div", "s c", "q"),
        node("Mul", "q two", "p"),
        node("Add", "d p"),
    ),
    "input-normalized": model(
        ["n", *MAP],
        [node("Sub", "x d", "s"), node("Div", "s c", "q"), node("Conv", "q w", pads=[1, 1, 1, 1])],
        {**BY_CHANNEL, "w": normal(2, 3, 3, 3)},
    ),
    "shared-map-plus-number": changed(
        node("Relu", "c1", "r"), node("Add", "r two", "a"), node("Mul", "a r")
    ),
    "reshaped-times-constant": model(
        ["n", 24],
        [node("Reshape", "x s", "m"), node("Mul", "m c")],
        {"s": np.array([0, 2, 3, 4]), "c": normal(2, 1, 1)},
    ),
    "features-times-constant": model(
        ["n", 6],
        [node("MatMul", "x w", "m"), node("Mul", "m c", "p"), node("Add", "p d")],
        {"w": normal(6, 4), "c": normal(4, seed=1), "d": normal(1)},
    ),
}

JOINED = {
    "concat": model(["n", *MAP], [node("Relu", "x", "r"), node("Concat", "x r x", axis=1)]),
    "concat-below": model(["n", *MAP], [node("Relu", "x", "r"), node("Concat", "x r", axis=2)]),
    "concat-beside": model(["n", *MAP], [node("Relu", "x", "r"), node("Concat", "x r", axis=-1)]),
    "concat-1d": model(["n", 3, 7], [node("Relu", "x", "r"), node("Concat", "x r", axis=1)]),
    "concat-1d-along": model(["n", 3, 7], [node("Relu", "x", "r"), node("Concat", "x r", axis=2)]),
    "concat-of-one": model(["n", *MAP], [node("Concat", "x", axis=1)]),
    "concat-then-flatten": model(
        ["n", *MAP],
        [
            node("Relu", "x", "r"),
            node("Concat", "x r", "c", axis=1),
            node("Flatten", "c", "f"),
            node("MatMul", "f w"),
        ],
        {"w": normal(120, 3)},
    ),
    "flatten-then-concat": model(
        ["n", *MAP],
        [
            node("Flatten", "x", "f"),
            node("MaxPool", "x", "p", kernel_shape=[2, 2]),
            node("Flatten", "p", "g"),
            node("Concat", "f g", "c", axis=1),
            node("MatMul", "c w"),
        ],
        {"w": normal(96, 3)},
    ),
}

SPLIT = {
    "split": model(
        ["n", *MAP],
        [
            node("Split", "x s", "a b", axis=1),
            node("Relu", "a", "r"),
            node("Concat", "b r", axis=1),
        ],
        {"s": np.array([1, 2])},
    ),
    "split-by-default": model(
        ["n", 4, 3, 3],
        [node("Split", "x", "a b", axis=1), node("Relu", "b", "r"), node("Add", "a r")],
    ),
    "split-uneven": model(
        ["n", 5],
        [node("Split", "x", "a b", axis=1, num_outputs=2), node("Concat", "b a", axis=1)],
        opset=18,
    ),
    "split-opset-11": model(
        ["n", *MAP],
        [node("Split", "x", "a b", axis=3, split=[2, 3]), node("Identity", "b")],
        opset=11,
    ),
    "slice-channels": moved("Slice", MAP, starts=[1], ends=[3], axes=[1]),
    "slice-steps": moved("Slice", MAP, starts=[0, 1], ends=[9, -1], axes=[2, 3], steps=[2, 3]),
    "slice-from-the-end": moved("Slice", MAP, starts=[-2], ends=[2**31], axes=[-1]),
    "slice-all-axes": moved("Slice", MAP, starts=[0, 0, 1, 2], ends=[9, 2, 3, 4]),
    "slice-features": moved("Slice", (7,), starts=[2], ends=[6], axes=[1], steps=[2]),
    "slice-1d": moved("Slice", (3, 7), starts=[2], ends=[6], axes=[2]),
}

PADDED = {
    "pad": moved("Pad", MAP, pads=[0, 0, 1, 2, 0, 0, 0, 1]),
    "pad-zero-given": moved("Pad", MAP, pads=[0, 0, 1, 2, 0, 0, 0, 1], value=np.float32(0)),
    "pad-axes": moved("Pad", MAP, pads=[2, 1, 0, 3], value=None, axes=[3, 1]),
    "pad-crops": moved("Pad", MAP, pads=[0, 1, -1, 2, 0, -1, 0, -3]),
    "pad-features": moved("Pad", (5,), pads=[0, 2, 0, 1]),
    "pad-1d": moved("Pad", (3, 5), pads=[0, 0, 2, 0, 0, 1]),
    "pad-nothing": moved("Pad", (3, 5), pads=[0] * 6),
}

RESIZED = {
    "resize": resized(MAP, 2, 2, coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
    "resize-half-pixel": resized(MAP, 2, 3),
    "resize-half-pixel-4": resized(MAP, 4, 5, nearest_mode="round_prefer_ceil"),
    "resize-rounds-even": resized(MAP, 2, 1, coordinate_transformation_mode="asymmetric"),
    "resize-pytorch": resized(MAP, 3, 2, coordinate_transformation_mode="pytorch_half_pixel"),
    "resize-1d": resized((3, 5), 2),
    "resize-by-1": resized(MAP, 1, 1),
    "resize-to-sizes": model(
        ["n", *MAP], [node("Resize", "x - - s")], {"s": np.array([1, 3, 8, 15])}
    ),
    "resize-axes": model(
        ["n", *MAP],
        [node("Resize", "x - s", axes=[3, 2])],
        {"s": np.asarray([2, 3], np.float32)},
        opset=18,
    ),
}

TRANSPOSED = {
    "transposed": transposed(MAP, 2, 2, 2, strides=[2, 2]),
    "transposed-stride-1": transposed(MAP, 2, 3, 3, pads=[1, 1, 1, 1]),
    "transposed-3x3": transposed(MAP, 2, 3, 3, strides=[2, 2], pads=[1, 1, 1, 1]),
    "transposed-output-padding": transposed(
        MAP, 2, 3, 3, strides=[2, 3], pads=[1, 0, 1, 1], output_padding=[1, 2]
    ),
    "transposed-4x4": transposed(MAP, 2, 4, 4, strides=[2, 2], pads=[1, 1, 1, 1]),
    "transposed-stride-over-kernel": transposed(MAP, 2, 1, 2, strides=[3, 3]),
    "transposed-cropped": transposed(MAP, 2, 1, 2, strides=[2, 3], pads=[1, 3, 2, 2]),
    "transposed-cropped-to-its-size": transposed(
        (2, 1, 2), 3, 1, 3, strides=[1, 3], pads=[0, 0, 0, 4]
    ),
    "transposed-1d": transposed((3, 6), 2, 4, strides=[2], pads=[1, 0]),
    "transposed-1d-output-padding": transposed((3, 6), 2, 3, strides=[3], output_padding=[2]),
    "transposed-same": transposed(MAP, 2, 3, 4, strides=[2, 2], auto_pad="SAME_UPPER"),
    "transposed-same-lower": transposed(MAP, 2, 4, 3, strides=[2, 2], auto_pad="SAME_LOWER"),
    "transposed-valid": transposed(MAP, 2, 3, 2, strides=[2, 2], auto_pad="VALID"),
    "transposed-groups": transposed((4, 3, 5), 3, 3, 2, strides=[2, 2], group=2),
    "transposed-depthwise": transposed((3, 3, 5), 1, 4, 4, strides=[2, 2], group=3),
    "transposed-dilated": transposed(
        MAP, 2, 3, 2, strides=[2, 1], dilations=[2, 3], pads=[1, 0, 2, 3]
    ),
    "transposed-shape": transposed(MAP, 2, 3, 3, strides=[2, 2], output_shape=[8, 10]),
    "transposed-no-bias": model(
        ["n", *MAP], [node("ConvTranspose", "x w")], {"w": normal(3, 2, 2, 2)}
    ),
}

REDUCED = {
    "maximum": model(["n", *MAP], [node("ReduceMax", "x", axes=[2, 3], keepdims=0)]),
    "maximum-kept": model(["n", *MAP], [node("ReduceMax", "x", axes=[3])]),
}

CASES = {**ARITHMETIC, **JOINED, **SPLIT, **PADDED, **RESIZED, **TRANSPOSED, **REDUCED}
