"""A float network and a training run -> weights after PyTorch's SGD: the server's baseline.

Invariant: it starts from the same simplified network, and takes the same samples in the same
order, as the schemes that it is compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from insitu.data.datasets import Array
from insitu.graph.model import Graph
from insitu.run.schedule import learning_rates, sample_order

Params = dict[str, Tensor]


def parameters(graph: Graph, trained: frozenset[str]) -> tuple[Params, Params]:
    """Constants of a float graph as PyTorch lays them out: (trained, frozen)."""
    own = {
        name
        for node in graph.nodes
        if node.op.weights and node.name in trained
        for name in node.inputs[1:]
    }
    values = {
        name: torch.tensor(t.data if t.data.ndim < 4 else t.data.transpose(0, 3, 1, 2).copy())
        for name, t in graph.tensors.items()
        if t.data is not None
    }
    learnt = {name: value.requires_grad_() for name, value in values.items() if name in own}
    return learnt, {name: value for name, value in values.items() if name not in own}


def forward(graph: Graph, params: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Scores[n, classes] of x[n, ...], channels first."""
    values = dict(params)
    values[graph.inputs[0]] = x[:, :, None] if x.ndim == 3 else x
    for node in graph.nodes:
        arguments = [values[name] for name in node.inputs if name]
        values[node.outputs[0]] = OPERATIONS[node.op.name](node.attributes, arguments)
    return values[graph.outputs[0]]


def train(
    graph: Graph,
    params: tuple[Params, Params],
    x: Array,
    y: Array,
    *,
    epochs: int,
    lr: float,
    seed: int,
    batch: int = 1,
    momentum: float = 0.0,
) -> None:
    """SGD with the cosine schedule of `insitu.run.schedule`, in place."""
    learnt, frozen = params
    sgd = torch.optim.SGD(learnt.values(), lr=lr, momentum=momentum, foreach=True)
    order = torch.tensor(sample_order(len(x), epochs * len(x), seed)).long()
    rates = learning_rates(lr, -(-len(order) // batch), "cosine")
    images, labels, both = torch.tensor(x), torch.tensor(y).long(), {**learnt, **frozen}
    for rows, rate in zip(order.split(batch), rates, strict=True):
        sgd.param_groups[0]["lr"] = float(rate)
        sgd.zero_grad(set_to_none=True)
        F.cross_entropy(forward(graph, both, images[rows]), labels[rows]).backward()
        sgd.step()


def accuracy(graph: Graph, params: tuple[Params, Params], x: Array, y: Array) -> float:
    """Share of x that is predicted as y."""
    both = {**params[0], **params[1]}
    with torch.no_grad():
        parts = [forward(graph, both, part).argmax(1) for part in torch.tensor(x).split(250)]
    return float((torch.cat(parts).numpy() == y).mean())


Attributes = Mapping[str, Any]


def _padded(attributes: Attributes, x: Tensor, value: float = 0.0) -> Tensor:
    top, left, bottom, right = attributes["padding"]
    return F.pad(x, (left, right, top, bottom), value=value) if any(attributes["padding"]) else x


def _clipped(attributes: Attributes, y: Tensor) -> Tensor:
    low, high = attributes.get("clip", (-torch.inf, torch.inf))
    if (low, high) == (0.0, torch.inf):
        return F.relu(y)
    return y if (low, high) == (-torch.inf, torch.inf) else y.clamp(low, high)


def _conv(attributes: Attributes, inputs: Sequence[Tensor]) -> Tensor:
    x, w, b = inputs
    dilation, groups = attributes.get("dilation", (1, 1)), attributes.get("groups", 1)
    y = F.conv2d(_padded(attributes, x), w, b, attributes["stride"], 0, dilation, groups)
    return _clipped(attributes, y)


def _linear(attributes: Attributes, inputs: Sequence[Tensor]) -> Tensor:
    x, w, b = inputs
    x = x.permute(0, 2, 3, 1) if x.ndim == 4 else x  # a map is read channels last
    return _clipped(attributes, F.linear(x.flatten(1), w, b))


def _max_pool(attributes: Attributes, inputs: Sequence[Tensor]) -> Tensor:
    x = _padded(attributes, inputs[0], -torch.inf)
    return F.max_pool2d(x, attributes["kernel"], attributes["stride"])


def _average_pool(attributes: Attributes, inputs: Sequence[Tensor]) -> Tensor:
    def sums(v: Tensor) -> Tensor:
        window = (attributes["kernel"], attributes["stride"])
        return F.avg_pool2d(_padded(attributes, v), *window, divisor_override=1)

    counted = not any(attributes["padding"]) or attributes["count_include_pad"]
    size = attributes["kernel"][0] * attributes["kernel"][1]
    return sums(inputs[0]) / (size if counted else sums(torch.ones_like(inputs[0])))


def _add(attributes: Attributes, inputs: Sequence[Tensor]) -> Tensor:
    return _clipped(attributes, inputs[0] + inputs[1])


OPERATIONS: dict[str, Callable[[Attributes, Sequence[Tensor]], Tensor]] = {
    "conv": _conv,
    "linear": _linear,
    "add": _add,
    "max_pool": _max_pool,
    "average_pool": _average_pool,
    "clip": lambda attributes, inputs: inputs[0].clamp(attributes["min"], attributes["max"]),
    "flatten": lambda attributes, inputs: inputs[0].flatten(1),
    "identity": lambda attributes, inputs: inputs[0],
}
"""The ops of insitu's float graphs."""
