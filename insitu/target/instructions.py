"""A linked image, a core -> nothing, or an error: has it an instruction that the core has not?

Invariant: every instruction of the image is looked at, what runs and what does not; an encoding
that is in no list here is refused. Emulators are laxer than cores: QEMU and Unicorn run SMLAD on a
Cortex-M3, and Unicorn runs IT on a Cortex-M0+.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from enum import StrEnum

import capstone

from insitu.errors import ToolError
from insitu.target.elf import Image


class Part(StrEnum):
    """A part of the architecture that a core has or has not."""

    ARMV6M = "Armv6-M"
    ARMV7M = "Armv7-M"
    DSP = "the DSP extension"
    ARMV8M = "Armv8-M"
    ARMV8_1M = "Armv8.1-M"
    MVE = "Helium"
    FPU = "a single-precision FPU"
    FPV5 = "FPv5"
    DOUBLE = "a double-precision FPU"
    HALF = "a half-precision FPU"
    NONE = "no Cortex-M that insitu knows"


MNEMONICS = {
    Part.ARMV6M: (
        "adc add adr and asr b bic bkpt bl blx bx cmn cmp cps dmb dsb eor hint isb ldm ldr ldrb"
        " ldrh ldrsb ldrsh lsl lsr mov movs mrs msr mul mvn orr pop push rev rev16 revsh ror rsb"
        " sbc stm str strb strh sub svc sxtb sxth tst udf uxtb uxth"
    ),
    Part.ARMV7M: (
        "bfc bfi cbnz cbz clrex clz dbg it ldmdb ldrbt ldrd ldrex ldrexb ldrexh ldrht ldrsbt ldrsht"
        " ldrt mla mls movt movw orn pld pli rbit rrx sbfx sdiv smlal smull ssat stmdb strbt strd"
        " strex strexb strexh strht strt tbb tbh teq ubfx udiv umlal umull usat"
    ),
    Part.DSP: (
        "pkhbt pkhtb qadd qadd16 qadd8 qasx qdadd qdsub qsax qsub qsub16 qsub8 sadd16 sadd8 sasx"
        " sel shadd16 shadd8 shasx shsax shsub16 shsub8 smlabb smlabt smlatb smlatt smlad smladx"
        " smlalbb smlalbt smlaltb smlaltt smlald smlaldx smlawb smlawt smlsd smlsdx smlsld smlsldx"
        " smmla smmlar smmls smmlsr smmul smmulr smuad smuadx smulbb smulbt smultb smultt smulwb"
        " smulwt smusd smusdx ssat16 ssax ssub16 ssub8 sxtab sxtab16 sxtah sxtb16 uadd16 uadd8 uasx"
        " uhadd16 uhadd8 uhasx uhsax uhsub16 uhsub8 umaal uqadd16 uqadd8 uqasx uqsax uqsub16 uqsub8"
        " usad8 usada8 usat16 usax usub16 usub8 uxtab uxtab16 uxtah uxtb16"
    ),
    Part.ARMV8M: (
        "blxns bxns lda ldab ldaex ldaexb ldaexh ldah sg stl stlb stlex stlexb stlexh stlh tt tta"
        " ttat ttt vlldm vlstm"
    ),
    Part.FPU: (
        "vabs vadd vcmp vcmpe vcvt vcvtb vcvtr vcvtt vdiv vfma vfms vfnma vfnms vldmdb vldmia vldr"
        " vmla vmls vmov vmrs vmsr vmul vneg vnmla vnmls vnmul vpop vpush vsqrt vstmdb vstmia vstr"
        " vsub"
    ),
    Part.FPV5: (
        "vcvta vcvtm vcvtn vcvtp vmaxnm vminnm vrinta vrintm vrintn vrintp vrintr vrintx vrintz"
        " vseleq vselge vselgt vselvs"
    ),
}
"""By part, as the disassembler calls them. Source: Arm DDI 0419 (Armv6-M), A6.7; DDI 0403
(Armv7-M), A7.7; DDI 0553 (Armv8-M), C2.4."""

PART_OF = {name: part for part, names in MNEMONICS.items() for name in names.split()}

WIDE_ARMV6M = ("bl", "mrs", "msr", "dmb", "dsb", "isb")
"""All 32-bit instructions of Armv6-M that a compiler writes. Source: Arm DDI 0419, A5.3."""

MAINLINE = frozenset({Part.ARMV6M, Part.ARMV7M})
WITH_DSP = MAINLINE | {Part.DSP}
SINGLE, FLOATS = {Part.FPU, Part.FPV5}, {Part.FPU, Part.FPV5, Part.DOUBLE}

PARTS: dict[tuple[str, bool], frozenset[Part]] = {
    ("cortex-m0plus", False): frozenset({Part.ARMV6M}),
    ("cortex-m3", False): MAINLINE,
    ("cortex-m4", False): WITH_DSP,
    ("cortex-m4", True): WITH_DSP | {Part.FPU},
    ("cortex-m7", False): WITH_DSP,
    ("cortex-m7", True): WITH_DSP | FLOATS,
    ("cortex-m33", False): WITH_DSP | {Part.ARMV8M},
    ("cortex-m33", True): WITH_DSP | {Part.ARMV8M} | SINGLE,
    ("cortex-m55", False): WITH_DSP | {Part.ARMV8M, Part.ARMV8_1M},
    ("cortex-m55", True): WITH_DSP | {Part.ARMV8M, Part.ARMV8_1M, Part.MVE, Part.HALF} | FLOATS,
}
"""By (core, FPU). Source: Arm's technical reference manuals of the cores."""


