"""Options that several commands share, as typer reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON value instead of text.")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="What insitu compile wrote.")]
Data = Annotated[Path, typer.Option("--data", metavar="DATA.npz", help="Arrays x and y.")]
Test = Annotated[
    Path | None, typer.Option(metavar="T.npz", help="Samples to score, else the data's own.")
]
Calibration = Annotated[
    str | None,
    typer.Option(
        metavar="minmax|percentile[:P]|mse", help="Which values make a layer's range. [minmax]"
    ),
]
Scratch = Annotated[
    int | None,
    typer.Option(
        metavar="BYTES",
        help="Scratch that a kernel may take to be fast. [12288, less where RAM is tight]",
    ),
]
Seed = Annotated[int | None, typer.Option(help="Instead of the seed given to compile.")]
Output = Annotated[str | None, typer.Option(metavar="NAME", help="That carries the loss.")]
