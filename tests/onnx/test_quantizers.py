"""Is a file of integer operators the network of the pairs that it stands for?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx_models import model, node, normal, saved
from quantized_linear import DATA, pair
from test_onnx import of_insitu, of_onnxruntime

import insitu
from insitu.errors import ModelError
from insitu.frontends.onnx.folding import to_array
from insitu.frontends.onnx.quantizers import QLINEAR, in_pairs
from insitu.graph.model import Array, Graph
from insitu.prepare.simplify import simplify

qdq = pytest.importorskip("qdq_models", reason="onnxruntime is the quantizer and the oracle")
quantization = pytest.importorskip("onnxruntime.quantization")

pytestmark = pytest.mark.filterwarnings("ignore")  # what onnxruntime's quantizer warns of


def facts(graph: Graph) -> list[Any]:
    """What of a network is more than names: ops, weights, scales and zero points."""
    found: list[Any] = []
    for each in graph.nodes:
        for name in (*each.inputs, *each.outputs):
            tensor = graph.tensors[name]
            q = tensor.qparams
            data = None if tensor.data is None else tensor.data.tobytes()
            scale = None if q is None else (q.scale.tobytes(), q.zero_point)
            found.append((each.op.name, tensor.shape, data, scale))
    return found


@pytest.mark.parametrize("network", qdq.FLOAT_NETWORKS)
@pytest.mark.parametrize("style", ["uint8", "int8-rows"])
def test_both_formats_of_a_quantizer_are_one_network(
    network: str, style: str, tmp_path: Path
) -> None:
    proto = qdq.FLOAT_NETWORKS[network]()
    source = saved(proto, tmp_path, "float.onnx")
    graphs = []
    for form in (quantization.QuantFormat.QDQ, quantization.QuantFormat.QOperator):
        path = tmp_path / f"{form.name}.onnx"
        options = {"weight_type": quantization.QuantType.QInt8, **qdq.STYLES[style]}
        reader = qdq.Reader(qdq.calibration(proto))
        quantization.quantize_static(str(source), str(path), reader, quant_format=form, **options)
        read = insitu.load(path)
        assert read.unsupported == ()
        graphs.append(simplify(read.graph))
    layers = [
        [each for each in facts(graph) if each[2] is not None and each[0] in ("conv", "linear")]
        for graph in graphs
    ]
    assert len(layers[0]) == len(layers[1]) > 0
    for first, second in zip(*layers, strict=True):
        assert first[:2] == second[:2] and first[3] == second[3]
        a, b = (np.frombuffer(each[2], np.float32) for each in (first, second))
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-4 * max(np.abs(a).max(), 1e-6))


Q: dict[str, Any] = {
    "s": np.float32(0.05),
    "z": np.uint8(120),
    "t": np.float32(0.04),
    "u": np.uint8(100),
}
W8: dict[str, Any] = {
    "w": np.asarray(normal(3, 4) * 40, np.int8),
    "ws": np.float32(0.01),
    "wz": np.int8(0),
}
ROWS = {**W8, "ws": np.asarray([0.01, 0.02, 0.03], np.float32), "wz": np.zeros(3, np.int8)}
KERNEL = {"w": np.asarray(normal(3, 4, 1, 1) * 40, np.int8)}
B32 = {"b": np.asarray([100, -50, 7], np.int32)}


def integer(op: str, inputs: str, shape: list[int], data: dict[str, Any], **more: Any) -> Any:
    """A QLinear operator between the quantization of x and the dequantization of y."""
    domain = "" if op in ("QLinearConv", "QLinearMatMul") else "com.microsoft"
    nodes = [
        node("QuantizeLinear", "x s z", "q"),
        node(op, inputs, "a", domain=domain, **more),
        node("DequantizeLinear", "a t u", "y"),
    ]
    return model([1, *shape], nodes, {**Q, **data}, domains=["com.microsoft"])


MAP = [4, 5, 6]
OPERATORS = {
    "conv": integer("QLinearConv", "q s z w ws wz t u b", MAP, {**ROWS, **KERNEL, **B32}),
    "conv-one-scale": integer("QLinearConv", "q s z w ws wz t u", MAP, {**W8, **KERNEL}),
    "gemm": integer("QGemm", "q s z w ws wz b t u", [4], {**W8, **B32}, transB=1, alpha=0.5),
    "gemm-rows": integer("QGemm", "q s z w ws wz b t u", [4], {**ROWS, **B32}, transB=1),
    "matmul": integer(
        "QLinearMatMul", "q s z w ws wz t u", [4], {**W8, "w": np.ascontiguousarray(W8["w"].T)}
    ),
    "add": integer("QLinearAdd", "q s z q s z t u", MAP, {}),
    "mul": integer("QLinearMul", "q s z q s z t u", MAP, {}),
    "leaky": integer("QLinearLeakyRelu", "q s z t u", MAP, {}, alpha=0.25),
    "sigmoid": integer("QLinearSigmoid", "q s z t u", MAP, {}),
    "global": integer("QLinearGlobalAveragePool", "q s z t u", MAP, {}, channels_last=0),
    "pool": integer(
        "QLinearAveragePool", "q s z t u", MAP, {}, kernel_shape=[2, 2], strides=[1, 2]
    ),
    "concat": integer("QLinearConcat", "t u q s z q s z", MAP, {}, axis=1),
}


@pytest.mark.parametrize("case", OPERATORS)
def test_an_operator_of_integers_is_read_as_its_pairs(case: str, tmp_path: Path) -> None:
    proto = OPERATORS[case]
    x = np.random.default_rng(1).normal(size=(20, *((4,) if case in FLAT else MAP)))
    x = x.astype(np.float32)
    expected = of_onnxruntime(proto, x)
    read = insitu.load(saved(proto, tmp_path))
    assert read.unsupported == ()
    rewritten = onnx.ModelProto()
    rewritten.CopyFrom(proto)
    constants = {t.name: to_array(t) for t in proto.graph.initializer}
    nodes, notes = in_pairs(proto.graph.node, constants, "y")
    assert not notes and not any(each.op_type in QLINEAR for each in nodes)
    del rewritten.graph.node[:], rewritten.graph.initializer[:]
    rewritten.graph.node.extend(nodes)
    rewritten.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()
    )
    step = float(Q["t"])
    assert np.abs(of_onnxruntime(rewritten, x) - expected).max() <= 1.01 * step
    got = of_insitu(read, np.round(x / Q["s"]) * Q["s"])
    got = got.transpose(0, 3, 1, 2) if got.ndim == 4 else got
    low, high = (np.asarray([0, 255]) - int(Q["u"])) * step
    bounded = np.clip(got.reshape(expected.shape), low, high)
    assert np.abs(bounded - expected).max() <= 1.01 * step


FLAT = ("gemm", "gemm-rows", "matmul")


@pytest.mark.parametrize("network", ["image", "residual"])
def test_what_16_bits_cut_off_is_cut_off(network: str, tmp_path: Path) -> None:
    """The quantizer leaves a ReLU, or a ReLU6, to the range that begins at 0."""
    proto = qdq.FLOAT_NETWORKS[network]()
    source, path = saved(proto, tmp_path, "float.onnx"), tmp_path / "wide.onnx"
    wide = {"activation_type": quantization.QuantType.QInt16, "per_channel": True}
    wide["weight_type"] = quantization.QuantType.QInt8
    reader = qdq.Reader(qdq.calibration(proto))
    quantization.quantize_static(str(source), str(path), reader, **wide)
    read = insitu.load(path)
    assert read.unsupported == ()
    (note,) = read.notes
    assert note.startswith("activations of int16 are read as floats")
    x = qdq.calibration(proto, 30)
    expected = of_onnxruntime(onnx.load(path), x)
    error = np.abs(of_insitu(read, x) - expected).max(axis=1)
    assert (error <= 2e-3 * np.abs(expected).max()).mean() > 0.9  # others are cut off at an end


def test_dynamic_quantization_is_read_as_floats(tmp_path: Path) -> None:
    proto = qdq.FLOAT_NETWORKS["mlp"]()
    source, path = saved(proto, tmp_path, "float.onnx"), tmp_path / "dynamic.onnx"
    kind = quantization.QuantType.QUInt8
    quantization.quantize_dynamic(str(source), str(path), weight_type=kind)
    read = insitu.load(path)
    assert read.unsupported == ()
    assert "quantizes activations anew for each sample" in " ".join(read.notes)
    x = qdq.calibration(proto, 30)
    expected = of_onnxruntime(onnx.load(path), x)
    assert np.abs(of_insitu(read, x) - expected).max() <= 0.05 * np.abs(expected).max()


def dedicated(pairs: int) -> onnx.ModelProto:
    """A layer whose output has so many pairs, alike, one for each reader."""
    weights: dict[str, Array] = {"k": normal(4, 4), "c": normal(4)}
    nodes = [*pair("x", "xd"), node("Gemm", "xd k c", "h"), *pair("h", "h1", zero="n")]
    nodes += pair("h", "h2", zero="n") if pairs == 2 else []
    nodes += [node("Gemm", "h1 k c", "d"), node("Add", f"d h{pairs}", "y")]
    return model([1, 4], nodes, {**DATA, **weights, "n": np.int8(-128)})


def test_a_pair_for_each_reader_is_one_pair(tmp_path: Path) -> None:
    graphs = [
        simplify(insitu.load(saved(dedicated(pairs), tmp_path, f"{pairs}.onnx")).graph)
        for pairs in (1, 2)
    ]
    assert facts(graphs[0]) == facts(graphs[1])
    assert [each.op.name for each in graphs[0].nodes] == ["linear", "linear", "add"]


def test_pairs_of_the_domain_of_microsoft_are_those_of_onnx(tmp_path: Path) -> None:
    plain = dedicated(1)
    theirs = onnx.ModelProto()
    theirs.CopyFrom(plain)
    theirs.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    for each in theirs.graph.node:
        if each.op_type in ("QuantizeLinear", "DequantizeLinear"):
            each.domain = "com.microsoft"
    both = [insitu.load(saved(p, tmp_path, f"{i}.onnx")) for i, p in enumerate((plain, theirs))]
    assert facts(both[0].graph) == facts(both[1].graph)


CUT = ["DequantizeLinear", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "QGemm"]
CUT += ["QLinearAdd", "QLinearConcat", "QLinearMul", "QLinearReduceMean", "QuantizeLinear"]


@pytest.mark.parametrize("op", CUT)
@pytest.mark.parametrize("count", range(9))
def test_an_operator_with_parts_missing_is_refused_by_name(
    op: str, count: int, tmp_path: Path
) -> None:
    names = ["x", "s", "z", "w", "s", "z", "t", "u", "b"][:count]
    both = [node(op, " ".join(names), output, domain="com.microsoft") for output in ("y", "")]
    for nodes in ([both[0]], [both[1], node("Relu", "x")]):
        proto = model([1, 4], nodes, {**Q, **W8, **B32}, domains=["com.microsoft"])
        try:
            read = insitu.load(saved(proto, tmp_path))
        except ModelError:
            continue
        assert read.graph.outputs
