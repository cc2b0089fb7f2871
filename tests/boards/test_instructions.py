"""Is an instruction that the core does not have refused, wherever it is in the image?"""

from __future__ import annotations

import itertools
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import MACHINES, board, emulator_or_skip, plant, stream, toolchain_or_skip, write_model

from insitu.artifacts import Firmware
from insitu.errors import ToolError
from insitu.firmware.build import build_firmware, build_hook
from insitu.run import emulator
from insitu.target.elf import Image, read_elf
from insitu.target.instructions import (
    PARTS,
    Part,
    check_instructions,
    instructions,
    part_of,
    word_aligned_base,
)

pytestmark = pytest.mark.toolchain

LINES = {
    Part.ARMV6M: (
        "adcs r0, r1; add r8, r9; adr r0, .+4; beq .; bkpt 1; blx r3; cpsid i; ldm r0!, {r1, r2};"
        "ldrsb r0, [r1, r2]; movs r0, #1; movs r0, r1; muls r0, r1, r0; nop; pop {r4, pc};"
        "revsh r0, r1; svc 0; sxtb r0, r1; udf 1; wfi; bl .; mrs r0, primask; msr msp, r0; dsb;"
        "dmb; isb"
    ),
    Part.ARMV7M: (
        "cbz r0, .+8; b.w .; movw r0, #1; movt r0, #1; mov.w r0, #1; lsl.w r0, r1, r2;"
        "orn r0, r1, r2; teq r0, r1; bfi r0, r1, #1, #2; ubfx r0, r1, #1, #2; ssat r0, #8, r1;"
        "clz r0, r1; rbit r0, r1; rev.w r8, r9; sxtb.w r8, r9; mla r0, r1, r2, r3;"
        "mls r0, r1, r2, r3; smull r0, r1, r2, r3; umlal r0, r1, r2, r3; sdiv r0, r1, r2;"
        "udiv r0, r1, r2; ldrd r0, r1, [r2]; stmdb r0!, {r1, r2}; ldm.w r8, {r1, r9};"
        "push.w {r4, r8}; ldr.w r0, [r1, #-4]; ldrex r0, [r1]; tbb [pc, r0]; pld [r0]; nop.w;"
        "mrs r0, basepri; cpsid f; udf.w 1"
    ),
    Part.DSP: (
        "pkhbt r0, r1, r2; qadd r0, r1, r2; qadd16 r0, r1, r2; qdsub r0, r1, r2; sadd16 r0, r1, r2;"
        "sel r0, r1, r2; uhsub16 r0, r1, r2; smlabb r0, r1, r2, r3; smlad r0, r1, r2, r3;"
        "smladx r0, r1, r2, r3; smlald r0, r1, r2, r3; smlalbt r0, r1, r2, r3;"
        "smlawb r0, r1, r2, r3; smlsd r0, r1, r2, r3; smmla r0, r1, r2, r3; smmulr r0, r1, r2;"
        "smuad r0, r1, r2; smulbb r0, r1, r2; smulwt r0, r1, r2; ssat16 r0, #8, r1;"
        "usat16 r0, #8, r1; sxtab r0, r1, r2; sxtab16 r0, r1, r2; sxtb16 r0, r1;"
        "uxtb16 r0, r1, ror #8; uadd8 r0, r1, r2; umaal r0, r1, r2, r3; usada8 r0, r1, r2, r3;"
        "msr apsr_g, r0"
    ),
    Part.ARMV8M: "lda r0, [r1]; stlex r0, r1, [r2]; sg; bxns r0; tt r0, r1",
    Part.ARMV8_1M: (
        "csel r0, r1, r2, eq; csinc r0, r1, r2, ne; le lr, .; wls lr, r0, .+8; dls lr, r0;"
        "clrm {r0, r1}"
    ),
    Part.MVE: (
        "vadd.i32 q0, q1, q2; vmlava.s8 r0, q0, q1; vldrb.s16 q0, [r0]; vstrw.32 q0, [r0];"
        "vctp.32 r0; vmrs r3, p0; vmsr vpr, r2; vdup.32 q0, r0; vmov.s8 r0, q0[1];"
        "asrl r0, r1, #3; lsll r0, r1, r2; vld20.32 {q0, q1}, [r0]"
    ),
    Part.FPU: (
        "vadd.f32 s0, s1, s2; vdiv.f32 s0, s1, s2; vfma.f32 s0, s1, s2; vcmp.f32 s0, s1;"
        "vcvt.s32.f32 s0, s1; vcvtb.f32.f16 s0, s1; vmov s0, r0; vmov d0, r0, r1;"
        "vmov.f32 s0, #1.0; vmrs apsr_nzcv, fpscr; vldr d0, [r0, #8]; vldm r0!, {s0-s3};"
        "vpush {d8}"
    ),
    Part.FPV5: "vselge.f32 s0, s1, s2; vrintz.f32 s0, s1; vrinta.f32 s0, s1",
    Part.DOUBLE: "vadd.f64 d0, d1, d2; vcvt.f64.f32 d0, s0; vmov.f64 d0, d1; vmov.f64 d0, #1.0",
    Part.HALF: "vadd.f16 s0, s1, s2; vldr.16 s0, [r0]",
}
"""What the assembler is asked about, by the part of the architecture that it belongs to."""

