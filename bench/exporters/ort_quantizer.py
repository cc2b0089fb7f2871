"""onnxruntime's static quantizer, in twelve settings."""
# /// script
# requires-python = ">=3.11"
# dependencies = ["onnxruntime==1.32.0", "onnx==1.23.2", "torch==2.13.0"]
# ///

import sys
from pathlib import Path

import numpy as np
import torch
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch_networks import NETWORKS

S8, U8, S16 = QuantType.QInt8, QuantType.QUInt8, QuantType.QInt16
SETTINGS = {
    "depthwise-qdq": {},
    "depthwise-qdq-per-channel": {"per_channel": True},
    "depthwise-qdq-s8": {"activation_type": S8},
    "depthwise-qdq-u8-weights": {"weight_type": U8},
    "depthwise-qdq-symmetric": {
        "activation_type": S8,
        "extra_options": {"ActivationSymmetric": True},
    },
    "depthwise-qdq-reduced": {"reduce_range": True},
    "depthwise-qdq-entropy": {"calibrate_method": CalibrationMethod.Entropy},
    "depthwise-qdq-microsoft": {"extra_options": {"UseQDQContribOps": True}},
    "residual-qdq-s16": {"activation_type": S16, "weight_type": S8},
    "residual-qdq-dedicated": {"extra_options": {"DedicatedQDQPair": True}},
    "residual-operators": {"quant_format": QuantFormat.QOperator, "weight_type": U8},
    "mlp-operators-s8": {"quant_format": QuantFormat.QOperator, "activation_type": S8},
}


class Reader(CalibrationDataReader):
    """Random samples of a shape."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        rng = np.random.default_rng(0)
        self.samples = iter(rng.normal(size=(64, 1, *shape)).astype(np.float32))

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next one."""
        x = next(self.samples, None)
        return None if x is None else {"x": x}


out = Path(sys.argv[1])
for name, settings in {**SETTINGS, "mlp-dynamic": {}}.items():
    make, shape = NETWORKS[name.split("-")[0]]
    torch.manual_seed(0)
    torch.onnx.export(
        make().eval(), (torch.zeros(1, *shape),), out / "float", dynamo=False, input_names=["x"]
    )
    quant_pre_process(out / "float", out / "whole")
    if name == "mlp-dynamic":
        quantize_dynamic(out / "whole", out / f"{name}.onnx", weight_type=U8)
    else:
        options = {"weight_type": S8, "activation_type": U8, **settings}
        quantize_static(out / "whole", out / f"{name}.onnx", Reader(shape), **options)
