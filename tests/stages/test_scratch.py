"""Do kernels with less scratch compute the same, and does a tight board get them, and say so?"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from executions import Training, prepare
from hypothesis import given, settings
from hypothesis import strategies as st
from made_cases import examples

import insitu
from insitu.app import cli
from insitu.data.datasets import digits
from insitu.errors import ConfigError, FitError
from insitu.firmware.build import build_host
from insitu.generate import generate
from insitu.graph.builder import Builder
from insitu.graph.model import SCRATCH_LIMIT, Graph, Node, OpDef, TensorType
from insitu.network.fit import least_bytes
from insitu.network.folder import write_sources
from insitu.network.trainable import TrainableNetwork
from insitu.ops.kernels.tiles import MOST_BYTES
from insitu.plan import fit_arena, limit_scratch, plan_memory
from insitu.run.twin_library import TwinLibrary
from insitu.target.board import Board, find_board

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "insitu/app/demo_data/digits_cnn.onnx"


def _wanted(node: Node, _: Graph) -> int:
    """Its own amount, or a tenth where the limit is below that."""
    most = int(node.attributes["most"])
    return most if most <= node.attributes.get(SCRATCH_LIMIT, most) else most // 10


CHOOSY = OpDef(
    name="choosy",
    infer=lambda attributes, _: [TensorType((attributes["size"],), "int8")],
    scratch_bytes=_wanted,
)

ROWS = st.lists(st.tuples(st.integers(1, 500), st.integers(0, 900)), min_size=1, max_size=7)


def _chain(rows: list[tuple[int, int]]) -> Graph:
    """Nodes one after the other, each of an output's size and the scratch that it wants."""
    builder = Builder("net")
    name = builder.input("x", (8,), dtype="int8")
    for index, (size, most) in enumerate(rows):
        attributes = {"size": size, "most": most}
        (name,) = builder.node(CHOOSY, (name,), name=f"n{index}", attributes=attributes)
    return builder.finish((name,))


@settings(max_examples=100)
@given(rows=ROWS, share=st.floats(0.1, 1))
def test_any_arena_is_filled_or_too_small_for_the_least(
    rows: list[tuple[int, int]], share: float
) -> None:
    graph = _chain(rows)
    room = int(share * plan_memory(graph).arena_bytes)
    fitted, plan = fit_arena(graph, room)
    assert plan == plan_memory(fitted)
    least = limit_scratch(graph, 0)
    if plan.arena_bytes > room:
        assert plan_memory(least).arena_bytes > room
    for node, wanted in zip(fitted.nodes, graph.nodes, strict=True):
        given_up = node.op.scratch_bytes(node, fitted) < wanted.op.scratch_bytes(wanted, graph)
        assert given_up == (SCRATCH_LIMIT in node.attributes)


def test_only_kernels_that_run_where_it_is_tight_take_less() -> None:
    """n1 runs beside 600 bytes, n0 and n2 beside less."""
    graph = _chain([(300, 200), (300, 500), (10, 300)])
    fitted, plan = fit_arena(graph, 700)
    assert plan.arena_bytes <= 700
    assert [SCRATCH_LIMIT in node.attributes for node in fitted.nodes] == [False, True, False]


def test_a_graph_that_fits_stays_as_it_is() -> None:
    graph = _chain([(300, 200), (300, 500)])
    fitted, plan = fit_arena(graph, plan_memory(graph).arena_bytes)
    assert all(a is b for a, b in zip(fitted.nodes, graph.nodes, strict=True))
    assert plan == plan_memory(graph)