def check_instructions(image: Image, core: str, *, fpu: bool, name: str) -> None:
    """Looks at every instruction.

    Args:
        name: of the image, for the message.

    Raises:
        ToolError: the core does not have one of them, or the image does not say what is code.
    """
    if not image.code:
        raise ToolError(f"{name}: no symbols say where its code is; link it without -s")
    has = PARTS[core, fpu]
    for address, encoding in instructions(image):
        needed, text = _look_up(encoding)
        if needed not in has:
            said = core if fpu or needed not in FLOATS else f"{core} without an FPU"
            raise ToolError(
                f'{name}: {address:#010x} in {image.function_at(address)}: "{text}" belongs to '
                f"{needed}, which {said} does not have; compile what it comes from for {said}, or "
                "choose a board whose core has it"
            )


def part_of(encoding: bytes) -> Part:
    """The part of the architecture that an instruction of two or four bytes belongs to."""
    return _look_up(encoding)[0]


def instructions(image: Image) -> Iterator[tuple[int, bytes]]:
    """(address, two or four bytes) of all code, in order."""
    for start, code in image.code:
        at = 0
        while at < len(code):
            size = 4 if code[at + 1] >> 3 in (0b11101, 0b11110, 0b11111) else 2
            yield start + at, code[at : at + size]
            at += size


@functools.cache
def _disassembler() -> capstone.Cs:
    mode = capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS | capstone.CS_MODE_V8
    return capstone.Cs(capstone.CS_ARCH_ARM, mode)


@functools.cache
def _look_up(encoding: bytes) -> tuple[Part, str]:
    """The part that an instruction belongs to, and its text."""
    beyond = _beyond_disassembler(encoding) if len(encoding) == 4 else None
    raw = next(_disassembler().disasm(encoding, 0, count=1), None)
    if raw is None or beyond is not None:
        return beyond or Part.NONE, f".inst {_halfwords(encoding)}"
    text = f"{raw.mnemonic} {raw.op_str}".strip()
    name = raw.insn_name()
    if name[0] in "vf":  # "fconsts" and others: old names of forms of vmov
        return _of_floats(raw.mnemonic, raw.op_str), text
    part = PART_OF.get(name, Part.NONE)
    if part is Part.ARMV6M:
        part = _of_special_registers(name, raw.op_str)
        if len(encoding) == 4 and name not in WIDE_ARMV6M:
            part = Part.ARMV7M
    return part, text


def _halfwords(encoding: bytes) -> str:
    halves = (encoding[i : i + 2] for i in range(0, len(encoding), 2))
    return " ".join(f"{int.from_bytes(half, 'little'):#06x}" for half in halves)


