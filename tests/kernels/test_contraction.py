"""Is the runtime exact where a build forgets -ffp-contract=off, as IDEs do?"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from case_models import Compiled
from cases import CASES
from fakes import ROOT

from insitu.generate import generate
from insitu.runtime import INCLUDE_FLAGS, KERNELS
from insitu.tools.compilers import GCC_MACHINE_FLAGS

GCC, OBJDUMP = (shutil.which(f"arm-none-eabi-{tool}") for tool in ("gcc", "objdump"))
RUNTIME = ROOT / "insitu/runtime"
FUSED = re.compile(r"\bv?fn?m[as]\w*\.f(?:32|64)|\bvfn?m[as]\b")

pytestmark = [
    pytest.mark.toolchain,
    pytest.mark.skipif(None in (GCC, OBJDUMP), reason="arm-none-eabi-gcc is not installed"),
]


def disassembly(source: Path, folder: Path) -> str:
    """Of one file for an M4 with FPU, with GCC's own dialect, where it fuses by default."""
    result = folder / f"{source.stem}.o"
    flags = (*GCC_MACHINE_FLAGS["cortex-m4", True], "-mthumb", "-std=gnu11", "-O2")
    command = (
        str(GCC),
        *flags,
        *INCLUDE_FLAGS,
        f"-I{source.parent}",
        "-c",
        str(source),
        "-o",
        str(result),
    )
    subprocess.run(command, check=True)
    listing = (str(OBJDUMP), "-d", str(result))
    return subprocess.run(listing, check=True, capture_output=True, text=True).stdout


def test_gcc_fuses_what_does_not_forbid_it(tmp_path: Path) -> None:
    """Without this the test below could not fail."""
    source = tmp_path / "fused.c"
    source.write_text("float f(float a, float b, float c) { return a * b + c; }\n")
    assert FUSED.search(disassembly(source, tmp_path))


@pytest.mark.parametrize("source", KERNELS, ids=lambda p: p.name)
def test_the_runtime_fuses_nothing_without_the_flag(source: Path, tmp_path: Path) -> None:
    assert FUSED.search(disassembly(source, tmp_path)) is None


def test_generated_code_fuses_nothing_without_the_flag(tmp_path: Path) -> None:
    compiled = Compiled(CASES["zoo-2d"])
    for name, text in generate(compiled.step, compiled.plan, "model").files.items():
        (tmp_path / Path(name).name).write_text(text)
    assert FUSED.search(disassembly(tmp_path / "insitu_model.c", tmp_path)) is None
