"""the nodes behind the input -> whether samples have their channels last, as Keras and JAX do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onnx import NodeProto

from insitu.frontends.onnx.order import Shape
from insitu.graph.model import Array

PASSED = {"Add", "Cast", "Clip", "DequantizeLinear", "Div", "Dropout", "Identity", "Mul"}
PASSED |= {"QuantizeLinear", "Relu", "Sub"}
"""Operators behind which the axes are the same."""


def has_channels_last(
    entry: str,
    shape: Shape,
    readers: Mapping[str, Sequence[NodeProto]],
    constants: Mapping[str, Array],
) -> bool:
    """Whether all that reads the axes of an input takes the last for the channels.

    Args:
        shape: of a sample, without the batch.
        readers: of each tensor.
        constants: initializers.
    """
    waiting, seen, votes = [entry], {entry}, set[bool]()
    while waiting and len(shape) > 1:
        name = waiting.pop()
        for node in readers.get(name, ()):
            if node.op_type not in PASSED and not _keeps_last(node, shape, constants):
                votes.add(_takes_last(node, name, len(shape) + 1, constants))
                continue
            waiting.extend(output for output in node.output if output not in seen)
            seen.update(node.output)
    return votes == {True}


def _keeps_last(node: NodeProto, shape: Shape, constants: Mapping[str, Array]) -> bool:
    """Whether a node makes one axis of all but the last."""
    read = node.op_type == "Reshape" and len(node.input) == 2
    target = constants.get(node.input[1]) if read else None
    return target is not None and target.shape == (2,) and int(target[-1]) == shape[-1]


def _takes_last(node: NodeProto, name: str, rank: int, constants: Mapping[str, Array]) -> bool:
    """Whether a node brings the last axis to the place of the channels, or works along it."""
    if node.op_type == "Transpose":
        perm = next((list(a.ints) for a in node.attribute if a.name == "perm"), [])
        return perm == [0, rank - 1, *range(1, rank - 1)]
    weighted = node.op_type in ("Gemm", "MatMul") and list(node.input[:1]) == [name]
    return weighted and len(node.input) > 1 and node.input[1] in constants
