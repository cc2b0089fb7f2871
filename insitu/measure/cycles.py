"""Profile of basic blocks + machine code -> cycles by node, with their expected error.

A profile says how often every basic block ran and how often its last branch was taken; the cost
of a block comes from the core's timing table (`cores`). Cycles are thus exact for the path that
ran, and as good as the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from insitu.measure.cores import MODELS, CycleModel
from insitu.measure.decode import Code

__all__ = ["MODELS", "Block", "Code", "CycleModel", "count_cycles"]


class Block(Protocol):
    """A basic block as a profile knows it; `run.profile.BlockCount` is one."""

    @property
    def bytes(self) -> int:
        """Of code, from its address on."""

    @property
    def executions(self) -> int:
        """How often it ran."""

    @property
    def taken(self) -> int:
        """How often it was left for another address than the one behind it."""

    @property
    def marks(self) -> int:
        """How often it ended in the call that marks a node, which a user's firmware has not."""


def count_cycles(
    blocks: Mapping[int, Mapping[int, Block]], code: Code, *, core: str, mark_instructions: int = 0
) -> dict[int, int]:
    """Cycles by node index.

    Args:
        blocks: what ran, e.g. in one training step: blocks[node][address].
        code: the firmware that ran.
        core: as in `target.board.CORES`.
        mark_instructions: at the end of a block with marks; they cost nothing.

    Raises:
        ToolError: a block lies outside the firmware.
    """
    model = MODELS[core]

    def spent(address: int, block: Block) -> int:
        instructions = code.block(address, block.bytes)
        cost = model.cost(instructions)
        executions = block.executions - block.marks
        always = instructions[-1].jumps and not instructions[-1].conditional
        taken = executions if always else block.taken
        surprises = min(taken, executions - taken)
        cycles = executions * cost.cycles + taken * cost.taken + surprises * cost.surprised
        unmarked = instructions[: len(instructions) - mark_instructions]
        return cycles + (block.marks * model.cost(unmarked).cycles if unmarked else 0)

    return {
        node: sum(spent(address, block) for address, block in found.items())
        for node, found in blocks.items()
    }
