"""digits, a quarter turn -> accuracy of float SGD at batch 1: the yardstick of the demo.

    python bench/learning/digits_float.py [--layers 3] [--json FILE]

The learning rate is chosen on a quarter of the adaptation images, never on the test images; the
figures are then those of a training on all of them, mean and standard deviation of five orders.
Needs torch.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from torch import Tensor

from insitu.data.datasets import Array, Dataset, split, turned_digits

ONNX = Path(__file__).parents[2] / "insitu" / "app" / "demo_data" / "digits_cnn.onnx"
RATES = (0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08)
SEEDS = range(5)
SELECTION_SEEDS = range(100, 103)
RATE_FLOOR = 0.02

Params = list[tuple[Tensor, Tensor]]
"""Weight and bias of conv1, conv2, fc1, fc2."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """Accuracies in per cent; `validation` by learning rate."""

    layers: int
    epochs: int
    validation: dict[float, float]
    lr: float
    mean: float
    sd: float
    accuracies: list[float]


def read_params(path: Path) -> Params:
    """The demo's network with its batch norms folded into the convolutions."""
    held = {t.name: numpy_helper.to_array(t).copy() for t in onnx.load(path).graph.initializer}
    params = []
    for i in (1, 2):
        names = ("weight", "bias", "running_mean", "running_var")
        gamma, beta, mean, variance = (held[f"bn{i}.{name}"] for name in names)
        gain = gamma / np.sqrt(variance + np.float32(1e-5))
        w = held[f"conv{i}.weight"] * gain[:, None, None, None]
        params.append((torch.tensor(w), torch.tensor(beta - mean * gain)))
    linears = [(held[f"fc{i}.weight"], held[f"fc{i}.bias"]) for i in (1, 2)]
    return params + [(torch.tensor(w), torch.tensor(b)) for w, b in linears]


def forward(params: Params, x: Tensor) -> Tensor:
    """Logits `[n, 10]` of `x[n, 1, 8, 8]`."""
    (w1, b1), (w2, b2), (w3, b3), (w4, b4) = params
    x = F.relu(F.conv2d(x, w1, b1, padding=1))
    x = F.relu(F.conv2d(x, w2, b2, stride=2, padding=1))
    return F.linear(F.relu(F.linear(x.flatten(1), w3, b3)), w4, b4)


def train(
    params: Params, data: Dataset, *, layers: int, epochs: int, lr: float, seed: int
) -> Params:
    """The last `layers` layers trained at batch 1, plain SGD, cosine down to 2 % of `lr`."""
    params = [(w.clone(), b.clone()) for w, b in params]
    trained = [t.requires_grad_() for pair in params[-layers:] for t in pair]
    random = np.random.RandomState(seed)
    x, y = torch.tensor(data.x), torch.tensor(data.y)
    steps, step = epochs * len(data), 0
    for _ in range(epochs):
        for i in random.permutation(len(data)):
            half_cosine = 0.5 * (1 + math.cos(math.pi * step / steps))
            rate = lr * (RATE_FLOOR + (1 - RATE_FLOOR) * half_cosine)
            loss = F.cross_entropy(forward(params, x[i : i + 1]), y[i : i + 1])
            gradients = torch.autograd.grad(loss, trained)
            with torch.no_grad():
                torch._foreach_add_(trained, gradients, alpha=-rate)
            step += 1
    return params


def accuracy(params: Params, data: Dataset) -> float:
    """Per cent right."""
    with torch.no_grad():
        predicted: Array = forward(params, torch.tensor(data.x)).argmax(1).numpy()
    return float((predicted == data.y).mean() * 100)


def measure(layers: int, epochs: int) -> Result:
    """Choose the rate on validation images, then train on all and test."""
    world, start = turned_digits(), read_params(ONNX)
    rows, held_out = split(world.adapt.y, (0.75, 0.25), seed=1)
    part, validation = world.adapt.take(rows), world.adapt.take(held_out)

    def score(data: Dataset, judge: Dataset, lr: float, seed: int) -> float:
        tuned = train(start, data, layers=layers, epochs=epochs, lr=lr, seed=seed)
        return accuracy(tuned, judge)

    found = {
        lr: float(np.mean([score(part, validation, lr, seed) for seed in SELECTION_SEEDS]))
        for lr in RATES
    }
    lr = max(found, key=lambda rate: found[rate])
    tested = [score(world.adapt, world.test_after, lr, seed) for seed in SEEDS]
    return Result(
        layers=layers,
        epochs=epochs,
        validation=found,
        lr=lr,
        mean=float(np.mean(tested)),
        sd=float(np.std(tested, ddof=1)),
        accuracies=tested,
    )


def main() -> None:
    """Print one line, and JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--layers", type=int, default=3, help="train the last so many")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    result = measure(options.layers, options.epochs)
    for lr, found in result.validation.items():
        print(f"  lr {lr:<6} validation {found:5.2f} %")
    print(
        f"last:{result.layers}, {result.epochs} epochs, lr {result.lr}: "
        f"{result.mean:.2f} +- {result.sd:.2f} % of the turned test images"
    )
    if options.json:
        options.json.write_text(json.dumps(asdict(result), indent=2) + "\n")


if __name__ == "__main__":
    main()
