"""Networks, calibrations -> what quantization alone costs: accuracy, cosine similarity of scores.

    python bench/fidelity.py [--networks resnet8,dscnn,...] [--every 20] [--markdown FILE]

Float is onnxruntime on the ONNX file; 8 bits are the generated C on the desk, compiled with
--train last:1 and not trained. Ranges come from samples that are not among those compared. Each
calibration is measured a second time with one faulty sample among these, 20 times as large as it
was: what a sensor's glitch in the recording does. Networks and data that are not here are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from rich.console import Console
from rich.table import Table

import insitu
from insitu.data.datasets import Array, Dataset, cifar10, cwru, kws, turned_digits
from insitu.data.samples import channels_last
from insitu.differentiate import differentiate
from insitu.errors import DataError
from insitu.firmware.build import build_host
from insitu.generate import generate
from insitu.graph.model import Graph
from insitu.graph.verify import verify
from insitu.measure.fidelity import cosines
from insitu.network.folder import write_sources
from insitu.plan import plan_memory
from insitu.prepare.layers import select_layers
from insitu.prepare.simplify import simplify
from insitu.quantize import calibrate, quantize_graph
from insitu.run.twin_library import TwinLibrary

CALIBRATIONS = ("minmax", "percentile:99.99", "percentile:99.9", "mse")
FAULT = 20
"""How much larger the faulty sample is."""

SIDE = 128
"""Of MCUNet's images."""

MOST_POINTS, LEAST_COSINE = 1.0, 0.98
"""The goal: accuracy lost at most, in points; where there are no labels, similarity at least."""


@dataclass(frozen=True, eq=False)
class Task:
    """A network, samples for its ranges, others to be compared, and their labels if any fit."""

    title: str
    path: Path
    calibration: Array
    x: Array
    y: Array | None


@dataclass(frozen=True)
class Row:
    """What a network lost with one calibration; accuracies in per cent."""

    network: str
    calibration: str
    faulty: bool
    calibration_samples: int
    samples: int
    float_accuracy: float | None
    quantized_accuracy: float | None
    cosine_mean: float
    cosine_least: float

    @property
    def points(self) -> float | None:
        """Accuracy lost."""
        if self.float_accuracy is None or self.quantized_accuracy is None:
            return None
        return self.float_accuracy - self.quantized_accuracy

    @property
    def reached(self) -> bool:
        """Whether the goal is."""
        return (
            self.cosine_mean >= LEAST_COSINE if self.points is None else self.points <= MOST_POINTS
        )


def models() -> Path:
    """The folder of public networks beside that of the data."""
    data = os.environ.get("INSITU_DATA")
    if data is None:
        raise DataError("INSITU_DATA names no folder; set it to the one with the data")
    return Path(data).parent / "models"


def resnet8(every: int) -> Task:
    """Photographs of 0 to 255 as they are."""
    test = cifar10("test", rows=slice(0, None, every))
    path = models() / "mlperf-tiny-ic-resnet8.onnx"
    return Task("ResNet-8, CIFAR-10", path, _photographs(512), test.x, test.y)


def _photographs(count: int) -> Array:
    """Training images of all classes."""
    return cifar10("train", rows=slice(0, None, 50_000 // count)).x


def dscnn(every: int) -> Task:
    """Spoken words: every fourth for the ranges."""
    data = kws()
    rows = np.arange(len(data.y))
    mine, test = data.take(rows[::4]), data.take(rows[rows % 4 != 0])
    path = models() / "mlperf-tiny-kws-dscnn.onnx"
    return Task("DS-CNN, keywords", path, mine.x, test.x, test.y)


def mcunet(every: int) -> Task:
    """Photographs enlarged; their classes are not the network's."""
    test = cifar10("test", rows=slice(0, None, 10_000 // 64)).x[:64]
    path = models() / "mcunet-5fps.onnx"
    return Task("MCUNet-5FPS, photographs", path, enlarged(_photographs(256)), enlarged(test), None)


def enlarged(x: Array) -> Array:
    """[n, 3, 32, 32] of 0 to 255 -> [n, 3, SIDE, SIDE] in [-1, 1)."""
    from PIL import Image

    pictures = [Image.fromarray(i.transpose(1, 2, 0).astype(np.uint8)) for i in x]
    large = np.stack([np.asarray(p.resize((SIDE, SIDE))) for p in pictures])
    return (large.transpose(0, 3, 1, 2).astype(np.float32) - 128) / np.float32(128)


def digits(every: int) -> Task:
    """The demo's network before the sensor was turned."""
    world = turned_digits()
    path = Path(insitu.__file__).parent / "app" / "demo_data" / "digits_cnn.onnx"
    test = world.test_before
    return Task("digits CNN", path, world.train.x, test.x, test.y)


def bearings(every: int) -> Task:
    """Vibration at one load; a network from PyTorch, trained here."""
    from learning import pretraining

    data = cwru()
    data = data.take(np.flatnonzero(data.extra["load"] == 0))
    train, test = _every_fourth(data)
    net = pretraining.bearing_cnn(9, seed=0)
    path = Path(tempfile.mkdtemp()) / "bearings.onnx"
    pretraining.pretrain(net, train.x, train.y, epochs=10, lr=0.05, seed=0, shift=(32,))
    pretraining.write(net, train.x.shape[1:], path)
    return Task("bearing CNN, vibration", path, train.x[::2], test.x, test.y)


def _every_fourth(data: Dataset) -> tuple[Dataset, Dataset]:
    rows = np.arange(len(data.y))
    return data.take(rows[rows % 4 != 0]), data.take(rows[::4])


TASKS: dict[str, Callable[[int], Task]] = {
    "resnet8": resnet8,
    "dscnn": dscnn,
    "mcunet": mcunet,
    "digits": digits,
    "bearings": bearings,
}


def float_scores(path: Path, x: Array) -> Array:
    """[n, scores] by onnxruntime, before a last softmax."""
    proto = onnx.load(path)
    if proto.graph.node[-1].op_type == "Softmax":
        proto.graph.output[0].name = proto.graph.node[-1].input[0]
        del proto.graph.node[-1]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: s[None]})[0].reshape(1, -1) for s in x])


