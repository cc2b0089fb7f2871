"""Fashion-MNIST from scratch with the twin -> test accuracy, and speed beside PyTorch.

    python bench/learning/fashion_mnist.py [--epochs 8] [--samples 60000] [--json FILE]

The twin trains every layer from a uniform initialisation, one sample a step. PyTorch trains the
same network on the same samples at batch 1 on the CPU, long enough to measure its speed, in four
ways of writing the loop and with one and two threads; the fastest is the one compared with.
PyTorch is measured first and alone, so that neither disturbs the other, and both without the
conversion of the samples. PyTorch's figure is the best of several rounds, the twin's the mean of
the whole training. Needs torch.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
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
from insitu.datasets import Array, fashion_mnist

MEAN, SD = np.float32(0.286), np.float32(0.353)
WARM_UP, TIMED, ROUNDS = 200, 2000, 3

SHAPES = {
    "conv1": (16, 1, 3, 3),
    "conv2": (32, 16, 3, 3),
    "fc1": (64, 1568),
    "fc2": (10, 64),
}

Step = Callable[[Tensor, Tensor], object]


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


WAYS: dict[str, Callable[[nn.Sequential, float], Step]] = {
    "SGD, one tensor after the other": optimizer_step(foreach=False),
    "SGD, foreach": optimizer_step(foreach=True),
    "SGD, fused": optimizer_step(fused=True),
    "no optimizer, functional": bare_step,
}


def torch_speeds(x: Array, y: Array, *, lr: float, seed: int) -> dict[str, float]:
    """Training samples a second by way and threads: the best of `ROUNDS`, warm."""
    count = WARM_UP + TIMED
    samples = [
        (torch.tensor(x[i : i + 1]), torch.tensor(y[i : i + 1])) for i in range(min(count, len(y)))
    ]
    speeds = {}
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for name, make in WAYS.items():
            step = make(torch_network(seed), lr)
            for sample in samples[:WARM_UP]:
                step(*sample)
            speeds[f"PyTorch, {name}, threads: {threads}"] = max(
                timed(step, samples[WARM_UP:]) for _ in range(ROUNDS)
            )
    torch.set_num_threads(1)
    return speeds


def timed(step: Step, samples: list[tuple[Tensor, Tensor]]) -> float:
    """Samples a second."""
    start = time.perf_counter()
    for sample in samples:
        step(*sample)
    return len(samples) / (time.perf_counter() - start)


def twin_figures(
    data: tuple[Array, Array], test: tuple[Array, Array], *, epochs: int, lr: float, seed: int
) -> dict[str, float]:
    """Accuracy in per cent on `test` and training samples a second of the twin, from scratch."""
    x, y = data
    with TemporaryDirectory() as folder:
        path = Path(folder) / "fashion_cnn.onnx"
        onnx.save(build(seed), path)
        config = insitu.TrainingConfig(layers="all", lr=lr, seed=seed)
        net = insitu.compile(insitu.load(path), calibration=x[:1024], training=config)
        twin = net.twin()
        history = twin.fit(x, y, epochs=epochs)
        accuracy = 100 * twin.score(*test)
    return {"accuracy": accuracy, "samples_per_second": history.steps / history.seconds}


def standardized(part: str, samples: int | None) -> tuple[Array, Array]:
    """The first `samples` images, mean 0 and standard deviation 1 over the training part."""
    data = fashion_mnist(part)
    return ((data.x - MEAN) / SD)[:samples], data.y[:samples]


def show(twin: dict[str, float], speeds: dict[str, float]) -> None:
    """One table of speeds, PyTorch's fastest last, then the twin's and its accuracy."""
    table = Table("Fashion-MNIST, batch 1, all layers trained", "samples/s", "twin is faster by")
    for name, speed in sorted(speeds.items(), key=lambda item: item[1]):
        faster = f"{twin['samples_per_second'] / speed:.1f} x" if twin else ""
        table.add_row(name, f"{speed:,.0f}", faster)
    if twin:
        table.add_row("insitu twin, 1 thread", f"{twin['samples_per_second']:,.0f}", "")
    console = Console(width=100)
    console.print(table)
    if twin:
        console.print(f"twin: {twin['accuracy']:.2f} % of the 10,000 test images")


def main() -> None:
    """Measure PyTorch's speed, train the twin, print and write both."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--samples", type=int, default=60_000, help="train on the first so many")
    parser.add_argument("--lr", type=float, default=0.01, help="of the first step; falls by cosine")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("torch", "twin"), help="leave the other out")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    train, test = standardized("train", options.samples), standardized("test", None)
    speeds, twin = {}, {}
    if options.only != "twin":
        speeds = torch_speeds(*train, lr=options.lr, seed=options.seed)
    if options.only != "torch":
        rates = {"lr": options.lr, "seed": options.seed}
        twin = twin_figures(train, test, epochs=options.epochs, **rates)
    show(twin, speeds)
    if options.json:
        figures = {"twin": twin, "torch_samples_per_second": speeds, "torch": torch.__version__}
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
