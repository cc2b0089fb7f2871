"""Tasks x schemes -> accuracies with their spread: the study behind docs/results/learning.md.

    INSITU_DATA=FOLDER python bench/learning/study.py [--task NAME]... [--scheme NAME]...
        [--seeds 5] [--workers 2] [--quick] [--check] [--count] [--table]

FOLDER holds cwru.npz, kws01.npz and the CIFAR-10 archives. protocol.py says what every scheme
keeps to, tasks.py what is learnt. Trials that are done are not repeated, so that the study can be
stopped and started at will; a scheme that this version of insitu does not have is left out and
tried again next time. --check makes one final run of each pair again and says whether it ends in
the same bits; --count compiles each pair that has results anew and counts its bytes and
instructions again, without training. Results go to bench/learning/results, one JSON a task, and
from there into docs/results/learning.md with its plots. Needs torch.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, as_completed, wait
from pathlib import Path
from typing import Any

import numpy as np
import trial as trials
from counting import COUNTING
from protocol import SCHEMES, TUNING_SEEDS, Trial
from report import write_report
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from store import Store
from tasks import TASKS, Task

from insitu.errors import InsituError

HERE = Path(__file__).parent
Job = tuple[str, Any]
"""("trial", Trial) or ("figures", (task, scheme, lr, quick))."""


def execute(job: Job, work: Path) -> dict[str, Any]:
    """What a worker does; what cannot be done says why under "left_out"."""
    kind, of = job
    try:
        if kind == "trial":
            return trials.run(of, work)
        name, scheme, lr, quick = of
        return trials.figures(trials.task_of(name, work, quick), scheme, lr, work)
    except (trials.SkippedError, InsituError) as error:
        return {"left_out": str(error)}


class Pair:
    """A scheme on a task: first the rates on validation samples, then the seeds on the test's.

    What is known is read from the store; `jobs` yields what can be done now.
    """

    def __init__(self, task: Task, scheme: str, store: Store, options: argparse.Namespace) -> None:
        self.task, self.scheme, self.store, self.quick = task, scheme, store, options.quick
        self.seeds = 1 if options.quick else options.seeds
        self.defining = trials.defining(task)
        self.started: set[str] = set()
        self.left_out = SCHEMES[scheme].missing()
        self.grid = SCHEMES[scheme].grid(task.rates)

    @property
    def total(self) -> int:
        """Trials in all, and the figures."""
        return len(self.grid) * self.task.tuning_seeds + self.seeds + 1

    def tuning(self) -> list[Trial]:
        """Every rate with every tuning seed."""
        seeds = TUNING_SEEDS[: self.task.tuning_seeds]
        return [self._trial("validation", lr, seed) for lr in self.grid for seed in seeds]

    def final(self) -> list[Trial]:
        """The chosen rate with the fresh seeds."""
        lr = self.chosen()
        return [] if lr is None else [self._trial("test", lr, s) for s in range(self.seeds)]

    def chosen(self) -> float | None:
        """The rate with the best mean on validation samples, the middle one of equals."""
        found = [self.store.get(self.key(t)) for t in self.tuning()]
        if any(f is None for f in found):
            return None
        right = np.asarray([f["accuracy"] for f in found if f]).reshape(len(self.grid), -1)
        means = right.mean(axis=1).round(6)
        best = np.flatnonzero(means == means.max())
        return self.grid[int(best[len(best) // 2])]

    def jobs(self) -> Iterator[tuple[str, Job]]:
        """(key, job) of what is neither done nor started and may be done now."""
        if self.left_out:
            return
        lr = self.chosen()
        wanted: list[tuple[str, Job]]
        wanted = [(self.key(t), ("trial", t)) for t in (self.final() if lr else self.tuning())]
        if lr:
            wanted.append((self.figures_key(lr), ("figures", self.measured(lr))))
        yield from (w for w in wanted if w[0] not in self.started and self.store.get(w[0]) is None)

    def measured(self, lr: float) -> tuple[str, str, float, bool]:
        """What a worker is told to measure the figures of."""
        return self.task.name, self.scheme, lr, self.quick

    def done(self) -> int:
        """How many of `total` are in the store."""
        lr = self.chosen()
        keys = [self.key(t) for t in (*self.tuning(), *self.final())]
        keys += [self.figures_key(lr)] if lr else []
        return sum(self.store.get(key) is not None for key in keys)

    def result(self) -> dict[str, Any]:
        """What the task's JSON says about the scheme."""
        if self.left_out:
            return {"left_out": self.left_out}

        def rows(some: list[Trial]) -> list[dict[str, Any]]:
            found = [(t, self.key(t), self.store.get(self.key(t))) for t in some]
            return [{"lr": t.lr, "seed": t.seed, "key": k, **f} for t, k, f in found if f]

        lr = self.chosen()
        key = self.figures_key(lr) if lr else ""
        return {
            "lr": lr,
            "at_edge": lr in (self.grid[0], self.grid[-1]),
            "figures_key": key,
            "figures": self.store.get(key) or {},
            "tuning": rows(self.tuning()),
            "final": rows(self.final()),
        }

    def key(self, trial: Trial) -> str:
        """Where the store keeps the trial."""
        return trial.digest(self.defining)

    def figures_key(self, lr: float) -> str:
        """Where the store keeps the figures."""
        return self._trial("figures", lr, 0).digest({**self.defining, "counting": COUNTING})

    def _trial(self, judge: str, lr: float, seed: int) -> Trial:
        return Trial(
            task=self.task.name,
            scheme=self.scheme,
            judge=judge,
            lr=lr,
            seed=seed,
            quick=self.quick,
        )


