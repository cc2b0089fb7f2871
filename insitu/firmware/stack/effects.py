"""A line of disassembly -> Effect: what it does to the stack pointer and where it goes on.

Invariant: an instruction that changes the stack pointer in a way that is not listed here raises;
none counts as harmless because it is not known.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from enum import Enum

from insitu.firmware.stack.code import UNKNOWN


class Goes(Enum):
    """Where control goes."""

    ON = "to the next instruction"
    BRANCH = "to a target"
    CALL = "to a target and back"
    CALL_REGISTER = "to where a register points, and back"
    RETURN = "back to the caller"
    REGISTER = "to where a register points: back, into another function, or into this one"
    INSIDE = "to a computed place of this function"
    TABLE = "to one of the places of the table behind it"
    STOP = "nowhere"


@dataclass(frozen=True)
class Effect:
    """What one instruction does.

    Attributes:
        pushed: bytes by which the stack grows.
        sets_sp: it is set to this register's value.
        moves_sp: it grows by this register's value, times `sign`.
        conditional: it may also do nothing but go on; so may all in a block of IT, which the walk
            follows both ways.
        target: of a branch or call. register: that holds the target.
        value: (register, text of what it gets), for constants and copies.
        forgets: registers that hold something else afterwards.
    """

    goes: Goes = Goes.ON
    pushed: int = 0
    sets_sp: str = ""
    moves_sp: str = ""
    sign: int = 1
    conditional: bool = False
    target: int = 0
    register: str = ""
    gets: tuple[str, str, tuple[str, ...]] | None = None
    forgets: frozenset[str] = frozenset()
    pops: frozenset[str] = frozenset()


READ_SP = ("cmp", "cmn", "tst", "teq", "str", "stm", "ldm", "vstm", "vldm")
"""With it as first operand: compared, stored, or an address that stays as it is."""


class UnknownEffectError(Exception):
    """An instruction changes the stack pointer and nobody knows by how much."""


CONDITIONS = "eq|ne|cs|hs|cc|lo|mi|pl|vs|vc|hi|ls|ge|lt|gt|le"
KNOWN = (
    "push vpush pop vpop stmdb vstmdb ldm vldmia add adds addw sub subs subw mov movs movw movt"
    " ldr lsls rsbs negs b bl blx bx cbz cbnz tbb tbh udf svc"
)
MNEMONIC = re.compile(rf"({'|'.join(KNOWN.split())})({CONDITIONS})?(\.\w+)?")
REGISTER = re.compile(r"\b(?:r\d+|sb|sl|fp|ip|sp|lr|pc|[sdq]\d+)\b")
WRITES_BACK = re.compile(r"\[sp(?:, #(-?\w+)\]!|\], #(-?\w+))$")
CALLER_SAVED = frozenset(("r0", "r1", "r2", "r3", "ip", "lr"))
"""What a call may change. Source: Procedure Call Standard for the Arm Architecture, 6.1.1."""


@functools.lru_cache(maxsize=1 << 16)
def effect_of(mnemonic: str, operands: str, bits: int = 0) -> Effect:
    """What a line does.

    Raises:
        UnknownEffectError: it changes the stack pointer in another way than compilers do.
    """
    if mnemonic == UNKNOWN:
        return _unknown(bits)
    found = MNEMONIC.fullmatch(mnemonic)
    name, condition = (found[1], found[2]) if found else (mnemonic, None)
    flow = _flow(name, operands, condition is not None)
    if flow is not None:
        return flow
    moved = _stack(name, operands, condition is not None)
    if moved is not None:
        return moved
    if operands.startswith("sp") and not name.startswith(READ_SP):
        raise UnknownEffectError
    if operands.startswith("pc") or "sp!" in operands or name == "svc":
        raise UnknownEffectError
    if (name.startswith("ldm") and "pc" in operands) or operands.startswith(("msp,", "psp,")):
        raise UnknownEffectError
    if "[sp" in operands and ("]!" in operands or "]," in operands):
        raise UnknownEffectError
    named = frozenset(REGISTER.findall(operands))
    return Effect(forgets=named, gets=_value(name, operands))


def _flow(name: str, operands: str, conditional: bool) -> Effect | None:
    if name in ("b", "bl"):
        goes = Goes.BRANCH if name == "b" else Goes.CALL
        target = int(operands.lstrip("#"), 0) & ~1
        return Effect(goes, target=target, conditional=conditional)
    if name in ("cbz", "cbnz"):
        target = int(operands.split("#")[1], 0)
        return Effect(Goes.BRANCH, target=target, conditional=True)
    if name in ("bx", "blx"):
        if operands.startswith("#"):
            raise UnknownEffectError
        goes = Goes.CALL_REGISTER if name == "blx" else Goes.REGISTER
        return _to_register(operands, goes, conditional)
    if name in ("tbb", "tbh"):
        goes = Goes.TABLE if operands.startswith("[pc") else Goes.INSIDE
        return Effect(goes, conditional=conditional, register=name)
    if name == "udf":
        return Effect(Goes.STOP)
    if operands.startswith("pc,"):
        return _to_pc(name, operands, conditional)
    return None


def _to_pc(name: str, operands: str, conditional: bool) -> Effect:
    """What loads or computes the program counter."""
    source = operands.removeprefix("pc,").strip()
    back = WRITES_BACK.search(operands)
    if name == "ldr" and back and back[2]:
        return Effect(Goes.RETURN, pushed=-int(back[2], 0), conditional=conditional)
    if name == "mov":
        return _to_register(source, Goes.REGISTER if source == "lr" else Goes.INSIDE, conditional)
    if name == "ldr" and source.startswith("[pc, #"):
        return Effect(Goes.REGISTER, register=source, conditional=conditional)
    if name in ("ldr", "add") and not back:
        return Effect(Goes.INSIDE, conditional=conditional)
    raise UnknownEffectError


def _to_register(register: str, goes: Goes, conditional: bool) -> Effect:
    if goes is Goes.REGISTER and register == "lr":
        return Effect(Goes.RETURN, conditional=conditional)
    return Effect(goes, register=register, conditional=conditional)


def _stack(name: str, operands: str, conditional: bool) -> Effect | None:
    """What changes the stack pointer and goes on, or returns by popping."""
    many = _several(name, operands)
    if many is not None:
        pushed, names = many
        goes = Goes.RETURN if "pc" in names and pushed < 0 else Goes.ON
        loaded = names if pushed < 0 else frozenset[str]()
        return Effect(goes, pushed, conditional=conditional, forgets=loaded, pops=loaded)
    back = WRITES_BACK.search(operands)
    if back is not None:
        forgets = frozenset(REGISTER.findall(operands))
        return Effect(pushed=-int(back[1] or back[2], 0), forgets=forgets)
    if not operands.startswith("sp, ") or name not in ("add", "addw", "sub", "subw", "mov"):
        return None
    sign = 1 if name.startswith("sub") else -1
    parts = operands.removeprefix("sp, ").split(", ")
    if name == "mov":
        return Effect(sets_sp=parts[0]) if len(parts) == 1 else None
    parts = parts[1:] if parts[0] == "sp" else parts
    if len(parts) == 1 and parts[0].startswith("#"):
        return Effect(pushed=sign * int(parts[0][1:], 0))
    if len(parts) == 1:
        return Effect(moves_sp=parts[0], sign=sign)
    raise UnknownEffectError


def _several(name: str, operands: str) -> tuple[int, frozenset[str]] | None:
    """(bytes pushed, registers) of what stores or loads several registers at the stack."""
    if name in ("push", "vpush", "pop", "vpop"):
        listed = operands
    elif name in ("stmdb", "vstmdb", "ldm", "vldmia") and operands.startswith("sp!, "):
        listed = operands.removeprefix("sp!, ")
    else:
        return None
    names = REGISTER.findall(listed)
    count = sum({"d": 8, "q": 16}.get(n[0], 4) for n in names)
    return (count if "push" in name or "st" in name else -count), frozenset(names)


def _value(name: str, operands: str) -> tuple[str, str, tuple[str, ...]] | None:
    """(register, what makes its value, of what), where it may be a constant or a place."""
    first, *rest = operands.split(", ")
    plain = name.removesuffix("s") if name in ("movs", "adds", "subs", "lsls", "rsbs") else name
    kinds = ("mov", "movw", "movt", "add", "addw", "sub", "subw", "lsl", "rsb", "negs")
    if plain in kinds and len(rest) in (1, 2):
        return first, plain, tuple(rest)
    if name == "ldr" and len(rest) == 2 and rest[0] == "[pc":
        return first, "ldr", (rest[1].rstrip("]"),)
    return None


def _unknown(bits: int) -> Effect:
    """Of Helium: harmless unless it loads or stores by the stack pointer and changes it.

    Source: Armv8-M Architecture Reference Manual (DDI 0553), C2.4, VLDR and VSTR of vectors: W is
    bit 21 of the two halfwords, Rn bits 16 to 19.
    """
    memory = bits >> 25 in (0b1110110, 0b1111110)
    if memory and bits >> 16 & 0xF == 13 and bits >> 21 & 1:
        raise UnknownEffectError
    everything = frozenset(("r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7"))
    return Effect(forgets=everything | {"r8", "sb", "sl", "fp", "ip", "lr"})
