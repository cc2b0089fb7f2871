"""Three networks, 300 training steps -> table of digests: reference, twins and cores, gcc and zig.

    python bench/bit_exact.py [--steps 300] [--networks digits-cnn,...]

Exit status 1 where a state or a loss differs from the reference's in one bit.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/cases"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests/harness"))
from executions import RUNS, table

from insitu.errors import DataError


def main() -> int:
    """The number of executions that differ, at most 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--networks", default=",".join(RUNS))
    options = parser.parse_args()
    different = 0
    print(
        f"{'network':18} {'target':15} {'by':6} {'SHA-256 of state and losses':34} equal  seconds"
    )
    for name in options.networks.split(","):
        with tempfile.TemporaryDirectory(prefix="insitu-") as folder:
            start = time.monotonic()
            try:
                for target, toolchain, digest, equal in table(name, options.steps, Path(folder)):
                    seconds, start = time.monotonic() - start, time.monotonic()
                    said = {True: "yes", False: "NO", None: "-"}[equal]
                    print(
                        f"{name:18} {target:15} {toolchain:6} {digest[:34]:34} {said:5} "
                        f"{seconds:8.1f}",
                        flush=True,
                    )
                    different += equal is False
            except DataError as error:
                print(f"{name:18} not run: {error}")
    print(f"{different} of all executions differ from the reference after {options.steps} steps")
    return int(different > 0)


if __name__ == "__main__":
    sys.exit(main())
