"""Handwritten digits and an untrained autoencoder 64-16-64: learn on the board what is normal.

    python examples/anomaly_autoencoder.py OUT

A board sees nothing but zeros, without labels, and learns to draw them again. What it draws badly
afterwards is something else. Writes OUT/model.onnx, normal.npz and test.npz (new zeros, y = 0, and
other digits, y = 1), trains on the emulated board, and says how well the error of reconstruction
separates the two; then which commands to run.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

import insitu
from insitu.data.datasets import digits

COMMANDS = """\
insitu compile {0}/model.onnx --data {0}/normal.npz --out {0}/c --loss mse --lr 0.3
insitu twin {0}/c --data {0}/normal.npz --epochs 10
insitu run {0}/c --data {0}/normal.npz --board rp2040"""

STEPS = 450
Array = npt.NDArray[Any]


def build(seed: int = 0) -> onnx.ModelProto:
    """image[batch, 1, 8, 8] -> the same image[batch, 64], 2,128 parameters."""
    random = np.random.RandomState(seed)
    weights = {
        "encoder.weight": uniform(random, (16, 64), gain=2),
        "encoder.bias": np.zeros(16, np.float32),
        "decoder.weight": uniform(random, (64, 16), gain=1),
        "decoder.bias": np.zeros(64, np.float32),
    }

    def linear(x: str, name: str, y: str) -> onnx.NodeProto:
        inputs = [x, f"{name}.weight", f"{name}.bias"]
        return helper.make_node("Gemm", inputs, [y], name, transB=1)

    nodes = [
        helper.make_node("Flatten", ["image"], ["flatten.y"], "flatten"),
        linear("flatten.y", "encoder", "encoder.y"),
        helper.make_node("Relu", ["encoder.y"], ["code"], "relu"),
        linear("code", "decoder", "drawn"),
    ]
    graph = helper.make_graph(
        nodes,
        "anomaly_autoencoder",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("drawn", TensorProto.FLOAT, ["batch", 64])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def uniform(random: np.random.RandomState, shape: tuple[int, ...], *, gain: float) -> Array:
    """Weights within +-sqrt(3) sd, sd = sqrt(gain / fan_in): the range int8 holds best."""
    bound = np.sqrt(3 * gain / np.prod(shape[1:]))
    return random.uniform(-bound, bound, shape).astype(np.float32)


def separation(errors: Array, odd: Array) -> float:
    """The probability that an odd sample has a larger error than a normal one (area under ROC)."""
    return float((errors[odd][:, None] > errors[~odd]).mean())


def main(out: Path) -> dict[str, float]:
    """Write the network and the data, train on the board, judge."""
    out.mkdir(parents=True, exist_ok=True)
    data = digits()
    zeros, others = np.flatnonzero(data.y == 0), np.flatnonzero(data.y != 0)
    normal, test = data.x[zeros[::2]], data.x[np.concatenate([zeros[1::2], others])]
    odd = np.arange(len(test)) >= len(zeros[1::2])
    onnx.save(build(), out / "model.onnx")
    np.savez(out / "normal.npz", x=normal)
    np.savez(out / "test.npz", x=test, y=odd.astype(np.int64))

    network = insitu.compile(
        insitu.load(out / "model.onnx"),
        calibration=normal,
        training=insitu.TrainingConfig(loss="mse", lr=0.3),
    )
    run = network.run(normal, steps=STEPS)
    twin = network.twin()
    before = reconstruction(twin, test)
    twin.library.state = run.state  # what the board has learnt
    after = reconstruction(twin, test)
    figures = {"before": separation(before, odd), "after": separation(after, odd)}
    drawn = {"new zeros": ~odd, "other digits": odd}
    errors = (f"{n} {before[w].mean():.3f} -> {after[w].mean():.3f}" for n, w in drawn.items())
    print(
        f"{STEPS} steps on the emulated {run.board.name}, twin equal: {run.twin_equal}\n"
        f"error of reconstruction: {', '.join(errors)}\n"
        f"area under ROC: {figures['before']:.3f} -> {figures['after']:.3f}"
    )
    print(COMMANDS.format(out))
    return {**figures, "twin_equal": run.twin_equal}


def reconstruction(twin: insitu.Twin, x: Array) -> Array:
    """Mean squared error of each x[n, 1, 8, 8], drawn again."""
    return np.asarray(((twin.predict(x) - x.reshape(len(x), -1)) ** 2).mean(axis=1))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/anomaly_autoencoder.py OUT")
    main(Path(sys.argv[1]))
