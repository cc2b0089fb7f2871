"""Figures -> tables for a terminal and for the page docs/results/kernels.md."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from insitu.bench.count import Figure
from insitu.bench.networks import ZOO
from insitu.bench.steps import STEPS
from insitu.bench.targets import Targets
from insitu.measure.cost import DIRECTIONS
from insitu.measure.cycles import MODELS

TIMES = "times fewer"
"""Than our own float32 step on the same core."""

HEAD = ("kernel", "errors", "instr/MAC", "target", "baseline", "cycles/MAC", "scratch B")
STEP_HEAD = ("step", *DIRECTIONS, "instructions", "target", TIMES, "cycles", TIMES)


def number(value: float) -> str:
    """Three decimals, fewer where it is large."""
    return f"{value:.3f}" if value < 100 else f"{value:,.0f}"


def print_kernels(console: Console, figures: Sequence[Figure], targets: Targets | None) -> None:
    """A table of one core's kernels."""
    core = figures[0].core
    error = MODELS[core].error_percent
    table = Table(title=f"{core}; cycles are modelled, within {error} % on silicon")
    for column in HEAD:
        table.add_column(
            column, justify="left" if column in HEAD[:2] else "right", no_wrap=column == HEAD[0]
        )
    for figure in figures:
        table.add_row(*_cells(figure, targets))
    console.print(table)


def _cells(figure: Figure, targets: Targets | None) -> list[str]:
    target = targets.target(figure) if targets else None
    before = targets.baseline.get((figure.core, figure.row)) if targets else None
    each = number(figure.each)
    if target is not None:
        each = f"[{'green' if figure.each <= target else 'red'}]{each}[/]"
    return [
        figure.row.removesuffix(f" {figure.errors}"),
        figure.errors,
        each,
        "" if target is None else f"{target:g}",
        number(before["instructions"] / before["work"]) if before else "",
        number(figure.cycles / figure.work),
        str(figure.scratch_bytes),
    ]


def print_steps(console: Console, figures: Sequence[Figure], targets: Targets | None) -> None:
    """A table of one core's training steps."""
    table = Table(title=f"{figures[0].core}: a training step, all layers, one sample")
    for column in STEP_HEAD:
        table.add_column(
            column, justify="left" if column == "step" else "right", no_wrap=column == "step"
        )
    for line in _step_lines(figures, targets):
        table.add_row(*line)
    console.print(table)


def _step_lines(figures: Sequence[Figure], targets: Targets | None) -> list[list[str]]:
    """One line a whole step among the figures of one core."""
    known = {(f.kernel, f.group): f for f in figures}
    lines = []
    for figure in (f for f in figures if f.kernel == "step"):
        network = figure.group.rpartition(" ")[0]
        parts = [known[f"step.{part}", figure.group].instructions for part in DIRECTIONS]
        float32 = known.get(("step", f"{network} float32"))
        target = targets.target(figure) if targets else None
        line = [figure.group, *(f"{part:,}" for part in (*parts, figure.instructions))]
        line.append("" if target is None else f"{target:,.0f}")
        line.append(f"{float32.instructions / figure.instructions:.2f}" if float32 else "")
        line.append(f"{figure.cycles:,}")
        line.append(f"{float32.cycles / figure.cycles:.2f}" if float32 else "")
        lines.append(line)
    return lines


def markdown(figures: Sequence[Figure], targets: Targets | None, compiler: str) -> str:
    """The page that is committed."""
    cores = list(dict.fromkeys(f.core for f in figures))
    short = {core: core.removeprefix("cortex-").upper().replace("PLUS", "+") for core in cores}
    errors = ", ".join(f"{MODELS[core].error_percent} % ({short[core]})" for core in cores)
    lines = [
        "# Kernels: what they cost",
        "",
        "Written by `insitu bench --markdown docs/results/kernels.md`; do not edit. Instructions",
        f"are exact, and those of {compiler}. Cycles are modelled; on silicon they are expected",
        f"within {errors}, flash wait states apart.",
        "Figures are of one call, everything included, divided by its nominal MACs, or by its",
        "outputs where it has none. Errors: dense, none is zero; sparse, 90 % are; rows, 90 % of",
        "the channels are. In parentheses: the targets of `bench/kernels/contract.toml`.",
        "",
        f"| kernel, MACs | errors | {' | '.join(short.values())} | cycles | scratch B |",
        "| --- | --- |" + " ---: |" * (len(cores) + 2),
        *_kernel_lines(figures, targets, cores),
        "",
        f"Cycles are those a MAC on {', '.join(short.values())}.",
        "",
        "## Training steps",
        "",
        f"All layers trained, one sample a step, the mean of {STEPS} steps; of {', '.join(ZOO)},",
        "which `examples/zoo.py` builds, one step. Memory is what it takes, whatever boards have.",
        "The data are noise and the weights random: hardly an error is zero but where a ReLU stops",
        f'it. The loss belongs to the backward pass. "{TIMES}": than our own float32 step on the',
        "same core.",
    ]
    for core in cores:
        steps = [f for f in figures if f.core == core and f.unit == "step"]
        if steps:
            lines += ["", f"### {short[core]}", "", f"| {' | '.join(STEP_HEAD)} |"]
            lines += ["| --- |" + " ---: |" * (len(STEP_HEAD) - 1)]
            lines += [f"| {' | '.join(line)} |" for line in _step_lines(steps, targets)]
    return "\n".join(lines) + "\n"


def _kernel_lines(
    figures: Sequence[Figure], targets: Targets | None, cores: Sequence[str]
) -> list[str]:
    kernels = {(f.core, f.row): f for f in figures if f.unit != "step"}
    lines = []
    for row in dict.fromkeys(row for _, row in kernels):
        mine = [kernels.get((core, row)) for core in cores]
        first = next(f for f in mine if f is not None)
        cells = [_with_target(f, targets) if f else "" for f in mine]
        cycles = " ".join(number(f.cycles / f.work) for f in mine if f)
        name = f"{row.removesuffix(f' {first.errors}')}, {first.work:,}"
        lines.append(
            f"| {name} | {first.errors} | {' | '.join(cells)} | {cycles} | {first.scratch_bytes} |"
        )
    return lines


def _with_target(figure: Figure, targets: Targets | None) -> str:
    target = targets.target(figure) if targets else None
    return number(figure.each) + ("" if target is None else f" ({target:g})")
