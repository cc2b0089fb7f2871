"""Is what the ONNX front end reads the same function as onnxruntime computes?"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto
from onnx_models import digits_cnn, model, node, normal, saved

from insitu.frontends.model import Model
from insitu.frontends.onnx import read
from insitu.graph.evaluate import evaluate_float
from insitu.graph.model import Array

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is the oracle")

TERMS = 600
"""No sum of these models is longer; each term rounds once, by 2^-24 of the largest at most."""


def channels_last(x: Array) -> Array:
    """x[n, c, l] or x[n, c, h, w] -> x[n, h, w, c]; vectors as they are."""
    if x.ndim == 3:
        x = x[:, :, None, :]
    return x.transpose(0, 2, 3, 1) if x.ndim == 4 else x


def samples(shape: tuple[int, ...], count: int = 2) -> Array:
    return np.random.default_rng(7).normal(size=(count, *shape)).astype(np.float32)


def of_onnxruntime(proto: onnx.ModelProto, x: Array) -> Array:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    entry = session.get_inputs()[0]
    kinds: dict[str, Any] = {"tensor(float16)": np.float16, "tensor(double)": np.float64}
    wanted = kinds.get(entry.type, np.float32)
    rows = [session.run(None, {entry.name: row[None].astype(wanted)})[0] for row in x]
    return np.concatenate([row.reshape(1, *row.shape[1:]) for row in rows])


def of_insitu(read_model: Model, x: Array) -> Array:
    graph = read_model.graph
    values = evaluate_float(graph, {graph.inputs[0]: channels_last(x.astype(np.float64))})
    return values[graph.outputs[0]]


def assert_same(proto: onnx.ModelProto, path: Path, *, unit: float = 2**-24) -> Model:
    """Read the model and compare two samples; returns it."""
    result = read(path)
    assert result.unsupported == ()
    x = samples(result.input_shape)
    expected = of_onnxruntime(proto, x)
    got = of_insitu(result, x)
    expected = channels_last(expected) if got.ndim == 4 else expected.reshape(len(x), -1)
    assert got.shape == expected.shape
    bound = TERMS * unit * (1 + np.abs(expected).max())
    np.testing.assert_allclose(got, expected, rtol=0, atol=bound)
    return result


def conv(shape: tuple[int, ...], out: int, *kernel: int, **attributes: Any) -> onnx.ModelProto:
    weights = {"w": normal(out, shape[0], *kernel), "b": normal(out)}
    return model(["n", *shape], [node("Conv", "x w b", **attributes)], weights)


def pool(op: str, shape: tuple[int, ...], *kernel: int, **attributes: Any) -> onnx.ModelProto:
    return model([1, *shape], [node(op, "x", kernel_shape=list(kernel), **attributes)], opset=19)


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
    "conv-valid": conv((2, 7, 6), 3, 3, 3, auto_pad="VALID", strides=[2, 2]),
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
        ["n", 3, 4, 5], [node("BatchNormalization", "x gamma beta mean var", epsilon=0.1)], NORM
    ),
    "norm-1d": model(["n", 3, 9], [node("BatchNormalization", "x gamma beta mean var")], NORM),
    "norm-vector": model(["n", 3], [node("BatchNormalization", "x gamma beta mean var")], NORM),
    "relu": model(["n", 3, 4, 5], [node("Relu", "x")]),
    "clip": model(["n", 7], [node("Clip", "x a b")], {"a": np.float32(-1), "b": np.float32(0.5)}),
    "clip-no-minimum": model(["n", 7], [node("Clip", "x - b")], {"b": np.float32(0.5)}),
    "clip-no-maximum": model(["n", 7], [node("Clip", "x a")], {"a": np.float32(0.5)}),
    "clip-no-bounds": model(["n", 7], [node("Clip", "x")]),
    "dropout": model(["n", 7], [node("Dropout", "x ratio")], {"ratio": np.float32(0.5)}),
    "cast": model(["n", 7], [node("Cast", "x", to=TensorProto.FLOAT)]),
    "softmax": model(["n", 7], [node("Softmax", "x", axis=-1)]),
    "softmax-opset-11": model(["n", 7], [node("Softmax", "x")], opset=11),
    "softmax-of-1x1-map": model(["n", 7, 1, 1], [node("Softmax", "x", axis=1)]),
    "softmax-then-flatten": model(
        ["n", 7, 1, 1], [node("Softmax", "x", "s", axis=1), node("Flatten", "s")]
    ),
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

CASES = {**CONVOLUTIONS, **POOLS, **LINEARS, **ELEMENTWISE, **LAYOUTS}


@pytest.mark.parametrize("case", CASES)
def test_reads_the_function_that_onnxruntime_computes(case: str, tmp_path: Path) -> None:
    proto = CASES[case]
    unit = 2**-11 if case == "float16" else 2**-24
    assert_same(proto, saved(proto, tmp_path), unit=unit)


@pytest.mark.parametrize("opset", range(11, onnx.defs.onnx_opset_version() + 1))
def test_reads_a_classifier_of_every_opset(opset: int, tmp_path: Path) -> None:
    proto = digits_cnn(opset)
    result = assert_same(proto, saved(proto, tmp_path, "digits.onnx"))
    assert result.name == "digits"
    assert result.input_shape == (1, 8, 8)
    assert [n.name for n in result.graph.nodes if n.op.weights] == ["conv1", "conv2", "fc1", "fc2"]


@pytest.mark.parametrize("batch", [1, 4, "batch", None, -1])
def test_any_batch_is_taken_as_one(batch: int | str | None, tmp_path: Path) -> None:
    result = read(saved(digits_cnn(batch=batch), tmp_path))
    assert result.graph.tensors[result.graph.inputs[0]].shape == (8, 8, 1)


def test_a_batch_baked_into_a_reshape_is_taken_as_one(tmp_path: Path) -> None:
    nodes = [node("Reshape", "x s", "f"), node("MatMul", "f w")]
    weights = {"s": np.array([8, -1]), "w": normal(16, 3)}
    result = read(saved(model([8, 4, 2, 2], nodes, weights), tmp_path))
    assert result.graph.tensors[result.graph.outputs[0]].shape == (3,)


def test_weights_listed_as_inputs_are_weights(tmp_path: Path) -> None:
    proto = LINEARS["gemm"]
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for tensor in proto.graph.initializer:
        kind = onnx.helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
        copy.graph.input.add(name=tensor.name, type=kind)
    assert_same(copy, saved(copy, tmp_path))


def test_weights_in_an_external_file_are_found_beside_the_model(tmp_path: Path) -> None:
    proto = digits_cnn()
    onnx.save_model(
        onnx.ModelProto.FromString(proto.SerializeToString()),
        str(tmp_path / "model.onnx"),
        save_as_external_data=True,
        location="model.data",
        size_threshold=0,
    )
    assert (tmp_path / "model.data").stat().st_size > 0
    assert_same(proto, tmp_path / "model.onnx")


def test_unsorted_nodes_are_sorted(tmp_path: Path) -> None:
    proto = digits_cnn()
    backwards = onnx.ModelProto()
    backwards.CopyFrom(proto)
    del backwards.graph.node[:]
    backwards.graph.node.extend(reversed(proto.graph.node))
    assert_same(proto, saved(backwards, tmp_path))


NAMES = {
    "as-is": ("conv1", "conv1"),
    "torch": ("/features/0/Conv", "features.0.conv"),
    "torch-counted": ("/features/Conv_1", "features.conv_1"),
    "tensorflow": ("a/Relu;b/BiasAdd;b/Conv2D", "b.Conv2D"),
    "no-glob-signs": ("conv[1]*,?", "conv_1_"),
    "none": ("", "conv1"),
    "dynamo": ("node_conv2d", "features.0"),
}


@pytest.mark.parametrize("case", NAMES)
def test_names_can_be_typed_in_globs(case: str, tmp_path: Path) -> None:
    name, expected = NAMES[case]
    weights = {"features.0.weight": normal(2, 1, 3, 3)}
    nodes = [node("Conv", "x features.0.weight", name=name)]
    result = read(saved(model([1, 1, 5, 5], nodes, weights), tmp_path))
    assert [n.name for n in result.graph.nodes] == [expected]


def test_equal_names_are_told_apart(tmp_path: Path) -> None:
    nodes = [node("Relu", "x", "a", "act"), node("Relu", "a", "b", "act"), node("Relu", "b")]
    result = read(saved(model([1, 4], nodes), tmp_path))
    assert [n.name for n in result.graph.nodes] == ["act", "act.2", "relu1"]


def test_nodes_that_the_output_does_not_need_are_left_out(tmp_path: Path) -> None:
    nodes = [node("Sin", "x", "dead"), node("Relu", "x")]
    result = read(saved(model([1, 4], nodes), tmp_path))
    assert [n.name for n in result.graph.nodes] == ["relu1"]
    assert result.unsupported == ()


sizes = st.integers(1, 9)


@given(
    image=st.tuples(st.integers(1, 3), sizes, sizes),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    pads=st.lists(st.integers(0, 2), min_size=4, max_size=4),
    rule=st.sampled_from(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]),
)
@settings(max_examples=150)
def test_convolutions_of_any_geometry(
    tmp_path_factory: pytest.TempPathFactory,
    image: tuple[int, int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pads: list[int],
    rule: str,
) -> None:
    low = [pads[a] + pads[a + 2] if rule == "NOTSET" else 0 for a in (0, 1)]
    if not rule.startswith("SAME") and any(image[a + 1] + low[a] < kernel[a] for a in (0, 1)):
        return
    places = {"pads": pads} if rule == "NOTSET" else {"auto_pad": rule}
    proto = conv(image, 2, *kernel, strides=list(stride), **places)
    assert_same(proto, saved(proto, tmp_path_factory.mktemp("conv")))


@given(
    op=st.sampled_from(["MaxPool", "AveragePool"]),
    image=st.tuples(st.integers(1, 3), sizes, sizes),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    share=st.lists(st.integers(0, 3), min_size=4, max_size=4),
    rule=st.sampled_from(["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]),
    ceil_mode=st.booleans(),
)
@settings(max_examples=200)
def test_pools_of_any_geometry(
    tmp_path_factory: pytest.TempPathFactory,
    op: str,
    image: tuple[int, int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    share: list[int],
    rule: str,
    ceil_mode: bool,
) -> None:
    pads = [min(s, kernel[a % 2] - 1) for a, s in enumerate(share)]
    low = [pads[a] + pads[a + 2] if rule == "NOTSET" else 0 for a in (0, 1)]
    if not rule.startswith("SAME") and any(image[a + 1] + low[a] < kernel[a] for a in (0, 1)):
        return
    places: dict[str, Any] = {"pads": pads} if rule == "NOTSET" else {"auto_pad": rule}
    if rule.startswith("SAME") and any(s > k for s, k in zip(stride, kernel, strict=True)):
        return  # onnxruntime takes this for negative padding
    if rule == "NOTSET" and ceil_mode:
        places["ceil_mode"] = 1
    proto = pool(op, image, *kernel, strides=list(stride), **places)
    assert_same(proto, saved(proto, tmp_path_factory.mktemp("pool")))


def networks() -> Path:
    data = os.environ.get("INSITU_DATA")
    folder = Path(data).parent / "models" if data else Path("/nonexistent")
    if not folder.is_dir():
        pytest.skip("INSITU_DATA names no folder with models beside it")
    return folder


NETWORKS = {
    "mlperf-tiny-ic-resnet8": ((3, 32, 32), {"Add": 3}, (10,)),
    "mlperf-tiny-kws-dscnn": ((1, 49, 10), {"Conv": 4}, (12,)),
    "mcunet-5fps": ((3, 128, 128), {"Conv": 14, "Add": 7}, (1000,)),
}


@pytest.mark.parametrize("case", NETWORKS)
def test_real_networks_name_all_that_is_not_supported(case: str) -> None:
    shape, unsupported, classes = NETWORKS[case]
    path = networks() / f"{case}.onnx"
    result = read(path)
    counted: dict[str, int] = {}
    for entry in result.unsupported:
        counted[entry.op] = counted.get(entry.op, 0) + 1
        assert entry.name and entry.reason and entry.advice
    assert counted == unsupported
    assert result.input_shape == shape
    tensors = result.graph.tensors
    assert tensors[result.graph.outputs[0]].shape == classes
    known = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
    maps = {
        tuple(d.dim_value for d in v.type.tensor_type.shape.dim)
        for v in (*known.value_info, *known.input)
    }
    for n in result.graph.nodes:
        height_width_channels = tensors[n.outputs[0]].shape
        if len(height_width_channels) == 3:
            height, width, channels = height_width_channels
            assert (1, channels, height, width) in maps
