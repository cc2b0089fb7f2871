"""name -> Task: a network, the samples it was made with and those it is to learn, all parts apart.

Invariant: no test sample stands in any other part; the same name gives the same arrays on every
machine. Networks that start pretrained were trained once, in float, with fixed seeds; they lie in
networks/ and are made anew where they are taken away.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import pretraining
from fashion_mnist import build as fashion_network
from fashion_mnist import standardized
from shifts import louder_world
from torch import nn

from insitu.data.datasets import Array, Dataset, cifar10, cwru, kws, split, turned_digits

DEMO = Path(__file__).parents[2] / "insitu" / "app" / "demo_data" / "digits_cnn.onnx"
NETWORKS = Path(__file__).parent / "networks"
QUICK_SAMPLES = 40
KEYWORD_NETWORK = "mlperf-tiny-kws-dscnn.onnx"


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """Samples x[n, ...], channels first, and labels y[n]."""

    x: Array
    y: Array

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: Array | slice) -> Part:
        """These samples."""
        return Part(x=self.x[rows], y=self.y[rows])

    @classmethod
    def of(cls, data: Dataset, rows: Array | slice = slice(None)) -> Part:
        """These samples of a data set."""
        return cls(x=data.x[rows], y=data.y[rows])


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """What is to be learnt, and the grid of rates that everybody may try.

    Attributes:
        network: seed -> path of the ONNX file; the seed matters where training starts from
            scratch.
        calibration: x of the world in which the network was made.
        layers: to train, as `TrainingConfig.layers`.
        classes: of a fresh last layer, or None.
        rates: learning rates for plain SGD at batch 1; other schemes scale them.
        tuning_seeds: how many seeds each rate is tried with.
        refit: the final runs train on the validation samples too.
        split: how the parts were cut, for the table.
    """

    name: str
    title: str
    network: Callable[[int], Path]
    calibration: Array
    train: Part
    validation: Part
    test: Part
    layers: str
    epochs: int
    rates: tuple[float, ...]
    split: str
    classes: int | None = None
    scratch: bool = False
    tuning_seeds: int = 3
    refit: bool = False

    @property
    def digest(self) -> str:
        """Of all that defines the task but its network's file."""
        found = hashlib.sha256()
        for part in (self.train, self.validation, self.test):
            found.update(np.ascontiguousarray(part.x).data)
            found.update(np.ascontiguousarray(part.y, np.int64).data)
        found.update(np.ascontiguousarray(self.calibration).data)
        found.update(repr((self.layers, self.classes, self.epochs, self.refit)).encode())
        return found.hexdigest()[:16]

    def final_train(self) -> Part:
        """What the final runs learn from."""
        if not self.refit:
            return self.train
        x = np.concatenate([self.train.x, self.validation.x])
        return Part(x=x, y=np.concatenate([self.train.y, self.validation.y]))


def make(name: str, work: Path, *, quick: bool = False) -> Task:
    """The task of that name.

    Args:
        work: folder for pretrained networks.
        quick: with next to no samples, to try the machinery.
    """
    work.mkdir(parents=True, exist_ok=True)
    task = TASKS[name](name, work, quick)
    if not quick:
        return task

    def few(part: Part) -> Part:
        return part.take(np.linspace(0, len(part) - 1, min(len(part), QUICK_SAMPLES)).astype(int))

    small = {key: few(getattr(task, key)) for key in ("train", "validation", "test")}
    return replace(task, epochs=1, tuning_seeds=1, rates=task.rates[1:3], **small)


def _pretrained(
    path: Path,
    net: nn.Sequential,
    part: Part,
    held_out: Part,
    *,
    epochs: int,
    lr: float,
    shift: tuple[int, ...],
    flip: bool = False,
    quick: bool,
) -> Path:
    """The network trained on `part`: the committed one, or from the work folder, or made anew.

    Committed, because torch does not train to the same bits on every machine.
    """
    if not quick and (NETWORKS / path.name).exists():
        return NETWORKS / path.name
    path = path.with_name(f"quick-{path.name}") if quick else path
    if not path.exists():
        part = part.take(slice(None, 64)) if quick else part
        options = {"lr": lr, "seed": 0, "shift": shift, "flip": flip}
        pretraining.pretrain(net, part.x, part.y, epochs=1 if quick else epochs, **options)
        partial = path.with_suffix(".partial")
        pretraining.write(net, part.x.shape[1:], partial)
        partial.replace(path)
        right = pretraining.accuracy(net, held_out.x, held_out.y)
        print(f"{path.stem}: pretrained, {100 * right:.1f} % of {len(held_out)} held out samples")
    return path


