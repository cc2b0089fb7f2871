"""One step of SGD in torch, node by node: what training graphs in float64 are held against."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from insitu.differentiate import differentiate
from insitu.graph.evaluate import evaluate_float
from insitu.graph.model import Array, Graph, Kind, Node
from insitu.graph.names import LABEL, LEARNING_RATE
from insitu.graph.scheme import Scheme

torch = pytest.importorskip("torch", reason="autograd of torch is the oracle")

RATE = 0.05
BATCH = 3


def padded(x: Any, padding: tuple[int, int, int, int], value: float = 0.0) -> Any:
    top, left, bottom, right = padding
    return torch.nn.functional.pad(x, (left, right, top, bottom), value=value)


def average(x: Any, attributes: Any) -> Any:
    """Torch pads both sides alike, so the sums and the counts are taken one by one."""

    def sums(v: Any) -> Any:
        pooled = torch.nn.functional.avg_pool2d
        return pooled(
            padded(v, attributes["padding"]),
            attributes["kernel"],
            attributes["stride"],
            divisor_override=1,
        )

    if attributes["count_include_pad"]:
        return sums(x) / (attributes["kernel"][0] * attributes["kernel"][1])
    return sums(x) / sums(torch.ones_like(x))


def clipped(x: Any, attributes: Any) -> Any:
    """Torch's relu has gradient 0 at 0, its clamp 1 at both ends; no value of ours is at an end."""
    low, high = attributes.get(
        "clip", (attributes.get("min", -np.inf), attributes.get("max", np.inf))
    )
    return torch.clamp(x, low, high)


def activated(x: Any, attributes: Any) -> Any:
    """Torch has a HardSigmoid of fixed parameters, and a softplus that ends at a threshold."""
    functional, alpha, beta = torch.nn.functional, attributes["alpha"], attributes["beta"]
    match attributes["function"]:
        case "hard_sigmoid":
            return torch.clamp(alpha * x + beta, 0, 1)
        case "elu":
            return beta * functional.elu(x, alpha)
        case "hard_swish":
            return functional.hardswish(x)
        case "gelu_tanh":
            return functional.gelu(x, approximate="tanh")
        case "softplus":
            return functional.softplus(x, threshold=1e9)
        case function:
            return getattr(functional, function)(x)


def moved(x: Any, attributes: Any, *, pads: bool) -> Any:
    """Axis by axis: element i of the smaller map is at low + i step of the larger."""
    for axis, (low, step, size) in enumerate(
        zip(attributes["low"], attributes["step"], attributes["shape"], strict=True)
    ):
        dim = (2, 3, 1)[axis] if x.ndim == 4 else 1
        small, large = (x.shape[dim], size) if pads else (size, x.shape[dim])
        kept = torch.tensor([i for i in range(small) if 0 <= low + i * step < large]).long()
        places = [kept, low + kept * step]
        read, written = places if pads else places[::-1]
        shape = [*x.shape[:dim], size, *x.shape[dim + 1 :]]
        zeros = torch.zeros(shape, dtype=x.dtype)
        x = zeros.index_copy(dim, written, x.index_select(dim, read))
    return x


def mixed(node: Node, x: Any, data: list[Any]) -> Any:
    """One node that mixes or moves."""
    attributes = node.attributes
    match node.op.name:
        case "multiply":
            factor = data[0].reshape(*data[0].shape, 1, 1) if data[0].ndim < x.ndim else data[0]
            return clipped(x * factor, attributes)
        case "concat":
            axis = (2, 3, 1)[attributes["axis"]] if x.ndim == 4 else 1
            return clipped(torch.cat([x, *data], dim=axis), attributes)
        case "pad" | "slice":
            return moved(x, attributes, pads=node.op.name == "pad")
    high, wide = attributes["factor"]
    return x.repeat_interleave(high, dim=2).repeat_interleave(wide, dim=3)


