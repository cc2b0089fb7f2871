"""Are the pages true? What they show is taken from them and run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
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
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


def apply_diff(path: Path, diff: str) -> None:
    """Put the + lines of each hunk behind its context lines, which stand in the file once."""
    for hunk in diff.split("@@\n"):
        lines = hunk.splitlines()
        context = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("+"))
        added = "".join(f"{line[1:]}\n" for line in lines if line.startswith("+"))
        text = path.read_text()
        assert text.count(context) == 1, f"{path.name} holds {text.count(context)} times {context}"
        path.write_text(text.replace(context, context + added))


@pytest.mark.toolchain
@pytest.mark.slow
def test_adding_an_op_works_as_the_page_says(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "insitu", tmp_path / "insitu")
    *changes, proof = blocks(DOCS / "adding-an-op.md")
    for change in changes:
        path = tmp_path / change.named
        if change.language == "diff":
            apply_diff(path, change.text)
        else:
            assert not path.exists()
            path.write_text(change.text)
    (tmp_path / "proof.py").write_text(proof.text)
    printed = run([sys.executable, "proof.py"], tmp_path, path=tmp_path)
    assert "reference == twin == board" in printed
