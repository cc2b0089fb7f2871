"""Pages -> their blocks of code, and what runs them."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, and the last `code` in the text before it."""

    language: str
    text: str
    named: str


def blocks(page: Path) -> list[Block]:
    """All blocks of a page, in order."""
    found, named, end = [], "", 0
    text = page.read_text()
    for match in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        names = re.findall(r"`([^`\n]+)`", text[end : match.start()])
        named, end = names[-1] if names else named, match.end()
        found.append(Block(match[1], match[2], named))
    return found


def run(command: list[str], folder: Path, *, path: Path = ROOT) -> str:
    """What a command printed, run in a folder with the package from `path`."""
    environment = {**os.environ, "PYTHONPATH": str(path), "COLUMNS": "100"}
    done = subprocess.run(
        command, check=False, cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout
