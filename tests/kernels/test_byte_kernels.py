"""Do pools, clips and sums, which take four elements at once, do what one at a time gives?

On the desk under the sanitizers: portable loops, and those for cores with the DSP extension with
its instructions in C (insitu_dsp.h). That the instructions do the same is asked in test_ops_c.py.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from fakes import toolchain_or_skip

from insitu.runtime import FILES, INCLUDE_FLAGS

pytestmark = pytest.mark.toolchain

HERE = Path(__file__).parents[1] / "c"


@pytest.mark.parametrize("flags", [(), ("-D__ARM_FEATURE_DSP=1",)], ids=["portable", "dsp"])
def test_kernels_of_bytes_do_what_one_at_a_time_gives(
    flags: tuple[str, ...], tmp_path: Path
) -> None:
    program = tmp_path / "byte_kernels"
    toolchain_or_skip("host", "gcc").run(
        *("-std=c99", "-O1", "-g", "-ffp-contract=off", *INCLUDE_FLAGS, *flags),
        *("-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
        *(str(FILES[f"{name}.c"]) for name in ("pool", "add", "clip", "rows")),
        *(str(HERE / "byte_kernels.c"), "-o", str(program)),
    )
    done = subprocess.run([program, "4000", "5"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
