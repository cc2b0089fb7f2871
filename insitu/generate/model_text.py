"""What the texts of one model's C files have in common: names, calls, where each tensor lies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from insitu.artifacts import MemoryPlan
from insitu.generate.c_text import C_TYPES, c_names
from insitu.generate.state import StateLayout
from insitu.graph.model import DTYPES, CCall, Graph, Kind, Node, QParams, Role, Tensor
from insitu.graph.names import LABEL
from insitu.ops.losses.table import loss_node


@dataclass(frozen=True, eq=False)
class ModelText:
    """Everything that the text of one model depends on.

    Attributes:
        prefix: of all symbols, "insitu_NAME".
    """

    graph: Graph
    plan: MemoryPlan
    prefix: str
    state: StateLayout

    @property
    def input(self) -> Tensor:
        """The sample."""
        return self.graph.sample

    @property
    def label(self) -> Tensor:
        """The class, or the targets."""
        return self.graph.tensors[LABEL]

    @property
    def takes_targets(self) -> bool:
        """Whether labels are real targets, one an output, and no classes."""
        return self.label.dtype == "float32"

    @property
    def target_range(self) -> tuple[float, float]:
        """What a target may be."""
        low, high = loss_node(self.graph).attributes["targets"]
        return low, high

    @property
    def outputs(self) -> Tensor:
        """The scores."""
        return self.graph.scores

    @property
    def input_type(self) -> str:
        """C type of the sample's elements."""
        return C_TYPES[self.input.dtype]

    @cached_property
    def _calls(self) -> dict[str, CCall]:
        calls = {}
        for node in self.graph.nodes:
            assert node.op.c_call is not None, node.op.name
            calls[node.name] = node.op.c_call(node, self.graph)
        return calls

    def call(self, node: Node) -> CCall:
        """How a node is called."""
        return self._calls[node.name]

    @cached_property
    def names(self) -> dict[str, str]:
        """C identifiers of all tensors."""
        return c_names(self.graph.tensors)

    def declare(self, tensor: Tensor, name: str) -> str:
        """`int8_t conv1_w[72]`, `float learning_rate`; arrays are filled up to 4 bytes."""
        if tensor.role is Role.SETTING:
            return f"{C_TYPES[tensor.dtype]} {name}"
        width = DTYPES[tensor.dtype]
        size = -(-tensor.nbytes // 4) * 4 // width
        return f"{C_TYPES[tensor.dtype]} {name}[{size}]"

    def constants(self) -> tuple[Tensor, ...]:
        """Constants that some call names."""
        used = {
            argument[1:]
            for node in self.graph.nodes
            for argument in self.call(node).mentioned
            if argument.startswith("$")
        }
        return tuple(t for t in self.graph.of_kind(Kind.CONSTANT) if t.name in used)

    def constant(self, tensor: Tensor) -> str:
        """`int8_t insitu_model_conv1_w[72]`."""
        name = f"{self.prefix}_{self.names[tensor.name]}"
        return f"{C_TYPES[tensor.dtype]} {name}[{tensor.size}]"

    def dynamic_ranges(self) -> dict[str, QParams]:
        """State range -> the quantization that follows it."""
        ranges: dict[str, QParams] = {}
        for name in self.asked():
            q = self.graph.tensors[name].qparams
            if q is not None and q.range is not None:
                ranges[q.range] = q
        return ranges

    def asked(self) -> list[str]:
        """Tensors whose quantization some call asks for, in order, each once."""
        asked = [
            argument[1:]
            for node in self.graph.nodes
            for argument in self.call(node).mentioned
            if argument.startswith("?")
        ]
        return list(dict.fromkeys([self.input.name, *asked]))

    def argument(self, argument: str | tuple[str, ...], node: Node) -> str:
        """An argument of a `CCall` as a C expression."""
        if isinstance(argument, tuple):
            elements = ", ".join(self.argument(element, node) for element in argument)
            return f"({self._element_type(argument[0])}[]){{{elements}}}"
        kind, name = argument[:1], argument[1:]
        if kind == "!":
            return f"arena + {self.plan.scratch_offset(node.name)}"
        if kind not in "$?":
            return argument
        tensor = self.graph.tensors[name]
        if kind == "?":
            q = tensor.qparams
            assert q is not None, name
            return f"&q->{self.names[q.range]}" if q.range else f"&{self.names[name]}_q"
        if tensor.kind is Kind.INPUT:
            if tensor is self.label:
                return "target" if self.takes_targets else "&label"
            return "x"
        if tensor.kind is Kind.CONSTANT:
            return f"{self.prefix}_{self.names[name]}"
        if tensor.kind is Kind.STATE:
            single = tensor.role is Role.SETTING
            return f"{'&' if single else ''}state->{self.names[name]}"
        return self.names[name]

    def _element_type(self, argument: str) -> str:
        """Of an array of such arguments."""
        if argument.startswith("?"):
            return "const insitu_qparams_t *const"
        if argument.startswith("$"):
            return f"const {C_TYPES[self.graph.tensors[argument[1:]].dtype]} *const"
        return "const int32_t"

    def uses_dynamic(self, nodes: Iterable[Node]) -> bool:
        """Whether a call asks for quantization that follows a range."""
        return any(
            a.startswith("?") and getattr(self.graph.tensors[a[1:]].qparams, "range", None)
            for node in nodes
            for a in self.call(node).mentioned
        )

    def uses_state(self, nodes: Iterable[Node]) -> bool:
        """Whether a call names a state tensor."""
        return any(
            a.startswith("$") and self.graph.tensors[a[1:]].kind is Kind.STATE
            for node in nodes
            for a in self.call(node).mentioned
        )
