"""Settings of all tests: hypothesis draws the same examples every time, and takes its time.

What is compiled is kept in `.cache/` of the checkout, or where INSITU_CACHE says, for all tests,
workers and runs. `--op NAME` runs what is about one op.
"""

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("insitu", derandomize=True, deadline=None)
settings.register_profile("deep", deadline=None, max_examples=2000)  # for a night, not for CI
settings.load_profile("insitu")

sys.dont_write_bytecode = False  # pytest rewrites every assert, which takes longer than all imports

CACHE = Path(__file__).parents[1] / ".cache"
UNUSED_S = 3 * 24 * 3600.0
"""After so long, a file of the cache that was neither made nor taken from it goes."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--op", metavar="NAME", help="run what is about this op, and only that")
    parser.addoption(
        "--default-tools",
        action="store_true",
        help="leave out what names its compiler or emulator: run what takes those that are there",
    )


def pytest_configure(config: pytest.Config) -> None:
    if "INSITU_CACHE" not in os.environ:  # workers have it from the process that starts them
        os.environ["INSITU_CACHE"] = str(CACHE)
        for path in CACHE.glob("*/*"):
            with contextlib.suppress(FileNotFoundError):  # another run is making or removing it
                if path.stat().st_mtime < time.time() - UNUSED_S and path.suffix != ".lock":
                    path.unlink()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With --op, files that cannot be about it are not even imported."""
    if (op := config.getoption("--op")) is None or collection_path.suffix != ".py":
        return None
    from selection import may_be_about, subject

    return None if may_be_about(collection_path, subject(op)) else True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    from selection import is_about, names_a_tool, subject

    every = list(items)
    if (op := config.getoption("--op")) is not None:
        name = subject(op)
        items[:] = [item for item in items if is_about(item, name)]
    if config.getoption("--default-tools"):
        items[:] = [item for item in items if not names_a_tool(item)]
    kept = set(items)
    config.hook.pytest_deselected(items=[item for item in every if item not in kept])


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """With --durations, the ten slowest files too: seconds of a worker, waiting included."""
    if not config.option.durations:
        return
    seconds: dict[str, float] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                file = report.nodeid.partition("::")[0]
                seconds[file] = seconds.get(file, 0.0) + report.duration
    terminalreporter.section("slowest 10 files")
    for file, total in sorted(seconds.items(), key=lambda item: -item[1])[:10]:
        terminalreporter.write_line(f"{total:8.1f} s  {file}")
