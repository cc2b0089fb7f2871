"""Partial updates -> instructions of the backward pass on an emulated Cortex-M4, accuracy.

    python bench/partial_updates.py [--epochs 8] [--seeds 3] [--json FILE]

A network is trained on the twin with each update. At four points of the training (1, 3, 5 and 7
eighths of it) the C is generated anew with the state there, and the board goes on from it for the
steps that are counted. How many steps end early, without an error or because a sampled update left
them out, the twin says of the whole training. Ours pass over errors that are 0, also in "full", so
that less is left to be saved than of the published method's.
With --seeds the accuracy of each update is measured too, from scratch (Fashion-MNIST) or after the
sensor was turned (digits).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from fidelity import enlarged, models
from learning.counting import (
    from_state,
    mean_instructions,
    node_costs,
    on_the_way,
    part,
    profiled,
)
from learning.fashion_mnist import build, standardized
from rich.console import Console
from rich.table import Table

import insitu
from insitu.app.demo import EPOCHS, LAYERS, RATE
from insitu.data.datasets import Array, cifar10, turned_digits
from insitu.data.samples import channels_last
from insitu.differentiate import differentiate
from insitu.firmware.build import build_host
from insitu.generate import generate
from insitu.graph.model import Graph, Phase
from insitu.graph.verify import verify
from insitu.network.folder import write_sources
from insitu.plan import plan_memory
from insitu.prepare.head import replace_head
from insitu.prepare.layers import select_layers
from insitu.prepare.simplify import simplify
from insitu.quantize import calibrate, quantize_graph
from insitu.run.schedule import training_stream
from insitu.run.stream import Stream
from insitu.run.twin_library import TwinLibrary
from insitu.target.board import find_board

BOARD, NAME = "nrf52840", "model"
COUNTED = 20
"""Steps that are counted at each of `counting.POINTS`."""
UPDATES = (
    "full",
    "dynamic:0.5:1",
    "dynamic:0.1:1",
    "dynamic:0.1:0.1",
    "sampled:0.5:1",
    "sampled:0.1:1",
    "sampled:0.1:0.5",
    "bias",
)
PUBLISHED = {"0.5": "1.4-1.9", "0.1": "4.0-8.7"}
"""Speed-up of the backward pass by MIN. Source: Deutel et al. 2025, seven data sets."""


@dataclass(frozen=True)
class Task:
    """A network, what it is trained on and what it is scored on; y are int32."""

    title: str
    graph: Graph
    layers: str
    rate: float
    epochs: int
    calibration: Array
    train: tuple[Array, Array]
    test: tuple[Array, Array]


def fashion(samples: int, epochs: int) -> Task:
    """All layers from scratch."""
    (x, y), test = standardized("train", samples), standardized("test", None)
    with tempfile.TemporaryDirectory() as folder:
        onnx.save(build(0), Path(folder) / "fashion_cnn.onnx")
        graph = simplify(insitu.load(Path(folder) / "fashion_cnn.onnx").graph)
    return Task("Fashion-MNIST CNN, all layers", graph, "all", 0.01, epochs, x[:1024], (x, y), test)


def digits(*_: int) -> Task:
    """The demo: what its last layers learn after the sensor was turned."""
    world = turned_digits()
    path = Path(insitu.__file__).parent / "app" / "demo_data" / "digits_cnn.onnx"
    train, test = ((d.x, d.y) for d in (world.adapt, world.test_after))
    graph = simplify(insitu.load(path).graph)
    return Task(f"digits, {LAYERS}", graph, LAYERS, RATE, EPOCHS, world.train.x, train, test)


def mcunet(*_: int) -> Task:
    """MCUNet-5FPS, its last two blocks and a fresh head: a few steps on enlarged photographs."""
    photographs = cifar10("train", rows=slice(0, None, 200))
    data = (enlarged(photographs.x), photographs.y)
    graph = replace_head(simplify(insitu.load(models() / "mcunet-5fps.onnx").graph), 10)
    return Task("MCUNet-5FPS, last:7", graph, "last:7", 0.01, 2, data[0][:64], data, data)


def training_step(task: Task, update: str) -> Graph:
    """The network's training step in integers."""
    shape = task.graph.tensors[task.graph.inputs[0]].shape
    ranges = calibrate(task.graph, channels_last(task.calibration, shape))
    trained = select_layers(task.graph, task.layers)
    scheme = insitu.TrainingConfig(update=update).scheme
    step = differentiate(quantize_graph(task.graph, ranges, trained), scheme)
    verify(step)
    return step


