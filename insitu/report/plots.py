"""network, run -> plots as SVG text: memory over time, bytes by tensor, cost by layer, learning.

Invariant: the same input gives the same text; a plot needs nothing from outside itself. The
colours of layers are the same in all plots.
"""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator

from insitu.errors import OutputError
from insitu.graph.model import Array, Phase
from insitu.measure.cost import DIRECTIONS
from insitu.measure.fidelity import Fidelity
from insitu.network import figures
from insitu.network.compiled import Network
from insitu.report.adaptation import Adaptation
from insitu.report.characters import percent, short

STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"],
    "font.size": 9,
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "insitu",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
}
PALETTE = (
    *("#4e79a7", "#f28e2b", "#59a14f", "#e15759", "#76b7b2"),
    *("#edc948", "#b07aa1", "#ff9da7", "#9c755f", "#bab0ac"),
)
"""Source: Tableau 10."""
PHASE_COLOURS = {
    Phase.FORWARD: "#2f5d8a",
    Phase.LOSS: "#555555",
    Phase.BACKWARD: "#a8561b",
    Phase.UPDATE: "#2e7d32",
    Phase.APPLY: "#6b4c9a",
}
DIRECTION_COLOURS = {"forward": "#4e79a7", "backward": "#f28e2b", "update": "#59a14f"}
WIDTH_INCHES = 9.5
NODES_ON_PAGE = 43
"""More nodes than that make a plot wider than the page, which then scrolls."""
LARGEST_MAP_INCHES = 40.0
LEGEND_ENTRIES = 24
LABEL_POINTS = 7
CHARACTER_POINTS = 0.62 * LABEL_POINTS
SHORTEST_LABEL = 10
TENSORS_SHOWN = 14
NAME_CHARACTERS = 30
MOST_DECIBELS = 60.0
"""What is beyond is rounding of floats, and would make all bars short."""

WINDOW = 200
"""Steps that a point of the learning curve averages."""


def memory_plot(network: Network) -> str:
    """The arena: a rectangle for each lifetime, over the nodes and addresses that it holds."""
    plan, nodes = network.plan, network.graph.nodes
    owners = figures.tensor_layers(network.graph)
    layers = {node.name: node.layer for node in nodes}
    lives = network.plan.lifetimes
    owners |= {x.name: layers[x.scratch_of] for x in lives if x.scratch_of is not None}
    colours = _layer_colours(network)
    width = min(max(WIDTH_INCHES, 0.22 * len(nodes)), LARGEST_MAP_INCHES)
    with mpl.rc_context(STYLE):
        figure, axes = _figure(width, 6.0)
        axes.set_xlim(-0.5, len(nodes) - 0.5)
        axes.set_ylim(0, max(plan.arena_bytes, 1) * 1.04)
        shown = dict.fromkeys(owners[life.name] for life in plan.lifetimes)
        _legend_below(figure, [(name, colours[name]) for name in shown])
        _name_nodes(axes, network)
        axes.axhline(plan.arena_bytes, color="#333333", linewidth=0.8, linestyle="--")
        axes.set_ylabel("address in the arena, bytes")
        axes.set_title(f"arena {plan.arena_bytes:,} bytes (dashed), over the nodes of a step")
        figure.draw_without_rendering()
        for life in plan.lifetimes:
            low, span = plan.offsets[life.name], life.last - life.first + 1
            box = Rectangle(
                (life.first - 0.5, low), span, life.nbytes, facecolor=colours[owners[life.name]]
            )
            box.set(edgecolor="white", linewidth=0.7, alpha=0.9)
            axes.add_patch(box)
            _label(axes, f"{life.name} {life.nbytes:,}", box, figure.dpi)
        return _svg(figure, "memory")


def _label(axes: Axes, text: str, box: Rectangle, dpi: float) -> None:
    """Write into a rectangle what fits: all of it, the name, its ends, or nothing."""
    x, y = box.get_xy()
    end = (x + box.get_width(), y + box.get_height())
    width, height = np.diff(axes.transData.transform([(x, y), end]), axis=0)[0] * 72 / dpi
    upright = bool(width < height and width < CHARACTER_POINTS * len(text))
    if upright:
        width, height = height, width
    room = int(width / CHARACTER_POINTS)
    name = text.partition(" ")[0]
    words = text if len(text) <= room else short(name, room)
    if (len(name) <= room or room >= SHORTEST_LABEL) and height > 1.15 * LABEL_POINTS:
        middle, turn = ((x + end[0]) / 2, (y + end[1]) / 2), 90 if upright else 0
        axes.text(*middle, words, ha="center", va="center", fontsize=LABEL_POINTS, rotation=turn)


