"""What does each ingredient of 8-bit training cost? Float training with one of them at a time.

    INSITU_DATA=FOLDER python bench/learning/ingredients.py [--task cifar10] [--rate 0.032]
        [--seeds 2] [--only NAME]... [--json FILE]

PyTorch's SGD at batch 1 on the task's samples, judged by its validation samples; the frozen layers
run once. Activations, errors and weights are rounded as docs/arithmetic.md says, but in float: a
simulation to find causes with, not the product. Needs torch.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import torch_training
import trial as trials
from rich.console import Console
from rich.progress import track
from tasks import TASKS, Part, Task
from torch import Tensor

from insitu.graph.model import Graph, Node
from insitu.run.schedule import learning_rates, sample_order

HERE = Path(__file__).parent
Values = dict[str, Tensor]
Rounding = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class Ingredients:
    """What is not float.

    Attributes:
        activations: 8 bits, ranges of trained layers follow what they see.
        errors: 8 bits on [-1, 1], less behind average pools.
        weights: held to the range that their row had at first; a fresh head has 4 / sqrt(fan in).
        rounding: of a step, to whole units of the row's range / 127: "stochastic", or
            "diffused": what rounding leaves of a weight's step goes to the next weight of the row.
        finer: units are so many times smaller.
    """

    activations: bool = False
    errors: bool = False
    weights: bool = False
    rounding: str | None = None
    finer: float = 1.0


INGREDIENTS = {
    "float32": Ingredients(),
    "activations": Ingredients(activations=True),
    "errors": Ingredients(errors=True),
    "range of weights": Ingredients(weights=True),
    "weights": Ingredients(weights=True, rounding="stochastic"),
    "weights of 9 bits": Ingredients(weights=True, rounding="stochastic", finer=2),
    "weights, rounding diffused": Ingredients(weights=True, rounding="diffused"),
    "all": Ingredients(activations=True, errors=True, weights=True, rounding="stochastic"),
    "all, rounding diffused": Ingredients(
        activations=True, errors=True, weights=True, rounding="diffused"
    ),
}


class RoundedError(torch.autograd.Function):
    """The identity; on its way back an error is rounded and held to +-127 units."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, unit: float) -> Tensor:
        """x itself."""
        ctx.unit = unit
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        """The rounded error."""
        return (grads[0] / ctx.unit).round().clamp(-127, 127) * ctx.unit, None


class Rounded(torch.autograd.Function):
    """8 bits of a range; an error passes unchanged."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        """x on the grid."""
        unit = max((high - low) / 255, 1e-9)
        zero = -128 + round(-low / unit)
        return ((x / unit).round() + zero).clamp(-128, 127).sub(zero) * unit

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        """The error itself."""
        return grads[0], None, None


def stochastic(step: Tensor) -> Tensor:
    """Whole units, in the mean the step."""
    return torch.floor(step + torch.rand_like(step))


def diffused(step: Tensor) -> Tensor:
    """The same, but sums of neighbouring steps of a row are off by less than a unit."""
    rows = step.double().flatten(1)
    start = torch.rand(len(rows), 1, dtype=torch.float64)
    return torch.cat([start, rows], 1).cumsum(1).floor().diff(dim=1).float().view_as(step)


ROUNDINGS: dict[str, Rounding] = {"stochastic": stochastic, "diffused": diffused}


class Network:
    """The trained part of a task's network: what stands before it has run already."""

    def __init__(self, task: Task, seed: int, wanted: Ingredients) -> None:
        self.graph, trained = trials.float_graph(task, seed)
        self.learnt, self.frozen = torch_training.parameters(self.graph, trained)
        self.wanted = wanted
        self.late = _behind(self.graph, trained)
        self.units = _error_units(self.graph)
        self.ranges: dict[str, tuple[float, float]] = {}
        self.row_units = self._row_units() if wanted.weights else {}
        calibration = self.frozen_part(task.calibration)
        if wanted.activations:
            with torch.no_grad():
                found = self._values(calibration)
            known = {**calibration, **{n.outputs[0]: found[n.outputs[0]] for n in self.late[:-1]}}
            ends = {name: (min(v.min().item(), 0.0), v.max().item()) for name, v in known.items()}
            self.ranges = ends

    def frozen_part(self, x: np.ndarray[Any, Any]) -> Values:
        """x[n, ...] -> the maps that trained layers and those behind them read."""
        made = {node.outputs[0] for node in self.late}
        read = {name for node in self.late for name in node.inputs} - made
        parts: list[Values] = []
        with torch.no_grad():
            for part in torch.tensor(x).split(250):
                values = {**self.frozen, **self.learnt}
                values[self.graph.inputs[0]] = part[:, :, None] if part.ndim == 3 else part
                for node in self.graph.nodes:
                    if node not in self.late:
                        _run(node, values)
                parts.append({k: values[k] for k in read if k not in self._constants()})
        joined = {name: torch.cat([p[name] for p in parts]) for name in parts[0]}
        for name, (low, high) in self.ranges.items():
            if name in joined:
                joined[name] = Rounded.apply(joined[name], low, high)
        return joined

    def scores(self, maps: Values, *, follow: bool = False) -> Tensor:
        """Scores[n, classes]; with `follow` the ranges move by what they see."""
        values = self._values(maps, follow=follow)
        return values[self.graph.outputs[0]]

    def step(self, rate: float, loss: Tensor) -> None:
        """SGD, as the ingredients have it."""
        gradients = torch.autograd.grad(loss, list(self.learnt.values()))
        rounding = ROUNDINGS.get(self.wanted.rounding or "", lambda step: step)
        with torch.no_grad():
            for (name, w), gradient in zip(self.learnt.items(), gradients, strict=True):
                unit = self.row_units.get(name)
                if unit is None:
                    w.sub_(rate * gradient)
                    continue
                end, now = 127 * self.wanted.finer, w / unit
                now = now.round() if self.wanted.rounding else now
                w.copy_((now - rounding(rate * gradient / unit)).clamp(-end, end) * unit)

    def _constants(self) -> set[str]:
        return {*self.learnt, *self.frozen}

    def _values(self, maps: Values, *, follow: bool = False) -> Values:
        values = {**self.frozen, **self.learnt, **maps}
        made = set()
        for node in self.late:
            if self.wanted.errors:
                for name in made.intersection(node.inputs):
                    values[name] = RoundedError.apply(values[name], self.units[name])
            _run(node, values)
            name = node.outputs[0]
            made.add(name)
            if name in self.ranges:
                values[name] = self._on_grid(values[name], name, follow=follow)
        name = self.graph.outputs[0]
        if self.wanted.errors:
            values[name] = RoundedError.apply(values[name], self.units[name])
        return values

    def _on_grid(self, value: Tensor, name: str, *, follow: bool) -> Tensor:
        low, high = self.ranges[name]
        if follow:
            seen_low, seen_high = min(value.min().item(), 0.0), max(value.max().item(), 0.0)
            high_next = high + (0.1 if seen_high > high else 0.01) * (seen_high - high)
            low_next = low + (0.1 if seen_low < low else 0.01) * (seen_low - low)
            self.ranges[name] = (low_next, high_next)
        rounded: Tensor = Rounded.apply(value, low, high)
        return rounded

    def _row_units(self) -> Values:
        """Of every trained weight tensor, [rows, 1, ...]."""
        units = {}
        for name, w in self.learnt.items():
            if w.ndim > 1:
                end = w.detach().abs().flatten(1).amax(1)
                end = end if end.any() else torch.full_like(end, 4 / w[0].numel() ** 0.5)
                end = torch.maximum(end, end.max() / 256)
                units[name] = end.view(-1, *[1] * (w.ndim - 1)) / (127 * self.wanted.finer)
        return units


