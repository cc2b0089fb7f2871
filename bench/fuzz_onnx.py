"""Damaged ONNX files -> counts of what insitu makes of them; exit status 1 where one was too much.

    python bench/fuzz_onnx.py [--mutations 10000] [--seed 0] [--workers 1] [--json FILE]

Each file is read and, where it still is a network, compiled, all but the firmware. That must end in
a network, in nodes that are named as not supported, or in an InsituError of one line: within
--seconds, within 3 GB of address space, with nothing written but in the output folder and no
program started. Files are read in a process of their own, so that a library that crashes is seen;
the case that was too much is written to --keep and can be made again from its number.
"""

from __future__ import annotations

import argparse
import json
import queue
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1] / "tests"
MODULES = [str(TESTS / folder) for folder in ("cases", "harness", "onnx")]
STARTING = 120.0
"""Seconds that a worker may take until its first case."""


def work(seed: int, numbers: range, folder: Path) -> None:
    """In the worker: print `NUMBER`, then `NUMBER OUTCOME SECONDS` or `NUMBER ! WHY` of each."""
    sys.path[:0] = MODULES
    from fuzzing import Watch, limit_memory, outcome
    from mutations import corpus, mutated

    models = corpus()
    watch = Watch(folder)
    tempfile.tempdir = str(folder)
    limit_memory()
    for number in numbers:
        print(number, flush=True)
        start = time.monotonic()
        try:
            said = outcome(mutated(models, seed, number), watch)
        except Exception as error:  # noqa: BLE001  whatever it is, it is a finding
            print(f"{number} ! {_told(error)}", flush=True)
        else:
            print(f"{number} {said} {time.monotonic() - start:.3f}", flush=True)


def _told(error: Exception) -> str:
    """Its type, its text and where it came from, as one line."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(frame.filename).name}:{frame.lineno}"
    return " ".join(f"{type(error).__name__} in {where}: {error}"[:300].split())


class Campaign:
    """Counts and findings of all workers."""

    def __init__(self, seed: int, seconds: float) -> None:
        self.seed, self.seconds = seed, seconds
        self.counts: Counter[str] = Counter()
        self.findings: dict[int, str] = {}
        self.slowest = 0.0

    def run(self, numbers: range) -> None:
        """All cases of one worker; a new one goes on behind a case that killed it."""
        while numbers:
            with tempfile.TemporaryDirectory(prefix="insitu-fuzz-") as folder:
                numbers = self._until_stopped(numbers, Path(folder).resolve())

    def _until_stopped(self, numbers: range, folder: Path) -> range:
        """The cases that are left when the worker ends."""
        command = [sys.executable, __file__, "--worker", str(folder), "--seed", str(self.seed)]
        command += ["--first", str(numbers.start), "--mutations", str(numbers.stop)]
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert worker.stdout is not None
        lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=_pass_on, args=(worker.stdout, lines), daemon=True).start()
        case, patience, started = numbers.start, STARTING, False
        while True:
            try:
                line = lines.get(timeout=patience)
            except queue.Empty:
                worker.kill()
                self._find(case, f"no end after {patience:g} s")
                break
            patience = self.seconds
            if not line:
                if worker.wait() == 0:
                    return range(0)
                if not started:
                    raise RuntimeError("the worker cannot start")
                self._find(case, f"the process ended with {worker.returncode}")
                break
            number, _, said = line.strip().partition(" ")
            case, started = int(number), True
            if said:
                self._count(case, said)
        worker.wait()
        return range(case + 1, numbers.stop)

    def _count(self, case: int, said: str) -> None:
        if said.startswith("! "):
            self._find(case, said[2:])
            return
        what, _, seconds = said.rpartition(" ")
        self.counts[what] += 1
        self.slowest = max(self.slowest, float(seconds))

    def _find(self, case: int, why: str) -> None:
        self.findings[case] = why
        print(f"case {case} of seed {self.seed}: {why}", file=sys.stderr, flush=True)


def _pass_on(stream: object, lines: queue.Queue[str]) -> None:
    for line in stream:  # type: ignore[attr-defined]
        lines.put(line)
    lines.put("")


def keep(campaign: Campaign, folder: Path) -> None:
    """Write the files of all findings."""
    sys.path[:0] = MODULES
    from mutations import corpus, mutated

    models = corpus()
    folder.mkdir(parents=True, exist_ok=True)
    for case in campaign.findings:
        content = mutated(models, campaign.seed, case)
        (folder / f"{campaign.seed}-{case}.onnx").write_bytes(content)


def parsed() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--mutations", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Share the cases among workers and print what became of them."""
    options = parsed()
    if options.worker is not None:
        work(options.seed, range(options.first, options.mutations), options.worker)
        return
    campaign, start = Campaign(options.seed, options.seconds), time.monotonic()
    total = options.mutations - options.first
    share = -(-total // options.workers)
    parts = [
        range(first, min(first + share, options.mutations))
        for first in range(options.first, options.mutations, share)
    ]
    threads = [threading.Thread(target=campaign.run, args=(part,)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    figures = {
        "mutations": total,
        "seed": options.seed,
        "outcomes": dict(campaign.counts.most_common()),
        "findings": {str(case): why for case, why in sorted(campaign.findings.items())},
        "slowest_seconds": round(campaign.slowest, 1),
        "seconds": round(time.monotonic() - start),
    }
    print(json.dumps(figures, indent=1))
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    if options.keep is not None and campaign.findings:
        keep(campaign, options.keep)
    sys.exit(bool(campaign.findings))


if __name__ == "__main__":
    main()
