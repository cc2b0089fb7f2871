"""Networks that people have, small: MobileNet V1, V2, V3, ResNet-8, DS-CNN, MCUNet, a temporal CNN.

    python examples/zoo.py NETWORK OUT

NETWORK is a name from `NETWORKS`. Writes OUT/model.onnx, calibration.npz, train.npz and test.npz,
then says which commands to run. Weights are random, with the batch normalizations that exporters
write; the data are scikit-learn's digits, enlarged to the network's input. So a head on random
features is trained: put your own pretrained network in its place.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from insitu.data.datasets import Dataset, digits, save

COMMANDS = """\
insitu inspect {0}/model.onnx
insitu compile {0}/model.onnx --data {0}/calibration.npz --out {0}/c --train {1} --board imxrt1062
insitu twin {0}/c --data {0}/train.npz --test {0}/test.npz --lr 0.02
insitu run {0}/c --data {0}/train.npz --steps 20"""

Pair = tuple[int, int]


class Net:
    """Collects the nodes and weights of an ONNX network; every method returns its output's name."""

    def __init__(self, shape: tuple[int, ...], seed: int = 0) -> None:
        """Start with the input x[batch, *shape]."""
        self.shape, self.random = shape, np.random.RandomState(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, Any] = {}
        self.channels = {"x": shape[0]}

    def node(self, op: str, name: str, inputs: list[str], **attributes: Any) -> str:
        """Any node; its output has as many channels as its first input."""
        self.nodes.append(helper.make_node(op, inputs, [f"{name}.y"], name, **attributes))
        self.channels[f"{name}.y"] = self.channels[inputs[0]]
        return f"{name}.y"

    def conv(
        self,
        x: str,
        name: str,
        out: int,
        kernel: int | Pair = 3,
        *,
        stride: int | Pair = 1,
        groups: int = 1,
        dilation: int = 1,
        act: str = "Relu",
    ) -> str:
        """Convolution, batch normalization, activation function; "same" padding."""
        axes = len(self.shape) - 1
        size = [kernel] * axes if isinstance(kernel, int) else list(kernel)
        steps = [stride] * axes if isinstance(stride, int) else list(stride)
        around = [dilation * (k - 1) // 2 for k in size]
        pads = around + [dilation * (k - 1) - p for k, p in zip(size, around, strict=True)]
        shape = (out, self.channels[x] // groups, *size)
        self.weights[f"{name}.weight"] = self.normal(shape)
        y = self.node(
            "Conv",
            name,
            [x, f"{name}.weight"],
            group=groups,
            kernel_shape=size,
            strides=steps,
            dilations=[dilation] * axes,
            pads=pads,
        )
        self.channels[y] = out
        y = self.norm(y, f"{name}.norm", out)
        return self.act(y, f"{name}.act", act)

    def norm(self, x: str, name: str, channels: int) -> str:
        """Batch normalization with statistics near those of what comes in."""
        values = {
            "scale": 1 + 0.1 * self.random.randn(channels),
            "bias": 0.1 * self.random.randn(channels),
            "mean": 0.1 * self.random.randn(channels),
            "var": self.random.uniform(0.8, 1.2, channels),
        }
        self.weights |= {f"{name}.{k}": v.astype(np.float32) for k, v in values.items()}
        return self.node("BatchNormalization", name, [x, *(f"{name}.{k}" for k in values)])

    def act(self, x: str, name: str, kind: str) -> str:
        """An activation function by the name of its ONNX operator, "Relu6", or "" for none."""
        if kind == "Relu6":
            self.weights |= {"zero": np.float32(0), "six": np.float32(6)}
            return self.node("Clip", name, [x, "zero", "six"])
        return self.node(kind, name, [x]) if kind else x

    def normal(self, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Weights of variance 2 / fan in."""
        spread = np.sqrt(2 / np.prod(shape[1:]))
        return (spread * self.random.randn(*shape)).astype(np.float32)

    def head(self, x: str, classes: int = 10, *, pool: bool = True) -> onnx.ModelProto:
        """Mean over the map, a linear layer, and the finished model."""
        if pool:
            x = self.node("GlobalAveragePool", "pool", [x])
        x = self.node("Flatten", "flatten", [x])
        self.weights["fc.weight"] = self.normal((classes, self.channels[x]))
        self.weights["fc.bias"] = np.zeros(classes, np.float32)
        self.node("Gemm", "fc", [x, "fc.weight", "fc.bias"], transB=1)
        graph = helper.make_graph(
            self.nodes,
            "network",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *self.shape])],
            [helper.make_tensor_value_info("fc.y", TensorProto.FLOAT, ["batch", classes])],
            [numpy_helper.from_array(np.asarray(v), name) for name, v in self.weights.items()],
        )
        return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])

    def separable(self, x: str, name: str, out: int, stride: int | Pair = 1) -> str:
        """Depthwise 3 x 3, then 1 x 1: MobileNet V1 and DS-CNN."""
        c = self.channels[x]
        x = self.conv(x, f"{name}.depthwise", c, stride=stride, groups=c)
        return self.conv(x, f"{name}.pointwise", out, 1)

    def inverted(
        self,
        x: str,
        name: str,
        out: int,
        *,
        expand: int,
        kernel: int = 3,
        stride: int = 1,
        act: str = "Relu6",
        squeeze: bool = False,
    ) -> str:
        """Expand, depthwise, [squeeze and excite,] project, and the residual where it fits."""
        wide = self.channels[x] * expand
        y = self.conv(x, f"{name}.expand", wide, 1, act=act) if expand > 1 else x
        y = self.conv(y, f"{name}.depthwise", wide, kernel, stride=stride, groups=wide, act=act)
        if squeeze:
            y = self.excite(y, f"{name}.squeeze")
        y = self.conv(y, f"{name}.project", out, 1, act="")
        if stride == 1 and self.channels[x] == out:
            y = self.node("Add", f"{name}.add", [x, y])
        return y

    def excite(self, x: str, name: str) -> str:
        """Squeeze and excitation: channels weighed by what their means say."""
        c = self.channels[x]
        y = self.node("GlobalAveragePool", f"{name}.mean", [x])
        y = self.conv(y, f"{name}.reduce", max(c // 4, 4), 1)
        y = self.conv(y, f"{name}.expand", c, 1, act="HardSigmoid")
        return self.node("Mul", f"{name}.scale", [x, y])


def mobilenet_v1() -> onnx.ModelProto:
    """x[3, 32, 32], width 0.25: depthwise separable blocks."""
    net = Net((3, 32, 32))
    x = net.conv("x", "stem", 8, stride=2)
    for index, (out, stride) in enumerate([(16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2)]):
        x = net.separable(x, f"block{index}", out, stride)
    return net.head(x)


def mobilenet_v2() -> onnx.ModelProto:
    """x[3, 32, 32], width 0.35: inverted residuals, ReLU6."""
    net = Net((3, 32, 32))
    x = net.conv("x", "stem", 16, stride=2, act="Relu6")
    x = net.inverted(x, "block0", 8, expand=1)
    for index, (out, stride) in enumerate([(8, 2), (8, 1), (16, 2), (16, 1), (24, 1), (24, 1)], 1):
        x = net.inverted(x, f"block{index}", out, expand=4, stride=stride)
    return net.head(net.conv(x, "last", 96, 1, act="Relu6"))


def mobilenet_v3() -> onnx.ModelProto:
    """x[3, 32, 32], small: squeeze and excitation, hard swish, kernels of 3 and 5."""
    net = Net((3, 32, 32))
    x = net.conv("x", "stem", 8, stride=2, act="HardSwish")
    x = net.inverted(x, "block0", 8, expand=1, stride=2, act="Relu", squeeze=True)
    x = net.inverted(x, "block1", 16, expand=4, stride=2, act="Relu")
    x = net.inverted(x, "block2", 16, expand=4, act="Relu")
    for index in (3, 4):
        x = net.inverted(x, f"block{index}", 16, expand=3, kernel=5, act="HardSwish", squeeze=True)
    return net.head(net.conv(x, "last", 64, 1, act="HardSwish"))


def resnet8() -> onnx.ModelProto:
    """x[3, 32, 32]: three stages of two convolutions around a residual; the network of MLPerf Tiny.

    Source: MLPerf Tiny's image classification reference, here with its 78,666 parameters.
    """
    net = Net((3, 32, 32))
    x = net.conv("x", "stem", 16)
    for index, (out, stride) in enumerate([(16, 1), (32, 2), (64, 2)]):
        y = net.conv(x, f"stage{index}.conv1", out, stride=stride)
        y = net.conv(y, f"stage{index}.conv2", out, act="")
        if stride > 1:
            x = net.conv(x, f"stage{index}.project", out, 1, stride=stride, act="")
        x = net.act(net.node("Add", f"stage{index}.add", [x, y]), f"stage{index}.act", "Relu")
    return net.head(x)


def ds_cnn() -> onnx.ModelProto:
    """x[1, 49, 10]: the keyword network of Zhang et al., "Hello Edge" (2017), 64 channels wide."""
    net = Net((1, 49, 10))
    x = net.conv("x", "stem", 64, (10, 4), stride=(2, 2))
    for index in range(4):
        x = net.separable(x, f"block{index}", 64)
    return net.head(x)


def mcunet() -> onnx.ModelProto:
    """x[3, 48, 48]: inverted residuals with kernels of 3, 5, 7, as MCUNet's search finds them."""
    net = Net((3, 48, 48))
    x = net.conv("x", "stem", 16, stride=2, act="Relu6")
    x = net.inverted(x, "block0", 8, expand=1)
    plan = [(16, 3, 7, 2), (16, 3, 3, 1), (16, 3, 5, 1), (24, 3, 7, 2), (24, 4, 5, 1)]
    plan += [(40, 4, 5, 2), (40, 4, 5, 1), (48, 4, 3, 1)]
    for index, (out, expand, kernel, stride) in enumerate(plan, 1):
        x = net.inverted(x, f"block{index}", out, expand=expand, kernel=kernel, stride=stride)
    return net.head(x)


def temporal_cnn() -> onnx.ModelProto:
    """x[1, 64]: dilated convolutions over time with residuals (Bai et al., 2018)."""
    net = Net((1, 64))
    x = net.conv("x", "stem", 16, 3)
    for index in range(4):
        y = net.conv(x, f"block{index}.conv", 16, 3, dilation=2**index)
        y = net.conv(y, f"block{index}.mix", 16, 1, act="")
        x = net.act(net.node("Add", f"block{index}.add", [x, y]), f"block{index}.act", "Relu")
    return net.head(x)


NETWORKS: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "mobilenet-v1": (mobilenet_v1, "last:3"),
    "mobilenet-v2": (mobilenet_v2, "block6.*,last,fc"),
    "mobilenet-v3": (mobilenet_v3, "block4.*,last,fc"),
    "resnet-8": (resnet8, "stage2.*,fc"),
    "ds-cnn": (ds_cnn, "block3.*,fc"),
    "mcunet": (mcunet, "block7.*,block8.*,fc"),
    "temporal-cnn": (temporal_cnn, "all"),
}
"""Name -> (what builds it, which layers to train)."""


def enlarged(data: Dataset, shape: tuple[int, ...]) -> Dataset:
    """Digits x[n, 1, 8, 8] as samples of a network's input, normalised; signals are their rows."""
    x = (data.x - data.x.mean()) / data.x.std()
    if len(shape) == 2:
        x = x.reshape(len(x), 1, 64)
    else:
        rows, columns = (np.arange(size) * 8 // size for size in shape[1:])
        x = np.repeat(x[:, :, rows][:, :, :, columns], shape[0], axis=1)
    return replace(data, x=np.ascontiguousarray(x, np.float32))


def main(name: str, out: Path) -> None:
    """Write the network and the data."""
    build, trained = NETWORKS[name]
    model = build()
    out.mkdir(parents=True, exist_ok=True)
    onnx.save(model, out / "model.onnx")
    shape = tuple(d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[1:])
    data = enlarged(digits(), shape)
    every = np.arange(len(data))
    save(out / "calibration.npz", data.take(every[::12]))
    save(out / "train.npz", data.take(every[every % 4 > 0]))
    save(out / "test.npz", data.take(every[every % 4 == 0]))
    print(COMMANDS.format(out, f'"{trained}"'))


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in NETWORKS:
        sys.exit(f"usage: python examples/zoo.py {'|'.join(NETWORKS)} OUT")
    main(sys.argv[1], Path(sys.argv[2]))
