"""Runs streams on libraries built with sanitize=True, all in one other process as long as it lives.

`run_sanitized` is for tests. As a program: reads lines of LIBRARY, NAME and ARRAYS.npz, separated
by tabs, and answers each with the SHA-256 of the state after the stream; an error is its end.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

import numpy as np

if TYPE_CHECKING:
    from insitu.run.stream import Stream


class Server:
    """The process; it is started again for the next stream when a sanitizer has ended it."""

    def __init__(self, environment: dict[str, str]) -> None:
        # several libraries define what a model defines
        options = environment.get("ASAN_OPTIONS", "") + ":detect_odr_violation=0"
        path = {"PYTHONPATH": os.pathsep.join(sys.path), "ASAN_OPTIONS": options}
        self.said = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
            text=True,
            env={**os.environ, **environment, **path},
        )
        atexit.register(self.close)

    def run(self, library: Path, name: str, arrays: Path) -> tuple[str, str]:
        """(SHA-256 of the state, what was said)."""
        assert self.process.stdin is not None and self.process.stdout is not None
        print(library, name, arrays, sep="\t", file=self.process.stdin, flush=True)
        digest = self.process.stdout.readline().strip()
        if not digest:
            self.process.wait()
        self.said.seek(0)
        said = self.said.read()
        self.said.seek(0)  # the offset is that of the process too
        self.said.truncate()
        return digest, said

    def close(self) -> None:
        """Ends it."""
        self.process.kill()
        self.process.communicate()
        self.said.close()


@functools.cache
def _servers() -> dict[str, Server]:
    return {}


def run_sanitized(
    library: Path, name: str, records: Stream, environment: dict[str, str]
) -> tuple[str, str]:
    """(SHA-256 of the state, what the sanitizers said); one of them is empty.

    Args:
        environment: of `compilers.sanitizer_environment`.
    """
    servers, key = _servers(), repr(environment)
    if key not in servers:
        servers[key] = Server(environment)
    with tempfile.TemporaryDirectory() as folder:
        arrays = Path(folder) / "stream.npz"
        np.savez(
            arrays,
            x=records.x,
            labels=records.labels,
            rates=records.rates,
            seed=records.seed,
            order=records.samples,
        )
        digest, said = servers[key].run(library, name, arrays)
    if not digest:
        servers.pop(key).close()
    return digest, said


def main() -> None:
    """Runs a stream a line."""
    # capstone opens its library in a way that AddressSanitizer refuses; the twin does without
    sys.modules["capstone"] = mock.MagicMock()
    from insitu.run.stream import Stream
    from insitu.run.twin_library import TwinLibrary

    for line in sys.stdin:
        library, name, arrays = line.rstrip("\n").split("\t")
        loaded = np.load(arrays)
        records = Stream(
            x=loaded["x"],
            labels=loaded["labels"],
            rates=loaded["rates"],
            seed=int(loaded["seed"]),
            order=loaded["order"],
        )
        state = TwinLibrary(Path(library), name).run(records).state
        sys.stdout.write(hashlib.sha256(state).hexdigest() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
