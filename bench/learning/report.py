"""results/*.json -> docs/results/learning.md and its plot.

Invariant: a function of the files, and of notes.md; nothing is measured here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from protocol import GOAL_POINTS, SCHEMES
from tasks import TASKS

PAGE = """\
# How well it learns

Made by `python bench/learning/study.py`; `bench/learning/protocol.py` is the protocol. In short:
every scheme trains the same layers on the same samples for as many epochs; its learning rate is
chosen among five on validation samples; then it is trained again with fresh seeds, and the test
samples are looked at once. Figures are mean and standard deviation of these runs, in per cent.

{accuracy}

A rate at the edge of its grid is marked `^`: a wider grid might give a little more. {missing}

![accuracy of each scheme, as the difference to the best float training](learning.svg)

## uint8 in place against float

Float is the float32 scheme where it was run, else PyTorch at batch 1. The goal is to lose at most
{goal:g} points.

{goals}

{notes}
## Partial updates against the full one

Difference to uint8 in place in points, and how many times fewer instructions the backward pass
takes on a Cortex-M4 (below). *Update* keeps the rows with the largest errors, as published, from a
share of 0.5 or 0.1 of them to all, as the error is large. *Sampled* draws whole samples with a
probability in the same limits (or from 0.1 to 0.5) and takes as much larger steps, so that the
mean stays; the last layer learns from all of them. The goal is to lose at most {least_lost:g}
points at 0.5 and {most_lost:g} at 0.1; the published speed-ups are 1.4 to 1.9 and 4.0 to 8.7.

{partial}

{partial_misses}

## Bytes

Training state a trained parameter: weights, biases, ranges, gradient buffers and generator, all
that a step keeps; activations are apart. PyTorch's are weight and gradient (and momentum).

{bytes}

## Instructions of a training step on a Cortex-M4

Mean over the whole training with the chosen rate: each node's instructions where it runs, counted
after 1, 3, 5 and 7 eighths of it on the board, times the share of steps in which it runs, which
the twin knows. So steps without an error, and samples that were left out, count as what they cost.
Backward is everything from the loss on: errors and updates. Faster: against uint8 in place. After
the counted steps board and twin were equal in every bit in {equal} cells.

{instructions}

## Weights at the end of their range, and steps that had to be held

Share of the trained weights at -127 or 127 after training (each row's largest stands there from
the start), in per cent, and rows whose step was too large and was cut, a thousand steps. The goal
is at most {bound_goal:g} % unless told: `insitu twin` and `insitu run` name the layers above it.
{above}

{bounds}

{stream}{gradients}## The tasks

{tasks}
"""

STREAM = """\
## A world that never stops turning

`python bench/learning/stream.py`: the demo's digits, all layers, a constant rate; the sensor turns
by 120 degrees and back while the light falls to half, every {swing:,} steps. Accuracy on test
images as they look at the moment: mean over the second half of the first {swing:,} steps, and over
the last {half:,} of {steps:,}; five seeds.

{table}

![accuracy over the steps](stream.svg)

"""

GRADIENTS = """\
## Where the gradient is

`python bench/learning/gradients.py`: mean |gradient| of a sample, from the twin, on `{task}`.

![heat maps of the gradient after epochs 1 and 10](gradients.png)

