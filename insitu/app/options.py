"""Options that several commands share, and those that configurations declare, for typer."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import Field, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from insitu.config import QuantizationConfig, TrainingConfig

Json = Annotated[bool, typer.Option("--json", help="Print one JSON value instead of text.")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="What insitu compile wrote.")]
Data = Annotated[Path, typer.Option("--data", metavar="DATA.npz", help="Arrays x and y.")]
Test = Annotated[
    Path | None, typer.Option(metavar="T.npz", help="Samples to score, else the data's own.")
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


def _parameter(field: Field[Any]) -> inspect.Parameter:
    """A field of a configuration as an option; None where the user does not say it."""
    types = {"str": str, "int": int, "float": float}
    kind = types[str(field.type).removesuffix(" | None")]
    told = field.metadata
    flags = [told["flag"]] if told["flag"] else []
    option = typer.Option(*flags, metavar=told["metavar"] or None, help=told["help"])
    return inspect.Parameter(
        field.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind | None, option],
    )


CONFIG = {
    field.name: _parameter(field)
    for field in (*fields(TrainingConfig), *fields(QuantizationConfig))
    if field.metadata
}
"""One for each field of both configurations that users choose by the command line."""

Calibration = CONFIG["calibration"].annotation


def with_config(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the options of `CONFIG`; what they say comes to its parameter `given`."""
    own = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in inspect.signature(command, eval_str=True).parameters.values()
        if parameter.name != "given"
    ]
    parameters = {parameter.name: parameter for parameter in own} | CONFIG

    @functools.wraps(command)
    def run(**values: Any) -> None:
        given = {name: values.pop(name) for name in CONFIG}
        command(given=given, **values)

    run.__signature__ = inspect.Signature(list(parameters.values()))  # type: ignore[attr-defined]
    run.__annotations__ = {name: p.annotation for name, p in parameters.items()}
    return run
