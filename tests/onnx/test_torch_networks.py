"""Are networks as torchvision defines them read unchanged, as the function torch computes?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from test_onnx import of_insitu, samples

import insitu
from insitu.artifacts import Measurement
from insitu.frontends.model import Model
from insitu.network import fit

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed, which torch needs")
networks = pytest.importorskip("torch_networks")

NETWORKS: dict[str, tuple[Callable[[], Any], int]] = {
    "mobilenet-v2": (lambda: networks.MobileNetV2(10, 0.35), 64),
    "mobilenet-v3-small": (lambda: networks.MobileNetV3Small(10), 64),
    "resnet-18": (lambda: networks.ResNet18(10, 16), 32),
}


def settled(case: str) -> tuple[Any, tuple[int, int, int]]:
    """The module with statistics like those of training, in eval mode; shape of a sample."""
    make, size = NETWORKS[case]
    torch.manual_seed(0)
    module = make().train()
    with torch.no_grad():
        for _ in range(10):
            module(torch.randn(8, 3, size, size))
    return module.eval(), (3, size, size)


def read(module: Any, shape: tuple[int, int, int]) -> Model:
    """The module, all of it."""
    model = insitu.from_torch(module, torch.zeros(1, *shape))
    assert model.unsupported == ()
    return model


@pytest.mark.slow
@pytest.mark.parametrize("case", NETWORKS)
def test_is_read_unchanged(case: str) -> None:
    module, shape = settled(case)
    model = read(module, shape)
    x = samples(shape)
    with torch.no_grad():
        expected = module(torch.from_numpy(x)).numpy()
    error = np.abs(of_insitu(model, x) - expected).max()
    assert error < 1e-4 * np.abs(expected).max()
    paths = {path for path, _ in module.named_modules()}
    assert all(node.name in paths for node in model.graph.nodes if node.op.weights)


@pytest.mark.slow
@pytest.mark.parametrize("case", NETWORKS)
def test_is_compiled_unchanged(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the firmware, which tests of smaller networks build."""
    module, shape = settled(case)
    model = read(module, shape)
    monkeypatch.setattr(fit, "measure_network", lambda *_, **__: Measurement())
    training = insitu.TrainingConfig(layers="last:2")
    x = samples(shape, 4)
    net = insitu.compile(model, calibration=x, training=training, board="imxrt1062")
    assert len(net.trained) == 2
    assert (net.folder / "insitu_model.c").stat().st_size > 10_000
    scores = net.twin().predict_scores(x)
    with torch.no_grad():
        expected = module(torch.from_numpy(x)).numpy()
    cosine = (scores * expected).sum() / np.linalg.norm(scores) / np.linalg.norm(expected)
    assert cosine > 0.98
