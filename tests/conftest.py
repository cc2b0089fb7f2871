"""Settings of all tests: hypothesis draws the same examples every time, and takes its time.

The runtime's objects are compiled once for all tests and workers.
"""

import os
import shutil
import tempfile

import pytest
from hypothesis import settings

settings.register_profile("insitu", derandomize=True, deadline=None)
settings.register_profile("deep", deadline=None, max_examples=2000)  # for a night, not for CI
settings.load_profile("insitu")

CACHE = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    if "INSITU_CACHE" not in os.environ:  # workers have it from the process that starts them
        config.stash[CACHE] = os.environ["INSITU_CACHE"] = tempfile.mkdtemp(prefix="insitu-")


def pytest_unconfigure(config: pytest.Config) -> None:
    if CACHE in config.stash:
        shutil.rmtree(config.stash[CACHE], ignore_errors=True)
        del os.environ["INSITU_CACHE"]
