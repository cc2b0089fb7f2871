"""Do networks hold that are as large as the bounds admit, with every tensor at its worst?

Each network brings one accumulator to the largest number of terms that is compiled. A prediction
and training steps at rate 1 put all weights, values and errors of that sum at their ends, of one
sign; numpy, in int64, looks at what comes together. The C runs under the sanitizers, and on cores.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from builds import core_firmware, host_library, source_of
from case_layers import ALL_1, FLATTEN, RELU, Case, Layer, average_pool, conv, grouped, linear
from case_models import float_graph
from fakes import MACHINES, toolchain_or_skip
from mixing_cases import multiply
from sanitized import run_sanitized

from insitu.differentiate import differentiate
from insitu.generate import state_layout
from insitu.graph.model import Array, Graph, Kind, Node, QParams, Role, Value
from insitu.graph.scheme import PartialUpdate, Scheme
from insitu.graph.verify import verify
from insitu.ops.layers.error import expand_error
from insitu.prepare.simplify import simplify
from insitu.quantize import calibrate, quantize_graph
from insitu.run import emulator
from insitu.run.reference import Reference
from insitu.run.stream import Stream
from insitu.tools.compilers import sanitizer_environment

DEFAULT, PAPER = Scheme(), Scheme(preset="paper")
SAMPLED = Scheme(partial=PartialUpdate(kind="sampled", least=0.5, most=0.5))
DYNAMIC = Scheme(partial=PartialUpdate(kind="dynamic", least=0.5, most=0.5))
SEED = 1
Sum = Callable[[Sequence[Value]], int]


def centred(value: Value) -> Array:
    """q - zero point."""
    assert value.qparams is not None
    return value.array.astype(np.int64) - value.qparams.zero_point


def products(inputs: Sequence[Value]) -> int:
    """Of a layer: the largest sum of a row, and its bias in the accumulator's unit."""
    x, w, bias = inputs[:3]
    sums = centred(w).reshape(len(w.array), -1) @ centred(x).reshape(-1)
    return int(np.abs(sums + bias.array.astype(np.int64)).max())


def affine_products(inputs: Sequence[Value]) -> int:
    """Of a layer of the preset paper, whose kernel makes the bias itself."""
    x, w, bias = inputs
    assert x.qparams is not None and w.qparams is not None
    unit = float(x.qparams.scale) * float(w.qparams.scale)
    in_acc = np.clip(np.round(bias.array * 2.0**-20 / unit), -(2**30), 2**30).astype(np.int64)
    sums = centred(w).reshape(len(w.array), -1) @ centred(x).reshape(-1)
    return int(np.abs(sums + in_acc).max())


def score_products(inputs: Sequence[Value]) -> int:
    """Of scores, whose bias is added in float."""
    x, w = inputs[:2]
    return int(np.abs(w.array.astype(np.int64) @ centred(x).reshape(-1)).max())


def errors_by_row(inputs: Sequence[Value], drop: int) -> int:
    """Of the error before a layer, for one position that all rows reach with one weight."""
    dy, w, rel = inputs[:3]
    wide = expand_error(dy.array.reshape(-1, len(w.array)), rel.array, drop)
    return int(np.abs(wide @ w.array.reshape(len(w.array), -1).astype(np.int64)).max())


def window_errors(inputs: Sequence[Value]) -> int:
    """Of the error before a convolution 3x3: what reaches the middle of its map."""
    dy, w, rel = inputs[:3]
    wide = expand_error(dy.array, rel.array, 0)[::-1, ::-1]
    return int(np.abs(np.einsum("yxo,oyxi->i", wide, w.array.astype(np.int64))).max())


def affine_window_errors(inputs: Sequence[Value]) -> int:
    """The same, of the preset paper."""
    dy, w = inputs
    return int(np.abs(np.einsum("yxo,oyxi->i", centred(dy)[::-1, ::-1], centred(w))).max())


def gradients(inputs: Sequence[Value]) -> int:
    """Over all positions of a 1x1 convolution with a group a channel."""
    dy, x = inputs[:2]
    return int(np.abs((dy.array.astype(np.int64) * centred(x)).sum(axis=(0, 1))).max())


def accumulated(inputs: Sequence[Value]) -> int:
    """The same, and what the buffer holds of the samples before."""
    dy, x, _, buffer = inputs
    own = (dy.array.astype(np.int64) * centred(x)).sum(axis=(0, 1))
    return int(np.abs(own + buffer.array.reshape(-1)).max())


def factor_errors(inputs: Sequence[Value]) -> int:
    """Of a factor a channel."""
    dy, x = inputs
    return int(np.abs((dy.array.astype(np.int64) * centred(x)).sum(axis=(0, 1))).max())


def overlapping_errors(inputs: Sequence[Value]) -> int:
    """In the middle of a map, which as many windows share as there are; each brings e window."""
    e = inputs[0].array.astype(np.int64).ravel()
    return int(np.abs(e[: len(e)].sum()) * len(e))


def pooled(inputs: Sequence[Value]) -> int:
    """Twice the sum of all elements, and their number for the rounding."""
    x = inputs[0].array.astype(np.int64) + 128
    return int(2 * x.sum() + x.size)


