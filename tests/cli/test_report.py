"""Do the reports say what was measured, all of it, whatever the names and the terminal?"""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from networks import DEMO_ONNX
from rich.console import Console

from insitu.artifacts import Measurement
from insitu.config import TrainingConfig
from insitu.differentiate import differentiate
from insitu.errors import OutputError
from insitu.frontends.model import Model, Unsupported
from insitu.frontends.onnx import reader as onnx
from insitu.graph.model import Graph
from insitu.measure.cost import DIRECTIONS, accuracy
from insitu.network.board_run import BoardRun
from insitu.network.compiled import Network
from insitu.network.figures import (
    layer_rows,
    memory_parts,
    report_figures,
    tensor_rows,
    trained_names,
)
from insitu.network.twin import History
from insitu.plan import plan_memory
from insitu.prepare.layers import list_layers, select_layers
from insitu.prepare.simplify import simplify
from insitu.quantize import calibrate, quantize_graph
from insitu.report import text
from insitu.report.adaptation import Adaptation
from insitu.report.characters import bar, memory_map, percent, picture, short, sparkline
from insitu.report.html import write_html
from insitu.report.plots import memory_plot
from insitu.target.board import all_boards, find_board
from insitu.tools.survey import Finding

BOARD = find_board("nrf52840")
HISTORY = History(loss=[2.0, 1.0, 0.5], accuracy=[0.2, 0.5, 0.8], validation=[0.3, 0.5, 0.7])


def compiled(layers: str = "last:3", prefix: str = "", batch: int = 1) -> Network:
    """The demo's network as `compile` leaves it, with a made-up measurement."""
    graph = _renamed(simplify(onnx.read(DEMO_ONNX).graph), prefix)
    trained = select_layers(graph, layers)
    x = np.random.default_rng(0).random((16, 8, 8, 1)).astype(np.float32)
    scheme = TrainingConfig(layers=layers, batch=batch).scheme
    step = differentiate(quantize_graph(graph, calibrate(graph, x), trained, scheme), scheme)
    counts = {index: 100 + index for index in range(len(step.nodes))}
    return Network(
        name="digits",
        input_shape=(1, 8, 8),
        graph=step,
        float_graph=graph,
        trained=trained,
        training=TrainingConfig(layers=layers, batch=batch),
        plan=plan_memory(step),
        board=BOARD,
        measurement=Measurement(
            board=BOARD.name,
            core=BOARD.core,
            toolchain="gcc 1.2.3",
            flash_bytes=30_000,
            ram_bytes=15_000,
            stack_bytes=500,
            instructions=counts,
            cycles={index: 2 * n for index, n in counts.items()},
            cycle_error_percent=10,
        ),
        folder=Path("nowhere"),
    )


def _renamed(graph: Graph, prefix: str) -> Graph:
    nodes = [
        replace(node, name=prefix + node.name, layer=prefix + node.layer) for node in graph.nodes
    ]
    return graph.with_nodes(nodes)


@pytest.fixture(scope="module")
def network() -> Network:
    return compiled()


def ran(network: Network, *, twin_equal: bool = True) -> BoardRun:
    """A run of 500 steps."""
    random = np.random.default_rng(0)
    return BoardRun(
        board=network.board,
        steps=500,
        seed=0,
        emulator="qemu 7.2.0",
        twin_equal=twin_equal,
        state=network.state.pack({t.name: np.asarray(t.data) for t in network.state.tensors}),
        accuracy_before=0.1,
        accuracy_after=0.9,
        loss_before=2.3,
        loss_after=0.4,
        checked_predictions=500,
        stack_bytes=420,
        loss=0.5,
        losses=random.random(500).astype(np.float32),
        predicted=random.integers(0, 10, 500).astype(np.int32),
        seconds=1.0,
        network=network,
        measurement=network.measurement,
    )


def adapted() -> Adaptation:
    """What the demo adds."""
    return Adaptation(
        old_world=0.98,
        new_world=0.11,
        adapted=0.97,
        float_adapted=0.96,
        pictures=(np.eye(8), np.zeros((8, 8))),
        label="7",
        right=np.arange(500) % 3 > 0,
    )


@pytest.mark.parametrize("layers", ["last:1", "last:3", "all"])
def test_layers_add_up_to_the_step(layers: str) -> None:
    network = compiled(layers)
    rows, step = layer_rows(network), network.figures
    for direction in DIRECTIONS:
        total = sum(row[f"instructions_{direction}"] for row in rows)
        assert total == step[f"instructions_{direction}"]
    assert sum(row["instructions"] for row in rows) == step["instructions_per_step"]
    assert sum(row["cycles"] for row in rows) == step["cycles_per_step"]
    assert sum(row["ms"] for row in rows) == pytest.approx(step["ms_per_step"])
    assert sum(row["mj"] for row in rows) == pytest.approx(step["mj_per_step"])
    assert sum(row["macs_forward"] for row in rows) == network.figures["macs_forward"]
    trained = sum(row["parameters"] for row in rows if row["trained"])
    assert trained == network.figures["trainable_parameters"]


