"""A basic block -> Cost: the timing of each core, one table and at most one function a core.

Flash wait states are not part of any table: memory answers in one cycle, as with a cache, a
prefetch buffer or code in RAM.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from insitu.measure.decode import Instruction

Instructions = Sequence[Instruction]

WORD_BY_WORD = ("load_many", "store_many", "float_load", "float_store")
"""Kinds that take their table entry and one cycle a word more."""


@dataclass(frozen=True)
class Cost:
    """Cycles of one block.

    Attributes:
        cycles: every execution, where its last branch falls through.
        taken: more, where its last branch is taken.
        surprised: more, where a branch predictor guesses wrong.
    """

    cycles: int
    taken: int = 0
    surprised: int = 0


@dataclass(frozen=True)
class CycleModel:
    """How many cycles a core takes.

    Attributes:
        error_percent: expected error of a whole network's cycles on silicon, wait states apart.
        source: where table and rules come from.
        reason: why the error is what it is.
    """

    error_percent: int
    source: str
    reason: str
    cost: Callable[[Instructions], Cost]


M0PLUS = {"load": 2, "store": 2, "load_many": 1, "store_many": 1, "system": 3}
"""Cycles by kind, 1 where absent. Source: ARM DDI 0484, table 3-1, single-cycle multiplier."""

M4 = {
    "load": 2,
    "load_double": 3,
    "store_double": 3,
    "divide": 7,
    "table_branch": 4,
    "system": 2,
    "float_multiply_add": 3,
    "float_divide": 14,
}
"""Cycles by kind, 1 where absent. Source: ARM DDI 0439, tables 3-1 and 7-1, and "load/store
timings" (a store with an immediate offset takes 1); a division takes 2 to 12, its middle is taken.
"""

M3 = {**M4, "multiply_add": 2, "multiply_long": 4, "multiply_long_add": 6}
"""Source: ARM DDI 0337, table 3-1; multiplications of 3 to 5 and 4 to 7 cycles by their middle."""

MULTIPLY = ("multiply", "multiply_add", "multiply_long", "multiply_long_add", "dsp_multiply")

M7_LATENCY = {
    **dict.fromkeys(("load", "load_double", "load_many", "float_load", *MULTIPLY), 2),
    "divide": 8,
    "float": 3,
    "float_multiply_add": 5,
    "float_divide": 15,
}
"""Cycles until the result can be read, 1 where absent. An estimate: Arm publishes no table."""

M7_UNIT = {
    **dict.fromkeys(("store", "store_double", "float_store"), "store"),
    **dict.fromkeys(MULTIPLY, "multiply"),
    **dict.fromkeys(("float", "float_multiply_add"), "float"),
    **dict.fromkeys(("branch", "call", "branch_register"), "branch"),
}
"""What a cycle can start only one of; the rest, loads too, may start in pairs."""

M7_ALONE = ("load_many", "store_many", "divide", "float_divide", "system", "table_branch")
M7_SURPRISE = 6  # pipeline stages


def cortex_m0plus(block: Instructions) -> Cost:
    """In order, no overlap. Source: ARM DDI 0484, table 3-1."""
    last = block[-1]
    taken = 0
    if last.jumps:
        taken = 2 if last.kind in ("call", "load_many") else 1
    return Cost(_plain(block, M0PLUS), taken)


def cortex_m3(block: Instructions) -> Cost:
    """In order, loads overlap. Source: ARM DDI 0337, table 3-1 and section 3.3.2."""
    return Cost(_plain(block, M3) + _overlaps(block), _refill(block[-1]))


def cortex_m4(block: Instructions) -> Cost:
    """As Cortex-M3, with single-cycle multiplications and an FPU. Source: ARM DDI 0439."""
    return Cost(_plain(block, M4) + _overlaps(block) + _float_waits(block), _refill(block[-1]))


def cortex_m33(block: Instructions) -> Cost:
    """As Cortex-M4, but two 16-bit arithmetic instructions of one word may start together.

    Source: the core's public description ("in-order, limited dual-issue of common 16-bit
    instruction pairs"); the rule for what pairs is ours.
    """
    cost = cortex_m4(block)
    saved = 0
    paired = False
    for previous, this in pairwise(block):
        paired = (
            not paired
            and previous.address % 4 == 0
            and previous.kind == this.kind == "alu"
            and previous.size_bytes == this.size_bytes == 2
            and not previous.writes & this.reads
        )
        saved += paired
    return Cost(cost.cycles - saved, cost.taken)


def cortex_m55(block: Instructions) -> Cost:
    """As Cortex-M33; a vector instruction takes two cycles, one of them beside a neighbour's.

    Source: Armv8-M Architecture Reference Manual, B5.4 (beats; neighbours may overlap), and the
    core's public description ("two beats a cycle"); that a load or store overlaps with arithmetic,
    that nothing else waits, and that a loop's end takes one cycle are ours.
    """
    cost = cortex_m33(block)
    vectors = ("vector", "vector_memory")
    more = sum(this.kind in vectors for this in block)
    more -= sum(a.kind != b.kind and {a.kind, b.kind} == {*vectors} for a, b in pairwise(block))
    return Cost(cost.cycles + more, 0 if block[-1].kind == "loop" else cost.taken)


def cortex_m7(block: Instructions) -> Cost:
    """In order, two a cycle where units and operands allow, branches predicted.

    Source: measurements at www.quinapalus.com/cm7cycles.html for what pairs; the rest is ours.
    """
    now = 0  # the cycle that instructions start in
    started: list[Instruction] = []
    ready: dict[str, int] = {}
    for this in block:
        operands = max((ready.get(r, 0) for r in this.reads), default=0)
        if operands > now or not _fits(this, started):
            now = max(now + bool(started), operands)
            started = []
        started.append(this)
        done = now + M7_LATENCY.get(this.kind, 1)
        if this.kind in M7_ALONE:
            now += max(1, this.registers // 2)  # two words a cycle
            started = []
        ready |= dict.fromkeys(this.writes, max(now, done))
    last = block[-1]
    surprised = M7_SURPRISE if last.conditional or last.kind == "table_branch" else 0
    return Cost(max(1, now + bool(started)), 0, surprised)


def _fits(this: Instruction, started: Sequence[Instruction]) -> bool:
    """Whether Cortex-M7 can start an instruction beside the others of the same cycle."""
    if not started:
        return True
    if len(started) == 2 or this.kind in M7_ALONE:
        return False
    other = started[0]
    unit = M7_UNIT.get(this.kind)
    return (unit is None or unit != M7_UNIT.get(other.kind)) and not other.writes & this.writes


def _plain(block: Instructions, table: Mapping[str, int]) -> int:
    """The sum over a block, nothing overlapping, no branch taken."""
    return sum(table.get(i.kind, 1) + (i.registers if i.kind in WORD_BY_WORD else 0) for i in block)


def _overlaps(block: Instructions) -> int:
    """What neighbours change on Cortex-M3 and M4 (negative: saved).

    Source: ARM DDI 0337 and DDI 0439, "load/store timings": a load or store right after a load
    takes one cycle less unless the loaded register forms its address (a store with an immediate
    offset takes one anyway, with a register offset two); an address that the preceding
    arithmetic has just written takes one more.
    """
    change = 0
    previous: Instruction | None = None
    for this in block:
        single = this.kind in ("load", "store")
        slow_store = this.kind == "store" and this.indexed
        change += slow_store
        if previous is not None and single:
            fresh = bool(previous.writes & this.addressing)
            if previous.kind == "load" and not fresh:
                change -= this.kind == "load" or slow_store
            elif previous.kind == "alu" and fresh:
                change += 1
        previous = this
    return change


def _float_waits(block: Instructions) -> int:
    """One cycle where a float result is read by the next instruction.

    Source: ARM DDI 0439, table 7-1, note.
    """
    return sum(
        previous.kind in ("float", "float_multiply_add", "float_divide")
        and bool(previous.writes & this.reads)
        for previous, this in pairwise(block)
    )


def _refill(last: Instruction) -> int:
    """Cycles to refill the pipeline of Cortex-M3 and M4 after a taken branch.

    Source: ARM DDI 0337 and DDI 0439: 1 to 3, "depending on the alignment and width of the
    target instruction, and whether the processor manages to speculate the address early". An
    address within the instruction is known early.
    """
    if not last.jumps:
        return 0
    return 1 + last.slow_target if last.kind in ("branch", "call") else 2


MODELS = {
    "cortex-m0plus": CycleModel(
        3,
        "ARM DDI 0484, table 3-1, single-cycle multiplier",
        "a core without caches, prediction or overlap, and a public table",
        cortex_m0plus,
    ),
    "cortex-m3": CycleModel(
        10,
        "ARM DDI 0337, table 3-1 and load/store timings",
        "a public table, but the refill after a branch is given as 1 to 3 cycles and long"
        " multiplications and divisions depend on their operands",
        cortex_m3,
    ),
    "cortex-m4": CycleModel(
        10,
        "ARM DDI 0439, tables 3-1 and 7-1 and load/store timings",
        "a public table, but the refill after a branch is given as 1 to 3 cycles; CoreMark, gcc"
        " -O3, comes out at 2.60 a MHz where boards reach 2.2 to 2.7 (PJRC)",
        cortex_m4,
    ),
    "cortex-m7": CycleModel(
        30,
        "two issues a cycle where units and operands allow; an estimate, no table is public",
        "dual issue and branch prediction are guessed from measurements by others; CoreMark, gcc"
        " -O3, comes out at 3.99 a MHz where a Teensy 4.0 reaches 3.86 (PJRC)",
        cortex_m7,
    ),
    "cortex-m33": CycleModel(
        20,
        "ARM DDI 0439 (Cortex-M4) with pairs of 16-bit instructions; no table is public",
        "the pipeline resembles Cortex-M4's (10 %); which pairs start together is not public, and"
        " CoreMark a MHz differs by about 15 % between the two",
        cortex_m33,
    ),
    "cortex-m55": CycleModel(
        50,
        "ARM DDI 0439 (Cortex-M4) with pairs of 16-bit instructions, vectors at two beats a cycle;"
        " no table is public",
        "an estimate that was held against no measurement: what Helium's instructions wait for,"
        " and how long gathering loads take, is not public",
        cortex_m55,
    ),
}
"""By core."""
