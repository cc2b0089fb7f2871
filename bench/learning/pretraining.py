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

from insitu.datasets import Array

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


def photograph_cnn(classes: int, seed: int) -> nn.Sequential:
    """Image[3, 32, 32] -> scores: 6 convolutions, 2 linear, like VGG; 170 thousand parameters."""
    torch.manual_seed(seed)

    def block(channels: int, out: int, stride: int) -> tuple[nn.Module, ...]:
        return nn.Conv2d(channels, out, 3, stride, 1), nn.BatchNorm2d(out), nn.ReLU()

    return nn.Sequential(
        *(*block(3, 16, 1), *block(16, 24, 2), *block(24, 32, 1)),
        *(*block(32, 48, 2), *block(48, 64, 1), *block(64, 96, 2)),
        *(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(384, 64), nn.ReLU(), nn.Linear(64, classes)),
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
) -> None:
    """SGD with momentum, cosine; each batch is moved by up to shift[i] along axis 2 + i."""
    steps = epochs * math.ceil(len(x) / BATCH)
    sgd = torch.optim.SGD(
        net.parameters(), lr=lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, nesterov=True
    )
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, steps)
    random = np.random.RandomState(seed)
    images, labels = torch.tensor(x), torch.tensor(y)
    net.train()
    for _ in range(epochs):
        for rows in torch.tensor(random.permutation(len(x))).split(BATCH):
            batch = images[rows]
            for axis, most in enumerate(shift, start=2):
                batch = batch.roll(int(random.randint(-most, most + 1)), axis)
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
    nodes: list[onnx.NodeProto] = []
    tensors: list[onnx.TensorProto] = []
    counts: dict[str, int] = {}
    value = "input"
    for module in net:
        op, kind, attributes, weights = _operation(module)
        counts[kind] = counts.get(kind, 0) + 1
        name = f"{kind}{counts[kind]}"
        held = [numpy_helper.from_array(w.detach().numpy(), f"{name}.{k}") for k, w in weights]
        tensors += held
        inputs = [value, *(tensor.name for tensor in held)]
        value = f"{name}.y"
        nodes.append(helper.make_node(op, inputs, [value], name, **attributes))
    with torch.no_grad():
        classes = net.eval()(torch.zeros(1, *input_shape)).shape[1]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])
        for name, shape in (("input", input_shape), (value, (classes,)))
    ]
    graph = helper.make_graph(nodes, path.stem.replace("-", "_"), ends[:1], ends[1:], tensors)
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


Operation = tuple[str, str, dict[str, Any], list[tuple[str, torch.Tensor]]]


def _operation(module: nn.Module) -> Operation:
    """ONNX's operator, our name's stem, attributes, weights by name."""
    match module:
        case nn.Conv1d() | nn.Conv2d():
            window = _window(module.kernel_size, module.stride, module.padding)
            return "Conv", "conv", window, [("weight", module.weight), ("bias", module.bias)]
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
        case nn.AvgPool2d():
            size = (module.kernel_size,) * 2
            return "AveragePool", "average_pool", {"kernel_shape": size, "strides": size}, []
        case nn.AdaptiveAvgPool1d():
            return "GlobalAveragePool", "mean", {}, []
        case nn.ReLU():
            return "Relu", "relu", {}, []
        case nn.Flatten():
            return "Flatten", "flatten", {}, []
    raise TypeError(f"{module} has no ONNX form here; add it here")


def _window(kernel: Any, stride: Any, padding: Any) -> dict[str, Any]:
    return {"kernel_shape": kernel, "strides": stride, "pads": (*padding, *padding)}
