"""Does whatever a person gets wrong end in one line, the right status, and nothing written?"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import pytest
from onnx_models import model, node, normal
from rich.console import Console

from insitu import pipeline
from insitu.app import cli
from insitu.data.samples import read_samples
from insitu.errors import InsituError
from insitu.graph.model import Array
from insitu.network.compiled import Network
from insitu.network.trainable import TrainableNetwork
from insitu.target.board import find_board

SHAPE, CLASSES, SAMPLES = (1, 2, 2), 3, 6

BOARD = """\
title = "a board of the tests"
core = "cortex-m4"
fpu = false
clock_hz = 64_000_000
active_mw = 10.0
power_source = "none: a board of the tests"
memories = [
  { name = "flash", kind = "flash", origin = 0, length_bytes = 1_048_576 },
  { name = "sram", kind = "ram", origin = 0x20000000, length_bytes = 256 },
]
"""


def network(classes: int = CLASSES, **weights: Any) -> onnx.ModelProto:
    """x[n, 1, 2, 2] -> scores."""
    nodes = [node("Flatten", "x", "f"), node("Gemm", "f w b", "y", "fc")]
    return model(["n", *SHAPE], nodes, {"w": normal(4, classes), "b": normal(classes), **weights})


def networks() -> dict[str, onnx.ModelProto]:
    """The good one and those that are not, by file name."""
    return {
        "good": network(),
        "one-score": network(1),
        "map": model(["n", *SHAPE], [node("Conv", "x w", "y", "conv1")], {"w": normal(3, 1, 1, 1)}),
        "no-layer": model(["n", 4], [node("Relu", "x")]),
        "unsupported": model(["n", 4], [node("Erf", "x", "e", "erf1"), node("Relu", "e")]),
        "nan": network(w=np.full((4, CLASSES), np.nan, np.float32)),
        "cyclic": model(["n", 4], [node("Add", "x b", "a"), node("Relu", "a", "b y")]),
    }


def samples() -> dict[str, dict[str, Array]]:
    """Archives by file name."""
    x = normal(SAMPLES, *SHAPE)
    y = np.arange(SAMPLES) % CLASSES
    nan, infinite = x.copy(), x.copy()
    nan[2, 0, 1, 1], infinite[4, 0, 0, 0] = np.nan, np.inf
    return {
        "good": {"x": x, "y": y},
        "no-labels": {"x": x},
        "wrong-shape": {"x": normal(SAMPLES, 1, 3, 2), "y": y},
        "nan": {"x": nan, "y": y},
        "infinite": {"x": infinite, "y": y},
        "outside": {"x": x, "y": y + 1},
        "floats": {"x": x, "y": y.astype(np.float32)},
        "empty": {"x": x[:0], "y": y[:0]},
        "flat": {"x": normal(SAMPLES, 4), "y": y},
        "constant": {"x": np.full_like(x, 0.5), "y": y},
        "text": {"x": np.full(x.shape, "a"), "y": y},
    }


def npy_header(text: str) -> bytes:
    """The beginning of an array file."""
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def archive(header: bytes) -> bytes:
    """An npz with that as the array x."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as packed:
        packed.writestr("x.npy", header)
    return content.getvalue()


def changed(content: bytes, offset: int, value: int) -> bytes:
    """The archive with a two-byte field changed, in the entry and in the directory."""
    directory = content.index(b"PK\x01\x02")
    for place in (offset + 6, directory + offset + 8):
        content = content[:place] + value.to_bytes(2, "little") + content[place + 2 :]
    return content


