"""Training runs on a Cortex-M0+ -> whether rp2040js agrees with Unicorn and the reference.

The same image, gcc's and zig's, in both emulators, in every bit. rp2040js is no relative of QEMU.
Needs node and npm, which nothing else of insitu needs.
Run: python bench/second_opinion.py [--steps 10] [--networks digits-cnn,...] [--folder FOLDER that
holds or gets node_modules/rp2040js]. Exit status 1 where a state or a loss differs in one bit.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/cases"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests/harness"))
import rp2040js
from executions import BOARDS, RUNS, Result, prepare, reference

from insitu.errors import DataError, ToolError
from insitu.firmware.build import build_firmware
from insitu.run import emulator
from insitu.target.board import find_board
from insitu.tools.compilers import find_toolchain

CORE = "cortex-m0plus"


def digests(name: str, steps: int, module: Path, folder: Path) -> Iterator[tuple[str, str, str]]:
    """(compiler, emulator, digest of state and losses), the reference's first.

    Raises:
        DataError: the run's data are not there.
    """
    training = prepare(name, steps, folder)
    yield "numpy", "reference", reference(training).sha256
    for compiler in ("gcc", "zig"):
        try:
            chosen = find_toolchain(CORE, prefer=compiler)
        except ToolError as error:
            print(f"{name:18} {compiler:6} not run: {error}")
            continue
        where = (training.folder, "model", find_board(BOARDS[CORE]), folder / "build")
        firmware = build_firmware(*where, toolchain=chosen)
        for result in (
            emulator.run(firmware, training.stream),
            rp2040js.run(module, firmware, training.stream),
        ):
            yield compiler, result.emulator, Result(result.state, result.losses).sha256


def main() -> int:
    """1 where an execution differs from the reference, else 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--networks", default="digits-cnn,digits-mlp,bearing-cnn-made")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    assert set(options.networks.split(",")) <= set(RUNS)
    different = 0
    with tempfile.TemporaryDirectory(prefix="insitu-") as temporary:
        module = rp2040js.install(options.folder or Path(temporary) / "js")
        for name in options.networks.split(","):
            expected = ""
            try:
                for by, on, digest in digests(name, options.steps, module, Path(temporary) / name):
                    expected = expected or digest
                    said = "yes" if digest == expected else "NO"
                    print(f"{name:18} {by:6} {on:16} {digest[:34]} {said}", flush=True)
                    different += digest != expected
            except DataError as error:
                print(f"{name:18} not run: {error}")
    print(f"{different} executions differ from the reference after {options.steps} steps")
    return int(different > 0)


if __name__ == "__main__":
    sys.exit(main())