def _of_special_registers(name: str, operands: str) -> Part:
    """Of what all cores have but for the registers that it names."""
    if name in ("mrs", "msr"):
        if "lim" in operands or "_ns" in operands:
            return Part.ARMV8M
        if operands.startswith(("apsr_g", "apsr_nzcvqg")):
            return Part.DSP
        return Part.ARMV7M if "basepri" in operands or "fault" in operands else Part.ARMV6M
    return Part.ARMV7M if name == "cps" and "f" in operands else Part.ARMV6M


def _of_floats(mnemonic: str, operands: str) -> Part:
    """Of an instruction of the FPU, by its types."""
    name, _, types = mnemonic.partition(".")
    part = PART_OF.get(name, Part.NONE)
    if "q" in operands or types in ("8", "s8", "u8", "16", "s16", "u16"):
        return Part.HALF if name in ("vldr", "vstr") else Part.MVE
    if part in (Part.FPU, Part.FPV5):
        if "f64" in types:
            return Part.DOUBLE
        return Part.HALF if "f16" in types and name not in ("vcvtb", "vcvtt") else part
    return part


def helium(code: bytes) -> str:
    """The kind of an instruction of Armv8.1-M's vectors and loops; "" of any other.

    Source: Armv8-M Architecture Reference Manual (DDI 0553), C2.2.3: the spaces of coprocessors 14
    and 15, of data processing on vectors, and of LE, WLS and VCTP, which Armv7-M leaves undefined.
    """
    first, second = (int.from_bytes(code[i : i + 2], "little") for i in (0, 2))
    space, coprocessor = first >> 8, second >> 8 & 0xF
    if first >> 11 == 0b11110 and second & 0xF001 == 0xC001:
        return "loop"
    if space in (0xEC, 0xED, 0xFC, 0xFD) and coprocessor >= 0xE:
        return "vector_memory"
    of_vectors = space in (0xEF, 0xFF) or (space in (0xEE, 0xFE) and coprocessor >= 0xE)
    counts_lanes = space == 0xF0 and second == 0xE801
    return "vector" if of_vectors or counts_lanes else ""


def _beyond_disassembler(code: bytes) -> Part | None:
    """The part of what the disassembler does not know or takes for something else.

    Source: Armv8-M Architecture Reference Manual (DDI 0553), C2.2.3 and C2.4.
    """
    kind = helium(code)
    if kind:
        return Part.ARMV8_1M if kind == "loop" else Part.MVE
    first, second = (int.from_bytes(code[i : i + 2], "little") for i in (0, 2))
    starts_loop = first >> 7 == 0b111100000 and second & 0xF001 == 0xE001
    selects = first & 0xFFF0 == 0xEA50 and second & 0x8000 != 0
    predicates = first & 0xFFEE == 0xEEEC and second & 0x0FFF == 0x0A10  # VMRS, VMSR of VPR, P0
    clears = first in (0xE89F, 0xEC9F, 0xECDF) and (first == 0xE89F or second & 0x0E00 == 0x0A00)
    if starts_loop or selects or clears:
        return Part.ARMV8_1M
    shifts_long = first & 0xFFF0 == 0xEA50 and second & 0xD == 0xD
    return Part.MVE if shifts_long or predicates else None


def word_aligned_base(code: bytes) -> int | None:
    """The register whose address must be a multiple of four, of a load or store; else None.

    LDRD, STRD, LDM, STM and those of the FPU fault on other addresses on every core; SP is a
    multiple of four always, and so are literals. Source: Arm DDI 0403 (Armv7-M), A3.2.1.
    """
    first = int.from_bytes(code[:2], "little")
    base = first >> 8 & 7 if len(code) == 2 else first & 0xF
    if len(code) == 2:
        return base if first >> 12 == 0b1100 else None
    second = int.from_bytes(code[2:], "little")
    several = first & 0xFE40 == 0xE800
    double = first & 0xFE40 == 0xE840 and first & 0x0120 != 0
    between_registers = first & 0xFFA0 == 0xEC00
    of_fpu = first & 0xFE00 == 0xEC00 and second & 0x0E00 == 0x0A00 and not between_registers
    return base if (several or double or of_fpu) and base not in (13, 15) else None