def summed_errors(inputs: Sequence[Value]) -> int:
    """Of all |e|."""
    return int(np.abs(inputs[0].array.astype(np.int64)).sum())


@dataclass(frozen=True)
class Extreme:
    """A network at a bound.

    Attributes:
        node: whose bound of this index its inputs come to.
        w, bias: of all hidden layers; `first`: of the first instead, where not None. Rows of the
            head are 4 and -4 by turns. held: their biases are as far as training can bring them.
    """

    case: Case
    node: str
    sum: Sum
    scheme: Scheme = DEFAULT
    w: float = 4.0
    bias: float = 0.0
    first: tuple[float, float] | None = None
    held: bool = False
    index: int = 0
    steps: int = 5


def positions(count: int, *behind: Layer, channels: int = 1) -> Case:
    """A 1x1 convolution, with a group a channel, over a map of so many positions."""
    first = grouped(channels, channels, (1, 1))
    return Case((1, count, channels), (first, RELU, *behind, FLATTEN, linear(2)))


def hidden(terms: int) -> Case:
    """A layer of so many rows before which an error is needed."""
    return Case((2,), (linear(3), RELU, linear(terms), RELU, linear(2)))


def across(window: int) -> Layer:
    """An average over the whole of a map of one row."""
    return average_pool((1, window), (1, window))


HALVED = average_pool((1, 2), (1, 2))
SMALL = 0.015
"""Weights beside which the largest bias is held to 2^30 units of the accumulator."""

FALLING = (-1.0, 3.0)
"""Values are at their end for the least sample, so that for the largest an error passes."""

WINDOW = conv(115, padding=ALL_1)
SQUEEZED = (across(66_311), FLATTEN, linear(1), RELU, multiply(2, 6))

EXTREMES = {
    "linear": Extreme(
        Case((33_155,), (linear(2), RELU, linear(2))), "linear1", products, w=SMALL, held=True
    ),
    "conv": Extreme(
        Case((1, 1, 33_155), (conv(2, (1, 1)), RELU, FLATTEN, linear(2))),
        "conv1",
        products,
        w=SMALL, held=True,
    ),
    "scores": Extreme(Case((66_311,), (linear(2),)), "linear1", score_products),
    "error": Extreme(hidden(1040), "linear3.grad_input", lambda v: errors_by_row(v, 0)),
    "error-1-bit-less": Extreme(hidden(2080), "linear3.grad_input", lambda v: errors_by_row(v, 1)),
    "error-6-bits-less": Extreme(
        hidden(66_311), "linear3.grad_input", lambda v: errors_by_row(v, 6)
    ),
    "error-conv": Extreme(
        Case((3, 3, 2), (conv(3, padding=ALL_1), RELU, WINDOW, RELU, FLATTEN, linear(2))),
        "conv3.grad_input",
        window_errors,
    ),
    "gradient": Extreme(positions(66_311), "conv1.update", gradients),
    "gradient-by-channel": Extreme(
        positions(66_310, HALVED, channels=2), "conv1.update", gradients
    ),
    "gradient-int32": Extreme(
        positions(66_311), "conv1.accumulate", gradients, Scheme(batch=2, momentum=0.9)
    ),
    "gradient-int16": Extreme(
        positions(66_311), "conv1.accumulate", gradients, Scheme(batch=2, buffer="int16")
    ),
    "average-pool": Extreme(
        Case((1, 4_202_512, 1), (across(4_202_512), FLATTEN, linear(2))),
        "average_pool1",
        pooled,
        steps=1,
    ),
    "average-pool-error": Extreme(
        positions(8223, average_pool((1, 4112), (1, 1))),
        "average_pool3.grad",
        overlapping_errors,
        index=1,
    ),
    "factor": Extreme(positions(66_311, *SQUEEZED), "multiply7.grad2", factor_errors),
    "dynamic": Extreme(
        positions(66_308, HALVED, channels=2), "conv1.select_rows", summed_errors, DYNAMIC
    ),
    "sampled": Extreme(hidden(1040), "linear5.draw", summed_errors, SAMPLED),
    "paper-linear": Extreme(
        Case((16_512,), (linear(2), RELU, linear(2))),
        "linear1",
        affine_products,
        PAPER,
        w=SMALL,
        held=True,
    ),
    "paper-error": Extreme(
        Case((3, 3, 2), (
            *(conv(3, (1, 1)), RELU, conv(7367, padding=ALL_1), RELU),
            *(average_pool((3, 3), (3, 3)), FLATTEN, linear(2)),
        )),
        "conv3.grad_input",
        affine_window_errors,
        PAPER,
        first=FALLING,
    ),
    "paper-gradient": Extreme(
        positions(66_310, across(66_310)), "conv1.accumulate", gradients, PAPER, first=FALLING
    ),
    "paper-gradient-of-a-batch": Extreme(
        positions(22_103, across(22_103)),
        "conv1.accumulate",
        accumulated,
        replace(PAPER, batch=3),
        first=FALLING,
    ),
}  # fmt: skip

