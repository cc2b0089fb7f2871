"""Firmware + what a run of it showed -> Measurement: bytes, instructions, cycles; then ms and mJ.

Invariant: bytes and instructions are exact, the stack is a bound; cycles carry the expected error
of the core's timing table, flash wait states apart; energy adds the uncertainty of the board's
`power_source`.
Whoever prints a cycle, a millisecond or a millijoule prints `accuracy` beside it.
"""

from __future__ import annotations

from insitu.artifacts import Firmware, Measurement
from insitu.graph.model import Phase
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
) -> Measurement:
    """What a model costs on a board.

    Args:
        firmware: what the user would flash; sizes and the stack come from it.
        profiled: the same model, built with profile=True.
        profile: a run of `profiled`; instructions and cycles are the mean of its counted steps.

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
        cycles=cycles_of(profiled, profile),
        cycle_error_percent=model.error_percent,
        details={
            "counted_steps": profile.counted,
            "cycle_source": model.source,
            "cycle_error_reason": model.reason,
            "power_source": board.power_source,
        },
    )


def cycles_of(profiled: Firmware, profile: ProfiledResult) -> dict[int, int]:
    """By node, in the mean of the counted steps.

    Raises:
        ToolError: as `measure`.
    """
    code, marks = (
        Code({s.address: s.data for s in read_elf(profiled.elf).segments}),
        MARK_INSTRUCTIONS,
    )
    cycles = count_cycles(profile.blocks, code, core=profiled.core, mark_instructions=marks)
    return {node: round(total / profile.counted) for node, total in cycles.items()}


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
