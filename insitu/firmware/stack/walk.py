"""LinkedCode -> how deep the stack goes below an entry, and whether it comes back.

Invariant: what an instruction does is followed on every way that control can take to it; where ways
meet, the deeper stack counts. Calls are followed into their targets, so a bound is a bound for all
that is called. What cannot be followed raises, with address and symbol.

Compilers give an instruction one depth, whichever way leads to it: else it could not return. That
is what a jump to a computed place inside a function (assembly that enters a loop in its middle)
rests on: code that nothing else reaches has the depth of the jump. Where a function has such a
jump, it is checked that all ways agree.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from insitu.errors import ToolError
from insitu.firmware.stack.code import LinkedCode, Line
from insitu.firmware.stack.effects import Effect, Goes, UnknownEffect, effect_of
from insitu.firmware.stack.values import RETURN, Values, after, both

MOST_VISITS = 64
"""An instruction that the stack reaches ever deeper is in a loop that pushes."""

NOPS = ("nop", "nop.w")

SWITCHES = "__gnu_thumb1_case_"
"""Functions of libgcc that jump by the table behind their call."""


@dataclass(frozen=True)
class Depth:
    """Of the code below an entry.

    Attributes:
        nbytes: of stack, with all that it calls.
        way: functions on the deepest way, and the stack of each where it goes on to the next.
        returns: whether control ever comes back.
    """

    nbytes: int
    way: tuple[tuple[str, int], ...]
    returns: bool


class Walker:
    """Depths of the functions of a firmware, each found once."""

    def __init__(self, code: LinkedCode) -> None:
        self.code = code
        self._known: dict[int, Depth] = {}
        self._open: list[int] = []
        self.addresses: dict[int, frozenset[int]] = {}

    def depth(self, entry: int) -> Depth:
        """The stack below an entry.

        Raises:
            ToolError: it cannot be bounded; says where and why.
        """
        if entry in self._known:
            return self._known[entry]
        if entry in self._open:
            cycle = [*self._open[self._open.index(entry) :], entry]
            names = " -> ".join(self.code.name_of(address) for address in cycle)
            raise ToolError(
                f"the stack has no bound: {names} call one another; take the recursion out"
            )
        self._open.append(entry)
        self._known[entry] = _Function(self, entry).depth()
        self._open.pop()
        return self._known[entry]

    def effect(self, line: Line) -> Effect:
        """What a line does."""
        try:
            return effect_of(line.mnemonic, line.operands, line.bits)
        except UnknownEffect:
            raise self.unknown(line, "nobody knows what it does to the stack") from None

    def unknown(self, line: Line, why: str) -> ToolError:
        """An error that names an instruction."""
        says = f"{line.mnemonic} {line.operands}".strip()
        return ToolError(
            f"the stack has no bound: {says} at {line.address:#x} ({self.code.name_of(line.address)}): "
            f"{why}; please report this"
        )


class _Function:
    """The walk over the code below one entry."""

    def __init__(self, walker: Walker, entry: int) -> None:
        self.walker, self.code, self.entry = walker, walker.code, entry
        self.name = self.code.name_of(entry)
        self.states: dict[int, tuple[int, Values]] = {}
        self.visits: dict[int, int] = {}
        self.work: list[int] = []
        self.uneven: list[int] = []
        self.jumps: list[tuple[Line, int]] = []
        self.apart: set[int] = set()
        self.returns = False
        self.nbytes, self.way = -1, ()  # type: int, tuple[tuple[str, int], ...]

    def depth(self) -> Depth:
        """The deepest that was seen on all ways."""
        self._deepest(0)
        self._reach(self.entry, 0, {})
        self._run()
        while self._enter_what_is_left():
            self._run()
        if self.jumps and self.uneven:
            line = self.jumps[0][0]
            raise self.walker.unknown(
                line, f"it jumps inside a function whose depth at {self.uneven[0]:#x} varies"
            )
        self.walker.addresses[self.entry] = frozenset(self.states)
        return Depth(self.nbytes, self.way, self.returns)

    # ---- places and their depth -------------------------------------------------------------

    def _reach(self, address: int, depth: int, values: Values) -> None:
        known = self.states.get(address)
        if known is not None:
            if depth != known[0]:
                self.uneven.append(address)
            depth, values = max(depth, known[0]), both(known[1], values)
            if (depth, values) == known:
                return
        self.visits[address] = self.visits.get(address, 0) + 1
        if self.visits[address] > MOST_VISITS:
            raise ToolError(
                f"the stack has no bound: it grows in a loop at {address:#x} "
                f"({self.code.name_of(address)}); please report this"
            )
        self.states[address] = depth, values
        self.work.append(address)

    def _deepest(self, depth: int, below: Depth | None = None) -> None:
        nbytes = depth + (0 if below is None else below.nbytes)
        if nbytes > self.nbytes:
            self.nbytes = nbytes
            self.way = ((self.name, depth), *(() if below is None else below.way))

    def _enter_what_is_left(self) -> bool:
        """Begins with code that only a computed jump can reach; False where there is none."""
        for function in dict.fromkeys(self.code.function_at(j.address) for j, _ in self.jumps):
            inside = [d for j, d in self.jumps if self.code.function_at(j.address) == function]
            for line in self.code.lines(*function):
                known = line.address in self.states or line.address in self.apart
                if not known and line.mnemonic not in NOPS:
                    self._reach(line.address, max(inside), {})
                    return True
        return False

    # ---- instructions -----------------------------------------------------------------------

    def _run(self) -> None:
        while self.work:
            address = self.work.pop()
            line = self.code.line(address)
            if line is None:
                raise ToolError(
                    f"the stack has no bound: {self.name} goes on at {address:#x}, where no code "
                    f"is; please report this"
                )
            self._step(line, *self.states[address])

    def _step(self, line: Line, before: int, values: Values) -> None:
        effect = self.walker.effect(line)
        depth = before
        if effect.pushed or effect.sets_sp or effect.moves_sp:
            depth = self._moved(line, effect, before, values)
            self._deepest(depth)
        if effect.goes is Goes.ON:
            values = after(values, line, effect, before, self.code)
            self._fall(line, depth, values)
            return
        going_on = GOING[effect.goes](self, line, effect, depth, values)
        if going_on or effect.conditional:
            self._fall(line, before, after(values, line, effect, before, self.code))

    def _moved(self, line: Line, effect: Effect, depth: int, values: Values) -> int:
        """The depth behind an instruction that changes the stack pointer."""
        if effect.sets_sp:
            place = values.get(effect.sets_sp)
            if not isinstance(place, tuple):
                raise self.walker.unknown(line, f"what {effect.sets_sp} holds is not known")
            depth = place[1] - effect.adds
        elif effect.moves_sp:
            size = values.get(effect.moves_sp)
            if not isinstance(size, int):
                raise self.walker.unknown(line, f"what {effect.moves_sp} holds is not known")
            depth += effect.sign * (size - (size >> 31 << 32))
        depth += effect.pushed
        if depth < 0:
            raise self.walker.unknown(line, f"it frees {-depth} bytes that belong to the caller")
        return depth

    def _fall(self, line: Line, depth: int, values: Values) -> None:
        """On to the next instruction, which may be another function's first."""
        if self.code.data_end(line.next) is not None:
            if line.mnemonic.startswith("bl"):
                return  # the compiler knows that the call does not return
            raise self.walker.unknown(line, "data follow it")
        self._go(line.next, depth, values)

    def _go(self, target: int, depth: int, values: Values) -> None:
        """To a target: a tail call where it is another function and nothing is pushed."""
        if depth == 0 and target != self.entry and target in self.code.functions:
            below = self.walker.depth(target)
            self._deepest(0, below)
            self.returns |= below.returns
        else:
            self._reach(target, depth, values)

    # ---- what each way to go does; whether control may go on behind the instruction -----------

    def branch(self, line: Line, effect: Effect, depth: int, values: Values) -> bool:
        """To a place of this function, or a tail call."""
        self._go(effect.target, depth, values)
        return False

    def call(self, line: Line, effect: Effect, depth: int, values: Values) -> bool:
        """Of a function, or of a part of this one."""
        target = effect.target
        below = self.walker.depth(target)
        self._deepest(depth, below)
        if self.code.name_of(target).startswith(SWITCHES):
            self.jumps.append((line, depth))
            return False
        if target not in self.code.functions:
            self.apart |= self.walker.addresses[target]
        return below.returns

    def call_register(self, line: Line, effect: Effect, depth: int, values: Values) -> bool:
        """Of what the register points to, or of all that a pointer may hold."""
        returns = False
        for target in self._pointed(line, values.get(effect.register)):
            below = self.walker.depth(target)
            self._deepest(depth, below)
            returns |= below.returns
        return returns

    def back(self, line: Line, effect: Effect, depth: int, values: Values) -> bool:
        """To the caller, with all that was pushed popped again."""
        if depth != 0:
            raise self.walker.unknown(line, f"it returns with {depth} bytes on the stack")
        self.returns = True
        return False

    def register(self, line: Line, effect: Effect, depth: int, values: Values) -> bool:
        """Back, to a constant, or wherever a pointer leads."""
        held = values.get(effect.register)
        if effect.register.startswith("["):
            offset = int(effect.register.removeprefix("[pc, #").rstrip("]"), 0)
            held = self.code.word((line.address + 4 & ~3) + offset)
        if held == RETURN:
            return self.back(line, effect, depth, values)
        if isinstance(held, int):
            self._go(held & ~1, depth, values)
            return False
        if depth == 0:
            for target in self._pointed(line, held):
                below = self.walker.depth(target)
                self._deepest(0, below)
                self.returns |= below.returns
        else:
            self.jumps.append((line, depth))
        return False

    def inside(self, line: Line, effect: Effect, depth: int, values: Values) -> bool:
        """To a computed place of this function."""
        self.jumps.append((line, depth))
        return False

    def table(self, line: Line, effect: Effect, depth: int, values: Values) -> bool:
        """To the places that stand behind TBB or TBH, up to the first of them."""
        width = 1 if effect.register == "tbb" else 2
        start = place = line.next
        first = end = self.code.function_at(line.address)[1]
        while place < first:
            offset = int.from_bytes(self.code.bytes_at(place, width), "little")
            target = start + 2 * offset
            if not place < target < end:
                break
            self._reach(target, depth, values)
            first, place = min(first, target), place + width
        if place == start:
            raise self.walker.unknown(line, "no table follows it")
        return False

    def stop(self, line: Line, effect: Effect, depth: int, values: Values) -> bool:
        """A trap."""
        return False

    def _pointed(self, line: Line, held: object) -> Iterable[int]:
        if isinstance(held, int):
            return (held & ~1,)
        if not self.code.taken:
            raise self.walker.unknown(line, "no function's address is taken anywhere")
        return sorted(self.code.taken)


GOING = {
    Goes.BRANCH: _Function.branch,
    Goes.CALL: _Function.call,
    Goes.CALL_REGISTER: _Function.call_register,
    Goes.RETURN: _Function.back,
    Goes.REGISTER: _Function.register,
    Goes.INSIDE: _Function.inside,
    Goes.TABLE: _Function.table,
    Goes.STOP: _Function.stop,
}
