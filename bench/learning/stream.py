"""A world that never stops turning -> accuracy over 200,000 steps at a constant learning rate.

    python bench/learning/stream.py [--steps 200000] [--rate 0.01]... [--seeds 5]

The demo's digits, seen by a sensor that swings from upright to 120 degrees and back, while the
light falls to half and comes back, in 20,000 steps; the images come in random order, one a step,
and all layers are trained in place. After every 2,000 steps the network is judged on test images
as they look at that moment. Compared are the mean over the first swing without its first half
(it has still to learn), and the mean over the last swing's second half. Writes
bench/learning/results/stream.json and docs/results/stream.svg.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from report import save
from rich.progress import track
from shifts import turned

import insitu
from insitu.config import TrainingConfig
from insitu.data.datasets import Array, Dataset, digits, split
from insitu.network.twin import Twin
from insitu.run.stream import Stream

HERE = Path(__file__).parent
DEMO = HERE.parents[1] / "insitu" / "app" / "demo_data" / "digits_cnn.onnx"
SWING, LARGEST_ANGLE, VIEWS = 20_000, 120.0, 61
CHECK = 2_000
RATES = (0.0025, 0.005, 0.01, 0.02)


def views(data: Dataset) -> Array:
    """x[view, n, 1, 8, 8]: from upright and bright to turned and dim."""
    way = np.linspace(0, 1, VIEWS)
    return np.stack([(1 - part / 2) * turned(data.x, part * LARGEST_ANGLE) for part in way])


def view_at(steps: Array) -> Array:
    """Which view the world shows at these steps."""
    part = np.abs((2 * steps / SWING + 1) % 2 - 1)  # 0 at the start, 1 after half a swing
    return np.rint((VIEWS - 1) * part).astype(int)


class World:
    """Twin and samples: as many images in each view."""

    def __init__(self) -> None:
        data = digits()
        train, test = split(data.y, (0.7, 0.3), seed=0)
        self.train, self.test = data.take(train), data.take(test)
        seen, judged = views(self.train), views(self.test)
        config = TrainingConfig(layers="all", schedule="constant")
        model = insitu.load(DEMO)
        network = insitu.compile(model, calibration=seen[0], training=config)
        self.twin: Twin = network.twin()
        self.start = self.twin.library.state
        self.x = self.twin.quantize(seen.reshape(-1, *seen.shape[2:]))
        self.judged = [self.twin.quantize(view) for view in judged]
        self.scale_names = [n for n, w in self.twin.weights().items() if w.dtype == np.int8]

    def run(self, steps: int, rate: float, seed: int) -> dict[str, Any]:
        """Accuracy in per cent after every `CHECK` steps, weights at the end of their range."""
        library, random = self.twin.library, np.random.RandomState(seed)
        library.state = self.start
        images = random.randint(0, len(self.train), steps)
        order = view_at(np.arange(steps)) * len(self.train) + images
        labels = np.tile(self.train.y, VIEWS).astype(np.int32)
        accuracy, held = [], 0
        for first in range(0, steps, CHECK):
            rows = order[first : first + CHECK].astype(np.int32)
            rates = np.full(len(rows), rate, np.float32)
            piece = Stream(x=self.x, labels=labels, rates=rates, seed=seed, order=rows)
            held += int(library.run(piece, seed=first == 0).info["saturated"].sum())
            now = view_at(np.asarray([first + CHECK]))[0]
            predicted = library.predict(self.judged[now])[1]
            accuracy.append(round(100 * float((predicted == self.test.y).mean()), 3))
        weights = self.twin.weights()
        every = np.concatenate([weights[name].ravel().astype(int) for name in self.scale_names])
        bound = round(float((np.abs(every) == 127).mean()), 5)
        return {"seed": seed, "accuracy": accuracy, "held_rows": held, "at_bound": bound}


def summary(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Means over the second half of the first and of the last swing, and of each swing's worst."""
    half, swing = SWING // CHECK // 2, SWING // CHECK
    every = np.asarray([run["accuracy"] for run in runs])
    early, late = every[:, half:swing], every[:, -half:]
    difference = late.mean(axis=1) - early.mean(axis=1)
    return {
        "early": round(float(early.mean()), 3),
        "late": round(float(late.mean()), 3),
        "difference": round(float(difference.mean()), 3),
        "difference_sd": round(float(difference.std(ddof=len(runs) > 1)), 3),
        "at_20000": round(float(every[:, swing - 1].mean()), 3),
        "at_end": round(float(every[:, -1].mean()), 3),
        "lowest_after_20000": float(every[:, swing:].min()),
        "at_bound": round(float(np.mean([run["at_bound"] for run in runs])), 5),
    }


def plot(rates: dict[str, Any]) -> Figure:
    """Accuracy over the steps, mean and range of the seeds, one line a rate."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots()
    for rate, found in rates.items():
        every = np.asarray([run["accuracy"] for run in found["runs"]])
        steps = CHECK * np.arange(1, every.shape[1] + 1) / 1000
        (line,) = axes.plot(steps, every.mean(axis=0), lw=1.2, label=f"rate {rate}")
        axes.fill_between(
            steps, every.min(axis=0), every.max(axis=0), color=line.get_color(), alpha=0.15, lw=0
        )
    axes.set_xlabel("training steps, thousands; the world turns away and back every 20")
    axes.set_ylabel("accuracy now, %")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False, ncols=len(rates))
    return figure


def main() -> None:
    """Run, print one line a rate, write JSON and plot."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=200_000)
    parser.add_argument("--rate", type=float, action="append", help=f"by default {RATES}")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--docs", type=Path, default=HERE.parents[1] / "docs" / "results")
    options = parser.parse_args()
    world, found = World(), {}
    runs = [(rate, seed) for rate in options.rate or RATES for seed in range(options.seeds)]
    for rate, seed in track(runs, "streaming"):
        rows = found.setdefault(f"{rate:g}", {"runs": []})["runs"]
        rows.append(world.run(options.steps, rate, seed))
    for rate, rows in found.items():
        rows["summary"] = summary(rows["runs"])
        print(f"rate {rate}: {rows['summary']}")
    for folder in (options.results, options.docs):
        folder.mkdir(parents=True, exist_ok=True)
    about = {"steps": options.steps, "swing": SWING, "check": CHECK}
    (options.results / "stream.json").write_text(json.dumps({**about, "rates": found}) + "\n")
    save(plot(found), options.docs / "stream.svg")


if __name__ == "__main__":
    main()
