"""the outputs of a file -> the one that carries the loss: scores, and nothing decided from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from insitu.errors import ModelError
from insitu.graph.model import Array

FLOATS = frozenset(
    {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE}
    | {onnx.TensorProto.BFLOAT16, onnx.TensorProto.UNDEFINED}
)
DECISIONS = frozenset({"ArgMax", "ArgMin", "ArrayFeatureExtractor", "TopK"})
"""Operators that say which score is best."""


def loss_output(graph: onnx.GraphProto, chosen: str | None) -> str:
    """The output that is wanted; by default the only one that holds scores.

    Raises:
        ModelError: there is none of that name, or several that could be meant.
    """
    writers = {name: node for node in graph.node for name in node.output}
    names = [str(output.name) for output in graph.output]
    scores = [str(o.name) for o in graph.output if _holds_scores(o, writers)] or names
    if chosen is not None and chosen in names:
        if chosen in scores:
            return chosen
        raise ModelError(
            f'the output "{chosen}" says what is decided from the scores, which cannot be trained; '
            f"say {_flag(scores[0])}"
        )
    if chosen is None and len(scores) == 1:
        return scores[0]
    listed = ", ".join(f"{output.name}{_declared(output)}" for output in graph.output)
    have = f"has {len(names)} output{'s' * (len(names) != 1)} ({listed})"
    if chosen is not None:
        raise ModelError(f'{have}, none is called "{chosen}"; name one of them')
    raise ModelError(f"{have}, 1 carries the loss; say which: {_flag(scores[0])}")


def _flag(name: str) -> str:
    return f'--output {name}, in Python output="{name}"'


def _holds_scores(output: onnx.ValueInfoProto, writers: Mapping[str, onnx.NodeProto]) -> bool:
    """Whether it is of floats, or such behind a ZipMap, and no decision."""
    node = writers.get(output.name)
    if node is not None and node.op_type == "ZipMap":
        return True
    if output.type.WhichOneof("value") not in (None, "tensor_type"):
        return False
    seen = 0
    while node is not None and seen < len(writers):
        if node.op_type in DECISIONS:
            return False
        node, seen = writers.get(next(iter(node.input), "")), seen + 1
    return output.type.tensor_type.elem_type in FLOATS


def _declared(entry: onnx.ValueInfoProto) -> str:
    """`[n, 10]`, as far as the file says it."""
    if not entry.type.tensor_type.HasField("shape"):
        return "[?]"
    dims = entry.type.tensor_type.shape.dim
    sizes = (str(d.dim_value) if d.HasField("dim_value") else d.dim_param or "?" for d in dims)
    return f"[{', '.join(sizes)}]"


def scores_of(
    nodes: Sequence[onnx.NodeProto], constants: Mapping[str, Array], output: str
) -> tuple[str, str]:
    """The tensor of scores that an output is made of, and what is to be told of that.

    A ZipMap gives them names; of two classes the first is 1 - p beside p, where p is all there is.
    """
    writers = {name: node for node in nodes for name in node.output}
    node = writers.get(output)
    while node is not None and node.op_type in ("ZipMap", "Identity"):
        output = str(node.input[0])
        node = writers.get(output)
    if node is None or node.op_type != "Concat" or len(node.input) != 2:
        return output, ""
    other, p = (str(name) for name in node.input)
    made, source = writers.get(other), writers.get(p)
    if made is None or source is None or (made.op_type, source.op_type) != ("Sub", "Sigmoid"):
        return output, ""
    one = constants.get(made.input[0])
    if made.input[1] != p or one is None or one.size != 1 or np.any(one != 1):
        return output, ""
    return p, (
        f'of the two probabilities in "{output}" the network has one, that of the second class; '
        "train it with the loss bce and labels of 0 and 1"
    )
