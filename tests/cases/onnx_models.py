"""nodes and weights -> small ONNX models: what the front end's tests feed it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from insitu.graph.model import Array

OPSET = 17


def node(op: str, inputs: str, output: str = "y", name: str = "", **attributes: Any) -> NodeProto:
    """A node; `inputs` are names with spaces between, "-" for one left out."""
    names = ["" if part == "-" else part for part in inputs.split()]
    return helper.make_node(op, names, output.split(), name=name, **attributes)


def model(
    shape: Sequence[int | str | None],
    nodes: Sequence[NodeProto],
    weights: Mapping[str, Any] | None = None,
    *,
    opset: int = OPSET,
    dtype: int = TensorProto.FLOAT,
    output: str = "y",
    domains: Sequence[str] = (),
) -> onnx.ModelProto:
    """A model with the input "x" of `shape` (batch first) and the output `output`."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", dtype, shape)],
        [helper.make_tensor_value_info(output, dtype, None)],
        [numpy_helper.from_array(np.asarray(w), name) for name, w in (weights or {}).items()],
    )
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def layer(op: str, shape: list[int], weights: dict[str, Any], **attributes: Any) -> onnx.ModelProto:
    """A model of one node whose further inputs are all constants."""
    return model([1, *shape], [node(op, " ".join(["x", *weights]), **attributes)], weights)


def saved(proto: onnx.ModelProto, folder: Path, name: str = "model.onnx") -> Path:
    """The file of a model, unchecked."""
    path = folder / name
    path.write_bytes(proto.SerializeToString())
    return path


def normal(*shape: int, seed: int = 0) -> Array:
    """Fixed random weights."""
    return np.random.default_rng(seed + len(shape)).normal(size=shape).astype(np.float32)


def digits_cnn(opset: int = OPSET, batch: int | str | None = "n") -> onnx.ModelProto:
    """A whole classifier: two convolutions, pooling, batch norm, two linear layers, softmax."""
    nodes = [
        node("Conv", "x w1 b1", "c1", "conv1", pads=[1, 1, 1, 1]),
        node("BatchNormalization", "c1 gamma beta mean var", "n1", "norm1"),
        node("Relu", "n1", "r1", "relu1"),
        node("MaxPool", "r1", "p1", "pool1", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", "p1 w2", "c2", "conv2", strides=[2, 2], auto_pad="SAME_UPPER"),
        node("Clip", "c2 zero six", "r2", "relu2"),
        node("Flatten", "r2", "f", "flatten"),
        node("Gemm", "f w3 b3", "l1", "fc1", transB=1),
        node("MatMul", "l1 w4", "m", "fc2"),
        node("Add", "b4 m", "a", "bias"),
        node("Softmax", "a", "y", "softmax", axis=1),
    ]
    weights: dict[str, Any] = {
        "w1": normal(4, 1, 3, 3),
        "b1": normal(4),
        "gamma": normal(4, seed=1),
        "beta": normal(4, seed=2),
        "mean": normal(4, seed=3),
        "var": np.abs(normal(4, seed=4)),
        "w2": normal(6, 4, 3, 3),
        "zero": np.float32(0),
        "six": np.float32(6),
        "w3": normal(8, 24) / 5,
        "b3": normal(8),
        "w4": normal(8, 3),
        "b4": normal(3),
    }
    return model([batch, 1, 8, 8], nodes, weights, opset=opset)