def _run(node: Node, values: Values) -> None:
    operation = torch_training.OPERATIONS[node.op.name]
    arguments = [values[name] for name in node.inputs if name]
    values[node.outputs[0]] = operation(node.attributes, arguments)


def _behind(graph: Graph, trained: frozenset[str]) -> list[Node]:
    """Trained nodes and all that depend on them, in order."""
    late: list[Node] = []
    made: set[str] = set()
    for node in graph.nodes:
        if node.name in trained or made.intersection(node.inputs):
            late.append(node)
            made.update(node.outputs)
    return late


def _error_units(graph: Graph) -> Mapping[str, float]:
    """Of the error of every tensor: 1/127, less before an average pool."""
    units = {graph.outputs[0]: 1 / 127}
    for node in reversed(graph.nodes):
        unit = units.get(node.outputs[0], 1 / 127)
        if node.op.name == "average_pool":
            unit /= float(np.prod(node.attributes["kernel"]))
        units.update(dict.fromkeys(node.inputs, unit))
    return units


def train(task: Task, wanted: Ingredients, rate: float, seed: int, title: str) -> dict[str, float]:
    """Accuracy on validation samples in per cent, and the mean loss of the last epoch."""
    torch.manual_seed(seed)
    network = Network(task, seed, wanted)
    maps, labels = network.frozen_part(task.train.x), torch.tensor(task.train.y).long()
    order = sample_order(len(labels), task.epochs * len(labels), seed)
    rates = learning_rates(rate, len(order), "cosine")
    losses = []
    steps = list(zip(order, rates, strict=True))
    for row, now in track(steps, title, console=Console(stderr=True), transient=True):
        one = {name: value[row : row + 1] for name, value in maps.items()}
        loss = F.cross_entropy(network.scores(one, follow=True), labels[row : row + 1])
        network.step(float(now), loss)
        losses.append(loss.item())
    last = float(np.mean(losses[-len(labels) :]))
    return {"accuracy": _accuracy(network, task.validation), "loss": last}


def _accuracy(network: Network, part: Part) -> float:
    with torch.no_grad():
        found = network.scores(network.frozen_part(part.x)).argmax(1).numpy()
    return 100 * float((found == part.y).mean())


def parse() -> argparse.Namespace:
    """What is wanted."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--task", choices=TASKS, default="cifar10")
    parser.add_argument("--rate", type=float, default=0.032, help="learning rate of all")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--only", action="append", choices=INGREDIENTS, metavar="NAME")
    parser.add_argument("--work", type=Path, default=HERE / ".cache", help="what can be made again")
    parser.add_argument("--json", type=Path, help="write the figures here")
    return parser.parse_args()


def main() -> None:
    """Train with each and print a Markdown table."""
    options, console = parse(), Console()
    task = trials.task_of(options.task, options.work, False)
    console.print("| not float | accuracy | loss of the last epoch |\n| --- | --- | --- |")
    figures = {}
    for name in options.only or INGREDIENTS:
        seeds = range(100, 100 + options.seeds)
        done = [train(task, INGREDIENTS[name], options.rate, s, name) for s in seeds]
        right = ", ".join(f"{d['accuracy']:.2f}" for d in done)
        loss = np.mean([d["loss"] for d in done])
        console.print(f"| {name} | {right} | {loss:.3f} |", soft_wrap=True)
        figures[name] = {"ingredients": asdict(INGREDIENTS[name]), "runs": done}
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
