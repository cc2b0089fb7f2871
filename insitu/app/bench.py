"""`insitu bench`: measure, print, compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from insitu.bench import networks, steps, table
from insitu.bench.count import Figure, count_kernels
from insitu.bench.layers import LAYERS, Layer
from insitu.bench.targets import Targets, read_targets, write_baseline
from insitu.config import PRECISIONS
from insitu.errors import ConfigError, ToolError
from insitu.firmware.objects import write_text
from insitu.measure.cost import DIRECTIONS
from insitu.network.json_text import json_text
from insitu.run.emulator import counting
from insitu.target.board import CORES
from insitu.tools.compilers import Toolchain, find_toolchain
from insitu.tools.emulators import find_emulator

STEP_CORES = ("cortex-m0plus", "cortex-m4", "cortex-m7", "cortex-m55")
GATE_CORES = ("cortex-m0plus", "cortex-m4")
"""Those of the check that is run for every change."""

SHORT = {core.removeprefix("cortex-").replace("plus", "+").upper(): core for core in CORES}


def bench(
    core: Annotated[
        list[str] | None,
        typer.Option(metavar="M0+|M3|M4|M7|M33|M55", help="May be repeated. [all]"),
    ] = None,
    kernel: Annotated[
        str, typer.Option(metavar="GLOB", help='Rows of the table, e.g. "linear.*" or "step*".')
    ] = "*",
    gate: Annotated[
        bool, typer.Option("--gate", help="The bounded choice that is checked for every change.")
    ] = False,
    toolchain: Annotated[
        str | None, typer.Option(metavar="gcc|zig", help="The compiler. [what is installed]")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Fail where a figure is worse than the baseline's.")
    ] = False,
    update_baseline: Annotated[
        bool, typer.Option("--update-baseline", help="Keep these figures as the baseline.")
    ] = False,
    markdown: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the page of results.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON value instead of text.")
    ] = False,
) -> None:
    """Exact instructions of every kernel and of training steps, beside their targets."""
    cores = [_core(name) for name in core] if core else list(GATE_CORES if gate else CORES)
    console = Console(stderr=as_json, width=None if Console().is_terminal else 120)
    compilers = {name: find_toolchain(name, prefer=toolchain) for name in cores}
    for name in cores:
        find_emulator(name, prefer=counting(name))
    compiler = compilers[cores[0]].title
    known = read_targets()
    targets = known if known and known.compiler in ("", compiler) else None
    _require_targets(known, compiler, needed=check)
    console.print(_say_compiler(compiler, known))
    figures: list[Figure] = []
    for name in cores:
        for measured in _measure(name, kernel, gate=gate, toolchain=compilers[name]):
            _print(console, measured, targets)
            figures += measured
    if not figures:
        raise ConfigError(f'no row is called "{kernel}" on {", ".join(cores)}; see insitu bench')
    if as_json:
        value = {"compiler": compiler, "figures": [_value(f, targets) for f in figures]}
        Console(soft_wrap=True, highlight=False, markup=False).print(json_text(value))
    if markdown is not None:
        write_text(markdown, table.markdown(figures, targets, compiler))
    if update_baseline:
        console.print(f"wrote {write_baseline(figures, compiler)}")
    elif check and targets is not None:
        _check(console, figures, targets)


def _core(name: str) -> str:
    """The core of a short name or of a long one.

    Raises:
        ConfigError: there is none.
    """
    found = SHORT.get(name.upper().replace("PLUS", "+").removeprefix("CORTEX-"))
    if found is None:
        raise ConfigError(f'no core "{name}"; choose from: {", ".join(SHORT)}')
    return found


def _say_compiler(compiler: str, known: Targets | None) -> str:
    if known is None or known.compiler in ("", compiler):
        return compiler
    return f"{compiler}; not compared, since the baseline is of {known.compiler}"


def _require_targets(known: Targets | None, compiler: str, *, needed: bool) -> None:
    if needed and known is None:
        raise ConfigError("--check compares with bench/kernels of a checkout, which is not here")
    if needed and known is not None and known.compiler != compiler:
        raise ToolError(
            f"--check compares with figures of {known.compiler or 'no compiler yet'} but found "
            f"{compiler}; install that one, or write a new baseline with --update-baseline"
        )


def _measure(
    core: str, pattern: str, *, gate: bool, toolchain: Toolchain
) -> Iterator[list[Figure]]:
    """The kernels of a core, then its training steps."""

    def wanted(row: str) -> bool:
        return fnmatchcase(row, pattern)

    layers = [layer for layer in LAYERS if layer.gate or not gate]
    chosen = _only(layers, wanted)
    if chosen:
        yield [f for f in count_kernels(core, chosen, toolchain=toolchain) if wanted(f.row)]
    if core not in STEP_CORES:
        return
    found: list[Figure] = []
    for network in networks.names(gate=gate):
        for precision in PRECISIONS[:1] if gate else PRECISIONS:
            parts = ("step", *(f"step.{part}" for part in DIRECTIONS))
            if any(wanted(f"{part} {network} {precision}") for part in parts):
                task = steps.make_task(network, precision)
                found += steps.count_task(core, task, toolchain=toolchain)
    if found:
        yield found


def _only(layers: Sequence[Layer], wanted: Callable[[str], bool]) -> list[Layer]:
    """Layers of which a row may be wanted."""
    kernels = ("forward", "grad_input", "update")
    errors = ("", " dense", " sparse", " rows")
    return [
        layer
        for layer in layers
        if wanted(f"row_parameters {layer.title}")
        or any(wanted(f"{layer.op}.{k} {layer.title}{e}") for k in kernels for e in errors)
    ]


def _print(console: Console, figures: Sequence[Figure], targets: Targets | None) -> None:
    if figures and figures[0].unit == "step":
        table.print_steps(console, figures, targets)
    elif figures:
        table.print_kernels(console, figures, targets)


def _value(figure: Figure, targets: Targets | None) -> dict[str, object]:
    return {**figure.value, "target": targets.target(figure) if targets else None}


def _check(console: Console, figures: Sequence[Figure], targets: Targets) -> None:
    """Raises ToolError with the first complaint, after all were printed."""
    complaints = targets.complaints(figures)
    for complaint in complaints:
        console.print(complaint, markup=False, soft_wrap=True)
    if complaints:
        raise ToolError(f"{len(complaints)} of {len(figures)} figures became worse, see above")
    console.print(f"{len(figures)} figures, none worse than the baseline")