def _name_nodes(axes: Axes, network: Network) -> None:
    """Names of the nodes below the axis, coloured by phase."""
    nodes = network.graph.nodes
    every = -(-len(nodes) // 180)
    places = range(0, len(nodes), every)
    names = [short(nodes[i].name, NAME_CHARACTERS) for i in places]
    axes.set_xticks(list(places), names, rotation=90, fontsize=7.5)
    for place, tick in zip(places, axes.get_xticklabels(), strict=True):
        tick.set_color(PHASE_COLOURS[nodes[place].phase])
    axes.tick_params(axis="x", length=2)


def tensor_plot(network: Network) -> str:
    """The largest tensors of RAM and of flash, the rest as one bar."""
    colours, rows = _layer_colours(network), figures.tensor_rows(network)
    parts, limits = figures.memory_parts(network), figures.memory_limits(network.board)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_INCHES, 4.4), layout="constrained")
        pair = figure.subplots(1, 2)
        for axes, memory in zip(pair, parts, strict=True):
            taken = sum(parts[memory].values())
            pieces = [row for row in rows if row["memory"] == memory and row["shares"] is None]
            pieces.sort(key=lambda row: -row["bytes"])
            bars = [(r["name"], r["bytes"], colours.get(r["layer"], "#888888")) for r in pieces]
            rest = sum(nbytes for _, nbytes, _ in bars[TENSORS_SHOWN:])
            bars = bars[:TENSORS_SHOWN]
            if rest:
                bars.append((f"{len(pieces) - TENSORS_SHOWN} more", rest, "#bbbbbb"))
            extra = {"RAM": "stack", "flash": "code"}[memory]
            bars.append((f"({extra})", parts[memory][extra], "#888888"))
            share = percent(taken / limits[memory])
            _bars(axes, bars, f"{memory}: {taken:,} of {limits[memory]:,} B ({share})")
        return _svg(figure, "tensors")


def _bars(axes: Axes, bars: Sequence[tuple[str, int, str]], title: str) -> None:
    places = range(len(bars))
    axes.barh(places, [b[1] for b in bars], color=[b[2] for b in bars], height=0.75)
    axes.set_yticks(places, [short(b[0], NAME_CHARACTERS) for b in bars], fontsize=8)
    axes.invert_yaxis()
    longest = max(b[1] for b in bars)
    axes.set_xlim(0, longest * 1.18)
    for place, (_, nbytes, _) in enumerate(bars):
        axes.text(nbytes + longest * 0.01, place, f"{nbytes:,}", va="center", fontsize=7.5)
    axes.set_xlabel("bytes")
    axes.set_title(title)


def cost_plot(network: Network) -> str:
    """Instructions and milliseconds of a training step by layer and direction."""
    rows = figures.layer_rows(network)
    with mpl.rc_context(STYLE):
        height = 1.5 + 0.3 * len(rows)
        figure = Figure(figsize=(WIDTH_INCHES, height), layout="constrained")
        pair = figure.subplots(1, 2, sharey=True)
        shown = (("instructions", "instructions", ",.0f"), ("ms", "milliseconds", ",.4g"))
        for axes, (what, title, digits) in zip(pair, shown, strict=True):
            left = np.zeros(len(rows))
            for direction, colour in DIRECTION_COLOURS.items():
                values = np.array([row[f"{what}_{direction}"] for row in rows], float)
                axes.barh(range(len(rows)), values, left=left, color=colour, label=direction)
                left += values
            axes.set_yticks(range(len(rows)), [short(row["name"], NAME_CHARACTERS) for row in rows])
            axes.set_xlabel(title)
            axes.xaxis.set_major_formatter("{x:,.0f}" if what == "instructions" else "{x:g}")
            axes.xaxis.set_major_locator(MaxNLocator(5))
            axes.set_title(f"{title} a step: {left.sum():{digits}}")
        pair[0].invert_yaxis()
        handles = [Patch(color=DIRECTION_COLOURS[name], label=name) for name in DIRECTIONS]
        figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
        return _svg(figure, "costs")


