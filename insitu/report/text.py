"""figures -> text on a console: what each command says to people.

Invariant: whoever prints cycles, milliseconds or millijoules prints how far they can be trusted;
names from users' files are never read as markup. The same figures as JSON: `network.figures`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from insitu.data.samples import NOTHING, Beyond
from insitu.frontends.model import Model
from insitu.graph.names import order_of
from insitu.measure.cost import DIRECTIONS, accuracy
from insitu.measure.fidelity import Fidelity
from insitu.measure.quality import Quality
from insitu.network.compiled import Network
from insitu.network.figures import (
    cost_cells,
    layer_rows,
    memory_limits,
    memory_parts,
    scratch_line,
    tensor_rows,
    trained_names,
)
from insitu.network.saturation import CURE, notable
from insitu.network.twin import History
from insitu.prepare.layers import Layer
from insitu.report.characters import bar, memory_map, percent, sparkline
from insitu.target.board import Board, all_boards
from insitu.tools.survey import Finding

BAR_WIDTH = 20


def is_plain(console: Console) -> bool:
    """Whether the console can show ASCII alone."""
    return console.options.ascii_only


def print_inspect(console: Console, model: Model, layers: Sequence[Layer]) -> None:
    """Layers with totals, the input, then every unsupported node with a way out."""
    shape = ", ".join(map(str, model.input_shape))
    _title(console, model.name, f"input x[N, {shape}], {order_of(model.graph)}")
    table = _table("layer", "op", "output", ">parameters", ">MACs", "trainable")
    for row in layers:
        output, can = "x".join(map(str, row.output_shape)), "yes" if row.trainable else ""
        _add(table, row.name, row.op, output, row.parameters, row.macs, can)
    table.add_section()
    _add(table, "total", "", "", sum(r.parameters for r in layers), sum(r.macs for r in layers), "")
    console.print(table)
    for note in model.notes:
        _say(console, note, "yellow")
    if not model.unsupported:
        _say(console, "every node is supported", "green")
        return
    count = len(model.unsupported)
    _say(console, f"{count} unsupported node{'s' * (count > 1)}:", "bold red")
    for node in model.unsupported:
        _say(console, f'  {node.op} "{node.name}": {node.reason}; {node.advice}')


def print_fidelity(console: Console, fidelity: Fidelity) -> None:
    """What quantization alone changes: every layer, then the scores; advice for the worst layer."""
    _heading(console, f"What 8 bits change, on {fidelity.samples:,} samples")
    table = _table("layer", ">SQNR dB", ">own dB", ">max LSB", ">clipped", ">cosine", "")
    for name, row in {"(input)": fidelity.input, **fidelity.layers}.items():
        cells = (_number(row.sqnr_db, 1), _number(row.own_sqnr_db, 1))
        error, cosine = _number(row.max_error_lsb, 1), _number(row.cosine, 5)
        mark = "worst" if name == fidelity.worst else ""
        _add(table, name, *cells, error, f"{row.clipped:.3%}", cosine, mark)
    console.print(table)
    if fidelity.worst is not None:
        _say(console, fidelity.advice)
    facts = _facts()
    _fact(facts, "scores", f"cosine similarity {fidelity.score_cosine:.5f}")
    if fidelity.same_class is not None:
        _fact(facts, "class", f"the same in {percent(fidelity.same_class)} of the samples")
    if fidelity.float_accuracy is not None and fidelity.quantized_accuracy is not None:
        both = f"{percent(fidelity.float_accuracy)} float, {percent(fidelity.quantized_accuracy)}"
        _fact(facts, "accuracy", f"{both} quantized")
    console.print(facts)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def print_compile(console: Console, network: Network, beyond: Beyond = NOTHING) -> None:
    """What the network needs, and what a training step costs, against the board's limits.

    Args:
        beyond: what of the samples for the calibration is clamped.
    """
    _title(console, f"insitu_{network.name}", _board_line(network.board))
    facts = _facts()
    parameters = network.figures["trainable_parameters"]
    each = network.figures["bytes_per_trained_parameter"]
    sizes = f"{parameters:,} parameters, {each:.2f} bytes each in all"
    _fact(facts, "trains", f"{trained_names(network)}: {sizes}")
    _memory_facts(console, facts, network)
    _step_facts(facts, network.figures, network.board)
    _beyond_fact(facts, beyond)
    _fact(facts, "compiler", network.measurement.toolchain)
    _quality_facts(facts, network.quality)
    if network.temporary is None:
        _fact(facts, "written to", str(network.folder))
    console.print(facts)


def print_twin(console: Console, figures: Mapping[str, Any], history: History) -> None:
    """What training did on the desk, epoch by epoch."""
    _title(console, "twin", "the generated C on this machine")
    facts = _facts()
    for name, value in outcome(figures).items():
        _fact(facts, name, value)
    if len(history.loss) > 1:
        _fact(facts, "by epoch", sparkline(history.loss, plain=is_plain(console)))
    rate = figures["samples_per_second"]
    _fact(facts, "steps", f"{figures['steps']:,} at {rate:,.0f} samples a second")
    if history.skipped:
        _fact(facts, "skipped", f"{history.skipped:,} steps whose error was 0 everywhere")
    if history.left_out:
        _fact(facts, "left out", f"{history.left_out:,} steps; the last layer alone learnt")
    if history.saturated:
        _fact(facts, "held", f"{history.saturated:,} rows whose step was too large; lower the rate")
    _bound_facts(facts, history.at_bound)
    _beyond_fact(facts, history.beyond)
    _warning_facts(facts, history.warnings)
    _fact(facts, "state sha256", figures["weights_sha256"])
    console.print(facts)


def outcome(figures: Mapping[str, Any]) -> dict[str, str]:
    """Accuracy (of classifiers) and loss of the evaluated samples, before and after training."""
    accuracy = (figures["accuracy_before"], figures["accuracy_after"])
    said = {} if None in accuracy else {"accuracy": " -> ".join(map(percent, accuracy))}
    return {**said, "loss": f"{figures['loss_before']:.4g} -> {figures['loss_after']:.4g}"}


def print_run(console: Console, figures: Mapping[str, Any], *, board: Board | None = None) -> None:
    """What training did on an emulated board, and whether the twin agrees.

    Args:
        board: for its limits; by default the known one of that name, if there is one.
    """
    board = board or all_boards().get(figures["board"])
    _title(console, figures["board"], f"{figures['core']} in {figures['emulator']}")
    facts = _facts()
    for name, value in outcome(figures).items():
        _fact(facts, name, f"{value} after {figures['steps']:,} steps")
    if figures["twin_equal"]:
        equal = Text("equal in every bit: state, predictions, losses", style="green")
    else:
        equal = Text("DIFFERS from the board; please report this", style="bold red")
    facts.add_row("twin", equal)
    if "checked_predictions" in figures:
        _fact(facts, "scores", f"the twin's; {figures['checked_predictions']:,} by the board too")
    _bound_facts(facts, figures["weights_at_bound"])
    _beyond_fact(facts, Beyond(**figures.get("beyond_range", {})))
    _warning_facts(facts, figures["warnings"])
    _fact(facts, "state sha256", figures["weights_sha256"])
    limits = memory_limits(board) if board else {}
    for memory, key in (("RAM", "ram_bytes"), ("flash", "flash_bytes")):
        _fact(facts, memory, used(console, figures[key], limits.get(memory)))
    _fact(facts, "stack", f"{figures['stack_bytes']:,} B in this run, painted")
    _step_facts(facts, figures, board)
    console.print(facts)


def print_report(console: Console, network: Network) -> None:
    """Everything about memory, latency and energy, by tensor, by layer, by direction."""
    _title(console, f"insitu_{network.name}", _board_line(network.board))
    facts = _facts()
    _memory_facts(console, facts, network)
    _step_facts(facts, network.figures, network.board)
    console.print(facts)
    rows = layer_rows(network)
    _heading(console, "Memory by layer")
    console.print(_layer_memory(network, rows))
    _heading(console, "One training step by layer and direction")
    console.print(_layer_costs(rows))
    _say(console, accuracy(network.board), "dim")
    _heading(console, "Arena over the nodes of a step")
    _print_map(console, network)
    _heading(console, "Tensors")
    console.print(_tensor_table(network))


def print_boards(console: Console, boards: Iterable[Board]) -> None:
    """The boards known, with their limits."""
    table = _table("board", "core", ">MHz", ">RAM KiB", ">flash KiB", ">mW", "title")
    for board in boards:
        ram, flash = (b / 1024 for b in (board.ram_bytes, board.flash_bytes))
        mhz = board.clock_hz / 1e6
        numbers = (f"{n:g}" for n in (mhz, ram, flash, board.active_mw))
        _add(table, board.name, board.core.removeprefix("cortex-"), *numbers, board.title)
    console.print(table)


def print_doctor(console: Console, findings: Iterable[Finding]) -> None:
    """Which tools were found, and what is missing for what."""
    table = _table("for", "tool", "found")
    for finding in findings:
        found = Text("no: " + finding.way_out) if finding.way_out else Text("yes", style="green")
        table.add_row(Text(finding.used_for), Text(finding.tool), found)
    console.print(table)


def used(console: Console, nbytes: int, limit: int | None) -> str:
    """Bytes beside the limit, with a bar."""
    if limit is None:
        return f"{nbytes:,} B"
    share = nbytes / limit
    drawn = bar(share, BAR_WIDTH, plain=is_plain(console))
    return f"{nbytes:,} of {limit:,} B {drawn} {percent(share)}"


def step_line(figures: Mapping[str, Any]) -> str:
    """A training step in one line."""
    return (
        f"{figures['instructions_per_step']:,} instructions, "
        f"{figures['cycles_per_step']:,} cycles, "
        f"{figures['ms_per_step']:.3g} ms, {figures['mj_per_step']:.3g} mJ"
    )


def _memory_facts(console: Console, facts: Table, network: Network) -> None:
    limits, parts = memory_limits(network.board), memory_parts(network)
    for memory, by_part in parts.items():
        _fact(facts, memory, used(console, sum(by_part.values()), limits[memory]))
        _fact(facts, "", " + ".join(f"{name} {n:,}" for name, n in by_part.items()))
    bound = network.plan.lower_bound_bytes
    _fact(facts, "arena", f"{network.plan.arena_bytes:,} B; no plan can need less than {bound:,}")
    m = network.measurement
    frame = f"{m.interrupt_frame_bytes:,} of it for the frame of an interrupt"
    _fact(facts, "stack", f"{m.stack_bytes:,} B; no run can need more; {frame}")
    scratch = scratch_line(network)
    if scratch:
        _fact(facts, "scratch", scratch)


def _bound_facts(facts: Table, shares: Mapping[str, float]) -> None:
    """Layers of which many weights have come to the end of their range."""
    label = "stopped"
    for layer, share in notable(shares).items():
        met = f"{percent(share)} of {layer}'s weights came to the end of their range"
        _fact(facts, label, f"{met}; {CURE}")
        label = ""


def _quality_facts(facts: Table, quality: Quality) -> None:
    """How far 8 bits agree with float."""
    if quality.agreement is not None:
        _fact(facts, "8 bits", f"as float in {percent(quality.agreement)} of calibration samples")
    _warning_facts(facts, quality.warnings)


def _beyond_fact(facts: Table, beyond: Beyond) -> None:
    if beyond.sentence:
        _fact(facts, "clamped", beyond.sentence)


def _warning_facts(facts: Table, warnings: Iterable[str]) -> None:
    for warning in warnings:
        facts.add_row(Text("warning", style="bold yellow"), Text(warning, style="yellow"))


def _step_facts(facts: Table, figures: Mapping[str, Any], board: Board | None) -> None:
    _fact(facts, "a step", step_line(figures))
    parts = (f"{d} {figures[f'instructions_{d}']:,}" for d in DIRECTIONS)
    _fact(facts, "", "instructions: " + ", ".join(parts))
    worst = figures["instructions_per_step_worst"]
    if worst is not None:
        most = f"{worst:,} instructions, {figures['ms_per_step_worst']:.3g} ms"
        _fact(facts, "", f"in the mean while it learns; at most {most}, where errors cost most")
    predict = f"{figures['instructions_predict']:,} instructions, {figures['ms_predict']:.3g} ms"
    _fact(facts, "a prediction", predict)
    error = f"cycles and ms: within about {figures['cycle_error_percent']} % on silicon"
    facts.add_row("", Text(accuracy(board) if board else error, style="dim"))


def _layer_memory(network: Network, rows: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("layer", "trained", ">parameters", ">RAM state B", ">flash B")
    keys = ("parameters", "state_bytes", "flash_bytes")
    for row in rows:
        trained = "yes" if row["trained"] else ""
        _add(table, row["name"], trained, *(row[key] for key in keys))
    parts = memory_parts(network)
    rest = (
        network.state.nbytes - sum(row["state_bytes"] for row in rows),
        sum(parts["flash"].values()) - sum(row["flash_bytes"] for row in rows),
    )
    _add(table, "(whole model, code)", "", 0, *rest)
    table.add_section()
    ram, flash = network.state.nbytes, network.measurement.flash_bytes
    _add(table, "total", "", sum(r["parameters"] for r in rows), ram, flash)
    return table


def _layer_costs(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("layer", "direction", ">MACs", ">instructions", ">cycles", ">ms", ">mJ")
    for row in rows:
        name = row["name"]
        for direction in DIRECTIONS:
            if row[f"instructions_{direction}"]:
                _add(table, name, direction, *cost_cells([row], direction))
                name = ""
    table.add_section()
    for direction in DIRECTIONS:
        _add(table, "total", direction, *cost_cells(rows, direction))
    _add(table, "total", "", *cost_cells(rows))
    return table


def _tensor_table(network: Network) -> Table:
    table = _table("tensor", "shape", "type", "kind", ">bytes", ">offset", ">nodes")
    previous = ""
    rows = tensor_rows(network)
    for row in sorted(rows, key=lambda r: (r["memory"], -r["bytes"])):
        if previous not in ("", row["memory"]):
            table.add_section()
        previous = row["memory"]
        alive = row["alive"]
        _add(
            table,
            row["name"] if row["shares"] is None else f"{row['name']} (in {row['shares']})",
            "x".join(map(str, row["shape"])),
            row["dtype"],
            row["kind"],
            row["bytes"],
            "" if row["offset"] is None else row["offset"],
            "" if alive is None else f"{alive[0]}-{alive[1]}",
        )
    return table


def _print_map(console: Console, network: Network) -> None:
    width = min(console.width, 100)
    drawn = memory_map(network.plan, len(network.graph.nodes), width=width)
    for line in drawn.lines:
        _say(console, line)
    table = _table("", "piece", ">bytes", ">nodes")
    for p in drawn.pieces[: len(drawn.lines)]:
        _add(table, p.letter, p.name, p.nbytes, f"{p.first}-{p.last}")
    console.print(table)


def _board_line(board: Board) -> str:
    return f"{board.name}: {board.title}, {board.core} at {board.clock_hz / 1e6:g} MHz"


def _table(*columns: str) -> Table:
    """A table; a column whose name starts with ">" is aligned to the right."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1))
    for column in columns:
        right = column.startswith(">")
        table.add_column(
            column.removeprefix(">"),
            justify="right" if right else "left",
            no_wrap=right,
            overflow="fold",
        )
    return table


def _facts() -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    return table


def _fact(facts: Table, label: str, value: str) -> None:
    facts.add_row(Text(label), Text(value))


def _add(table: Table, *cells: str | int) -> None:
    table.add_row(*(Text(f"{c:,}" if isinstance(c, int) else c) for c in cells))


def _title(console: Console, name: str, rest: str) -> None:
    console.print(Text.assemble((name, "bold"), "  ", rest), soft_wrap=True)


def _heading(console: Console, text: str) -> None:
    console.print()
    console.print(Text(text, style="bold"))


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style=style), soft_wrap=True)
