"""A network, its training run, and every way to execute it: reference, twins, emulated cores."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from case_models import run_reference
from networks import NETWORKS

from insitu.data.datasets import cwru, digits
from insitu.data.samples import channels_last, quantize_samples
from insitu.differentiate import differentiate
from insitu.errors import DataError, ToolError
from insitu.firmware.build import build_firmware, build_host
from insitu.frontends.onnx.reader import read
from insitu.generate import generate
from insitu.graph.model import Array, Graph
from insitu.graph.verify import verify
from insitu.network.folder import write_sources
from insitu.plan import plan_memory
from insitu.prepare.layers import select_layers
from insitu.prepare.simplify import simplify
from insitu.quantize import calibrate, quantize_graph
from insitu.run import emulator
from insitu.run.schedule import training_stream
from insitu.run.stream import Stream
from insitu.run.twin_library import TwinLibrary
from insitu.target.board import find_board
from insitu.tools.compilers import Toolchain, find_toolchain

RATE, SEED = 0.02, 11
BOARDS = {
    "cortex-m0plus": "rp2040",
    "cortex-m3": "stm32l152re",
    "cortex-m4": "nrf52840",
    "cortex-m7": "imxrt1062",
    "cortex-m33": "nrf5340",
    "cortex-m55": "alif-e3",
}
"""A real board for each core, with its memories."""


def turned_digits() -> tuple[Array, Array]:
    """The demo's world: a quarter turn."""
    data = digits()
    return np.rot90(data.x, axes=(2, 3)), data.y


def bearing() -> tuple[Array, Array]:
    """A vibration a class: two tones of its own, noise."""
    rng = np.random.default_rng(3)
    y = rng.integers(0, 9, 400)
    time = np.arange(512) / 512
    tones = np.sin(2 * np.pi * (5 + 9 * y[:, None]) * time) * np.sin(2 * np.pi * 120 * time)
    x = tones + rng.normal(0, 0.3, tones.shape)
    return x[:, None].astype(np.float32), y


def real_bearing() -> tuple[Array, Array]:
    """CWRU's, every 20th window.

    Raises:
        DataError: INSITU_DATA does not name a folder with it.
    """
    if not (Path(os.environ.get("INSITU_DATA", "")) / "cwru.npz").is_file():
        raise DataError("INSITU_DATA names no folder with cwru.npz")
    data = cwru()
    return data.x[::20], data.y[::20]


def plain_digits() -> tuple[Array, Array]:
    """Of scikit-learn."""
    data = digits()
    return data.x, data.y


RUNS: dict[str, tuple[str, Callable[[], tuple[Array, Array]]]] = {
    "digits-cnn": ("digits-cnn", turned_digits),
    "digits-mlp": ("digits-mlp", plain_digits),
    "bearing-cnn": ("bearing-cnn", real_bearing),
    "bearing-cnn-made": ("bearing-cnn", bearing),
}
"""Network and data, by name; "bearing-cnn" wants CWRU's data, the made data are always there."""


@dataclass(frozen=True)
class Training:
    """A network in C and the stream that trains all of it.

    Attributes:
        folder: of the C sources.
    """

    step: Graph
    stream: Stream
    folder: Path


def prepare(name: str, steps: int, folder: Path) -> Training:
    """Compile a run of `RUNS`, with all layers trained.

    Raises:
        DataError: its data are not there.
    """
    network, load = RUNS[name]
    x, y = load()
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(NETWORKS[network](), folder / "model.onnx")
    graph = simplify(read(folder / "model.onnx").graph)
    shape = graph.tensors[graph.inputs[0]].shape
    ranges = calibrate(graph, channels_last(x[:128], shape))
    step = differentiate(quantize_graph(graph, ranges, select_layers(graph, "all")))
    verify(step)
    write_sources(generate(step, plan_memory(step), "model"), folder / "source")
    q = step.tensors[step.inputs[0]].qparams
    assert q is not None
    stream = training_stream(
        quantize_samples(x, shape, q),
        y.astype(np.int32),
        steps=steps,
        rate=RATE,
        schedule="cosine",
        seed=SEED,
    )
    return Training(step, stream, folder / "source")


@dataclass(frozen=True)
class Result:
    """The state struct and every step's loss after a training run."""

    state: bytes
    losses: Array

    @property
    def sha256(self) -> str:
        """Digest of both."""
        return hashlib.sha256(self.state + self.losses.astype("<f4").tobytes()).hexdigest()


def reference(training: Training) -> Result:
    """The specification, in numpy."""
    outcome = run_reference(training.step, training.stream)
    return Result(outcome.state, outcome.losses)


def twin(training: Training, toolchain: Toolchain, out: Path) -> Result:
    """The generated C in this process."""
    library = build_host(training.folder, "model", out, toolchain=toolchain)
    result = TwinLibrary(library, "model").run(training.stream)
    return Result(result.state, result.losses)


def device(training: Training, toolchain: Toolchain, out: Path) -> Result:
    """The generated C on the core of the toolchain, emulated with a real board's memories."""
    board = find_board(BOARDS[toolchain.target])
    firmware = build_firmware(training.folder, "model", board, out, toolchain=toolchain)
    result = emulator.run(firmware, training.stream)
    return Result(result.state, result.losses)


EXECUTIONS = [(target, name) for target in ("host", *BOARDS) for name in ("gcc", "zig")]
"""(target, toolchain)"""


def execute(training: Training, target: str, name: str, out: Path) -> Result:
    """Run on the desk or on a core.

    Raises:
        ToolError: the toolchain or the emulator is missing.
    """
    toolchain = find_toolchain(target, prefer=name)
    return (twin if target == "host" else device)(training, toolchain, out)


def table(name: str, steps: int, folder: Path) -> Iterator[tuple[str, str, str, bool | None]]:
    """(target, toolchain, digest, equal to the reference) of every execution; None: not run.

    Raises:
        DataError: the run's data are not there.
    """
    training = prepare(name, steps, folder)
    expected = reference(training)
    yield "reference", "numpy", expected.sha256, True
    for target, toolchain in EXECUTIONS:
        try:
            got = execute(training, target, toolchain, folder / "build")
        except ToolError as error:
            yield target, toolchain, str(error), None
            continue
        yield target, toolchain, got.sha256, got.sha256 == expected.sha256
