"""A graph that simplifications change step by step: what they may ask, and what they may do.

Invariant: after every call the graph is valid and computes the same function.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import replace
from typing import Any

from insitu.graph.model import Array, Graph, Kind, Node, OpDef, QParams, Tensor, Units

Step = tuple[OpDef, Mapping[str, Any]]
"""An op of one input, and its attributes."""


class Rewriter:
    """What a simplification may ask and do; each call leaves a valid graph."""

    def __init__(self, graph: Graph, in_loss: str, keep: Set[str] = frozenset()) -> None:
        """Start with `graph`; in_loss: the function that the loss contains."""
        self.graph, self._in_loss, self._keep = graph, in_loss, keep

    def is_kept(self, node: Node) -> bool:
        """Whether the node is wanted as a layer of its own."""
        return node.name in self._keep

    def tensor(self, name: str) -> Tensor:
        """The tensor of that name."""
        return self.graph.tensors[name]

    def data(self, name: str) -> Array:
        """The value of a constant."""
        data = self.graph.tensors[name].data
        assert data is not None, name
        return data

    def is_of_loss(self, node: Node, function: str) -> bool:
        """Whether the node, which computes `function`, ends the network and is part of the loss."""
        return function == self._in_loss and self.is_output(node.outputs[0])

    def is_output(self, name: str) -> bool:
        """Whether the graph hands the tensor out."""
        return name in self.graph.outputs

    def sole_producer(self, node: Node) -> Node | None:
        """The node that makes the first input, if nobody else reads what it makes."""
        name = node.inputs[0]
        if self.is_output(name) or len(self.graph.consumers(name)) != 1:
            return None
        return self.graph.producer(name)

    def sole_consumer(self, node: Node) -> Node | None:
        """The only node that reads the first output."""
        name = node.outputs[0]
        consumers = self.graph.consumers(name)
        return consumers[0] if len(consumers) == 1 and not self.is_output(name) else None

    def readers(self, node: Node) -> tuple[Node, ...]:
        """All nodes that read the first output; none where the graph hands it out."""
        name = node.outputs[0]
        return () if self.is_output(name) else self.graph.consumers(name)

    def reader_first(self, node: Node) -> bool:
        """Simplify the only node that reads the first output; whether that changed the graph."""
        reader = self.sole_consumer(node)
        return (
            reader is not None
            and reader.op.simplify is not None
            and reader.op.simplify(self, reader)
        )

    def replace(self, node: Node, *, attributes: Mapping[str, Any]) -> None:
        """Give a node other attributes."""
        self._put(node, replace(node, attributes=attributes))

    def replace_data(
        self, node: Node, operand: str, data: Array, qparams: QParams | None = None
    ) -> None:
        """Give a node's constant operand another value; other readers keep the old one."""
        old = self.current(node)
        name = old[operand]
        if len(self.graph.consumers(name)) > 1:
            name = f"{name}@{old.name}"
        tensors = dict(self.graph.tensors)
        tensors[name] = Tensor(name, data.shape, str(data.dtype), Kind.CONSTANT, data, qparams)
        self.graph = replace(self.graph, tensors=tensors)
        self._put(old, replace(old, inputs=tuple({**old.operands, operand: name}.values())))

    def substitute(
        self, node: Node, op: OpDef, constants: Mapping[str, Array], attributes: Mapping[str, Any]
    ) -> None:
        """Put another op in a node's place, over its first input and constants of its own."""
        tensors = dict(self.graph.tensors)
        names = {key: f"{node.name}@{key}" for key in constants}
        for key, data in constants.items():
            tensors[names[key]] = Tensor(
                names[key], data.shape, str(data.dtype), Kind.CONSTANT, data
            )
        self.graph = replace(self.graph, tensors=tensors)
        inputs = (node.inputs[0], *names.values())
        self._put(node, replace(node, op=op, inputs=inputs, attributes=attributes))

    def current(self, node: Node) -> Node:
        """The node as it stands now, after earlier changes."""
        return next(n for n in self.graph.nodes if n.name == node.name)

    def bypass(self, node: Node, *, same_values: bool = True) -> bool:
        """Remove a node: its readers, and the graph's outputs, take its input instead.

        A quantization known of what the node made is now that of its input, which has none any
        more where it had other values.

        Returns:
            True, as a simplification that changed the graph.
        """
        x, y = node.inputs[0], node.outputs[0]
        nodes = [
            replace(n, inputs=tuple(x if name == y else name for name in n.inputs))
            for n in self.graph.nodes
            if n.name != node.name
        ]
        tensors = {name: t for name, t in self.graph.tensors.items() if name != y}
        known = self.graph.tensors[y].qparams
        if known is not None or not same_values:
            tensors[x] = replace(tensors[x], qparams=known)
        outputs = tuple(x if name == y else name for name in self.graph.outputs)
        self.graph = replace(self.graph, nodes=tuple(nodes), tensors=tensors, outputs=outputs)
        return True

    def left_to_readers(self, node: Node, units: Units | None) -> bool:
        """Remove a node whose readers do its work: they take its input, which stays as it is.

        Args:
            units: in which the input's values are what the node made of them.
        """
        x, y = (self.tensor(name) for name in (node.inputs[0], node.outputs[0]))
        alone = len(self.graph.consumers(x.name)) == 1
        tensors = dict(self.graph.tensors)
        tensors[y.name] = replace(y, qparams=x.qparams)
        tensors[x.name] = replace(x, units=units if alone else None)
        self.graph = replace(self.graph, tensors=tensors)
        return self.bypass(node)

    def enclose(self, node: Node, before: Step, after: Step) -> None:
        """Put a node between two others, which change the form of what it reads and makes."""
        x, y = (self.tensor(name) for name in (node.inputs[0], node.outputs[0]))
        first, inner = (f"{node.name}@{part}" for part in ("x", "y"))
        (op, attributes), (last, last_attributes) = before, after
        tensors = dict(self.graph.tensors)
        for name, like in ((first, x), (inner, y)):
            (kind,) = op.infer(attributes, [like])
            tensors[name] = replace(like, name=name, shape=kind.shape, kind=Kind.ACTIVATION)
        rest = node.inputs[1:]
        chain = (
            Node(f"{node.name}@before", op, (x.name,), (first,), attributes, layer=node.layer),
            replace(node, inputs=(first, *rest), outputs=(inner,)),
            Node(
                f"{node.name}@after", last, (inner,), (y.name,), last_attributes, layer=node.layer
            ),
        )
        nodes = tuple(
            part for n in self.graph.nodes for part in (chain if n.name == node.name else (n,))
        )
        self.graph = replace(self.graph, nodes=nodes, tensors=tensors)

    def _put(self, old: Node, new: Node) -> None:
        nodes = tuple(new if n.name == old.name else n for n in self.graph.nodes)
        self.graph = replace(self.graph, nodes=nodes)

    def finish(self) -> Graph:
        """The graph without tensors that nobody names."""
        used = {*self.graph.inputs, *self.graph.outputs}
        for node in self.graph.nodes:
            used.update(node.inputs, node.outputs)
        tensors = {k: t for k, t in self.graph.tensors.items() if k in used}
        return replace(self.graph, tensors=tensors)
