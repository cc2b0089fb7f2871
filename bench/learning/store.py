"""Key -> what a trial found: one small JSON each in the work folder, one a task in the results.

Invariant: files appear whole or not at all; what stands in the results need not be found again.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tasks import Task

Found = dict[str, Any]


class Store:
    """What is known, from the committed results and from the work folder."""

    def __init__(self, trials: Path, results: Path) -> None:
        self.trials, self.results = trials, results
        for folder in (trials, results):
            folder.mkdir(parents=True, exist_ok=True)
        self._known: dict[str, Found | None] = {}
        for path in sorted(results.glob("*.json")):
            for scheme in json.loads(path.read_text()).get("schemes", {}).values():
                self._remember(scheme)

    def get(self, key: str) -> Found | None:
        """What was found under this key, or None."""
        if self._known.get(key) is None:
            path = self.trials / f"{key}.json"
            self._known[key] = json.loads(path.read_text()) if path.exists() else None
        return self._known[key]

    def put(self, key: str, found: Found) -> None:
        """Keep it."""
        _write(self.trials / f"{key}.json", found)
        self._known[key] = found

    def write_task(self, task: Task, schemes: dict[str, Found]) -> None:
        """Merge these schemes into the task's file; one that was left out replaces nothing."""
        path = self.results / f"{task.name}.json"
        held = json.loads(path.read_text())["schemes"] if path.exists() else {}
        for name, result in schemes.items():
            if "left_out" not in result or not held.get(name, {}).get("final"):
                held[name] = result
        sizes = {"train": task.final_train(), "validation": task.validation, "test": task.test}
        about = {
            "title": task.title,
            "layers": task.layers,
            "epochs": task.epochs,
            "split": task.split,
            "samples": {name: len(part) for name, part in sizes.items()},
            "digest": task.digest,
        }
        _write(path, {"task": about, "schemes": held})

    def _remember(self, scheme: Found) -> None:
        if scheme.get("figures"):
            self._known[scheme["figures_key"]] = scheme["figures"]
        for row in (*scheme.get("tuning", ()), *scheme.get("final", ())):
            self._known[row["key"]] = {k: v for k, v in row.items() if k not in ROW_KEYS}


ROW_KEYS = ("lr", "seed", "key")


def _write(path: Path, value: Any) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(json.dumps(value, indent=1) + "\n")
    partial.replace(path)
