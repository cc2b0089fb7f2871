"""Does every op's float reference compute what onnxruntime computes?

Networks are translated node by node, and every node's output is compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from case_layers import Case
from case_models import INPUT, float_graph, samples
from cases import CASES
from hypothesis import given, settings
from made_cases import examples, single_layers
from onnx import helper, numpy_helper

from insitu.graph.evaluate import evaluate_float
from insitu.graph.model import Array, Graph, Node

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is the oracle")

SAMPLES = 2
UNIT = 2.0**-24
"""A float32 operation rounds by this much of its result."""


def channels_first(x: Array) -> Array:
    """x[n, h, w, c] -> x[n, c, h, w]; others as they are."""
    return x.transpose(0, 3, 1, 2) if x.ndim == 4 else x


def _window(attributes: Any) -> dict[str, Any]:
    pads = {"pads": list(attributes["padding"]), "strides": list(attributes["stride"])}
    if "kernel" in attributes:
        pads["kernel_shape"] = list(attributes["kernel"])
    return pads


def _conv(node: Node, data: list[Array]) -> Step:
    w, b = data
    dilations = list(node.attributes.get("dilation", (1, 1)))
    group = node.attributes.get("groups", 1)
    attributes = {**_window(node.attributes), "group": group, "dilations": dilations}
    return "Conv", [w.transpose(0, 3, 1, 2), b], attributes


def _linear(node: Node, data: list[Array]) -> Step:
    return "Gemm", data, {"transB": 1}


def _clip(node: Node, data: list[Array]) -> Step:
    return "Clip", [np.asarray(node.attributes[k], np.float32) for k in ("min", "max")], {}


def _average(node: Node, data: list[Array]) -> Step:
    counted = int(node.attributes["count_include_pad"])
    return "AveragePool", [], {**_window(node.attributes), "count_include_pad": counted}


def _unflatten(node: Node, data: list[Array]) -> Step:
    height, width, channels = node.attributes["shape"]
    return "Reshape", [np.asarray([0, channels, height, width])], {}


def _permute(node: Node, data: list[Array]) -> Step:
    there = {0: 2, 1: 3, 2: 1}  # our axis -> ONNX's
    height, width, channels = (there[axis] for axis in node.attributes["order"])
    return "Transpose", [], {"perm": [0, channels, height, width]}


def _reshape(node: Node, data: list[Array]) -> list[Step]:
    """In the order of our memory, channels last."""
    shape = node.attributes["shape"]
    steps: list[Step] = []
    if len(node.attributes["of"]) == 3:
        steps.append(("Transpose", [], {"perm": [0, 2, 3, 1]}))
    steps.append(("Reshape", [np.asarray([0, *shape])], {}))
    if len(shape) == 3:
        steps.append(("Transpose", [], {"perm": [0, 3, 1, 2]}))
    return steps


def _prelu(node: Node, data: list[Array]) -> Step:
    is_map = len(node.attributes["of"]) == 3
    return "PRelu", [d.reshape(-1, 1, 1) for d in data] if is_map else data, {}


def _activation(node: Node, data: list[Array]) -> tuple[str, list[Array], dict[str, Any]]:
    """What ONNX 17 lacks, onnxruntime has in a domain of its own; QuickGelu is x sigmoid(x)."""
    alpha, beta = node.attributes["alpha"], node.attributes["beta"]
    match node.attributes["function"]:
        case "hard_sigmoid":
            return "HardSigmoid", [], {"alpha": alpha, "beta": beta}
        case "elu":
            return "Selu", [], {"alpha": alpha, "gamma": beta}
        case "gelu":
            return "Gelu", [], {"domain": "com.microsoft"}
        case "gelu_tanh":
            return "FastGelu", [], {"domain": "com.microsoft"}
        case "silu":
            return "QuickGelu", [], {"alpha": 1.0, "domain": "com.microsoft"}
        case function:
            return {"hard_swish": "HardSwish"}.get(function, function.capitalize()), [], {}


Step = tuple[str, list[Array], dict[str, Any]]
"""An operator of ONNX, its constants, its attributes."""


def _axes(values: Any, neutral: int) -> list[int]:
    """One number an axis, channels first behind the batch."""
    return [neutral, *((values[2], *values[:2]) if len(values) == 3 else values)]


def _pad(node: Node, data: list[Array]) -> list[Step]:
    """Each element on an axis of its own, which zeros fill up to the step; then the border."""
    low, step, shape = (
        _axes(node.attributes[key], key != "low") for key in ("low", "step", "shape")
    )
    size = _axes(node.attributes["of"], 1)
    size[0] = SAMPLES
    apart = [n * s for n, s in zip(size, step, strict=True)]
    high = [y - a - b for y, a, b in zip(shape, low, apart, strict=True)]
    high[0] = 0
    alone = np.asarray([[n, 1] for n in size]).reshape(-1)
    filled = [0] * (2 * len(size)) + [v for s in step for v in (0, s - 1)]
    return [
        ("Reshape", [alone], {}),
        ("Pad", [np.asarray(filled)], {}),
        ("Reshape", [np.asarray(apart)], {}),
        ("Pad", [np.asarray([*low, *high])], {}),
    ]


def _slice(node: Node, data: list[Array]) -> list[Step]:
    """Padded, or cropped, to begin at `low` and to end with the last element, then thinned."""
    low, step, shape = (
        _axes(node.attributes[key], key != "low") for key in ("low", "step", "shape")
    )
    end = [a + (n - 1) * s + 1 for a, n, s in zip(low, shape, step, strict=True)]
    high = [e - n for e, n in zip(end, _axes(node.attributes["of"], 1), strict=True)]
    axes = np.arange(len(step))
    thinned = [np.zeros_like(axes), np.full_like(axes, 2**31), axes, np.asarray(step)]
    return [("Pad", [np.asarray([-a for a in low] + high)], {}), ("Slice", thinned, {})]


def _multiply(node: Node, data: list[Array]) -> Step:
    if len(node.attributes["of"]) == 3 and len(node.attributes["others"]) == 1:
        return "Einsum", [], {"equation": "nchw,nc->nchw"}
    return "Mul", [], {}


def _concat(node: Node, data: list[Array]) -> Step:
    axis = node.attributes["axis"]
    return "Concat", [], {"axis": (2, 3, 1)[axis] if len(node.attributes["of"]) == 3 else 1}


def _resize(node: Node, data: list[Array]) -> Step:
    scales = np.asarray([1, 1, *node.attributes["factor"]], np.float32)
    rule = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return "Resize", [np.zeros(0, np.float32), scales], {"mode": "nearest", **rule}


Translation = Callable[[Node, list[Array]], Step | list[Step]]
TRANSLATIONS: dict[str, Translation] = {
    "conv": _conv,
    "linear": _linear,
    "activation": _activation,
    "prelu": _prelu,
    "add": lambda node, data: ("Sub" if node.attributes["subtract"] else "Add", [], {}),
    "multiply": _multiply,
    "concat": _concat,
    "pad": _pad,
    "slice": _slice,
    "resize": _resize,
    "clip": _clip,
    "average_pool": _average,
    "unflatten": _unflatten,
    "permute": _permute,
    "reshape": _reshape,
    "max_pool": lambda node, data: ("MaxPool", [], _window(node.attributes)),
    "flatten": lambda node, data: ("Flatten", [], {}),
    "identity": lambda node, data: ("Identity", [], {}),
    "softmax": lambda node, data: ("Softmax", [], {"axis": -1}),
    "batch_norm": lambda node, data: (
        "BatchNormalization",
        data,
        {"epsilon": node.attributes["epsilon"]},
    ),
}


def _translated(node: Node, graph: Graph, data: list[Array]) -> list[Step]:
    """What onnxruntime computes for a node; attributes "of", "others": shapes of its inputs."""
    first, *others = (graph.tensors[name].shape for name in node.inputs)
    shapes = {"of": first, "others": others[0] if others else ()}
    node = replace(node, attributes={**node.attributes, **shapes})
    steps = TRANSLATIONS[node.op.name](node, data)
    return steps if isinstance(steps, list) else [steps]


def of_onnxruntime(graph: Graph, x: Array) -> dict[str, Array]:
    """Every node's output, channels first."""
    nodes, constants = [], []
    for node in graph.nodes:
        data = [graph.tensors[name].data for name in node.inputs]
        read = [name for name in node.inputs if graph.tensors[name].data is None]
        steps = _translated(node, graph, [d for d in data if d is not None])
        for count, (op, arrays, attributes) in enumerate(steps, start=1):
            names = [f"{node.name}:{count}:{index}" for index in range(len(arrays))]
            constants += [
                numpy_helper.from_array(np.ascontiguousarray(array), name)
                for array, name in zip(arrays, names, strict=True)
            ]
            made = node.outputs if count == len(steps) else [f"{node.name}:{count}"]
            nodes.append(helper.make_node(op, [*read, *names], made, **attributes))
            read = list(made)
    first = channels_first(x)
    inputs = [helper.make_tensor_value_info(INPUT, onnx.TensorProto.FLOAT, first.shape)]
    wanted = [node.outputs[0] for node in graph.nodes]
    outputs = [helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in wanted]
    proto = helper.make_model(
        helper.make_graph(nodes, "case", inputs, outputs, constants),
        opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)],
        ir_version=9,
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return dict(zip(wanted, session.run(wanted, {INPUT: first}), strict=True))


