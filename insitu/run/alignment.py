"""Unicorn's code hook -> an error where a load or store of several words has an odd address.

Invariant: as on every core, LDRD, LDM and their kind take multiples of four alone; QEMU 7.2 faults
on other addresses, and Unicorn 2.1, which is made of QEMU 5, does not. The hook costs as much as
the emulation, so it is set where instructions are counted, in every `insitu compile`, and not in
long runs. C side: runtime/ports/emulator/alignment.c.
"""

from __future__ import annotations

import ctypes
import functools
from pathlib import Path

from unicorn import UC_HOOK_CODE, Uc, arm_const

from insitu.run.hooks import add_c_hook, c_function, load_hook
from insitu.target.elf import Image
from insitu.target.instructions import instructions, word_aligned_base

LINK_REGISTER = 14


class _Alignment(ctypes.Structure):
    _fields_ = [
        ("bases", ctypes.c_char_p),
        ("code_start", ctypes.c_uint32),
        ("code_halfwords", ctypes.c_uint32),
        ("read_register", ctypes.c_void_p),
        ("stop", ctypes.c_void_p),
        ("faults", ctypes.c_uint32),
        ("pc", ctypes.c_uint32),
        ("address", ctypes.c_uint32),
    ]


@functools.lru_cache(maxsize=2)
def _bases_of(image: Image) -> tuple[int, bytes]:
    """Where the code starts, and of each halfword from there the base register, if one counts."""
    start = min(address for address, _ in image.code)
    bases = bytearray((image.load_end - start) // 2)
    for address, encoding in instructions(image):
        base = word_aligned_base(encoding)
        if base is not None:
            bases[(address - start) // 2] = _number(base)
    return start, bytes(bases)


class AlignmentGuard:
    """Looks at the addresses of LDRD, LDM and their kind while a Unicorn engine runs."""

    def __init__(self, library: Path, image: Image) -> None:
        """Takes the library of `firmware.build.build_hook` and the image that will run.

        Raises:
            ToolError: the library cannot be loaded.
        """
        self._hook = load_hook(library, "insitu_alignment_hook")
        start, self._bases = _bases_of(image)
        self._alignment = _Alignment(
            bases=self._bases,
            code_start=start,
            code_halfwords=len(self._bases),
            read_register=c_function("uc_reg_read"),
            stop=c_function("uc_emu_stop"),
        )

    def watch(self, engine: Uc) -> None:
        """Hooks the engine, before it runs.

        Raises:
            ToolError: Unicorn refused the hook.
        """
        add_c_hook(engine, UC_HOOK_CODE, self._hook, self._alignment)

    @property
    def fault(self) -> tuple[int, str] | None:
        """Address of the instruction and what is wrong with it; None where nothing is."""
        if self._alignment.faults == 0:
            return None
        address = f"{self._alignment.address:#010x}"
        return self._alignment.pc, f"loads or stores words at {address}, not a multiple of four"


def _number(register: int) -> int:
    """Unicorn's."""
    number = arm_const.UC_ARM_REG_R0 + register
    return int(arm_const.UC_ARM_REG_LR if register == LINK_REGISTER else number)
