"""Are users told which layers' weights training has brought to the end of their range?"""

from __future__ import annotations

import ctypes
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from case_models import Compiled, run_reference
from cases import CASES
from onnx import TensorProto, helper, numpy_helper
from test_generate import STRICT
from test_report import HISTORY, TWIN, compiled, ran, said

from insitu.differentiate import differentiate
from insitu.frontends.onnx.reader import read
from insitu.graph.model import Kind
from insitu.graph.scheme import Scheme
from insitu.network.compiled import Network
from insitu.network.saturation import weights_at_bound
from insitu.prepare.simplify import simplify
from insitu.quantize import calibrate, quantize_graph
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


def test_layers_of_one_name_are_counted_apart(network: Network, tmp_path: Path) -> None:
    """The second "fc" becomes "fc.2", whose weights begin with the name of the first."""
    rng = np.random.default_rng(0)
    arrays = {"w": rng.normal(size=(8, 8)), "b": np.zeros(8), "v": rng.normal(size=(4, 8))}
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"], "fc", transB=1),
        helper.make_node("Gemm", ["h", "w", "b"], ["s"], "fc", transB=1),
        helper.make_node("Gemm", ["s", "v"], ["y"], "head", transB=1),
    ]
    inputs, outputs = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size])]
        for name, size in (("x", 8), ("y", 4))
    )
    weights = [numpy_helper.from_array(a.astype(np.float32), n) for n, a in arrays.items()]
    graph = helper.make_graph(nodes, "twice", inputs, outputs, weights)
    onnx.save(helper.make_model(graph, ir_version=9), tmp_path / "twice.onnx")
    layers = simplify(read(tmp_path / "twice.onnx").graph)
    trained = frozenset({"fc", "fc.2", "head"})
    ranges = calibrate(layers, rng.normal(size=(16, 8)).astype(np.float32))
    step = differentiate(quantize_graph(layers, ranges, trained))
    twice = replace(network, graph=step, trained=trained)
    values = {t.name: np.array(t.data) for t in twice.state.tensors}
    there = int((np.abs(values["fc.2.w"].astype(int)) == 127).sum())
    values["fc.2.w"][:] = 127
    state = twice.state.pack(values)
    assert weights_at_bound(twice, state) == {"fc": 0, "fc.2": 1 - there / 64, "head": 0}
    assert twice.trainable_parameters == 8 * 8 + 8 + 8 * 8 + 8 + 4 * 8 + 4


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