def _digits(name: str, work: Path, quick: bool) -> Task:
    world = turned_digits()
    rows, held_out = split(world.adapt.y, (0.75, 0.25), seed=1)
    return Task(
        name=name,
        title="quarter-turn digits",
        network=lambda _: DEMO,
        calibration=world.train.x,
        train=Part.of(world.adapt, rows),
        validation=Part.of(world.adapt, held_out),
        test=Part.of(world.test_after),
        layers="last:3",
        epochs=10,
        rates=(0.0075, 0.015, 0.03, 0.06, 0.12),
        refit=True,
        split="by image, at random, every class in proportion",
    )


# ---- bearings -------------------------------------------------------------------------------

WINDOWS = 20
"""Labelled windows of each class at the new load."""


def _recording(data: Dataset, load: int, first: float, end: float, classes: Array) -> Array:
    """Rows of [first, end) of the time of each class's recording at this load.

    A recording's windows stand in the order of time and do not overlap; neighbours resemble each
    other, so that parts are cut from different times.
    """
    rows = [np.flatnonzero((data.extra["load"] == load) & (data.y == label)) for label in classes]
    cuts = [(round(first * len(r)), round(end * len(r))) for r in rows]
    return np.concatenate([r[a:b] for r, (a, b) in zip(rows, cuts, strict=True)])


def _few(data: Dataset, rows: Array) -> Array:
    """`WINDOWS` rows of each class, evenly spaced in time."""
    found = []
    for label in np.unique(data.y[rows]):
        own = rows[data.y[rows] == label]
        found.append(own[np.linspace(0, len(own) - 1, WINDOWS).round().astype(int)])
    return np.concatenate(found)


def _bearing_load(load: int, layers: str) -> Callable[[str, Path, bool], Task]:
    def task(name: str, work: Path, quick: bool) -> Task:
        data, every = cwru(), np.arange(9)
        old = Part.of(data, _recording(data, 0, 0.0, 0.75, every))
        network = _pretrained(
            work / "bearing-load0.onnx",
            pretraining.bearing_cnn(9, seed=0),
            old,
            Part.of(data, _recording(data, 0, 0.8, 1.0, every)),
            epochs=30,
            lr=0.05,
            shift=(32,),
            quick=quick,
        )
        return Task(
            name=name,
            title=f"new bearing load {load}",
            network=lambda _: network,
            calibration=old.x,
            train=Part.of(data, _few(data, _recording(data, load, 0.0, 0.4, every))),
            validation=Part.of(data, _recording(data, load, 0.45, 0.6, every)),
            test=Part.of(data, _recording(data, load, 0.65, 1.0, every)),
            layers=layers,
            epochs=10,
            rates=(0.0025, 0.005, 0.01, 0.02, 0.04),
            split=f"by time in each recording: {WINDOWS} windows a class of its first 40 %, "
            "validation 45-60 %, test 65-100 %",
        )

    return task


def _bearing_classes(name: str, work: Path, quick: bool) -> Task:
    data, every, known = cwru(), np.arange(9), np.asarray([0, 1, 3, 4, 6, 7])

    def renumbered(first: float, end: float) -> Part:
        part = Part.of(data, _recording(data, 0, first, end, known))
        return Part(x=part.x, y=np.searchsorted(known, part.y))

    old = renumbered(0.0, 0.35)
    network = _pretrained(
        work / "bearing-6-classes.onnx",
        pretraining.bearing_cnn(6, seed=0),
        old,
        renumbered(0.65, 1.0),
        epochs=80,
        lr=0.05,
        shift=(32,),
        quick=quick,
    )
    return Task(
        name=name,
        title="three new bearing faults",
        network=lambda _: network,
        calibration=old.x,
        train=Part.of(data, _few(data, _recording(data, 0, 0.35, 0.5, every))),
        validation=Part.of(data, _recording(data, 0, 0.52, 0.62, every)),
        test=Part.of(data, _recording(data, 0, 0.65, 1.0, every)),
        layers="last:2",
        classes=9,
        epochs=10,
        rates=(0.005, 0.01, 0.02, 0.04, 0.08),
        split=f"by time in each recording at load 0: pretraining 0-35 %, {WINDOWS} windows a "
        "class of 35-50 %, validation 52-62 %, test 65-100 %",
    )


