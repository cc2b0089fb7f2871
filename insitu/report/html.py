"""network, run -> one HTML file: figures, plots and tables, nothing fetched from elsewhere.

Invariant: written whole or not at all; names from users' files are escaped; no cycle,
millisecond or millijoule without how far it can be trusted. The same as text: `report.text`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from insitu.errors import OutputError
from insitu.graph.model import Array
from insitu.measure.cost import DIRECTIONS, accuracy
from insitu.network import figures
from insitu.network.board_run import BoardRun
from insitu.network.compiled import Network
from insitu.network.twin import History
from insitu.report import plots
from insitu.report.adaptation import Adaptation
from insitu.report.characters import percent

ARITHMETIC = (
    "Weights, activations and errors are 8-bit integers; a trained weight is one byte, updated in "
    "place after every sample with stochastic rounding, on a scale per row that was fixed when "
    "training started. Accumulators have 32 bits, and floating point serves single numbers only "
    "(scales, the scores and their loss), in an order that every core and the desk share, so that "
    "they agree bit for bit."
)
MEASURING = (
    "Bytes are what the linker placed, and a stack that no run can go beyond. "
    "Instructions were counted one by one in the emulator, in steps spread over a training on the "
    "calibration samples, of which they are the mean; steps whose errors are smaller cost less. "
    "The worst case takes each node with the errors that make it cost most."
)


def write_html(
    path: Path,
    network: Network,
    *,
    run: BoardRun | None = None,
    history: History | None = None,
    demo: Adaptation | None = None,
) -> None:
    """Write the report.

    Args:
        run: a training run on the emulated board.
        history: a training of the twin.
        demo: accuracies before and after a change of the world.

    Raises:
        OutputError: the file cannot be written; it is as before.
    """
    page = _page(network, _sections(network, run, history, demo))
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_text(page, encoding="utf-8")
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OutputError(f"{path}: cannot be written ({reason}); name another file") from None


def _page(network: Network, sections: Iterable[str]) -> str:
    style = resources.files("insitu").joinpath("report", "page.css").read_text(encoding="utf-8")
    board = network.board
    title = f"insitu_{escape(network.name)} on {escape(board.name)}"
    where = f"{escape(board.title)}, {board.core} at {board.clock_hz / 1e6:g} MHz"
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        f'<h1>{title}</h1>\n<p class="soft">{where}</p>\n'
        + "\n".join(sections)
        + "\n</main>\n</body>\n</html>\n"
    )


def _sections(
    network: Network, run: BoardRun | None, history: History | None, demo: Adaptation | None
) -> Iterable[str]:
    if demo is not None:
        yield _adaptation(demo)
    yield _headline(network)
    if run is not None:
        yield _learning(run, demo)
    if history is not None:
        accuracies = {"before each update": history.accuracy, "validation": history.validation}
        accuracies = {} if network.labels.are_targets else accuracies
        yield _plot("Learning on the desk", plots.epochs_plot(history.loss, accuracies))
    yield _plot(
        "Memory over the nodes of a training step",
        plots.memory_plot(network),
        "Each rectangle is a tensor or a node's scratch: its width is how long it is needed, its "
        "height its bytes. Names of nodes are coloured by phase.",
        wide=len(network.graph.nodes) > plots.NODES_ON_PAGE,
    )
    arena = (
        f"The pieces of the arena take turns in its {network.plan.arena_bytes:,} bytes, so that "
        "the RAM is less than the sum of its tensors."
    )
    scratch = figures.scratch_line(network)
    arena += f" Scratch: {escape(scratch)}." if scratch else ""
    yield _plot("Memory by tensor", plots.tensor_plot(network), arena)
    note = escape(accuracy(network.board))
    yield _plot("One training step by layer and direction", plots.cost_plot(network), note)
    yield _layer_table(network)
    yield _tensor_table(network)
    yield _methods(network)


def _adaptation(demo: Adaptation) -> str:
    board, points = "adapted on the board", f"{demo.figures['points_to_float']:+.1f} points"
    cards = (
        _card("old world", percent(demo.old_world), "as pretrained"),
        _card("new world", percent(demo.new_world), "before training"),
        _card(board, percent(demo.adapted), "new world, samples never trained on"),
        _card(
            "float training",
            percent(demo.float_adapted),
            f"same layers, samples and rates; the board: {points}",
        ),
    )
    names = (f"a {demo.label}, old world", "the same, new world")
    pictures = "".join(
        f"<figure>{_picture(image)}<figcaption>{escape(name)}</figcaption></figure>"
        for image, name in zip(demo.pictures, names, strict=True)
    )
    return f'<div class="pictures">{pictures}</div>\n{_cards(cards)}'


def _picture(image: Array) -> str:
    """An SVG of image[h, w], brightest white."""
    height, width = image.shape
    levels = np.clip(255 * image / (float(image.max()) or 1.0), 0, 255).astype(int)
    pixels = "".join(
        f'<rect x="{x}" y="{y}" width="1.02" height="1.02" fill="rgb({v},{v},{v})"/>'
        for y, row in enumerate(levels)
        for x, v in enumerate(row)
    )
    return f'<svg viewBox="0 0 {width} {height}" role="img">{pixels}</svg>'


def _headline(network: Network) -> str:
    limits, parts = figures.memory_limits(network.board), figures.memory_parts(network)
    cards = [
        _card(
            memory,
            f"{sum(by_part.values()):,} B",
            f"of {limits[memory]:,}: " + ", ".join(f"{k} {n:,}" for k, n in by_part.items()),
            share=sum(by_part.values()) / limits[memory],
        )
        for memory, by_part in parts.items()
    ]
    step = network.figures
    error = f"within about {step['cycle_error_percent']} %, see below"
    directions = ", ".join(f"{d} {step[f'instructions_{d}']:,}" for d in DIRECTIONS)
    cards += [
        _card(
            "instructions a step", f"{step['instructions_per_step']:,}", directions + _most(step)
        ),
        _card(
            "time of a step",
            f"{step['ms_per_step']:.3g} ms",
            f"{step['cycles_per_step']:,} cycles at {network.board.clock_hz / 1e6:g} MHz; {error}",
        ),
        _card(
            "energy of a step",
            f"{step['mj_per_step']:.3g} mJ",
            f"at {network.board.active_mw:g} mW; see below",
        ),
        _card(
            "parameters trained",
            f"{network.figures['trainable_parameters']:,}",
            escape(figures.trained_names(network, most=4)),
        ),
    ]
    return _cards(cards)


def _most(step: Mapping[str, Any]) -> str:
    """The worst case, where it is known."""
    worst = step["instructions_per_step_worst"]
    return "" if worst is None else f"; at most {worst:,}"


def _learning(run: BoardRun, demo: Adaptation | None) -> str:
    digest = hashlib.sha256(run.state).hexdigest()
    if run.twin_equal:
        twin = '<span class="good">the twin on the desk is equal in every bit</span>'
    else:
        twin = '<span class="bad">the twin on the desk DIFFERS</span>'
    shown = plots.learning_plot(run.losses, demo)
    text = (
        f"{run.steps:,} training steps on the emulated {escape(run.board.core)} "
        f"({escape(run.emulator)}), one sample each, every sample judged before its own update; "
        f"{_outcome(run)}; {twin}: weights, biases, ranges, random generator, every prediction and "
        f"loss. State after the last step: <code>{digest[:32]}&hellip;</code> (SHA-256)."
    )
    return _plot("Learning on the board", shown, text)


def _outcome(run: BoardRun) -> str:
    """Accuracy, or the loss where there are no classes, before and after."""
    before, after = run.accuracy_before, run.accuracy_after
    if before is None or after is None:
        return f"loss {run.loss_before:.4g} before and {run.loss_after:.4g} after"
    return f"accuracy {percent(before)} before and {percent(after)} after"


def _plot(title: str, svg: str, text: str = "", *, wide: bool = False) -> str:
    kind = ' class="wide"' if wide else ""
    return f'<h2>{title}</h2>\n<figure{kind}>{svg}</figure>\n<p class="soft">{text}</p>'


def _layer_table(network: Network) -> str:
    rows = figures.layer_rows(network)
    header = (
        *("layer", "trained", "#parameters", "#state B", "#flash B"),
        *("direction", "#MACs", "#instructions", "#cycles", "#ms", "#mJ"),
    )
    sizes = ("parameters", "state_bytes", "flash_bytes")
    body: list[tuple[str, ...]] = []
    for row in rows:
        trained = "yes" if row["trained"] else ""
        first: tuple[str, ...] = (row["name"], trained, *(f"{row[key]:,}" for key in sizes))
        for direction in DIRECTIONS:
            if row[f"instructions_{direction}"]:
                body.append((*first, direction, *figures.cost_cells([row], direction)))
                first = ("",) * len(first)
    sums = (f"{sum(row[key] for row in rows):,}" for key in sizes)
    total = ("all layers", "", *sums, "", *figures.cost_cells(rows))
    return f"<h2>Layers</h2>\n{_table(header, body, total)}"


def _tensor_table(network: Network) -> str:
    header = (
        *("tensor", "layer", "memory", "kind", "shape", "type"),
        *("#bytes", "#offset", "#nodes", "shares memory of"),
    )
    body = []
    for row in figures.tensor_rows(network):
        offset, alive = row["offset"], row["alive"]
        body.append((
            row["name"], row["layer"], row["memory"], row["kind"],
            " x ".join(map(str, row["shape"])), row["dtype"], f"{row['bytes']:,}",
            "" if offset is None else f"{offset:,}",
            "" if alive is None else f"{alive[0]}-{alive[1]}",
            row["shares"] or "",
        ))  # fmt: skip
    count = f"<summary>all {len(body)} pieces of RAM and flash</summary>"
    return f"<h2>Tensors</h2>\n<details>{count}\n{_table(header, body)}</details>"


def _methods(network: Network) -> str:
    m = network.measurement
    source, reason = (
        escape(str(m.details.get(k, ""))) for k in ("cycle_source", "cycle_error_reason")
    )
    cycles = f"Cycles are those of the core's timing table ({source}): {reason}." if source else ""
    return (
        f"<h2>The arithmetic</h2>\n<p>{ARITHMETIC}</p>\n<h2>How it was measured</h2>\n"
        f"<p>{MEASURING} Compiled with {escape(m.toolchain)}. {cycles} "
        f"{escape(accuracy(network.board))}.</p>"
    )


def _cards(cards: Iterable[str]) -> str:
    return f'<div class="cards">\n{"".join(cards)}</div>'


def _card(name: str, value: str, note: str, *, share: float | None = None) -> str:
    meter = ""
    if share is not None:
        meter = f'<div class="meter"><span style="width:{min(share, 1):.2%}"></span></div>'
        note = f"{percent(share)} {note}"
    return (
        f'<div class="card"><div class="name">{name}</div><div class="value">{value}</div>'
        f'{meter}<div class="note">{note}</div></div>\n'
    )


def _table(header: Sequence[str], body: Iterable[Sequence[str]], total: Sequence[str] = ()) -> str:
    """An HTML table; a column whose name starts with "#" holds numbers."""
    kinds = [' class="number"' if name.startswith("#") else "" for name in header]

    def line(cells: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{kind}>{escape(cell)}</{tag}>" for kind, cell in zip(kinds, cells, strict=True)
        )

    rows = [f"<tr>{line(cells, 'td')}</tr>" for cells in body]
    if total:
        rows.append(f'<tr class="total">{line(total, "td")}</tr>')
    names = [name.removeprefix("#") for name in header]
    return (
        f'<div class="scroll"><table><thead><tr>{line(names, "th")}</tr></thead>\n<tbody>'
        + "\n".join(rows)
        + "</tbody></table></div>"
    )
