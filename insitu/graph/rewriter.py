"""A graph that simplifications change step by step: what they may ask, and what they may do.

Invariant: after every call the graph is valid and computes the same function. A change costs what
is around it, not the graph: nodes and tensors lie in dictionaries, in their order, and `changed`
says which nodes stand beside what was changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import replace
from typing import Any

from insitu.graph.model import Array, Graph, Kind, Node, OpDef, QParams, Tensor, Units

Step = tuple[OpDef, Mapping[str, Any]]
"""An op of one input, and its attributes."""

MANY = 8
"""Readers of one tensor from which on one more or less decides nothing for the others."""


class Rewriter:
    """What a simplification may ask and do; each call leaves a valid graph."""

    def __init__(self, graph: Graph, in_loss: str, keep: Set[str] = frozenset()) -> None:
        """Start with `graph`; in_loss: the function that the loss contains."""
        self._in_loss, self._keep = in_loss, keep
        self._whole: Graph | None = None
        self.graph = graph

    @property
    def graph(self) -> Graph:
        """The graph as it stands now."""
        if self._whole is None:
            nodes, tensors = tuple(self._nodes.values()), dict(self._tensors)
            self._whole = replace(self._given, nodes=nodes, tensors=tensors, outputs=self._outputs)
        return self._whole

    @graph.setter
    def graph(self, graph: Graph) -> None:
        self._given = graph
        self._whole = graph
        self._outputs = graph.outputs
        self._nodes = {node.name: node for node in graph.nodes}
        self._tensors = dict(graph.tensors)
        self._makers: dict[str, str] = {}
        self._readers: dict[str, dict[str, None]] = {}
        self._changed = dict.fromkeys(self._nodes)
        for node in graph.nodes:
            self._wire(node)

    def changed(self) -> Iterable[Node]:
        """The nodes that stand beside what was changed since the last call; at first all."""
        names, self._changed = self._changed, {}
        return [self._nodes[name] for name in names if name in self._nodes]

    def named(self, name: str) -> Node | None:
        """The node of that name as it stands now, None where it is gone."""
        return self._nodes.get(name)

    def is_kept(self, node: Node) -> bool:
        """Whether the node is wanted as a layer of its own."""
        return node.name in self._keep

    def tensor(self, name: str) -> Tensor:
        """The tensor of that name."""
        return self._tensors[name]

    def data(self, name: str) -> Array:
        """The value of a constant."""
        data = self._tensors[name].data
        assert data is not None, name
        return data

    def is_of_loss(self, node: Node, function: str) -> bool:
        """Whether the node, which computes `function`, ends the network and is part of the loss."""
        return function == self._in_loss and self.is_output(node.outputs[0])

    def is_output(self, name: str) -> bool:
        """Whether the graph hands the tensor out."""
        return name in self._outputs

    def sole_producer(self, node: Node) -> Node | None:
        """The node that makes the first input, if nobody else reads what it makes."""
        name = node.inputs[0]
        if self.is_output(name) or len(self._readers.get(name, ())) != 1:
            return None
        return self._nodes.get(self._makers.get(name, ""))

    def sole_consumer(self, node: Node) -> Node | None:
        """The only node that reads the first output."""
        name = node.outputs[0]
        readers = self._readers.get(name, {})
        if len(readers) != 1 or self.is_output(name):
            return None
        return self._nodes[next(iter(readers))]

    def readers(self, node: Node) -> tuple[Node, ...]:
        """All nodes that read the first output; none where the graph hands it out."""
        name = node.outputs[0]
        if self.is_output(name):
            return ()
        return tuple(self._nodes[reader] for reader in self._readers.get(name, ()))

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
        if len(self._readers[name]) > 1:
            name = f"{name}@{old.name}"
        self._tensors[name] = Tensor(
            name, data.shape, str(data.dtype), Kind.CONSTANT, data, qparams
        )
        self._put(old, replace(old, inputs=tuple({**old.operands, operand: name}.values())))

    def substitute(
        self, node: Node, op: OpDef, constants: Mapping[str, Array], attributes: Mapping[str, Any]
    ) -> None:
        """Put another op in a node's place, over its first input and constants of its own."""
        names = {key: f"{node.name}@{key}" for key in constants}
        for key, data in constants.items():
            self._tensors[names[key]] = Tensor(
                names[key], data.shape, str(data.dtype), Kind.CONSTANT, data
            )
        inputs = (node.inputs[0], *names.values())
        self._put(node, replace(node, op=op, inputs=inputs, attributes=attributes))

    def current(self, node: Node) -> Node:
        """The node as it stands now, after earlier changes."""
        return self._nodes[node.name]

    def bypass(self, node: Node, *, same_values: bool = True) -> bool:
        """Remove a node: its readers, and the graph's outputs, take its input instead.

        A quantization known of what the node made is now that of its input, which has none any
        more where it had other values.

        Returns:
            True, as a simplification that changed the graph.
        """
        x, y = node.inputs[0], node.outputs[0]
        self._unwire(self._nodes.pop(node.name))
        for name in list(self._readers.get(y, ())):
            reader = self._nodes[name]
            inputs = tuple(x if i == y else i for i in reader.inputs)
            self._put(reader, replace(reader, inputs=inputs))
        known = self._tensors.pop(y).qparams
        if known is not None or not same_values:
            self._tensors[x] = replace(self._tensors[x], qparams=known)
        self._outputs = tuple(x if name == y else name for name in self._outputs)
        self._mark(x)
        return True

    def left_to_readers(self, node: Node, units: Units | None) -> bool:
        """Remove a node whose readers do its work: they take its input, which stays as it is.

        Args:
            units: in which the input's values are what the node made of them.
        """
        x, y = (self.tensor(name) for name in (node.inputs[0], node.outputs[0]))
        alone = len(self._readers[x.name]) == 1
        self._tensors[y.name] = replace(y, qparams=x.qparams)
        self._tensors[x.name] = replace(x, units=units if alone else None)
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
        self._unwire(self._nodes[old.name])
        self._nodes[old.name] = new
        self._wire(new)
        self._changed[new.name] = None
        for name in (*new.inputs, *new.outputs):
            self._mark(name)

    def _wire(self, node: Node) -> None:
        for name in node.inputs:
            self._readers.setdefault(name, {})[node.name] = None
        for name in node.outputs:
            self._makers.setdefault(name, node.name)

    def _unwire(self, node: Node) -> None:
        self._whole = None
        for name in dict.fromkeys(node.inputs):
            del self._readers[name][node.name]
        for name in node.outputs:
            del self._makers[name]

    def _mark(self, tensor: str) -> None:
        """Say that something changed for those that write or read the tensor."""
        if tensor in self._makers:
            self._changed[self._makers[tensor]] = None
        readers = self._readers.get(tensor, {})
        if len(readers) <= MANY:
            self._changed.update(readers)

    def finish(self) -> Graph:
        """The graph without tensors that nobody names."""
        graph = self.graph
        used = {*graph.inputs, *graph.outputs}
        for node in graph.nodes:
            used.update(node.inputs, node.outputs)
        tensors = {k: t for k, t in graph.tensors.items() if k in used}
        return replace(graph, tensors=tensors)
