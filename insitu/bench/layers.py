"""The layers whose kernels are measured, as data: of the contract, of real networks, odd ones.

Instructions depend on shapes and on which errors are zero, and on nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Quad = tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One op and its shape.

    Attributes:
        group: of layers that one line of the contract speaks of; "" where none does.
        op: a key of `ops.OPS`.
        shape: of x, channels last.
        out: output channels or features of layers with weights.
        window: of w, kernel height and width; () of a linear layer.
        gate: measured whenever the project is checked; the others on demand.
    """

    group: str
    op: str
    shape: tuple[int, ...]
    out: int = 0
    window: tuple[int, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    gate: bool = True

    @property
    def title(self) -> str:
        """E.g. "3x3/2 16x16x16-32" or "depthwise 3x3 8x8x48-48"."""
        window = self.window or self.attributes.get("kernel", ())
        stride = self.attributes.get("stride", (1, 1))
        groups = self.attributes.get("groups", 1)
        kind = "" if groups == 1 else "depthwise " if groups == self.out else f"{groups} groups "
        step = "" if stride == (1, 1) else "/" + "x".join(map(str, dict.fromkeys(stride)))
        sizes = "x".join(map(str, self.shape)) + (f"-{self.out}" if self.out else "")
        return f"{kind}{'x'.join(map(str, window))}{step} {sizes}".strip()


def conv(
    group: str,
    shape: tuple[int, int, int],
    out: int,
    kernel: tuple[int, int] = (3, 3),
    *,
    stride: tuple[int, int] = (1, 1),
    padding: Quad | None = None,
    groups: int = 1,
    gate: bool = True,
) -> Layer:
    """A convolution, by default padded all around so that stride 1 keeps the map's size."""
    half = (kernel[0] // 2, kernel[1] // 2)
    attributes: dict[str, Any] = {"stride": stride, "padding": padding or (*half, *half)}
    attributes |= {"groups": groups} if groups > 1 else {}
    return Layer(
        group=group,
        op="conv",
        shape=shape,
        out=out,
        window=kernel,
        attributes=attributes,
        gate=gate,
    )


def depthwise(
    channels: int, side: int, kernel: int = 3, *, stride: int = 1, gate: bool = True
) -> Layer:
    """One kernel a channel, on a square map."""
    group = f"depthwise {kernel}x{kernel}" if stride == 1 else ""
    shape, window, strides = (side, side, channels), (kernel, kernel), (stride, stride)
    return conv(group, shape, channels, window, stride=strides, groups=channels, gate=gate)


def linear(group: str, features: int, out: int, *, gate: bool = True) -> Layer:
    """A linear layer."""
    return Layer(group=group, op="linear", shape=(features,), out=out, gate=gate)


def pool(op: str, shape: tuple[int, int, int]) -> Layer:
    """2 x 2, stride 2."""
    square = (2, 2)
    attributes: dict[str, Any] = {"kernel": square, "stride": square, "padding": (0, 0, 0, 0)}
    if op == "average_pool":
        attributes["count_include_pad"] = False
    return Layer(group="pool", op=op, shape=shape, attributes=attributes)


LAYERS = (
    conv("conv 3x3", (16, 16, 16), 32),
    conv("conv 3x3", (8, 8, 32), 32),
    conv("", (16, 16, 3), 16),
    conv("conv 3x3/2", (16, 16, 16), 32, stride=(2, 2)),
    conv("conv 1x1", (16, 16, 32), 64, (1, 1)),
    depthwise(32, 16),
    linear("linear", 1568, 64),
    linear("linear", 256, 128),
    # the MLPs and the CNN of the whole steps
    linear("", 784, 64),
    linear("", 64, 32),
    linear("", 64, 10),
    conv("", (28, 28, 1), 16, stride=(2, 2)),
    conv("", (14, 14, 16), 32, stride=(2, 2)),
    # MCUNet-5FPS: its last block, a wide map, its first layer; ResNet-8
    conv("conv 1x1", (4, 4, 96), 576, (1, 1)),
    conv("conv 1x1", (4, 4, 576), 160, (1, 1)),
    depthwise(576, 4),
    depthwise(384, 4, 5, gate=False),
    depthwise(160, 8, 7, gate=False),
    depthwise(48, 32, 7, stride=2, gate=False),
    conv("conv 1x1", (32, 32, 16), 48, (1, 1), gate=False),
    conv("", (128, 128, 3), 16, stride=(2, 2), gate=False),
    conv("conv 3x3", (8, 8, 64), 64, gate=False),
    linear("", 160, 10, gate=False),
    # odd ones
    conv("", (7, 5, 3), 5),
    conv("", (9, 7, 5), 7, (5, 5)),
    conv("", (9, 8, 4), 6, (7, 7), stride=(2, 2)),
    conv("", (1, 64, 4), 8, (1, 5), stride=(1, 2)),
    conv("", (1, 1, 33), 17, (1, 1)),
    conv("", (5, 5, 13), 11, padding=(0, 2, 1, 0)),
    linear("", 63, 31),
    linear("", 301, 7),
    linear("", 1, 3),
    pool("max_pool", (16, 16, 16)),
    pool("average_pool", (16, 16, 16)),
)
"""Every layer that `insitu bench` knows."""
