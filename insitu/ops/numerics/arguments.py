"""Arguments of kernels that several ops share, as `CCall.arguments` writes them."""

from __future__ import annotations

from insitu.graph.model import Call, CCall, Graph, Node


def pointers(node: Node) -> tuple[str, ...]:
    """The inputs and the first output, of a kernel that takes no quantization."""
    return tuple(f"${name}" for name in (*node.inputs, node.outputs[0]))


def observed(node: Node) -> str:
    """The output of that name, 0 where a node has none."""
    return f"${node.outputs[1]}" if len(node.outputs) > 1 else "0"


def rescaled(node: Node) -> tuple[str, ...]:
    """Of a kernel that brings all its inputs to the output's scale."""
    quantizations = (f"?{name}" for name in (*node.inputs, node.outputs[0]))
    return (*quantizations, *pointers(node), observed(node))


def size_call(function: str) -> Call:
    """The call of a kernel that needs to know nothing but the size of its output."""

    def c_call(node: Node, graph: Graph) -> CCall:
        params = {"size": graph.tensors[node.outputs[0]].size}
        return CCall(function, "insitu_size_params_t", params, pointers(node))

    return c_call
