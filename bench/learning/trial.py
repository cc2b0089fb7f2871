"""Trial -> accuracy: one training run, in a process that keeps what runs share.

Invariant: a function of its arguments; what is in the work folder only saves time.
"""

from __future__ import annotations

import fcntl
import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch_training
from counting import training_instructions
from protocol import SCHEMES, Trial
from tasks import Part, Task, make

import insitu
from insitu.config import TrainingConfig
from insitu.graph.model import Graph, Kind
from insitu.network.trainable import TrainableNetwork
from insitu.pipeline import load
from insitu.prepare.head import replace_head
from insitu.prepare.layers import select_layers
from insitu.prepare.simplify import simplify
from insitu.target.board import Board, Memory, find_board

MIB = 1 << 20


class SkippedError(Exception):
    """This version of insitu cannot train so; the message says why."""


@lru_cache(maxsize=4)
def task_of(name: str, work: Path, quick: bool) -> Task:
    """The task, made once in a process."""
    torch.set_num_threads(1)
    return make(name, work / "networks", quick=quick)


def defining(task: Task) -> dict[str, str]:
    """Digests of all that a trial starts from."""
    network = hashlib.sha256(task.network(0).read_bytes()).hexdigest()[:16]
    return {"task": task.digest, "network": network}


def compiled(task: Task, scheme: str, seed: int, work: Path) -> TrainableNetwork:
    """The task's network for a scheme, from the work folder where it is there already.

    Raises:
        SkippedError: this version of insitu cannot train so.
    """
    options = SCHEMES[scheme].training
    reason = SCHEMES[scheme].missing()
    if reason is not None or options is None:
        raise SkippedError(reason or "PyTorch needs no compiled network")
    path = task.network(seed if task.scratch else 0)
    config = TrainingConfig(layers=task.layers, classes=task.classes, **options)
    key = _digest(f"{_digest(path.read_bytes())}{task.digest}{config}{_sources()}".encode())
    folder = work / "compiled" / f"{task.name}-{scheme}-{key}"
    with _alone(folder):
        if folder.exists():
            return TrainableNetwork.load(folder)
        network = insitu.compile(
            insitu.load(path),
            calibration=task.calibration,
            training=config,
            board=_unconstrained_board(),
        )
        if network.classes <= int(task.train.y.max()):
            raise SkippedError(f"classes = {task.classes} is not available")
        return network.save(folder)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """No other process of the study makes this folder meanwhile."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@lru_cache
def _sources() -> str:
    """Digest of insitu's own sources, so that no network of another version is taken."""
    files = sorted(Path(insitu.__file__).parent.rglob("*"))
    return _digest(b"".join(p.read_bytes() for p in files if p.suffix in {".py", ".c", ".h"}))


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:12]


def _unconstrained_board() -> Board:
    """A Cortex-M4 that every scheme fits, so that all are counted on one core."""
    memories = (
        Memory(name="flash", kind="flash", origin=0, length_bytes=8 * MIB),
        Memory(name="ram", kind="ram", origin=0x2000_0000, length_bytes=8 * MIB),
    )
    return replace(find_board("nrf52840"), memories=memories)


def run(trial: Trial, work: Path) -> dict[str, Any]:
    """Train and judge: accuracies in per cent before and after, seconds, digest of the state.

    Raises:
        SkippedError: this version of insitu cannot train so.
    """
    task = task_of(trial.task, work, trial.quick)
    final = trial.judge == "test"
    data, judge = (task.final_train(), task.test) if final else (task.train, task.validation)
    start = time.perf_counter()
    train = _train_torch if SCHEMES[trial.scheme].training is None else _train_twin
    found = train(task, trial, data, judge, work)
    return {**found, "seconds": round(time.perf_counter() - start, 2)}


def _train_twin(task: Task, trial: Trial, data: Part, judge: Part, work: Path) -> dict[str, Any]:
    network = compiled(task, trial.scheme, trial.seed, work)
    network = network.with_training(lr=trial.lr, seed=trial.seed)
    twin = network.twin()
    before = twin.score(judge.x, judge.y)
    history = twin.fit(data.x, data.y, epochs=task.epochs)
    return {
        "before": 100 * before,
        "accuracy": 100 * twin.score(judge.x, judge.y),
        "loss": round(history.loss[-1], 5),
        "skipped": history.skipped,
        "left_out_steps": history.left_out,
        "held_rows": history.saturated,
        "at_bound": round(_at_bound(twin.weights()), 5),
        "state_sha256": twin.sha256,
    }


def _at_bound(weights: Any) -> float:
    """Share of int8 weights at +-127; a row's largest stands there from the start."""
    bytes_ = [w.ravel() for name, w in weights.items() if w.dtype == np.int8 and w.ndim > 1]
    every = np.concatenate([np.zeros(0, np.int8), *bytes_])
    return float((np.abs(every.astype(int)) == 127).mean()) if every.size else 0.0


def _train_torch(task: Task, trial: Trial, data: Part, judge: Part, work: Path) -> dict[str, Any]:
    graph, trained = float_graph(task, trial.seed)
    params = torch_training.parameters(graph, trained)
    before = torch_training.accuracy(graph, params, judge.x, judge.y)
    options = {"epochs": task.epochs, "lr": trial.lr, "seed": trial.seed}
    torch_training.train(graph, params, data.x, data.y, **options, **SCHEMES[trial.scheme].torch)
    after = torch_training.accuracy(graph, params, judge.x, judge.y)
    return {"before": 100 * before, "accuracy": 100 * after}


def float_graph(task: Task, seed: int) -> tuple[Graph, frozenset[str]]:
    """The simplified float network and its layers to train, a fresh zero head where wanted."""
    graph = simplify(load(task.network(seed if task.scratch else 0)).graph)
    trained = select_layers(graph, task.layers)
    return (graph if task.classes is None else replace_head(graph, task.classes)), trained


def figures(task: Task, scheme: str, lr: float, work: Path) -> dict[str, Any]:
    """Bytes, and the mean instructions of a step of the whole training on an emulated Cortex-M4.

    Raises:
        SkippedError: this version of insitu cannot train so.
    """
    own = SCHEMES[scheme].bytes_per_parameter
    if own is not None:
        return {"bytes_per_parameter": own}
    network = compiled(task, scheme, 0, work).with_training(lr=lr, seed=0)
    told = network.figures
    return {
        "bytes_per_parameter": round(_training_bytes(network) / told["trainable_parameters"], 3),
        **{key: told[key] for key in ("trainable_parameters", "state_bytes", "arena_bytes")},
        **{key: told[key] for key in ("ram_bytes", "flash_bytes")},
        **training_instructions(network, task.train.x, task.train.y, task.epochs),
    }


def _training_bytes(network: TrainableNetwork) -> int:
    """All state: weights, biases, ranges, gradient buffers, generator."""
    return sum(tensor.nbytes for tensor in network.graph.of_kind(Kind.STATE))
