"""Usual initial values, from scratch -> what 8 bits learn beside float32, and the table of it.

    INSITU_DATA=FOLDER python bench/learning/initial_values.py [--task NAME]... [--write]
        [--table]

Small networks on seven tasks, from four kinds of initial values: PyTorch's own (uniform within
1 / sqrt(fan in), biases too), Glorot's (uniform), Kaiming's (normal), and Kaiming's with a last
layer of N(0, 0.01). Batch 1, cosine, `SEEDS` seeds that set the samples' parts, the initial values
and the training; of the task's rates the one with the best mean on validation samples, then the
test samples. "own range" is uint8 where a row may not outgrow its largest initial weight, which is
what a layer gets whose weights do not look initial. --write puts the figures in results/ and the
table in docs/results/initial-values.md. Needs torch.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pretraining
import torch
from sklearn.datasets import load_breast_cancer, make_classification
from torch import nn

import insitu
from insitu import pipeline
from insitu.data.datasets import Array, cwru, digits, fashion_mnist, kws, split
from insitu.generate import generate
from insitu.network.folder import ScratchFolder, write_sources
from insitu.network.trainable import TrainableNetwork
from insitu.ops.layers import initial

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "initial-values.json"
PAGE = HERE.parents[1] / "docs" / "results" / "initial-values.md"
SEEDS = range(3)
SMALL_HEAD = 0.01
Part = tuple[Array, Array]
Data = tuple[Part, Part, Part]
"""To train, to choose the rate, to judge: samples, channels first, and classes."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is learnt: data(seed), a network, epochs and rates."""

    title: str
    data: Callable[[int], Data]
    network: Callable[[], nn.Sequential]
    epochs: int
    rates: tuple[float, ...]


def standardized(x: Array, of: Array) -> Array:
    """float32, as `of` has mean 0 and deviation 1."""
    return ((x - of.mean()) / of.std()).astype(np.float32)


def parts(x: Array, y: Array, fractions: tuple[float, ...], seed: int) -> Data:
    """Random parts with every class in proportion."""
    a, b, c = (rows for rows in split(y, fractions, seed=seed))
    return (x[a], y[a]), (x[b], y[b]), (x[c], y[c])


def digits_data(seed: int) -> Data:
    """scikit-learn's digits."""
    data = digits()
    return parts(data.x, data.y, (0.5, 0.15, 0.35), seed)


def fashion_data(seed: int) -> Data:
    """2,000 images to train, 1,000 and 3,000 to judge."""
    train, test = fashion_mnist("train"), fashion_mnist("test")
    rows = np.random.default_rng(seed).permutation(len(train))
    a, b, c = rows[:2000], rows[-1000:], slice(0, 3000)
    x = standardized(test.x[c], train.x)
    return (
        (standardized(train.x[a], train.x), train.y[a]),
        (standardized(train.x[b], train.x), train.y[b]),
        (x, test.y[c]),
    )


def bearing_data(seed: int) -> Data:
    """Nine faults at four loads: parts by time, so that no neighbour of a test window is learnt."""
    data = cwru()
    a, b, c = [], [], []
    random = np.random.default_rng(seed)
    for load in range(4):
        for fault in range(9):
            rows = np.flatnonzero((data.extra["load"] == load) & (data.y == fault))
            early, middle, late = (round(f * len(rows)) for f in (0.4, 0.55, 0.6))
            a.append(random.choice(rows[:early], 15, replace=False))
            b.append(rows[early:middle:4])
            c.append(rows[late::2])
    found = [np.concatenate(some) for some in (a, b, c)]
    made = [(data.x[rows], data.y[rows]) for rows in found]
    return made[0], made[1], made[2]


def keyword_data(seed: int) -> Data:
    """Spoken words, few: the test part is small, and its figures scatter."""
    data = kws()
    return parts(standardized(data.x, data.x), data.y, (0.5, 0.15, 0.35), seed)


def cancer_data(seed: int) -> Data:
    """30 features of tissue, two classes."""
    x, y = load_breast_cancer(return_X_y=True)
    x = ((x - x.mean(axis=0)) / x.std(axis=0)).astype(np.float32)
    return parts(x, y, (0.4, 0.15, 0.45), seed)


