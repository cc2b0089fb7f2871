"""Are the figures on the pages those of the code beside them?

What takes seconds is made again; of the rest, docs/tables.json holds what it was made from.
"""

from __future__ import annotations

import re
import runpy
from types import SimpleNamespace

import pytest
from pages import ROOT

from insitu.errors import DataError
from insitu.tools.compilers import find_toolchain

MOST = 0.03
"""A figure may be off by so much of it."""

PAGES = SimpleNamespace(**runpy.run_path(str(ROOT / "bench/pages.py")))
TABLES = {table.page: table for table in PAGES.tables()}


@pytest.mark.parametrize("page", TABLES)
def test_a_page_is_as_old_as_the_code_that_it_was_made_from(page: str) -> None:
    complaint = PAGES.complaints().get(page)
    assert complaint is None, complaint


def test_every_page_of_results_has_its_command() -> None:
    pages = {str(path.relative_to(ROOT)) for path in (ROOT / "docs/results").glob("*.md")}
    assert pages <= set(TABLES)
    for table in TABLES.values():
        assert table.text
        assert all((ROOT / name).exists() for name in table.made_from)


def test_words_make_no_page_stale_and_code_does(tmp_path: pytest.TempPathFactory) -> None:
    digests = []
    for text in ('"""Doc."""\nx = 1  \n', '"""Other."""\n\n# why\nx = 1\n', "x = 2\n"):
        path = tmp_path / "module.py"  # type: ignore[operator]
        path.write_text(text)
        digests.append(PAGES.without_words(path))
    assert digests[0] == digests[1] != digests[2]


def numbers(cells: list[str]) -> list[float]:
    """Those of a row that are figures."""
    return [float(re.sub(r"[^0-9.]", "", cell)) for cell in cells]


@pytest.mark.toolchain
@pytest.mark.parametrize("name", ["digits_mlp", "turned_digits", "bearing_cnn"])
def test_the_table_of_costs_in_the_readme_is_what_compile_says(name: str) -> None:
    page = (ROOT / "README.md").read_text()
    compiler = re.search(r"with (arm-none-eabi-gcc \d+\.\d+)", page)
    assert compiler is not None
    if not find_toolchain("cortex-m4").title.startswith(compiler[1]):
        pytest.skip(f"the table is that of {compiler[1]}, which is not here")
    costs = SimpleNamespace(**runpy.run_path(str(ROOT / "bench/costs.py")))
    example = next(each for each in costs.EXAMPLES if each.name == name)
    written = [line.strip("| ").split(" | ") for line in TABLES["README.md"].text.splitlines()]
    first = next(i for i, cells in enumerate(written) if cells[0] == example.title)
    try:
        made = list(costs.rows(example))
    except DataError as error:
        pytest.skip(str(error))
    for row, cells in zip(written[first:], made, strict=False):
        assert numbers(row[-6:]) == pytest.approx(numbers(cells[-6:]), rel=MOST), (row, cells)
