"""digits, upright -> insitu/app/demo_data/digits_cnn.onnx: pretrain the demo's network in float.

    python bench/make_demo_network.py [--out FILE]

Invariant: the same torch on the same processor writes the same bytes. Needs torch.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from insitu.data.datasets import Array, Dataset, Shift, turned_digits

OUT = Path(__file__).parents[1] / "insitu" / "app" / "demo_data" / "digits_cnn.onnx"
SEED, EPOCHS, BATCH, LR, MOMENTUM, DECAY = 0, 60, 32, 0.05, 0.9, 1e-3


class DigitsCnn(nn.Module):
    """9,826 parameters: two convolutions, two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 16, 3, stride=2, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(16)
        self.fc1 = nn.Linear(256, 32)
        self.fc2 = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits `[batch, 10]` of `x[batch, 1, 8, 8]`."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


def pretrain(data: Dataset) -> DigitsCnn:
    """The network trained on `data`, each batch moved by up to one pixel."""
    torch.manual_seed(SEED)
    random = np.random.RandomState(SEED)
    net = DigitsCnn()
    steps = EPOCHS * -(-len(data) // BATCH)
    sgd = torch.optim.SGD(net.parameters(), lr=LR, momentum=MOMENTUM, weight_decay=DECAY)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, steps)
    for _ in range(EPOCHS):
        order = random.permutation(len(data))
        for start in range(0, len(data), BATCH):
            rows = order[start : start + BATCH]
            x = moved(data.x[rows], *random.randint(-1, 2, 2))
            sgd.zero_grad()
            F.cross_entropy(net(torch.tensor(x)), torch.tensor(data.y[rows])).backward()
            sgd.step()
            cosine.step()
    return net.eval()


def moved(x: Array, down: int, right: int) -> Array:
    """`x[n, 1, 8, 8]` moved by so many pixels; what comes in at the edge is 0."""
    around = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    return around[:, :, 1 - down : 9 - down, 1 - right : 9 - right].copy()


def nodes() -> list[onnx.NodeProto]:
    """The layers as ONNX; batch norm stays a node of its own."""

    def norm(i: int) -> onnx.NodeProto:
        names = [f"bn{i}.{k}" for k in ("weight", "bias", "running_mean", "running_var")]
        return helper.make_node(
            "BatchNormalization", [f"conv{i}.y", *names], [f"bn{i}.y"], f"bn{i}", epsilon=1e-5
        )

    def conv(x: str, i: int, stride: int) -> onnx.NodeProto:
        shape = {"kernel_shape": [3, 3], "strides": [stride, stride], "pads": [1, 1, 1, 1]}
        return helper.make_node("Conv", [x, f"conv{i}.weight"], [f"conv{i}.y"], f"conv{i}", **shape)

    def linear(x: str, i: int, y: str) -> onnx.NodeProto:
        inputs = [x, f"fc{i}.weight", f"fc{i}.bias"]
        return helper.make_node("Gemm", inputs, [y], f"fc{i}", transB=1)

    def relu(x: str, i: int) -> onnx.NodeProto:
        return helper.make_node("Relu", [x], [f"relu{i}.y"], f"relu{i}")

    return [
        *(conv("image", 1, 1), norm(1), relu("bn1.y", 1)),
        *(conv("relu1.y", 2, 2), norm(2), relu("bn2.y", 2)),
        helper.make_node("Flatten", ["relu2.y"], ["flatten.y"], "flatten"),
        *(linear("flatten.y", 1, "fc1.y"), relu("fc1.y", 3), linear("relu3.y", 2, "logits")),
    ]


def to_onnx(net: DigitsCnn) -> onnx.ModelProto:
    """The network as ONNX with a symbolic batch."""
    weights = {k: v.numpy() for k, v in net.state_dict().items() if v.dtype == torch.float32}
    graph = helper.make_graph(
        nodes(),
        "digits_cnn",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(weight, name) for name, weight in weights.items()],
    )
    model = helper.make_model(
        graph,
        ir_version=8,
        opset_imports=[helper.make_opsetid("", 17)],
        producer_name="bench/make_demo_network.py",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def accuracy(net: nn.Module, data: Dataset) -> float:
    """Per cent right."""
    with torch.no_grad():
        predicted = net(torch.tensor(data.x)).argmax(1).numpy()
    return float((predicted == data.y).mean() * 100)


def main() -> None:
    """Train, write, and print the accuracies in both worlds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=OUT)
    out: Path = parser.parse_args().out
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    world: Shift = turned_digits()
    net = pretrain(world.train)
    out.write_bytes(to_onnx(net).SerializeToString(deterministic=True))
    print(f"{out}: {out.stat().st_size} bytes")
    for name in ("train", "test_before", "test_after"):
        print(f"{name:12} {accuracy(net, getattr(world, name)):6.2f} %")


if __name__ == "__main__":
    main()
