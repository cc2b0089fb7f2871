"""network, samples -> what a board does with them, emulated: measured, compared with the twin."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from insitu.artifacts import Firmware, Measurement, MemoryPlan, RunResult
from insitu.data.samples import NOTHING, Beyond, Samples
from insitu.errors import FitError
from insitu.firmware.build import build_firmware, build_hook
from insitu.graph.model import Array, Ends, Graph, Kind, Phase
from insitu.measure.cost import code_of, mean_of, measure, step_figures, with_worst
from insitu.network.compiled import Network
from insitu.network.divergence import Epoch, Watch
from insitu.network.probe import PRESENT, Probe, Steps, flood_of
from insitu.network.saturation import weights_at_bound
from insitu.network.twin import Twin
from insitu.run import emulator
from insitu.run.profile import Flood, ProfiledResult, dearest_of
from insitu.run.schedule import with_predictions
from insitu.run.stream import Progress, Stream
from insitu.target.board import Board
from insitu.tools.compilers import Toolchain, find_toolchain
from insitu.tools.emulators import find_emulator

MOST_PREDICTIONS, LEAST_PREDICTIONS, PREDICTED_MACS = 500, 8, 200_000_000
"""A board predicts samples before and after training while they cost no more than so many
multiply-accumulates in all; an emulator needs a minute for what the twin does in a second."""

COUNTED_STEPS = 50
"""Instructions and cycles of a run are the mean of so many steps from its start, or of as many
whole batches as they hold, at least one."""


@dataclass(frozen=True, kw_only=True)
class Tools:
    """Which tools to use where several are installed; None takes what suits.

    Attributes:
        toolchain: for the board.
        emulator: "qemu" or "unicorn".
    """

    toolchain: Toolchain | None = None
    emulator: str | None = None


def check_tools(core: str, tools: Tools) -> None:
    """Refuse what would fail for want of a tool after everything was calibrated and built.

    Raises:
        ToolError: a compiler or an emulator is missing.
    """
    if tools.toolchain is None:
        find_toolchain(core)
    find_toolchain("host")
    find_emulator(core, prefer=tools.emulator)
    find_emulator(core, prefer=emulator.counting(core))


@dataclass(frozen=True, kw_only=True, eq=False)
class BoardRun:
    """A training run on an emulated board.

    Attributes:
        twin_equal: the board's whole state struct, its predictions and its losses equal the
            twin's after the last step.
        measurement: of the run's first training steps, at most `COUNTED_STEPS`.
        accuracy_before, accuracy_after: of a classifier, else None; loss_before, loss_after: over
            the evaluation set, by the twin.
        checked_predictions: so many of these, evenly spaced, the board predicted as well, before
            and after; predictions that are compared hold the digest of their scores.
        beyond: what of the samples is clamped.
        broken: steps that changed nothing, since their scores were no finite numbers.
        warnings: sentences about a training that has diverged, see `network.divergence`.
        losses: float32[steps]. predicted: int32[steps], before each step's update.
        stack_bytes: the deepest that this run went, painted; `measurement.stack_bytes` is what no
            run can need more than.
    """

    board: Board
    steps: int
    seed: int
    emulator: str
    twin_equal: bool
    state: bytes
    accuracy_before: float | None
    accuracy_after: float | None
    loss_before: float
    loss_after: float
    checked_predictions: int
    loss: float
    losses: Array
    predicted: Array
    stack_bytes: int
    seconds: float
    network: Network
    measurement: Measurement
    beyond: Beyond = NOTHING
    broken: int = 0
    warnings: list[str] = field(default_factory=list)

    @property
    def figures(self) -> dict[str, Any]:
        """What `insitu run --json` says."""
        m = self.measurement
        return {
            "board": self.board.name,
            "core": self.board.core,
            "emulator": self.emulator,
            "toolchain": m.toolchain,
            "steps": self.steps,
            "seed": self.seed,
            "twin_equal": self.twin_equal,
            "weights_sha256": hashlib.sha256(self.state).hexdigest(),
            "accuracy_before": self.accuracy_before,
            "accuracy_after": self.accuracy_after,
            "loss_before": self.loss_before,
            "loss_after": self.loss_after,
            "checked_predictions": self.checked_predictions,
            "loss": self.loss,
            "broken_steps": self.broken,
            "warnings": self.warnings,
            "weights_at_bound": weights_at_bound(self.network, self.state),
            "beyond_range": asdict(self.beyond),
            **step_figures(self.network.graph, m, self.board),
            "ram_bytes": m.ram_bytes + m.stack_bytes,
            "flash_bytes": m.flash_bytes,
            "stack_bytes": self.stack_bytes,
            "seconds": self.seconds,
        }


def measure_network(
    network: Network, probe: Probe, *, tools: Tools, limits: bool = True
) -> Measurement:
    """What a training step costs on the network's board while it learns, and at most.

    Args:
        probe: of this network, or of one with the same step and other scratch.
        limits: False: as if the board had room for it.

    Raises:
        FitError: the network does not fit the board.
        ToolError: a compiler or an emulator is missing or failed.
    """
    board = network.board
    try:
        firmware = _build(network, board, tools, limits=limits)
    except FitError as error:
        sizes = _sizes(_build(network, board, tools, limits=False), board)
        refused = replace(network, measurement=sizes)
        says = f"{error}; {largest_of(refused.graph, refused.plan, short_of(refused.figures))}"
        raise FitError(says, refused.figures, error.arena_bytes) from None
    counter = StepCounter(network, board, tools)
    learning = mean_of(
        [(kind.share, counter.measured(counter.count(kind), firmware)) for kind in probe.learning]
    )
    if not emulator.can_flood(board.core):
        return learning
    floods = [flood_of(network.graph, network.plan, present) for present in PRESENT]
    first, *last = (
        counter.measured(dearest_of([counter.count(kind, flood) for flood in floods]), firmware)
        for kind in probe.dearest
    )
    worst = _share_of_a_sample(network, first, last[0]) if last else first
    return with_worst(learning, worst)


def _share_of_a_sample(network: Network, first: Measurement, last: Measurement) -> Measurement:
    """What a sample costs at most in the mean of a batch.

    Args:
        first: the first sample, which no update leaves out; last: the one that ends the batch.
    """
    nodes = network.graph.nodes
    applied = [i for i, node in enumerate(nodes) if node.phase is Phase.APPLY]
    shared = [i for i in applied if nodes[i].op.ends is not Ends.BATCH_OPEN]

    def share(counts: Mapping[int, int], ends: Mapping[int, int]) -> dict[int, int]:
        parts = {i: round(ends[i] / network.training.batch) for i in shared if i in ends}
        return {**counts, **parts}

    return replace(
        first,
        instructions=share(first.instructions, last.instructions),
        cycles=share(first.cycles, last.cycles),
    )


def _sizes(firmware: Firmware, board: Board) -> Measurement:
    return Measurement(
        board=board.name,
        core=board.core,
        toolchain=firmware.toolchain,
        flash_bytes=firmware.flash_bytes,
        ram_bytes=firmware.ram_bytes,
        stack_bytes=firmware.stack_bytes,
        interrupt_frame_bytes=firmware.interrupt_frame_bytes,
    )


def short_of(figures: Mapping[str, Any]) -> list[str]:
    """The memories that are too small."""
    memories = ("RAM", "flash")
    return [
        m for m in memories if figures[f"{m.lower()}_bytes"] > figures[f"board_{m.lower()}_bytes"]
    ]


def largest_of(graph: Graph, plan: MemoryPlan, short: Sequence[str]) -> str:
    """What to blame: the largest piece of each memory that is too small, else of the RAM."""
    parts = _largest_parts(graph, plan)
    return "largest: " + ", ".join(
        f"{parts[memory][0]} with {parts[memory][1]} bytes of {memory}"
        for memory in short or ["RAM"]
    )


def _largest_parts(graph: Graph, plan: MemoryPlan) -> dict[str, tuple[str, int]]:
    """The largest piece of each memory: {"RAM": (name, bytes), "flash": (name, bytes)}."""
    ram = {t.name: t.nbytes for t in graph.of_kind(Kind.STATE)}
    ram |= {life.name: life.nbytes for life in plan.lifetimes}
    flash = {t.name: t.nbytes for t in (*graph.of_kind(Kind.CONSTANT), *graph.of_kind(Kind.STATE))}
    return {
        memory: max(parts.items(), key=lambda item: item[1])
        for memory, parts in (("RAM", ram), ("flash", flash))
        if parts
    }


def _build(network: Network, board: Board, tools: Tools, **options: Any) -> Firmware:
    places = (network.folder, network.name, board, network.build_folder)
    return build_firmware(*places, toolchain=tools.toolchain, **options)


class StepCounter:
    """Counts training steps of a network, with one build for all."""

    def __init__(self, network: Network, board: Board, tools: Tools) -> None:
        self._board = board
        self._profiled = _build(network, board, tools, profile=True, limits=False)
        self._hook = build_hook(network.build_folder)
        self._code = code_of(self._profiled)

    def count(self, steps: Steps, flood: Flood | None = None) -> ProfiledResult:
        """All records of some steps, each a training step; `flood`: see `emulator.run`."""
        profile = emulator.run(
            self._profiled,
            steps.stream,
            profile=self._hook,
            profiled_records=len(steps.stream),
            states=steps.states,
            flood=flood,
        )
        assert isinstance(profile, ProfiledResult)
        return profile

    def measured(self, profile: ProfiledResult, firmware: Firmware) -> Measurement:
        """In the mean of the records, beside the sizes of the firmware."""
        return measure(
            firmware,
            board=self._board,
            profiled=self._profiled,
            profile=profile,
            code=self._code,
        )


def run_on_board(
    network: Network,
    samples: Samples,
    *,
    board: Board,
    steps: int,
    evaluation: Samples,
    tools: Tools,
    progress: Progress | None = None,
) -> BoardRun:
    """Train on the emulated board and on the twin, and compare.

    Args:
        samples: as users have them, with labels, checked.
        evaluation: those that are predicted before and after.

    Raises:
        FitError: the network does not fit the board.
        ToolError: a compiler or an emulator is missing or failed.
    """
    check_tools(board.core, tools)
    twin = Twin(network, network.build_folder)
    x, y = twin.quantize(samples.x), network.labels.in_own_order(samples.labels)
    training = twin.stream(x, y, steps=steps)
    evaluated, wanted = twin.quantize(evaluation.x), network.labels.in_own_order(evaluation.labels)
    ends = _predicted_by_board(network, len(evaluated))
    stream = with_predictions(training, evaluated[ends])
    firmware = _build(network, board, tools)
    tell = (lambda done: progress(done, len(stream))) if progress else None
    result = emulator.run(firmware, stream, prefer=tools.emulator, progress=tell, timeout_s=3600)
    initial = twin.state
    before = twin.library.predict(evaluated)
    expected = twin.library.run(stream)
    after = twin.library.predict(evaluated)
    during = slice(len(ends), len(ends) + steps)
    batch = network.training.batch
    counted = training.part(slice(batch * max(COUNTED_STEPS // batch, 1)))
    counter = StepCounter(network, board, tools)
    profile = counter.count(Steps(stream=counted))
    measurement = counter.measured(profile, firmware)
    return BoardRun(
        board=board,
        steps=steps,
        seed=training.seed,
        emulator=result.emulator,
        twin_equal=equal(result, expected),
        state=result.state,
        **_judged(network, (before, after), wanted),
        checked_predictions=len(ends),
        **training_of(network, training, initial, result, during),
        stack_bytes=result.stack_bytes,
        seconds=result.seconds,
        network=network,
        measurement=measurement,
        beyond=twin.beyond(samples.x),
    )


def training_of(
    network: Network, training: Stream, initial: bytes, result: RunResult, during: slice
) -> dict[str, Any]:
    """What a `BoardRun` has of the steps themselves.

    Args:
        initial: the state before. during: which records of the result are those of `training`.
    """
    watch = Watch(network, training)
    done = Epoch(result.losses[during], result.info["skipped"][during])
    watch.epoch(initial, done)
    return {
        "loss": done.loss,
        "broken": watch.broken,
        "warnings": watch.warnings(result.state),
        "losses": done.losses,
        "predicted": result.predicted[during],
    }


def equal(result: RunResult, expected: RunResult) -> bool:
    """Whether two executions agree in every bit: state, predictions, losses."""
    return (
        result.state == expected.state
        and np.array_equal(result.predicted, expected.predicted)
        and np.array_equal(result.losses, expected.losses, equal_nan=True)
    )


def _predicted_by_board(network: Network, samples: int) -> Array:
    """Indices of the samples that the emulated board predicts before and after training."""
    cost = max(network.figures["macs_forward"], 1)
    most = min(MOST_PREDICTIONS, max(LEAST_PREDICTIONS, PREDICTED_MACS // cost))
    return np.linspace(0, samples - 1, min(samples, most)).round().astype(int)


def _judged(
    network: Network, predictions: tuple[tuple[Array, Array], ...], y: Array
) -> dict[str, Any]:
    """Accuracies and losses of a `BoardRun`.

    Args:
        predictions: (scores, classes) of the samples before and after. y: their labels.
    """
    found: dict[str, Any] = {}
    for when, (scores, classes) in zip(("before", "after"), predictions, strict=True):
        right = None if network.labels.are_targets else float((classes == y).mean())
        found |= {f"accuracy_{when}": right}
        found |= {f"loss_{when}": network.labels.record.mean(scores, y)}
    return found
