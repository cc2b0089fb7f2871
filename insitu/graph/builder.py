"""nodes one by one -> Graph: infers shapes, makes names unique.

Invariant: after every call the nodes so far form a valid graph.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from insitu.errors import ModelError
from insitu.graph.model import Array, Graph, Kind, Node, OpDef, Phase, QParams, Role, Tensor
from insitu.graph.scheme import Scheme


class Builder:
    """Collects tensors and nodes; `finish` returns the graph."""

    def __init__(
        self, name: str, graph: Graph | None = None, *, scheme: Scheme | None = None
    ) -> None:
        """Start empty, or from a graph that is to be extended by a scheme's training step."""
        self.name = name
        self.scheme = scheme or Scheme()
        self.tensors: dict[str, Tensor] = dict(graph.tensors) if graph else {}
        self.nodes: list[Node] = list(graph.nodes) if graph else []  # appended to, else unchanged
        self.inputs: list[str] = list(graph.inputs) if graph else []
        self.channels_last = graph is not None and graph.channels_last
        self.full_gradient = 1.0
        """The gradient of the loss that 127 stands for, see `ops.losses`."""
        self._names: set[str] = set()  # of the nodes that were looked at, as are the next two
        self._makers: dict[str, Node] = {}
        self._looked_at = 0
        self._counts: dict[str, int] = {}  # stem -> the last number it was given

    def unique(self, stem: str) -> str:
        """`stem`, or `stem.2`, `stem.3`, ... where it is taken."""
        self._look()
        count = self._counts.get(stem, 1)
        name = stem if count == 1 else f"{stem}.{count}"
        while name in self.tensors or name in self._names:
            count += 1
            name = f"{stem}.{count}"
        self._counts[stem] = count
        return name

    def producer(self, tensor: str) -> Node | None:
        """The node so far that writes `tensor`."""
        self._look()
        return self._makers.get(tensor)

    def _look(self) -> None:
        """Take the nodes into the indices that are not there yet."""
        for node in self.nodes[self._looked_at :]:
            self._names.add(node.name)
            for name in node.outputs:
                self._makers.setdefault(name, node)
        self._looked_at = len(self.nodes)

    def input(self, name: str, shape: Sequence[int], **fields: Any) -> str:
        """Declare something the caller hands in."""
        self.add_tensor(Tensor(name, tuple(shape), kind=Kind.INPUT, **fields))
        self.inputs.append(name)
        return name

    def constant(self, stem: str, data: Array, **fields: Any) -> str:
        """Add a tensor with a value, by default a constant (flash); returns its name.

        Args:
            fields: others of `Tensor`, such as `kind=Kind.STATE` and `qparams`.
        """
        name = self.unique(stem)
        fields = {"kind": Kind.CONSTANT, **fields}
        self.add_tensor(Tensor(name, data.shape, str(data.dtype), data=data, **fields))
        return name

    def state(self, stem: str, data: Array, role: Role, *, layer: str = "", **fields: Any) -> str:
        """Add what training keeps from step to step; its name is "LAYER.stem" for a layer.

        Args:
            fields: others of `Tensor`; weights of frozen layers are of `kind=Kind.CONSTANT`.
        """
        name = f"{layer}.{stem}" if layer else stem
        fields = {"kind": Kind.STATE, **fields}
        return self.constant(name, data, role=role, layer=layer, **fields)

    def add_tensor(self, tensor: Tensor) -> None:
        """Add a tensor whose name is new."""
        assert tensor.name not in self.tensors, tensor.name
        self.tensors[tensor.name] = tensor

    def node(
        self,
        op: OpDef,
        inputs: Sequence[str],
        *,
        name: str,
        attributes: Mapping[str, Any] | None = None,
        outputs: Sequence[str] = (),
        qparams: Sequence[QParams | None] = (),
        updates: Sequence[str] = (),
        layer: str = "",
        phase: Phase = Phase.FORWARD,
    ) -> tuple[str, ...]:
        """Append a node; returns the names of its outputs.

        Args:
            outputs: names wanted for the outputs, by default made from `name`.
            qparams: quantization of the outputs, where they are quantized.

        Raises:
            ModelError: the inputs' shapes do not fit the op.
        """
        attributes = dict(attributes or {})
        tensors = [self.tensors[i] for i in inputs if i]
        try:
            types = op.infer(attributes, tensors)
        except ModelError as error:
            raise ModelError(f'{op.name} "{name}": {error}') from None
        name = self.unique(name)
        names = []
        for index, kind in enumerate(types):
            stem = outputs[index] if index < len(outputs) else f"{name}.y"
            output = self.unique(stem)
            quant = qparams[index] if index < len(qparams) else None
            self.tensors[output] = Tensor(output, kind.shape, kind.dtype, qparams=quant)
            names.append(output)
        self.nodes.append(
            Node(
                name=name,
                op=op,
                inputs=tuple(inputs),
                outputs=tuple(names),
                attributes=attributes,
                updates=tuple(updates),
                layer=layer or name,
                phase=phase,
            )
        )
        return tuple(names)

    def gradient(
        self,
        op: OpDef,
        node: Node,
        inputs: Sequence[str],
        *,
        name: str = "grad",
        output: str = "dx",
        attributes: Mapping[str, Any] | None = None,
        qparams: QParams | None = None,
    ) -> str:
        """Append a node of `node`'s backward pass, called after it; returns what it makes.

        Args:
            inputs: the error first.
            qparams: of what it makes, by default that of the error.
        """
        (dx,) = self.node(
            op,
            inputs,
            name=f"{node.name}.{name}",
            outputs=(f"{node.name}.{output}",),
            attributes=attributes,
            qparams=(qparams or self.tensors[inputs[0]].qparams,),
            layer=node.layer,
            phase=Phase.BACKWARD,
        )
        return dx

    def finish(self, outputs: Sequence[str], *, keep: Sequence[str] = ()) -> Graph:
        """The graph, without tensors that no node and no quantization names, `keep` apart."""
        used = {*self.inputs, *outputs, *keep}
        for node in self.nodes:
            used.update(node.inputs, node.outputs)
        quantized = [t.qparams for t in self.tensors.values() if t.name in used]
        used.update(q.range for q in quantized if q is not None and q.range is not None)
        tensors = {name: tensor for name, tensor in self.tensors.items() if name in used}
        nodes, inputs = tuple(self.nodes), tuple(self.inputs)
        return Graph(self.name, nodes, tensors, inputs, tuple(outputs), self.channels_last)
