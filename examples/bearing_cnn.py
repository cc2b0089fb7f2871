"""Bearing faults and an untrained 1-D CNN: learn at three motor loads, test at a fourth.

    INSITU_DATA=FOLDER python examples/bearing_cnn.py OUT

FOLDER holds cwru.npz. Writes OUT/model.onnx, calibration.npz, train.npz (motor loads 0 to 2) and
test.npz (motor load 3), then says which commands to run.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from insitu.data.datasets import cwru, save

COMMANDS = """\
insitu compile {0}/model.onnx --data {0}/calibration.npz --out {0}/c --train all
insitu twin {0}/c --data {0}/train.npz --test {0}/test.npz --epochs 5 --lr 0.01
insitu run {0}/c --data {0}/train.npz --board nrf52840 --steps 300"""


def build(seed: int = 0) -> onnx.ModelProto:
    """acceleration[batch, 1, 512] in g -> logits[batch, 9], 1,329 parameters."""
    random = np.random.RandomState(seed)
    weights = {
        "conv1.weight": uniform(random, (8, 1, 16), gain=2),
        "conv1.bias": np.zeros(8, np.float32),
        "conv2.weight": uniform(random, (16, 8, 8), gain=2),
        "conv2.bias": np.zeros(16, np.float32),
        "fc.weight": uniform(random, (9, 16), gain=1),
        "fc.bias": np.zeros(9, np.float32),
    }

    def conv(x: str, name: str, size: int, stride: int) -> onnx.NodeProto:
        inputs = [x, f"{name}.weight", f"{name}.bias"]
        shape = {"kernel_shape": [size], "strides": [stride]}
        return helper.make_node("Conv", inputs, [f"{name}.y"], name, **shape)

    pool = {"kernel_shape": [2], "strides": [2]}
    nodes = [
        conv("acceleration", "conv1", 16, 4),
        helper.make_node("Relu", ["conv1.y"], ["relu1.y"], "relu1"),
        helper.make_node("MaxPool", ["relu1.y"], ["pool.y"], "pool", **pool),
        conv("pool.y", "conv2", 8, 2),
        helper.make_node("Relu", ["conv2.y"], ["relu2.y"], "relu2"),
        helper.make_node("GlobalAveragePool", ["relu2.y"], ["mean.y"], "mean"),
        helper.make_node("Flatten", ["mean.y"], ["flatten.y"], "flatten"),
        helper.make_node("Gemm", ["flatten.y", "fc.weight", "fc.bias"], ["logits"], "fc", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "bearing_cnn",
        [helper.make_tensor_value_info("acceleration", TensorProto.FLOAT, ["batch", 1, 512])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 9])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def uniform(
    random: np.random.RandomState, shape: tuple[int, ...], *, gain: float
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Weights within +-sqrt(3) sd, sd = sqrt(gain / fan_in): the range int8 holds best."""
    bound = np.sqrt(3 * gain / np.prod(shape[1:]))
    return random.uniform(-bound, bound, shape).astype(np.float32)


def main(out: Path) -> None:
    """Write the network and the data."""
    out.mkdir(parents=True, exist_ok=True)
    data = cwru()
    train = data.take(data.extra["load"] < 3)
    onnx.save(build(), out / "model.onnx")
    save(out / "calibration.npz", train.take(np.arange(0, len(train), 16)))
    save(out / "train.npz", train)
    save(out / "test.npz", data.take(data.extra["load"] == 3))
    print(COMMANDS.format(out))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/bearing_cnn.py OUT")
    main(Path(sys.argv[1]))