CODE = [(part, line.strip()) for part, lines in LINES.items() for line in lines.split(";")]
TEXTS = [line for _, line in CODE]
EVERYTHING = "-march=armv8.1-m.main+mve.fp+fp.dp+dsp"
ASSEMBLER = {
    ("cortex-m0plus", False): "-mcpu=cortex-m0plus",
    ("cortex-m3", False): "-mcpu=cortex-m3",
    ("cortex-m4", False): "-mcpu=cortex-m4 -mfpu=softvfp",
    ("cortex-m4", True): "-mcpu=cortex-m4 -mfpu=fpv4-sp-d16",
    ("cortex-m7", True): "-mcpu=cortex-m7 -mfpu=fpv5-d16",
    ("cortex-m33", True): "-mcpu=cortex-m33 -mfpu=fpv5-sp-d16",
    ("cortex-m55", False): "-march=armv8.1-m.main+dsp",
    ("cortex-m55", True): EVERYTHING,
}
"""How GNU as, which is a second opinion, is told of a core."""

LAX = {("cortex-m0plus", "mrs r0, basepri"), ("cortex-m0plus", "cpsid f")}
"""What as takes for more than the core has."""


def _assemble(folder: Path, flags: str, code: list[str]) -> tuple[Path, set[int]]:
    """The object, with a symbol a line, and the indices of the lines that were refused."""
    source, made = folder / "code.s", folder / "code.o"
    lines = (f"at_{index}: {line}" for index, line in enumerate(code))
    source.write_text("\n".join([".syntax unified", ".thumb", *lines, "at_end:"]) + "\n")
    compiler = toolchain_or_skip("cortex-m3", "gcc").command[0]
    assembler = compiler.removesuffix("gcc") + "as"
    done = subprocess.run(
        [assembler, *flags.split(), source, "-o", made], capture_output=True, text=True, check=False
    )
    refused = re.findall(r"code\.s:(\d+): Error", done.stderr)
    return made, {int(line) - 3 for line in refused}


