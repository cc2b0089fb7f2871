"""Does an object's name say all that it depends on, and nothing else?"""

from __future__ import annotations

from pathlib import Path

import pytest

from insitu.firmware.objects import Job, compile_objects
from insitu.tools.compilers import find_toolchain

TEXTS = {
    "one.h": '#include "two.h"\n',
    "two.h": "  #  include <one.h> /* a circle, guarded */\n#define TWO 2\n",
    "other.h": "#define OTHER 3\n",
    "source.c": '#include <stdint.h>\n#include "one.h"\nint f(void) { return 0; }\n',
}


def made(folder: Path, texts: dict[str, str], *, of_runtime: bool) -> str:
    """The name of the object of source.c."""
    for name, text in texts.items():
        (folder / name).write_text(f"#pragma once\n{text}" if name.endswith(".h") else text)
    toolchain = find_toolchain("host")
    headers = tuple(sorted(folder.glob("*.h")))
    jobs = [Job(folder / "source.c", (f"-I{folder}",), of_runtime=of_runtime)]
    (path,) = compile_objects(toolchain, jobs, headers, folder / "out")
    return path.name


@pytest.mark.parametrize(
    ("changed", "of_runtime", "counts"),
    [
        ("source.c", True, True),
        ("one.h", True, True),
        ("two.h", True, True),
        ("other.h", True, False),
        ("other.h", False, True),
    ],
)
def test_a_change_counts_where_it_is_read(
    changed: str, of_runtime: bool, counts: bool, tmp_path: Path
) -> None:
    """A model's own source may include by a macro, so all counts."""
    before = made(tmp_path, TEXTS, of_runtime=of_runtime)
    texts = {**TEXTS, changed: TEXTS[changed] + "/* changed */\n"}
    assert (made(tmp_path, texts, of_runtime=of_runtime) != before) == counts


def test_a_header_that_nothing_reads_makes_no_other_object(tmp_path: Path) -> None:
    without = {name: text for name, text in TEXTS.items() if name != "other.h"}
    before = made(tmp_path, without, of_runtime=True)
    assert made(tmp_path, TEXTS, of_runtime=True) == before
