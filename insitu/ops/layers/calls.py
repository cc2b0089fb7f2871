"""The C calls of convolution and linear layers: kernels of their own, the same arguments.

`kernel` is what the kernel's name begins with: linear, conv, conv_groups. `shape` are the fields
that say how large the layer is.
"""

from __future__ import annotations

from collections.abc import Callable

from insitu.graph.model import CCall, Graph, Node, Tensor
from insitu.graph.rules import Attributes
from insitu.ops.numerics.geometry import linear_params
from insitu.ops.numerics.ranges import UNCLIPPED


def layer_tensors(node: Node, graph: Graph) -> tuple[Tensor, Tensor, Tensor]:
    """x, w and y of a layer; in its gradients dx and dy stand for them."""
    x = node["x"] if "x" in node else node.outputs[0]
    y = node["dy"] if "dy" in node else node.outputs[0]
    return graph.tensors[x], graph.operand(node, "w"), graph.tensors[y]


def layer_macs(node: Node, graph: Graph) -> int:
    """Of a layer, its input gradient or its update: all weights at every position."""
    _, w, y = layer_tensors(node, graph)
    return w.size * y.size // w.shape[0]


def of_linear(call: Callable[[Node, str, Attributes], CCall]) -> Callable[[Node, Graph], CCall]:
    """The rule of a layer whose rows of weights are as long as its input."""
    return lambda node, graph: call(node, "linear", linear_params(graph.operand(node, "w")))


def forward_call(node: Node, kernel: str, shape: Attributes) -> CCall:
    """y and, where its range follows, what was observed."""
    x, w, bias, multiplier, shift, *_ = node.inputs
    y, *observed = node.outputs
    return CCall(
        function=f"insitu_{kernel}_s8",
        params_type=f"insitu_{kernel}_params_t",
        params=shape,
        arguments=(
            *(f"?{x}", f"?{y}", f"${x}", f"${w}", f"${bias}", f"${multiplier}", f"${shift}"),
            *("!", f"${y}", f"${observed[0]}" if observed else "0"),
        ),
    )


def grad_input_call(node: Node, kernel: str, shape: Attributes, **more: int) -> CCall:
    """dx from dy and the weights before the step; more: parameters of the kernel."""
    dy, w, rel = node.inputs
    rescaling = {name: node.attributes[name] for name in ("drop", "multiplier", "shift")}
    return CCall(
        function=f"insitu_{kernel}_grad_input_s8",
        params_type=f"insitu_{kernel}_grad_input_params_t",
        params={"shape": shape, **rescaling, **more},
        arguments=(f"${dy}", f"${w}", f"${rel}", "!", f"${node.outputs[0]}"),
    )


def update_call(node: Node, kernel: str, shape: Attributes) -> CCall:
    """The step of weights and biases, in place."""
    dy, x, w, bias, rate, scale, generator = node.inputs
    return CCall(
        function=f"insitu_{kernel}_update_s8",
        params_type=f"insitu_{kernel}_params_t",
        params=shape,
        arguments=(
            *(f"?{dy}", f"?{x}", f"${dy}", f"${x}", f"${scale}", f"${rate}"),
            *("!", f"${generator}", f"${bias}", f"${w}"),
        ),
        counts_saturated=True,
    )


def forward_call_f32(node: Node, kernel: str, shape: Attributes, *scratch: str) -> CCall:
    """y; scratch: "!" where the kernel takes some."""
    x, w, b = node.inputs
    low, high = node.attributes.get("clip", UNCLIPPED)
    return CCall(
        function=f"insitu_{kernel}_f32",
        params_type=f"insitu_{kernel}_f32_params_t",
        params={"shape": shape, "min": float(low), "max": float(high)},
        arguments=(f"${x}", f"${w}", f"${b}", *scratch, f"${node.outputs[0]}"),
    )


def grad_input_call_f32(node: Node, kernel: str, shape: Attributes) -> CCall:
    """dx."""
    dy, w = node.inputs
    return CCall(
        function=f"insitu_{kernel}_grad_input_f32",
        params_type=f"insitu_{kernel}_params_t",
        params=shape,
        arguments=(f"${dy}", f"${w}", f"${node.outputs[0]}"),
    )


def update_call_f32(node: Node, kernel: str, shape: Attributes, *scratch: str) -> CCall:
    """The step of weights, after their decay, and biases, in place."""
    dy, x, w, b, rate = node.inputs
    weight_decay = float(node.attributes.get("weight_decay", 0.0))
    return CCall(
        function=f"insitu_{kernel}_update_f32",
        params_type=f"insitu_{kernel}_update_f32_params_t",
        params={"shape": shape, "weight_decay": weight_decay},
        arguments=(f"${dy}", f"${x}", f"${rate}", *scratch, f"${b}", f"${w}"),
        counts_saturated=True,
    )
