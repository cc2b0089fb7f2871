"""Networks as data -> what a whole training step costs: forward, backward, update.

The data are noise: inputs normal with mean 0 and deviation 1, labels drawn; weights are random as
well. So nothing is learnt, hardly an error is zero but where a ReLU stops it, and the figures do
not depend on how far a training has come.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from insitu.bench.count import RATE, Figure, count_step
from insitu.bench.networks import SMALL, float_graph
from insitu.data.samples import quantize_samples
from insitu.differentiate import differentiate
from insitu.graph.model import Graph, Node
from insitu.graph.scheme import Scheme
from insitu.measure.cost import DIRECTIONS
from insitu.prepare.layers import select_layers
from insitu.quantize import calibrate, quantize_graph
from insitu.run.stream import Stream
from insitu.tools.compilers import Toolchain

STEPS = 5
"""Training steps that are counted; figures are their mean. Of large networks one."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A network, a precision, what it is fed."""

    name: str
    step: Graph
    stream: Stream


def make_task(network: str, precision: str) -> Task:
    """The training step of a network and its records."""
    graph = float_graph(network)
    shape = graph.tensors[graph.inputs[0]].shape
    steps, samples = (STEPS, 64) if network in SMALL else (1, 8)
    rng = np.random.default_rng(4)
    x = rng.normal(size=(samples, *shape)).astype(np.float32)
    scheme = Scheme(precision=precision)
    trained = select_layers(graph, "all")
    step = differentiate(quantize_graph(graph, calibrate(graph, x), trained, scheme), scheme)
    q = step.tensors[step.inputs[0]].qparams
    records = x[:steps].reshape(steps, -1)
    if q is not None:
        records = quantize_samples(np.moveaxis(x[:steps], -1, 1), shape, q)
    classes = step.tensors[step.outputs[0]].size
    stream = Stream(
        x=records,
        labels=rng.integers(0, classes, steps).astype(np.int32),
        rates=np.full(steps, RATE, np.float32),
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
        for part, phases in DIRECTIONS.items()
    }
    return [figure("step", list(step.nodes)), *(figure(k, nodes) for k, nodes in parts.items())]