def of_torch(node: Node, x: Any, data: list[Any]) -> Any:
    """One node, maps channels first; data: its other inputs."""
    attributes, functional = node.attributes, torch.nn.functional
    match node.op.name:
        case "conv":
            w = data[0].permute(0, 3, 1, 2)
            y = functional.conv2d(
                padded(x, attributes["padding"]),
                w,
                data[1],
                attributes["stride"],
                dilation=attributes.get("dilation", (1, 1)),
                groups=attributes.get("groups", 1),
            )
            return clipped(y, attributes)
        case "linear":
            features = x.permute(0, 2, 3, 1) if x.ndim == 4 else x
            y = functional.linear(features.reshape(len(x), -1), data[0], data[1])
            return clipped(y, attributes)
        case "activation":
            return activated(x, attributes)
        case "prelu":
            return functional.prelu(x, data[0])
        case "add":
            return clipped(x - data[0] if attributes.get("subtract") else x + data[0], attributes)
        case "multiply" | "concat" | "pad" | "slice" | "resize":
            return mixed(node, x, data)
        case "clip":
            return clipped(x, attributes)
        case "max_pool":
            bordered = padded(x, attributes["padding"], -np.inf)
            return functional.max_pool2d(bordered, attributes["kernel"], attributes["stride"])
        case "average_pool":
            return average(x, attributes)
        case "flatten" | "unflatten" | "permute" | "reshape":
            return relaid(node.op.name, x, attributes)
    raise AssertionError(node.op.name)


def relaid(op: str, x: Any, attributes: Any) -> Any:
    """One node that changes the order or the shape; permute and reshape have the channels last."""
    if op == "flatten":
        return x.reshape(len(x), -1)
    if op == "unflatten":
        height, width, channels = attributes["shape"]
        return x.reshape(len(x), channels, height, width)
    last = x.permute(0, 2, 3, 1) if x.ndim == 4 else x
    if "order" in attributes:
        last = last.permute(0, *(axis + 1 for axis in attributes["order"]))
    else:
        last = last.reshape(len(x), *attributes["shape"])
    return last.permute(0, 3, 1, 2) if last.ndim == 4 else last


def torch_loss(loss: str, scores: Any, labels: Array) -> Any:
    """The sum of the samples' losses; scores of maps are channels first."""
    functional, n = torch.nn.functional, len(scores)
    if loss == "cross_entropy":
        return functional.cross_entropy(
            scores.reshape(n, -1), torch.tensor(labels), reduction="sum"
        )
    target = torch.tensor(labels)
    target = target.permute(0, 3, 1, 2) if target.ndim == 4 else target
    of_mean = {"mse": functional.mse_loss, "bce": functional.binary_cross_entropy_with_logits}
    return n * of_mean[loss](scores, target)


def torch_step(
    graph: Graph, x: Array, labels: Array, loss: str = "cross_entropy"
) -> dict[str, Array]:
    """State after a step of SGD on the sum of the samples' losses."""
    tensors = {
        t.name: torch.tensor(t.data.astype(np.float64), requires_grad=t.kind is Kind.STATE)
        for t in graph.tensors.values()
        if t.data is not None
    }
    values = {
        **tensors,
        graph.inputs[0]: torch.tensor(x.transpose(0, 3, 1, 2) if x.ndim == 4 else x),
    }
    for node in graph.nodes:
        first, *others = (values[name] for name in node.inputs)
        values[node.outputs[0]] = of_torch(node, first, others)
    torch_loss(loss, values[graph.outputs[0]], labels).backward()
    return {
        name: (t - RATE * t.grad).detach().numpy() for name, t in tensors.items() if t.requires_grad
    }


def bound(graph: Graph, values: dict[str, Array]) -> float:
    """Of the difference of two steps that sum in different orders.

    A product of an activation and an error is at most `largest`; a weight's gradient is a sum of
    at most `terms` of them, each with the relative error of the sums on the way to it, of which
    there are `terms` again in all; each side rounds every sum and product by 2^-53.
    """
    activations = max(
        np.abs(v).max() for n, v in values.items() if n == graph.inputs[0] or ".y" in n
    )
    errors = max(np.abs(v).max() for n, v in values.items() if ".d" in n or ".error" in n)
    terms = sum(t.size for t in graph.tensors.values()) * BATCH
    largest = max(activations, 1) * max(errors, 1)
    return float(2 * terms * 2.0**-53 * largest * RATE) + 2.0**-52


def assert_same_step_of(graph: Graph, x: Array, labels: Array, loss: str = "cross_entropy") -> None:
    """The float training graph of `graph`, whose state is trained, against autograd."""
    inputs = {
        t.name: t.data.astype(np.float64) for t in graph.tensors.values() if t.data is not None
    }
    step = differentiate(graph, Scheme(loss=loss))
    given = {graph.inputs[0]: x, LABEL: labels, LEARNING_RATE: np.asarray([RATE])}
    values = evaluate_float(step, {**inputs, **given})
    expected = torch_step(graph, x, labels, loss)
    assert expected
    for name, wanted in expected.items():
        difference = np.abs(values[name] - wanted).max()
        assert difference <= bound(graph, values), f"{name}: {difference}"
