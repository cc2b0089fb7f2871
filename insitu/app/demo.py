"""nothing -> a report: digits, a sensor mounted a quarter turn, an emulated board that relearns.

The main job on real data, in the order in which a user would do it. Its network is made by
bench/make_demo_network.py.
"""

from __future__ import annotations

import hashlib
import time
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from insitu import pipeline
from insitu.artifacts import RunResult
from insitu.config import TrainingConfig
from insitu.data.datasets import Dataset, Shift, turned_digits
from insitu.data.samples import channels_last
from insitu.differentiate import differentiate
from insitu.firmware.build import build_firmware
from insitu.graph.model import Array
from insitu.measure.cost import accuracy, step_figures
from insitu.network.board_run import BoardRun, Tools, equal, training_of
from insitu.network.figures import trained_names
from insitu.network.folder import check_replaceable
from insitu.network.trainable import TrainableNetwork
from insitu.report.adaptation import Adaptation
from insitu.report.characters import percent, picture, sparkline
from insitu.report.html import write_html
from insitu.report.text import is_plain, step_line, used
from insitu.run import emulator
from insitu.run.float_training import accuracy_float, train_float, trainable
from insitu.run.schedule import learning_rates, sample_order, with_predictions
from insitu.run.stream import Stream

NETWORK = "digits_cnn.onnx"
BOARD = "nrf52840"
LAYERS, EPOCHS, RATE, SEED = "last:3", 10, 0.03, 0
"""Source: the best mean on a quarter of the adaptation images held out; three seeds for last:2,
last:3 and all, 4 and 8 passes, rates 0.01 to 0.06, then five seeds for last:3, 10 to 20 passes,
rates 0.02 to 0.05. The test images took no part in the choice."""

TIMEOUT_S = 600.0
SHOWN = 3
"""The test image that is drawn."""

SECONDS = {"compile": 6, "float": 3, "board": 20, "twin": 1, "report": 4}
"""About how long each stage takes, which is its share of the progress bar."""


def run_demo(
    out: Path, *, console: Console, board: str = BOARD, tools: Tools | None = None
) -> dict[str, Any]:
    """Compile, watch the accuracy fall, train on the emulated board, watch it recover.

    Args:
        out: for sources, firmware and report.html: new, empty, or an earlier result.

    Returns:
        The figures: those of `insitu compile`, `insitu run` and of `Adaptation`.

    Raises:
        OutputError: `out` cannot be written.
        DataError: scikit-learn, which ships the digits, is missing.
        ToolError: a compiler or an emulator is missing or failed.
    """
    start = time.perf_counter()
    check_replaceable(out)
    tools = tools or Tools()
    world = turned_digits()
    stages, story = _Stages(console), _Story(console)
    with stages.bar:
        story.opening(world)
        stages.begin("compile", "compiling for the board")
        network = _compile(world, board, tools, out)
        story.compiled(network)
        run, old_world = _train_on_board(network, world, tools, stages)
        assert run.accuracy_before is not None and run.accuracy_after is not None
        story.ran(run, old_world, run.accuracy_before)
        stages.begin("float", "the same training in float, to compare")
        yardstick = _train_in_float(network, world, stages)
        adaptation = Adaptation(
            old_world=old_world,
            new_world=run.accuracy_before,
            adapted=run.accuracy_after,
            float_adapted=yardstick,
            pictures=(world.test_before.x[SHOWN, 0], world.test_after.x[SHOWN, 0]),
            label=world.test_after.classes[world.test_after.y[SHOWN]],
            right=run.predicted == world.adapt.y[sample_order(len(world.adapt), run.steps, SEED)],
        )
        story.adapted(adaptation)
        stages.begin("report", "drawing the report")
        report = out / "report.html"
        write_html(report, network, run=run, demo=adaptation)
    seconds = time.perf_counter() - start
    story.close(report, seconds)
    figures = {**network.figures, **run.figures, **adaptation.figures}
    return {**figures, "epochs": EPOCHS, "report": str(report), "seconds_in_all": seconds}


def _compile(world: Shift, board: str, tools: Tools, out: Path) -> TrainableNetwork:
    place = resources.files("insitu").joinpath("app", "demo_data", NETWORK)
    with resources.as_file(place) as path:
        model = pipeline.load(path)
    training = TrainingConfig(layers=LAYERS, lr=RATE, seed=SEED)
    network = pipeline.compile(
        model, calibration=world.train.x, training=training, board=board, name="digits", tools=tools
    )
    return network.save(out)


def _train_on_board(
    network: TrainableNetwork, world: Shift, tools: Tools, stages: _Stages
) -> tuple[BoardRun, float]:
    """The run, judged in the new world, and the accuracy in the old world before it."""
    twin, adapt, test = network.twin(), world.adapt, world.test_after
    steps, n = EPOCHS * len(adapt), len(test)
    training = twin.stream(twin.quantize(adapt.x), adapt.y.astype(np.int32), steps=steps)
    tests = np.concatenate([twin.quantize(world.test_before.x), twin.quantize(test.x)])
    stream = with_predictions(training, tests)
    stages.begin("board", f"{steps:,} steps on the emulated {network.board.core}")
    result = _emulate(network, stream, tools, stages)
    stages.begin("twin", "the same samples through the twin")
    initial, loss_before = twin.state, twin.loss(test.x, test.y)
    expected = twin.library.run(stream)
    during = slice(2 * n, 2 * n + steps)
    run = BoardRun(
        board=network.board,
        steps=steps,
        seed=stream.seed,
        emulator=result.emulator,
        twin_equal=equal(result, expected),
        state=result.state,
        accuracy_before=_share(result.predicted[n : 2 * n], test),
        accuracy_after=_share(result.predicted[-n:], test),
        loss_before=loss_before,
        loss_after=twin.loss(test.x, test.y),
        checked_predictions=2 * n,
        **training_of(network, training, initial, result, during),
        stack_bytes=result.stack_bytes,
        seconds=result.seconds,
        network=network,
        measurement=network.measurement,
    )
    return run, _share(result.predicted[:n], world.test_before)


