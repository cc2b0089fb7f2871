"""Is what the ONNX front end reads the same function as onnxruntime computes?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_cases import CASES as PLAIN
from onnx_cases import conv, pool
from onnx_mixing_cases import CASES as MIXING
from onnx_mixing_cases import transposed
from onnx_models import digits_cnn, model, node, normal, saved

from insitu.errors import ModelError
from insitu.frontends.model import Model
from insitu.frontends.onnx.reader import read
from insitu.graph.evaluate import evaluate_float
from insitu.graph.model import Array

CASES = {**PLAIN, **MIXING}

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
    x = x.astype(np.float64)
    x = x.reshape(len(x), *graph.sample.shape) if graph.channels_last else channels_last(x)
    values = evaluate_float(graph, {graph.inputs[0]: x})
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


def old(opset: int) -> onnx.ModelProto:
    """As exporters wrote before opset 11: bounds, pads and places are attributes."""
    nodes = [
        node("Conv", "x w b", "c", "conv1", pads=[1, 1, 1, 1]),
        node("BatchNormalization", "c gamma beta mean var", "n"),
        node("Clip", "n", "r", min=0.0, max=6.0),
        node("Dropout", "r", "d", ratio=0.5),
        node("Pad", "d", "p", pads=[0, 0, 1, 0, 0, 0, 0, 1]),
    ]
    if opset < 10:
        nodes.append(node("Slice", "p", "s", axes=[2, 3], starts=[1, 0], ends=[9, 8]))
        scales: dict[str, Any] = {"scales": [1.0, 1.0, 2.0, 2.0]} if opset < 9 else {}
        nodes.append(node("Upsample", "s" if scales else "s k", "u", mode="nearest", **scales))
    else:
        nodes += [node("Slice", "p b0 b1 ax", "s"), node("Resize", "s k", "u", mode="nearest")]
    nodes += [node("Flatten", "u", "f"), node("Gemm", "f v g", "a"), node("Softmax", "a", axis=1)]
    weights = {"w": normal(2, 1, 3, 3), "b": normal(2), "v": normal(512, 3) / 20, "g": normal(3)}
    weights |= {name: normal(2, seed=i) for i, name in enumerate(("gamma", "beta", "mean"))}
    weights["var"] = np.abs(normal(2, seed=9)) + 1
    if opset > 8:
        weights["k"] = np.array([1, 1, 2, 2], np.float32)
    if opset == 10:
        weights |= {"b0": np.array([1, 0]), "b1": np.array([9, 8]), "ax": np.array([2, 3])}
    proto = model([1, 1, 8, 8], nodes, weights, opset=opset)
    proto.graph.output[0].type.tensor_type.shape.dim.add().dim_value = 1
    proto.graph.output[0].type.tensor_type.shape.dim.add().dim_value = 3
    return proto


@pytest.mark.parametrize("opset", [7, 8, 9, 10])
def test_an_old_file_comes_in_through_onnx_s_converter(opset: int, tmp_path: Path) -> None:
    proto = old(opset)
    result = assert_same(proto, saved(proto, tmp_path))
    assert result.notes == ()


def test_an_old_file_that_cannot_be_converted_says_why(tmp_path: Path) -> None:
    proto = model([1, 4], [node("Upsample", "x k")], {"k": np.ones(2, np.float32)}, opset=10)
    with pytest.raises(ModelError, match=r"has opset 10, and onnx .* cannot convert it to 11 \("):
        read(saved(proto, tmp_path))


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
    proto = CASES["gemm"]
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
    if rule.startswith("SAME") and any(s > k for s, k in zip(stride, kernel, strict=True)):
        return  # frameworks disagree; a case of `test_onnx_unsupported` and one of `CASES`
    places = {"pads": pads} if rule == "NOTSET" else {"auto_pad": rule}
    proto = conv(image, 2, *kernel, strides=list(stride), **places)
    assert_same(proto, saved(proto, tmp_path_factory.mktemp("conv")))


@given(
    image=st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    pads=st.lists(st.integers(0, 5), min_size=4, max_size=4),
    extra=st.tuples(st.integers(0, 2), st.integers(0, 2)),
)
@settings(max_examples=150)
def test_transposed_convolutions_of_any_geometry(
    tmp_path_factory: pytest.TempPathFactory,
    image: tuple[int, int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pads: list[int],
    extra: tuple[int, int],
) -> None:
    extra = (min(extra[0], stride[0] - 1), min(extra[1], stride[1] - 1))
    reached = [(image[a + 1] - 1) * stride[a] + kernel[a] + extra[a] for a in (0, 1)]
    if any(reached[a] - pads[a] - pads[a + 2] < 1 for a in (0, 1)):
        return
    attributes: dict[str, Any] = {"strides": list(stride), "pads": pads}
    proto = transposed(image, 2, *kernel, output_padding=list(extra), **attributes)
    assert_same(proto, saved(proto, tmp_path_factory.mktemp("transposed")))


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
    if data is None or not (Path(data).parent / "models").is_dir():
        pytest.skip("INSITU_DATA names no folder with models beside it")
    return Path(data).parent / "models"


NETWORKS = {
    "mlperf-tiny-ic-resnet8": ((3, 32, 32), (10,)),
    "mlperf-tiny-kws-dscnn": ((1, 49, 10), (12,)),
    "mcunet-5fps": ((3, 128, 128), (1000,)),
}


@pytest.mark.parametrize("case", NETWORKS)
def test_real_networks_are_read_whole(case: str) -> None:
    shape, classes = NETWORKS[case]
    path = networks() / f"{case}.onnx"
    result = read(path)
    assert not result.unsupported
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


def test_layers_that_share_a_weight_are_told_apart(tmp_path: Path) -> None:
    """Also where one of them reads it through a Transpose."""
    nodes = [
        node("Gemm", "x w b", "l1", "fc1", transB=1),
        node("Transpose", "w", "wt", perm=[1, 0]),
        node("MatMul", "l1 wt", "l2", "fc2"),
        node("Gemm", "l2 v", "y", "fc3"),
    ]
    weights = {"w": normal(5, 5), "b": normal(5), "v": normal(5, 3)}
    found = read(saved(model(["n", 5], nodes, weights), tmp_path))
    note = '"fc1" and "fc2" share the weight "w"; here each has its own, and training changes them'
    assert found.notes == (f"{note} apart",)
