"""Does an export say what is missing, and is it compiled as firmware is?"""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from insitu.artifacts import Measurement
from insitu.errors import OutputError
from insitu.firmware.flags import optimization
from insitu.network.export import FORMATS, export
from insitu.runtime import KERNELS


@pytest.mark.parametrize("format_", sorted(FORMATS))
def test_a_folder_that_lost_its_sources_is_refused(tmp_path: Path, format_: str) -> None:
    folder = tmp_path / "net"
    (folder / "runtime").mkdir(parents=True)
    for name in ("insitu_m.h", "insitu_m_data.h", "insitu_m_data.c", "runtime/insitu.h"):
        (folder / name).touch()
    network: Any = SimpleNamespace(name="m", folder=folder)
    with pytest.raises(OutputError, match=r"net: insitu_m\.c is missing; compile it again"):
        export(network, tmp_path / "out", format=format_)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m0plus"])
def test_cmake_optimises_as_the_firmware_does(tmp_path: Path, core: str) -> None:
    folder = tmp_path / "net"
    (folder / "runtime").mkdir(parents=True)
    sources = ["insitu_m.c", "insitu_m_data.c", *(path.name for path in KERNELS)]
    headers = ["insitu_m.h", "insitu_m_data.h", "runtime/insitu.h"]
    for name in (*sources[:2], *(f"runtime/{name}" for name in sources[2:]), *headers):
        (folder / name).touch()
    network: Any = SimpleNamespace(
        name="m",
        folder=folder,
        input_shape=(1, 8, 8),
        graph=SimpleNamespace(channels_last=False),
        labels=SimpleNamespace(are_targets=False),
        training=SimpleNamespace(lr=0.01),
        measurement=Measurement(),
    )
    export(network, tmp_path / "out", format="cmake")
    text = (tmp_path / "out" / "CMakeLists.txt").read_text()
    everywhere, _, m0plus = text.partition("if(insitu_processor MATCHES")
    flags: dict[str, tuple[str, ...]] = {}
    for files, options in re.findall(
        r'set_property\(SOURCE (.*) PROPERTY COMPILE_OPTIONS "(.*)"\)',
        text if core == "cortex-m0plus" else everywhere,
    ):
        flags |= {Path(file).name: tuple(options.split(";")) for file in files.split()}
    assert m0plus
    assert flags == {name: optimization(name, core) for name in sources}