def write(step: Graph, folder: Path) -> None:
    """The C."""
    write_sources(generate(step, plan_memory(step), NAME), folder)


def counted_costs(step: Graph, stream: Stream, folder: Path) -> dict[int, float]:
    """`node_costs` of the stream."""
    write(step, folder)
    return node_costs(step, profiled(folder, NAME, find_board(BOARD), folder / "build", stream))


class Trained:
    """A task's training step under one update, and its twin."""

    def __init__(self, task: Task, update: str, folder: Path) -> None:
        self.task, self.step = task, training_step(task, update)
        write(self.step, folder)
        self.library = TwinLibrary(build_host(folder, NAME, folder / "build"), NAME)
        self.x, self.y = self.library.quantize_input(task.train[0]), task.train[1].astype(np.int32)

    def training(self, seed: int) -> Stream:
        """All passes over the task's samples."""
        steps, rate = self.task.epochs * len(self.y), self.task.rate
        return training_stream(self.x, self.y, steps=steps, rate=rate, schedule="cosine", seed=seed)

    def accuracy_after(self, seed: int) -> float:
        """In per cent of the test samples, after a training from the initial state."""
        self.library.reset()
        self.library.run(self.training(seed))
        x, y = self.task.test
        return float(100 * (self.library.predict(self.library.quantize_input(x))[1] == y).mean())


@dataclass
class Row:
    """One update on one task."""

    task: str
    update: str
    instructions: float  # of a backward pass, mean of the whole training
    accuracy: list[float]


def measure(task: Task, updates: list[str], *, seeds: int) -> list[Row]:
    """The rows of a task, "full" first."""
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for index, update in enumerate(dict.fromkeys(["full", *updates])):
            mine = Trained(task, update, folder / f"{index}")
            accuracy = [mine.accuracy_after(seed) for seed in range(seeds)]
            training = mine.training(seed=0)
            mine.library.reset()
            states, skipped = on_the_way(mine.library, training)
            windows = []
            for first, state in states.items():
                stream = part(training, first, first + COUNTED)
                step = from_state(mine.step, state)
                windows.append(counted_costs(step, stream, folder / f"{index}-{first}"))
            phases = mean_instructions(mine.step, windows, skipped)
            backward = sum(phases.values()) - phases[Phase.FORWARD]
            rows.append(Row(task.title, update, backward, accuracy))
    return rows


TASKS = {"fashion": fashion, "digits": digits, "mcunet": mcunet}


def show(rows: list[Row]) -> None:
    """One table a task."""
    console = Console(width=110)
    for task in dict.fromkeys(row.task for row in rows):
        mine = {row.update: row for row in rows if row.task == task}
        table = Table(title=task)
        for column in ("update", "backward, instructions", "faster", "published"):
            table.add_column(column, justify="left" if column == "update" else "right")
        table.add_column("accuracy %", justify="right")
        for row in mine.values():
            speedup = f"{mine['full'].instructions / row.instructions:.2f}"
            published = PUBLISHED.get(row.update.split(":")[1], "") if ":" in row.update else ""
            mean = f"{np.mean(row.accuracy):.2f}" if row.accuracy else ""
            table.add_row(row.update, f"{row.instructions:,.0f}", speedup, published, mean)
        console.print(table)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", default="fashion,digits", help="also mcunet")
    parser.add_argument("--updates", default=",".join(UPDATES))
    parser.add_argument("--samples", type=int, default=12_000, help="of Fashion-MNIST")
    parser.add_argument("--epochs", type=int, default=8, help="of Fashion-MNIST")
    parser.add_argument("--seeds", type=int, default=0, help="trainings to be scored")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    rows: list[Row] = []
    for name in options.tasks.split(","):
        task = TASKS[name](options.samples, options.epochs)
        rows += measure(task, options.updates.split(","), seeds=options.seeds)
    show(rows)
    if options.json:
        options.json.write_text(json.dumps([vars(row) for row in rows], indent=2) + "\n")


if __name__ == "__main__":
    main()