"""
UNTOUCHED = "-"
NOTES = Path(__file__).parent / "notes.md"
"""What the figures do not say by themselves, written by hand."""

PARTIAL_GOALS = {
    "dynamic-0.5": 0.2,
    "sampled-0.5": 0.2,
    "dynamic-0.1": 1.0,
    "sampled-0.1": 1.0,
    "sampled-0.1-0.5": 1.0,
}
"""Points that a partial update may lose."""

BOUND_GOAL = 1.0
"""Per cent of the weights."""

Task = dict[str, Any]


def write_report(results: Path, docs: Path) -> None:
    """Write learning.md and learning.svg into `docs`."""
    order = {name: i for i, name in enumerate(TASKS)}
    paths = sorted(
        (p for p in results.glob("*.json") if p.stem in order), key=lambda p: order[p.stem]
    )
    tasks = {path.stem: json.loads(path.read_text()) for path in paths}
    docs.mkdir(parents=True, exist_ok=True)
    page = PAGE.format(
        missing=_missing(tasks),
        goal=GOAL_POINTS,
        least_lost=min(PARTIAL_GOALS.values()),
        most_lost=max(PARTIAL_GOALS.values()),
        partial=_grid(tasks, _partial),
        partial_misses=_partial_misses(tasks),
        bound_goal=BOUND_GOAL,
        above=_above(tasks),
        accuracy=_grid(tasks, _accuracy, first=("before", _before)),
        goals=_goals(tasks),
        notes=NOTES.read_text(encoding="utf-8"),
        bytes=_grid(tasks, _bytes),
        instructions=_grid(tasks, _instructions),
        equal=_equal(tasks),
        bounds=_grid(tasks, _bounds),
        tasks=_about(tasks),
        stream=_stream(results / "stream.json"),
        gradients=_gradients(results / "gradients.json"),
    )
    (docs / "learning.md").write_text(page)
    save(_plot(tasks), docs / "learning.svg")


def save(figure: Figure, path: Path) -> None:
    """An SVG that is the same file for the same figure."""
    with mpl.rc_context({"svg.hashsalt": "insitu", "svg.fonttype": "none"}):
        figure.savefig(path, metadata={"Date": None})


def _stream(path: Path) -> str:
    if not path.exists():
        return ""
    found = json.loads(path.read_text())
    lines = ["| rate | first | last | difference | lowest | at end of range |", "| --- " * 6 + "|"]
    for rate, runs in found["rates"].items():
        s = runs["summary"]
        difference = f"{s['difference']:+.2f} ± {s['difference_sd']:.2f}"
        cells = (f"{s['early']:.2f}", f"{s['late']:.2f}", difference)
        ends = (f"{s['lowest_after_20000']:.1f}", f"{100 * s['at_bound']:.2f} %")
        lines.append(f"| {' | '.join((rate, *cells, *ends))} |")
    swing = found["swing"]
    table = "\n".join(lines)
    return STREAM.format(swing=swing, half=swing // 2, steps=found["steps"], table=table)


def _gradients(path: Path) -> str:
    return GRADIENTS.format(**json.loads(path.read_text())) if path.exists() else ""


def _accuracies(scheme: dict[str, Any] | None) -> list[float]:
    return [row["accuracy"] for row in (scheme or {}).get("final", ())]


def _accuracy(task: Task, name: str) -> str:
    scheme = task["schemes"].get(name)
    found = _accuracies(scheme)
    if not found:
        return UNTOUCHED
    edge = "^" if scheme["at_edge"] else ""
    return f"{np.mean(found):.2f} ± {_sd(found):.2f} <br> lr {scheme['lr']:g}{edge}"


def _sd(found: list[float]) -> float:
    return float(np.std(found, ddof=1)) if len(found) > 1 else 0.0


def _before(task: Task) -> str:
    rows = [r for s in task["schemes"].values() for r in s.get("final", ())]
    return f"{rows[0]['before']:.1f}" if rows else UNTOUCHED


def _bytes(task: Task, name: str) -> str:
    figures = task["schemes"].get(name, {}).get("figures", {})
    return f"{figures['bytes_per_parameter']:.2f}" if figures else UNTOUCHED


def _instructions(task: Task, name: str) -> str:
    own, default = (_backward(task, scheme) for scheme in (name, "uint8"))
    if own is None:
        return UNTOUCHED
    forward = task["schemes"][name]["figures"]["instructions_forward"]
    faster = "" if name == "uint8" or default is None else f"; {default / own:.2f} x"
    return f"{forward / 1000:,.0f} k + {own / 1000:,.0f} k{faster}"


def _backward(task: Task, name: str) -> float | None:
    figures = task["schemes"].get(name, {}).get("figures", {})
    if "instructions_backward" not in figures:
        return None
    return float(figures["instructions_backward"] + figures["instructions_update"])


def _missing(tasks: dict[str, Task]) -> str:
    """Why cells are empty."""
    reasons, unrun = [], []
    for name, task in tasks.items():
        for scheme in SCHEMES.values():
            found = task["schemes"].get(scheme.name, {})
            if "left_out" in found:
                reasons.append(f"{name} by {scheme.title}: {found['left_out']}")
            elif not found.get("final"):
                unrun.append(f"{name} by {scheme.title}")
    lines = [f"Left out: {'; '.join(reasons)}."] if reasons else []
    lines += [f"Not run: {'; '.join(unrun)}."] if unrun else []
    return f"Cells with `{UNTOUCHED}`:\n" + "\n".join(lines) if lines else ""


def _lost(task: Task, name: str) -> tuple[float, float] | None:
    """Points above uint8 in place, and the standard error of the difference."""
    own, full = (_accuracies(task["schemes"].get(scheme)) for scheme in (name, "uint8"))
    return _difference(own, full) if own and full and name in PARTIAL_GOALS else None


def _difference(own: list[float], other: list[float]) -> tuple[float, float]:
    """Of the means, with its standard error."""
    error = np.sqrt(_sd(own) ** 2 / len(own) + _sd(other) ** 2 / len(other))
    return float(np.mean(own) - np.mean(other)), float(error)


def _partial(task: Task, name: str) -> str:
    lost = _lost(task, name)
    if lost is None:
        return UNTOUCHED
    own, full = (_backward(task, scheme) for scheme in (name, "uint8"))
    faster = f"; {full / own:.2f} x" if own and full else ""
    return f"{lost[0]:+.2f} ± {lost[1]:.2f}{faster}"


def _partial_misses(tasks: dict[str, Task]) -> str:
    """Which cells lose more than they may."""
    cells = [(n, s, _lost(task, s)) for s in PARTIAL_GOALS for n, task in tasks.items()]
    found = [
        f"{SCHEMES[scheme].title} on {name} ({lost[0]:+.2f})"
        for name, scheme, lost in cells
        if lost is not None and lost[0] < -PARTIAL_GOALS[scheme]
    ]
    return f"More than that lose {', '.join(found)}." if found else "No cell loses more than that."


def _above(tasks: dict[str, Task]) -> str:
    """Which cells have more weights at the end of their range than they should."""
    shares = [
        (name, scheme.title, _at_bound(task, scheme.name))
        for name, task in tasks.items()
        for scheme in SCHEMES.values()
    ]
    found = [f"{name} by {title} ({at:.2f} %)" for name, title, at in shares if at > BOUND_GOAL]
    return f"Above it are {', '.join(found)}." if found else "None is above it."


def _at_bound(task: Task, name: str) -> float:
    """Mean share of weights at the end of their range after training, per cent."""
    rows = task["schemes"].get(name, {}).get("final", ())
    found = [row["at_bound"] for row in rows if "at_bound" in row]
    return 100 * float(np.mean(found)) if found else 0.0


def _equal(tasks: dict[str, Task]) -> str:
    """How many of the measured cells found the board equal to the twin."""
    cells = [
        s.get("figures", {}).get("twin_equal")
        for t in tasks.values()
        for s in t["schemes"].values()
    ]
    told = [cell for cell in cells if cell is not None]
    return f"{sum(told)} of {len(told)}"


def _bounds(task: Task, name: str) -> str:
    rows = [r for r in task["schemes"].get(name, {}).get("final", ()) if "at_bound" in r]
    if not rows:
        return UNTOUCHED
    steps = task["task"]["epochs"] * task["task"]["samples"]["train"]
    held = 1000 * np.mean([row["held_rows"] for row in rows]) / steps
    return f"{_at_bound(task, name):.2f}, {held:.2f}"


def _grid(tasks: dict[str, Task], cell: Any, first: Any = None) -> str:
    """A table of tasks by schemes; columns in which nothing stands are left out."""
    columns = {
        SCHEMES[name].title: [cell(task, name) for task in tasks.values()] for name in SCHEMES
    }
    if first is not None:
        columns = {first[0]: [first[1](task) for task in tasks.values()], **columns}
    shown = {k: v for k, v in columns.items() if any(c != UNTOUCHED for c in v)}
    lines = [["task", *shown], ["---"] * (len(shown) + 1)]
    lines += [[name, *row] for name, *row in zip(tasks, *shown.values(), strict=True)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _yardstick(task: Task) -> tuple[str, list[float]] | None:
    for name in ("float32", "pytorch"):
        found = _accuracies(task["schemes"].get(name))
        if found:
            return SCHEMES[name].title, found
    return None


def _goals(tasks: dict[str, Task]) -> str:
    """Difference of the means with its standard error, by task."""
    lines = ["| task | against | points | within the goal |", "| --- | --- | --- | --- |"]
    for name, task in tasks.items():
        own, other = _accuracies(task["schemes"].get("uint8")), _yardstick(task)
        if not own or other is None:
            continue
        points, error = _difference(own, other[1])
        verdict = "yes" if points >= -GOAL_POINTS else f"misses by {-GOAL_POINTS - points:.2f}"
        lines.append(f"| {name} | {other[0]} | {points:+.2f} ± {error:.2f} | {verdict} |")
    return "\n".join(lines)


def _about(tasks: dict[str, Task]) -> str:
    lines = ["| task | what | trained | epochs | samples | how cut |", "| --- " * 6 + "|"]
    for name, task in tasks.items():
        about = task["task"]
        samples = ", ".join(f"{count:,} {part}" for part, count in about["samples"].items())
        cells = (name, about["title"], f"`{about['layers']}`", str(about["epochs"]), samples)
        lines.append(f"| {' | '.join((*cells, about['split']))} |")
    return "\n".join(lines)


def _plot(tasks: dict[str, Task]) -> Figure:
    """Each scheme's runs as points, beside the mean of the best float training of the task."""
    figure = Figure(figsize=(9, 0.9 + 0.8 * len(tasks)), layout="constrained")
    axes = figure.subplots()
    names = [n for n in SCHEMES if any(_accuracies(t["schemes"].get(n)) for t in tasks.values())]
    colours = [*mpl.color_sequences["tab10"], "black"]
    for row, task in enumerate(tasks.values()):
        yardstick = _yardstick(task)
        if yardstick is None:
            continue
        for k, (name, colour) in enumerate(zip(names, colours, strict=False)):
            points = np.asarray(_accuracies(task["schemes"].get(name))) - np.mean(yardstick[1])
            y = np.full(len(points), row + 0.7 * ((k + 0.5) / len(names) - 0.5))
            label = SCHEMES[name].title if row == 0 else None
            axes.plot(points, y, ".", color=colour, alpha=0.45, markersize=5)
            mean = [points.mean()] if len(points) else []
            axes.plot(mean, y[: len(mean)], "|", color=colour, markersize=9, mew=2, label=label)
    axes.axvspan(-GOAL_POINTS, GOAL_POINTS, color="0.92", zorder=0)
    axes.axvline(0, color="0.6", lw=0.8, zorder=1)
    axes.set_yticks(range(len(tasks)), tasks)
    axes.invert_yaxis()
    axes.set_xscale("symlog", linthresh=1.0, linscale=1.5)
    ticks = (-20, -10, -5, -2, -1, -0.5, 0, 0.5, 1, 2)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("test accuracy, points against float (grey: the goal)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False)
    return figure
