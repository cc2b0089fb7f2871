"""Do mini-batches, momentum and decay of float layers step as PyTorch's SGD does?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from case_models import Compiled, samples
from cases import CASES

from insitu.fixed_point import F32
from insitu.graph.scheme import Scheme
from insitu.run.reference import Reference

RATE, MOMENTUM, WEIGHT_DECAY, STEPS = 0.01, 0.9, 0.05, 12


@pytest.mark.parametrize("name", ["conv-odd", "linear-wide", "max-overlap"])
@pytest.mark.parametrize("batch", [1, 3])
def test_floats_step_as_in_pytorch(name: str, batch: int) -> None:
    torch = pytest.importorskip("torch", reason="its SGD is the oracle")
    case = CASES[name]
    scheme = Scheme(precision="float32", batch=batch, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
    compiled = Compiled(case, scheme)
    reference, x = Reference(compiled.step, seed=1), samples(case, STEPS)
    classes = compiled.step.tensors[compiled.step.outputs[0]].size
    y = np.random.default_rng(2).integers(0, classes, STEPS)
    trained = train_with_torch(torch, compiled, x, y, batch)
    for index in range(STEPS):
        reference.train_step(x[index], int(y[index]), RATE)
    for layer, (w, b) in trained.items():
        for ours, theirs in ((f"{layer}.w", w), (f"{layer}.bias", b)):
            # sums in another order: some hundred roundings of 2^-24 of numbers around 1
            np.testing.assert_allclose(
                reference.state[ours], theirs.detach().numpy(), rtol=0, atol=1e-5
            )


def train_with_torch(
    torch: Any, compiled: Compiled, x: Any, y: Any, batch: int
) -> dict[str, tuple[Any, Any]]:
    """Weight and bias of each layer after SGD over the samples."""
    from test_ops_gradient import of_torch

    simple = compiled.simple
    tensors = {
        n: torch.tensor(t.data.astype(F32)) for n, t in simple.tensors.items() if t.data is not None
    }
    trained = {
        node.name: (
            tensors[node.inputs[1]].requires_grad_(),
            tensors[node.inputs[2]].requires_grad_(),
        )
        for node in simple.nodes
        if node.op.weights
    }
    weights = {"params": [w for w, _ in trained.values()], "weight_decay": WEIGHT_DECAY}
    biases = {"params": [b for _, b in trained.values()]}
    sgd = torch.optim.SGD([weights, biases], lr=RATE, momentum=MOMENTUM)
    for start in range(0, STEPS, batch):
        value = torch.tensor(x[start : start + batch])
        value = value.permute(0, 3, 1, 2) if x.ndim == 4 else value
        for node in simple.nodes:
            value = of_torch(node, value, [tensors[i] for i in node.inputs[1:]])
        labels = torch.tensor(y[start : start + batch])
        loss = torch.nn.functional.cross_entropy(value.reshape(batch, -1), labels)
        sgd.zero_grad()
        loss.backward()
        sgd.step()
    return trained
