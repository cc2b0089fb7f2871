"""docs/tables.toml -> which pages are older than the code that their figures come from.

    python bench/pages.py                  what is stale, and the command that makes it again
    python bench/pages.py --record PAGE    PAGE was made with the code as it is; may be repeated

Code is compared without comments, docstrings and empty lines, so that words make no page stale.
"""

from __future__ import annotations

import argparse
import ast
import functools
import hashlib
import json
import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TABLES, DIGESTS = ROOT / "docs/tables.toml", ROOT / "docs/tables.json"
SUFFIXES = (".py", ".c", ".h", ".ld", ".toml")
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)


@dataclass(frozen=True)
class Table:
    """A page, or what stands under one of its headings.

    Attributes:
        made_from: files and folders.
    """

    page: str
    heading: str
    command: str
    made_from: tuple[str, ...]

    @property
    def text(self) -> str:
        """The lines with figures."""
        text = (ROOT / self.page).read_text(encoding="utf-8")
        if self.heading:
            text = text.split(f"## {self.heading}\n")[1].split("\n## ")[0]
            text = "\n".join(line for line in text.splitlines() if line.startswith("|"))
        return text

    @property
    def digests(self) -> dict[str, str]:
        """Of the page and of what it is made from, as they are now."""
        code = hashlib.sha256()
        for name in self.made_from:
            place = ROOT / name
            for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
                if path.suffix in SUFFIXES and path.is_file():
                    code.update(f"{path.relative_to(ROOT)}\n{_code_of(path)}\n".encode())
        page = hashlib.sha256(self.text.encode())
        return {"page": page.hexdigest()[:16], "code": code.hexdigest()[:16]}


def tables() -> list[Table]:
    """What docs/tables.toml names."""
    found = tomllib.loads(TABLES.read_text(encoding="utf-8"))
    sets = found["sets"]
    return [
        Table(
            each["page"],
            each.get("heading", ""),
            each["command"],
            tuple(path for name in each["made_from"] for path in sets.get(name, [name])),
        )
        for each in found["table"]
    ]


def without_words(path: Path) -> str:
    """The code of a file."""
    text = path.read_text(encoding="utf-8")
    if path.suffix in (".c", ".h", ".ld"):
        text = COMMENT.sub(" ", text)
        return " ".join(text.split())
    lines = text.splitlines()
    if path.suffix == ".py":
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                end = node.end_lineno or node.lineno
                lines[node.lineno - 1 : end] = [""] * (end - node.lineno + 1)
    return "\n".join(
        line.rstrip() for line in lines if line.strip() and not line.lstrip().startswith("#")
    )


@functools.cache
def _code_of(path: Path) -> str:
    """Once for all pages."""
    return without_words(path)


def complaints() -> dict[str, str]:
    """Page -> what is wrong with it, and the cure."""
    recorded = json.loads(DIGESTS.read_text(encoding="utf-8"))
    found = {}
    for table in tables():
        before, now = recorded.get(table.page, {}), table.digests
        if before == now:
            continue
        what = "is older than its code" if before.get("page") == now["page"] else "was changed"
        found[table.page] = (
            f"{table.page} {what}; run {table.command}, then "
            f"python bench/pages.py --record {table.page}"
        )
    return found


def record(pages: list[str]) -> None:
    """Keep the digests of pages that were made just now."""
    recorded = json.loads(DIGESTS.read_text(encoding="utf-8")) if DIGESTS.exists() else {}
    recorded |= {table.page: table.digests for table in tables() if table.page in pages}
    DIGESTS.write_text(json.dumps(recorded, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def main() -> None:
    """Say what is stale, or record."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    pages = [table.page for table in tables()]
    parser.add_argument("--record", action="append", choices=pages, metavar="PAGE")
    options = parser.parse_args()
    if options.record:
        record(options.record)
        return
    found = complaints()
    print("\n".join(found.values()) or "no page is stale")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