@pytest.fixture(scope="module", params=["digits-cnn"])
def training(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Training:
    return prepare(request.param, 3, tmp_path_factory.mktemp("training"))


def _digest(training: Training, step: Graph, folder: Path, *, portable: bool) -> bytes:
    """The state after the stream, by the generated C on the desk."""
    write_sources(generate(step, plan_memory(step), "model"), folder)
    build = training.folder.parent / "build"
    library = build_host(folder, "model", build, portable=portable)
    result = TwinLibrary(library, "model").run(training.stream)
    return result.state + result.losses.tobytes()


@pytest.mark.toolchain
@pytest.mark.parametrize("portable", [True, False])
def test_any_scratch_gives_the_same_bits(
    training: Training, portable: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    step = training.step
    whole = _digest(training, step, tmp_path_factory.mktemp("whole"), portable=portable)
    limits = st.one_of(st.just(0), st.integers(0, MOST_BYTES // 4))

    @settings(max_examples=examples(4))
    @given(st.lists(limits, min_size=len(step.nodes), max_size=len(step.nodes)))
    def question(chosen: list[int]) -> None:
        nodes = [
            replace(node, attributes={**node.attributes, SCRATCH_LIMIT: limit})
            for node, limit in zip(step.nodes, chosen, strict=True)
        ]
        less = step.with_nodes(nodes)
        folder = tmp_path_factory.mktemp("less")
        assert _digest(training, less, folder, portable=portable) == whole

    question()


def _board(nbytes: int) -> Board:
    board = find_board("nrf52840")
    flash, ram = board.memories
    return replace(board, name="tight", memories=(flash, replace(ram, length_bytes=nbytes)))


def _compile(board: Board, **options: Any) -> TrainableNetwork:
    return insitu.compile(DEMO, calibration=digits().x[:100], board=board, **options)


@pytest.fixture(scope="module")
def whole() -> TrainableNetwork:
    """On a board with room."""
    return _compile(find_board("nrf52840"))


@pytest.mark.toolchain
def test_a_tight_board_gets_less_scratch_and_says_what_it_costs(
    whole: TrainableNetwork, tmp_path: Path
) -> None:
    assert whole.less_scratch is None and whole.figures["less_scratch"] is None
    ram = whole.figures["ram_bytes"]
    network = _compile(_board(ram - 1000))
    assert network.figures["fits"] and network.figures["ram_bytes"] <= ram - 1000
    less = network.less_scratch
    assert less is not None and less["ram_bytes_wanted"] == ram
    assert less["kernels"] == [n.name for n in network.graph.nodes if SCRATCH_LIMIT in n.attributes]
    assert less["instructions"] > less["instructions_wanted"]
    assert less["instructions_wanted"] == sum(whole.measurement.instructions.values())
    data = digits().take(np.arange(40))
    run = network.run(data.x, data.y, steps=10, test=(data.x[:4], data.y[:4]))
    assert run.twin_equal
    assert run.state == whole.run(data.x, data.y, steps=10, test=(data.x[:4], data.y[:4])).state
    loaded = TrainableNetwork.load(network.save(tmp_path / "out").folder)
    assert loaded.figures == network.figures


@pytest.mark.toolchain
def test_a_board_too_small_for_the_least_is_refused_with_all_numbers(
    whole: TrainableNetwork,
) -> None:
    ram = whole.figures["ram_bytes"]
    room = least_bytes(limit_scratch(whole.graph, 0))["RAM"] + 64  # below it is refused early
    with pytest.raises(FitError) as caught:
        _compile(_board(room))
    text = str(caught.value)
    needed = caught.value.figures["ram_bytes"]
    assert room < needed < ram
    assert f"needs {needed} bytes of RAM but the board has {room}" in text
    assert f"with all of it {ram} bytes" in text and "take a larger board" in text


@pytest.mark.toolchain
def test_scratch_is_limited_on_request(
    whole: TrainableNetwork, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "d.npz", x=digits().x[:100])
    command = ["compile", str(DEMO), "--data", str(tmp_path / "d.npz"), "--scratch", "1000"]
    cli.app([*command, "--out", str(tmp_path / "c"), "--json"], standalone_mode=False)
    figures = json.loads(capsys.readouterr().out)
    assert figures["arena_bytes"] < whole.plan.arena_bytes
    assert figures["less_scratch"]["ram_bytes_wanted"] is None
    cli.app(["report", str(tmp_path / "c")], standalone_mode=False)
    assert re.search(r"scratch +\d+ kernels have less .* as asked for", capsys.readouterr().out)


def test_scratch_below_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="scratch -1 is below 0 bytes; 4096 makes"):
        _compile(find_board("nrf52840"), scratch=-1)