def made_data(seed: int) -> Data:
    """20 features, five classes of two clusters each; 5,000 to judge."""
    x, y = make_classification(
        7500,
        20,
        n_informative=10,
        n_redundant=5,
        n_classes=5,
        n_clusters_per_class=2,
        class_sep=1.5,
        random_state=7,
    )
    return parts(standardized(x, x), y, (0.2, 0.14, 0.66), seed)


def convolutions(classes: int, channels: tuple[int, int], flat: int, stride: int) -> nn.Sequential:
    """Two 3x3 convolutions, two linear layers."""
    first, second = channels
    return nn.Sequential(
        *(nn.Conv2d(1, first, 3, stride, 1), nn.ReLU()),
        *(nn.Conv2d(first, second, 3, 2, 1), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(second * flat, 32), nn.ReLU(), nn.Linear(32, classes)),
    )


def mlp(*sizes: int) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = [nn.Flatten()] if sizes[0] == 784 else []
    for i in range(len(sizes) - 1):
        layers += [*([nn.ReLU()] if i else []), nn.Linear(sizes[i], sizes[i + 1])]
    return nn.Sequential(*layers)


RATES = (0.02, 0.04)
TASKS = {
    "digits": Task(
        title="digits, 4 layers",
        data=digits_data,
        network=lambda: convolutions(10, (16, 16), 16, 1),
        epochs=8,
        rates=RATES,
    ),
    "fashion-cnn": Task(
        title="Fashion-MNIST, 2,000 images, 4 layers",
        data=fashion_data,
        network=lambda: convolutions(10, (6, 12), 49, 2),
        epochs=4,
        rates=RATES,
    ),
    "fashion-mlp": Task(
        title="Fashion-MNIST, 2,000 images, MLP",
        data=fashion_data,
        network=lambda: mlp(784, 32, 10),
        epochs=4,
        rates=(0.01, 0.02),
    ),
    "bearing": Task(
        title="bearing faults, 4 layers",
        data=bearing_data,
        network=lambda: pretraining.bearing_cnn(9, 0),
        epochs=6,
        rates=(0.04, 0.08),
    ),
    "cancer": Task(
        title="breast cancer, MLP",
        data=cancer_data,
        network=lambda: mlp(30, 16, 2),
        epochs=15,
        rates=RATES,
    ),
    "made": Task(
        title="five made classes, MLP",
        data=made_data,
        network=lambda: mlp(20, 32, 16, 5),
        epochs=12,
        rates=RATES,
    ),
    "keywords": Task(
        title="12 keywords, 500 utterances, 4 layers",
        data=keyword_data,
        network=lambda: convolutions(12, (8, 16), 39, 2),
        epochs=10,
        rates=RATES,
    ),
}


