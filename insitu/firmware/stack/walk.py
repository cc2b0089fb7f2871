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
from dataclasses import dataclass, replace
from itertools import product

from insitu.errors import ToolError
from insitu.firmware.stack.code import Line, LinkedCode
from insitu.firmware.stack.effects import Effect, Goes, UnknownEffectError, effect_of
from insitu.firmware.stack.values import RETURN, Values, after, both

MOST_VISITS = 64
"""An instruction that the stack reaches ever deeper is in a loop that pushes."""

NOPS = ("nop", "nop.w")

IT = frozenset(f"it{''.join(more)}" for n in range(4) for more in product("te", repeat=n))
"""The next one to four instructions depend on a condition, or on its contrary."""

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
        self._far: dict[int, bool] = {}
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
        except UnknownEffectError:
            raise self.unknown(line, "nobody knows what it does to the stack") from None

    def is_far_branch(self, line: Line, target: int) -> bool:
        """Whether BL is a jump within a function, since its target frees what the caller pushed.

        On Armv6-M, where B reaches 2 KiB, LLVM jumps by BL in functions that have saved lr.
        """
        function = self.code.function_at(line.address)
        if target in self.code.functions or not function[0] <= target < function[1]:
            return False
        if target not in self._far:
            self._far[target] = self._frees(target, function)
        return self._far[target]

    def _frees(self, entry: int, function: tuple[int, int]) -> bool:
        """Whether the stack can be higher behind a place of a function than before it."""
        depths, work = {entry: 0}, [entry]
        while work:
            line = self.code.line(work.pop())
            if line is None:
                continue
            effect = self.effect(line)
            depth = depths[line.address] + effect.pushed
            if depth < 0 or effect.sets_sp or effect.moves_sp:
                return True
            falls = effect.conditional or effect.goes in (Goes.ON, Goes.CALL, Goes.CALL_REGISTER)
            for target in (effect.target, *((line.next,) if falls else ())):
                if function[0] <= target < function[1] and target not in depths:
                    depths[target] = depth
                    work.append(target)
        return False

    def unknown(self, line: Line, why: str) -> ToolError:
        """An error that names an instruction."""
        says = f"{line.mnemonic} {line.operands}".strip()
        place = f"{line.address:#x} ({self.code.name_of(line.address)})"
        return ToolError(f"the stack has no bound: {says} at {place}: {why}; please report this")


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
            self._step(self._line(address), *self.states[address])

    def _line(self, address: int) -> Line:
        line = self.code.line(address)
        if line is None:
            raise ToolError(
                f"the stack has no bound: {self.name} goes on at {address:#x}, where no code "
                f"is; please report this"
            )
        return line

    def _step(self, line: Line, depth: int, values: Values) -> None:
        if line.mnemonic in IT:
            self._conditional(line, depth, values)
            return
        state = self._execute(line, self.walker.effect(line), depth, values)
        if state is not None:
            self._fall(line, *state)

    def _conditional(self, it: Line, depth: int, values: Values) -> None:
        """A block of IT, once with its condition true and once false."""
        for sense in "te":
            line, state = it, (depth, values)  # type: Line, tuple[int, Values] | None
            for letter in f"t{it.mnemonic[2:]}":
                line = self._line(line.next)
                self.apart.add(line.address)
                if letter == sense and state is not None:
                    effect = replace(self.walker.effect(line), conditional=False)
                    state = self._execute(line, effect, *state)
            if state is not None:
                self._fall(line, *state)

    def _execute(
        self, line: Line, effect: Effect, before: int, values: Values
    ) -> tuple[int, Values] | None:
        """Depth and values where control goes on behind the instruction; None where it does not."""
        depth = before
        if effect.pushed or effect.sets_sp or effect.moves_sp:
            depth = self._moved(line, effect, before, values)
            self._deepest(depth)
        known = after(values, line, effect, before, self.code)
        if effect.goes is Goes.ON:
            return depth, known
        going_on = GOING[effect.goes](self, line, effect, depth, values)
        return (before, known) if going_on or effect.conditional else None

    def _moved(self, line: Line, effect: Effect, depth: int, values: Values) -> int:
        """The depth behind an instruction that changes the stack pointer."""
        if effect.sets_sp:
            place = values.get(effect.sets_sp)
            if not isinstance(place, tuple):
                raise self.walker.unknown(line, f"what {effect.sets_sp} holds is not known")
            depth = place[1]
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
        if self.walker.is_far_branch(line, target):
            self._reach(target, depth, after(values, line, effect, depth, self.code))
            return False
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
