"""Firmware + what a run of it showed -> Measurement: bytes, instructions, cycles; then ms and mJ.

Invariant: bytes and instructions are exact, the stack is a bound; cycles carry the expected error
of the core's timing table, flash wait states apart; energy adds the uncertainty of the board's
`power_source`.
Whoever prints a cycle, a millisecond or a millijoule prints `accuracy` beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from insitu.artifacts import Firmware, Measurement
from insitu.graph.model import Graph, Phase
from insitu.measure.cycles import MODELS, Code, count_cycles
from insitu.run.profile import MARK_INSTRUCTIONS, ProfiledResult
from insitu.target.board import Board
from insitu.target.elf import read_elf

DIRECTIONS = {
    "forward": (Phase.FORWARD,),
    "backward": (Phase.LOSS, Phase.BACKWARD),
    "update": (Phase.UPDATE, Phase.APPLY),
}
"""What people ask for -> the phases it is made of; the loss belongs to the backward pass."""


def measure(
    firmware: Firmware,
    *,
    board: Board,
    profiled: Firmware,
    profile: ProfiledResult,
    code: Code | None = None,
) -> Measurement:
    """What a model costs on a board.

    Args:
        firmware: what the user would flash; sizes and the stack come from it.
        profiled: the same model, built with profile=True.
        profile: a run of `profiled`; instructions and cycles are the mean of its counted steps.
        code: of `profiled`, where it was read already.

    Raises:
        ToolError: `profiled` cannot be read, or `profile` is a run of another firmware.
    """
    model = MODELS[board.core]
    return Measurement(
        board=board.name,
        core=board.core,
        toolchain=firmware.toolchain,
        flash_bytes=firmware.flash_bytes,
        ram_bytes=firmware.ram_bytes,
        stack_bytes=firmware.stack_bytes,
        interrupt_frame_bytes=firmware.interrupt_frame_bytes,
        instructions=profile.instructions,
        cycles=cycles_of(profiled, profile, code),
        cycle_error_percent=model.error_percent,
        details={
            "counted_steps": profile.counted,
            "cycle_source": model.source,
            "cycle_error_reason": model.reason,
            "power_source": board.power_source,
        },
    )


def code_of(firmware: Firmware) -> Code:
    """Its machine code, which knows what it has decoded."""
    return Code({s.address: s.data for s in read_elf(firmware.elf).segments})


def cycles_of(
    profiled: Firmware, profile: ProfiledResult, code: Code | None = None
) -> dict[int, int]:
    """By node, in the mean of the counted steps.

    Raises:
        ToolError: as `measure`.
    """
    code, marks = code or code_of(profiled), MARK_INSTRUCTIONS
    cycles = count_cycles(profile.blocks, code, core=profiled.core, mark_instructions=marks)
    return {node: round(total / profile.counted) for node, total in cycles.items()}


def mean_of(parts: Sequence[tuple[float, Measurement]]) -> Measurement:
    """Of steps of several kinds, each with its share of all: what a step costs in the mean."""

    def mean(counts: Sequence[Mapping[int, int]]) -> dict[int, int]:
        shares = [share for share, _ in parts]
        nodes = sorted({node for count in counts for node in count})
        return {
            node: round(sum(s * c.get(node, 0) for s, c in zip(shares, counts, strict=True)))
            for node in nodes
        }

    counted = sum(m.details["counted_steps"] for _, m in parts)
    first = parts[0][1]
    return replace(
        first,
        instructions=mean([m.instructions for _, m in parts]),
        cycles=mean([m.cycles for _, m in parts]),
        details={**first.details, "counted_steps": counted},
    )


def with_worst(m: Measurement, worst: Measurement) -> Measurement:
    """The measurement, and what a step costs at most: no node less than in the mean."""

    def most(these: Mapping[int, int], others: Mapping[int, int]) -> dict[int, int]:
        nodes = sorted({*these, *others})
        return {node: max(these.get(node, 0), others.get(node, 0)) for node in nodes}

    return replace(
        m,
        worst_instructions=most(m.instructions, worst.instructions),
        worst_cycles=most(m.cycles, worst.cycles),
    )


def step_figures(graph: Graph, m: Measurement, board: Board) -> dict[str, Any]:
    """Instructions, cycles, time and energy of a training step, and of a prediction.

    None where it was not measured: the worst case, or a step of what does not fit.
    """
    by_direction = {
        f"instructions_{direction}": _sum(graph, m.instructions, phases)
        for direction, phases in DIRECTIONS.items()
    }
    cycles, worst = sum(m.cycles.values()), sum(m.worst_cycles.values())
    predict = _sum(graph, m.cycles, DIRECTIONS["forward"])
    figures = {
        **by_direction,
        "instructions_per_step": sum(m.instructions.values()),
        "instructions_per_step_worst": sum(m.worst_instructions.values()) or None,
        "instructions_predict": by_direction["instructions_forward"],
        "cycles_per_step": cycles,
        "cycle_error_percent": m.cycle_error_percent,
        "ms_per_step": milliseconds(cycles, board),
        "ms_per_step_worst": milliseconds(worst, board) if worst else None,
        "ms_predict": milliseconds(predict, board),
        "mj_per_step": millijoules(cycles, board),
        "mj_predict": millijoules(predict, board),
    }
    return figures if m.instructions else dict.fromkeys(figures)


def _sum(graph: Graph, counts: Mapping[int, int], phases: tuple[Phase, ...]) -> int:
    nodes = enumerate(graph.nodes)
    return sum(counts.get(index, 0) for index, node in nodes if node.phase in phases)


def milliseconds(cycles: float, board: Board) -> float:
    """How long so many cycles take at the board's clock."""
    return 1e3 * cycles / board.clock_hz


def millijoules(cycles: float, board: Board) -> float:
    """The energy of so many cycles at the board's clock and active power."""
    return milliseconds(cycles, board) * board.active_mw / 1e3


def accuracy(board: Board) -> str:
    """How far cycles, milliseconds and millijoules of a board can be trusted, in one line."""
    error = MODELS[board.core].error_percent
    return (
        f"cycles and ms: within about {error} % on silicon, flash wait states apart; "
        f"energy: these at {board.active_mw:g} mW ({board.power_source})"
    )
