"""Spoken keywords and an untrained depthwise separable CNN (DS-CNN): learn, then test.

    INSITU_DATA=FOLDER python examples/keywords_dscnn.py OUT

FOLDER holds kws01.npz. Writes OUT/model.onnx, calibration.npz, train.npz and test.npz, then says
which commands to run.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from insitu.data.datasets import kws, save, split

COMMANDS = """\
insitu compile {0}/model.onnx --data {0}/calibration.npz --out {0}/c --train all
insitu twin {0}/c --data {0}/train.npz --test {0}/test.npz --epochs 20 --lr 0.03
insitu run {0}/c --data {0}/train.npz --board nrf52840 --steps 20"""

CHANNELS, BLOCKS = 32, 3


def build(seed: int = 0) -> onnx.ModelProto:
    """cepstrum[batch, 1, 49, 10] -> logits[batch, 12]."""
    random = np.random.RandomState(seed)
    weights: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = {}
    nodes: list[onnx.NodeProto] = []

    def conv(x: str, name: str, shape: tuple[int, ...], **attributes: object) -> str:
        bound = np.sqrt(3 * 2 / np.prod(shape[1:]))
        weights[f"{name}.weight"] = random.uniform(-bound, bound, shape).astype(np.float32)
        weights[f"{name}.bias"] = np.zeros(shape[0], np.float32)
        inputs = [x, f"{name}.weight", f"{name}.bias"]
        nodes.append(helper.make_node("Conv", inputs, [f"{name}.y"], name, **attributes))
        nodes.append(helper.make_node("Relu", [f"{name}.y"], [f"{name}.relu"], f"{name}.relu"))
        return f"{name}.relu"

    y = conv("cepstrum", "conv1", (CHANNELS, 1, 10, 4), strides=[2, 2], pads=[4, 1, 5, 1])
    for block in range(1, BLOCKS + 1):
        depthwise = (CHANNELS, 1, 3, 3)
        y = conv(y, f"depthwise{block}", depthwise, group=CHANNELS, pads=[1, 1, 1, 1])
        y = conv(y, f"pointwise{block}", (CHANNELS, CHANNELS, 1, 1))
    weights["fc.weight"] = np.zeros((12, CHANNELS), np.float32)
    weights["fc.bias"] = np.zeros(12, np.float32)
    nodes += [
        helper.make_node("GlobalAveragePool", [y], ["mean.y"], "mean"),
        helper.make_node("Flatten", ["mean.y"], ["flatten.y"], "flatten"),
        helper.make_node("Gemm", ["flatten.y", "fc.weight", "fc.bias"], ["logits"], "fc", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "keywords_dscnn",
        [helper.make_tensor_value_info("cepstrum", TensorProto.FLOAT, ["batch", 1, 49, 10])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 12])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def main(out: Path) -> None:
    """Write the network and the data."""
    out.mkdir(parents=True, exist_ok=True)
    data = kws()
    train, test = (data.take(rows) for rows in split(data.y, (0.8, 0.2), seed=0))
    onnx.save(build(), out / "model.onnx")
    save(out / "calibration.npz", train.take(np.arange(0, len(train), 4)))
    save(out / "train.npz", train)
    save(out / "test.npz", test)
    print(COMMANDS.format(out))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/keywords_dscnn.py OUT")
    main(Path(sys.argv[1]))
