"""What compile says a training step costs, beside what steps of real trainings take.

    INSITU_DATA=FOLDER python bench/step_cost.py [--network NAME] [--core M4] [--markdown FILE]

Each network is compiled from its calibration data and then learns from other samples, 300 steps.
Instructions are counted by the emulator: of 60 steps evenly spaced over the training, or of fewer
where that would be more than two billion instructions, each from the state that the twin had
there, which is the board's bit for bit. Fails where compile is more than 5 % wrong, or a step took
more than it says a step can take.
"""

from __future__ import annotations

import argparse
import os
import runpy
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from fidelity import TASKS
from rich.console import Console
from rich.table import Table

import insitu
from insitu.config import TrainingConfig
from insitu.data.datasets import Array
from insitu.data.samples import Samples
from insitu.network.board_run import StepCounter, Tools
from insitu.network.probe import Steps
from insitu.network.trainable import TrainableNetwork
from insitu.target.board import Board, find_board

STEPS, COUNTED, LEAST_COUNTED, MOST_INSTRUCTIONS = 300, 60, 20, 2_000_000_000
MOST_PERCENT = 5.0
CLASSES, SAMPLES = 10, 100
EXAMPLES = Path(__file__).parents[1] / "examples"
BOARDS = {"M0+": "rp2040", "M4": "nrf52840", "M7": "imxrt1062"}
MEMORY_BYTES = 2 << 20
"""Of a board for what its own memory is too small for: a step costs the same."""


@dataclass(frozen=True, eq=False)
class Case:
    """A network, what it is compiled from, what it learns."""

    model: Path
    training: TrainingConfig
    calibration: Samples
    x: Array
    y: Array


def example(name: str, training: TrainingConfig, learns: str) -> Case:
    """One of examples/, whose calibration data are labelled."""
    folder = Path(tempfile.mkdtemp(prefix="insitu-"))
    with redirect_stdout(sys.stderr):
        runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"](folder)
    sets = {key: dict(np.load(folder / f"{key}.npz")) for key in ("calibration", learns)}
    given = Samples(sets["calibration"]["x"], sets["calibration"]["y"], "calibration")
    return Case(folder / "model.onnx", training, given, sets[learns]["x"], sets[learns]["y"])


def public(name: str, layers: str) -> Case:
    """A public network with a fresh head; nobody says how the calibration data are called."""
    task = TASKS[name](100)
    count = len(task.x)
    y = np.arange(count) if task.y is None else task.y
    training = TrainingConfig(layers=layers, classes=CLASSES)
    given = Samples(task.calibration[:SAMPLES], None, "calibration")
    return Case(task.path, training, given, task.x, (y % CLASSES).astype(np.int32))


CASES: dict[str, Callable[[], Case]] = {
    "digits_mlp": lambda: example("digits_mlp", TrainingConfig(layers="all", lr=0.02), "train"),
    "turned_digits": lambda: example(
        "turned_digits", TrainingConfig(layers="last:3", lr=0.03), "adapt"
    ),
    "bearing_cnn": lambda: example("bearing_cnn", TrainingConfig(layers="all", lr=0.01), "train"),
    "ResNet-8 last:4": lambda: public("resnet8", "last:4"),
    "DS-CNN last:4": lambda: public("dscnn", "last:4"),
    "MCUNet last:7": lambda: public("mcunet", "last:7"),
}


@dataclass(frozen=True)
class Row:
    """One network on one core; instructions a step."""

    network: str
    core: str
    predicted: int
    real: int
    counted: int
    worst: int
    most: int

    @property
    def percent(self) -> float:
        """How far compile is off."""
        return 100 * (self.predicted / self.real - 1)

    @property
    def holds(self) -> bool:
        """Whether it is near enough, and no step took more than the worst."""
        return abs(self.percent) <= MOST_PERCENT and self.most <= self.worst


def roomy(name: str, core: str) -> Board:
    """The board, or one of its core with more memory for MCUNet."""
    board = find_board(BOARDS[core])
    if "MCUNet" not in name or core == "M7":
        return board
    memories = tuple(replace(m, length_bytes=MEMORY_BYTES) for m in board.memories)
    kinds = {memory.kind: memory for memory in memories}
    return replace(board, memories=tuple(kinds.values()))