def test_the_loss_comes_last_and_frozen_layers_have_no_update(network: Network) -> None:
    rows = layer_rows(network)
    assert [row["name"] for row in rows] == ["conv1", "conv2", "fc1", "fc2", "loss"]
    assert rows[0]["instructions_update"] == rows[0]["state_bytes"] == 0
    assert not rows[0]["trained"] and rows[1]["trained"]


def test_parts_add_up_to_what_was_measured(network: Network) -> None:
    parts = memory_parts(network)
    assert sum(parts["RAM"].values()) == network.figures["ram_bytes"]
    assert sum(parts["flash"].values()) == network.figures["flash_bytes"]
    assert min(n for by_part in parts.values() for n in by_part.values()) > 0


def test_tensors_are_the_state_the_arena_and_the_constants(network: Network) -> None:
    rows, parts = tensor_rows(network), memory_parts(network)
    sums: Counter[str] = Counter()
    for row in rows:
        sums[row["kind"]] += row["bytes"]
    padding = network.state.nbytes - sums["state"]
    assert 0 <= padding < 4 * len(network.state.tensors)
    assert sums["constant"] == parts["flash"]["constants"]
    assert sums["initial value"] == parts["flash"]["initial values"]
    pieces = {r["name"]: r for r in rows if r["offset"] is not None and r["shares"] is None}
    assert pieces.keys() == network.plan.offsets.keys()
    ends = [row["offset"] + row["bytes"] for row in pieces.values()]
    assert network.plan.arena_bytes - 4 < max(ends) <= network.plan.arena_bytes


def test_figures_are_json(network: Network) -> None:
    figures = json.loads(json.dumps(report_figures(network)))
    assert figures["ram_bytes"] == 15_500
    assert len(figures["layers"]) == 5


def test_many_trained_layers_are_not_all_named(network: Network) -> None:
    assert trained_names(network) == "conv2, fc1, fc2"
    assert trained_names(network, most=1) == "conv2 and 2 more"


# ---- characters ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "filled"), [(0.0, 0), (1e-9, 1), (0.5, 5), (0.99, 10), (1.0, 10), (7.0, 10)]
)
def test_bar(share: float, filled: int) -> None:
    assert bar(share, 10, plain=True) == "#" * filled + "." * (10 - filled)


def test_sparkline_goes_from_lowest_to_highest() -> None:
    assert sparkline([0.0, 0.5, 1.0], plain=True) == "_+#"
    assert sparkline([3.0, 3.0]) == "▁▁"
    assert sparkline([]) == ""
    assert len(sparkline(np.arange(1000.0), width=60)) == 60


def test_picture_has_square_pixels() -> None:
    assert picture(np.array([[0.0, 1.0], [0.5, 0.0]]), plain=True) == ["  ##", "++  "]
    assert picture(np.zeros((1, 2))) == ["    "]


def test_short_names_keep_both_ends() -> None:
    assert short("conv1", 5) == "conv1"
    assert short("stage1.block2.conv", 10) == "sta...conv"


def test_percent() -> None:
    assert percent(0.0449) == "4.5 %"


def test_memory_map_shows_every_piece_where_it_lies(network: Network) -> None:
    plan, nodes = network.plan, len(network.graph.nodes)
    margin = len(f"{plan.arena_bytes:,}") + 2
    drawn = memory_map(plan, nodes, width=margin + nodes, height=plan.arena_bytes // 4)
    lines = {int(line[:margin].replace(",", "")): line[margin:] for line in drawn.lines}
    assert len(drawn.pieces) == len(plan.lifetimes)
    for piece in drawn.pieces:
        line = lines[plan.offsets[piece.name]]
        assert line[piece.first : piece.last + 1] == piece.letter * (piece.last + 1 - piece.first)


def test_memory_map_of_nothing(network: Network) -> None:
    plan = replace(network.plan, lifetimes=(), offsets={}, arena_bytes=0)
    assert memory_map(plan, 3, width=6).lines == ("0  ...",)


# ---- text ---------------------------------------------------------------------------------------


def console(encoding: str = "utf-8") -> tuple[Console, io.BytesIO]:
    """A console that is no terminal, 80 wide, and what it was told."""
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, write_through=True)
    return Console(file=file, width=80), raw


def said(show: object, *arguments: object, encoding: str = "utf-8") -> str:
    """What a print function writes."""
    made, raw = console(encoding)
    assert callable(show)
    show(made, *arguments)
    return raw.getvalue().decode(encoding)


