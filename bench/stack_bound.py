"""Random networks, data, cores and compilers -> is the bound of the stack ever below the paint?

    python bench/stack_bound.py [--firmwares 130] [--data 4] [--steps 7] [--seed 0]
    python bench/stack_bound.py --examples [--steps 20]

Each firmware is a random network of the tests (one that somebody wrote, a chain, or a graph with
branches; any part of it trained, by any scheme) for a random core and compiler; it is run for so
many kinds of data, and the deepest stack that was painted is held to the bound. What is not
installed is left out. --examples: the networks of README and of examples/zoo.py instead, on boards.
Exit status 1 where a bound is below the paint, or the bound of an example's code 64 bytes above.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/cases"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests/harness"))
import numpy as np
import pytest
from case_layers import Case
from hypothesis import HealthCheck, Phase, given, seed, settings
from networks import example
from painted import ANY_BUILD, ANY_NETWORK, paint

import insitu
from insitu.errors import FitError, ToolError
from insitu.graph.scheme import Scheme

CLOSE_BYTES = 64
BOARDS = ("nrf52840", "rp2040", "imxrt1062")
EXAMPLES = {
    "turned_digits": ("last:3", "adapt"),
    "digits_mlp": ("all", "train"),
    "bearing_cnn": ("all", "train"),
    "keywords_dscnn": ("all", "train"),
}
"""Name -> (what is trained, its samples)."""


def random_cases(firmwares: int, data: int, steps: int, first: int) -> tuple[int, int, int]:
    """(cases, bounds below the paint, firmwares whose bound the paint met to the byte)."""
    counts = {"cases": 0, "below": 0, "met": 0, "firmwares": 0}

    @seed(first)
    @settings(
        max_examples=firmwares,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=ANY_NETWORK, build=ANY_BUILD)
    def hold(case: Case, build: tuple[Scheme, str, str]) -> None:
        scheme, machine, toolchain = build
        seeds = range(first, first + data)
        try:
            found = paint(case, scheme, machine, toolchain, seeds=seeds, steps=steps)
        except pytest.skip.Exception as missing:
            print(f"left out: {missing}", flush=True)
            return
        except ToolError as error:
            print(f"NO BOUND {case} {build}: {error}", flush=True)
            counts["below"] += 1
            return
        if found is None:
            return
        bound, deepest = found.bound_bytes, max(found.deepest)
        counts["firmwares"] += 1
        counts["cases"] += len(found.deepest)
        counts["below"] += sum(bound < painted for painted in found.deepest)
        counts["met"] += bound == deepest
        row = f"{counts['cases']:4} {machine:14} {toolchain:4} bound {bound:5} painted {deepest:5}"
        how = f"{scheme.precision} {scheme.preset}{' BELOW' if bound < deepest else ''}"
        print(f"{row} over {bound - deepest:4} {how}", flush=True)

    hold()
    print(f"{counts['firmwares']} firmwares")
    return counts["cases"], counts["below"], counts["met"]


def example_networks(folder: Path) -> Iterator[tuple[str, Path, str, str]]:
    """(name, folder with its files, what is trained, its samples)."""
    for name, (trained, samples) in EXAMPLES.items():
        example(name).main(folder / name)
        yield name, folder / name, trained, samples
    zoo = example("zoo")
    for name, (_, trained) in zoo.NETWORKS.items():
        zoo.main(name, folder / name)
        yield name, folder / name, trained, "train"


def examples(steps: int, only: str) -> int:
    """How many bounds are below the paint or too far above it; prints a row for each board."""
    wrong = 0
    print("| network | board | bound | of its code | painted | over |")
    print("| --- | --- | ---: | ---: | ---: | ---: |", flush=True)
    with tempfile.TemporaryDirectory(prefix="insitu-") as folder:
        for name, files, trained, data in example_networks(Path(folder)):
            if only and only not in name:
                continue
            for board in BOARDS:
                calibration = np.load(files / "calibration.npz")["x"]
                samples = np.load(files / f"{data}.npz")
                training = insitu.TrainingConfig(layers=trained)
                try:
                    network = insitu.compile(
                        files / "model.onnx",
                        calibration=calibration,
                        training=training,
                        board=board,
                    )
                except FitError:
                    continue
                run = network.run(samples["x"], samples["y"], steps=steps)
                m = network.measurement
                code = m.stack_bytes - m.interrupt_frame_bytes
                over = code - run.stack_bytes
                wrong += not 0 <= over <= CLOSE_BYTES
                print(
                    f"| {name} | {board} | {m.stack_bytes:,} | {code:,} | {run.stack_bytes:,} "
                    f"| {over} |",
                    flush=True,
                )
    return wrong


def main() -> int:
    """Whether a bound was wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--firmwares", type=int, default=130)
    parser.add_argument("--data", type=int, default=4, help="runs of a firmware, each its own data")
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--examples", action="store_true")
    parser.add_argument("--only", default="", help="of the examples, those with this in their name")
    options = parser.parse_args()
    if options.examples:
        wrong = examples(options.steps, options.only)
        print(f"{wrong} bounds below the paint or more than {CLOSE_BYTES} bytes above it")
        return int(wrong > 0)
    with tempfile.TemporaryDirectory(prefix="insitu-") as folder:
        os.environ.setdefault("INSITU_CACHE", folder)
        cases, below, met = random_cases(
            options.firmwares, options.data, options.steps, options.seed
        )
    print(f"{cases} cases: {below} bounds below the paint; {met} firmwares met theirs to the byte")
    return int(below > 0)


if __name__ == "__main__":
    sys.exit(main())
