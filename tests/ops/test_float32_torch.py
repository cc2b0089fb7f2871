"""Is float32 the SGD that PyTorch does, step by step?

PyTorch adds in parts, the C term by term; both are held against the same step in float64.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from networks import NETWORKS

from insitu.data.datasets import digits
from insitu.data.samples import channels_last
from insitu.differentiate import differentiate
from insitu.firmware.build import build_host
from insitu.frontends.onnx.reader import read
from insitu.generate import generate, state_layout
from insitu.graph.model import Array, Kind
from insitu.graph.scheme import Scheme
from insitu.network.folder import write_sources
from insitu.plan import plan_memory
from insitu.prepare.simplify import simplify
from insitu.quantize import calibrate, quantize_graph
from insitu.run.stream import Stream
from insitu.run.twin_library import TwinLibrary

pytestmark = pytest.mark.toolchain
FLOAT = Scheme(precision="float32")
STEPS, RATE = 50, 0.05
LONGER = 4.0
"""PyTorch's loops add in up to 16 parts; independent roundings of one sum that is 16 times as long
as each of its parts grow by the square root of that."""


class BesidePytorch:
    """A network in C, and the steps of torch.optim.SGD on the same weights."""

    def __init__(self, name: str, folder: Path) -> None:
        data = digits()
        self.x, self.y = np.rot90(data.x, axes=(2, 3)).copy(), data.y
        onnx.save(NETWORKS[name](), folder / "model.onnx")
        graph = simplify(read(folder / "model.onnx").graph)
        shape = graph.tensors[graph.inputs[0]].shape
        layers = {node.name for node in graph.nodes if node.op.weights}
        ranges = calibrate(graph, channels_last(self.x[:64], shape))
        self.forward = quantize_graph(graph, ranges, layers, FLOAT)
        step = differentiate(self.forward, FLOAT)
        write_sources(generate(step, plan_memory(step), "model"), folder / "source")
        path = build_host(folder / "source", "model", folder / "build")
        self.library, self.layout = TwinLibrary(path, "model"), state_layout(step)
        self.names = [t.name for t in self.forward.of_kind(Kind.STATE)]

    @property
    def weights(self) -> dict[str, Array]:
        """All that is trained."""
        values = self.layout.unpack(self.library.state)
        return {name: values[name] for name in self.names}

    def step(self, i: int) -> float:
        """Let the C learn sample i; returns the loss."""
        stream = Stream(
            x=self.library.quantize_input(self.x[i : i + 1]),
            labels=self.y[i : i + 1].astype(np.int32),
            rates=np.full(1, RATE, np.float32),
        )
        return float(self.library.run(stream, seed=False).losses[0])

    def torch_step(self, weights: dict[str, Array], i: int, dtype: Any) -> dict[str, Array]:
        """The weights after torch.optim.SGD learnt sample i."""
        import torch
        from autograd import of_torch

        kind = {np.float32: torch.float32, np.float64: torch.float64}[dtype]
        tensors = {n: torch.tensor(v, dtype=kind, requires_grad=True) for n, v in weights.items()}
        value = torch.tensor(self.x[i : i + 1], dtype=kind)
        for node in self.forward.nodes:
            value = of_torch(node, value, [tensors[name] for name in node.inputs[1:]])
        label = torch.tensor(self.y[i : i + 1])
        torch.nn.functional.cross_entropy(value.reshape(1, -1), label).backward()
        torch.optim.SGD(tensors.values(), lr=RATE).step()
        return {name: tensor.detach().numpy() for name, tensor in tensors.items()}

    def distance(self, a: dict[str, Array], b: dict[str, Array]) -> float:
        """Root mean square of the difference of all weights."""
        differences = [(a[n].astype(np.float64) - b[n]).reshape(-1) for n in self.names]
        return float(np.sqrt(np.mean(np.concatenate(differences) ** 2)))


@pytest.fixture(params=["digits-cnn", "digits-mlp"])
def beside(request: pytest.FixtureRequest, tmp_path: Path) -> BesidePytorch:
    pytest.importorskip("torch", reason="its SGD is what is compared with")
    return BesidePytorch(request.param, tmp_path)


def test_each_step_is_that_of_torchs_sgd(beside: BesidePytorch) -> None:
    """From the same weights, as far from float64 as PyTorch's own float32 is."""
    for i in range(STEPS):
        before = beside.weights
        beside.step(i)
        exact = beside.torch_step(before, i, np.float64)
        theirs = beside.distance(beside.torch_step(before, i, np.float32), exact)
        assert beside.distance(beside.weights, exact) <= LONGER * theirs, f"step {i}"


def test_fifty_steps_end_where_torchs_sgd_ends(beside: BesidePytorch) -> None:
    theirs = beside.weights
    exact = {name: value.astype(np.float64) for name, value in theirs.items()}
    start = dict(theirs)
    for i in range(STEPS):
        beside.step(i)
        theirs = beside.torch_step(theirs, i, np.float32)
        exact = beside.torch_step(exact, i, np.float64)
    own = beside.distance(beside.weights, exact)
    assert own <= LONGER * beside.distance(theirs, exact)
    assert own < 1e-4 * beside.distance(start, exact)  # and they went somewhere
