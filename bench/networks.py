"""Real networks, adapted to ten classes -> whether they fit each board, and train there as here.

    INSITU_DATA=FOLDER python bench/networks.py [--network NAME] [--steps 20] [--markdown FILE]

ResNet-8, DS-CNN and MCUNet-5FPS (FOLDER/../models) are compiled with `--classes 10` for the boards
of the published method and an M4 with more memory; where one fits a Cortex-M4 or M7 it is trained
for some steps on the emulated board and held to the twin, bit for bit. What is not here is left
out. Fails where a board differs from the twin.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from fidelity import TASKS, Task
from rich.console import Console
from rich.table import Table

import insitu
from insitu.config import TrainingConfig
from insitu.errors import FitError

CLASSES, SAMPLES = 10, 40
LAYERS = {
    "resnet8": ("last:2", "last:4"),
    "dscnn": ("last:2", "last:4"),
    "mcunet": ("last:2", "last:7"),
}
"""Network -> what is trained: the last two layers; the last block, of MCUNet two, and the head."""

BOARDS = ("imxrt1062", "nrf52840", "rp2040", "stm32l4r5zi")
"""Those of the published method, and an M4 with more memory."""

TRAINED_ON = ("cortex-m4", "cortex-m7")


@dataclass(frozen=True)
class Row:
    """One network on one board.

    Attributes:
        equal: whether the board ended as the twin; None where it was not trained there.
        ram_bytes, flash_bytes: what is needed, also where it does not fit.
    """

    network: str
    layers: str
    board: str
    fits: bool
    ram_bytes: int
    flash_bytes: int
    instructions: int | None
    worst: int | None
    milliseconds: float | None
    equal: bool | None


def measure(name: str, task: Task, layers: str, board: str, steps: int) -> Row:
    """Compile for a board and, where it fits one with the right core, train there."""
    training = TrainingConfig(layers=layers, classes=CLASSES)
    try:
        network = insitu.compile(
            insitu.load(task.path), calibration=task.x[:SAMPLES], training=training, board=board
        )
    except FitError as error:
        needs = error.figures
        return Row(
            name, layers, board, False, needs["ram_bytes"], needs["flash_bytes"], *[None] * 4
        )
    figures = network.figures
    labels = np.arange(SAMPLES) % CLASSES if task.y is None else task.y[:SAMPLES] % CLASSES
    equal = None
    if network.board.core in TRAINED_ON:
        equal = network.run(task.x[:SAMPLES], labels, steps=steps).twin_equal
    return Row(
        name,
        layers,
        board,
        True,
        figures["ram_bytes"],
        figures["flash_bytes"],
        figures["instructions_per_step"],
        figures["instructions_per_step_worst"],
        figures["ms_per_step"],
        equal,
    )


def rows(names: list[str], steps: int) -> Iterator[Row]:
    """Every network on every board."""
    for name in names:
        task = TASKS[name](100)
        for layers in LAYERS[name]:
            for board in BOARDS:
                yield measure(name, task, layers, board, steps)


def cells(row: Row) -> list[str]:
    """A row of the table."""
    cost = ["", "", ""]
    if row.instructions and row.worst and row.milliseconds:
        millions = (f"{count / 1e6:.1f} M" for count in (row.instructions, row.worst))
        cost = [*millions, f"{row.milliseconds:,.0f}"]
    said = {None: "", True: "equal", False: "DIFFERS"}[row.equal]
    sizes = [f"{row.ram_bytes:,}", f"{row.flash_bytes:,}"]
    fits = "yes" if row.fits else "no"
    return [row.network, row.layers, row.board, fits, *sizes, *cost, said]


HEAD = [
    "network",
    "trained",
    "board",
    "fits",
    "RAM",
    "flash",
    "instructions",
    "at most",
    "ms",
    "twin",
]


def markdown(found: list[Row], steps: int) -> str:
    """The page docs/results/networks.md."""
    lines = [
        "# Real networks on real boards",
        "",
        "Made by `python bench/networks.py --markdown FILE`; do not edit. Public networks with a",
        f"fresh head of {CLASSES} classes; bytes of RAM and flash, of what does not fit at least;",
        "what a training step costs by the emulator's count, in the mean of a training, and at",
        f"most. Twin: after {steps} steps the emulated board's whole state equals the twin's;",
        "boards with a Cortex-M4 or M7 were trained.",
        "",
        f"| {' | '.join(HEAD)} |",
        f"| {' | '.join(['---'] * 4 + ['---:'] * 5 + ['---'])} |",
        *(f"| {' | '.join(cells(row))} |" for row in found),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--network", action="append", choices=LAYERS, help="by default all")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--markdown", type=Path, help="write the page there")
    options = parser.parse_args()
    found: list[Row] = []
    for row in rows(options.network or list(LAYERS), options.steps):
        print(" ".join(f"{k}={v}" for k, v in asdict(row).items()), flush=True)
        found.append(row)
    table = Table(*HEAD)
    for row in found:
        table.add_row(*cells(row))
    Console().print(table)
    if options.markdown:
        options.markdown.write_text(markdown(found, options.steps))
    if any(row.equal is False for row in found):
        sys.exit("a board differs from the twin")


if __name__ == "__main__":
    main()
