"""`insitu compile` of the networks in examples/ -> the table "What it costs" of README.md.

    INSITU_DATA=FOLDER python bench/costs.py [--write]

Each is compiled as its example says, from labelled calibration data. --write puts the table into
README.md. The bearing network needs data; where they are not here its rows are left out.
"""

from __future__ import annotations

import argparse
import runpy
import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import insitu
from insitu.config import TrainingConfig
from insitu.data.samples import read_samples
from insitu.errors import DataError

STEP_WORST = "instructions_per_step_worst"
ROOT = Path(__file__).resolve().parents[1]
HEAD = (
    "network (`examples/`)",
    *("trained", "board", "RAM", "flash", "instructions a step", "at most", "ms", "mJ"),
)


@dataclass(frozen=True)
class Example:
    """A network of examples/, and what of it stands in the first two columns."""

    name: str
    title: str
    trained: str
    training: TrainingConfig
    boards: tuple[tuple[str, str], ...]


EXAMPLES = (
    Example(
        "digits_mlp",
        "`digits_mlp`: 64-32-10",
        "all 2,410",
        TrainingConfig(layers="all", lr=0.02),
        (("nrf52840", "nRF52840 (M4)"), ("rp2040", "RP2040 (M0+)")),
    ),
    Example(
        "turned_digits",
        "`turned_digits`: 2 conv, 2 linear",
        "9,722 of 9,802",
        TrainingConfig(layers="last:3", lr=0.03),
        (("nrf52840", "nRF52840"), ("rp2040", "RP2040")),
    ),
    Example(
        "bearing_cnn",
        "`bearing_cnn`: 512 samples of vibration",
        "all 1,329",
        TrainingConfig(layers="all", lr=0.01),
        (("nrf52840", "nRF52840"), ("imxrt1062", "i.MX RT1062 (M7)")),
    ),
)


def rows(example: Example) -> Iterator[list[str]]:
    """The rows of an example.

    Raises:
        DataError: its data are not here.
    """
    with tempfile.TemporaryDirectory() as folder:
        with redirect_stdout(sys.stderr):
            runpy.run_path(str(ROOT / f"examples/{example.name}.py"))["main"](Path(folder))
        given = read_samples(Path(folder) / "calibration.npz", labels=True)
        for index, (board, title) in enumerate(example.boards):
            model = Path(folder) / "model.onnx"
            network = insitu.compile(
                model, calibration=given, training=example.training, board=board
            )
            f = network.figures
            first = ["", ""] if index else [example.title, example.trained]
            steps = [f"{f[key]:,}" for key in ("instructions_per_step", STEP_WORST)]
            times = [f"{f[key]:.2g}" for key in ("ms_per_step", "mj_per_step")]
            yield [
                *first,
                title,
                f"{f['ram_bytes']:,} B",
                f"{f['flash_bytes']:,} B",
                *steps,
                *times,
            ]


def line(cells: list[str]) -> str:
    """A row in Markdown."""
    return "| " + " | ".join(cells) + " |"


def table(found: list[list[str]]) -> str:
    """The whole table."""
    return "\n".join([line(list(HEAD)), line(["---"] * len(HEAD)), *map(line, found)])


def write(found: list[list[str]]) -> None:
    """Put the table in the place of the one that stands in README.md."""
    page = ROOT / "README.md"
    lines = page.read_text(encoding="utf-8").splitlines()
    first = lines.index(next(text for text in lines if text.startswith("| network (`examples/`)")))
    end = next(i for i in range(first, len(lines)) if not lines[i].startswith("|"))
    lines[first:end] = table(found).splitlines()
    page.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--write", action="store_true", help="into README.md")
    options = parser.parse_args()
    found: list[list[str]] = []
    for example in EXAMPLES:
        try:
            found += rows(example)
        except DataError as error:
            print(f"{example.name}: left out: {error}", file=sys.stderr)
    print(table(found))
    if options.write and len(found) < sum(len(example.boards) for example in EXAMPLES):
        sys.exit("not written, since rows were left out; set INSITU_DATA")
    if options.write:
        write(found)


if __name__ == "__main__":
    main()
