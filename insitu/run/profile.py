"""Unicorn's block hook or QEMU's plugin -> instructions and blocks of each node in a step, exactly.

Invariant: an instruction counts for the node whose mark (a call of insitu_profile) came last; the
calls themselves count for nobody. C side: runtime/ports/emulator/.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

import numpy as np
from unicorn import UC_HOOK_BLOCK, Uc, arm_const

from insitu.artifacts import RunResult
from insitu.errors import ToolError
from insitu.run.hooks import add_c_hook, load_hook, remove_c_hook
from insitu.target.elf import Image

BLOCKS = 1 << 16  # room for different (node, block) pairs, a power of two
MARK_INSTRUCTIONS = 2


@dataclass(frozen=True, kw_only=True)
class BlockCount:
    """A basic block during one training step.

    Attributes:
        bytes: of code from its address on.
        taken: how often it was left for another address than the one behind it.
        marks: how often it ended in a mark, whose two instructions ("movs r0, #node" and
            "bl insitu_profile") a firmware without marks does not have.
    """

    bytes: int
    instructions: int
    executions: int
    taken: int
    marks: int

    @property
    def executed(self) -> int:
        """Instructions executed in this block, without the marks'."""
        return self.executions * self.instructions - self.marks * MARK_INSTRUCTIONS


BlocksByNode = Mapping[int, Mapping[int, BlockCount]]
"""blocks[node][address]"""

Flood = Mapping[int, Sequence[tuple[int, bytes]]]
"""flood[node] = what is written into the arena when the node begins: (offset, bytes)"""


@dataclass(frozen=True, kw_only=True)
class ProfiledResult(RunResult):
    """A run whose last training records were counted.

    Attributes:
        blocks: every block that each node executed, in all counted records together;
            `instructions` is their sum, a record.
        counted: how many records were counted.
    """

    blocks: BlocksByNode = field(default_factory=dict)
    counted: int = 1

    @staticmethod
    def of(result: RunResult, blocks: BlocksByNode, counted: int = 1) -> ProfiledResult:
        """The result with its instructions by node."""
        values = {f.name: getattr(result, f.name) for f in fields(RunResult)}
        values["instructions"] = {
            node: round(sum(block.executed for block in found.values()) / counted)
            for node, found in blocks.items()
        }
        return ProfiledResult(**values, blocks=blocks, counted=counted)


def dearest_of(results: Sequence[ProfiledResult]) -> ProfiledResult:
    """Of each node the blocks of the result in which it executed the most instructions."""
    nodes = sorted({node for result in results for node in result.blocks})
    blocks = {}
    for node in nodes:
        dearest = max(results, key=lambda result: result.instructions.get(node, 0))
        blocks[node] = dearest.blocks[node]
    return ProfiledResult.of(results[0], blocks, results[0].counted)


class _Block(ctypes.Structure):
    _fields_ = [
        ("address", ctypes.c_uint32),
        ("bytes", ctypes.c_uint32),
        ("instructions", ctypes.c_uint32),
        ("node", ctypes.c_int32),
        ("executions", ctypes.c_uint64),
        ("taken", ctypes.c_uint64),
        ("marks", ctypes.c_uint64),
    ]


class _Profile(ctypes.Structure):
    _fields_ = [
        ("code", ctypes.c_char_p),
        ("code_start", ctypes.c_uint32),
        ("code_bytes", ctypes.c_uint32),
        ("mark", ctypes.c_uint32),
        ("current", ctypes.c_int32),
        ("capacity", ctypes.c_uint32),
        ("used", ctypes.c_uint32),
        ("blocks", ctypes.POINTER(_Block)),
        ("last", ctypes.c_void_p),
    ]


def _by_node(blocks: Iterable[_Block]) -> BlocksByNode:
    found: dict[int, dict[int, BlockCount]] = {}
    for block in blocks:
        found.setdefault(block.node, {})[block.address] = BlockCount(
            bytes=block.bytes,
            instructions=block.instructions,
            executions=block.executions,
            taken=block.taken,
            marks=block.marks,
        )
    return {node: found[node] for node in sorted(found)}