SLOW = ("average-pool", "average-pool-error", "gradient-by-channel")


def extreme_step(extreme: Extreme) -> Graph:
    """The training step of the network whose weights are all at their ends."""
    graph = simplify(float_graph(extreme.case))
    layers = [node for node in graph.nodes if node.op.weights]
    tensors = dict(graph.tensors)
    for node in layers:
        own = extreme.first if extreme.first and node is layers[0] else (extreme.w, extreme.bias)
        for name, value in zip(node.inputs[1:3], own, strict=True):
            data = np.full(tensors[name].shape, value, np.float32)
            if node is layers[-1]:
                data = np.zeros_like(data)
                if name == node.inputs[1]:
                    data[0::2], data[1::2] = 4, -4
            tensors[name] = replace(tensors[name], data=data)
    graph = replace(graph, tensors=tensors)
    x = np.stack([np.zeros(extreme.case.shape), np.ones(extreme.case.shape)]).astype(np.float32)
    trained = {node.name for node in layers}
    step = differentiate(
        quantize_graph(graph, calibrate(graph, x), trained, extreme.scheme), extreme.scheme
    )
    verify(step)
    return held(step) if extreme.held else step


def held(step: Graph) -> Graph:
    """With the largest biases that training can bring, whose units hold less at the start."""
    names = {t.name for t in step.of_kind(Kind.STATE) if t.role is Role.BIAS}
    return replace(
        step,
        tensors={
            name: replace(t, data=np.full(t.shape, 2**30, np.int32)) if name in names else t
            for name, t in step.tensors.items()
        },
    )


class Watched:
    """The reference of a step, with the inputs of one node looked at."""

    def __init__(self, step: Graph, extreme: Extreme) -> None:
        self.largest = 0
        self.extreme = extreme
        (node,) = (n for n in step.nodes if n.name == extreme.node)
        self.bound = list(node.op.bounds(node, step))[extreme.index]
        own = replace(node, op=replace(node.op, integer_reference=self.look(node)))
        graph = step.with_nodes([own if n is node else n for n in step.nodes])
        self.reference = Reference(graph, seed=SEED)

    def look(self, node: Node) -> Callable[[Node, Sequence[Value], Sequence[QParams | None]], Any]:
        """The node's rule; the sum that its inputs come to is seen before."""
        rule = node.op.integer_reference
        assert rule is not None

        def run(own: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]) -> Any:
            self.largest = max(self.largest, self.extreme.sum(inputs))
            return rule(own, inputs, outputs)

        return run


def extreme_stream(step: Graph, steps: int) -> Stream:
    """The largest sample and the least by turns; labels that are wrong at first; rate 1."""
    size = step.tensors[step.inputs[0]].size
    x = np.stack([np.full(size, value, np.int8) for value in (127, 127, -128)])
    return Stream(
        x=x,
        labels=np.asarray([1, 0, 0], np.int32),
        rates=np.ones(steps, np.float32),
        seed=SEED,
        order=np.asarray([0, 0, 0, 2, 1, 0, 1], np.int32)[:steps],
    )


def run_reference(extreme: Extreme, step: Graph, stream: Stream) -> bytes:
    """The state behind the stream; what the bound is of came to its largest."""
    watched = Watched(step, extreme)
    shape = step.tensors[step.inputs[0]].shape
    for sample in stream.samples:
        label = int(stream.labels[sample])
        watched.reference.train_step(stream.x[sample].reshape(shape), label, 1.0)
    assert watched.largest == watched.bound.largest
    state = {**watched.reference.state, "seed": np.asarray([stream.seed], np.uint32)}
    return state_layout(step).pack(state)


@pytest.mark.toolchain
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in EXTREMES]
)
def test_the_largest_sums_are_reached_without_an_overflow(name: str) -> None:
    chosen, extreme = toolchain_or_skip("host", "gcc"), EXTREMES[name]
    step = extreme_step(extreme)
    for node in step.nodes:
        assert all(bound.largest <= bound.limit for bound in node.op.bounds(node, step)), node.name
    stream = extreme_stream(step, extreme.steps)
    wanted = run_reference(extreme, step, stream)
    built = host_library(source_of(step), chosen, sanitize=True)
    digest, said = run_sanitized(built, "worst", stream, sanitizer_environment(chosen))
    assert digest == hashlib.sha256(wanted).hexdigest(), said


@pytest.mark.toolchain
@pytest.mark.slow
@pytest.mark.parametrize("machine", ["cortex-m4-fpu", "cortex-m0plus", "cortex-m55-fpu"])
@pytest.mark.parametrize("name", [name for name in EXTREMES if name != "average-pool"])
def test_the_largest_sums_on_a_core_equal_the_reference(name: str, machine: str) -> None:
    """Its own kernels may add in another order, and more than the sum."""
    toolchain_or_skip(MACHINES[machine][0], "gcc")
    extreme = EXTREMES[name]
    step = extreme_step(extreme)
    stream = extreme_stream(step, 3)
    got = emulator.run(core_firmware(source_of(step), machine, "gcc"), stream)
    assert got.state == run_reference(extreme, step, stream)
