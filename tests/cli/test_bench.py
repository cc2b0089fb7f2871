"""Does `insitu bench` count what the product runs, and notice what has become worse?"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import toolchain_or_skip

from insitu.bench import networks, steps, targets
from insitu.bench.count import Figure, count_kernels
from insitu.bench.layers import LAYERS, linear
from insitu.bench.program import DENSE, ROWS, SHARE, SPARSE, make_program
from insitu.errors import ConfigError
from insitu.graph.model import Phase
from insitu.ops import OPS

FIGURE = Figure(
    core="cortex-m4",
    row="linear.forward 256-128",
    kernel="linear.forward",
    group="linear",
    errors="",
    work=32768,
    unit="MAC",
    instructions=40_000,
    cycles=60_000,
    scratch_bytes=512,
)


# what is counted


def test_every_kernel_of_every_layer_is_there() -> None:
    jobs = make_program(LAYERS).jobs
    found = {(job.kernel, job.layer.title, job.errors) for job in jobs}
    assert len(found) == len(jobs)
    for layer in LAYERS:
        kernels = {kernel for kernel, title, _ in found if title == layer.title}
        wanted = {"forward", "grad_input", *(["update"] if layer.out else [])}
        assert {f"{layer.op}.{kernel}" for kernel in wanted} <= kernels


def test_errors_have_the_share_of_zeros_that_they_are_called_by() -> None:
    program = make_program([layer for layer in LAYERS if layer.title == "3x3 16x16x16-32"])
    shares = {}
    for name, tensor in program.step.tensors.items():
        if tensor.data is not None and name.rpartition(".")[2] in (DENSE, SPARSE, ROWS):
            assert tensor.data.min() >= -127
            shares[name.rpartition(".")[2]] = np.count_nonzero(tensor.data) / tensor.size
            rows = tensor.data.any(axis=(0, 1)).mean()
    assert shares == {
        DENSE: 1.0,
        SPARSE: pytest.approx(SHARE, abs=1e-3),
        ROWS: pytest.approx(3 / 32, abs=1e-6),
    }
    assert rows == 3 / 32


def test_layers_name_ops() -> None:
    assert {layer.op for layer in LAYERS} <= OPS.keys()
    assert len({(layer.op, layer.title) for layer in LAYERS}) == len(LAYERS)


@pytest.mark.toolchain
def test_a_row_costs_what_its_loops_are_made_of() -> None:
    """With a core's own loops, 64 more columns of 4 rows are one more turn of 331 instructions.

    Inputs are widened in turns of 8, whose 13 instructions are the compiler's.
    """
    gcc = toolchain_or_skip("cortex-m4", "gcc")
    counts = {}
    for columns in (64, 128, 192):
        figures = count_kernels("cortex-m4", [linear("", columns, 4)], toolchain=gcc)
        (counts[columns],) = (f.instructions for f in figures if f.kernel == "linear.forward")
    turn = counts[192] - counts[128]
    assert turn == counts[128] - counts[64]
    assert 331 < turn < 331 + 8 * 20


@pytest.mark.toolchain
def test_counting_again_gives_the_same() -> None:
    toolchain = toolchain_or_skip("cortex-m0plus", None)
    layers = [linear("", 7, 3)]
    first, second = (count_kernels("cortex-m0plus", layers, toolchain=toolchain) for _ in range(2))
    assert first == second
    assert all(f.instructions > 0 and f.cycles >= f.instructions for f in first)


@pytest.mark.toolchain
def test_the_parts_of_a_step_are_the_step() -> None:
    toolchain = toolchain_or_skip("cortex-m4", None)
    task = steps.make_task("MLP 64-32-10", "uint8")
    whole, *parts = steps.count_task("cortex-m4", task, toolchain=toolchain)
    assert whole.instructions == sum(part.instructions for part in parts)


@pytest.mark.parametrize("name", networks.ZOO)
def test_large_networks_are_those_of_the_zoo(name: str) -> None:
    assert name not in networks.names(gate=True)
    graph = networks.float_graph(name)
    task = steps.make_task(name, "uint8")
    weighted = {node.layer for node in graph.nodes if node.op.macs(node, graph)}
    assert len(weighted) > 8
    assert weighted <= {node.layer for node in task.step.nodes if node.phase is Phase.UPDATE}


def test_without_a_checkout_there_is_no_zoo(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(networks, "ZOO_FILE", tmp_path / "zoo.py")
    assert networks.names(gate=False) == list(networks.SMALL)
    with pytest.raises(ConfigError, match="checkout"):
        networks.float_graph("DS-CNN")


# what is compared


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The committed contract, and a baseline of one figure."""
    shutil.copy(targets.FOLDER / targets.CONTRACT, tmp_path)
    targets.write_baseline([FIGURE], "gcc 1", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("changes", "complaints"),
    [
        ({}, 0),
        ({"instructions": 41_000}, 0),
        ({"instructions": 41_300}, 1),
        ({"cycles": 62_000}, 1),
        ({"instructions": 45_000, "cycles": 70_000}, 3),
        ({"instructions": 20_000, "cycles": 20_000}, 0),
        ({"row": "linear.forward 1-1", "instructions": 99_000}, 0),
        ({"core": "cortex-m7", "instructions": 99_000}, 0),
    ],
)
def test_what_is_worse_by_more_than_3_percent_is_named(
    changes: dict[str, object], complaints: int, folder: Path
) -> None:
    """The third complaint is about the target, 1.3 a MAC, that the baseline met."""
    known = targets.read_targets(folder)
    assert known is not None
    assert known.target(FIGURE) == 1.3
    assert len(known.complaints([replace(FIGURE, **changes)])) == complaints  # type: ignore[arg-type]


