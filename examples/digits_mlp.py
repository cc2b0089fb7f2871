"""Handwritten digits and an untrained MLP 64-32-10: learn from nothing on the board.

    python examples/digits_mlp.py OUT

writes OUT/model.onnx, calibration.npz, train.npz and test.npz, then says which commands to run.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from insitu.data.datasets import digits, save, split

COMMANDS = """\
insitu compile {0}/model.onnx --data {0}/calibration.npz --out {0}/c --train all
insitu twin {0}/c --data {0}/train.npz --test {0}/test.npz --epochs 20 --lr 0.02
insitu run {0}/c --data {0}/train.npz --board nrf52840 --steps 300"""


def build(seed: int = 0) -> onnx.ModelProto:
    """image[batch, 1, 8, 8] -> logits[batch, 10], 2,410 parameters."""
    random = np.random.RandomState(seed)
    weights = {
        "fc1.weight": uniform(random, (32, 64), gain=2),
        "fc1.bias": np.zeros(32, np.float32),
        "fc2.weight": uniform(random, (10, 32), gain=1),
        "fc2.bias": np.zeros(10, np.float32),
    }
    nodes = [
        helper.make_node("Flatten", ["image"], ["flatten.y"], "flatten"),
        helper.make_node(
            "Gemm", ["flatten.y", "fc1.weight", "fc1.bias"], ["fc1.y"], "fc1", transB=1
        ),
        helper.make_node("Relu", ["fc1.y"], ["relu1.y"], "relu1"),
        helper.make_node(
            "Gemm", ["relu1.y", "fc2.weight", "fc2.bias"], ["logits"], "fc2", transB=1
        ),
    ]
    graph = helper.make_graph(
        nodes,
        "digits_mlp",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])],
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
    data = digits()
    train, test = split(data.y, (0.7, 0.3), seed=0)
    onnx.save(build(), out / "model.onnx")
    save(out / "calibration.npz", data.take(train[:256]))
    save(out / "train.npz", data.take(train))
    save(out / "test.npz", data.take(test))
    print(COMMANDS.format(out))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/digits_mlp.py OUT")
    main(Path(sys.argv[1]))
