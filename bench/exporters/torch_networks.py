"""PyTorch networks, as its users build them, for both of its exporters."""

import torch
from torch import Tensor, nn


class Residual(nn.Module):
    """Two branches that meet."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8))
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Scores."""
        x = self.first(x)
        x = torch.relu(x + self.second(x))
        return self.head(x.mean((2, 3)))


class Shuffle(nn.Module):
    """Grouped convolutions with a shuffle of channels between them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 8, 1)
        self.second = nn.Conv2d(8, 8, 3, padding=1, groups=4)
        self.third = nn.Conv2d(8, 8, 1, groups=4)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Scores."""
        x = torch.relu(self.second(torch.relu(self.first(x))))
        batch, channels, height, width = x.shape
        x = x.view(batch, 4, channels // 4, height, width).transpose(1, 2)
        x = x.reshape(batch, channels, height, width)
        return self.head(torch.relu(self.third(x)).mean((2, 3)))


class Gate(nn.Module):
    """Squeeze and excitation over a signal."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(3, 8, 5, stride=2)
        self.gate = nn.Sequential(nn.Linear(8, 4), nn.SiLU(), nn.Linear(4, 8), nn.Sigmoid())
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Scores."""
        x = nn.functional.hardswish(self.first(x))
        return self.head((x * self.gate(x.mean(2))[:, :, None]).mean(2))


def mlp() -> nn.Module:
    """Features through two activation functions."""
    return nn.Sequential(nn.Linear(9, 16), nn.GELU(), nn.Linear(16, 8), nn.ELU(), nn.Linear(8, 3))


def depthwise() -> nn.Module:
    """A depthwise-separable network, as for keywords."""
    return nn.Sequential(
        nn.Conv2d(1, 8, (5, 3), stride=2, padding=(2, 1), bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU6(),
        nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU6(),
        nn.Conv2d(8, 12, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 5),
    )


NETWORKS = {
    "mlp": (mlp, (9,)),
    "depthwise": (depthwise, (1, 20, 10)),
    "residual": (Residual, (3, 10, 10)),
    "shuffle": (Shuffle, (2, 8, 8)),
    "gate": (Gate, (3, 40)),
}