def _require_room(used: int) -> None:
    if used + 1 >= BLOCKS:
        raise ToolError(
            f"the step has more than the {BLOCKS} blocks that can be counted; train fewer layers"
        )


def _require_marks(image: Image) -> None:
    if "insitu_profile" not in image.symbols:
        raise ToolError("the firmware has no marks to count by; build it with profile=True")


@dataclass(frozen=True)
class QemuProfile:
    """Counts blocks in QEMU, whose plugin writes them to a file at its end.

    Attributes:
        library: of `firmware.build.build_hook`.
        records: the numbers of those that are counted.
    """

    library: Path
    image: Image
    records: range

    def options(self, out: Path) -> tuple[str, ...]:
        """What QEMU is called with.

        Raises:
            ToolError: the image has no marks.
        """
        _require_marks(self.image)
        mark, digits = (
            self.image.symbols[f"insitu_profile{name}"] & ~1 for name in ("", "_digits")
        )
        window = f"first={self.records.start},last={self.records.stop}"
        library, out_file = (str(path).replace(",", ",,") for path in (self.library, out))
        return ("-plugin", f"{library},mark={mark:#x},digits={digits:#x},{window},out={out_file}")

    def read(self, out: Path) -> BlocksByNode:
        """What the plugin counted.

        Raises:
            ToolError: it wrote nothing, or ran out of room.
        """
        if not out.exists():
            raise ToolError("qemu counted nothing; install a qemu that is built with plugins")
        data = out.read_bytes()
        blocks = (_Block * (len(data) // ctypes.sizeof(_Block))).from_buffer_copy(data)
        _require_room(len(blocks))
        return _by_node(blocks)


class BlockProfile:
    """Counts blocks while a Unicorn engine runs, between `start` and `stop`."""

    def __init__(self, library: Path, image: Image, flood: Flood | None = None) -> None:
        """Takes the library of `firmware.build.build_hook` and the image that will run.

        Args:
            flood: see `emulator.run`.

        Raises:
            ToolError: the library cannot be loaded, or the image has no marks.
        """
        _require_marks(image)
        self._hook = load_hook(library, "insitu_block_hook")
        start = min(segment.address for segment in image.segments)
        code = bytearray(image.load_end - start)
        for segment in image.segments:
            at = segment.address - start
            code[at : at + len(segment.data)] = segment.data
        self._code = bytes(code)
        self._blocks = (_Block * BLOCKS)()
        self._profile = _Profile(
            code=self._code,
            code_start=start,
            code_bytes=len(code),
            mark=image.symbols["insitu_profile"] & ~1,
            current=-1,
            capacity=BLOCKS,
            blocks=self._blocks,
        )
        self._count_hook = self._mark_hook = 0
        arena = image.sections.get(".insitu_arena", (0, 0))[0]
        self._flood = {
            node: [(arena + offset, data) for offset, data in pieces]
            for node, pieces in (flood or {}).items()
        }

    def start(self, engine: Uc) -> None:
        """Hooks the engine; code that was translated before is translated again."""
        mark = self._profile.mark
        self._count_hook = add_c_hook(engine, UC_HOOK_BLOCK, self._hook, self._profile)
        self._mark_hook = engine.hook_add(UC_HOOK_BLOCK, self._enter_node, begin=mark, end=mark)
        engine.ctl_flush_tb()

    def stop(self, engine: Uc) -> None:
        """Takes the hooks away again."""
        engine.hook_del(self._mark_hook)
        remove_c_hook(engine, self._count_hook)
        engine.ctl_flush_tb()
        _require_room(self._profile.used)

    def by_node(self) -> BlocksByNode:
        """What was counted."""
        words = np.frombuffer(bytes(self._blocks), np.uint32).reshape(BLOCKS, -1)
        used = np.flatnonzero(words[:, 1])  # those that have bytes
        return _by_node(self._blocks[int(slot)] for slot in used)

    def _enter_node(self, engine: Uc, _address: int, _bytes: int, _: object) -> None:
        node = engine.reg_read(arm_const.UC_ARM_REG_R0)
        self._profile.current = node - (1 << 32) if node >= 1 << 31 else node
        for address, data in self._flood.get(node, ()):
            engine.mem_write(address, data)
