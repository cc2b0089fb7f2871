"""Networks as data -> what a whole training step costs: forward, backward, update.

The data are noise: inputs normal with mean 0 and deviation 1, labels drawn; weights are random as
well. So nothing is learnt, hardly an error is zero but where a ReLU stops it, and the figures do
not depend on how far a training has come.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from insitu.bench.count import RATE, Figure, count_step
from insitu.bench.layers import Layer, conv, linear
from insitu.bench.program import float_network
from insitu.differentiate import differentiate
from insitu.graph.model import Graph, Node, Phase
from insitu.graph.scheme import Scheme
from insitu.layers import select_layers
from insitu.quantize import calibrate, quantize_graph
from insitu.run.stream import Stream
from insitu.samples import quantize_samples
from insitu.simplify import simplify
from insitu.toolchains import Toolchain

STEPS = 5
"""Training steps that are counted; figures are their mean."""

RELU = Layer(group="", op="clip", shape=(), attributes={"min": 0.0, "max": math.inf})
FLATTEN = Layer(group="", op="flatten", shape=())
STRIDE = (2, 2)

NETWORKS: dict[str, tuple[Layer, ...]] = {
    "MLP 64-32-10": (linear("", 64, 32), RELU, linear("", 32, 10)),
    "MLP 784-64-10": (linear("", 784, 64), RELU, linear("", 64, 10)),
    "Fashion-MNIST CNN": (
        *(conv("", (28, 28, 1), 16, stride=STRIDE), RELU),
        *(conv("", (14, 14, 16), 32, stride=STRIDE), RELU, FLATTEN),
        *(linear("", 1568, 64), RELU, linear("", 64, 10)),
    ),
}
"""All layers are trained."""

PARTS = {
    "forward": (Phase.FORWARD,),
    "backward": (Phase.LOSS, Phase.BACKWARD),
    "update": (Phase.UPDATE, Phase.APPLY),
}
"""Kernels "step.forward", ...; the loss belongs to the backward pass."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A network, a precision, what it is fed."""

    name: str
    step: Graph
    stream: Stream


def make_task(network: str, precision: str) -> Task:
    """The training step of a network and its records."""
    layers = NETWORKS[network]
    graph = simplify(float_network(*layers))
    rng = np.random.default_rng(4)
    x = rng.normal(size=(64, *layers[0].shape)).astype(np.float32)
    scheme = Scheme(precision=precision)
    trained = select_layers(graph, "all")
    step = differentiate(quantize_graph(graph, calibrate(graph, x), trained, scheme), scheme)
    q = step.tensors[step.inputs[0]].qparams
    records = x[:STEPS].reshape(STEPS, -1)
    if q is not None:
        first = np.moveaxis(x[:STEPS], -1, 1)
        records = quantize_samples(first, layers[0].shape, q)
    classes = step.tensors[step.outputs[0]].size
    stream = Stream(
        x=records,
        labels=rng.integers(0, classes, STEPS).astype(np.int32),
        rates=np.full(STEPS, RATE, np.float32),
    )
    return Task(name=f"{network} {precision}", step=step, stream=stream)


def count_task(core: str, task: Task, *, toolchain: Toolchain | None = None) -> list[Figure]:
    """The figures of the step and of its parts.

    Raises:
        ToolError: as `count.count_kernels`.
    """
    step = task.step
    instructions, cycles = count_step(core, step, stream=task.stream, toolchain=toolchain)
    scratch = max(node.op.scratch_bytes(node, step) for node in step.nodes)

    def figure(kernel: str, nodes: list[Node]) -> Figure:
        return Figure(
            core=core,
            row=f"{kernel} {task.name}",
            kernel=kernel,
            group=task.name,
            errors="",
            work=1,
            unit="step",
            instructions=sum(instructions.get(node.name, 0) for node in nodes),
            cycles=sum(cycles.get(node.name, 0) for node in nodes),
            scratch_bytes=scratch,
        )

    parts = {
        f"step.{part}": [node for node in step.nodes if node.phase in phases]
        for part, phases in PARTS.items()
    }
    return [figure("step", list(step.nodes)), *(figure(k, nodes) for k, nodes in parts.items())]
