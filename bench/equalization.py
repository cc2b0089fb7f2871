"""Cross-layer equalization on real networks -> what it changes after quantization.

    python bench/equalization.py [--networks resnet8,dscnn,mcunet] [--every 20] [--markdown FILE]

Where one convolution feeds another and nothing else, channel i of what lies between is divided by
s[i] and the weights behind it are multiplied by s[i]: the float network stays the same, the
integers do not. "weights": s makes the weights' ranges on both sides equal, pair after pair, until
nothing moves (Nagel et al. 2019, Data-free quantization, equation 11). "activations": s makes the
channels' own ranges equal where the next layer is depthwise, whose rows have scales of their own;
elsewhere it is the root of range / next weights' range. ReLU6 does not commute with s, so pairs
with one between them stay as they are; "relu" is what becomes of the network where ReLU takes its
place there, as that paper has it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from fidelity import TASKS, Task, float_scores, quantized_scores
from rich.console import Console
from rich.table import Table

import insitu
from insitu.data.datasets import Array
from insitu.data.samples import channels_last
from insitu.errors import DataError
from insitu.graph.evaluate import evaluate_float
from insitu.graph.model import Graph, Node
from insitu.measure.fidelity import cosines
from insitu.prepare.simplify import simplify

METHODS = ("none", "relu", "weights", "activations")
ROUNDS = 20
"""Of equalizing all pairs; nothing moves after fewer."""

SMALLEST = 1e-8


UNBOUNDED = ((0, np.inf), (-np.inf, np.inf))
"""Clips that commute with a positive factor."""


def joined(graph: Graph) -> Iterator[tuple[Node, Node]]:
    """Convolutions that feed one other convolution alone."""
    for node in graph.nodes:
        readers = graph.consumers(node.outputs[0])
        if node.op.name == "conv" and [r.op.name for r in readers] == ["conv"]:
            yield node, readers[0]


def pairs(graph: Graph) -> list[tuple[Node, Node]]:
    """Those of them that can be equalized."""
    return [p for p in joined(graph) if p[0].attributes.get("clip", UNBOUNDED[1]) in UNBOUNDED]


def is_depthwise(node: Node) -> bool:
    """Whether each channel has a filter of its own."""
    return int(node.attributes.get("groups", 1)) > 1


def data(graph: Graph, node: Node, index: int) -> Array:
    """A constant."""
    found = graph.tensors[node.inputs[index]].data
    assert found is not None
    return found


def with_relu(graph: Graph) -> Graph:
    """The graph with ReLU for ReLU6 between convolutions."""
    chosen = {node.name for node, _ in joined(graph)}

    def changed(node: Node) -> Node:
        clip = node.attributes.get("clip")
        if node.name not in chosen or clip is None:
            return node
        return replace(node, attributes={**node.attributes, "clip": (clip[0], np.inf)})

    return graph.with_nodes([changed(node) for node in graph.nodes])


def equalize(graph: Graph, method: str, x: Array) -> Graph:
    """The graph with other weights; `x` are samples, channels last."""
    tensors = {
        name: t if t.data is None else replace(t, data=t.data.astype(np.float64))
        for name, t in graph.tensors.items()
    }
    graph = replace(graph, tensors=tensors)
    peaks: dict[str, Array] = {}

    def observe(name: str, value: Array) -> None:
        if value.ndim == 4:
            peaks[name] = np.abs(value).max(axis=(0, 1, 2))

    evaluate_float(graph, {graph.inputs[0]: x.astype(np.float64)}, observe=observe)
    for _ in range(ROUNDS if method == "weights" else 1):
        for first, second in pairs(graph):
            w, bias, behind = data(graph, first, 1), data(graph, first, 2), data(graph, second, 1)
            by_row = is_depthwise(second)
            ahead = np.abs(w).max(axis=(1, 2, 3))
            following = np.abs(behind).max(axis=(1, 2, 3) if by_row else (0, 1, 2))
            if method == "weights":
                s = np.sqrt(ahead * following) / np.maximum(following, SMALLEST)
            else:
                own = peaks[first.outputs[0]]
                s = own if by_row else np.sqrt(own / np.maximum(following, SMALLEST))
            s = np.where(s > SMALLEST, s, 1.0)
            s /= np.exp(np.log(s).mean())
            w /= s.reshape(-1, 1, 1, 1)
            bias /= s
            behind *= s.reshape(-1, 1, 1, 1) if by_row else s
    return replace(
        graph,
        tensors={
            name: t if t.data is None else replace(t, data=t.data.astype(np.float32))
            for name, t in graph.tensors.items()
        },
    )


def measure(task: Task, calibration: str) -> list[tuple[str, ...]]:
    """A row of the table for each method."""
    original = simplify(insitu.load(task.path).graph)
    shape = original.tensors[original.inputs[0]].shape
    wanted = float_scores(task.path, task.x)
    rows = []
    for method in METHODS:
        graph = original
        if method == "relu":
            graph = with_relu(graph)
        elif method != "none":
            graph = equalize(graph, method, channels_last(task.calibration[:64], shape))
        few = channels_last(task.x[:16], shape)
        exact = evaluate_float(graph, {graph.inputs[0]: few})[graph.outputs[0]]
        found = quantized_scores(graph, task.calibration, calibration, task.x)
        rows.append(
            (
                task.title,
                f"{len(pairs(original))} of {len(list(joined(original)))}",
                method,
                f"{cosines(wanted[:16], exact).min():.5f}",
                "" if task.y is None else f"{100 * (found.argmax(1) == task.y).mean():.2f}",
                f"{cosines(wanted, found).mean():.5f}",
                f"{cosines(wanted, found).min():.5f}",
            )
        )
        print(rows[-1], flush=True)
    return rows


COLUMNS = ("network", "pairs", "method", "float cosine", "8 bits %", "cosine", "least")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", default="resnet8,dscnn,mcunet")
    parser.add_argument("--every", type=int, default=20, help="of CIFAR-10's test images")
    parser.add_argument("--calibration", default="minmax")
    options = parser.parse_args()
    table = Table(title="cross-layer equalization")
    for column in COLUMNS:
        table.add_column(column)
    for name in options.networks.split(","):
        try:
            task = TASKS[name](options.every)
        except (DataError, ImportError) as error:
            print(f"{name}: left out: {error}")
            continue
        for row in measure(task, options.calibration):
            table.add_row(*row)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