def _emulate(network: TrainableNetwork, stream: Stream, tools: Tools, stages: _Stages) -> RunResult:
    """The stream on a board with exactly the memories of the real one."""
    firmware = build_firmware(
        network.folder,
        network.name,
        network.board,
        network.build_folder,
        toolchain=tools.toolchain,
    )
    return emulator.run(
        firmware,
        stream,
        prefer=tools.emulator,
        timeout_s=TIMEOUT_S,
        progress=lambda done: stages.tell(done, len(stream)),
    )


def _share(predicted: Array, test: Dataset) -> float:
    return float((predicted == test.y).mean())


def _train_in_float(network: TrainableNetwork, world: Shift, stages: _Stages) -> float:
    """Accuracy in the new world of float training: same layers, samples, order and rates."""
    graph, test, adapt = network.float_graph, world.test_after, world.adapt
    shape, steps = graph.tensors[graph.inputs[0]].shape, EPOCHS * len(adapt)
    state = train_float(
        differentiate(trainable(graph, network.trained)),
        channels_last(adapt.x, shape),
        adapt.y,
        order=sample_order(len(adapt), steps, SEED),
        rates=learning_rates(RATE, steps, network.training.schedule),
        progress=stages.tell,
    )
    return accuracy_float(graph, state, channels_last(test.x, shape), test.y)


class _Stages:
    """One progress bar over all stages; it is not drawn where there is no terminal."""

    def __init__(self, console: Console) -> None:
        columns = (
            SpinnerColumn(),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
        )
        self.bar = Progress(
            *columns, console=console, transient=True, disable=not console.is_terminal
        )
        self.task = self.bar.add_task("", total=sum(SECONDS.values()))
        self.done, self.share = 0, 0

    def begin(self, stage: str, description: str) -> None:
        """The stages before are done."""
        self.done, self.share = self.done + self.share, SECONDS[stage]
        self.bar.update(self.task, description=description, completed=self.done)

    def tell(self, done: int, total: int) -> None:
        """So much of this stage is done."""
        self.bar.update(self.task, completed=self.done + self.share * done / max(total, 1))


class _Story:
    """What the demo says: a few lines, each when its figure is known."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.plain = is_plain(console)

    def say(self, label: str, text: str, style: str = "") -> None:
        """A line with its label."""
        self.console.print(Text.assemble((f"{label:<12}", "bold"), (text, style)), soft_wrap=True)

    def opening(self, world: Shift) -> None:
        """The same digit in both worlds."""
        self.console.print(
            Text("handwritten digits, and a sensor mounted a quarter turn\n", "bold")
        )
        pictures = (world.test_before.x[SHOWN, 0], world.test_after.x[SHOWN, 0])
        upright, turned = (picture(p, plain=self.plain) for p in pictures)
        for left, right in zip(upright, turned, strict=True):
            self.say("", f"{left}      {right}")
        digit = world.test_after.classes[world.test_after.y[SHOWN]]
        self.say("", f"{f'a {digit}, upright':<22}the same, turned\n")

    def compiled(self, network: TrainableNetwork) -> None:
        """Bytes and time against the board's limits."""
        board, figures = network.board, network.figures
        count = figures["trainable_parameters"]
        self.say("board", f"{board.title}, {board.core} at {board.clock_hz / 1e6:g} MHz, emulated")
        self.say("trains", f"{trained_names(network)}: {count:,} parameters, one byte a weight")
        self.say("RAM", used(self.console, figures["ram_bytes"], board.ram_bytes))
        self.say("flash", used(self.console, figures["flash_bytes"], board.flash_bytes))
        self.say("a step", step_line(network.figures))
        self.say("", accuracy(board), "dim")

    def ran(self, run: BoardRun, old_world: float, new_world: float) -> None:
        """What the board did, and that the twin did the same."""
        self.say("before", f"{percent(old_world)} upright -> {percent(new_world)} turned")
        step = step_figures(run.network.graph, run.measurement, run.board)
        seconds, joules = (run.steps * step[key] / 1e3 for key in ("ms_per_step", "mj_per_step"))
        self.say(
            "training",
            f"{run.steps:,} steps on the board: about {seconds:.0f} s and {joules:.2f} J "
            f"there, {run.seconds:.0f} s in {run.emulator}",
        )
        self.say("loss", sparkline(run.losses, plain=self.plain))
        same = "equals the board in every bit: state, predictions and losses"
        digest = hashlib.sha256(run.state).hexdigest()[:16]
        if run.twin_equal:
            self.say("twin", f"{same} ({digest})", "green")
        else:
            self.say("twin", "DIFFERS from the board; please report this", "bold red")

    def adapted(self, result: Adaptation) -> None:
        """The end of it, beside float."""
        self.say("after", f"{percent(result.adapted)} turned", "bold green")
        points = result.figures["points_to_float"]
        self.say(
            "in float",
            f"{percent(result.float_adapted)} with the same layers, samples and rates "
            f"(the board: {points:+.1f} points)",
        )

    def close(self, report: Path, seconds: float) -> None:
        """Where it all lies."""
        self.say("report", f"{report}  ({seconds:.0f} s in all)")
