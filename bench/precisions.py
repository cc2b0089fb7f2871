"""Precisions uint8, mixed, float32 -> instructions of a training step on three cores, RAM, flash.

    python bench/precisions.py [--networks digits-cnn,mlp,fashion-cnn] [--json FILE] [--layers]

A network is trained on the twin (`WARM_UP` steps), then the board goes on from there for `COUNTED`
steps, whose mean is shown: kernels pass over errors that are 0, and how many there are depends on
what the network has learnt. RAM is state, arena and stack; where a board has less, the figure is
that of a board without limits. Fashion-MNIST is the data of the two larger networks.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console
from rich.table import Table

import insitu
from insitu.config import PRECISIONS
from insitu.data.datasets import Array, turned_digits
from insitu.data.samples import channels_last
from insitu.differentiate import differentiate
from insitu.firmware.build import build_firmware, build_hook, build_host
from insitu.generate import generate, state_layout
from insitu.graph.model import Graph, Phase
from insitu.network.folder import write_sources
from insitu.plan import plan_memory
from insitu.prepare.layers import select_layers
from insitu.prepare.simplify import simplify
from insitu.quantize import calibrate, quantize_graph
from insitu.run import emulator
from insitu.run.profile import ProfiledResult
from insitu.run.schedule import training_stream
from insitu.run.stream import Stream
from insitu.run.twin_library import TwinLibrary
from insitu.target.board import find_board

BOARDS = ("nrf52840", "imxrt1062", "rp2040")
"""Cortex-M4 and M7 with an FPU, M0+ without."""

NAME, RATE = "model", 0.01
WARM_UP, COUNTED = 2000, 20


@dataclass(frozen=True)
class Task:
    """A network and what it learns; y are int32."""

    title: str
    graph: Graph
    x: Array
    y: Array


@dataclass(frozen=True)
class Row:
    """One network in one precision on one board; instructions a training step."""

    network: str
    board: str
    precision: str
    forward: int
    backward: int
    update: int
    ram_bytes: int
    flash_bytes: int
    layers: dict[str, int]

    @property
    def step(self) -> int:
        """A whole training step."""
        return self.forward + self.backward + self.update


def digits_cnn() -> Task:
    """The demo's network, all layers, after the sensor was turned."""
    world = turned_digits()
    path = Path(insitu.__file__).parent / "app" / "demo_data" / "digits_cnn.onnx"
    return Task("digits CNN", simplify(insitu.load(path).graph), world.adapt.x, world.adapt.y)


def mlp() -> Task:
    """784-64-10 from scratch."""
    random = np.random.default_rng(0)
    shapes = {"fc1": (64, 784), "fc2": (10, 64)}
    nodes, constants = [helper.make_node("Flatten", ["image"], ["x"])], []
    x = "x"
    for name, shape in shapes.items():
        bound = np.sqrt(6 / shape[1])
        w = random.uniform(-bound, bound, shape).astype(np.float32)
        b = np.zeros(shape[0], np.float32)
        constants += [
            numpy_helper.from_array(w, f"{name}.w"),
            numpy_helper.from_array(b, f"{name}.b"),
        ]
        inputs = [x, f"{name}.w", f"{name}.b"]
        nodes.append(helper.make_node("Gemm", inputs, [f"{name}.y"], name=name, transB=1))
        if name == "fc1":
            nodes.append(helper.make_node("Relu", ["fc1.y"], ["fc1.relu"]))
        x = "fc1.relu"
    shape_in, shape_out = ["batch", 1, 28, 28], ["batch", 10]
    graph = helper.make_graph(
        nodes,
        "mlp",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape_in)],
        [helper.make_tensor_value_info("fc2.y", TensorProto.FLOAT, shape_out)],
        constants,
    )
    return fashion("MLP 784-64-10", helper.make_model(graph, ir_version=9, opset_imports=[OPSET]))


OPSET = helper.make_opsetid("", 17)


def fashion_cnn() -> Task:
    """2 convolutions of stride 2, 2 linear layers, from scratch."""
    from learning.fashion_mnist import build

    return fashion("Fashion-MNIST CNN", build(0))


def fashion(title: str, model: onnx.ModelProto) -> Task:
    """A network that learns Fashion-MNIST."""
    data = insitu.datasets.fashion_mnist("train")
    x = (data.x[: WARM_UP + COUNTED] - np.float32(0.286)) / np.float32(0.353)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        onnx.save(model, path)
        graph = simplify(insitu.load(path).graph)
    return Task(title, graph, x, data.y[: len(x)])


NETWORKS: dict[str, Callable[[], Task]] = {
    "digits-cnn": digits_cnn,
    "mlp": mlp,
    "fashion-cnn": fashion_cnn,
}


