"""Does an emulator of other origin make the same of a Cortex-M0+'s image, bit for bit?

QEMU and Unicorn are one code; rp2040js is another. Longer runs: bench/second_opinion.py.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import rp2040js
from builds import source_of
from fakes import board, plant, stream, toolchain_or_skip, write_model

from insitu.bench.steps import make_task
from insitu.errors import ToolError
from insitu.firmware.build import build_firmware
from insitu.network.folder import write_sources
from insitu.run import emulator
from insitu.target.board import find_board

pytestmark = pytest.mark.toolchain
CORE = "cortex-m0plus"


@pytest.fixture(scope="module")
def module() -> Path:
    try:
        return rp2040js.install(Path(os.environ["INSITU_CACHE"]) / "rp2040js")
    except ToolError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", ["gcc", "zig"])
def test_rp2040js_comes_to_the_same_state(name: str, module: Path, tmp_path: Path) -> None:
    task = make_task("MLP 64-32-10", "uint8")
    write_sources(source_of(task.step), tmp_path / "source")
    where = (tmp_path / "source", "worst", find_board("rp2040"), tmp_path)
    firmware = build_firmware(*where, toolchain=toolchain_or_skip(CORE, name))
    ours, theirs = emulator.run(firmware, task.stream), rp2040js.run(module, firmware, task.stream)
    assert theirs.state == ours.state
    assert theirs.stack_bytes == ours.stack_bytes
    np.testing.assert_array_equal(theirs.losses, ours.losses)
    np.testing.assert_array_equal(theirs.predicted, ours.predicted)


@pytest.mark.parametrize(
    ("planted", "says"),
    [
        pytest.param("91fbf2f0", "not implemented", id="sdiv"),
        pytest.param("01200068", "not 32 bit aligned", id="odd-word"),  # movs r0, #1; ldr r0, [r0]
    ],
)
def test_rp2040js_has_no_more_than_the_core(
    planted: str, says: str, module: Path, tmp_path: Path
) -> None:
    """Else its opinion would be worth nothing."""
    chosen = toolchain_or_skip(CORE, "zig")
    folder = write_model(tmp_path / "fake")
    firmware = build_firmware(folder, "fake", board(CORE), tmp_path, toolchain=chosen)
    plant(firmware, "insitu_fake_train_step", bytes.fromhex(planted))
    with pytest.raises(ToolError, match=says):
        rp2040js.run(module, firmware, stream(2))
