"""Is the stack that `compile` names enough for every run, and what cannot be bounded refused?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import networks
import numpy as np
import onnx
import pytest
from case_layers import Case
from fakes import MACHINES, board, emulator_or_skip, toolchain_or_skip, write_model
from hypothesis import HealthCheck, given, settings
from made_cases import examples
from painted import ANY_BUILD, ANY_NETWORK, paint

import insitu
from insitu.config import TrainingConfig
from insitu.errors import FitError, ToolError
from insitu.firmware.build import build_firmware
from insitu.firmware.stack import stack_bound
from insitu.graph.scheme import Scheme
from insitu.target.board import Board, Memory

pytestmark = pytest.mark.toolchain

# ---- the walk, on assembly of which the depth is known by hand -----------------------------------

FUNCTIONS = {
    "leaf": (0, "bx lr"),
    "pushes": (24, "push {r4, lr}; sub sp, #16; bl leaf; add sp, #16; pop {r4, pc}"),
    "calls": (32, "push {r4, lr}; bl pushes; pop {r4, pc}"),
    "calls_deep_inside": (40, "push {r4, lr}; sub sp, #8; bl pushes; add sp, #8; pop {r4, pc}"),
    "tail": (24, "push {r4, lr}; bl leaf; pop {r4, lr}; b pushes"),
    "branches": (24, "cmp r0, #0; beq 1f; b leaf; 1: b pushes"),
    "stores": (12, "str lr, [sp, #-4]!; strd r0, r1, [sp, #-8]!; ldrd r0, r1, [sp], #8; RETURN"),
    "several": (40, "stmdb sp!, {r4-r11, lr}; sub sp, #4; add sp, #4; ldmia sp!, {r4-r11, pc}"),
    "literal": (3008, "push {r4, lr}; ldr r4, =-3000; add sp, r4; ldr r4, =3000; add sp, r4; POP"),
    "halves": (
        70_008,
        "push {r4, lr}; movw r4, #4464; movt r4, #1; sub sp, sp, r4; add sp, r4; POP",
    ),
    "frame_pointer": (40, "push {r7, lr}; mov r7, sp; sub sp, #32; mov sp, r7; pop {r7, pc}"),
    "frame_offset": (
        48,
        "push {r4, lr}; add r7, sp, #4; sub sp, #40; sub r4, r7, #4; mov sp, r4; POP",
    ),
    "switch": (
        64,
        (
            "push {r4, lr}; cmp r0, #2; bhi 4f; tbb [pc, r0]; 0: .byte (1f - 0b) / 2; "
            ".byte (2f - 0b) / 2, (3f - 0b) / 2, 0; 1: b 4f; 2: sub sp, #56; add sp, #56; b 4f; "
            "3: bl leaf; 4: POP"
        ),
    ),
    "pointer": (32, "push {r4, lr}; ldr r3, =table; ldr r3, [r3]; blx r3; POP"),
    "pointer_tail": (24, "ldr r3, =table; ldr r3, [r3]; bx r3"),
    "constant_pointer": (8, "push {r4, lr}; ldr r3, =leaf; blx r3; POP"),
    "enters_a_loop": (
        16,
        (
            "push {r4, lr}; sub sp, #8; adr r12, 1f; orr r12, #1; bx r12; .balign 4; .word 7; "
            "1: nop; nop; subs r0, #1; bne 1b; add sp, #8; POP"
        ),
    ),
    "enters_through_memory": (
        12,
        "push {r0, r1, lr}; ldr pc, [sp]; .word 0; add sp, #8; RETURN",
    ),
    "calls_a_part": (
        20,
        "push {r4, lr}; bl 7f; POP; 7: push {r0, r1, r2}; pop {r0, r1, r2}; bx lr",
    ),
    "jumps_by_a_call": (16, "push {r4, lr}; sub sp, #8; bl 7f; .word 0; 7: add sp, #8; POP"),
    "may_return": (
        16,
        "push {r4, lr}; cmp r0, #0; it eq; popeq {r4, pc}; push {r0, r1}; add sp, #8; POP",
    ),
    "frees_where_it_returns": (
        88,
        (
            "push {r4, lr}; sub sp, #76; cmp r0, #0; itt eq; addeq sp, #76; popeq {r4, pc}; "
            "push {r0}; add sp, #80; POP"
        ),
    ),
    "either_way": (
        40,
        (
            "push {r7, lr}; mov r7, sp; cmp r0, #0; ite eq; subeq sp, #32; subne sp, #8; "
            "mov sp, r7; pop {r7, pc}"
        ),
    ),
    "returns_by_register": (4, "push {lr}; pop {r3}; bx r3"),
    "keeps_lr": (24, "mov r4, lr; bl pushes; bx r4"),
    "never_returns": (8, "push {r4, lr}; bl forever; .word 0xb5f0b5f0"),
    "forever": (0, "1: b 1b"),
    "traps": (4, "push {lr}; udf #0"),
}
"""Function -> (its stack, its instructions); RETURN pops the program counter, POP r4 and it."""

REFUSED = {
    "first": ("first -> second -> first call one another", "push {lr}; bl second; pop {pc}"),
    "second": ("second -> first -> second call one another", "push {lr}; bl first; pop {pc}"),
    "itself": ("itself -> itself call one another", "push {lr}; bl itself; pop {pc}"),
    "array": ("sub.w sp, sp, r0 .*what r0 holds is not known", "sub sp, sp, r0; bx lr"),
    "grows": ("grows in a loop at 0x", "1: push {r0}; b 1b"),
    "leaks": ("returns with 4 bytes on the stack", "push {r0}; bx lr"),
    "frees": ("frees 4 bytes that belong to the caller", "pop {pc}"),
    "other_stack": ("msr msp, r0", "msr msp, r0; bx lr"),
    "masks": ("what r4 holds is not known", "mov r4, sp; bic r4, #7; mov sp, r4; bx lr"),
    "supervisor": ("svc #0", "svc #0; bx lr"),
    "runs_out": ("data follow it", "nop; .word 0; .word 0"),
}
"""Function -> (what the error says, its instructions)."""

HEAD = ".syntax unified\n.cpu cortex-m4\n.thumb\n.text\n"
FUNCTION = """
.balign 4
.global {name}
.thumb_func
.type {name}, %function
{name}:
{lines}
.ltorg
.size {name}, . - {name}
"""
TABLE = """
.section .rodata
.balign 4
.global table
table:
.word pushes, leaf
.word 0x8123
"""


def linked(folder: Path, functions: dict[str, tuple[Any, str]]) -> tuple[Path, Path]:
    """(ELF, object) of functions in assembly."""
    gcc = toolchain_or_skip("cortex-m4", "gcc")
    text = HEAD
    for name, (_, code) in functions.items():
        lines = code.replace("RETURN", "ldr pc, [sp], #4").replace("POP", "pop {r4, pc}")
        text += FUNCTION.format(name=name, lines=lines.replace("; ", "\n"))
    source, made, elf = (folder / f"code.{end}" for end in ("s", "o", "elf"))
    source.write_text(text + TABLE)
    gcc.run("-mcpu=cortex-m4", "-mthumb", "-c", source, "-o", made)
    flags = ("-nostdlib", "-Wl,-Ttext=0x8000", "-Wl,-e,leaf")
    gcc.run("-mcpu=cortex-m4", "-mthumb", *flags, made, "-o", elf)
    return elf, made


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return linked(tmp_path_factory.mktemp("code"), {**FUNCTIONS, **REFUSED})


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_deepest_stack_of_a_function(name: str, code: tuple[Path, Path]) -> None:
    elf, made = code
    assert stack_bound(elf, [made], fpu=False, entry=name).code_bytes == FUNCTIONS[name][0]


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_bound_is_refused_by_place(name: str, code: tuple[Path, Path]) -> None:
    elf, made = code
    with pytest.raises(ToolError, match=REFUSED[name][0]) as refusal:
        stack_bound(elf, [made], fpu=False, entry=name)
    assert name in str(refusal.value)


def test_the_way_down_is_named(code: tuple[Path, Path]) -> None:
    elf, made = code
    found = stack_bound(elf, [made], fpu=False, entry="calls")
    assert found.way == (("calls", 8), ("pushes", 24))


@pytest.mark.parametrize(("fpu", "frame"), [(False, 32), (True, 104)])
def test_the_frame_of_an_interrupt_comes_on_top(
    fpu: bool, frame: int, code: tuple[Path, Path]
) -> None:
    elf, made = code
    found = stack_bound(elf, [made], fpu=fpu, entry="calls_a_part")
    assert (found.code_bytes, found.frame_bytes, found.nbytes) == (20, frame, 24 + frame)


def test_a_pointer_without_functions_is_refused(code: tuple[Path, Path]) -> None:
    with pytest.raises(ToolError, match="no function's address is taken anywhere"):
        stack_bound(code[0], [], fpu=False, entry="pointer")


# ---- whole firmware ------------------------------------------------------------------------------


@settings(max_examples=examples(6), deadline=None, suppress_health_check=list(HealthCheck))
@given(case=ANY_NETWORK, build=ANY_BUILD)
def test_no_run_needs_more_than_the_bound(case: Case, build: tuple[Scheme, str, str]) -> None:
    """`bench/stack_bound.py` asks the same of hundreds."""
    found = paint(case, *build, seeds=(0, 1, 2), steps=5)
    assert found is None or max(found.deepest) <= found.bound_bytes


@pytest.mark.parametrize("toolchain", ["gcc", "zig"])
@pytest.mark.parametrize("machine", ["cortex-m0plus", "cortex-m4-fpu"])
def test_recursion_is_refused(machine: str, toolchain: str, tmp_path: Path) -> None:
    core, fpu = MACHINES[machine]
    chosen = toolchain_or_skip(core, toolchain)
    folder = write_model(tmp_path / "fake", mishap="if (again()) { deeper(); }")
    source = folder / "insitu_fake.c"
    recursion = (
        "volatile int left = 3; static int again(void) { return left > 0; }\n"
        "void deeper(void); __attribute__((noinline)) void deeper(void) {\n"
        "  volatile int here[4]; here[0] = left--; if (again()) { deeper(); } here[1] = 0; }\n"
    )
    source.write_text(recursion + source.read_text())
    with pytest.raises(ToolError, match="no bound: deeper -> deeper call one another; take"):
        build_firmware(folder, "fake", board(core, fpu=fpu), tmp_path, toolchain=chosen)


def depthwise_network() -> onnx.ModelProto:
    """Two depthwise blocks and a head, 12 x 12."""
    net = networks.example("zoo").Net((1, 12, 12))
    x = net.conv("x", "front", 8, stride=2)
    x = net.separable(x, "block1", 16)
    x = net.separable(x, "block2", 16, 2)
    model: onnx.ModelProto = net.head(x, 10)
    return model


def with_ram(made: Board, nbytes: int) -> Board:
    """The same board with one RAM of so many bytes."""
    flash = [memory for memory in made.memories if memory.kind == "flash"]
    ram = Memory(name="ram", kind="ram", origin=0x2000_0000, length_bytes=nbytes)
    return replace(made, memories=(*flash, ram))


def test_what_fits_to_the_byte_runs(tmp_path: Path) -> None:
    """The fresh head is zeros: the step that was once painted had no backward pass below it."""
    emulator_or_skip("cortex-m4")
    onnx.save(depthwise_network(), tmp_path / "model.onnx")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(24, 1, 12, 12)).astype(np.float32), np.arange(24) % 4
    training = TrainingConfig(layers="last:4", classes=4, lr=0.05)
    network = insitu.compile(
        tmp_path / "model.onnx", calibration=x, training=training, board="nrf52840"
    )
    needed = network.figures["ram_bytes"]
    full = with_ram(network.board, needed)
    assert replace(network, board=full).figures["fits"]
    run = network.run(x, y, steps=24, board=full)
    assert run.twin_equal
    m = network.measurement
    assert 0 <= m.stack_bytes - m.interrupt_frame_bytes - run.stack_bytes <= 64
    assert run.figures["ram_bytes"] == needed
    with pytest.raises(FitError, match=rf"{needed} bytes of RAM but the board has {needed - 8}"):
        build_firmware(
            network.folder, "model", with_ram(full, needed - 8), tmp_path, toolchain=None
        )
