"""A small network, quantized by hand as exporters other than onnxruntime write it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx_models import model, node, normal


def pair(name: str, output: str, *, scale: str = "s", zero: str = "z") -> list[onnx.NodeProto]:
    """QuantizeLinear and DequantizeLinear of a tensor."""
    return [
        node("QuantizeLinear", f"{name} {scale} {zero}", f"{output}_q", f"{output}_quantize"),
        node("DequantizeLinear", f"{output}_q {scale} {zero}", output, f"{output}_dequantize"),
    ]


W = np.asarray([[3, -127, 5, 0], [1, 2, 127, -9], [0, 0, 0, 0]], np.int8)
DATA: dict[str, Any] = {
    "s": np.float32(0.05),
    "z": np.int8(-10),
    "w": W.T,
    "ws": np.asarray([0.01, 0.02, 0.3], np.float32),
    "wz": np.zeros(3, np.int8),
    "b": np.asarray([1, -2, 3], np.float32),
    "v": normal(3, 2),
}


def linear(**changes: Any) -> onnx.ModelProto:
    """x[1, 4], quantized, and a quantized linear layer in torchao's manner, then a float one.

    Scales and zero points of the weights are Constant nodes; MatMul reads the weight through a
    Transpose, and a quantized sum with the bias follows it.
    """
    nodes = [
        *pair("x", "xd"),
        node("Constant", "", "wss", value=numpy_helper.from_array(changes.pop("ws", DATA["ws"]))),
        node("DequantizeLinear", "wt wss wz", "wd", "dequantize", axis=changes.pop("axis", 0)),
        node("Transpose", "wd", "wdt", perm=[1, 0]),
        node("MatMul", "xd wdt", "m", "fc1"),
        node("Add", "m b", "a", "bias1"),
        *pair("a", "ad", scale="t"),
        node("Relu", "ad", "r", "relu1"),
        *pair("r", "rd", scale="t"),
        node("MatMul", "rd v", "y", "fc2"),
    ]
    data = {**DATA, "wt": W, "t": np.float32(0.25), **changes}
    return model([1, 4], nodes, data, opset=21)
