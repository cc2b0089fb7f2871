"""Is what torch exports, by either of its exporters, read as the function torch computes?"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_onnx import TERMS, channels_last, of_insitu, samples

from insitu.frontends.onnx.reader import read

torch = pytest.importorskip("torch", reason="torch is not installed, so it cannot export")
nn: Any = torch.nn

pytestmark = pytest.mark.filterwarnings("ignore")  # torch's exporters warn of their own changes


class View(nn.Module):  # type: ignore[misc]
    """The flatten of older code, whose export computes a shape."""

    def forward(self, x: Any) -> Any:
        """x[n, ...] -> [n, rest]."""
        return x.view(x.size(0), -1)


class HardSwish(nn.Module):  # type: ignore[misc]
    """As MobileNetV3 was written before torch had one."""

    def forward(self, x: Any) -> Any:
        """x relu6(x + 3) / 6."""
        return x * nn.functional.relu6(x + 3) / 6


class Unflattened(nn.Module):  # type: ignore[misc]
    """A vector seen as an image, and a mean over it."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(6, 32)
        self.conv1 = nn.Conv2d(2, 3, 3)

    def forward(self, x: Any) -> Any:
        """x[n, 6] -> [n, 3]."""
        y = torch.relu(self.fc1(x)).reshape(x.shape[0], 2, 4, 4)
        return self.conv1(y).mean(dim=(2, 3))


def _cnn(flatten: Any) -> Any:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU6(),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.Conv2d(4, 5, 3, stride=2),
        nn.ReLU(),
        nn.Dropout(0.3),
        flatten,
        nn.Linear(20, 8),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        nn.Linear(8, 3),
        nn.Softmax(dim=1),
    )


NETWORKS: dict[str, tuple[Any, tuple[int, ...], list[str]]] = {
    "cnn-flatten": (lambda: _cnn(nn.Flatten()), (2, 9, 11), ["conv", "conv", "linear", "linear"]),
    "cnn-view": (lambda: _cnn(View()), (2, 9, 11), ["conv", "conv", "linear", "linear"]),
    "cnn-global": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 6, (3, 2), stride=(2, 1), padding=(2, 0)),
            nn.Hardtanh(-1, 2),
            nn.AvgPool2d(2, stride=1, padding=1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(6, 4, bias=False),
            nn.LogSoftmax(dim=-1),
        ),
        (1, 7, 8),
        ["conv", "linear"],
    ),
    "signal": (
        lambda: nn.Sequential(
            nn.Conv1d(2, 4, 5, stride=2, padding=2),
            nn.BatchNorm1d(4),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.Conv1d(4, 6, 3, padding="same"),
            nn.AdaptiveAvgPool1d(1),
            View(),
            nn.Linear(6, 3),
        ),
        (2, 37),
        ["conv", "conv", "linear"],
    ),
    "mlp": (
        lambda: nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 2)),
        (5,),
        ["linear", "linear"],
    ),
    "functions": (
        lambda: nn.Sequential(
            *(nn.Conv2d(2, 4, 3), nn.Hardswish(), nn.PReLU(4), nn.PReLU(), nn.SiLU(), nn.GELU()),
            *(nn.Conv2d(4, 3, 3), HardSwish(), nn.LeakyReLU(0.2), nn.Hardsigmoid(), nn.Tanh()),
            *(nn.Flatten(), nn.Linear(27, 8), nn.PReLU(8), nn.ELU(0.7), nn.SELU(), nn.Softplus()),
            *(nn.Linear(8, 5), nn.GELU("tanh"), nn.Linear(5, 3), nn.Sigmoid()),
        ),
        (2, 7, 7),
        ["conv", "conv", "linear", "linear", "linear"],
    ),
    "unflattened": (Unflattened, (6,), ["linear", "conv"]),
}


@pytest.mark.parametrize("batch", ["open", "fixed"])
@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
@pytest.mark.parametrize("case", NETWORKS)
def test_reads_what_torch_exports(case: str, exporter: str, batch: str, tmp_path: Path) -> None:
    dynamo = exporter == "dynamo"
    if dynamo and importlib.util.find_spec("onnxscript") is None:
        pytest.skip("onnxscript is not installed, which torch's dynamo exporter needs")
    make, shape, layers = NETWORKS[case]
    torch.manual_seed(0)
    network = make().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.5, 2)
    path = tmp_path / "network.onnx"
    n = torch.export.Dim("n") if dynamo else "n"
    shapes = {"dynamic_shapes": ({0: n},)} if dynamo else {"dynamic_axes": {"x": {0: n}}}
    torch.onnx.export(
        network,
        (torch.zeros(3, *shape),),
        str(path),
        input_names=["x"],
        dynamo=dynamo,
        **(shapes if batch == "open" else {}),
    )
    result = read(path)
    assert result.unsupported == ()
    assert result.input_shape == shape
    assert [node.op.name for node in result.graph.nodes if node.op.weights] == layers
    x = samples(shape)
    with torch.no_grad():
        expected = np.asarray(network(torch.from_numpy(x)))
    bound = TERMS * 2**-24 * (1 + np.abs(expected).max())
    np.testing.assert_allclose(of_insitu(result, x), channels_last(expected), rtol=0, atol=bound)
