"""Data sets' shapes -> small plain networks in PyTorch, pretrained, written as ONNX.

Invariant: fixed seeds; what `write` puts down computes what the module does in evaluation mode.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from insitu.data.datasets import Array

BATCH, MOMENTUM, WEIGHT_DECAY = 32, 0.9, 5e-4
"""Of pretraining, which happens in float on a server."""


def bearing_cnn(classes: int, seed: int) -> nn.Sequential:
    """acceleration[1, 512] -> scores: 3 convolutions, mean, linear; 14 thousand parameters."""
    torch.manual_seed(seed)
    return nn.Sequential(
        *(nn.Conv1d(1, 16, 32, 4, 14), nn.ReLU(), nn.MaxPool1d(2)),
        *(nn.Conv1d(16, 32, 8, 2, 3), nn.ReLU(), nn.MaxPool1d(2)),
        *(nn.Conv1d(32, 48, 5, 1, 2), nn.ReLU(), nn.AdaptiveAvgPool1d(1)),
        *(nn.Flatten(), nn.Linear(48, classes)),
    )


class Residual(nn.Module):
    """relu(main(x) + shortcut(x)); the shortcut stands first among the layers."""

    def __init__(self, main: nn.Sequential, shortcut: nn.Sequential) -> None:
        super().__init__()
        self.shortcut, self.main = shortcut, main

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The sum, above zero."""
        return F.relu(self.main(x) + self.shortcut(x))


def resnet8(classes: int, seed: int) -> nn.Sequential:
    """Image[3, 32, 32] -> scores: MLPerf Tiny's ResNet-8, 78 thousand parameters with 10 classes.

    Source: MLPerf Tiny's image classification reference.
    """
    torch.manual_seed(seed)

    def conv(channels: int, out: int, kernel: int, stride: int) -> tuple[nn.Module, ...]:
        window = (kernel, stride, kernel // 2)
        return nn.Conv2d(channels, out, *window, bias=False), nn.BatchNorm2d(out)

    def block(channels: int, out: int, stride: int) -> Residual:
        main = (*conv(channels, out, 3, stride), nn.ReLU(), *conv(out, out, 3, 1))
        shortcut = conv(channels, out, 1, stride) if stride > 1 else ()
        return Residual(nn.Sequential(*main), nn.Sequential(*shortcut))

    return nn.Sequential(
        *(*conv(3, 16, 3, 1), nn.ReLU(), block(16, 16, 1), block(16, 32, 2), block(32, 64, 2)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes)),
    )


def pretrain(
    net: nn.Sequential,
    x: Array,
    y: Array,
    *,
    epochs: int,
    lr: float,
    seed: int,
    shift: tuple[int, ...],
    flip: bool = False,
) -> None:
    """SGD with momentum, cosine; each batch is moved by up to shift[i] along axis 2 + i.

    With `flip`, about half of the samples are mirrored along the last axis.
    """
    steps = epochs * math.ceil(len(x) / BATCH)
    sgd = torch.optim.SGD(
        net.parameters(), lr=lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, nesterov=True
    )
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, steps)
    random = np.random.RandomState(seed)
    images, labels = torch.tensor(x), torch.tensor(y)
    if images.ndim == 4:
        images = images.to(memory_format=torch.channels_last)
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    net.train()
    for _ in range(epochs):
        for rows in torch.tensor(random.permutation(len(x))).split(BATCH):
            batch = images[rows]
            for axis, most in enumerate(shift, start=2):
                batch = batch.roll(int(random.randint(-most, most + 1)), axis)
            if flip:
                mirrored = torch.tensor(random.rand(len(rows)) < 0.5)
                batch = torch.where(mirrored.view(-1, 1, 1, 1), batch.flip(-1), batch)
            sgd.zero_grad(set_to_none=True)
            F.cross_entropy(net(batch), labels[rows]).backward()
            sgd.step()
            cosine.step()
    net.eval()


def accuracy(net: nn.Sequential, x: Array, y: Array) -> float:
    """Share of x that the network predicts as y."""
    net.eval()
    with torch.no_grad():
        parts = [net(part).argmax(1) for part in torch.tensor(x).split(500)]
    return float((torch.cat(parts).numpy() == y).mean())


def write(net: nn.Sequential, input_shape: Sequence[int], path: Path) -> None:
    """The network as ONNX; its layers are called conv1, conv2, ..., fc1, ..."""
    written = _Written()
    value = written.add(net, "input")
    with torch.no_grad():
        classes = net.eval()(torch.zeros(1, *input_shape)).shape[1]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])
        for name, shape in (("input", input_shape), (value, (classes,)))
    ]
    name = path.stem.replace("-", "_")
    graph = helper.make_graph(written.nodes, name, ends[:1], ends[1:], written.tensors)
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


class _Written:
    """Nodes and tensors of the modules that were added."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.tensors: list[onnx.TensorProto] = []
        self._counts: dict[str, int] = {}

    def add(self, module: nn.Module, value: str) -> str:
        """The module behind `value`; the name of what it puts out."""
        if isinstance(module, nn.Sequential):
            for part in module:
                value = self.add(part, value)
            return value
        if isinstance(module, Residual):
            shortcut = self.add(module.shortcut, value)
            total = self._node("Add", self._name("add"), [self.add(module.main, value), shortcut])
            return self._node("Relu", self._name("relu"), [total])
        op, kind, attributes, weights = _operation(module)
        name = self._name(kind)
        held = [numpy_helper.from_array(w.detach().numpy(), f"{name}.{k}") for k, w in weights]
        self.tensors += held
        return self._node(op, name, [value, *(tensor.name for tensor in held)], **attributes)

    def _name(self, kind: str) -> str:
        self._counts[kind] = self._counts.get(kind, 0) + 1
        return f"{kind}{self._counts[kind]}"

    def _node(self, op: str, name: str, inputs: list[str], **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [f"{name}.y"], name, **attributes))
        return f"{name}.y"


Operation = tuple[str, str, dict[str, Any], list[tuple[str, torch.Tensor]]]


def _operation(module: nn.Module) -> Operation:
    """ONNX's operator, our name's stem, attributes, weights by name."""
    match module:
        case nn.Conv1d() | nn.Conv2d():
            window = _window(module.kernel_size, module.stride, module.padding)
            held = [("weight", module.weight), ("bias", module.bias)]
            return "Conv", "conv", window, [(k, w) for k, w in held if w is not None]
        case nn.Linear():
            weights = [("weight", module.weight), ("bias", module.bias)]
            return "Gemm", "fc", {"transB": 1}, weights
        case nn.BatchNorm2d():
            parts = ("weight", "bias", "running_mean", "running_var")
            held = [(part, getattr(module, part)) for part in parts]
            return "BatchNormalization", "bn", {"epsilon": module.eps}, held
        case nn.MaxPool1d():
            size = (module.kernel_size,)
            return "MaxPool", "max_pool", {"kernel_shape": size, "strides": size}, []
        case nn.AdaptiveAvgPool1d() | nn.AdaptiveAvgPool2d():
            return "GlobalAveragePool", "mean", {}, []
        case nn.ReLU():
            return "Relu", "relu", {}, []
        case nn.Flatten():
            return "Flatten", "flatten", {}, []
    raise TypeError(f"{module} has no ONNX form here; add it here")


def _window(kernel: Any, stride: Any, padding: Any) -> dict[str, Any]:
    return {"kernel_shape": kernel, "strides": stride, "pads": (*padding, *padding)}
