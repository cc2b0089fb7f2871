"""core -> EmulatedMachine: where an emulated core has its memories, and who can emulate it.

Invariant: a firmware is linked once, at addresses that QEMU's board has, with the real board's
lengths; Unicorn maps exactly those lengths, so one image runs on both.
"""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class EmulatedMachine:
    """An emulated core and its memory map.

    Attributes:
        core: as in `target.board.CORES`.
        qemu_machine: QEMU's name of a board with this core; "" where Unicorn alone is used.
        qemu_bytes: the flash and the RAM that this board has, each, from the origins on.
        unicorn_model: the suffix of Unicorn's UC_CPU_ARM_CORTEX_ constant; "" where it has none.
        qemu_reset: where QEMU's board looks for its first stack pointer and program counter; None
            where that is the flash's origin.
    """

    core: str
    qemu_machine: str
    unicorn_model: str
    flash_origin: int
    ram_origin: int
    qemu_bytes: int = 4 * MIB
    qemu_reset: int | None = None


MACHINES = {
    machine.core: machine
    for machine in (
        EmulatedMachine(  # a bigger core would hide instructions that ARMv6-M does not have
            core="cortex-m0plus",
            qemu_machine="",
            unicorn_model="M0",
            flash_origin=0,
            ram_origin=0x2000_0000,
        ),
        EmulatedMachine(
            core="cortex-m3",
            qemu_machine="mps2-an385",
            unicorn_model="M3",
            flash_origin=0,
            ram_origin=0x2000_0000,
        ),
        EmulatedMachine(
            core="cortex-m4",
            qemu_machine="mps2-an386",
            unicorn_model="M4",
            flash_origin=0,
            ram_origin=0x2000_0000,
        ),
        EmulatedMachine(
            core="cortex-m7",
            qemu_machine="mps2-an500",
            unicorn_model="M7",
            flash_origin=0,
            ram_origin=0x2000_0000,
        ),
        EmulatedMachine(
            core="cortex-m33",
            qemu_machine="mps2-an505",
            unicorn_model="M33",
            flash_origin=0x1000_0000,
            ram_origin=0x3800_0000,
        ),
        EmulatedMachine(  # in its DDR, since its fast memories are smaller than boards' flash
            core="cortex-m55",
            qemu_machine="mps3-an547",
            unicorn_model="",
            flash_origin=0x6000_0000,
            ram_origin=0x7000_0000,
            qemu_bytes=64 * MIB,
            qemu_reset=0,
        ),
    )
}
"""Every core of `target.board.CORES`. Source: QEMU 7.2, hw/arm/mps2.c and mps2-tz.c."""

LARGEST_BYTES = 64 * MIB
"""Flash and RAM, each, of a board without limits."""