def quantized_scores(graph: Graph, calibration: Array, method: str, samples: Array) -> Array:
    """[n, scores] by the generated C of a simplified float network; arrays channels first."""
    shape = graph.tensors[graph.inputs[0]].shape
    ranges = calibrate(graph, channels_last(calibration, shape), method)
    return scores_in_c(quantize_graph(graph, ranges, select_layers(graph, "last:1")), samples)


def scores_in_c(integers: Graph, samples: Array) -> Array:
    """[n, scores] by the generated C of an integer network of which a layer is trained."""
    step = differentiate(integers)
    verify(step)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_sources(generate(step, plan_memory(step), "model"), folder)
        library = TwinLibrary(build_host(folder, "model", folder / "build"), "model")
        return library.predict(library.quantize_input(samples))[0]


def measure(task: Task, methods: Iterable[str]) -> list[Row]:
    """A row for each calibration, without and with the fault."""
    graph, wanted = simplify(insitu.load(task.path).graph), float_scores(task.path, task.x)
    x = task.calibration.copy()

    def accuracy(scores: Array) -> float | None:
        return None if task.y is None else 100 * float((scores.argmax(axis=1) == task.y).mean())

    rows = []
    for faulty in (False, True):
        if faulty:
            x[len(x) // 2] *= FAULT
        for method in methods:
            scores = quantized_scores(graph, x, method, task.x)
            found = cosines(wanted, scores)
            rows.append(
                Row(
                    network=task.title,
                    calibration=method,
                    faulty=faulty,
                    calibration_samples=len(task.calibration),
                    samples=len(task.x),
                    float_accuracy=accuracy(wanted),
                    quantized_accuracy=accuracy(scores),
                    cosine_mean=float(found.mean()),
                    cosine_least=float(found.min()),
                )
            )
            print(asdict(rows[-1]))
    return rows


COLUMNS = (
    *("network", "calibration", "of", "samples", "float %", "8 bits %"),
    *("points lost", "cosine", "least", "goal"),
)


def cells(row: Row) -> tuple[str, ...]:
    """A row of the table."""
    accuracies = (row.float_accuracy, row.quantized_accuracy, row.points)
    return (
        row.network,
        row.calibration,
        f"{row.calibration_samples:,}",
        f"{row.samples:,}",
        *("" if value is None else f"{value:.2f}" for value in accuracies),
        f"{row.cosine_mean:.4f}",
        f"{row.cosine_least:.4f}",
        "reached" if row.reached else "missed",
    )


def show(rows: list[Row]) -> None:
    """Both tables on the console."""
    for faulty in (False, True):
        table = Table(title="one faulty sample" if faulty else "clean calibration data")
        for column in COLUMNS:
            table.add_column(column)
        for row in rows:
            if row.faulty == faulty:
                table.add_row(*cells(row))
        Console(width=130).print(table)


PAGE = """\
Made by `python bench/fidelity.py --markdown FILE`; do not edit. Float is onnxruntime, 8 bits are
the generated C; nothing is trained. Ranges come "of" so many other samples. Accuracies are in per
cent; cosine similarity is that of the scores, its mean and its least over the samples compared.
The goal: at most {points:g} point lost; where labels do not fit the network, a mean similarity of
at least {cosine:g}. The photographs are JPEG-coded, which costs the float network accuracy too."""


def markdown(rows: list[Row]) -> str:
    """The page docs/results/fidelity.md."""
    lines = ["# What quantization alone costs", ""]
    lines += [PAGE.format(points=MOST_POINTS, cosine=LEAST_COSINE)]
    titles = {
        False: "Ranges from other samples of the same kind",
        True: f"The same, one of these samples {FAULT} times as large: a faulty recording",
    }
    for faulty, title in titles.items():
        lines += ["", f"## {title}", ""]
        lines += [f"| {' | '.join(COLUMNS)} |", "| --- | --- |" + " ---: |" * 7 + " --- |"]
        lines += [f"| {' | '.join(cells(row))} |" for row in rows if row.faulty == faulty]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", default=",".join(TASKS))
    parser.add_argument("--calibrations", default=",".join(CALIBRATIONS))
    parser.add_argument("--every", type=int, default=1, help="of CIFAR-10's test images")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--markdown", type=Path, help="write the tables to this file")
    options = parser.parse_args()
    rows: list[Row] = []
    for name in options.networks.split(","):
        try:
            task = TASKS[name](options.every)
        except (DataError, ImportError) as error:
            print(f"{name}: left out: {error}")
            continue
        if unsupported := insitu.load(task.path).unsupported:
            print(f"{name}: left out: {len(unsupported)} nodes are not supported")
            continue
        rows += measure(task, options.calibrations.split(","))
    show(rows)
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    if options.markdown:
        options.markdown.write_text(markdown(rows))


if __name__ == "__main__":
    main()
