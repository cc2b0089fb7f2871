"""float graph, ranges -> integer graph: every op puts itself in integers.

Invariant: the integer graph's nodes are FORWARD or keep its ranges; weights of trained layers are
state, all others constants.
"""

from __future__ import annotations

from collections.abc import Mapping, Set

from insitu.errors import ModelError
from insitu.fixed_point import range_qparams
from insitu.graph.builder import Builder
from insitu.graph.model import Array, Graph, Node
from insitu.graph.scheme import Scheme
from insitu.ops import OPS, paper


def quantize_graph(
    graph: Graph,
    ranges: Mapping[str, tuple[float, float]],
    trained: Set[str],
    scheme: Scheme | None = None,
) -> Graph:
    """The forward pass in integers, from int8 input to float32 scores.

    Args:
        ranges: of every activation, see `calibrate`.
        trained: names of the layers whose weights are to be trained.
        scheme: its preset says how layers are quantized.

    Raises:
        ModelError: an op has no integer form.
    """
    quantizer = Quantizer(graph, ranges, trained)
    own = paper.QUANTIZE if scheme is not None and scheme.preset == "paper" else {}
    for node in graph.nodes:
        rule = own.get(node.op.name, node.op.quantize)
        if rule is None:
            raise ModelError(
                f'{graph.name}: {node.op.name} "{node.name}" cannot be quantized where it '
                "stands; remove it or place it at the end of the network"
            )
        rule(quantizer, node)
    return quantizer.finish()


class Quantizer:
    """What an op's quantize rule may ask; it emits nodes into `builder`."""

    def __init__(
        self, graph: Graph, ranges: Mapping[str, tuple[float, float]], trained: Set[str]
    ) -> None:
        """Start with the input, quantized to its range."""
        self.graph, self._ranges, self._trained = graph, ranges, trained
        self.builder = Builder(graph.name)
        x = graph.tensors[graph.inputs[0]]
        q = range_qparams(*ranges[x.name], float("-inf"), float("inf"))
        self._names = {x.name: self.builder.input("x", x.shape, dtype="int8", qparams=q)}

    def quantized(self, tensor: str) -> str:
        """The integer graph's name for a float tensor."""
        return self._names[tensor]

    def set(self, tensor: str, name: str) -> None:
        """Say what stands for a float tensor in the integer graph."""
        self._names[tensor] = name

    def data(self, tensor: str) -> Array:
        """The value of a constant."""
        data = self.graph.tensors[tensor].data
        assert data is not None, tensor
        return data

    def calibrated(self, tensor: str) -> tuple[float, float]:
        """Range of an activation."""
        return self._ranges[tensor]

    def is_trained(self, node: Node) -> bool:
        """Whether the node's weights are to be trained."""
        return node.name in self._trained

    def is_scores(self, tensor: str) -> bool:
        """Whether the tensor is the network's output and nothing else."""
        return tensor == self.graph.outputs[0] and not self.graph.consumers(tensor)

    def finish(self) -> Graph:
        """The integer graph; its output is float32."""
        scores = self._names[self.graph.outputs[0]]
        if self.builder.tensors[scores].dtype != "float32":
            (scores,) = self.builder.node(OPS["dequantize"], (scores,), name="scores")
        return self.builder.finish((scores,))