def test_a_target_that_was_never_met_is_no_complaint(folder: Path) -> None:
    slow = replace(FIGURE, instructions=80_000)
    targets.write_baseline([slow], "gcc 1", folder)
    known = targets.read_targets(folder)
    assert known is not None
    assert known.complaints([slow]) == []


def test_targets_are_of_dense_errors(folder: Path) -> None:
    known = targets.read_targets(folder)
    assert known is not None
    update = replace(FIGURE, kernel="linear.update", errors="dense")
    assert known.target(update) == 4.8
    assert known.target(replace(update, errors="sparse")) is None


def test_a_baseline_keeps_the_rows_that_were_not_measured(folder: Path) -> None:
    other = replace(FIGURE, row="linear.forward 64-10")
    targets.write_baseline([other], "gcc 1", folder)
    known = targets.read_targets(folder)
    assert known is not None
    assert {row for _, row in known.baseline} == {FIGURE.row, other.row}
    targets.write_baseline([other], "gcc 2", folder)
    known = targets.read_targets(folder)
    assert known is not None
    assert {row for _, row in known.baseline} == {other.row}


def test_damaged_targets_are_an_error(folder: Path) -> None:
    (folder / targets.BASELINE).write_text('{"compiler": 1}')
    with pytest.raises(ConfigError, match="damaged"):
        targets.read_targets(folder)


def test_without_a_checkout_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    assert targets.read_targets(tmp_path) is None
    with pytest.raises(ConfigError, match="checkout"):
        targets.write_baseline([FIGURE], "gcc 1", tmp_path)


def test_the_contract_speaks_of_what_is_measured() -> None:
    """A line that no figure matches would never be missed."""
    known = targets.read_targets()
    assert known is not None
    tasks = {f"{n} {p}" for n in networks.names(gate=False) for p in ("uint8", "mixed", "float32")}
    groups = {layer.group for layer in LAYERS} | tasks
    kernels = {job.kernel for job in make_program(LAYERS).jobs} | {"step"}
    for core, group, kernel in known.contract:
        assert core.startswith("cortex-")
        assert group in groups
        assert kernel in kernels


# the command


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "insitu", "bench", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.toolchain
def test_json_says_every_figure_and_its_compiler() -> None:
    toolchain_or_skip("cortex-m4", None)
    done = command("--core", "M4", "--kernel", "linear.* 64-10*", "--json")
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert value["compiler"]
    assert {f["kernel"] for f in value["figures"]} == {
        "linear.forward",
        "linear.grad_input",
        "linear.update",
    }
    assert all(f["instructions"] > 0 for f in value["figures"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--core", "M5"), 'no core "M5"; choose from: M0+, M3, M4, M7, M33, M55'),
        (("--core", "M4", "--kernel", "nothing"), 'no row is called "nothing"'),
    ],
)
@pytest.mark.toolchain
def test_mistakes_are_one_sentence(arguments: tuple[str, ...], said: str) -> None:
    toolchain_or_skip("cortex-m4", None)
    done = command(*arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("insitu: ") and said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
