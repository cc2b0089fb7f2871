"""Figures beside what they should be: the contract, and what was measured when it was last written.

Both lie in bench/kernels of a checkout; an installed package has neither, and only measures.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from insitu.bench.count import Figure
from insitu.errors import ConfigError
from insitu.firmware.objects import write_text

FOLDER = Path(__file__).parents[2] / "bench/kernels"
CONTRACT, BASELINE = "contract.toml", "baseline.json"
TOLERANCE = 0.03
"""A figure may worsen by this part."""


@dataclass(frozen=True, kw_only=True)
class Targets:
    """What is committed.

    Attributes:
        compiler: that made the baseline; figures of another are not compared.
        contract: instructions each, by (core, group, kernel).
        baseline: {"instructions": ..., "cycles": ..., "work": ...} by (core, row).
    """

    compiler: str
    contract: Mapping[tuple[str, str, str], float]
    baseline: Mapping[tuple[str, str], Mapping[str, int]]

    def target(self, figure: Figure) -> float | None:
        """What the contract says about a figure, of errors that are nowhere zero."""
        if figure.errors not in ("", "dense"):
            return None
        return self.contract.get((figure.core, figure.group, figure.kernel))

    def complaints(self, figures: Sequence[Figure]) -> list[str]:
        """One sentence a figure that has become worse."""
        return [text for figure in figures for text in self._complaints(figure)]

    def _complaints(self, figure: Figure) -> list[str]:
        before = self.baseline.get((figure.core, figure.row))
        if before is None:
            return []
        found = []
        for what in ("instructions", "cycles"):
            now = getattr(figure, what)
            if now > before[what] * (1 + TOLERANCE):
                worse = 100 * (now / before[what] - 1)
                found.append(
                    f"{figure.core} {figure.row}: {now:,} {what}, {before[what]:,} before "
                    f"(+{worse:.1f} %); make it faster, or say why with --update-baseline"
                )
        target = self.target(figure)
        if target is not None and before["instructions"] / before["work"] <= target < figure.each:
            found.append(
                f"{figure.core} {figure.row}: {figure.each:.3f} instructions a {figure.unit}, more "
                f"than the {target:g} that it once met; make it faster"
            )
        return found


def read_targets(folder: Path = FOLDER) -> Targets | None:
    """What is committed; None where there is no checkout.

    Raises:
        ConfigError: a file is damaged.
    """
    if not (folder / CONTRACT).is_file():
        return None
    try:
        contract = tomllib.loads((folder / CONTRACT).read_text(encoding="utf-8"))
        path = folder / BASELINE
        baseline: dict[str, Any] = {"compiler": "", "figures": {}}
        if path.is_file():
            baseline = json.loads(path.read_text(encoding="utf-8"))
        return Targets(
            compiler=baseline["compiler"],
            contract={
                (core, group, kernel): float(each)
                for entry in contract["target"]
                for group, kernels in entry.items()
                if group != "cores"
                for kernel, each in kernels.items()
                for core in entry["cores"]
            },
            baseline={
                (core, row): dict(zip(("instructions", "cycles", "work"), values, strict=True))
                for core, rows in baseline["figures"].items()
                for row, values in rows.items()
            },
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{folder}: targets are damaged ({error}); restore them") from None


def write_baseline(figures: Sequence[Figure], compiler: str, folder: Path = FOLDER) -> Path:
    """Keep these figures as the baseline; those of rows that were not measured stay.

    Raises:
        ConfigError: there is no checkout, or its baseline is of another compiler.
        OutputError: the file cannot be written.
    """
    targets = read_targets(folder)
    if targets is None:
        raise ConfigError(f"{folder}: no such folder; a baseline belongs to a checkout of insitu")
    kept = dict(targets.baseline) if targets.compiler == compiler else {}
    kept |= {
        (f.core, f.row): {"instructions": f.instructions, "cycles": f.cycles, "work": f.work}
        for f in figures
    }
    rows: dict[str, dict[str, list[int]]] = {}
    for (core, row), values in sorted(kept.items()):
        rows.setdefault(core, {})[row] = list(values.values())
    lines = ",\n".join(
        f"  {json.dumps(core)}: {{\n"
        + ",\n".join(f"   {json.dumps(row)}: {values}" for row, values in found.items())
        + "\n  }"
        for core, found in rows.items()
    )
    text = f'{{\n "compiler": {json.dumps(compiler)},\n "figures": {{\n{lines}\n }}\n}}\n'
    path = folder / BASELINE
    write_text(path, text)
    return path
