"""Fashion-MNIST from scratch with the twin -> test accuracy, and speed beside PyTorch.

    python bench/learning/fashion_mnist.py [--epochs 8] [--samples 60000] [--json FILE]

The twin trains every layer from a uniform initialisation, one sample a step. PyTorch trains the
same network on the same samples on the CPU at batch 1, as the twin does, and at batch 32, in four
ways of writing the loop.

Speeds are of one thread and of CPU time, without the conversion of the samples. Short rounds of
the twin and of all of PyTorch's ways take turns in one process, and the best round of each counts,
so that whatever else the machine does falls on both. Every round of the twin is the beginning of
training from scratch, where its steps are slowest: later more errors are zero, and skipped. The
accuracy is of a training of its own. Needs torch.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import insitu
from insitu.data.datasets import Array, fashion_mnist
from insitu.network.trainable import TrainableNetwork
from insitu.network.twin import Twin

MEAN, SD = np.float32(0.286), np.float32(0.353)
TORCH_STEPS, TWIN_STEPS, ROUNDS = 500, 2500, 12
BATCH = 32

SHAPES = {
    "conv1": (16, 1, 3, 3),
    "conv2": (32, 16, 3, 3),
    "fc1": (64, 1568),
    "fc2": (10, 64),
}

Step = Callable[[Tensor, Tensor], object]
Round = Callable[[], int]
"""Trains a while; returns with how many samples."""


def initial_weights(seed: int) -> dict[str, Array]:
    """Weights within +-sqrt(3) sd, sd = sqrt(2 / fan_in), last layer sqrt(1 / fan_in); biases 0."""
    random = np.random.RandomState(seed)
    weights = {}
    for name, shape in SHAPES.items():
        bound = np.sqrt(3 * (1 if name == "fc2" else 2) / np.prod(shape[1:]))
        weights[f"{name}.weight"] = random.uniform(-bound, bound, shape).astype(np.float32)
        weights[f"{name}.bias"] = np.zeros(shape[0], np.float32)
    return weights


def build(seed: int = 0) -> onnx.ModelProto:
    """image[batch, 1, 28, 28], standardized -> logits[batch, 10], 105,866 parameters."""

    def layer(op: str, x: str, name: str, y: str, **attributes: object) -> onnx.NodeProto:
        inputs = [x, f"{name}.weight", f"{name}.bias"]
        return helper.make_node(op, inputs, [y], name, **attributes)

    def relu(x: str, i: int) -> onnx.NodeProto:
        return helper.make_node("Relu", [x], [f"relu{i}.y"], f"relu{i}")

    window = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    nodes = [
        *(layer("Conv", "image", "conv1", "conv1.y", **window), relu("conv1.y", 1)),
        *(layer("Conv", "relu1.y", "conv2", "conv2.y", **window), relu("conv2.y", 2)),
        helper.make_node("Flatten", ["relu2.y"], ["flatten.y"], "flatten"),
        *(layer("Gemm", "flatten.y", "fc1", "fc1.y", transB=1), relu("fc1.y", 3)),
        layer("Gemm", "relu3.y", "fc2", "logits", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "fashion_cnn",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 28, 28])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(value, name) for name, value in initial_weights(seed).items()],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])


def torch_network(seed: int) -> nn.Sequential:
    """The same network with the same weights."""
    net = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(1568, 64), nn.ReLU(), nn.Linear(64, 10)),
    )
    values = initial_weights(seed).values()
    net.load_state_dict(dict(zip(net.state_dict(), map(torch.tensor, values), strict=True)))
    return net


def optimizer_step(**options: bool) -> Callable[[nn.Sequential, float], Step]:
    """The loop as the tutorials write it, with this implementation of torch.optim.SGD."""

    def make(net: nn.Sequential, lr: float) -> Step:
        sgd = torch.optim.SGD(net.parameters(), lr=lr, **options)

        def step(x: Tensor, y: Tensor) -> None:
            sgd.zero_grad(set_to_none=True)
            F.cross_entropy(net(x), y).backward()
            sgd.step()

        return step

    return make


def bare_step(net: nn.Sequential, lr: float) -> Step:
    """The fastest eager loop we found: functional layers, no optimizer object."""
    params = list(net.parameters())
    w1, b1, w2, b2, w3, b3, w4, b4 = params

    def step(x: Tensor, y: Tensor) -> None:
        x = F.relu(F.conv2d(x, w1, b1, 2, 1))
        x = F.relu(F.conv2d(x, w2, b2, 2, 1)).flatten(1)
        logits = F.linear(F.relu(F.linear(x, w3, b3)), w4, b4)
        gradients = torch.autograd.grad(F.cross_entropy(logits, y), params)
        with torch.no_grad():
            torch._foreach_add_(params, gradients, alpha=-lr)

    return step


BAREST, TWIN = "no optimizer, functional", "insitu twin"

WAYS: dict[str, Callable[[nn.Sequential, float], Step]] = {
    "SGD, one tensor after the other": optimizer_step(foreach=False),
    "SGD, foreach": optimizer_step(foreach=True),
    "SGD, fused": optimizer_step(fused=True),
    BAREST: bare_step,
}


def torch_rounds(x: Array, y: Array, *, lr: float, seed: int) -> dict[str, Round]:
    """A round of each way to write the loop, one sample at a time and in mini-batches."""
    torch.set_num_threads(1)

    def round_of(step: Step, batch: int) -> Round:
        starts = range(0, min(TORCH_STEPS * (1 if batch == 1 else 4), len(x)) - batch + 1, batch)
        batches = [(torch.tensor(x[i : i + batch]), torch.tensor(y[i : i + batch])) for i in starts]

        def run() -> int:
            for each in batches:
                step(*each)
            return batch * len(batches)

        return run

    return {
        f"{name}, batch {batch}": round_of(make(torch_network(seed), lr), batch)
        for batch in (1, BATCH)
        for name, make in WAYS.items()
    }


def twin_round(twin: Twin, x: Array, y: Array, *, lr: float) -> Round:
    """The beginning of training from scratch."""
    rows = min(TWIN_STEPS, len(x))
    stream = twin.stream(twin.quantize(x[:rows]), y[:rows].astype(np.int32), steps=rows, lr=lr)

    def run() -> int:
        twin.library.reset()
        twin.library.run(stream)
        return rows

    return run


def speeds(rounds: Mapping[str, Round]) -> dict[str, float]:
    """Samples a second of CPU time in the best round of each; the first warms up."""
    best = dict.fromkeys(rounds, 0.0)
    for index in range(ROUNDS + 1):
        for name, run in rounds.items():
            start = time.process_time()
            steps = run()
            if index > 0:
                best[name] = max(best[name], steps / (time.process_time() - start))
    return best


def compiled(folder: Path, x: Array, *, lr: float, seed: int) -> TrainableNetwork:
    """The network from scratch, calibrated with the first samples."""
    path = folder / "fashion_cnn.onnx"
    onnx.save(build(seed), path)
    config = insitu.TrainingConfig(layers="all", lr=lr, seed=seed)
    return insitu.compile(insitu.load(path), calibration=x[:1024], training=config)


def trained(
    twin: Twin, data: tuple[Array, Array], test: tuple[Array, Array], *, epochs: int
) -> dict[str, float]:
    """Accuracy in per cent on `test` after training from scratch, and the CPU time it took."""
    twin.library.reset()
    start = time.process_time()
    twin.fit(*data, epochs=epochs)
    return {"accuracy": 100 * twin.score(*test), "cpu_seconds": time.process_time() - start}


def standardized(part: str, samples: int | None) -> tuple[Array, Array]:
    """The first `samples` images, mean 0 and standard deviation 1 over the training part."""
    data = fashion_mnist(part)
    return ((data.x - MEAN) / SD)[:samples], data.y[:samples]


def ratios(best: Mapping[str, float]) -> dict[str, float]:
    """How many times as fast as PyTorch the twin is."""

    def fastest(start: str, batch: int) -> float:
        names = (n for n in best if n.startswith(start) and n.endswith(f", batch {batch}"))
        return max(best[name] for name in names)

    return {
        "twin / PyTorch SGD, batch 1": best[TWIN] / fastest("SGD", 1),
        "twin / barest loop, batch 1": best[TWIN] / fastest(BAREST, 1),
        f"twin / fastest of PyTorch, batch {BATCH}": best[TWIN] / fastest("", BATCH),
    }


def show(best: Mapping[str, float], training: Mapping[str, float], epochs: int) -> None:
    """Speeds, the fastest last, their ratios, and what came of the training."""
    console = Console(width=100)
    if best:
        table = Table("Fashion-MNIST, all layers trained, one thread", "samples/s")
        for name, speed in sorted(best.items(), key=lambda item: item[1]):
            title = f"{TWIN}, batch 1" if name == TWIN else f"PyTorch, {name}"
            table.add_row(title, f"{speed:,.0f}")
        console.print(table)
        for name, ratio in ratios(best).items():
            console.print(f"{name}: {ratio:.2f}")
    if training:
        console.print(
            f"twin, {epochs} epochs: {training['accuracy']:.2f} % of the 10,000 test images, "
            f"{training['cpu_seconds']:.1f} s of CPU time"
        )


def main() -> int:
    """Compare the speeds, train the twin, print and write both."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--samples", type=int, default=60_000, help="train on the first so many")
    parser.add_argument("--lr", type=float, default=0.01, help="of the first step; falls by cosine")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("speed", "accuracy"), help="leave the other out")
    parser.add_argument("--least", type=float, default=0, help="exit 1 below this accuracy, in %%")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    train, test = standardized("train", options.samples), standardized("test", None)
    best: dict[str, float] = {}
    training: dict[str, float] = {}
    with TemporaryDirectory() as folder:
        twin = compiled(Path(folder), train[0], lr=options.lr, seed=options.seed).twin()
        if options.only != "accuracy":
            rounds = torch_rounds(*train, lr=options.lr, seed=options.seed)
            best = speeds({TWIN: twin_round(twin, *train, lr=options.lr), **rounds})
        if options.only != "speed":
            training = trained(twin, train, test, epochs=options.epochs)
    show(best, training, options.epochs)
    if options.json:
        figures = {
            "samples_per_second": best,
            "ratios": ratios(best) if best else {},
            "twin": training,
            "torch": torch.__version__,
        }
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return int(bool(training) and training["accuracy"] < options.least)


if __name__ == "__main__":
    sys.exit(main())
