"""Profile of basic blocks + firmware -> cycles by node, with their expected error.

A profile says how often every basic block ran and how often its last branch was taken; the cost
of a block comes from the core's timing table (`cores`). Cycles are thus exact for the path that
ran, and as good as the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from insitu.cycles.cores import MODELS, Cost, CycleModel
from insitu.cycles.decode import Code

__all__ = ["MODELS", "Code", "CycleModel", "Profile", "count_cycles", "count_instructions"]

Profile = Mapping[int, Mapping[tuple[int, int], tuple[int, int]]]
"""Node index -> (block address, its bytes) -> (executions, times its last branch was taken)."""


def count_cycles(profile: Profile, code: Code, *, core: str) -> dict[int, int]:
    """Cycles by node index.

    Args:
        profile: what ran, e.g. one training step.
        code: the firmware that ran.
        core: as in `boards.CORES`.

    Raises:
        ToolError: a block lies outside the firmware.
    """
    model = MODELS[core]

    @cache
    def price(address: int, size_bytes: int) -> tuple[Cost, bool]:
        block = code.block(address, size_bytes)
        return model.cost(block), block[-1].jumps and not block[-1].conditional

    def spent(address: int, size_bytes: int, executions: int, taken: int) -> int:
        cost, always = price(address, size_bytes)
        taken = executions if always else taken
        surprises = min(taken, executions - taken)
        return executions * cost.cycles + taken * cost.taken + surprises * cost.surprised

    return {
        node: sum(spent(*block, *counts) for block, counts in blocks.items())
        for node, blocks in profile.items()
    }


def count_instructions(profile: Profile, code: Code) -> dict[int, int]:
    """Instructions by node index; those that an IT instruction skips count too.

    Raises:
        ToolError: a block lies outside the firmware.
    """
    return {
        node: sum(len(code.block(*block)) * executions for block, (executions, _) in blocks.items())
        for node, blocks in profile.items()
    }