@pytest.fixture(scope="module")
def encodings(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    made, refused = _assemble(tmp_path_factory.mktemp("as"), EVERYTHING, TEXTS)
    assert not {TEXTS[index] for index in refused}
    image = read_elf(made)
    [(start, code)] = image.code
    at = [image.symbols[f"at_{index}"] for index in range(len(CODE))] + [image.symbols["at_end"]]
    return [code[a - start : b - start] for a, b in itertools.pairwise(at)]


def test_each_instruction_belongs_to_its_part(encodings: list[bytes]) -> None:
    found = [(part_of(code), line) for code, line in zip(encodings, TEXTS, strict=True)]
    assert found == CODE


@pytest.mark.parametrize("machine", ASSEMBLER, ids=lambda m: m[0] + "-fpu" * m[1])
def test_a_core_has_what_the_assembler_says(machine: tuple[str, bool], tmp_path: Path) -> None:
    _, refused = _assemble(tmp_path, ASSEMBLER[machine], TEXTS)
    for index, (part, line) in enumerate(CODE):
        if (machine[0], line) not in LAX:
            assert (part in PARTS[machine]) == (index not in refused), line


def test_every_machine_has_its_parts() -> None:
    assert set(PARTS) == set(MACHINES.values())


# planted faults

REFUSED = {
    "sdiv-m0plus": ("cortex-m0plus", "fb91f0f2", '"sdiv r0, r1, r2" belongs to Armv7-M, which c'),
    "it-m0plus": ("cortex-m0plus", "bf08", '"it eq" belongs to Armv7-M'),
    "smlad-m3": ("cortex-m3", "fb210002", "the DSP extension, which cortex-m3 does not have"),
    "vadd-m4": ("cortex-m4", "ee300a81", "which cortex-m4 without an FPU does not have; compile"),
    "vselge-m4-fpu": ("cortex-m4-fpu", "fe200a81", "belongs to FPv5"),
    "double-m33-fpu": ("cortex-m33-fpu", "ee310b02", "a double-precision FPU, which cortex-m33 do"),
    "helium-m33-fpu": ("cortex-m33-fpu", "ef224844", "belongs to Helium"),
    "nonsense-m7-fpu": ("cortex-m7-fpu", "ffffffff", r"\.inst 0xffff 0xffff"),
}


@pytest.mark.parametrize(("machine", "planted", "says"), REFUSED.values(), ids=REFUSED)
def test_an_instruction_of_another_core_is_refused(machine: str, planted: str, says: str) -> None:
    code = (
        bytes.fromhex("00bf")
        + np.array(
            [int(planted[i : i + 4], 16) for i in range(0, len(planted), 4)], "<u2"
        ).tobytes()
    )
    image = Image(segments=(), symbols={"step": 0x101}, sections={}, code=((0x100, code),))
    core, fpu = MACHINES[machine]
    with pytest.raises(ToolError, match=r"x\.elf: 0x00000102 in step: .*" + says):
        check_instructions(image, core, fpu=fpu, name="x.elf")


@pytest.mark.parametrize("name", ["gcc", "zig"])
@pytest.mark.parametrize("case", ["sdiv-m0plus", "smlad-m3"])
def test_a_planted_instruction_is_refused(case: str, name: str, tmp_path: Path) -> None:
    machine, planted, _ = REFUSED[case]
    with pytest.raises(ToolError, match="choose a board whose core has it") as caught:
        _build(tmp_path, machine, name, f'__asm__ volatile(".inst.w 0x{planted}");')
    assert re.search(r": 0x[0-9a-f]{8} in insitu_fake_train_step: ", str(caught.value))
    assert "\n" not in str(caught.value)


def _build(
    folder: Path, machine: str, name: str, mishap: str, *, profile: bool = False
) -> Firmware:
    core, fpu = MACHINES[machine]
    model = write_model(folder / "fake", mishap=mishap)
    chosen = toolchain_or_skip(core, name)
    made = board(core, fpu=fpu)
    return build_firmware(model, "fake", made, folder, toolchain=chosen, profile=profile)


def test_what_is_called_data_is_not_looked_at(tmp_path: Path) -> None:
    """Else a constant would be refused; what hides there is met by the emulator."""
    hidden = '__asm__ volatile("b 1f\\n.short 0xfb91, 0xf0f2\\n1:");'
    firmware = _build(tmp_path, "cortex-m0plus", "zig", hidden)
    emulator.run(firmware, stream(3))


def test_an_image_without_symbols_is_refused() -> None:
    stripped = Image(segments=(), symbols={}, sections={})
    with pytest.raises(ToolError, match="no symbols say where its code is; link it without -s"):
        check_instructions(stripped, "cortex-m4", fpu=False, name="x.elf")


def test_code_and_constants_are_told_apart(tmp_path: Path) -> None:
    """By both compilers' symbols: all that runs is code, no literal pool is."""
    for name in ("gcc", "zig"):
        image = read_elf(_build(tmp_path / name, "cortex-m0plus", name, "").elf)
        found = {address for address, _ in instructions(image)}
        assert {address & ~1 for address in image.symbols.values() if address & 1} <= found
        assert 0 not in found  # the vectors


# planted at run time, behind the check of the image

MISHAPS = {
    "odd-word-gcc": ("gcc", "saturated = *(volatile int32_t *)((uintptr_t)&model->state + 1U);"),
    "odd-word-zig": ("zig", "saturated = *(volatile int32_t *)((uintptr_t)&model->state + 1U);"),
}


@pytest.mark.parametrize(("name", "mishap"), MISHAPS.values(), ids=MISHAPS)
def test_the_emulated_m0plus_is_one(name: str, mishap: str, tmp_path: Path) -> None:
    firmware = _build(tmp_path, "cortex-m0plus", name, mishap)
    says = r"fault at pc 0x\w{8} in insitu_fake_train_step: unaligned address"
    with pytest.raises(ToolError, match=says):
        emulator.run(firmware, stream(3))


def test_the_emulated_m0plus_does_not_divide(tmp_path: Path) -> None:
    firmware = _build(tmp_path, "cortex-m0plus", "zig", "")
    plant(firmware, "insitu_fake_train_step", bytes.fromhex("91fbf2f0"))
    says = "in insitu_fake_train_step: Invalid instruction"
    with pytest.raises(ToolError, match=says):
        emulator.run(firmware, stream(3))


WORDS = {
    "ldrd r0, r1, [r2]": 2,
    "strd r0, r1, [r9, #8]!": 9,
    "ldrd r0, r1, [sp, #8]": None,
    "ldrd r0, r1, [pc, #8]": None,
    "ldm r3!, {r0, r1}": 3,
    "stmdb lr, {r0, r1}": 14,
    "push {r0, lr}": None,
    "pop.w {r4, r8}": None,
    "vldr s0, [r4]": 4,
    "vstmdb r5!, {d0-d1}": 5,
    "vpush {d8}": None,
    "vmov d0, r0, r1": None,
    "ldr.w r0, [r1, #3]": None,
    "ldrex r0, [r1]": None,
    "strexb r0, r1, [r2]": None,
    "tbb [pc, r0]": None,
}
"""Which register must be a multiple of four; Unicorn looks after LDREX by itself."""


def test_what_wants_words_is_known(tmp_path: Path) -> None:
    [(_, code)] = read_elf(_assemble(tmp_path, EVERYTHING, list(WORDS))[0]).code
    image = Image(segments=(), symbols={}, sections={}, code=((0, code),))
    found = [word_aligned_base(encoding) for _, encoding in instructions(image)]
    assert dict(zip(WORDS, found, strict=True)) == WORDS


@pytest.mark.parametrize("name", ["gcc", "zig"])
def test_words_at_an_odd_address_fault(name: str, tmp_path: Path) -> None:
    """With gcc in QEMU, with zig in Unicorn, where it is seen while instructions are counted."""
    by_zig = name == "zig"
    odd = (
        '__asm__ volatile("ldrd r0, r1, [%0]" :: "r"((uintptr_t)&model->state + 2U) : "r0", "r1");'
    )
    firmware = _build(tmp_path, "cortex-m4", name, odd, profile=by_zig)
    if by_zig:
        options: dict[str, Any] = {"profile": build_hook(tmp_path)}
        says = "in insitu_fake_train_step: loads or stores words at 0x[0-9a-f]{8}, not a multiple"
    else:
        emulator_or_skip("cortex-m4", "qemu")
        options, says = {"prefer": "qemu"}, "fault at pc 0x[0-9a-f]{8}, cfsr 0x01000000"
    with pytest.raises(ToolError, match=says):
        emulator.run(firmware, stream(3), **options)
