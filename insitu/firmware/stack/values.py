"""Registers -> what is known of them: constants, places on the stack, where to return.

Invariant: what is not known is absent; a value that stands here is right on every way to the place.
"""

from __future__ import annotations

from collections.abc import Mapping

from insitu.firmware.stack.code import Line, LinkedCode
from insitu.firmware.stack.effects import CALLER_SAVED, Effect, Goes

Value = int | str | tuple[str, int]
"""A constant; `RETURN`; or ("sp", depth): the stack pointer where that many bytes were pushed."""

RETURN = "return"
"""The caller's address, or what was popped: compilers jump there only to return."""

WORD = 0xFFFF_FFFF

Values = Mapping[str, Value]


def after(values: Values, line: Line, effect: Effect, depth: int, code: LinkedCode) -> Values:
    """What is known behind an instruction; the same object where nothing changes."""
    if effect.goes in (Goes.CALL, Goes.CALL_REGISTER):
        return _without(values, CALLER_SAVED)
    if effect.pops:
        return {**values, **dict.fromkeys(effect.pops, RETURN)}
    found = None if effect.gets is None else _made(values, line, effect, depth, code)
    if not values and found is None:
        return values
    left = _without(values, effect.forgets)
    if found is None or effect.gets is None:
        return left
    return {**left, effect.gets[0]: found}


def both(one: Values, other: Values) -> Values:
    """What is known whichever way control came."""
    if one is other or one == other:
        return one
    return {name: value for name, value in one.items() if other.get(name) == value}


def _without(values: Values, names: frozenset[str]) -> Values:
    if names.isdisjoint(values):
        return values
    return {name: value for name, value in values.items() if name not in names}


def _made(values: Values, line: Line, effect: Effect, depth: int, code: LinkedCode) -> Value | None:
    """The value that an instruction gives its first register, where it can be told."""
    assert effect.gets is not None
    register, what, sources = effect.gets
    if what == "ldr":
        return code.word((line.address + 4 & ~3) + int(sources[0].lstrip("#"), 0))

    def known(text: str) -> Value | None:
        if text.startswith("#"):
            return int(text[1:], 0) & WORD
        if text == "sp":
            return "sp", depth
        return RETURN if text == "lr" else values.get(text)

    operands = [known(text) for text in sources]
    if what in ("mov", "movw"):
        return operands[0] if len(operands) == 1 else None
    if what == "movt":
        operands = [values.get(register), *operands]
    elif what == "negs":
        operands = [*operands, 0]
    elif len(operands) == 1:
        operands = [values.get(register), *operands]
    return _computed(what, operands)


def _computed(what: str, operands: list[Value | None]) -> Value | None:
    one, other = operands
    if not isinstance(other, int):
        return None
    if isinstance(one, tuple) and what in ("add", "addw", "sub", "subw"):
        moved = other - (other >> 31 << 32)
        return one[0], one[1] + (moved if what.startswith("sub") else -moved)
    if not isinstance(one, int):
        return None
    made = {
        "add": one + other,
        "addw": one + other,
        "sub": one - other,
        "subw": one - other,
        "lsl": one << min(other, 32),
        "rsb": other - one,
        "negs": other - one,
        "movt": one & 0xFFFF | other << 16,
    }
    return made[what] & WORD