def study(pairs: list[Pair], workers: int, work: Path, console: Console) -> None:
    """Do all jobs, in order of the pairs, on several processes."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    bar = Progress(*columns, TimeElapsedColumn(), console=console)
    rows = [
        bar.add_task(f"{p.task.name} {p.scheme}", total=p.total, completed=p.done(), visible=False)
        for p in pairs
    ]
    every = bar.add_task("all", total=sum(p.total for p in pairs if not p.left_out))
    running: dict[Future[dict[str, Any]], tuple[int, str]] = {}
    context = multiprocessing.get_context("spawn")
    with bar, ProcessPoolExecutor(workers, mp_context=context) as pool:
        while True:
            for i, pair in enumerate(pairs):
                for key, job in pair.jobs():
                    if len(running) < workers:
                        pair.started.add(key)
                        running[pool.submit(execute, job, work)] = (i, key)
            active = {i for i, _ in running.values()}
            for i, row in enumerate(rows):
                bar.update(row, completed=pairs[i].done(), visible=i in active)
            bar.update(every, completed=sum(p.done() for p in pairs))
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                i, key = running.pop(future)
                _take(pairs[i], key, future.result(), console)


def _take(pair: Pair, key: str, found: dict[str, Any], console: Console) -> None:
    if "left_out" in found:
        pair.left_out = found["left_out"]
        console.print(f"{pair.task.name} {pair.scheme}: left out: {pair.left_out}")
        return
    pair.store.put(key, found)
    lr = pair.chosen()
    if pair.done() == pair.total:
        right = [f["accuracy"] for t in pair.final() if (f := pair.store.get(pair.key(t)))]
        console.print(
            f"{pair.task.name:>18} {pair.scheme:<16} lr {lr:<8g} "
            f"{np.mean(right):6.2f} +- {np.std(right, ddof=len(right) > 1):.2f} %"
        )
        pair.store.write_task(pair.task, {pair.scheme: pair.result()})


def check(pairs: list[Pair], workers: int, work: Path, console: Console) -> bool:
    """Make the first final run of each pair again: does it end in the same bits as before?"""
    held = {
        (pair.task.name, pair.scheme): (trial, pair.store.get(pair.key(trial)) or {})
        for pair in pairs
        for trial in pair.final()[:1]
    }
    known = {name: h for name, h in held.items() if "state_sha256" in h[1]}
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        again = {name: pool.submit(execute, ("trial", t), work) for name, (t, _) in known.items()}
        same = True
        for (task, scheme), future in again.items():
            equal = future.result().get("state_sha256") == known[task, scheme][1]["state_sha256"]
            console.print(f"{task:>18} {scheme:<16} {'the same bits' if equal else 'DIFFERS'}")
            same &= equal
    return same


def count(pairs: list[Pair], workers: int, work: Path, console: Console) -> bool:
    """Measure the figures of each pair with results anew: did board and twin agree in all?"""
    known = [pair for pair in pairs if pair.result().get("final")]
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        jobs = {
            pool.submit(execute, ("figures", pair.measured(lr)), work): (pair, lr)
            for pair in known
            if (lr := pair.chosen()) is not None
        }
        good = True
        for future in as_completed(jobs):
            (pair, lr), found = jobs[future], future.result()
            verdict = found.get("left_out") or _counted(found)
            console.print(f"{pair.task.name:>18} {pair.scheme:<16} {verdict}", soft_wrap=True)
            if "left_out" not in found:
                pair.store.put(pair.figures_key(lr), found)
                pair.store.write_task(pair.task, {pair.scheme: pair.result()})
            good &= found.get("twin_equal", "left_out" not in found)
    return good


def _counted(found: dict[str, Any]) -> str:
    """A line about figures."""
    if "twin_equal" not in found:
        return f"{found['bytes_per_parameter']:g} bytes a parameter"
    backward = found["instructions_backward"] + found["instructions_update"]
    equal = "board equals twin" if found["twin_equal"] else "BOARD DIFFERS FROM TWIN"
    return f"{found['instructions_forward']:,} + {backward:,} instructions, {equal}"


def parse() -> argparse.Namespace:
    """What is wanted."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--task", action="append", choices=TASKS, help="by default all")
    parser.add_argument("--scheme", action="append", choices=SCHEMES, help="by default all")
    parser.add_argument("--seeds", type=int, default=5, help="fresh seeds of the final runs")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--quick", action="store_true", help="a few samples, to try the machinery")
    parser.add_argument("--check", action="store_true", help="make one run of each again, compare")
    parser.add_argument("--count", action="store_true", help="count instructions anew, no training")
    parser.add_argument("--table", action="store_true", help="only write table and plots again")
    parser.add_argument("--work", type=Path, default=HERE / ".cache", help="what can be made again")
    parser.add_argument("--results", type=Path, default=HERE / "results")
    parser.add_argument("--docs", type=Path, default=HERE.parents[1] / "docs" / "results")
    return parser.parse_args()


def main() -> None:
    """Run what is wanted and write the table."""
    options, console, start = parse(), Console(), time.perf_counter()
    if options.quick:
        options.results = options.docs = options.work / "quick"
    os.environ["OMP_NUM_THREADS"] = "1"
    good = True
    if not options.table:
        store = Store(options.work / "trials", options.results)
        made = [trials.task_of(name, options.work, options.quick) for name in options.task or TASKS]
        schemes = options.scheme or SCHEMES
        pairs = [Pair(task, scheme, store, options) for task in made for scheme in schemes]
        if options.check:
            raise SystemExit(0 if check(pairs, options.workers, options.work, console) else 1)
        if options.count:
            good = count(pairs, options.workers, options.work, console)
        else:
            study(pairs, options.workers, options.work, console)
            for pair in pairs:
                store.write_task(pair.task, {pair.scheme: pair.result()})
    write_report(options.results, options.docs)
    console.print(f"{options.docs}: written, {time.perf_counter() - start:.0f} s")
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
