"""A training -> instructions of its steps on an emulated Cortex-M4, in the mean of all of it.

What a step executes depends on the sample: it may end behind the loss, or behind the last layer in
a sampled update, or learn all it can. The twin says how often each happens in the whole training.
What each node costs where it runs is counted at `POINTS`: the C is generated anew with the state
there, and the board goes on from it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from insitu.data.datasets import Array
from insitu.firmware.build import build_firmware, build_hook, build_host
from insitu.generate import generate, state_layout
from insitu.graph.model import Graph, Phase
from insitu.network.folder import write_sources
from insitu.network.trainable import TrainableNetwork
from insitu.run import emulator
from insitu.run.profile import ProfiledResult
from insitu.run.stream import Stream
from insitu.run.twin_library import TwinLibrary
from insitu.target.board import Board

COUNTING = "2"
"""A change of what is counted counts this up."""

POINTS = (1, 3, 5, 7)
"""Eighths of the training at which steps are counted."""

WHOLE_STEPS, MOST_STEPS = 8, 48
"""At each point: as many steps as hold so many that learn all they can, but no more than that."""


@dataclass(frozen=True)
class Window:
    """What was counted at a point.

    Attributes:
        costs: instructions by node index, a step in which the node runs.
        twin_equal: whether state and losses are the twin's.
    """

    costs: dict[int, float]
    twin_equal: bool


def training_instructions(
    network: TrainableNetwork, x: Array, y: Array, epochs: int
) -> dict[str, Any]:
    """Mean instructions of a step, by phase, over a training of x[n, ...] and labels y[n].

    Returns:
        instructions_forward, instructions_backward (with the loss), instructions_update;
        whole_steps: share of steps that learnt all they could; twin_equal: at every point.
    """
    twin = network.twin()
    stream = twin.stream(twin.quantize(x), y.astype(np.int32), steps=epochs * len(y))
    states, skipped = on_the_way(twin.library, stream)
    windows = [
        _window(network, state, part(stream, first, first + _most(network)), index)
        for index, (first, state) in enumerate(states.items())
    ]
    phases = mean_instructions(network.graph, [window.costs for window in windows], skipped)
    return {
        "instructions_forward": round(phases[Phase.FORWARD]),
        "instructions_backward": round(phases[Phase.LOSS] + phases[Phase.BACKWARD]),
        "instructions_update": round(phases[Phase.UPDATE] + phases[Phase.APPLY]),
        "whole_steps": round(float((skipped == 0).mean()), 5),
        "twin_equal": all(window.twin_equal for window in windows),
    }


def on_the_way(twin: TwinLibrary, training: Stream) -> tuple[dict[int, bytes], Array]:
    """Run a training: the step and the state at each of `POINTS`, and `skipped` of every step."""
    skipped, states = [], {}
    cuts = [0, *(point * len(training) // 8 for point in POINTS), len(training)]
    for first, end in itertools.pairwise(cuts):
        done = twin.run(part(training, first, end), seed=first == 0)
        skipped.append(done.info["skipped"])
        states[end] = done.state
    del states[len(training)]
    return states, np.concatenate(skipped)


def from_state(graph: Graph, state: bytes) -> Graph:
    """The training step that starts from this state."""
    values = state_layout(graph).unpack(state)
    tensors = {
        name: replace(tensor, data=values[name]) if name in values else tensor
        for name, tensor in graph.tensors.items()
    }
    return replace(graph, tensors=tensors)


def mean_instructions(
    graph: Graph, windows: Sequence[Mapping[int, float]], skipped: Array
) -> dict[Phase, float]:
    """By phase, of a step: what its nodes cost where they run, times how often they do.

    Args:
        windows: `node_costs` at several points. skipped: of every step of the training.

    Raises:
        ValueError: a node runs in the training and at none of the points.
    """
    phases = dict.fromkeys(Phase, 0.0)
    for index, node in enumerate(graph.nodes):
        found = [costs[index] for costs in windows if index in costs]
        share = float(_runs(graph, index, skipped).mean())
        if share > 0 and not found:
            raise ValueError(f"{node.name} runs, but not where steps were counted; count more")
        phases[node.phase] += share * sum(found) / max(len(found), 1)
    return phases


def node_costs(graph: Graph, result: ProfiledResult) -> dict[int, float]:
    """Instructions of each node, by its index, in a step in which it runs; of nodes that ran."""
    costs = {}
    for index in range(len(graph.nodes)):
        share = float(_runs(graph, index, result.info["skipped"]).mean())
        if share > 0:
            costs[index] = result.instructions.get(index, 0) / share
    return costs


def part(stream: Stream, first: int, end: int) -> Stream:
    """Records [first, end) of a stream."""
    rows = slice(first, end)
    return replace(stream, rates=stream.rates[rows], order=stream.samples[rows])


def _most(network: TrainableNetwork) -> int:
    """A batch where there is one, so that a window has its part of what ends a batch."""
    batch = network.training.batch
    return batch if batch > 1 else MOST_STEPS


def _window(network: TrainableNetwork, state: bytes, stream: Stream, seed: int) -> Window:
    """Count a network's steps from a state on, on the board and beside it on the twin."""
    folder, build = network.build_folder / f"point-{seed}", network.build_folder
    step = from_state(network.graph, state)
    write_sources(generate(step, network.plan, network.name), folder)
    stream = replace(stream, seed=seed)
    twin = TwinLibrary(build_host(folder, network.name, build), network.name)
    if network.training.batch == 1:
        whole = np.flatnonzero(twin.run(stream).info["skipped"] == 0)[:WHOLE_STEPS]
        stream = part(stream, 0, int(whole[-1]) + 1 if len(whole) == WHOLE_STEPS else len(stream))
        twin.reset()
    stack = network.figures["stack_bytes"]
    result = profiled(folder, network.name, network.board, build, stream, stack_bytes=stack)
    expected = twin.run(stream)
    same = result.state == expected.state and np.array_equal(result.losses, expected.losses)
    return Window(node_costs(step, result), same)


def profiled(
    folder: Path, name: str, board: Board, build: Path, stream: Stream, **stack: int
) -> ProfiledResult:
    """What the C of a folder does with a stream on a board, counted by node."""
    firmware = build_firmware(folder, name, board, build, profile=True, limits=False, **stack)
    hook = build_hook(build)
    result = emulator.run(firmware, stream, profile=hook, profiled_records=len(stream))
    assert isinstance(result, ProfiledResult)
    return result


def _runs(graph: Graph, index: int, skipped: Array) -> Array:
    """In which steps a node runs, bool[steps]; what ends a batch counts as a part of every step."""
    nodes = graph.nodes
    if nodes[index].phase is Phase.APPLY:
        return np.ones(len(skipped), bool)
    ended = {node.op.ends for node in nodes[:index] if node.op.ends}
    return ~np.isin(skipped, list(ended))
