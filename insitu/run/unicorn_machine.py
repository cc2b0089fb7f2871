"""Image -> UnicornMachine: an emulated core with exactly the board's memories, and its host.

Invariant: nothing is mapped but the linker script's regions and the page of the system control
block; an access anywhere else ends the run. Plain runs carry one hook, for semihosting.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Protocol

import unicorn
from unicorn import Uc, UcError, arm_const

from insitu.errors import ToolError
from insitu.target.elf import Image
from insitu.target.machines import MACHINES

SYS_OPEN, SYS_WRITE0, SYS_WRITE, SYS_READ = 0x01, 0x04, 0x05, 0x06
SYS_EXIT, SYS_EXIT_EXTENDED = 0x18, 0x20
APPLICATION_EXIT = 0x20026
"""Source: Arm, "Semihosting for AArch32 and AArch64", version 2.0."""

BREAKPOINT = 7  # QEMU's EXCP_BKPT, which Unicorn hands to UC_HOOK_INTR
EXCEPTIONS = {1: "undefined instruction", 4: "unaligned address", 17: "no coprocessor or FPU"}
"""Others of QEMU. Source: target/arm/cpu.h (EXCP_UDEF, EXCP_DATA_ABORT, EXCP_NOCP)."""

SYSTEM_CONTROL_SPACE = 0xE000_E000  # one page: CPACR lies here; Source: ARMv7-M, B3.2
PAGE_BYTES = 4096
NEVER = 0xFFFF_FFFE  # an address that no program reaches


class Counter(Protocol):
    """What `profile.BlockProfile` offers to the machine."""

    def start(self, engine: Uc) -> None:
        """Counts from now on."""

    def stop(self, engine: Uc) -> None:
        """Ends counting."""


class Guard(Protocol):
    """What `alignment.AlignmentGuard` offers to the machine."""

    def watch(self, engine: Uc) -> None:
        """Ends the run where something is wrong."""

    @property
    def fault(self) -> tuple[int, str] | None:
        """Program counter and what was wrong."""


class UnicornMachine:
    """One run of one image.

    Attributes:
        exit_code: what the firmware said at its end; None before.
        console: what it wrote to the console.
    """

    def __init__(self, core: str, image: Image, guard: Guard | None = None) -> None:
        self.exit_code: int | None = None
        self.console = ""
        self._engine = _engine(MACHINES[core].unicorn_model)
        self._map(image)
        self._guard = guard
        if guard is not None:
            guard.watch(self._engine)
        self._engine.hook_add(unicorn.UC_HOOK_INTR, self._interrupt)
        self._image = image
        self._input = b""
        self._read = 0
        self._reads = 0
        self._pause_at_read = -1
        self._output = bytearray()
        self._result_bytes = 1
        self._progress: Callable[[int], None] | None = None
        self._reported = 0.0
        self._fault = ""
        self._interrupted = False

    def run(
        self,
        records: bytes,
        timeout_s: float,
        progress: Callable[[int], None] | None,
        result_bytes: int,
        counter: Counter | None = None,
        counted: range = range(0),
    ) -> bytes:
        """What the firmware wrote: one result of `result_bytes` a record, then the rest.

        Raises:
            ToolError: a fault, or time ran out.
        """
        self._input, self._progress, self._result_bytes = records, progress, result_bytes
        end = time.monotonic() + timeout_s
        stack, entry = self._image.symbols["insitu_stack_top"], self._image.symbols["insitu_reset"]
        self._engine.reg_write(arm_const.UC_ARM_REG_SP, stack)
        self._engine.reg_write(arm_const.UC_ARM_REG_PC, entry | 1)
        if counter is not None and counted:
            # the first read is the header; pause when a record is about to be read
            self._resume(end, timeout_s, pause_at_read=1 + counted.start)
            if self.exit_code is None:
                counter.start(self._engine)
                self._resume(end, timeout_s, pause_at_read=1 + counted.stop)
                counter.stop(self._engine)
        if self.exit_code is None:
            self._resume(end, timeout_s, pause_at_read=-1)
        return bytes(self._output)

    def _resume(self, end: float, timeout_s: float, *, pause_at_read: int) -> None:
        """Runs on until the firmware exits or is about to read for the n-th time (from 0)."""
        self._pause_at_read = pause_at_read
        pc = self._engine.reg_read(arm_const.UC_ARM_REG_PC)
        left_us = max(1, int((end - time.monotonic()) * 1e6))
        try:
            with self._stopped_by_sigint():
                self._engine.emu_start(pc | 1, NEVER, timeout=left_us)
        except UcError as error:
            self._fault = str(error)
        if self._interrupted:
            raise KeyboardInterrupt
        pc = self._engine.reg_read(arm_const.UC_ARM_REG_PC)
        if self._guard is not None and self._guard.fault is not None:
            pc, self._fault = self._guard.fault
        if self._fault:
            raise ToolError(
                f"fault at pc {pc:#010x} in {self._image.function_at(pc)}: {self._fault}; "
                "the network may not fit, or report it"
            )
        if time.monotonic() >= end:
            raise ToolError(
                f"not finished after {timeout_s:g} s and "
                f"{len(self._output) // self._result_bytes} records; "
                f"give fewer steps or a longer time"
            )

    @contextlib.contextmanager
    def _stopped_by_sigint(self) -> Iterator[None]:
        """Ctrl-C ends the emulation; ctypes would swallow a KeyboardInterrupt in a hook.

        Only the main thread can set handlers. A signal that is ignored stays so.
        """
        before = signal.getsignal(signal.SIGINT)
        is_main = threading.current_thread() is threading.main_thread()
        if not is_main or before in (None, signal.SIG_IGN):
            yield
            return
        signal.signal(signal.SIGINT, self._stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _stop(self, _: int, __: FrameType | None) -> None:
        self._interrupted = True
        self._engine.emu_stop()

    def _map(self, image: Image) -> None:
        prefix, suffix = "insitu_region_", "_bytes"
        for symbol, length in image.symbols.items():
            if symbol.startswith(prefix) and symbol.endswith(suffix):
                name = symbol.removeprefix(prefix).removesuffix(suffix)
                origin = image.symbols[f"{prefix}{name}_origin"]
                access = unicorn.UC_PROT_EXEC if name == "FLASH" else unicorn.UC_PROT_WRITE
                pages = -(-length // PAGE_BYTES) * PAGE_BYTES
                self._engine.mem_map(origin, pages, unicorn.UC_PROT_READ | access)
        self._engine.mem_map(SYSTEM_CONTROL_SPACE, PAGE_BYTES)
        for segment in image.segments:
            self._engine.mem_write(segment.address, segment.data)

    def _interrupt(self, engine: Uc, number: int, _: object) -> None:
        if self._interrupted:
            engine.emu_stop()  # the signal came before the engine had started
            return
        pc = engine.reg_read(arm_const.UC_ARM_REG_PC)
        if number != BREAKPOINT:
            self._fault = EXCEPTIONS.get(number, f"exception {number}")
            engine.emu_stop()
            return
        operation = engine.reg_read(arm_const.UC_ARM_REG_R0)
        if operation == SYS_READ:
            if self._reads == self._pause_at_read:
                engine.emu_stop()  # the breakpoint is met again after the pause
                return
            self._reads += 1
        argument = engine.reg_read(arm_const.UC_ARM_REG_R1)
        answer = self._serve(engine, operation, argument)
        engine.reg_write(arm_const.UC_ARM_REG_R0, answer)
        engine.reg_write(arm_const.UC_ARM_REG_PC, (pc + 2) | 1)
        if self.exit_code is not None:
            engine.emu_stop()

    def _serve(self, engine: Uc, operation: int, argument: int) -> int:
        """Answers a semihosting call."""
        if operation == SYS_WRITE0:
            self.console += _text(engine, argument)
            return 0
        if operation == SYS_EXIT:
            self.exit_code = 0 if argument == APPLICATION_EXIT else 1
            return 0
        words = [_word(engine, argument + 4 * i) for i in range(3)]
        if operation == SYS_EXIT_EXTENDED:
            self.exit_code = words[1]
            return 0
        if operation == SYS_OPEN:
            return 1
        _, address, length = words
        if operation == SYS_READ:
            data = self._input[self._read : self._read + length]
            engine.mem_write(address, data)
            self._read += len(data)
            return length - len(data)
        if operation == SYS_WRITE:
            self._output += engine.mem_read(address, length)
            self._report()
            return 0
        self._fault = f"unknown semihosting call {operation:#x}"
        engine.emu_stop()
        return 0

    def _report(self) -> None:
        now = time.monotonic()
        if self._progress is not None and now - self._reported >= 0.1:
            self._reported = now
            self._progress(len(self._output) // self._result_bytes)


def _engine(model: str) -> Uc:
    """An engine that is this core.

    Not in UC_MODE_MCLASS, which replaces whatever model is asked for by the Cortex-M33: its "M0"
    divides, multiplies by DSP and loads from odd addresses (findings/unicorn_mclass.sh).
    """
    engine = Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB)
    wanted = getattr(arm_const, f"UC_CPU_ARM_CORTEX_{model}")
    engine.ctl_set_cpu_model(wanted)
    assert engine.ctl_get_cpu_model() == wanted
    return engine


def _word(engine: Uc, address: int) -> int:
    return int.from_bytes(engine.mem_read(address, 4), "little")


def _text(engine: Uc, address: int) -> str:
    text = bytearray()
    while (byte := engine.mem_read(address + len(text), 1)) != b"\0":
        text += byte
    return text.decode("ascii", "replace")
