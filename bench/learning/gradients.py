"""A task -> heat maps of |gradient| of its last three layers after epochs 1 and 10, from the twin.

    INSITU_DATA=FOLDER python bench/learning/gradients.py [--task digits] [--epochs 1 10]

Why partial updates work, as the method's authors show it: the gradient sits in few structures, and
in other ones for each class. Each map is a layer's weights, rows down, a row's weights across.

The twin says its gradients by what it does: from one state it learns one sample, the weights are
compared and put back, for many samples. The rounding is stochastic and keeps the sign, so that
the mean |step| of a weight is the mean |gradient| times the rate over the row's scale. Writes
docs/results/gradients.png, and the share of the gradient in the largest rows to
bench/learning/results/gradients.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from rich.progress import track
from tasks import TASKS, Part, Task
from trial import compiled, task_of

from insitu.data.datasets import Array
from insitu.network.trainable import TrainableNetwork
from insitu.run.schedule import sample_order
from insitu.run.stream import Stream

HERE = Path(__file__).parent
LAYERS, PROBES, REPEATS, PROBE_RATE = 3, 400, 4, 0.2
SHARES = (0.1, 0.5)


class Probe:
    """A twin that can say the gradients of the moment.

    Attributes:
        names: the int8 weights of the last three trained layers, first layer first.
    """

    def __init__(self, network: TrainableNetwork, part: Part) -> None:
        self.network, self.twin = network, network.twin()
        self.x = self.twin.quantize(part.x)
        self.y = part.y.astype(np.int32)
        tensors = network.graph.tensors
        weights = [n for n, w in self.twin.weights().items() if w.dtype == np.int8 and w.ndim > 1]
        self.names = weights[-LAYERS:]
        self.units = {}
        for name in self.names:
            q = tensors[name].qparams
            assert q is not None
            self.units[name] = np.asarray(q.scale).reshape(-1, 1) / PROBE_RATE

    def train(self, epoch: int, epochs: int, rate: float) -> None:
        """One epoch of a run of `epochs`, with the cosine's rates."""
        steps = epochs * len(self.x)
        whole = self.twin.stream(self.x, self.y, steps=steps, lr=rate, seed=0)
        rows = slice((epoch - 1) * len(self.x), epoch * len(self.x))
        piece = Stream(
            x=whole.x, labels=whole.labels, rates=whole.rates[rows], order=whole.samples[rows]
        )
        self.twin.library.run(piece, seed=epoch == 1)

    def gradients(self) -> tuple[dict[str, Array], dict[str, list[float]]]:
        """Mean |gradient| by weight, and by share of rows the mean share of the gradient."""
        library, state = self.twin.library, self.twin.library.state
        before = self._weights()
        total = {name: np.zeros(w.shape) for name, w in before.items()}
        shares: dict[str, list[list[float]]] = {name: [] for name in before}
        for sample in sample_order(len(self.x), min(PROBES, len(self.x)), 1):
            own = {name: np.zeros(w.shape) for name, w in before.items()}
            for repeat in range(REPEATS):
                library.state = state
                library.run(self._step(sample, 1 + repeat + REPEATS * int(sample)))
                for name, w in self._weights().items():
                    own[name] += np.abs(w - before[name]) * self.units[name] / REPEATS
            for name, gradient in own.items():
                total[name] += gradient / min(PROBES, len(self.x))
                if gradient.any():
                    shares[name].append(_shares(gradient.sum(axis=1)))
        library.state = state
        return total, {name: np.mean(s, axis=0).round(3).tolist() for name, s in shares.items()}

    def _weights(self) -> dict[str, Array]:
        held = self.twin.weights()
        return {n: held[n].reshape(len(held[n]), -1).astype(int) for n in self.names}

    def _step(self, sample: int, seed: int) -> Stream:
        return Stream(
            x=self.x[sample : sample + 1],
            labels=self.y[sample : sample + 1],
            rates=np.full(1, PROBE_RATE, np.float32),
            seed=seed,
        )


def _shares(rows: Array) -> list[float]:
    """How much of a sample's gradient stands in the largest rows, for each of `SHARES`."""
    largest = np.sort(rows)[::-1]
    return [float(largest[: max(1, int(part * len(rows)))].sum() / rows.sum()) for part in SHARES]


def measure(task: Task, epochs: list[int], rate: float, work: Path) -> dict[int, Any]:
    """Gradients after each of these epochs."""
    probe = Probe(compiled(task, "uint8", 0, work), task.final_train())
    found = {}
    for epoch in track(range(1, max(epochs) + 1), "training"):
        probe.train(epoch, max(epochs), rate)
        if epoch in epochs:
            found[epoch] = probe.gradients()
    return found


def plot(title: str, found: dict[int, Any]) -> Figure:
    """A row of maps an epoch, one map a layer; brightness is logarithmic, the same everywhere."""
    names = list(next(iter(found.values()))[0])
    figure = Figure(figsize=(4.2 * len(names), 2.6 * len(found)), layout="constrained")
    every = np.concatenate([g.ravel() for maps, _ in found.values() for g in maps.values()])
    norm = LogNorm(vmin=max(every.max() / 1e4, 1e-9), vmax=every.max())
    grid = figure.subplots(len(found), len(names), squeeze=False)
    for axes, (epoch, (maps, shares)) in zip(grid, found.items(), strict=True):
        for axis, name in zip(axes, names, strict=True):
            drawn = np.maximum(maps[name], norm.vmin)
            image = axis.imshow(drawn, norm=norm, aspect="auto", interpolation="none")
            layer = name.removesuffix(".w")
            axis.set_title(
                f"{layer}, after epoch {epoch}: the largest tenth of the rows\n"
                f"holds {100 * shares[name][0]:.0f} % of a sample's gradient",
                fontsize=8,
            )
            axis.set_xlabel("weights of a row", fontsize=8)
            axis.tick_params(labelsize=7)
        axes[0].set_ylabel("rows", fontsize=8)
    figure.colorbar(image, ax=grid, label="mean |gradient|", shrink=0.8)
    figure.suptitle(title, fontsize=10)
    return figure


def main() -> None:
    """Train, probe, draw."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--task", choices=TASKS, default="digits")
    parser.add_argument("--epochs", type=int, nargs="+", default=[1, 10])
    parser.add_argument("--rate", type=float, default=0.03)
    parser.add_argument("--work", type=Path, default=HERE / ".cache")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--docs", type=Path, default=HERE.parents[1] / "docs" / "results")
    options = parser.parse_args()
    task = task_of(options.task, options.work, quick=False)
    found = measure(task, sorted(options.epochs), options.rate, options.work)
    for folder in (options.results, options.docs):
        folder.mkdir(parents=True, exist_ok=True)
    figures = {epoch: shares for epoch, (_, shares) in found.items()}
    about = {"task": options.task, "rate": options.rate, "rows": SHARES, "share": figures}
    (options.results / "gradients.json").write_text(json.dumps(about, indent=1) + "\n")
    plot(task.title, found).savefig(options.docs / "gradients.png", dpi=110)
    print(json.dumps(about))


if __name__ == "__main__":
    main()
