"""Runs a stream on a twin built with sanitize=True, in a process of its own.

`run_sanitized` is for tests; as a program: LIBRARY NAME ARRAYS.npz.
"""

from __future__ import annotations

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


def run_sanitized(
    library: Path, name: str, records: Stream, environment: dict[str, str]
) -> tuple[str, str]:
    """(SHA-256 of the state, what the sanitizers said); one of them is empty.

    Args:
        environment: of `toolchains.sanitizer_environment`.
    """
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
        done = subprocess.run(
            [sys.executable, __file__, str(library), name, str(arrays)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
    return done.stdout.strip(), done.stderr


def main(library: Path, name: str, arrays: Path) -> None:
    """Writes the SHA-256 of the state after the stream."""
    # capstone opens its library in a way that AddressSanitizer refuses; the twin does without
    sys.modules["capstone"] = mock.MagicMock()
    from insitu.run.stream import Stream
    from insitu.run.twin_library import TwinLibrary

    loaded = np.load(arrays)
    records = Stream(
        x=loaded["x"],
        labels=loaded["labels"],
        rates=loaded["rates"],
        seed=int(loaded["seed"]),
        order=loaded["order"],
    )
    state = TwinLibrary(library, name).run(records).state
    sys.stdout.write(hashlib.sha256(state).hexdigest())


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