def learning_plot(losses: Array, adaptation: Adaptation | None) -> str:
    """The loss over the steps and, where known, the accuracy; each before its own update."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_INCHES, 3.4), layout="constrained")
        panels = figure.subplots(1, 1 if adaptation is None else 2, squeeze=False)[0]
        steps, loss = _averaged(losses)
        panels[0].plot(steps, loss, color="#4e79a7")
        panels[0].set(xlabel="training step", ylim=(0, 1.08 * loss.max()), title="loss")
        if adaptation is not None:
            steps, share = _averaged(adaptation.right)
            panels[1].plot(steps, 100 * share, color="#59a14f", label="training samples")
            panels[1].set(xlabel="training step", ylim=(0, 103), title="accuracy, %")
            _judge(panels[1], len(losses), adaptation)
            panels[1].legend(loc="lower right", fontsize=8, frameon=False)
        return _svg(figure, "learning")


def _judge(axes: Axes, steps: int, adaptation: Adaptation) -> None:
    """The accuracies on samples never trained on."""
    ends = [100 * adaptation.new_world, 100 * adaptation.adapted]
    axes.plot([0, steps], ends, "o", color="#e15759", label="test samples, new world")
    old, level = 100 * adaptation.old_world, 100 * adaptation.float_adapted
    axes.plot([0], [old], "D", color="#333333", label="test samples, old world")
    axes.axhline(level, color="#888888", linestyle=":", label="the same, trained in float")


def _averaged(values: Array) -> tuple[Array, Array]:
    """(step, mean of the `WINDOW` values around it), at most 400 points."""
    window = max(1, min(WINDOW, len(values) // 5))
    sums = np.cumsum(np.concatenate([[0.0], values]))
    means = (sums[window:] - sums[:-window]) / window
    steps = np.arange(len(means)) + window / 2
    every = max(1, len(means) // 400)
    return steps[::every], means[::every]


def epochs_plot(loss: Sequence[float], accuracies: Mapping[str, Sequence[float]]) -> str:
    """Loss and, where there are any, accuracies by epoch."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH_INCHES, 3.2), layout="constrained")
        known = {name: values for name, values in accuracies.items() if len(values)}
        panels = figure.subplots(1, 1 + bool(known), squeeze=False)[0]
        epochs = np.arange(1, len(loss) + 1)
        panels[0].plot(epochs, loss, "o-", color="#4e79a7")
        panels[0].set(xlabel="epoch", ylim=(0, 1.08 * max(loss)), title="loss")
        for (name, values), colour in zip(known.items(), PALETTE[2:], strict=False):
            panels[1].plot(epochs, 100 * np.asarray(values), "o-", color=colour, label=name)
            panels[1].set(xlabel="epoch", ylim=(0, 103), title="accuracy, %")
            panels[1].legend(loc="lower right", fontsize=8, frameon=False)
        for axes in panels:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return _svg(figure, "epochs")


def write_fidelity_plot(path: Path, fidelity: Fidelity) -> None:
    """The error of quantization by layer as a picture of the type that the path's ending says.

    Raises:
        OutputError: the ending is of no type that can be drawn, or the file cannot be written.
    """
    names = [name for name, row in fidelity.layers.items() if row.sqnr_db is not None]
    rows = [fidelity.layers[name] for name in names]
    own, whole = np.asarray([[r.own_sqnr_db, r.sqnr_db] for r in rows], float).reshape(-1, 2).T
    with mpl.rc_context(STYLE):
        figure, axes = _figure(WIDTH_INCHES, max(2.4, 0.24 * len(rows) + 1.3))
        places = np.arange(len(rows))
        axes.barh(places, own, color="#c9d7e8", label="what the layer itself adds")
        if fidelity.worst in names:
            axes.patches[names.index(fidelity.worst)].set_facecolor("#e15759")
        axes.plot(whole, places, "o", color="#2f5d8a", label="all up to it")
        axes.set_yticks(places, [short(name, NAME_CHARACTERS) for name in names])
        axes.set(ylim=(len(rows) - 0.4, -0.6), xlabel="signal to quantization noise, dB")
        axes.set_xlim(right=min(axes.get_xlim()[1], MOST_DECIBELS))
        axes.set_title(f"scores: cosine similarity {fidelity.score_cosine:.4f}")
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
        _write(path, figure)


def _write(path: Path, figure: Figure) -> None:
    """All of the picture or nothing."""
    known = sorted(FigureCanvasAgg.get_supported_filetypes())
    ending = path.suffix.removeprefix(".").lower()
    if ending not in known:
        raise OutputError(f'{path}: "{ending}" is no type of picture; end the name in .png or .svg')
    drawn = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(drawn, format=ending, dpi=150)
    try:
        path.write_bytes(drawn.getvalue())
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror}; name another file") from None


def _layer_colours(network: Network) -> dict[str, Any]:
    layers = dict.fromkeys(node.layer for node in network.graph.nodes)
    return dict(zip(layers, itertools.cycle(PALETTE), strict=False))


def _legend_below(figure: Figure, entries: Sequence[tuple[str, str]]) -> None:
    handles = [Patch(color=colour) for _, colour in entries[:LEGEND_ENTRIES]]
    for handle, (name, _) in zip(handles, entries, strict=False):
        hidden = name.startswith("_")  # matplotlib leaves such labels out
        handle.set_label(" " * hidden + short(name, NAME_CHARACTERS))
    phases = [Patch(fc="none", ec="none", label=phase.value) for phase in PHASE_COLOURS]
    columns = 9 if max(len(name) for name, _ in entries) < 10 else 4
    legend = figure.legend(
        handles=[*handles, *phases],
        loc="outside lower left",
        ncols=columns,
        frameon=False,
        handlelength=1.2,
        fontsize=8,
    )
    for text in legend.get_texts()[len(handles) :]:
        text.set_color(PHASE_COLOURS[Phase(text.get_text())])


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _svg(figure: Figure, name: str) -> str:
    """The SVG element without the XML prologue; its identifiers start with `name`."""
    buffer = io.StringIO()
    FigureCanvasSVG(figure)
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text[text.index("<svg") :])
