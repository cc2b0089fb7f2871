"""Mini-batches, momentum and decay of float layers against PyTorch's SGD."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from case_models import Compiled, samples
from cases import CASES

from insitu.fixed_point import F32
from insitu.graph.model import Array, Graph
from insitu.graph.scheme import Scheme
from insitu.run.reference import Reference

torch = pytest.importorskip("torch", reason="its SGD is the oracle")

MOMENTUM, WEIGHT_DECAY, RATE, SAMPLES = 0.9, 0.05, 0.01, 12


def torch_run(graph: Graph, x: Array, y: Array, batch: int) -> dict[str, Array]:
    """Weights and biases by the names of our state, after SGD on batches in order."""
    from autograd import of_torch

    tensors = {
        name: torch.tensor(t.data.astype(F32))
        for name, t in graph.tensors.items()
        if t.data is not None
    }
    layers = {
        node.name: [tensors[name].requires_grad_() for name in node.inputs[1:3]]
        for node in graph.nodes
        if node.op.weights
    }
    groups: list[dict[str, Any]] = [
        {"params": [w for w, _ in layers.values()], "weight_decay": WEIGHT_DECAY},
        {"params": [b for _, b in layers.values()]},
    ]
    sgd = torch.optim.SGD(groups, lr=RATE, momentum=MOMENTUM)
    for start in range(0, len(x), batch):
        value = torch.tensor(x[start : start + batch])
        value = value.permute(0, 3, 1, 2) if x.ndim == 4 else value
        for node in graph.nodes:
            value = of_torch(node, value, [tensors[name] for name in node.inputs[1:]])
        labels = torch.tensor(y[start : start + batch])
        sgd.zero_grad()
        torch.nn.functional.cross_entropy(value.reshape(batch, -1), labels).backward()
        sgd.step()
    return {
        f"{name}.{kind}": tensor.detach().numpy()
        for name, pair in layers.items()
        for kind, tensor in zip(("w", "bias"), pair, strict=True)
    }


@pytest.mark.parametrize("name", ["conv-odd", "linear-wide", "max-overlap"])
@pytest.mark.parametrize("batch", [1, 3])
def test_steps_are_those_of_pytorch(name: str, batch: int) -> None:
    scheme = Scheme(precision="float32", batch=batch, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    compiled = Compiled(CASES[name], scheme)
    x = samples(CASES[name], SAMPLES)
    classes = compiled.step.tensors[compiled.step.outputs[0]].size
    y = np.random.default_rng(2).integers(0, classes, SAMPLES)
    reference = Reference(compiled.step, seed=1)
    for sample, label in zip(x, y, strict=True):
        reference.train_step(sample, int(label), RATE)
    for tensor, wanted in torch_run(compiled.simple, x, y, batch).items():
        # sums in another order: some hundred roundings of 2^-24 of numbers around 1
        np.testing.assert_allclose(reference.state[tensor], wanted, rtol=0, atol=1e-5)