def assert_same(case: Case) -> None:
    """Each node is given what onnxruntime gave the node before, so that errors do not add up.

    Both sides round: onnxruntime each product and sum of `terms` + 1 terms in float32, ours not at
    all (float64). So they differ by (terms + 2) units of the sum of absolute values at most; ops
    without sums by 8 units, for an exponential or a square root.
    """
    graph = float_graph(case)
    x = samples(case, SAMPLES)
    expected = of_onnxruntime(graph, x)
    values: dict[str, Array] = {INPUT: x.astype(np.float64)}
    for node in graph.nodes:
        (size,) = evaluate_sizes(node, values, graph)
        (got,) = run(node, values, graph)
        wanted = expected[node.outputs[0]].astype(np.float64)
        wanted = wanted.transpose(0, 2, 3, 1) if wanted.ndim == 4 else wanted
        assert got.shape == wanted.shape, node.name
        weights = graph.tensors[node.inputs[1]].shape if node.op.weights else ()
        terms = max(int(np.prod(weights[1:])), int(np.prod(node.attributes.get("kernel", 1))))
        bound = (terms + 8) * UNIT * size + 1e-30
        assert (np.abs(got - wanted) <= bound).all(), f"{node.name}: {np.abs(got - wanted).max()}"
        values[node.outputs[0]] = wanted


