"""Are users told which layers' weights training has brought to the end of their range?"""

from __future__ import annotations

import ctypes
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from case_models import Compiled, run_reference
from cases import CASES
from test_generate import STRICT
from test_report import HISTORY, TWIN, compiled, ran, said

from insitu.graph.model import Kind
from insitu.graph.scheme import Scheme
from insitu.network.compiled import Network
from insitu.network.saturation import weights_at_bound
from insitu.report import text
from insitu.tools.compilers import find_toolchain


@pytest.fixture(scope="module")
def network() -> Network:
    return compiled()


def stopped(network: Network, rows: int) -> bytes:
    """The state at the start, but with so many rows of fc2 at the end of their range."""
    values = {t.name: np.array(t.data) for t in network.state.tensors}
    values["fc2.w"][:rows] = -127
    return network.state.pack(values)


def test_only_weights_that_training_stopped_count(network: Network) -> None:
    weights = network.graph.tensors["fc2.w"].data
    assert weights is not None and (np.abs(weights[:2].astype(int)) == 127).sum() >= 2
    assert weights_at_bound(network, stopped(network, 0)) == {"conv2": 0, "fc1": 0, "fc2": 0}
    moved = int((np.abs(weights[:2].astype(int)) != 127).sum())
    assert weights_at_bound(network, stopped(network, 2))["fc2"] == moved / weights.size


def test_layers_with_many_are_named(network: Network) -> None:
    figures = replace(ran(network), state=stopped(network, 2)).figures
    words = " ".join(said(text.print_run, figures).split())
    assert "% of fc2's weights came to the end of their range" in words
    assert "fc1's weights" not in words
    history = replace(HISTORY, at_bound={"fc1": 0.0123, "fc2": 0.004})
    words = " ".join(said(text.print_twin, TWIN, history).split())
    assert "1.2 % of fc1's weights" in words and "fc2's weights" not in words


@pytest.mark.toolchain
@pytest.mark.parametrize("preset", ["default", "paper"])
@pytest.mark.parametrize("name", ["conv-odd", "zero-head", "last-2"])
def test_a_device_can_count_them(name: str, preset: str, tmp_path: Path) -> None:
    compiled = Compiled(CASES[name], Scheme(preset=preset))
    compiled.write(tmp_path)
    library, toolchain = tmp_path / "saturated.so", find_toolchain("host")
    toolchain.run(
        *(*toolchain.compile_flags(), *toolchain.link_flags(), "-O1", *STRICT),
        *(f"-I{tmp_path}", f"-I{tmp_path / 'runtime'}", "-o", library),
        *(*tmp_path.glob("*.c"), *(tmp_path / "runtime").glob("*.c")),
        Path(__file__).parents[1] / "c/saturated.c",
    )
    device = ctypes.CDLL(str(library))
    state = run_reference(compiled.step, compiled.stream(40)).state
    now = compiled.layout.unpack(state)
    weights = [t for t in compiled.step.of_kind(Kind.STATE) if t.dtype == "int8"]
    assert weights
    if preset == "paper":
        assert device.saturated(state) == device.fixed_range_weights() == 0
        return
    ends = [(np.abs(np.asarray([t.data, now[t.name]], int)) == 127) for t in weights]
    assert device.saturated(state) == sum(int((~a & b).sum()) for a, b in ends) > 0
    assert device.fixed_range_weights() == sum(t.size for t in weights)