GIANT = npy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999999, 9), }\n")
DAMAGED: dict[str, bytes] = {
    "garbage": bytes(range(256)) * 4,
    "nothing": b"",
    "giant": archive(GIANT),
    "giant-array": GIANT,
    "cut-header": archive(npy_header("{'descr': '<f4', 'shape': (")),
    "encrypted": changed(archive(GIANT), 0, 1),
    "unknown-method": changed(archive(GIANT), 2, 77),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the cases name."""
    folder = tmp_path_factory.mktemp("world")
    for name, proto in networks().items():
        (folder / f"{name}.onnx").write_bytes(proto.SerializeToString())
    good = (folder / "good.onnx").read_bytes()
    (folder / "truncated.onnx").write_bytes(good[: len(good) // 2])
    external: Any = {"save_as_external_data": True, "location": "gone.bin", "size_threshold": 0}
    onnx.save_model(network(), str(folder / "external.onnx"), **external)
    (folder / "gone.bin").unlink()
    for name, arrays in samples().items():
        np.savez(folder / f"{name}.npz", allow_pickle=False, **arrays)
    np.save(folder / "single.npy", np.zeros((2, 2)))
    for name, content in DAMAGED.items():
        (folder / f"{name}.npz").write_bytes(content)
    (folder / "small.toml").write_text(BOARD)
    (folder / "five.toml").write_text("training = 5\n")
    (folder / "circle").symlink_to("circle")
    (folder / "thesis").mkdir()
    (folder / "thesis" / "thesis.tex").write_text("mine")
    return folder


@pytest.fixture(scope="module")
def compiled(world: Path) -> Path:
    """The good network's folder."""
    data = Path(world, "good.npz")
    network = pipeline.compile(
        pipeline.load(world / "good.onnx"),
        calibration=read_samples(data, labels=False),
    )
    return network.save(world / "compiled").folder


Says = Callable[[str], tuple[int, str, str]]


@pytest.fixture
def says(world: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Says:
    """Runs a command line in the folder: status, stdout, stderr."""
    monkeypatch.chdir(world)
    monkeypatch.setenv("COLUMNS", "200")

    def run(command: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["insitu", *command.split()])
        status = 0
        try:
            cli.main()
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else -1
        return status, *capsys.readouterr()

    return run


def listing(folder: Path) -> list[str]:
    """Every file but what a build leaves beside the sources."""
    return sorted(str(p) for p in folder.rglob("*") if "build" not in p.parts)


def compile_line(model: str = "good", data: str = "good.npz", more: str = "--out new") -> str:
    return f"compile {model}.onnx --data {data} {more}"


def compile_with(options: str) -> str:
    return f"{compile_line()} {options}"


REFUSED: dict[str, tuple[str, str]] = {
    "truncated": (compile_line("truncated"), "is not an ONNX model, or only a part of one"),
    "missing": (compile_line("missing"), "does not exist"),
    "external": (compile_line("external"), 'lies in the file "gone.bin", which is not there'),
    "unsupported": (compile_line("unsupported"), '1 unsupported node: Erf "erf1"'),
    "cyclic": (compile_line("cyclic"), "cyclic.onnx: "),
    "nan-weights": (compile_line("nan"), "nan.onnx: "),
    "one-score": (compile_line("one-score"), "1 score; cross-entropy needs 2 classes or more"),
    "map": (compile_line("map"), "puts out a map [3, 2, 2], channels first, but cross-entropy"),
    "no-layer": (compile_line("no-layer", "flat.npz"), "0 layers with weights, so nothing"),
    "wrong-shape": (compile_line(data="wrong-shape.npz"), "x[6, 1, 3, 2] but the network takes"),
    "nan": (compile_line(data="nan.npz"), "NaN or infinite values in 1 of 6 samples, first in"),
    "infinite": (compile_line(data="infinite.npz"), "first in sample 4"),
    "empty": (compile_line(data="empty.npz"), "has 0 samples; 1 is the least"),
    "constant": (compile_line(data="constant.npz"), "channel 0 of 1 is 0.5 throughout all 6"),
    "text": (compile_line(data="text.npz"), "x holds <U1, not numbers"),
    "array": (compile_line(data="single.npy"), "is a single array; save it as npz with x and y"),
    "folder-as-data": (compile_line(data="thesis"), "Is a directory; give an npz archive"),
    **{
        f"data-{name}": (compile_line(data=f"{name}.npz"), "or damaged; save it")
        for name in DAMAGED
    },
    "board": (compile_with("--board arduino"), '"arduino" is unknown; choose from: alif-e3, '),
    "train": (compile_with("--train nonsense"), 'no layer with weights is called "nonsense"'),
    "last": (compile_with("--train last:9"), "say last:1 to last:1"),
    "name": (compile_with("--name host"), "insitu_host is a name of the runtime"),
    "name-data": (compile_with("--name a_data"), "insitu_a_data is a name of the runtime"),
    "name-capital": (compile_with("--name Big"), "use lower-case letters, digits and _"),
    "board-file": (compile_with("--board gone.toml"), "gone.toml: No such file or directory;"),
    "config-file": (compile_with("--config gone.toml"), "gone.toml: No such file or directory;"),
    "config": (compile_with("--config five.toml"), "training = 5 should be a table"),
    "rate": (compile_with("--lr 7"), "lr 7.0 is outside (0, 1]"),
    "out-in-file": (compile_line(more="--out good.npz/new"), "good.npz cannot be written"),
    "out-file": (compile_line(more="--out good.npz"), "is a file, not a folder"),
    "out-here": (compile_line(more="--out ."), "replaced as a whole"),
    "out-above": (compile_line(more="--out .."), "replaced as a whole"),
    "out-mounted": (compile_line(more="--out /proc"), "/proc: "),
    "out-root": (compile_line(more="--out /"), "replaced as a whole"),
    "out-circle": (compile_line(more="--out circle"), "is a link to itself"),
    "out-others": (compile_line(more="--out thesis"), "is not replaced; name a new folder"),
    "file-as-folder": ("report good.npz", "good.npz: is a file; give the folder"),
    "no-folder": ("report thesis", "run insitu compile first"),
}
"""Command line and words of the line that it ends with."""

REFUSED_COMPILED: dict[str, tuple[str, str]] = {
    "twin-outside": ("twin compiled --data outside.npz", "label 3 of sample 2 is outside"),
    "run-outside": ("run compiled --data outside.npz", "label 3 of sample 2 is outside"),
    "twin-floats": ("twin compiled --data floats.npz", "labels are integers from 0"),
    "twin-no-labels": ("twin compiled --data no-labels.npz", "has no array y but x"),
    "twin-long": (
        "twin compiled --data good.npz --epochs 1000000000",
        "6000000000 steps over 6 samples, but a run has at most 100000000",
    ),
    "run-long": (
        "run compiled --data good.npz --steps 1000000000000",
        "1000000000000 steps over 6 samples, but a run has at most 100000000",
    ),
    "export": ("export compiled --format zip --out new", 'format "zip" is not available'),
}


def refused(says: Says, world: Path, command: str, words: str) -> None:
    before = listing(world)
    status, out, err = says(command)
    assert (status, out) == (1, ""), err
    assert err.startswith("insitu: ") and err.endswith("\n") and err.count("\n") == 1
    assert words in err
    assert listing(world) == before


@pytest.mark.parametrize("case", REFUSED)
def test_a_mistake_ends_in_one_line(case: str, says: Says, world: Path) -> None:
    refused(says, world, *REFUSED[case])


@pytest.mark.toolchain
@pytest.mark.parametrize("case", REFUSED_COMPILED)
def test_a_mistake_with_a_result_ends_in_one_line(
    case: str, says: Says, world: Path, compiled: Path
) -> None:
    assert compiled.is_dir()
    refused(says, world, *REFUSED_COMPILED[case])


@pytest.mark.toolchain
def test_a_board_too_small_names_the_largest_tensor_and_says_the_figures(
    says: Says, world: Path
) -> None:
    before = listing(world)
    status, out, err = says(compile_with("--board small.toml --json"))
    assert status == 1 and err.count("\n") == 1
    assert "small: the network needs" in err and "largest: " in err and "bytes of RAM" in err
    figures = json.loads(out)
    assert figures["fits"] is False and figures["ram_bytes"] > figures["board_ram_bytes"] == 256
    assert listing(world) == before


@pytest.mark.parametrize(
    "command",
    [
        *("nonsense", "compile", "compile good.onnx", "twin", "inspect --nonsense good.onnx"),
        *("twin thesis --data good.npz --epochs 0", "twin thesis --data good.npz --lr much"),
    ],
)
def test_wrong_usage_has_status_2(command: str, says: Says) -> None:
    status, out, err = says(command)
    assert (status, out) == (2, "")
    assert "Usage: " in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError("Unable to allocate 9 TiB"), 1, "out of memory (Unable to allocate 9 TiB)"),
        (OSError(28, "No space left on device", "a.c"), 1, "a.c: No space left on device"),
    ],
    ids=["interrupted", "memory", "disk"],
)
def test_what_happens_to_the_machine_ends_in_one_line(
    error: BaseException, status: int, line: str, says: Says, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, **_: Any) -> None:
        raise error

    monkeypatch.setattr(pipeline, "load", fail)
    found, out, err = says("inspect good.onnx")
    assert (found, out) == (status, "")
    assert err.startswith(f"insitu: {line}") and err.count("\n") == 1