def initialize(net: nn.Sequential, kind: str, seed: int) -> None:
    """Give the layers initial values of that kind."""
    random = torch.Generator().manual_seed(seed)
    layers = [m for m in net if isinstance(m, nn.Conv1d | nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        for layer in layers:
            w, bias = layer.weight, layer.bias
            assert bias is not None
            fan_in, fan_out = w[0].numel(), len(w) * w[0, 0].numel()
            bias.zero_()
            if kind == "PyTorch":
                bias.uniform_(-(fan_in**-0.5), fan_in**-0.5, generator=random)
                w.uniform_(-(fan_in**-0.5), fan_in**-0.5, generator=random)
            elif kind == "Glorot":
                bound = (6 / (fan_in + fan_out)) ** 0.5
                w.uniform_(-bound, bound, generator=random)
            else:
                w.normal_(0, (2 / fan_in) ** 0.5, generator=random)
        if kind == "small head":
            layers[-1].weight.normal_(0, SMALL_HEAD, generator=random)


def unmeasured(network: TrainableNetwork, *_: object) -> TrainableNetwork:
    """In C, but no board is asked what it costs."""
    folder = ScratchFolder()
    seed = network.training.seed
    write_sources(generate(network.graph, network.plan, network.name, seed=seed), folder.path)
    return replace(network, folder=folder.path, temporary=folder)


KINDS = ("PyTorch", "Glorot", "Kaiming", "small head")
SCHEMES = ("float32", "uint8", "own range")


def trained(task: Task, kind: str, scheme: str, seed: int) -> list[tuple[float, float, float]]:
    """By rate: accuracy on validation and test samples in per cent, largest share at the bound."""
    train, validation, test = task.data(seed)
    net = task.network()
    initialize(net, kind, seed)
    before = initial.SMALL
    initial.SMALL = 0.0 if scheme == "own range" else before
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        pretraining.write(net, train[0].shape[1:], path)
        config = insitu.TrainingConfig(precision="float32" if scheme == "float32" else "uint8")
        network = insitu.compile(
            path, calibration=train[0][:300], training=config, board="imxrt1062"
        )
    initial.SMALL = before
    found = []
    for rate in task.rates:
        twin = network.twin()
        history = twin.fit(*train, epochs=task.epochs, lr=rate, seed=seed)
        bound = max(history.at_bound.values(), default=0.0)
        found.append((100 * twin.score(*validation), 100 * twin.score(*test), bound))
    return found


def cell(task: Task, kind: str, scheme: str) -> dict[str, Any]:
    """The chosen rate, the test's mean and deviation over the seeds, weights at the bound."""
    runs = np.asarray([trained(task, kind, scheme, seed) for seed in SEEDS])
    best = int(runs[:, :, 0].mean(axis=0).argmax())
    test = runs[:, best, 1]
    return {
        "rate": task.rates[best],
        "accuracy": round(float(test.mean()), 2),
        "sd": round(float(test.std(ddof=1)), 2),
        "at_bound": round(float(runs[:, best, 2].mean()), 4),
    }


PAGE_HEAD = """\
# From usual initial values

Made by `python bench/learning/initial_values.py --write`; do not edit. Test accuracy in per cent,
mean and standard deviation of three seeds, at each scheme's best rate of two. A layer that looks as
if it held small initial values gets the range 3 / sqrt(fan in)
([0029](../decisions/0029-room-for-initial-values.md)); *own range* is uint8 without that, *bound*
the largest share of a layer's weights that ended at the bounds of their range, with it and without.

| task | initial values | float32 | uint8 | difference | own range | bound |
| --- | --- | ---: | ---: | ---: | ---: | ---: |
"""

PAGE_END = """
In the mean of the {rows} rows uint8 differs from float32 by {mean:+.2f} points; {within} are within
half a point or better, and the worst is {worst:+.2f}.
"""


def page(results: dict[str, Any]) -> str:
    """The table."""
    lines, differences = [], []
    for name, kinds in results.items():
        for kind, by in kinds.items():
            exact, ours, own = (by[scheme] for scheme in SCHEMES)
            differences.append(ours["accuracy"] - exact["accuracy"])
            figures = [f"{c['accuracy']:.2f} ± {c['sd']:.2f}" for c in (exact, ours, own)]
            figures.insert(2, f"{differences[-1]:+.2f}")
            figures.append(f"{100 * ours['at_bound']:.1f} %, {100 * own['at_bound']:.1f} %")
            lines.append(f"| {TASKS[name].title} | {kind} | {' | '.join(figures)} |\n")
    end = PAGE_END.format(
        rows=len(differences),
        mean=np.mean(differences),
        within=sum(d >= -0.5 for d in differences),
        worst=min(differences),
    )
    return PAGE_HEAD + "".join(lines) + end


def main() -> None:
    """Train all, print, and write where wanted."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--task", action="append", choices=TASKS, help="by default all")
    parser.add_argument("--write", action="store_true", help="keep the figures, write the page")
    parser.add_argument("--table", action="store_true", help="only write the page again")
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    pipeline.measured = unmeasured
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in [] if options.table else options.task or TASKS:
        known[name] = {}
        for kind in KINDS:
            by = {scheme: cell(TASKS[name], kind, scheme) for scheme in SCHEMES[:2]}
            fixed = kind == "Kaiming"  # the same bits
            by["own range"] = by["uint8"] if fixed else cell(TASKS[name], kind, "own range")
            known[name][kind] = by
            print(name, kind, json.dumps(known[name][kind]), flush=True)
        if options.write:
            RESULTS.write_text(json.dumps(known, indent=1) + "\n")
    ordered = {name: known[name] for name in TASKS if name in known}
    if options.write or options.table:
        PAGE.write_text(page(ordered))
    print(page(ordered))


if __name__ == "__main__":
    main()
