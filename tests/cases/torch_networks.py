"""MobileNetV2, MobileNetV3-small and ResNet-18, defined as torchvision 0.24 defines them.

The same modules under the same names, written anew without what only training needs. Source:
torchvision.models.mobilenetv2, mobilenetv3, resnet (BSD 3-clause).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

Module: Any = nn.Module


def _divisible(value: float, divisor: int = 8) -> int:
    """The nearest multiple of `divisor` that is not more than a tenth below."""
    whole = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return whole + divisor if whole < 0.9 * value else whole


def conv_norm(
    channels: tuple[int, int],
    kernel: int,
    *,
    stride: int = 1,
    groups: int = 1,
    activation: Any = nn.ReLU6,
    epsilon: float = 1e-5,
) -> Any:
    """torchvision.ops.Conv2dNormActivation."""
    layers: list[Any] = [
        nn.Conv2d(*channels, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False),
        nn.BatchNorm2d(channels[1], eps=epsilon),
    ]
    return nn.Sequential(*layers, *([activation(inplace=True)] if activation else []))


class InvertedResidual(Module):  # type: ignore[misc]
    """A block of MobileNetV2: widen, convolve each channel, narrow; added to its input."""

    def __init__(self, before: int, after: int, stride: int, widening: int) -> None:
        super().__init__()
        wide = before * widening
        layers: list[Any] = [] if widening == 1 else [conv_norm((before, wide), 1)]
        layers += [
            conv_norm((wide, wide), 3, stride=stride, groups=wide),
            nn.Conv2d(wide, after, 1, bias=False),
            nn.BatchNorm2d(after),
        ]
        self.conv = nn.Sequential(*layers)
        self.use_res_connect = stride == 1 and before == after

    def forward(self, x: Any) -> Any:
        """x[n, before, h, w] -> [n, after, h / stride, w / stride]."""
        return x + self.conv(x) if self.use_res_connect else self.conv(x)


class MobileNetV2(Module):  # type: ignore[misc]
    """torchvision.models.MobileNetV2."""

    SETTINGS = (
        *((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2)),
        *((6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)),
    )
    """Widening, channels, blocks, stride."""

    def __init__(self, classes: int, width: float) -> None:
        super().__init__()
        channels, last = _divisible(32 * width), _divisible(1280 * max(1.0, width))
        features: list[Any] = [conv_norm((3, channels), 3, stride=2)]
        for widening, count, blocks, stride in self.SETTINGS:
            for index in range(blocks):
                after = _divisible(count * width)
                step = stride if index == 0 else 1
                features.append(InvertedResidual(channels, after, step, widening))
                channels = after
        features.append(conv_norm((channels, last), 1))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(last, classes))

    def forward(self, x: Any) -> Any:
        """x[n, 3, h, w] -> [n, classes]."""
        x = nn.functional.adaptive_avg_pool2d(self.features(x), (1, 1))
        return self.classifier(torch.flatten(x, 1))


class SqueezeExcitation(Module):  # type: ignore[misc]
    """torchvision.ops.SqueezeExcitation as MobileNetV3 has it."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.activation = nn.ReLU()
        self.scale_activation = nn.Hardsigmoid()

    def forward(self, x: Any) -> Any:
        """x[n, c, h, w] times one number a channel."""
        scale = self.fc2(self.activation(self.fc1(self.avgpool(x))))
        return self.scale_activation(scale) * x


class InvertedResidualV3(Module):  # type: ignore[misc]
    """A block of MobileNetV3."""

    def __init__(self, before: int, setting: tuple[int, int, int, bool, bool, int]) -> None:
        super().__init__()
        kernel, wide, after, excited, hard, stride = setting
        activation = nn.Hardswish if hard else nn.ReLU
        layers: list[Any] = []
        if wide != before:
            layers.append(conv_norm((before, wide), 1, activation=activation, epsilon=0.001))
        layers.append(
            conv_norm(
                (wide, wide),
                kernel,
                stride=stride,
                groups=wide,
                activation=activation,
                epsilon=0.001,
            )
        )
        if excited:
            layers.append(SqueezeExcitation(wide, _divisible(wide // 4)))
        layers.append(conv_norm((wide, after), 1, activation=None, epsilon=0.001))
        self.block = nn.Sequential(*layers)
        self.use_res_connect = stride == 1 and before == after

    def forward(self, x: Any) -> Any:
        """x[n, before, h, w] -> [n, after, h / stride, w / stride]."""
        result = self.block(x)
        return result + x if self.use_res_connect else result


class MobileNetV3Small(Module):  # type: ignore[misc]
    """torchvision.models.mobilenet_v3_small."""

    SETTINGS = (
        (3, 16, 16, True, False, 2),
        (3, 72, 24, False, False, 2),
        (3, 88, 24, False, False, 1),
        (5, 96, 40, True, True, 2),
        (5, 240, 40, True, True, 1),
        (5, 240, 40, True, True, 1),
        (5, 120, 48, True, True, 1),
        (5, 144, 48, True, True, 1),
        (5, 288, 96, True, True, 2),
        (5, 576, 96, True, True, 1),
        (5, 576, 96, True, True, 1),
    )
    """Kernel, wide channels, channels, squeeze and excitation, hardswish, stride."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        hard = nn.Hardswish
        features: list[Any] = [conv_norm((3, 16), 3, stride=2, activation=hard, epsilon=0.001)]
        channels = 16
        for setting in self.SETTINGS:
            features.append(InvertedResidualV3(channels, setting))
            channels = setting[2]
        features.append(conv_norm((channels, 576), 1, activation=hard, epsilon=0.001))
        self.features = nn.Sequential(*features)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Linear(576, 1024), hard(inplace=True), nn.Dropout(0.2), nn.Linear(1024, classes)
        )

    def forward(self, x: Any) -> Any:
        """x[n, 3, h, w] -> [n, classes]."""
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


class BasicBlock(Module):  # type: ignore[misc]
    """A block of ResNet-18."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.downsample = None
        if stride != 1 or before != after:
            self.downsample = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )

    def forward(self, x: Any) -> Any:
        """x[n, before, h, w] -> [n, after, h / stride, w / stride]."""
        identity = x if self.downsample is None else self.downsample(x)
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        y += identity
        return self.relu(y)


class ResNet18(Module):  # type: ignore[misc]
    """torchvision.models.resnet18 for small images: a stem of 3 x 3 without pooling."""

    def __init__(self, classes: int, width: int = 64) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        channels = width
        for index, stride in enumerate((1, 2, 2, 2)):
            after = width << index
            blocks = (BasicBlock(channels, after, stride), BasicBlock(after, after, 1))
            setattr(self, f"layer{index + 1}", nn.Sequential(*blocks))
            channels = after
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: Any) -> Any:
        """x[n, 3, h, w] -> [n, classes]."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))