# ---- the others -----------------------------------------------------------------------------


def _keywords(name: str, work: Path, quick: bool) -> Task:
    network = Path(os.environ.get("INSITU_DATA", "")).parent / "models" / KEYWORD_NETWORK
    data = kws()
    moved = louder_world(data.x, gain=0.2, noise=0.1, seed=0)
    train, validation, test = (
        Part(x=moved[rows], y=data.y[rows]) for rows in split(data.y, (0.5, 0.15, 0.35), seed=0)
    )
    return Task(
        name=name,
        title="keywords in a noisy place",
        network=lambda _: network,
        calibration=data.x[::4],
        train=train,
        validation=validation,
        test=test,
        layers="last:3",
        epochs=10,
        rates=(0.00125, 0.0025, 0.005, 0.01, 0.02),
        split="by utterance, at random, every class in proportion: adaptation 50 %, validation "
        "15 %, test 35 %; the network is MLPerf Tiny's, pretrained on other utterances",
    )


def _fashion(name: str, work: Path, quick: bool) -> Task:
    def network(seed: int) -> Path:
        path = work / f"fashion-{seed}.onnx"
        if not path.exists():
            partial = work / f"fashion-{seed}.{id(path)}.partial"
            onnx.save(fashion_network(seed), partial)
            partial.replace(path)
        return path

    x, y = standardized("train", None)
    test_x, test_y = standardized("test", None)
    return Task(
        name=name,
        title="Fashion-MNIST from scratch",
        network=network,
        calibration=x[:1024],
        train=Part(x=x[:54_000], y=y[:54_000]),
        validation=Part(x=x[54_000:], y=y[54_000:]),
        test=Part(x=test_x, y=test_y),
        layers="all",
        epochs=8,
        rates=(0.0025, 0.005, 0.01, 0.02, 0.04),
        scratch=True,
        tuning_seeds=1,
        refit=True,
        split="the published test part; validation is the last 6,000 of the training part",
    )


KNOWN_CLASSES = 5


def _photographs(name: str, work: Path, quick: bool) -> Task:
    def part(which: str, first: int, end: int, classes: int = 10) -> Part:
        """Images [first, end) of each of the first `classes` classes; the archive is sorted."""
        size = {"train": 5000, "test": 1000}[which]
        rows = [c * size + i for c in range(classes) for i in range(first, end)]
        data = cifar10(which, rows=rows)
        return Part(x=(data.x - np.float32(120)) / np.float32(64), y=data.y)

    old = part("train", 0, 20 if quick else 4000, KNOWN_CLASSES)
    network = _pretrained(
        work / "resnet8-5-classes.onnx",
        pretraining.resnet8(KNOWN_CLASSES, seed=0),
        old,
        part("test", 0, 200, KNOWN_CLASSES),
        epochs=16,
        lr=0.05,
        shift=(3, 3),
        flip=True,
        quick=quick,
    )
    return Task(
        name=name,
        title="CIFAR-10: five classes, then ten",
        network=lambda _: network,
        calibration=old.x[:: max(1, len(old) // 1024)],
        train=part("train", 4000, 4500),
        validation=part("train", 4500, 4700),
        test=part("test", 0, 20 if quick else 1000),
        layers="last:5",
        classes=10,
        epochs=4,
        rates=(0.008, 0.016, 0.032, 0.064, 0.128),
        tuning_seeds=1,
        split="the published test part; of each class's training images, pretraining on the first "
        "4,000 (five classes), adaptation on the next 500, validation on the next 200",
    )


TASKS: dict[str, Callable[[str, Path, bool], Task]] = {
    "digits": _digits,
    **{
        f"cwru-load{load}-{kind}": _bearing_load(load, layers)
        for load in (1, 2, 3)
        for kind, layers in (("last", "last:2"), ("all", "all"))
    },
    "cwru-classes": _bearing_classes,
    "kws": _keywords,
    "fashion-mnist": _fashion,
    "cifar10": _photographs,
}
"""In order of cost."""
