"""Does an export say what is missing, instead of leaving it out?"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from insitu.errors import OutputError
from insitu.network.export import FORMATS, export


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
