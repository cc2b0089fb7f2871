"""the nodes behind the input -> whether samples have their channels last, as Keras and JAX do."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

from onnx import NodeProto

PASSED = {"Add", "Cast", "Clip", "DequantizeLinear", "Div", "Dropout", "Identity", "Mul"}
PASSED |= {"QuantizeLinear", "Relu", "Sub"}
"""Operators behind which the axes are the same."""


def has_channels_last(
    entry: str,
    rank: int,
    readers: Mapping[str, Sequence[NodeProto]],
    constants: Container[str],
) -> bool:
    """Whether all that reads the axes of an input takes the last for the channels.

    Args:
        rank: of the input, its batch included.
        readers: of each tensor.
        constants: names of initializers.
    """
    waiting, seen, votes = [entry], {entry}, set[bool]()
    while waiting and rank > 2:
        name = waiting.pop()
        for node in readers.get(name, ()):
            if node.op_type not in PASSED:
                votes.add(_takes_last(node, name, rank, constants))
                continue
            waiting.extend(output for output in node.output if output not in seen)
            seen.update(node.output)
    return votes == {True}


def _takes_last(node: NodeProto, name: str, rank: int, constants: Container[str]) -> bool:
    """Whether a node brings the last axis to the place of the channels, or works along it."""
    if node.op_type == "Transpose":
        perm = next((list(a.ints) for a in node.attribute if a.name == "perm"), [])
        return perm == [0, rank - 1, *range(1, rank - 1)]
    weighted = node.op_type == "MatMul" and list(node.input[:1]) == [name]
    return weighted and node.input[1] in constants