def trained_step(task: Task, precision: str, folder: Path) -> tuple[Graph, Stream]:
    """The training step with the state after the warm-up, and the steps to be counted."""
    shape = task.graph.tensors[task.graph.inputs[0]].shape
    ranges = calibrate(task.graph, channels_last(task.x[:1024], shape))
    trained = select_layers(task.graph, "all")
    scheme = insitu.TrainingConfig(precision=precision).scheme
    step = differentiate(quantize_graph(task.graph, ranges, trained, scheme), scheme)
    write_sources(generate(step, plan_memory(step), NAME), folder)
    library = TwinLibrary(build_host(folder, NAME, folder / "build"), NAME)
    stream = training_stream(
        library.quantize_input(task.x),
        task.y.astype(np.int32),
        steps=WARM_UP + COUNTED,
        rate=RATE,
        schedule="constant",
        seed=0,
    )
    library.run(_part(stream, slice(0, WARM_UP)))
    values = state_layout(step).unpack(library.state)
    tensors = {
        name: replace(t, data=values[name]) if name in values else t
        for name, t in step.tensors.items()
    }
    return replace(step, tensors=tensors), _part(stream, slice(WARM_UP, None))


def _part(stream: Stream, records: slice) -> Stream:
    return replace(stream, rates=stream.rates[records], order=stream.samples[records])


def measure(task: Task, precision: str, folder: Path) -> list[Row]:
    """A row a board."""
    step, stream = trained_step(task, precision, folder / "twin")
    source = folder / "board"
    write_sources(generate(step, plan_memory(step), NAME), source)
    return [_row(task, precision, name, step, stream, source) for name in BOARDS]


def _row(task: Task, precision: str, name: str, step: Graph, stream: Stream, source: Path) -> Row:
    board, build = find_board(name), source / "build"
    plain = build_firmware(source, NAME, board, build, limits=False)
    profiled = build_firmware(source, NAME, board, build, profile=True, limits=False)
    counts = emulator.run(profiled, stream, profile=build_hook(build), profiled_records=len(stream))
    assert isinstance(counts, ProfiledResult)
    by_node = [counts.instructions.get(index, 0) for index in range(len(step.nodes))]

    def of(*phases: Phase) -> int:
        nodes = zip(step.nodes, by_node, strict=True)
        return round(sum(count for node, count in nodes if node.phase in phases))

    layers = {n.name: round(c) for n, c in zip(step.nodes, by_node, strict=True)}
    return Row(
        network=task.title,
        board=f"{name}, {board.core.removeprefix('cortex-')}",
        precision=precision,
        forward=of(Phase.FORWARD),
        backward=of(Phase.LOSS, Phase.BACKWARD),
        update=of(Phase.UPDATE, Phase.APPLY),
        ram_bytes=plain.ram_bytes + plain.stack_bytes,
        flash_bytes=plain.flash_bytes,
        layers=layers,
    )


COLUMNS = ("board", "precision", "forward", "backward", "update", "step", "RAM B", "flash B")


def cells(rows: list[Row], network: str) -> list[tuple[str, ...]]:
    """The table of a network, board by board."""
    mine = [row for row in rows if row.network == network]
    boards = list(dict.fromkeys(row.board for row in mine))
    return [
        (
            row.board,
            row.precision,
            *(f"{n:,}" for n in (row.forward, row.backward, row.update, row.step)),
            *(f"{n:,}" for n in (row.ram_bytes, row.flash_bytes)),
        )
        for row in sorted(mine, key=lambda row: boards.index(row.board))
    ]


def show(rows: list[Row], *, layers: bool) -> None:
    """One table a network; instructions are those of a training step."""
    console = Console(width=110)
    for network in dict.fromkeys(row.network for row in rows):
        table = Table(title=network)
        for column in COLUMNS:
            table.add_column(column, justify="left" if column in COLUMNS[:2] else "right")
        for line in cells(rows, network):
            table.add_row(*line)
        console.print(table)
    for row in rows if layers else []:
        console.print(row.network, row.board, row.precision, row.layers)


def markdown(rows: list[Row]) -> str:
    """The page that is committed."""
    lines = [
        "# Precisions: what a training step costs",
        "",
        "Made by `bench/precisions.py --markdown FILE`; do not edit. Instructions of a training",
        f"step, all layers trained, batch 1: the mean of {COUNTED} steps after {WARM_UP}. Errors",
        "that are 0 cost nothing, and 8 bits make more of them 0 than floats do. The M4 and M7",
        "have an FPU, the M0+ has none. RAM is state, arena, buffers and stack, whatever the",
        "board has. Where no layer stands before the first trained linear one, mixed is float32.",
    ]
    for network in dict.fromkeys(row.network for row in rows):
        lines += ["", f"## {network}", "", f"| {' | '.join(COLUMNS)} |"]
        lines += ["| --- | --- |" + " ---: |" * (len(COLUMNS) - 2)]
        lines += [f"| {' | '.join(line)} |" for line in cells(rows, network)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--precisions", default=",".join(PRECISIONS))
    parser.add_argument("--layers", action="store_true", help="show every node's instructions")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--markdown", type=Path, help="write the tables to this file")
    options = parser.parse_args()
    rows: list[Row] = []
    for name in options.networks.split(","):
        task = NETWORKS[name]()
        for precision in options.precisions.split(","):
            with tempfile.TemporaryDirectory() as folder:
                rows += measure(task, precision, Path(folder))
    show(rows, layers=options.layers)
    if options.markdown:
        options.markdown.write_text(markdown(rows))
    if options.json:
        value = [{**asdict(row), "step": row.step} for row in rows]
        options.json.write_text(json.dumps(value, indent=1) + "\n")


if __name__ == "__main__":
    main()