def run(node: Node, values: dict[str, Array], graph: Graph) -> list[Array]:
    assert node.op.float_reference is not None
    constants = {name: graph.tensors[name].data for name in node.inputs}
    data = {n: c.astype(np.float64) for n, c in constants.items() if c is not None}
    arguments = [data[name] if name in data else values[name] for name in node.inputs]
    return list(node.op.float_reference(node.attributes, arguments))


def evaluate_sizes(node: Node, values: dict[str, Array], graph: Graph) -> list[Array]:
    """The sum of the absolute values of what is summed, for each output."""
    if node.op.name == "batch_norm":
        gamma, beta, mean, variance = (graph.tensors[n].data for n in node.inputs[1:])
        assert gamma is not None and beta is not None and mean is not None and variance is not None
        scale = np.abs(gamma / np.sqrt(variance + node.attributes["epsilon"]))
        return [(np.abs(values[node.inputs[0]]) + np.abs(mean)) * scale + np.abs(beta)]
    if node.op.name == "add":
        return [np.abs(values[node.inputs[0]]) + np.abs(values[node.inputs[1]])]
    if node.op.name == "activation":  # sums of x, 1 and an exponential below 1
        return [1 + np.abs(values[node.inputs[0]])]
    if not node.op.weights and node.op.name != "average_pool":
        return [np.abs(run(node, values, graph)[0])]
    bare = replace(node, attributes={k: v for k, v in node.attributes.items() if k != "clip"})
    absolute = {name: np.abs(value) for name, value in values.items()}
    tensors = {
        name: replace(t, data=None if t.data is None else np.abs(t.data))
        for name, t in graph.tensors.items()
    }
    return run(bare, absolute, replace(graph, tensors=tensors))


@pytest.mark.parametrize("case", CASES)
def test_every_node_of_a_case_is_that_of_onnxruntime(case: str) -> None:
    assert_same(CASES[case])


@given(case=single_layers())
@settings(max_examples=examples(150))
def test_a_layer_of_any_geometry_is_that_of_onnxruntime(case: Case) -> None:
    assert_same(case)


@pytest.mark.parametrize("case", ["linear", "zoo-2d", "ends-in-average"])
def test_a_batch_is_its_samples_one_by_one(case: str) -> None:
    graph, x = float_graph(CASES[case]), samples(CASES[case], 3).astype(np.float64)
    together = evaluate_float(graph, {INPUT: x})[graph.outputs[0]]
    for index in range(len(x)):
        alone = evaluate_float(graph, {INPUT: x[index : index + 1]})[graph.outputs[0]]
        np.testing.assert_allclose(alone[0], together[index], rtol=1e-12, atol=1e-12)