def measure(name: str, core: str) -> Row:
    """Compile, train, compare."""
    case, board = CASES[name](), roomy(name, core)
    network = insitu.compile(
        case.model, calibration=case.calibration, training=case.training, board=board
    )
    said = network.figures
    each = max(said["instructions_per_step"], 1)
    counted = int(min(max(MOST_INSTRUCTIONS // each, LEAST_COUNTED), COUNTED))
    totals = count(network, case, np.linspace(0, STEPS - 1, counted).round().astype(int))
    return Row(
        network=name,
        core=core,
        predicted=said["instructions_per_step"],
        real=round(float(np.mean(totals))),
        counted=counted,
        worst=said["instructions_per_step_worst"],
        most=max(totals),
    )


def count(network: TrainableNetwork, case: Case, steps: Array) -> list[int]:
    """Instructions of some steps of a real training."""
    twin = network.twin()
    stream = twin.stream(twin.quantize(case.x), case.y.astype(np.int32), steps=STEPS)
    counter = StepCounter(network, network.board, Tools())
    totals, done = [], 0
    for step in map(int, steps):
        if step > done:
            twin.library.run(stream.part(slice(done, step)), seed=done == 0)
            done = step
        state = np.frombuffer(twin.state, np.uint8)[None]
        one = Steps(stream=stream.part(slice(step, step + 1)), states=state)
        totals.append(sum(counter.count(one).instructions.values()))
    return totals


HEAD = ("network", "core", "compile says", "a training takes", "steps", "off", "at most", "seen")


def cells(row: Row) -> list[str]:
    """A row of the table."""
    numbers = (f"{row.predicted:,}", f"{row.real:,}", str(row.counted), f"{row.percent:+.1f} %")
    return [row.network, row.core, *numbers, f"{row.worst:,}", f"{row.most:,}"]


def markdown(found: list[Row]) -> str:
    """The page docs/results/step-cost.md."""
    lines = [
        "# What a step costs: said and counted",
        "",
        "Made by `python bench/step_cost.py --markdown FILE`; do not edit. Instructions a training",
        f"step: what `insitu compile` says, and the mean of a training of {STEPS} steps on other",
        "samples. Steps: how many of these were counted, evenly spaced, each from the state that",
        "the twin had there. At most: what compile says of the worst case; seen: the dearest of",
        "the steps that were counted. The first three are compiled from labelled samples, the",
        f"others, with a fresh head of {CLASSES} classes, from samples without labels. MCUNet",
        "has more memory here than the boards of the M0+ and the M4.",
        "",
        f"| {' | '.join(HEAD)} |",
        f"| --- | --- |{' ---: |' * (len(HEAD) - 2)}",
        *(f"| {' | '.join(cells(row))} |" for row in found),
    ]
    return "\n".join(lines) + "\n"


def rows(names: list[str], cores: list[str]) -> Iterator[Row]:
    """Every network on every core."""
    for name in names:
        for core in cores:
            yield measure(name, core)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--network", action="append", choices=CASES, help="by default all")
    parser.add_argument("--core", action="append", choices=BOARDS, help="by default all")
    parser.add_argument("--markdown", type=Path, help="write the page there")
    options = parser.parse_args()
    if "INSITU_DATA" not in os.environ:
        sys.exit("INSITU_DATA names no folder; set it to the one with the data")
    found: list[Row] = []
    for row in rows(options.network or list(CASES), options.core or list(BOARDS)):
        print(*(f"{k}={v}" for k, v in asdict(row).items()), f"off={row.percent:+.1f}%", flush=True)
        found.append(row)
    table = Table(*HEAD)
    for row in found:
        table.add_row(*cells(row))
    Console().print(table)
    if options.markdown:
        options.markdown.write_text(markdown(found))
    if not all(row.holds for row in found):
        sys.exit("compile is wrong")


if __name__ == "__main__":
    main()