TWIN = {
    "accuracy_before": 0.1,
    "accuracy_after": 0.9,
    "loss_before": 2.3,
    "loss_after": 0.4,
    "steps": 300,
    "samples_per_second": 12345.6,
    "weights_sha256": "ab" * 32,
}


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_every_command_can_be_printed(network: Network, encoding: str) -> None:
    model = onnx.read(DEMO_ONNX)
    findings = (
        Finding(tool="gcc 1", used_for="twin"),
        Finding(tool="qemu", used_for="running", way_out="install it"),
    )
    for show, *arguments in (
        (text.print_inspect, model, list_layers(model.graph)),
        (text.print_compile, network),
        (text.print_twin, TWIN, HISTORY),
        (text.print_run, ran(network).figures),
        (text.print_report, network),
        (text.print_boards, all_boards().values()),
        (text.print_doctor, findings),
    ):
        assert len(said(show, *arguments, encoding=encoding).splitlines()) > 3


@pytest.mark.parametrize("show", [text.print_compile, text.print_report])
def test_limits_and_accuracy_stand_beside_the_figures(network: Network, show: object) -> None:
    words = " ".join(said(show, network).split())
    assert "15,500 of 262,144 B" in words and "5.9 %" in words
    assert "30,000 of 1,048,576 B" in words and "2.9 %" in words
    assert accuracy(BOARD) in words
    assert "mJ" in words


def test_a_run_says_whether_the_twin_is_equal(network: Network) -> None:
    words = said(text.print_run, ran(network).figures)
    assert "equal in every bit" in words and "10.0 % -> 90.0 %" in words
    assert accuracy(BOARD) in " ".join(words.split())
    assert "DIFFERS" in said(text.print_run, ran(network, twin_equal=False).figures)


def test_a_run_on_a_board_of_the_users_own_has_no_limits(network: Network) -> None:
    figures = {**ran(network).figures, "board": "bench"}
    words = said(text.print_run, figures)
    assert "15,500 B" in words and "within about 10 % on silicon" in words


def test_inspect_names_all_that_is_not_supported_with_a_way_out() -> None:
    model = onnx.read(DEMO_ONNX)
    nodes = tuple(Unsupported(f"n[{i}]", "Einsum", f"reason {i}", f"do {i}") for i in range(2))
    broken = Model(model.name, model.graph, model.input_shape, nodes)
    words = said(text.print_inspect, broken, list_layers(model.graph))
    assert "2 unsupported nodes" in words
    for i in range(2):
        assert f'Einsum "n[{i}]": reason {i}; do {i}' in words
    assert "x[N, 1, 8, 8]" in words and "31,552" in words


def test_names_are_not_markup() -> None:
    network = compiled("all", prefix="[red]_")
    assert "[red]_conv1" in said(text.print_report, network)
    assert "[red]_conv1" in said(text.print_compile, network)


# ---- HTML ---------------------------------------------------------------------------------------

VOID = {"meta", "br", "link", "img", "hr", "input"}


class Page(HTMLParser):
    """What a page holds."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.fetched: list[str] = []
        self.words = ""
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(str(value))
            if name in {"src", "href", "xlink:href"} and not str(value).startswith("#"):
                self.fetched.append(str(value))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def test_html_is_whole_and_alone(network: Network, tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.html"
    write_html(path, network, run=ran(network), history=HISTORY, demo=adapted())
    page = path.read_text()
    found = Page(page)
    assert found.fetched == [] and "@import" not in page
    assert not re.search(r"url\((?!#)", page)
    assert [n for n, count in Counter(found.ids).items() if count > 1] == []
    for words in ("15,500 B", "equal in every bit", "97.0 %", accuracy(BOARD), "a 7, old world"):
        assert words in found.words
    assert [entry.name for entry in path.parent.iterdir()] == ["report.html"]


def test_html_of_the_same_is_the_same(network: Network, tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        write_html(tmp_path / name, network)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_html_escapes_names_and_knows_the_end_of_a_batch(tmp_path: Path) -> None:
    write_html(tmp_path / "report.html", compiled("all", prefix="_<b>$x$", batch=2))
    assert "_<b>$x$conv1" in Page((tmp_path / "report.html").read_text()).words


def test_html_that_cannot_be_written_leaves_nothing(network: Network, tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(OutputError, match=r"cannot be written .*; name another file"):
        write_html(tmp_path / "report.html", network)
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


def test_memory_plot_labels_what_has_room(network: Network) -> None:
    words = Page(memory_plot(network)).words
    assert "conv1.y 512" in words
    for node in network.graph.nodes:
        assert node.name in words
