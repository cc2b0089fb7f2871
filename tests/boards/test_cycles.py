"""Does a core's model give the cycles that its manual gives, for sequences counted by hand?"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insitu.errors import ToolError
from insitu.measure.cycles import MODELS, Code, count_cycles
from insitu.target.board import CORES

BASE = 0x1000
MARK = {"mark_instructions": 2}


@dataclass(frozen=True)
class Case:
    """Machine code of one block.

    Attributes:
        falls: cycles where the last instruction does not jump.
        taken: cycles where it does; None where it cannot.
        start: offset of the block in the code.
    """

    core: str
    code: str
    falls: int
    taken: int | None = None
    start: int = 0


CASES = {
    # subs r0, #1; bne itself: 1 + 1, taken 1 + 2
    "m0plus-loop": Case("cortex-m0plus", "0138 fdd1", 2, 3),
    # ldr 2, ldrb 2, muls 1, adds 1, bx lr 2
    "m0plus-return": Case("cortex-m0plus", "0268 0b5d 5343 ed18 7047", 7, 8),
    # push of 5: 6; ldm of 3: 4; str 2; pop of 5 with pc: 3 + 5
    "m0plus-many": Case("cortex-m0plus", "f0b5 0ec8 1160 f0bd", 18, 20),
    # movs 1, bl 3
    "m0plus-call": Case("cortex-m0plus", "0120 00f030f8", 2, 4),
    # dsb 3, isb 3, mrs 3, mov pc, lr 2
    "m0plus-system": Case("cortex-m0plus", "bff34f8f bff36f8f eff31080 f746", 10, 11),
    # 1 + 1, taken 1 + (1 + P) with P = 1
    "m4-loop": Case("cortex-m4", "0138 fdd1", 2, 3),
    # the same around add.w that does not lie on a word: P = 2
    "m4-unaligned-target": Case("cortex-m4", "00bf 08f10108 0138 fbd1", 3, 5, start=2),
    # the examples of "load/store timings": three, three, three, four cycles
    "m4-load-load": Case("cortex-m4", "0868 1168", 3),
    "m4-load-store": Case("cortex-m4", "8858 5861", 3),
    "m4-load-store-indexed": Case("cortex-m4", "8858 9950", 3),
    "m4-load-load-load": Case("cortex-m4", "51f80500 1168 5a68", 4),
    # ldr r0, [r1]; ldr r2, [r0] cannot overlap
    "m4-load-address": Case("cortex-m4", "0868 0268", 4),
    # adds r1, #4; ldr r0, [r1] waits for the address
    "m4-fresh-address": Case("cortex-m4", "0431 0868", 4),
    # ldrd 1 + 2 does not overlap with ldr 2
    "m4-load-double": Case("cortex-m4", "d2e90001 2368", 5),
    # push of 5: 6; ldm of 4: 5; pop of 5: 6, with pc P = 2 more
    "m4-many": Case("cortex-m4", "f0b5 1ec8 f0bd", 17, 19),
    # ldr 2, ldr 1, smlad 1, smlad 1
    "m4-mac": Case("cortex-m4", "50f8044b 51f8045b 24fb0522 24fb0533", 5),
    # vldr 2, vldr 2, vmul 1, vadd 1 + 1 that waits for it, vfma 3, vdiv 14
    "m4-float": Case("cortex-m4", "90ed000a d1ed000a 20ee201a 71ee811a a0ee202a c0ee202a", 24),
    # tbb: 2 for the load, 1 for the sum, 3 for the refill
    "m4-table": Case("cortex-m4", "dfe800f0", 4, 6),
    # cmp 1, it 1, popeq {r4, pc} 3, taken P = 2 more
    "m4-conditional-return": Case("cortex-m4", "0028 08bf 10bd", 5, 7),
    # mla 2, mul 1, smull 3 to 5
    "m3-multiply": Case("cortex-m3", "01fb0200 01fb02f3 81fb0245", 7),
    # two words of two independent 16-bit adds
    "m33-pairs": Case("cortex-m33", "0130 0131 0132 0133", 2),
    # the second add reads the first one's result
    "m33-dependent": Case("cortex-m33", "0130 0130", 2),
    # vldrh.u16 2, vmladava.s16 beside it 1, vmladava.s16 2; le 1, taken or not
    "m55-vectors": Case("cortex-m55", "91ed801e f2ee240e f2ee242e 0ff009c0", 6),
    # vldrh.u16 twice: one unit
    "m55-loads": Case("cortex-m55", "91ed801e 91ed883e", 4),
    "m55-scalar": Case("cortex-m55", "0130 0131 50f8044b", 3),
    "m7-pairs": Case("cortex-m7", "00f10100 01f10101 02f10102 03f10103", 2),
    "m7-dependent": Case("cortex-m7", "0130 0130 0130 0130", 4),
    # two loads together, one cycle of waiting, smlad
    "m7-loads": Case("cortex-m7", "0468 0d68 24fb0522", 3),
    # one multiplier
    "m7-multiply": Case("cortex-m7", "24fb0522 24fb0533", 2),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_block_costs_what_the_manual_says(case: Case) -> None:
    data = bytes.fromhex(case.code)
    address = BASE + case.start
    cost = MODELS[case.core].cost(Code({BASE: data}).block(address, len(data) - case.start))
    assert cost.cycles == case.falls
    assert cost.cycles + cost.taken == (case.falls if case.taken is None else case.taken)


@dataclass(frozen=True)
class Ran:
    """A block of a profile."""

    bytes: int
    executions: int
    taken: int
    marks: int = 0


def test_a_loop_is_counted_by_its_executions_and_taken_branches() -> None:
    code = Code({BASE: bytes.fromhex("0138fdd1")})
    blocks = {3: {BASE: Ran(4, 10, 9)}, 4: {BASE: Ran(4, 1, 0)}}
    assert count_cycles(blocks, code, core="cortex-m0plus") == {3: 10 * 2 + 9, 4: 2}


def test_a_jump_without_condition_is_always_taken() -> None:
    code = Code({BASE: bytes.fromhex("7047")})  # bx lr
    assert count_cycles({0: {BASE: Ran(2, 5, 0)}}, code, core="cortex-m0plus") == {0: 10}


def test_a_block_without_a_jump_ignores_where_it_went_next() -> None:
    code = Code({BASE: bytes.fromhex("0130")})
    assert count_cycles({0: {BASE: Ran(2, 5, 5)}}, code, core="cortex-m4") == {0: 5}


@pytest.mark.parametrize(("marks", "cycles"), [(0, 5 * 4), (4, 4 * 1 + 4), (5, 5 * 1)])
def test_the_call_of_a_mark_at_a_block_s_end_costs_nothing(marks: int, cycles: int) -> None:
    code = Code({BASE: bytes.fromhex("0130 0120 00f030f8")})  # adds; movs; bl
    found = count_cycles({0: {BASE: Ran(8, 5, 5, marks)}}, code, core="cortex-m4", **MARK)
    assert found == {0: cycles}


def test_a_block_that_is_nothing_but_a_mark_costs_nothing() -> None:
    code = Code({BASE: bytes.fromhex("0120 00f030f8")})
    found = count_cycles({0: {BASE: Ran(6, 5, 5, 5)}}, code, core="cortex-m4", **MARK)
    assert found == {0: 0}


def test_the_m7_pays_for_the_rarer_side_of_a_branch() -> None:
    code = Code({BASE: bytes.fromhex("0138fdd1")})
    [often] = count_cycles({0: {BASE: Ran(4, 100, 99)}}, code, core="cortex-m7").values()
    [evenly] = count_cycles({0: {BASE: Ran(4, 100, 50)}}, code, core="cortex-m7").values()
    assert evenly - often == 49 * MODELS["cortex-m7"].cost(code.block(BASE)).surprised


def test_every_core_has_a_model_with_its_source_and_error() -> None:
    assert set(MODELS) == set(CORES)
    for model in MODELS.values():
        assert 1 <= model.error_percent <= 50
        assert model.source
        assert model.reason


@given(data=st.binary(min_size=2, max_size=40).filter(lambda b: len(b) % 2 == 0))
def test_any_bytes_decode_and_cost_at_least_half_a_cycle_each(data: bytes) -> None:
    code = Code({BASE: data + b"\x00\xbf\x00\xbf"})
    block = code.block(BASE, len(data))
    assert sum(i.size_bytes for i in block) in (len(data), len(data) + 2)
    for model in MODELS.values():
        cost = model.cost(block)
        assert 2 * cost.cycles >= len(block) - sum(i.kind == "load" for i in block)
        assert cost.taken >= 0


@given(data=st.binary(min_size=4, max_size=40).filter(lambda b: len(b) % 2 == 0))
def test_an_m33_is_never_slower_than_an_m4(data: bytes) -> None:
    block = Code({BASE: data + b"\x00\xbf\x00\xbf"}).block(BASE, len(data))
    assert MODELS["cortex-m33"].cost(block).cycles <= MODELS["cortex-m4"].cost(block).cycles


def test_a_block_outside_the_firmware_is_an_error() -> None:
    with pytest.raises(ToolError, match="no code at 0x2000"):
        count_cycles({0: {0x2000: Ran(2, 1, 0)}}, Code({BASE: b"\x00\xbf"}), core="cortex-m4")
