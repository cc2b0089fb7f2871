"""What every command says alike: JSON, a progress bar, a last word."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from insitu.network.json_text import json_text
from insitu.run.stream import Progress as Tell


def stop(message: str, status: int = 1) -> NoReturn:
    """One line on stderr, and the end of the process."""
    print(f"insitu: {message}", file=sys.stderr)
    sys.exit(status)


def say_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """One line on stderr, as `warnings.showwarning` is called."""
    print(f"insitu: warning: {message}", file=sys.stderr)


def print_json(value: Any) -> None:
    """One JSON value on stdout."""
    print(json_text(value))


@contextmanager
def progress(label: str) -> Iterator[Tell]:
    """A progress bar on stderr; nothing where that is no terminal."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
