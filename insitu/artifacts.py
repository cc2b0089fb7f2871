"""What one stage hands to the next: MemoryPlan, CSource, Firmware, RunResult, Measurement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from insitu.graph.model import Array


@dataclass(frozen=True, kw_only=True)
class Lifetime:
    """A piece of the arena that is needed from node `first` to node `last`, both included.

    Attributes:
        name: a tensor (the one that owns the memory where several share it) or "NODE!scratch".
        first, last: indices into `Graph.nodes`.
        scratch_of: the name of the node whose scratch it is; None where it is a tensor.
    """

    name: str
    nbytes: int
    first: int
    last: int
    scratch_of: str | None = None


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """Where everything in the arena lies.

    Attributes:
        lifetimes: what had to be placed.
        offsets: bytes from the start of the arena, by name of lifetime, multiples of 4.
        aliases: tensor -> the lifetime whose memory it shares (itself where it owns it).
        arena_bytes: the arena's size.
        lower_bound_bytes: no plan can need less: the largest sum alive at one node.
    """

    lifetimes: tuple[Lifetime, ...]
    offsets: Mapping[str, int]
    aliases: Mapping[str, str]
    arena_bytes: int
    lower_bound_bytes: int

    def offset(self, tensor: str) -> int:
        """Where a tensor starts, in bytes."""
        return self.offsets[self.aliases[tensor]]

    def scratch_offset(self, node: str) -> int:
        """Where the scratch of a node of that name starts, in bytes."""
        return next(self.offsets[x.name] for x in self.lifetimes if x.scratch_of == node)


@dataclass(frozen=True, kw_only=True)
class CSource:
    """Generated C.

    Attributes:
        name: the model's name; every symbol starts with "insitu_NAME".
        files: text by file name, the model's own files.
        runtime: names of the runtime's source files that the model needs.
    """

    name: str
    files: Mapping[str, str]
    runtime: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Firmware:
    """A linked image for a board, with our test harness around the model.

    Attributes:
        toolchain: e.g. "arm-none-eabi-gcc 12.2.1" or "zig 0.15.1".
        flash_bytes: code, constants and initial values.
        ram_bytes: data and bss, without the stack.
        stack_bytes: what the linker keeps for the stack: no run can need more where it is the bound
            of the linked code (`firmware.stack`), the frame of an interrupt included.
        interrupt_frame_bytes: of these, what the core pushes when an interrupt comes; 0 where the
            caller chose the stack.
        core: as in `target.board.CORES`.
    """

    elf: Path
    core: str
    toolchain: str
    flash_bytes: int
    ram_bytes: int
    stack_bytes: int = 0
    interrupt_frame_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a stream of samples did to a model, wherever it ran.

    Attributes:
        state: the bytes of the model's state struct after the last record.
        predicted: the class predicted by each record, before its own update.
        losses: the loss of each training record, NaN for predictions.
        info: per-record counters "skipped" (see insitu_info_t) and "saturated".
        stack_bytes: measured by painting; 0 where it was not measured.
        instructions: executed by each node in a training step, by node index, the mean of the
            steps that were counted; empty where none was.
        seconds: wall time of the stream alone.
    """

    state: bytes
    predicted: Array
    losses: Array
    info: Mapping[str, Array] = field(default_factory=dict)
    stack_bytes: int = 0
    instructions: Mapping[int, int] = field(default_factory=dict)
    seconds: float = 0.0
    emulator: str = ""


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What a model costs on a board.

    Attributes:
        instructions, cycles: of one training step while it learns, by node index, the mean of
            `details["counted_steps"]` steps.
        worst_instructions, worst_cycles: of a step whose errors are such that each node costs most.
        cycle_error_percent: expected error of the cycle model on silicon.
        stack_bytes, interrupt_frame_bytes: as of `Firmware`.

    What was not measured is empty or 0.
    """

    board: str = ""
    core: str = ""
    toolchain: str = ""
    flash_bytes: int = 0
    ram_bytes: int = 0
    stack_bytes: int = 0
    interrupt_frame_bytes: int = 0
    instructions: Mapping[int, int] = field(default_factory=dict)
    cycles: Mapping[int, int] = field(default_factory=dict)
    worst_instructions: Mapping[int, int] = field(default_factory=dict)
    worst_cycles: Mapping[int, int] = field(default_factory=dict)
    cycle_error_percent: int = 0
    details: Mapping[str, Any] = field(default_factory=dict)
