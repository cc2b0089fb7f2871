"""Machine code -> Instruction: what a core's timing depends on, and nothing else.

Invariant: every address of the code decodes to something; encodings unknown to
the disassembler count as plain arithmetic of the right size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import capstone
from capstone import arm

from insitu.errors import ToolError
from insitu.target.instructions import helium

KINDS = {
    "load": "ldr ldrb ldrh ldrsb ldrsh ldrex ldrexb ldrexh lda ldab ldah",
    "store": "str strb strh strex strexb strexh stl stlb stlh",
    "load_double": "ldrd",
    "store_double": "strd",
    "load_many": "ldm ldmdb pop vldmia vldmdb vpop",
    "store_many": "stm stmdb push vstmia vstmdb vpush",
    "multiply": "mul",
    "multiply_add": "mla mls",
    "multiply_long": "umull smull",
    "multiply_long_add": "umlal smlal umaal",
    "dsp_multiply": (
        "smulbb smulbt smultb smultt smulwb smulwt smlabb smlabt smlatb smlatt smlawb smlawt"
        " smuad smuadx smusd smusdx smlad smladx smlsd smlsdx smlald smlaldx smlsld smlsldx"
        " smlalbb smlalbt smlaltb smlaltt smmul smmulr smmla smmlar smmls smmlsr"
    ),
    "divide": "sdiv udiv",
    "branch": "b cbz cbnz",
    "call": "bl",
    "branch_register": "bx blx",
    "table_branch": "tbb tbh",
    "system": "mrs msr dsb dmb isb",
    "float_load": "vldr",
    "float_store": "vstr",
    "float_multiply_add": "vmla vmls vnmla vnmls vfma vfms vfnma vfnms",
    "float_divide": "vdiv vsqrt",
    "float_move": "vmov vmrs vmsr",
}
"""Kind of instruction -> mnemonics; what is not listed is "float" (with a v) or "alu". Helium's
are told by their encoding (`instructions.helium`), since the disassembler does not know them."""

KIND_OF = {mnemonic: kind for kind, names in KINDS.items() for mnemonic in names.split()}

WRITES_NOTHING = ("store", "store_double", "store_many", "float_store", "branch", "table_branch")
"""Kinds whose first register operand is read, not written."""

COMPARISONS = ("cmp", "cmn", "tst", "teq", "vcmp", "vcmpe")


@dataclass(frozen=True)
class Instruction:
    """One instruction, as far as timing is concerned.

    Attributes:
        kind: a key of `KINDS`, "float", "alu", "vector", "vector_memory" or "loop" (end of one).
        registers: moved by a load or store of several (words, so a double counts 2); else 0.
        reads, writes: names of registers.
        addressing: the registers that form the address of a load or store.
        indexed: the address is base + register.
        conditional: a branch that may fall through.
        jumps: may continue elsewhere than after itself.
        slow_target: jumps to a 32-bit instruction that does not lie on a word.
        guards: how many of the next instructions depend on this one (IT).
    """

    address: int
    size_bytes: int
    kind: str = "alu"
    registers: int = 0
    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()
    addressing: frozenset[str] = frozenset()
    indexed: bool = False
    conditional: bool = False
    jumps: bool = False
    slow_target: bool = False
    guards: int = 0


class Code:
    """Machine code at its addresses.

    Args:
        segments: address -> bytes.
    """

    def __init__(self, segments: dict[int, bytes]) -> None:
        self._segments = segments
        self._known: dict[int, Instruction] = {}

    def block(self, address: int, size_bytes: int | None = None) -> list[Instruction]:
        """The instructions from `address` on: `size_bytes` of them, or up to the next jump."""
        found: list[Instruction] = []
        end = None if size_bytes is None else address + size_bytes
        guarded = 0
        while end is None or address < end:
            instruction = self.at(address)
            if guarded and instruction.jumps:
                instruction = replace(instruction, conditional=True)
            guarded = instruction.guards or max(0, guarded - 1)
            found.append(instruction)
            address += instruction.size_bytes
            if end is None and instruction.jumps:
                break
        return found

    def at(self, address: int) -> Instruction:
        """The instruction at an address."""
        if address not in self._known:
            self._known[address] = self._decode(address)
        return self._known[address]

    @cached_property
    def _disassembler(self) -> capstone.Cs:
        mode = capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS | capstone.CS_MODE_V8
        disassembler = capstone.Cs(capstone.CS_ARCH_ARM, mode)
        disassembler.detail = True
        return disassembler

    def _bytes(self, address: int) -> bytes:
        """Up to four bytes of code, none outside of it."""
        for start, data in self._segments.items():
            if start <= address < start + len(data):
                return data[address - start : address - start + 4]
        return b""

    def _wide(self, address: int) -> bool:
        """Whether an instruction has 32 bits. Source: Armv7-M reference manual, A5.1."""
        data = self._bytes(address)
        return len(data) == 4 and data[1] >> 3 in (0b11101, 0b11110, 0b11111)

    def _decode(self, address: int) -> Instruction:
        data = self._bytes(address)
        if not data:
            raise ToolError(f"no code at {address:#x}; the profile belongs to another firmware")
        vector = helium(data) if self._wide(address) else ""
        if vector:
            loops = vector == "loop"
            return Instruction(address, 4, vector, jumps=loops, conditional=loops)
        raw = next(self._disassembler.disasm(data, address, count=1), None)
        if raw is None:
            return Instruction(address, 4 if self._wide(address) else 2)
        name = raw.insn_name()
        kind = KIND_OF.get(name, "float" if name.startswith("v") else "alu")
        reads, writes = _registers(raw, name, kind)
        memory = [o.mem for o in raw.operands if o.type == arm.ARM_OP_MEM]
        base = {raw.reg_name(m.base) for m in memory}
        index = {raw.reg_name(m.index) for m in memory if m.index}
        if kind in ("load_many", "store_many"):
            base = {"sp"} if name in ("push", "pop", "vpush", "vpop") else set(_named(raw)[:1])
        target = _target(raw) if kind in ("branch", "call") else None
        always = raw.cc in (arm.ARM_CC_AL, arm.ARM_CC_INVALID)
        return Instruction(
            address,
            raw.size,
            kind,
            registers=_moved(raw, name, kind),
            reads=frozenset(reads),
            writes=frozenset(writes),
            addressing=frozenset(base | index),
            indexed=bool(index),
            conditional=name in ("cbz", "cbnz") or (kind == "branch" and not always),
            jumps=kind in ("branch", "call", "branch_register", "table_branch") or "pc" in writes,
            guards=len(raw.mnemonic) - 1 if name == "it" else 0,
            slow_target=target is not None and target % 4 != 0 and self._wide(target),
        )


def _registers(raw: capstone.CsInsn, name: str, kind: str) -> tuple[set[str], set[str]]:
    """Registers read and written; adds operands that the disassembler forgets."""
    reads, writes = ({raw.reg_name(r) for r in found} for found in raw.regs_access())
    named = _named(raw)
    if kind == "load_many":
        writes |= set(named)
    elif kind in WRITES_NOTHING or name in COMPARISONS:
        reads |= set(named)
    elif not kind.startswith("load") and kind != "float_load":
        reads |= set(named[1:])
    return reads, writes


def _named(raw: capstone.CsInsn) -> list[str]:
    return [raw.reg_name(o.reg) for o in raw.operands if o.type == arm.ARM_OP_REG]


def _moved(raw: capstone.CsInsn, name: str, kind: str) -> int:
    """Words moved by a load or store of several registers."""
    if kind not in ("load_many", "store_many", "float_load", "float_store"):
        return 0
    named = _named(raw)
    listed = named if name in ("push", "pop", "vpush", "vpop", "vldr", "vstr") else named[1:]
    return sum(2 if register.startswith("d") else 1 for register in listed)


def _target(raw: capstone.CsInsn) -> int:
    return next(int(o.imm) for o in raw.operands if o.type == arm.ARM_OP_IMM)
