"""small ONNX models by name: every rule of the front end, at its edges."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto
from onnx_models import model, node, normal


def conv(shape: tuple[int, ...], out: int, *kernel: int, **attributes: Any) -> onnx.ModelProto:
    group = attributes.get("group", 1)
    weights = {"w": normal(out, shape[0] // group, *kernel), "b": normal(out)}
    return model(["n", *shape], [node("Conv", "x w b", **attributes)], weights)


def pool(op: str, shape: tuple[int, ...], *kernel: int, **attributes: Any) -> onnx.ModelProto:
    return model([1, *shape], [node(op, "x", kernel_shape=list(kernel), **attributes)], opset=19)


def function(*steps: str) -> onnx.ModelProto:
    """Steps "OPERATOR INPUTS... OUTPUT" on features x, numbers as constants; y is the output."""
    nodes: list[onnx.NodeProto] = []
    numbers: dict[str, Any] = {}
    for step in steps:
        op, *inputs, output = step.split()
        numbers |= {name: np.float32(name) for name in inputs if name[0].isdigit()}
        nodes.append(node(op, " ".join(inputs), output))
    return model(["n", 7], nodes, numbers)


def relaid(shape: tuple[int, ...], *nodes: onnx.NodeProto, **constants: Any) -> onnx.ModelProto:
    """Changes of shape, then a layer that tells every element apart."""
    arrays = {name: np.array(value) for name, value in constants.items()}
    arrays["w"] = normal(math.prod(shape), 3)
    return model(["n", *shape], [*nodes, node("MatMul", "f w")], arrays)


CONVOLUTIONS = {
    "conv-odd": conv((3, 7, 5), 4, 3, 3),
    "conv-1x1-map": conv((5, 1, 1), 3, 1, 1),
    "conv-1x1-map-padded": conv((2, 1, 1), 3, 3, 3, pads=[1, 1, 1, 1]),
    "conv-stride-2": conv((2, 8, 9), 3, 3, 3, strides=[2, 2], pads=[1, 1, 1, 1]),
    "conv-asymmetric": conv((2, 6, 5), 3, 3, 2, pads=[0, 2, 1, 0], strides=[2, 1]),
    "conv-one-channel": conv((1, 5, 5), 1, 2, 4),
    "conv-leaves-a-rest": conv((1, 6, 8), 2, 3, 3, strides=[2, 3]),
    "conv-no-bias": model([1, 2, 5, 5], [node("Conv", "x w")], {"w": normal(3, 2, 3, 3)}),
    "conv-1d": conv((3, 11), 4, 3, strides=[2], pads=[1, 0]),
    "conv-1d-same": conv((3, 11), 4, 4, strides=[3], auto_pad="SAME_LOWER"),
    "conv-same-upper": conv((2, 7, 6), 3, 4, 3, strides=[2, 2], auto_pad="SAME_UPPER"),
    "conv-same-lower": conv((2, 7, 6), 3, 4, 3, strides=[2, 2], auto_pad="SAME_LOWER"),
    "conv-same-stride-over-kernel": conv((2, 7, 7), 3, 1, 2, strides=[3, 3], auto_pad="SAME_UPPER"),
    "conv-same-1x1-stride-2": conv((2, 8, 7), 3, 1, 1, strides=[2, 2], auto_pad="SAME_UPPER"),
    "conv-valid": conv((2, 7, 6), 3, 3, 3, auto_pad="VALID", strides=[2, 2]),
    "depthwise": conv((4, 6, 5), 4, 3, 3, group=4, pads=[1, 1, 1, 1]),
    "depthwise-same": conv((4, 7, 6), 4, 5, 3, group=4, strides=[2, 2], auto_pad="SAME_UPPER"),
    "depthwise-1d": conv((4, 13), 4, 5, group=4, strides=[2], pads=[1, 3]),
    "depthwise-no-bias": model(
        [1, 3, 5, 5], [node("Conv", "x w", group=3)], {"w": normal(3, 1, 3, 3)}
    ),
    "multiplier": conv((3, 6, 5), 6, 3, 3, group=3),
    "grouped": conv((6, 6, 5), 4, 3, 3, group=2, strides=[2, 1], pads=[0, 1, 1, 2]),
    "dilated": conv((2, 9, 8), 3, 3, 2, dilations=[2, 3], pads=[1, 2, 3, 0], strides=[2, 1]),
    "dilated-valid": conv((2, 9, 8), 3, 3, 3, dilations=[2, 2], auto_pad="VALID"),
    "dilated-1d": conv((2, 17), 3, 4, dilations=[3], pads=[2, 4], strides=[2]),
    "conv-bias-added": model(
        ["n", 2, 5, 4],
        [node("Conv", "x w", "c"), node("Add", "c b")],
        {"w": normal(3, 2, 3, 3), "b": normal(3, 1, 1)},
    ),
}

POOLS = {
    "max": pool("MaxPool", (3, 6, 7), 2, 2, strides=[2, 2]),
    "max-overlap": pool("MaxPool", (3, 7, 7), 3, 3, strides=[2, 2], pads=[1, 1, 1, 1]),
    "max-asymmetric": pool("MaxPool", (2, 6, 7), 3, 2, strides=[2, 2], pads=[0, 1, 2, 0]),
    "max-ceil": pool("MaxPool", (2, 6, 8), 3, 3, strides=[2, 2], ceil_mode=1),
    "max-ceil-drops-last": pool("MaxPool", (2, 5, 5), 2, 2, strides=[3, 3], ceil_mode=1),
    "max-ceil-padded": pool(
        "MaxPool", (1, 5, 6), 2, 2, strides=[3, 3], ceil_mode=1, pads=[1, 1, 1, 1]
    ),
    "max-same-upper": pool("MaxPool", (2, 5, 7), 3, 2, strides=[2, 2], auto_pad="SAME_UPPER"),
    "max-same-lower": pool("MaxPool", (2, 5, 7), 3, 2, strides=[2, 2], auto_pad="SAME_LOWER"),
    "max-valid-ceil": pool("MaxPool", (2, 6, 7), 3, 3, strides=[2, 2], auto_pad="VALID"),
    "max-1d": pool("MaxPool", (3, 9), 2, strides=[2]),
    "average": pool("AveragePool", (3, 6, 7), 2, 3, strides=[2, 2]),
    "average-stride-1": pool("AveragePool", (3, 4, 4), 2, 2),
    "average-padded": pool("AveragePool", (2, 5, 5), 3, 3, strides=[2, 2], pads=[1, 1, 1, 1]),
    "average-counts-padding": pool(
        "AveragePool", (2, 5, 5), 3, 3, strides=[2, 2], pads=[1, 0, 1, 2], count_include_pad=1
    ),
    "average-ceil": pool("AveragePool", (2, 6, 6), 3, 3, strides=[2, 2], ceil_mode=1),
    "average-ceil-exact-counts": pool(
        "AveragePool", (2, 7, 7), 3, 3, strides=[2, 2], ceil_mode=1, count_include_pad=1
    ),
    "average-same": pool("AveragePool", (2, 5, 6), 3, 2, strides=[2, 2], auto_pad="SAME_LOWER"),
    "average-1d": pool("AveragePool", (3, 9), 4, strides=[3], pads=[1, 1]),
    "average-whole-map": pool("AveragePool", (3, 4, 5), 4, 5),
    "global-average": model(["n", 3, 4, 5], [node("GlobalAveragePool", "x")]),
    "global-average-1d": model(["n", 3, 7], [node("GlobalAveragePool", "x")]),
    "global-max": model(["n", 3, 4, 5], [node("GlobalMaxPool", "x")]),
    "mean-kept": model(["n", 3, 4, 5], [node("ReduceMean", "x", axes=[2, 3])]),
    "mean-dropped": model(["n", 3, 4, 5], [node("ReduceMean", "x", axes=[-1, -2], keepdims=0)]),
    "mean-of-one-axis": model(["n", 3, 4, 5], [node("ReduceMean", "x", axes=[3], keepdims=0)]),
    "mean-axes-as-input": model(
        ["n", 3, 4, 5],
        [node("ReduceMean", "x axes", keepdims=0)],
        {"axes": np.array([2, 3])},
        opset=18,
    ),
}

LINEARS = {
    "gemm": model(["n", 6], [node("Gemm", "x w b", transB=1)], {"w": normal(4, 6), "b": normal(4)}),
    "gemm-scaled": model(
        ["n", 6],
        [node("Gemm", "x w b", alpha=0.5, beta=-2.0)],
        {"w": normal(6, 4), "b": normal(1, 1)},
    ),
    "gemm-no-bias": model(["n", 6], [node("Gemm", "x w")], {"w": normal(6, 4)}),
    "gemm-scalar-bias": model(
        ["n", 6], [node("Gemm", "x w b")], {"w": normal(6, 4), "b": np.float32(3)}
    ),
    "matmul": model([None, 6], [node("MatMul", "x w")], {"w": normal(6, 4)}),
    "matmul-add": model(
        ["n", 6],
        [node("MatMul", "x w", "m"), node("Add", "m b")],
        {"w": normal(6, 4), "b": normal(4)},
    ),
    "add-matmul": model(
        ["n", 6],
        [node("MatMul", "x w", "m"), node("Add", "b m"), node("Identity", "y", "z")],
        {"w": normal(6, 4), "b": normal(1, 4)},
        output="z",
    ),
    "one-feature": model(["n", 1], [node("MatMul", "x w")], {"w": normal(1, 1)}),
    "float16": model(
        ["n", 6],
        [node("Gemm", "x w b")],
        {"w": normal(6, 4).astype(np.float16), "b": normal(4).astype(np.float16)},
        dtype=TensorProto.FLOAT16,
    ),
    "float64": model(
        ["n", 6],
        [node("MatMul", "x w")],
        {"w": normal(6, 4).astype(np.float64)},
        dtype=TensorProto.DOUBLE,
    ),
}

NORM = {
    "gamma": normal(3, seed=1),
    "beta": normal(3, seed=2),
    "mean": normal(3, seed=3),
    "var": np.abs(normal(3, seed=4)),
}

ELEMENTWISE = {
    "norm": model(
        ["n", 2, 4, 5],
        [
            node("Conv", "x w", "c"),
            node("BatchNormalization", "c gamma beta mean var", epsilon=0.1),
        ],
        {**NORM, "w": normal(3, 2, 1, 1)},
    ),
    "norm-depthwise": model(
        ["n", 3, 6, 5],
        [node("Conv", "x w", "c", group=3), node("BatchNormalization", "c gamma beta mean var")],
        {**NORM, "w": normal(3, 1, 3, 3)},
    ),
    "norm-of-input": model(
        ["n", 3, 4, 5], [node("BatchNormalization", "x gamma beta mean var")], NORM
    ),
    "norm-of-signal": model(
        ["n", 3, 9],
        [node("Relu", "x", "r"), node("BatchNormalization", "r gamma beta mean var")],
        NORM,
    ),
    "norm-1d": model(
        ["n", 2, 9],
        [node("Conv", "x w", "c"), node("BatchNormalization", "c gamma beta mean var")],
        {**NORM, "w": normal(3, 2, 3)},
    ),
    "norm-vector": model(
        ["n", 4],
        [node("Gemm", "x w", "c"), node("BatchNormalization", "c gamma beta mean var")],
        {**NORM, "w": normal(4, 3)},
    ),
    "relu": model(["n", 3, 4, 5], [node("Relu", "x")]),
    "clip": model(["n", 7], [node("Clip", "x a b")], {"a": np.float32(-1), "b": np.float32(0.5)}),
    "clip-no-minimum": model(["n", 7], [node("Clip", "x - b")], {"b": np.float32(0.5)}),
    "clip-no-maximum": model(["n", 7], [node("Clip", "x a")], {"a": np.float32(0.5)}),
    "clip-no-bounds": model(["n", 7], [node("Clip", "x")]),
    "dropout": model(["n", 7], [node("Dropout", "x ratio")], {"ratio": np.float32(0.5)}),
    "cast": model(["n", 7], [node("Cast", "x", to=TensorProto.FLOAT)]),
    "sigmoid-of-vector": model(["n", 7], [node("Sigmoid", "x")]),
    "softmax": model(["n", 7], [node("Softmax", "x", axis=-1)]),
    "softmax-opset-11": model(["n", 7], [node("Softmax", "x")], opset=11),
    "softmax-of-1x1-map": model(["n", 7, 1, 1], [node("Softmax", "x", axis=1)]),
    "softmax-then-flatten": model(
        ["n", 7, 1, 1], [node("Softmax", "x", "s", axis=1), node("Flatten", "s")]
    ),
    "sigmoid": model(["n", 3, 4, 5], [node("Sigmoid", "x")]),
    "tanh": model(["n", 7], [node("Tanh", "x")]),
    "hard-sigmoid": model(["n", 7], [node("HardSigmoid", "x", alpha=0.3)]),
    "hard-swish": model(["n", 3, 9], [node("HardSwish", "x")]),
    "leaky": model(["n", 3, 4, 5], [node("LeakyRelu", "x")]),
    "leaky-steep": model(["n", 3, 4, 5], [node("LeakyRelu", "x", alpha=-1.5)]),
    "prelu": model(["n", 3, 4, 5], [node("PRelu", "x s")], {"s": normal(3, 1, 1)}),
    "prelu-batch-axis": model(["n", 3, 4, 5], [node("PRelu", "x s")], {"s": normal(1, 3, 1, 1)}),
    "prelu-of-one": model(["n", 3, 4, 5], [node("PRelu", "x s")], {"s": normal(1)}),
    "prelu-1d": model(["n", 3, 9], [node("PRelu", "x s")], {"s": normal(3, 1)}),
    "prelu-features": model(["n", 7], [node("PRelu", "x s")], {"s": normal(7)}),
    "elu": model(["n", 7], [node("Elu", "x", alpha=0.7)]),
    "selu": model(["n", 7], [node("Selu", "x")]),
    "softplus": model(["n", 7], [node("Softplus", "x")]),
    "gelu-op": model(["n", 7], [node("Gelu", "x")], opset=20),
    "gelu-op-tanh": model(["n", 7], [node("Gelu", "x", approximate="tanh")], opset=20),
    "nothing": model(["n", 2, 3, 4], [node("Identity", "x")]),
}

LAYOUTS = {
    "flatten": relaid((2, 3, 4), node("Flatten", "x", "f")),
    "flatten-negative-axis": relaid((2, 3, 4), node("Flatten", "x", "f", axis=-3)),
    "flatten-1d": relaid((5, 4), node("Flatten", "x", "f")),
    "flatten-after-relu": relaid((2, 3, 4), node("Flatten", "x", "g"), node("Relu", "g", "f")),
    "reshape": relaid((2, 3, 4), node("Reshape", "x s", "f"), s=[0, -1]),
    "reshape-open-batch": relaid((2, 3, 4), node("Reshape", "x s", "f"), s=[-1, 24]),
    "reshape-twice": relaid(
        (2, 3, 4), node("Reshape", "x s", "g"), node("Reshape", "g t", "f"), s=[0, 6, 4], t=[0, -1]
    ),
    "transpose-of-1x1-map": relaid(
        (6, 1, 1),
        node("Transpose", "x", "g", perm=[0, 2, 3, 1]),
        node("Reshape", "g s", "f"),
        s=[-1, 6],
    ),
    "view-of-size": relaid(
        (2, 3, 4),
        node("Shape", "x", "shape"),
        node("Gather", "shape zero", "n", axis=0),
        node("Unsqueeze", "n axis", "n1"),
        node("Concat", "n1 rest", "s", axis=0),
        node("Reshape", "x s", "f"),
        zero=0,
        axis=[0],
        rest=[-1],
    ),
    "flatten-by-shape": relaid(
        (2, 3, 4),
        node("Shape", "x", "n", end=1),
        node("Shape", "x", "chw", start=1),
        node("ReduceProd", "chw", "f1", keepdims=1),
        node("Concat", "n f1", "s", axis=0),
        node("Cast", "s", "s32", to=TensorProto.INT32),
        node("Cast", "s32", "s64", to=TensorProto.INT64),
        node("Reshape", "x s64", "f"),
    ),
    "squeeze": relaid((6, 1, 1), node("Squeeze", "x axes", "f"), axes=[2, 3]),
    "squeeze-opset-11": model(
        ["n", 6, 1, 1],
        [node("Squeeze", "x", "f", axes=[-1, -2]), node("MatMul", "f w")],
        {"w": normal(6, 3)},
        opset=11,
    ),
    "unflatten-conv": model(
        ["n", 24],
        [node("Reshape", "x s", "m"), node("Conv", "m w")],
        {"s": np.array([-1, 2, 3, 4]), "w": normal(3, 2, 2, 2)},
    ),
    "map-to-other-map": model(
        ["n", 4, 3, 2],
        [node("Reshape", "x s", "m"), node("Conv", "m w")],
        {"s": np.array([0, 2, 4, 3]), "w": normal(3, 2, 2, 2)},
    ),
    "signal-as-image": model(
        ["n", 2, 9],
        [
            node("Unsqueeze", "x axes", "m"),
            node("MaxPool", "m", "p", kernel_shape=[1, 2], strides=[1, 2]),
            node("Squeeze", "p axes", "s"),
            node("Conv", "s w"),
        ],
        {"axes": np.array([2]), "w": normal(3, 2, 2)},
    ),
    "output-reshaped": model(["n", 24], [node("Reshape", "x s")], {"s": np.array([0, 2, 3, 4])}),
    "rank-5-between": relaid(
        (2, 3, 4), node("Reshape", "x s", "g"), node("Flatten", "g", "f"), s=[0, 2, 3, 2, 2]
    ),
}

PATTERNS = {
    "silu": function("Sigmoid x s", "Mul s x y"),
    "silu-turned": function("Sigmoid x s", "Mul x s y"),
    "hard-swish-of-sigmoid": model(
        ["n", 7],
        [node("HardSigmoid", "x", "s", alpha=1 / 6), node("Mul", "x s")],
    ),
    "hard-swish-divided-last": function("Add x 3 a", "Clip a 0 6 c", "Mul x c m", "Div m 6 y"),
    "hard-swish-divided-first": function("Add 3 x a", "Clip a 0 6 c", "Div c 6 d", "Mul d x y"),
    "hard-swish-scaled": function("Add x 3 a", "Clip a 0 6 c", "Mul x c m", "Mul 0.16666667 m y"),
    "hard-sigmoid-spelled": function("Add x 3 a", "Clip a 0 6 c", "Div c 6 y"),
    "gelu": function("Div x 1.4142135 d", "Erf d e", "Add e 1 a", "Mul x a m", "Mul m 0.5 y"),
    "gelu-halved-first": function(
        "Mul x 0.5 h", "Mul x 0.70710677 d", "Erf d e", "Add 1 e a", "Mul h a y"
    ),
    "gelu-tanh": function(
        *("Mul x x s", "Mul x s c", "Mul 0.044715 c k", "Add x k a", "Mul 0.7978846 a v"),
        *("Tanh v t", "Add 1 t o", "Mul x o m", "Mul 0.5 m y"),
    ),
    "gelu-tanh-power": function(
        *("Pow x 3 c", "Mul c 0.044715 k", "Add k x a", "Mul a 0.7978846 v"),
        *("Tanh v t", "Add t 1 o", "Mul x 0.5 h", "Mul o h y"),
    ),
    "softplus-of-torch": function("Softplus x s", "Greater x 20 g", "Where g x s y"),
}
"""Activation functions that exporters write as several operators."""

CASES = {**PATTERNS, **CONVOLUTIONS, **POOLS, **LINEARS, **ELEMENTWISE, **LAYOUTS}