def test_whoever_is_told_to_end_clears_away_and_says_so(
    says: Says, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def linger(path: Path, *, output: str | None) -> None:
        with TemporaryDirectory(dir=tmp_path):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)

    monkeypatch.setattr(pipeline, "load", linger)
    assert says("inspect good.onnx") == (143, "", "insitu: terminated\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.toolchain
def test_a_source_that_is_not_text_is_damaged(says: Says, world: Path, compiled: Path) -> None:
    network = TrainableNetwork.load(compiled).save(world / "spoiled")
    (network.folder / "insitu_model.c").write_bytes(b"\xff\xfe")
    refused(says, world, "twin spoiled --data good.npz", "insitu_model.c: is damaged")


@pytest.mark.toolchain
def test_a_board_that_differs_from_the_twin_fails_after_its_figures(
    says: Says, compiled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = TrainableNetwork.run

    def differ(*given: Any, **options: Any) -> Any:
        return replace(run(*given, **options), twin_equal=False)

    monkeypatch.setattr(TrainableNetwork, "run", differ)
    status, out, err = says(f"run {compiled.name} --data good.npz --json")
    assert status == 1 and json.loads(out)["twin_equal"] is False
    assert err.startswith("insitu: nrf52840: differs from the twin after 6 steps")
    assert err.count("\n") == 1


def test_the_demo_fails_alike(says: Says, monkeypatch: pytest.MonkeyPatch) -> None:
    def differ(out: Path, *, console: Console) -> dict[str, Any]:
        return {"board": "nrf52840", "steps": 7, "twin_equal": False}

    monkeypatch.setattr("insitu.app.demo.run_demo", differ)
    status, out, err = says("demo --json")
    assert status == 1 and json.loads(out)["steps"] == 7
    assert err.startswith("insitu: nrf52840: differs from the twin after 7 steps")


@pytest.mark.toolchain
@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt()])
def test_a_result_that_cannot_be_replaced_stays(
    error: BaseException, compiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "result"
    network: Network = TrainableNetwork.load(compiled).save(place)
    (place / "mark").write_text("the earlier one")
    rename = Path.rename

    def fail(path: Path, target: Path) -> Path:
        if path.name == "result" and path != place:
            raise error
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises((InsituError, KeyboardInterrupt)):
        network.save(place)
    assert (place / "mark").is_file()
    assert [entry.name for entry in tmp_path.iterdir()] == ["result"]


@pytest.mark.toolchain
def test_a_link_as_out_stays_a_link(compiled: Path, tmp_path: Path) -> None:
    network = TrainableNetwork.load(compiled).save(tmp_path / "real")
    (tmp_path / "link").symlink_to("real")
    again = network.save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert again.folder == tmp_path / "link" and again.board == find_board("nrf52840")
    assert TrainableNetwork.load(str(tmp_path / "real")).figures == again.figures
