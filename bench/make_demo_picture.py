"""a run of the demo -> docs/demo.svg: what a terminal shows, as the README has it.

    python bench/make_demo_picture.py [--out FILE]

Compiler, emulator and seconds are those of the machine that it runs on.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from insitu.app.demo import run_demo

OUT = Path(__file__).resolve().parents[1] / "docs" / "demo.svg"
WIDTH, LABEL = 100, 12


def main(out: Path) -> None:
    """Run the demo and write the picture."""
    stage = Console(record=True, width=WIDTH, file=StringIO(), color_system="truecolor")
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        run_demo(Path("demo-out"), console=stage)
    picture = Console(record=True, width=WIDTH, file=StringIO(), color_system="truecolor")
    for line in stage.export_text(styles=True).splitlines():
        _print_wrapped(picture, Text.from_ansi(line))
    text = picture.export_svg(title="$ make demo", theme=MONOKAI)
    out.write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n")


def _print_wrapped(console: Console, line: Text) -> None:
    """A line of the demo; what does not fit goes on under its own beginning."""
    if len(line) <= WIDTH:
        console.print(line)
        return
    label = line[:LABEL]
    for part in line[LABEL:].wrap(console, WIDTH - LABEL):
        part.rstrip()
        console.print(label + part)
        label = Text(" " * LABEL)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT)
    main(parser.parse_args().out.resolve())
