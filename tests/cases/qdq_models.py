"""float network -> the file that onnxruntime's quantizer makes of it, and what stands in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx_models import model, node, normal, saved
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from insitu.graph.model import Array

STYLES: dict[str, dict[str, Any]] = {
    "uint8": {"activation_type": QuantType.QUInt8, "per_channel": False},
    "uint8-rows": {"activation_type": QuantType.QUInt8, "per_channel": True},
    "int8": {"activation_type": QuantType.QInt8, "per_channel": False},
    "int8-rows": {"activation_type": QuantType.QInt8, "per_channel": True},
    "symmetric-rows": {
        "activation_type": QuantType.QInt8,
        "per_channel": True,
        "extra_options": {"ActivationSymmetric": True},
    },
    "seven-bits": {"activation_type": QuantType.QUInt8, "per_channel": True, "reduce_range": True},
}
"""What onnxruntime's quantizer is asked for; weights are int8."""


def image_cnn() -> onnx.ModelProto:
    """x[n, 2, 12, 10]: two convolutions, pooling, two linear layers."""
    nodes = [
        node("Conv", "x w1 b1", "c1", "conv1", pads=[1, 1, 1, 1]),
        node("Relu", "c1", "r1", "relu1"),
        node("MaxPool", "r1", "p1", "pool1", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", "p1 w2 b2", "c2", "conv2", strides=[2, 1]),
        node("Clip", "c2 zero six", "r2", "relu2"),
        node("AveragePool", "r2", "p2", "pool2", kernel_shape=[1, 3]),
        node("Flatten", "p2", "f", "flatten"),
        node("Gemm", "f w3 b3", "l1", "fc1", transB=1),
        node("Relu", "l1", "r3", "relu3"),
        node("Gemm", "r3 w4 b4", "y", "fc2"),
    ]
    weights = {
        "w1": normal(5, 2, 3, 3) / 3,
        "b1": normal(5) / 4,
        "w2": normal(6, 5, 3, 3) / 5,
        "b2": normal(6, seed=1) / 4,
        "zero": np.float32(0),
        "six": np.float32(6),
        "w3": normal(7, 12, seed=2) / 3,
        "b3": normal(7, seed=3),
        "w4": normal(7, 4, seed=4) / 3,
        "b4": normal(4, seed=5),
    }
    return model(["n", 2, 12, 10], nodes, weights)


def signal_cnn() -> onnx.ModelProto:
    """x[n, 3, 30]: a convolution without activation function, one with, and a linear layer."""
    nodes = [
        node("Conv", "x w1 b1", "c1", "conv1", strides=[2]),
        node("Conv", "c1 w2 b2", "c2", "conv2", pads=[1, 1]),
        node("Relu", "c2", "r2", "relu2"),
        node("Flatten", "r2", "f", "flatten"),
        node("Gemm", "f w3 b3", "y", "fc", transB=1),
    ]
    weights = {
        "w1": normal(4, 3, 5) / 4,
        "b1": normal(4),
        "w2": normal(3, 4, 3) / 3,
        "b2": normal(3),
        "w3": normal(4, 39, seed=1) / 6,
        "b3": normal(4, seed=2),
    }
    return model(["n", 3, 30], nodes, weights)


def mlp() -> onnx.ModelProto:
    """x[n, 9]: three linear layers."""
    nodes = [
        node("Gemm", "x w1 b1", "l1", "fc1", transB=1),
        node("Relu", "l1", "r1", "relu1"),
        node("Gemm", "r1 w2 b2", "l2", "fc2"),
        node("Relu", "l2", "r2", "relu2"),
        node("Gemm", "r2 w3 b3", "y", "fc3", transB=1),
    ]
    weights = {
        "w1": normal(8, 9) / 3,
        "b1": normal(8),
        "w2": normal(8, 6, seed=1) / 3,
        "b2": normal(6),
        "w3": normal(3, 6, seed=2) / 2,
        "b3": normal(3),
    }
    return model(["n", 9], nodes, weights)


def residual() -> onnx.ModelProto:
    """x[n, 3, 6, 6]: a block whose input is added to its output."""
    nodes = [
        node("Conv", "x w1 b1", "c1", "conv1", pads=[1, 1, 1, 1]),
        node("Relu", "c1", "r1", "relu1"),
        node("Conv", "r1 w2 b2", "c2", "conv2", pads=[1, 1, 1, 1]),
        node("Add", "c2 r1", "a", "join"),
        node("Relu", "a", "r2", "relu2"),
        node("Conv", "r2 w3 b3", "c3", "conv3", strides=[3, 3]),
        node("Flatten", "c3", "f", "flatten"),
        node("Gemm", "f w4 b4", "y", "fc", transB=1),
    ]
    weights = {
        "w1": normal(4, 3, 3, 3) / 4,
        "b1": normal(4),
        "w2": normal(4, 4, 3, 3, seed=1) / 4,
        "b2": normal(4, seed=1),
        "w3": normal(5, 4, 3, 3, seed=2) / 4,
        "b3": normal(5, seed=1),
        "w4": normal(3, 20, seed=2) / 4,
        "b4": normal(3, seed=1),
    }
    return model(["n", 3, 6, 6], nodes, weights)


FLOAT_NETWORKS = {"image": image_cnn, "signal": signal_cnn, "mlp": mlp, "residual": residual}


class Reader(CalibrationDataReader):  # type: ignore[misc]
    """Hands samples to the quantizer, one by one."""

    def __init__(self, x: Array) -> None:
        self.rows: Iterator[Array] = iter(x)

    def get_next(self) -> dict[str, Array] | None:
        """The next sample, None after the last."""
        row = next(self.rows, None)
        return None if row is None else {"x": row[None]}


def calibration(proto: onnx.ModelProto, count: int = 40) -> Array:
    """Fixed random samples of the network's input."""
    shape = [dim.dim_value for dim in proto.graph.input[0].type.tensor_type.shape.dim[1:]]
    return np.random.default_rng(5).normal(size=(count, *shape)).astype(np.float32)


def quantized(network: str, style: str, folder: Path) -> Path:
    """The QDQ file of a network."""
    proto = FLOAT_NETWORKS[network]()
    path = folder / f"{network}-{style}.onnx"
    options = {"weight_type": QuantType.QInt8, **STYLES[style]}
    source = saved(proto, folder, "float.onnx")
    reader = Reader(calibration(proto))
    quantize_static(str(source), str(path), reader, quant_format=QuantFormat.QDQ, **options)
    return path


@dataclass(frozen=True)
class Said:
    """What a file says of a layer.

    Attributes:
        w, scale: integers w[out, ...] as ONNX lays them out, and one scale a row.
        output: name of the integers that the layer's value is quantized to.
        output_scale, zero_point: of these; zero point as int8 counts it.
    """

    w: Array
    scale: Array
    output: str
    output_scale: float
    zero_point: int


def layers_of(proto: onnx.ModelProto) -> dict[str, Said]:
    """By node name; the quantization behind an activation function counts."""
    data = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    writer = {n.output[0]: n for n in proto.graph.node}
    said = {}
    for layer in proto.graph.node:
        if layer.op_type not in ("Conv", "Gemm", "MatMul"):
            continue
        w, scale = (data[name] for name in writer[layer.input[1]].input[:2])
        across = layer.op_type == "Gemm" and not any(a.name == "transB" for a in layer.attribute)
        w = w.T if across else w
        last = _last_quantization(proto, layer.output[0])
        zero = data[last.input[2]]
        said[layer.name] = Said(
            w=w,
            scale=np.broadcast_to(scale.reshape(-1), (w.shape[0],)),
            output=last.output[0],
            output_scale=float(data[last.input[1]]),
            zero_point=int(zero) - (128 if zero.dtype == np.uint8 else 0),
        )
    return said


def _last_quantization(proto: onnx.ModelProto, name: str) -> onnx.NodeProto:
    """The QuantizeLinear of a layer's output, behind the activation function where there is one."""
    found: onnx.NodeProto | None = None
    while True:
        readers = [n for n in proto.graph.node if name in n.input]
        if not readers or readers[0].op_type not in (
            "QuantizeLinear",
            "DequantizeLinear",
            "Relu",
            "Clip",
        ):
            assert found is not None
            return found
        found = readers[0] if readers[0].op_type == "QuantizeLinear" else found
        name = readers[0].output[0]


def run_onnxruntime(proto: onnx.ModelProto, x: Array) -> list[dict[str, Array]]:
    """Sample by sample: every tensor of integers as int8 counts it, and the output "y"."""
    seen = onnx.ModelProto()
    seen.CopyFrom(proto)
    names = [n.output[0] for n in proto.graph.node if n.op_type == "QuantizeLinear"]
    for name in names:
        seen.graph.output.append(helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None))
    options = onnxruntime.SessionOptions()
    # without it, x86 cores that lack VNNI add products of uint8 and int8 in 16 bits that saturate
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(
        _typed(seen).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    results = []
    for row in x:
        values = session.run(["y", *names], {"x": row[None]})
        by_name = dict(zip(["y", *names], values, strict=True))
        results.append(
            {
                name: v.astype(np.int64) - 128 if v.dtype == np.uint8 else v
                for name, v in by_name.items()
            }
        )
    return results


def _typed(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the element types of its outputs."""
    kinds = {t.name: t.data_type for t in proto.graph.initializer}
    zero = {n.output[0]: n.input[2] for n in proto.graph.node if n.op_type == "QuantizeLinear"}
    for output in proto.graph.output:
        if output.name in zero:
            output.type.tensor_type.elem_type = kinds[zero[output.name]]
    return proto
