"""names as exporters write them -> names that people type in globs.

Invariant: a name holds letters, digits, "_", "." and "-" only, so `--train "features.0*,fc?"`
can choose it.
"""

from __future__ import annotations

import re
from collections import Counter

from onnx import NodeProto

SCOPES, CLASSES = "pkg.torch.onnx.name_scopes", "pkg.torch.onnx.class_hierarchy"
"""Metadata of torch's dynamo exporter: the modules around a node, outermost first, and its op."""

STAND_INS = {
    "Gemm": "linear",
    "MatMul": "linear",
    "BatchNormalization": "batch_norm",
    "GlobalAveragePool": "average_pool",
    "GlobalMaxPool": "max_pool",
    "LogSoftmax": "softmax",
}
"""What a node without a name is called, where that is not its operator in lower case."""


class Names:
    """Gives each node a readable name; unnamed ones are counted by kind."""

    def __init__(self) -> None:
        """Start counting at one."""
        self._counts: Counter[str] = Counter()

    def of(self, node: NodeProto, weight: str = "") -> str:
        """The name for a node.

        Args:
            weight: name of the node's weight, which carries the layer's own name where torch's
                dynamo exporter called the node "node_conv2d".
        """
        op, name = node.op_type, node.name
        path = module_path(node)
        if path or name.startswith("node_"):
            weight = weight.removesuffix("_DequantizeLinear_Output")  # as onnxruntime quantizes
            layer = weight.removesuffix(".weight")
            name = layer if layer != weight else path or name.removeprefix("node_")
        readable = _readable(op, name)
        if readable:
            return readable
        stem = STAND_INS.get(op) or snake_case(op)
        self._counts[stem] += 1
        return f"{stem}{self._counts[stem]}"


def module_path(node: NodeProto) -> str:
    """Where torch's dynamo exporter says a node stands in the module; "" where it says nothing.

    "features.3" for the module itself, where it is one of torch's own layers; else the function
    that its `forward` calls is told too: "features.block.add".
    """
    told = {entry.key: entry.value for entry in node.metadata_props}
    *modules, function = _quoted(told.get(SCOPES, "")) or [""]
    classes = _quoted(told.get(CLASSES, ""))[:-1]
    path = modules[-1] if modules else ""
    own = bool(path) and bool(classes) and classes[-1].startswith("torch.nn.modules.")
    return path if own else ".".join(filter(None, (path, function)))


def _quoted(text: str) -> list[str]:
    """`['', 'features']` -> the strings in it."""
    return re.findall(r"'([^']*)'", text)


def snake_case(op: str) -> str:
    """`MaxPool` -> `max_pool`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", legible(op)).lower()


def legible(name: str) -> str:
    """`/features/0/relu:0` -> `features.0.relu_0`."""
    name = name.replace("/", ".").strip(".")
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name)[:100]


def _readable(op: str, name: str) -> str:
    """The node's own name; `/features/0/Conv` -> `features.0.conv`."""
    # TensorFlow joins the names of all that it fused by ";": the last that tells the op is ours
    parts = [part for part in name.split(";") if part]
    telling = [part for part in parts if op.lower() in part.lower()]
    name = re.sub(r"(/BiasAdd)?/ReadVariableOp/resource\d*$", "", (telling or parts or [""])[-1])
    name = legible(name)
    head, dot, tail = name.rpartition(".")
    if dot and re.fullmatch(rf"{re.escape(op)}(_\d+)?", tail):
        tail = snake_case(op) + tail[len(op) :]
    return head + dot + tail
