"""Is every board described fully, and does a wrong description say which key is wrong?"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from insitu.errors import BoardError
from insitu.target.board import BOARD_KEYS, CORES, Board, all_boards, find_board, read_board

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-board.md"
KIB = 1024


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


[EXAMPLE] = _blocks("toml")


@pytest.mark.parametrize("board", all_boards().values(), ids=all_boards())
def test_a_board_is_found_by_its_name_and_says_where_its_power_comes_from(board: Board) -> None:
    assert find_board(board.name) is board
    assert len(board.power_source) > 30
    assert 0.05 < board.active_mw / (board.clock_hz / 1e6) < 1  # mW a MHz, of any Cortex-M
    assert board.memories[0].kind == "flash"


def test_there_is_a_board_of_every_core() -> None:
    assert {board.core for board in all_boards().values()} == set(CORES)


@pytest.mark.parametrize(
    ("name", "core", "megahertz", "ram_kib", "flash_kib"),
    [
        ("alif-e3", "cortex-m55", 160, 6912, 5632),
        ("imxrt1062", "cortex-m7", 600, 1024, 7936),
        ("nrf52840", "cortex-m4", 64, 256, 1024),
        ("nrf5340", "cortex-m33", 128, 512, 1024),
        ("nrf54l15", "cortex-m33", 128, 256, 1524),
        ("rp2040", "cortex-m0plus", 133, 264, 2048),
        ("stm32l152re", "cortex-m3", 32, 80, 512),
        ("stm32l4r5zi", "cortex-m4", 120, 640, 2048),
    ],
)
def test_a_board_is_as_its_data_sheet_says(
    name: str, core: str, megahertz: int, ram_kib: int, flash_kib: int
) -> None:
    board = find_board(name)
    assert (board.core, board.clock_hz) == (core, megahertz * 1_000_000)
    assert (board.ram_bytes, board.flash_bytes) == (ram_kib * KIB, flash_kib * KIB)


def test_an_unknown_board_lists_the_known_ones() -> None:
    with pytest.raises(
        BoardError, match=r'"arduino" is unknown; choose from: alif-e3, imxrt1062, .*\.toml'
    ):
        find_board("arduino")


def test_the_page_on_adding_a_board_works_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my-board.toml").write_text(EXAMPLE)
    [python] = _blocks("python")
    exec(python, {})
    assert capsys.readouterr().out == "my-board 131072\n"


def test_the_page_on_adding_a_board_explains_every_key() -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), flags=re.MULTILINE)) == set(
        BOARD_KEYS
    )


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("fpu = true\n", "", r'key "fpu" is missing'),
        ("fpu = true", "fpu = 1", r"fpu = 1 should be true or false"),
        ("fpu = true", "fpu = true\nvolts = 3", r'unknown key "volts"; known: title'),
        ('"cortex-m4"', '"cortex-a53"', r'core = "cortex-a53"; choose from: cortex-m0plus'),
        ('"cortex-m4"', '"cortex-m0plus"', r"fpu = true, but a cortex-m0plus has none"),
        ("80_000_000", "-1", r"clock_hz = -1 should be finite and above 0"),
        ("80_000_000", "8e7", r"clock_hz = 80000000.0 should be a whole number"),
        ("80_000_000", "true", r"clock_hz = True should be a whole number"),
        ("26.4", "nan", r"active_mw = nan should be finite"),
        ("26.4", "inf", r"active_mw = inf should be finite"),
        ("26.4", '"26"', r"active_mw = '26' should be a number"),
        ('kind = "ram"', 'kind = "rom"', r'memories\[1\]: kind = "rom"; choose from: flash, ram'),
        ('kind = "ram"', 'kind = "flash"', r"memories: none has kind 'ram'"),
        (', kind = "ram"', "", r'memories\[1\]: key "kind" is missing'),
        ("131_072", "0", r"memories\[1\]: origin = 0x20000000 and length_bytes = 0"),
        ("0x20000000", "0xffffffff", r"memories\[1\]: origin = 0xffffffff and length_bytes"),
        (
            "0x20000000",
            "0x08000100",
            r'"flash" ends at 0x8080000, after "sram" starts at 0x8000100',
        ),
        ("title =", "title", r"not TOML"),
    ],
)
def test_a_wrong_description_names_the_key(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in EXAMPLE
    path = tmp_path / "wrong.toml"
    path.write_text(EXAMPLE.replace(old, new, 1))
    with pytest.raises(BoardError, match=r"wrong\.toml: .*" + says) as caught:
        find_board(str(path))
    assert "\n" not in str(caught.value)


def test_memories_that_are_no_tables_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(re.sub(r"memories = \[.*\]", "memories = [1]", EXAMPLE, flags=re.DOTALL))
    with pytest.raises(BoardError, match=r"memories\[0\] = 1 should be a table"):
        read_board(path)


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_an_unreadable_file_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "gone.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BoardError, match=r"gone\.toml: .*; give a TOML file"):
        find_board(str(path))


def test_flash_comes_first_whatever_the_order_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "turned.toml"
    lines = EXAMPLE.splitlines()
    lines[-3], lines[-2] = lines[-2], lines[-3]
    path.write_text("\n".join(lines))
    assert [memory.name for memory in read_board(path).memories] == ["flash", "sram"]
