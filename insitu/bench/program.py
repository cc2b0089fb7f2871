"""Layers -> one training step that runs the kernels of each on data of its own, and nothing else.

Invariant: the nodes are those that quantization and the ops' gradient rules emit. Inputs are
constants over all of int8; errors are constants with a known share of zeros.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from insitu.bench.layers import Layer
from insitu.differentiate import differentiate
from insitu.fixed_point import symmetric_qparams
from insitu.graph.builder import Builder
from insitu.graph.model import Array, Graph, Kind, Node, Phase, QParams, Tensor
from insitu.graph.names import GENERATOR, LEARNING_RATE
from insitu.ops import OPS
from insitu.prepare.simplify import simplify
from insitu.quantize import calibrate, quantize_graph

DENSE, SPARSE, ROWS = "dense", "sparse", "rows"
SHARE = 0.1
"""Of errors that are not zero: anywhere ("sparse"), or in whole channels ("rows")."""

PHASES = {Phase.FORWARD: "forward", Phase.BACKWARD: "grad_input", Phase.UPDATE: "update"}
CLASSES = 10


@dataclass(frozen=True, kw_only=True)
class Job:
    """A node whose instructions are wanted.

    Attributes:
        kernel: e.g. "conv.grad_input".
        errors: "dense", "sparse", "rows"; "" where none are read.
        work: what a figure is divided by, in `unit`: MACs, or outputs where there are none.
    """

    kernel: str
    layer: Layer
    errors: str
    node: str
    work: int
    unit: str
    scratch_bytes: int


@dataclass(frozen=True, eq=False)
class Program:
    """A training step and the nodes of it that count."""

    step: Graph
    jobs: tuple[Job, ...]


def make_program(layers: Sequence[Layer]) -> Program:
    """One step with the kernels of all layers, one after the other."""
    base = _base()
    builder = Builder(base.name, base)
    found: list[tuple[str, Layer, str, Node]] = []
    for index, layer in enumerate(layers):
        for kernel, errors, node in _emit(builder, layer, f"layer{index}"):
            found.append((kernel, layer, errors, node))
    step = builder.finish(base.outputs, keep=(LEARNING_RATE, GENERATOR))
    step = step.with_nodes(sorted(step.nodes, key=lambda node: node.phase is not Phase.FORWARD))
    return Program(step, tuple(_job(step, *each) for each in found))


def _job(step: Graph, kernel: str, layer: Layer, errors: str, node: Node) -> Job:
    macs = node.op.macs(node, step)
    return Job(
        kernel=kernel,
        layer=layer,
        errors=errors,
        node=node.name,
        work=macs or step.tensors[node.outputs[0]].size,
        unit="MAC" if macs else "output",
        scratch_bytes=node.op.scratch_bytes(node, step),
    )


def _base() -> Graph:
    """A step that never ends early: four features, ten classes."""
    graph = float_network(Layer(group="", op="linear", shape=(4,), out=CLASSES))
    x = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)
    return differentiate(quantize_graph(graph, calibrate(graph, x), {"layer"}))


def float_network(*layers: Layer) -> Graph:
    """The layers one after the other, with random weights."""
    rng = np.random.default_rng(1)
    builder = Builder("bench")
    x = builder.input("x", layers[0].shape)
    for layer in layers:
        inputs = [x]
        if layer.out:
            channels = builder.tensors[x].shape[-1] // layer.attributes.get("groups", 1)
            terms = (*layer.window, channels)
            w = rng.normal(0, np.sqrt(2 / np.prod(terms)), (layer.out, *terms))
            inputs.append(builder.constant("w", w.astype(np.float32)))
            inputs.append(builder.constant("b", rng.normal(0, 0.2, layer.out).astype(np.float32)))
        (x,) = builder.node(OPS[layer.op], inputs, name="layer", attributes=layer.attributes)
    return builder.finish((x,))


def _emit(builder: Builder, layer: Layer, name: str) -> Iterator[tuple[str, str, Node]]:
    """The layer's nodes into the program -> (kernel, errors, node) of those that count."""
    rng = np.random.default_rng(2)
    head = Layer(group="", op="linear", shape=(1,), out=2)
    graph = simplify(float_network(layer, Layer(group="", op="flatten", shape=(1,)), head))
    x = rng.normal(size=(4, *layer.shape)).astype(np.float32)
    integers = quantize_graph(graph, calibrate(graph, x), {"layer"} if layer.out else set())
    (forward,) = (n for n in integers.nodes if n.name == "layer")
    data = rng.integers(-128, 128, layer.shape).astype(np.int8)
    kept = _merge(builder, integers, [n for n in integers.nodes if n.layer == "layer"], name, data)
    for node in kept:
        if node.name == f"{name}.{forward.name}":
            forward = node
            yield f"{layer.op}.forward", "", node
        elif node.phase is Phase.FORWARD:
            yield node.op.name, "", node
    y = forward.outputs[0]
    for errors in (DENSE, SPARSE, ROWS) if len(layer.shape) == 3 and layer.out else (DENSE, SPARSE):
        dy = builder.constant(
            f"{name}.{errors}",
            _errors(rng, builder.tensors[y].shape, errors),
            qparams=symmetric_qparams(1 / 127),
        )
        first = len(builder.nodes)
        assert forward.op.vjp is not None
        forward.op.vjp(builder, forward, dy, frozenset({"x", "w"}))
        for node in builder.nodes[first:]:
            yield f"{layer.op}.{PHASES[node.phase]}", errors, node


def _errors(rng: np.random.Generator, shape: tuple[int, ...], errors: str) -> Array:
    """int8 of [-127, 127] without zeros, but for those that `errors` asks for."""
    dy = rng.integers(1, 128, shape) * rng.choice([-1, 1], shape)
    if errors != DENSE:
        places = int(np.prod(shape)) if errors == SPARSE else shape[-1]
        nonzero = np.arange(places) < max(round(SHARE * places), 1)
        rng.shuffle(nonzero)
        dy = dy * (nonzero.reshape(shape) if errors == SPARSE else nonzero)
    return np.asarray(dy, np.int8)


def _merge(
    builder: Builder, graph: Graph, nodes: Sequence[Node], prefix: str, x: Array
) -> list[Node]:
    """Another graph's nodes into the builder, its input as the constant `x`."""

    def renamed(name: str) -> str:
        return f"{prefix}.{name}"

    def quantization(q: QParams | None) -> QParams | None:
        return q if q is None or q.range is None else replace(q, range=renamed(q.range))

    used = {name for node in nodes for name in (*node.inputs, *node.outputs)}
    used |= {q.range for n in used if (q := graph.tensors[n].qparams) and q.range}
    for name in sorted(used):
        t: Tensor = graph.tensors[name]
        t = replace(t, name=renamed(name), qparams=quantization(t.qparams))
        if t.kind is Kind.INPUT:
            t = replace(t, kind=Kind.CONSTANT, data=x)
        builder.add_tensor(t)
    merged = [
        replace(
            node,
            name=renamed(node.name),
            inputs=tuple(map(renamed, node.inputs)),
            outputs=tuple(map(renamed, node.outputs)),
            updates=tuple(map(renamed, node.updates)),
            layer=prefix,
        )
        for node in nodes
    ]
    builder.nodes += merged
    return merged
