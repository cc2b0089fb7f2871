"""A linked firmware -> StackBound: what no run of it can need more of.

Invariant: a bound, never an estimate. It holds for every input, since it follows every way that the
instructions have, and not those that one run took.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from insitu.firmware.stack.code import LinkedCode
from insitu.firmware.stack.walk import Walker

FRAME_BYTES = {False: 32, True: 104}
"""What a core pushes when an interrupt comes, by whether it has an FPU: eight registers; s0 to s15,
FPSCR and a word kept free on top. Source: Armv7-M Architecture Reference Manual (DDI 0403), B1.5.6
and B1.5.7; Armv8-M (DDI 0553), B3.19."""

ALIGNMENT = 8
"""Of the stack pointer when an interrupt comes; the same sources."""


@dataclass(frozen=True, kw_only=True)
class StackBound:
    """The deepest stack of a firmware.

    Attributes:
        code_bytes: what its functions need, on the deepest way.
        frame_bytes: what the core pushes when an interrupt comes there. What the interrupt's own
            handler needs is not in it.
        way: (function, its stack where it goes on to the next), from the entry down.
    """

    code_bytes: int
    frame_bytes: int
    way: tuple[tuple[str, int], ...]

    @property
    def nbytes(self) -> int:
        """All of it, a multiple of 8."""
        return -(-self.code_bytes // ALIGNMENT) * ALIGNMENT + self.frame_bytes


def stack_bound(
    elf: Path, objects: Sequence[Path], *, fpu: bool, entry: str = "insitu_reset"
) -> StackBound:
    """The bound of what `entry` does.

    Args:
        objects: what the firmware was linked from: they say which functions pointers may call.
        fpu: whether interrupts put the FPU's registers on the stack.

    Raises:
        ToolError: the file cannot be read, or holds what cannot be bounded; says where and why.
    """
    code = LinkedCode(elf, objects)
    depth = Walker(code).depth(code.entry(entry))
    return StackBound(code_bytes=depth.nbytes, frame_bytes=FRAME_BYTES[fpu], way=depth.way)
