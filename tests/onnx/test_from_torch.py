"""Is a torch module read as the function it computes, under its own names, and left as it was?"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from test_onnx import channels_last, of_insitu, samples

import insitu
from insitu.errors import ModelError

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed, which torch needs")
nn: Any = torch.nn


class Block(nn.Module):  # type: ignore[misc]
    """A convolution with its normalization, as torchvision writes it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Any) -> Any:
        """x[n, c, h, w] -> the same shape."""
        return nn.functional.relu6(self.norm(self.conv(x)))


class Cnn(nn.Module):  # type: ignore[misc]
    """All layers of a plain image classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(2, 4, 3),
            nn.BatchNorm2d(4),
            nn.ReLU6(),
            nn.MaxPool2d(2),
            Block(4),
            nn.AdaptiveAvgPool2d((2, 1)),
        )
        self.dropout = nn.Dropout(0.5)
        self.classifier = nn.Linear(8, 3)

    def forward(self, x: Any) -> Any:
        """x[n, 2, 10, 6] -> [n, 3]."""
        return self.classifier(torch.flatten(self.dropout(self.features(x)), 1))


def mlp() -> Any:
    return nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 2, bias=False))


NETWORKS: dict[str, tuple[Any, tuple[int, ...], list[str]]] = {
    "mlp": (mlp, (5,), ["0", "1", "2"]),
    "cnn": (
        Cnn,
        (2, 10, 6),
        [
            "features.0",
            "features.2",
            "features.3",
            "features.4.conv",
            "features.4.relu6",
            "features.5",
            "view",
            "classifier",
        ],
    ),
    "signal": (
        lambda: nn.Sequential(
            nn.Conv1d(2, 4, 5, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3)
        ),
        (2, 20),
        ["0", "1", "2", "3"],
    ),
}


def made(case: str) -> tuple[Any, tuple[int, ...]]:
    """The module with statistics that change something, and the shape of a sample."""
    make, shape, _ = NETWORKS[case]
    torch.manual_seed(0)
    module = make()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.uniform_(-1, 1)
            part.running_var.uniform_(0.5, 2)
    return module, shape


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("case", NETWORKS)
def test_reads_the_function_that_torch_computes(case: str, count: int) -> None:
    module, shape = made(case)
    model = insitu.from_torch(module, torch.zeros(count, *shape))
    assert model.unsupported == ()
    assert model.input_shape == shape
    x = samples(shape, 3)
    with torch.no_grad():
        expected = module.eval()(torch.from_numpy(x)).numpy()
    assert np.abs(of_insitu(model, x) - channels_last(expected)).max() < 1e-5


@pytest.mark.parametrize("case", NETWORKS)
def test_layers_have_the_modules_own_names(case: str) -> None:
    module, shape = made(case)
    model = insitu.from_torch(module, torch.zeros(1, *shape))
    assert [node.name for node in model.graph.nodes] == NETWORKS[case][2]
    paths = {path for path, _ in module.named_modules()}
    assert all(node.name in paths for node in model.graph.nodes if node.op.weights)


def test_the_module_is_left_as_it_was() -> None:
    module, shape = made("cnn")
    module.train()
    module.features[4].eval()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    flags = [part.training for part in module.modules()]
    state = torch.random.get_rng_state()
    insitu.from_torch(module, torch.zeros(2, *shape))
    assert [part.training for part in module.modules()] == flags
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in module.parameters())
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.toolchain
def test_a_module_is_compiled_and_trained() -> None:
    module, shape = made("cnn")
    x = samples(shape, 12)
    training = insitu.TrainingConfig(layers="features.4.*,classifier")
    net = insitu.compile(
        insitu.from_torch(module, torch.zeros(1, *shape)), calibration=x, training=training
    )
    assert net.trained == {"features.4.conv", "classifier"}
    assert net.run(x, np.arange(12) % 3).twin_equal


class Branching(nn.Module):  # type: ignore[misc]
    """Goes another way where the values are positive."""

    def forward(self, x: Any) -> Any:
        """x -> x or -x."""
        return x if x.sum() > 0 else -x


class Pair(nn.Module):  # type: ignore[misc]
    """Takes two tensors."""

    def forward(self, x: Any, y: Any) -> Any:
        """x, y -> x + y."""
        return x + y


class Outputs(nn.Module):  # type: ignore[misc]
    """Puts out scores and the features behind them."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Any) -> Any:
        """x[n, 4] -> [n, 3], [n, 6]."""
        features = torch.relu(self.body(x))
        return self.head(features), features


class Number(nn.Module):  # type: ignore[misc]
    """Puts out no tensor."""

    def forward(self, x: Any) -> Any:
        """x -> 3."""
        return 3


X = torch.zeros(2, 4)
HOSTILE: dict[str, tuple[Any, Any, str]] = {
    "branch-on-data": (Branching(), X, "Branching: torch.export cannot trace it for the input"),
    "two-inputs": (Pair(), X, "Pair: torch.export cannot trace it"),
    "two-examples": (Pair(), (X, X), "Pair: example_input holds 2 inputs, 1 tensor belongs"),
    "complex": (nn.Linear(4, 2), X.to(torch.complex64), "example_input is complex64, only float"),
    "integers": (nn.Linear(4, 2), X.int(), "example_input is int32, only float"),
    "no-tensor": (nn.Linear(4, 2), [[0.0]], "example_input holds 1 inputs"),
    "array": (nn.Linear(4, 2), np.zeros((1, 4)), "example_input is a ndarray, a torch.Tensor"),
    "no-batch": (nn.Linear(4, 2), torch.zeros(4), "example_input has the shape [4]"),
    "empty": (nn.Linear(4, 2), X[:0], "example_input has the shape [0, 4]"),
    "other-size": (nn.Linear(3, 2), X, "torch.export cannot trace it for the input [1, 4]"),
    "no-module": (torch.relu, X, "is not a torch.nn.Module"),
    "no-output": (Number(), X, "Number: torch cannot write it as ONNX"),
    "two-outputs": (Outputs(), X, "has 2 outputs (linear_1[1, 3], relu[1, 6]), 1 carries the loss"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_cannot_be_read_gives_one_clear_line(
    case: str, capfd: pytest.CaptureFixture[str]
) -> None:
    module, example, expected = HOSTILE[case]
    with pytest.raises(ModelError) as caught:
        insitu.from_torch(module, example)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_one_of_several_outputs_is_chosen() -> None:
    model = insitu.from_torch(Outputs(), X, output="linear_1")
    assert [node.name for node in model.graph.nodes] == ["body", "relu", "head"]


def test_without_torch_the_way_to_get_it_is_said() -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "import insitu\n"
        "try: insitu.from_torch(None, None)\n"
        "except insitu.InsituError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == (
        "torch is not installed, which from_torch needs; pip install 'insitu[torch]'\n"
    )
