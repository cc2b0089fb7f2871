"""float graph, ranges -> graph in the precision wanted: every op puts itself in integers.

Invariant: integer nodes come first, then float ones, and either may be absent. All are FORWARD or
keep ranges; weights of trained layers are state, all others constants.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import replace

import numpy as np

from insitu.errors import ConfigError, ModelError
from insitu.fixed_point import range_qparams, real_range
from insitu.graph.builder import Builder
from insitu.graph.model import Array, Graph, Kind, Node, QParams, Role, Units
from insitu.graph.scheme import Scheme
from insitu.ops import LAYER_RULES, TRAINING
from insitu.quantize.units import in_units


def quantize_graph(
    graph: Graph,
    ranges: Mapping[str, tuple[float, float]],
    trained: Set[str],
    scheme: Scheme | None = None,
    units: Units | None = None,
) -> Graph:
    """The forward pass from int8 input (float32 with precision "float32") to float32 scores.

    Args:
        ranges: of every activation, see `calibrate`.
        trained: names of the layers whose weights are to be trained.
        scheme: its precision says which layers are quantized, its preset how.
        units: of the input, see `input_units`; the ranges are then in them.

    Raises:
        ModelError: an op has no integer form.
        ConfigError: the precision does not suit the layers that are trained.
    """
    return quantize_with_names(graph, ranges, trained, scheme, units)[0]


def quantize_with_names(
    graph: Graph,
    ranges: Mapping[str, tuple[float, float]],
    trained: Set[str],
    scheme: Scheme | None = None,
    units: Units | None = None,
) -> tuple[Graph, dict[str, str]]:
    """`quantize_graph`, and the name of what stands for each float activation that it has."""
    border = first_float(graph, trained, "uint8" if scheme is None else scheme.precision)
    graph = graph if units is None else in_units(graph, units)
    quantizer = Quantizer(graph, ranges, trained, floats=border == 0, units=units)
    layer_rule = LAYER_RULES["default" if scheme is None else scheme.preset]
    for index, node in enumerate(graph.nodes):
        rule = layer_rule if layer_rule and node.op.weights else node.op.quantize
        if rule is None:
            raise ModelError(
                f'{graph.name}: {node.op.name} "{node.name}" cannot be quantized where it '
                "stands; only one reader may follow a layer that a normalization is folded into"
            )
        if index < border:
            rule(quantizer, node)
        else:
            quantizer.keep(node)
    integers = quantizer.finish()
    return integers, {**quantizer.names, graph.outputs[0]: integers.outputs[0]}


def first_float(graph: Graph, trained: Set[str], precision: str) -> int:
    """Index of the first node that stays in float32; the number of nodes where none does.

    With precision "mixed" it is the first trained layer of features (not maps) behind the last
    layer of maps: what comes before, trained or not, has 8 bits.

    Raises:
        ConfigError: no such layer is trained.
    """
    if precision != "mixed":
        return 0 if precision == "float32" else len(graph.nodes)
    border = len(graph.nodes)
    for index, node in enumerate(graph.nodes):
        if node.op.weights and len(graph.tensors[node.outputs[0]].shape) > 1:
            border = len(graph.nodes)
        elif node.op.weights and node.name in trained:
            border = min(border, index)
    if border == len(graph.nodes):
        raise ConfigError(
            f'{graph.name}: precision "mixed" keeps trained linear layers at the end in float, but '
            f'of {", ".join(sorted(trained))} none is one; train the last layer or say "uint8"'
        )
    return border


PARAMETERS = {"w": Role.WEIGHT, "bias": Role.BIAS}
"""Operands of a layer, in their order, and their roles."""


class Quantizer:
    """What an op's quantize rule may ask; it emits nodes into `builder`."""

    def __init__(
        self,
        graph: Graph,
        ranges: Mapping[str, tuple[float, float]],
        trained: Set[str],
        *,
        floats: bool = False,
        units: Units | None = None,
    ) -> None:
        """Start with the input, quantized to its range, or as `floats`."""
        self.graph, self._ranges, self._trained = graph, ranges, trained
        self.builder = Builder(graph.name)
        self.builder.channels_last = graph.channels_last
        x = graph.sample
        q = x.qparams or range_qparams(*ranges[x.name], float("-inf"), float("inf"))
        dtype = "float32" if floats else "int8"
        quantization = None if floats else replace(q, units=units)
        self._names = {x.name: self.builder.input("x", x.shape, dtype=dtype, qparams=quantization)}

    def quantized(self, tensor: str) -> str:
        """The integer graph's name for a float tensor."""
        return self._names[tensor]

    @property
    def names(self) -> dict[str, str]:
        """The integer graph's name for every float tensor so far."""
        return dict(self._names)

    def set(self, tensor: str, name: str) -> None:
        """Say what stands for a float tensor in the integer graph."""
        self._names[tensor] = name

    def parameter(
        self, node: Node, operand: str, data: Array, qparams: QParams | None = None
    ) -> str:
        """Add weights or biases of a layer: state where it is trained, else constants."""
        kind = Kind.STATE if self.is_trained(node) else Kind.CONSTANT
        role = PARAMETERS[operand]
        return self.builder.state(operand, data, role, layer=node.name, kind=kind, qparams=qparams)

    def keep(self, node: Node) -> None:
        """Emit a node as it is, in float32."""
        parameters = [name for name in node.inputs if name not in self._names]
        constants = [
            self.parameter(node, operand, _positive_zero(self.data(t)))
            for operand, t in zip(PARAMETERS, parameters, strict=False)
        ]
        inputs = [self._floating(node, name) for name in node.inputs if name in self._names]
        (y,) = self.builder.node(
            node.op, (*inputs, *constants), name=node.name, attributes=node.attributes
        )
        self.set(node.outputs[0], y)

    def _floating(self, node: Node, name: str) -> str:
        """An activation that the node reads, in float32."""
        x = self._names[name]
        if self.builder.tensors[x].dtype == "float32":
            return x
        (y,) = self.builder.node(
            TRAINING.to_float, (x,), name=f"{node.name}.dequantize", layer=node.name
        )
        return y

    def data(self, tensor: str) -> Array:
        """The value of a constant."""
        data = self.graph.tensors[tensor].data
        assert data is not None, tensor
        return data

    def calibrated(self, tensor: str) -> tuple[float, float]:
        """Range of an activation, by the network's own quantization where it has one."""
        known = self.known(tensor)
        return self._ranges[tensor] if known is None else real_range(known)

    def known(self, tensor: str) -> QParams | None:
        """The quantization that the network came with: of a weight its scale[row] alone."""
        return self.graph.tensors[tensor].qparams

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
            (scores,) = self.builder.node(TRAINING.to_float, (scores,), name="scores")
        return self.builder.finish((scores,))


def _positive_zero(data: Array) -> Array:
    """float32 without -0, so that passing over a product of 0 changes no bit."""
    return data.astype(np.float32) + np.float32(0.0)
