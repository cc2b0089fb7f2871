"""Does the command line take real targets, say no accuracy of them, and refuse what is wrong?"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx_models import model, node, normal

from insitu.app import cli

pytestmark = pytest.mark.toolchain
SHAPE, OUTPUTS, SAMPLES = (1, 2, 2), 3, 6

Says = Callable[[str], tuple[int, str, str]]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network and data."""
    folder = tmp_path_factory.mktemp("world")
    nodes = [node("Flatten", "x", "f"), node("Gemm", "f w b", "y", "fc")]
    proto = model(["n", *SHAPE], nodes, {"w": normal(4, OUTPUTS), "b": normal(OUTPUTS)})
    (folder / "model.onnx").write_bytes(proto.SerializeToString())
    x = normal(SAMPLES, *SHAPE)
    targets = {
        "targets": normal(SAMPLES, OUTPUTS),
        "classes": np.arange(SAMPLES) % OUTPUTS,
        "nan": np.full((SAMPLES, OUTPUTS), np.nan),
        "wide": normal(SAMPLES, OUTPUTS + 1),
    }
    for name, y in targets.items():
        np.savez(folder / f"{name}.npz", x=x, y=y)
    np.savez(folder / "alone.npz", x=x)
    np.savez(folder / "huge.npz", x=x, y=np.float32(1e30) * targets["targets"])
    (folder / "loss.toml").write_text('loss = "mse"\nlr = 0.05\n')
    return folder


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


def line(data: str, options: str = "--loss mse") -> str:
    return f"compile model.onnx --data {data}.npz --out new {options}"


REFUSED = {
    "unknown": (line("targets", "--loss hinge"), 'loss "hinge" is not available; choose from: cr'),
    "classes": (line("classes"), "y holds int64, but loss mse takes float targets"),
    "nan": (line("nan"), "y has nan in sample 0, one of 6 of 6"),
    "wide": (line("wide"), "y[6, 4] but the network's outputs are [N, 3]"),
    "huge": (line("huge"), "should be between 1e-20 and 1e+20; scale the targets"),
    "twin-classes": ("twin mse --data classes.npz", "y holds int64, but loss mse takes float"),
    "run-nan": ("run mse --data nan.npz", "y has nan in sample 0"),
    "twin-wide": ("twin mse --data wide.npz", "y[6, 4] but the network's outputs are"),
    "run-alone": ("run mse --data alone.npz", "has no targets y, and x[6, 1, 2, 2] cannot stand"),
    "twin-other": ("twin bce --data targets.npz", "each must be in [0, 1]"),
}


@pytest.fixture
def compiled(world: Path, says: Says) -> Path:
    """The network for mse, by a file of options, and for bce."""
    for name, options in (("mse", "--config loss.toml"), ("bce", "--loss bce")):
        data = "targets" if name == "mse" else "alone"
        command = f"compile model.onnx --data {data}.npz --out {name} {options} --json"
        status, _, err = says(command) if not (world / name).exists() else (0, "", "")
        assert (status, err) == (0, "")
    return world


@pytest.mark.parametrize("case", REFUSED)
def test_a_mistake_ends_in_one_line(case: str, says: Says, compiled: Path) -> None:
    command, words = REFUSED[case]
    before = sorted(path.name for path in compiled.iterdir())
    status, out, err = says(command)
    assert (status, out) == (1, "") and words in err
    assert err.startswith("insitu: ") and err.count("\n") == 1
    assert sorted(path.name for path in compiled.iterdir()) == before


@pytest.mark.parametrize("verb", ["twin", "run"])
def test_where_there_are_no_classes_there_is_no_accuracy(
    verb: str, says: Says, compiled: Path
) -> None:
    assert (compiled / "mse").is_dir()
    status, out, err = says(f"{verb} mse --data targets.npz --json")
    figures = json.loads(out)
    assert (status, err) == (0, "")
    assert figures["accuracy_before"] is None and figures["accuracy_after"] is None
    assert figures["loss_after"] < figures["loss_before"]
    _, out, _ = says(f"{verb} mse --data targets.npz")
    assert "accuracy" not in out.replace("accuracy of", "")
    assert f"{figures['loss_before']:.4g} -> " in out
