"""Does a measurement hold what the linker, the stack paint and the block profile say?"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from fakes import emulator_or_skip

from insitu.firmware.build import build_firmware, build_hook
from insitu.measure.cost import accuracy, measure, millijoules, milliseconds
from insitu.measure.cycles import MODELS, Code
from insitu.run import emulator
from insitu.run.profile import MARK_INSTRUCTIONS, ProfiledResult
from insitu.run.stream import Stream
from insitu.runtime import HEADERS
from insitu.target.board import find_board
from insitu.target.elf import read_elf

ROOT = Path(__file__).parents[1] / "c"
FEATURES, CLASSES, RECORDS = 1022, 10, 3

BOARD_OF_CORE = ("rp2040", "stm32l152re", "nrf52840", "imxrt1062", "nrf5340", "alif-e3")


def test_a_second_of_cycles_is_a_thousand_milliseconds_at_the_active_power() -> None:
    board = find_board("nrf52840")
    assert milliseconds(64_000_000, board) == pytest.approx(1000.0)
    assert millijoules(64_000_000, board) == pytest.approx(board.active_mw)


@pytest.mark.parametrize("name", BOARD_OF_CORE)
def test_the_accuracy_names_the_error_and_where_the_power_comes_from(name: str) -> None:
    board = find_board(name)
    text = accuracy(board)
    assert f"within about {MODELS[board.core].error_percent} %" in text
    assert board.power_source in text
    assert "\n" not in text


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hand-written model, laid out as `insitu compile` does."""
    folder = tmp_path_factory.mktemp("fake")
    (folder / "runtime").mkdir()
    for path in (ROOT / "fake_model").glob("*.[ch]"):
        shutil.copy(path, folder)
    for path in HEADERS:
        shutil.copy(path, folder / "runtime")
    return folder


@pytest.mark.toolchain
@pytest.mark.parametrize("name", BOARD_OF_CORE)
def test_a_measurement_adds_up(name: str, model_dir: Path, tmp_path: Path) -> None:
    board = find_board(name)
    emulator_or_skip(board.core)
    stream = Stream(
        x=np.full((RECORDS, FEATURES), 7, np.int8),
        labels=np.arange(RECORDS, dtype=np.int32) % CLASSES,
        rates=np.full(RECORDS, 0.01, np.float32),
    )
    firmware, profiled = (
        build_firmware(model_dir, "fake", board, tmp_path, profile=profile)
        for profile in (False, True)
    )
    result = emulator.run(firmware, stream)
    profile = emulator.run(profiled, stream, profile=build_hook(tmp_path))
    assert isinstance(profile, ProfiledResult)
    found = measure(firmware, board=board, profiled=profiled, profile=profile)

    assert (found.flash_bytes, found.ram_bytes) == (firmware.flash_bytes, firmware.ram_bytes)
    assert found.stack_bytes == firmware.stack_bytes
    frame = found.interrupt_frame_bytes
    assert 0 <= found.stack_bytes - frame - result.stack_bytes <= 64 < result.stack_bytes
    assert found.cycle_error_percent == MODELS[board.core].error_percent
    assert set(found.cycles) == set(found.instructions) == {0, 1, 2}
    for node, cycles in found.cycles.items():
        # no core here starts more than two a cycle, and none waits long without divisions
        assert found.instructions[node] / 2 <= cycles <= 4 * found.instructions[node]

    code = Code({s.address: s.data for s in read_elf(profiled.elf).segments})
    decoded = {
        node: sum(
            len(code.block(address, block.bytes)) * block.executions
            - MARK_INSTRUCTIONS * block.marks
            for address, block in blocks.items()
        )
        for node, blocks in profile.blocks.items()
    }
    assert decoded == found.instructions
