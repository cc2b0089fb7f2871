"""Program, core -> Figure of every kernel: exact instructions, modelled cycles.

Invariant: the emulator executes the firmware block by block and counts; nothing is timed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from insitu.bench.layers import Layer
from insitu.bench.program import Program, make_program
from insitu.errors import ToolError
from insitu.firmware.build import build_firmware, build_hook
from insitu.generate import generate
from insitu.graph.model import Graph
from insitu.measure.cost import cycles_of
from insitu.network.folder import ScratchFolder, write_sources
from insitu.plan import plan_memory
from insitu.run import emulator
from insitu.run.profile import ProfiledResult
from insitu.run.stream import Stream
from insitu.target.board import Board, all_boards
from insitu.tools.compilers import Toolchain, find_toolchain

NAME = "bench"
RATE = 0.01


@dataclass(frozen=True, kw_only=True)
class Figure:
    """What one call of a kernel costs on a core.

    Attributes:
        row: names the figure among those of its core.
        group: of the contract's lines, see `bench.layers.Layer`.
        work: MACs, or outputs where there are none (`unit`).
        cycles: as modelled, see `measure.cycles`.
    """

    core: str
    row: str
    kernel: str
    group: str
    errors: str
    work: int
    unit: str
    instructions: int
    cycles: int
    scratch_bytes: int

    @property
    def each(self) -> float:
        """Instructions a MAC, or an output."""
        return self.instructions / self.work

    @property
    def value(self) -> dict[str, Any]:
        """What JSON says."""
        return {**asdict(self), "instructions_each": round(self.each, 4)}


def board_of(core: str) -> Board:
    """The first board with this core."""
    return next(board for board in all_boards().values() if board.core == core)


def count_kernels(
    core: str, layers: Sequence[Layer], *, toolchain: Toolchain | None = None
) -> list[Figure]:
    """The figures of all layers' kernels.

    Raises:
        ToolError: no compiler or no emulator for the core, or one failed.
    """
    program = make_program(layers)
    return _figures(core, program, *count_step(core, program.step, toolchain=toolchain))


def count_step(
    core: str, step: Graph, *, stream: Stream | None = None, toolchain: Toolchain | None = None
) -> tuple[dict[str, int], dict[str, int]]:
    """Instructions and cycles of each node, in the mean of the stream's steps.

    Args:
        stream: what the step is trained with, all of it counted; by default one record of noise.

    Raises:
        ToolError: as `count_kernels`.
    """
    board = board_of(core)
    stream = stream or noise(step)
    scratch = ScratchFolder()
    write_sources(generate(step, plan_memory(step), NAME), scratch.path)
    folder, compiler = scratch.path / "build", toolchain or find_toolchain(core)
    options: dict[str, Any] = {"toolchain": compiler, "profile": True, "limits": False}
    firmware = build_firmware(scratch.path, NAME, board, folder, **options)
    hook = build_hook(folder)
    result = emulator.run(firmware, stream, profile=hook, profiled_records=len(stream))
    assert isinstance(result, ProfiledResult)
    if result.info["skipped"].any():
        raise ToolError(f"{step.name}: a step ended early; report it")
    names = [node.name for node in step.nodes]
    return (
        {names[i]: count for i, count in result.instructions.items() if i >= 0},
        {names[i]: count for i, count in cycles_of(firmware, result).items() if i >= 0},
    )


def noise(step: Graph) -> Stream:
    """One record over all of int8."""
    size = step.tensors[step.inputs[0]].size
    x = np.random.default_rng(3).integers(-128, 128, (1, size)).astype(np.int8)
    return Stream(x=x, labels=np.zeros(1, np.int32), rates=np.full(1, RATE, np.float32))


def _figures(
    core: str, program: Program, instructions: dict[str, int], cycles: dict[str, int]
) -> list[Figure]:
    return [
        Figure(
            core=core,
            row=" ".join(filter(None, (job.kernel, job.layer.title, job.errors))),
            kernel=job.kernel,
            group=job.layer.group,
            errors=job.errors,
            work=job.work,
            unit=job.unit,
            instructions=instructions[job.node],
            cycles=cycles[job.node],
            scratch_bytes=job.scratch_bytes,
        )
        for job in program.jobs
    ]
