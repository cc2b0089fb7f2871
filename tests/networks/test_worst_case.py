"""Do the bounds that are proved at compile time hold when every tensor is at its worst?

Weights all at +-127, biases at their limit, inputs at -128 or 127, errors at +-127, rate 1. In
numpy every accumulator is looked at; the C runs with the sanitizers, which stop at an overflow.
Networks that are as large as the bounds admit stand in test_at_the_bound.py.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from builds import host_library, source_of
from fakes import toolchain_or_skip
from networks import NETWORKS
from onnx import numpy_helper
from sanitized import run_sanitized

from insitu.config import TrainingConfig
from insitu.data.samples import channels_last
from insitu.differentiate import differentiate
from insitu.fixed_point import rescale
from insitu.frontends.onnx.reader import read
from insitu.generate import state_layout
from insitu.graph.model import Array, Bound, Graph, Node, QParams, Value
from insitu.graph.verify import verify
from insitu.prepare.simplify import simplify
from insitu.quantize import calibrate, quantize_graph
from insitu.run.reference import Reference
from insitu.run.stream import Stream
from insitu.run.twin_library import TwinLibrary
from insitu.tools.compilers import sanitizer_environment

LARGEST_BIAS = 1000.0
"""Just within the 2^30 units of 2^-20 that a bias may have."""

SIGNS: dict[str, Callable[[Sequence[int]], Array]] = {
    "plus": np.ones,
    "minus": lambda shape: -np.ones(shape),
    "rows": lambda shape: _alternating(shape, 0),
    "columns": lambda shape: _alternating(shape, 1),
}

SCHEMES = {
    "default": TrainingConfig(),
    "dynamic": TrainingConfig(update="dynamic:0.1:1"),
    "buffer-int32": TrainingConfig(batch=8, momentum=0.9),
    "buffer-int16": TrainingConfig(batch=8, buffer="int16"),
    "sampled": TrainingConfig(update="sampled:0.25:0.25"),
    "paper": TrainingConfig(preset="paper", batch=8),
    "paper-moving": TrainingConfig(preset="paper", batch=8, error_range="moving"),
}


def _alternating(shape: Sequence[int], axis: int) -> Array:
    """+-1 by turns along an axis."""
    length = shape[axis]
    along = np.where(np.arange(length) % 2, -1.0, 1.0)
    return np.broadcast_to(
        along.reshape([-1 if i == axis else 1 for i in range(len(shape))]), shape
    )


def extreme_step(name: str, signs: str, folder: Path, config: TrainingConfig) -> Graph:
    """The training step of a network whose weights are all as large as they can be."""
    model = NETWORKS[name]()
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.ndim >= 2:
            tensor.CopyFrom(_named(SIGNS[signs](value.shape), tensor.name))
        elif tensor.name.endswith("bias") and not tensor.name.startswith("bn"):
            tensor.CopyFrom(_named(np.full(value.shape, LARGEST_BIAS), tensor.name))
    path = folder / f"{name}-{signs}.onnx"
    onnx.save(model, path)
    read_model = read(path)
    graph = simplify(read_model.graph)
    x = np.random.RandomState(0).uniform(0, 1, (8, *read_model.input_shape)).astype(np.float32)
    shape = graph.tensors[graph.inputs[0]].shape
    trained = {node.name for node in graph.nodes if node.op.weights}
    ranges = calibrate(graph, channels_last(x, shape))
    integers = quantize_graph(graph, ranges, trained, config.scheme)
    step = differentiate(integers, config.scheme)
    verify(step)
    return step


def _named(value: Array, name: str) -> onnx.TensorProto:
    return numpy_helper.from_array(value.astype(np.float32), name)


def worst_stream(step: Graph, steps: int) -> Stream:
    """Inputs all 127, all -128, both by turns; labels go round; rate 1."""
    size = step.tensors[step.inputs[0]].size
    turns = np.where(np.arange(size) % 2, -128, 127)
    x = np.stack([np.full(size, 127), np.full(size, -128), turns, -1 - turns]).astype(np.int8)
    classes = step.tensors[step.outputs[0]].size
    return Stream(
        x=x[np.arange(steps) % 4],
        labels=(np.arange(steps) % classes).astype(np.int32),
        rates=np.ones(steps, np.float32),
        seed=1,
    )


class Watch:
    """Largest accumulator that each node handed to `rescale`."""

    def __init__(self) -> None:
        self.largest: dict[str, int] = {}
        self.node = ""

    def watched(self, step: Graph) -> Graph:
        """The same graph; nodes that claim a bound say their name before they run."""

        def watch(node: Node) -> Node:
            reference = node.op.integer_reference
            if not node.op.bounds(node, step) or reference is None:
                return node

            def run(
                own: Node, inputs: Sequence[Value], outputs: Sequence[QParams | None]
            ) -> Sequence[Array]:
                self.node = own.name
                return reference(own, inputs, outputs)

            return replace(node, op=replace(node.op, integer_reference=run))

        return step.with_nodes([watch(node) for node in step.nodes])

    def rescale(self, accumulator: Array, multiplier: Any, shift: int) -> Array:
        """`fixed_point.rescale`, looked at."""
        seen = int(np.abs(accumulator).max())
        self.largest[self.node] = max(self.largest.get(self.node, 0), seen)
        return rescale(accumulator, multiplier, shift)


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    found = Watch()
    for module in ("rows", "gradient"):
        users = importlib.import_module(f"insitu.ops.layers.{module}")
        monkeypatch.setattr(users, "rescale", found.rescale)
    return found


def bounds_of(step: Graph, name: str) -> list[Bound]:
    """What a node claims."""
    (node,) = (node for node in step.nodes if node.name == name)
    return list(node.op.bounds(node, step))


@pytest.mark.parametrize("signs", SIGNS)
@pytest.mark.parametrize("name", NETWORKS)
def test_no_accumulator_exceeds_its_bound(
    name: str, signs: str, watch: Watch, tmp_path: Path
) -> None:
    step = extreme_step(name, signs, tmp_path, SCHEMES["default"])
    reference = Reference(watch.watched(step))
    stream = worst_stream(step, 8)
    shape = step.tensors[step.inputs[0]].shape
    for x, label in zip(stream.x, stream.labels, strict=True):
        reference.train_step(x.reshape(shape), int(label), 1.0)
    assert watch.largest
    for node, largest in watch.largest.items():
        (bound,) = bounds_of(step, node)
        assert largest <= bound.largest <= bound.limit, node


def test_a_bound_is_reached(watch: Watch, tmp_path: Path) -> None:
    """The products of the first layer, all at their worst, come to what is claimed for them."""
    step = extreme_step("digits-mlp", "plus", tmp_path, SCHEMES["default"])
    (bound,) = bounds_of(step, "fc1")
    x = step.tensors[step.inputs[0]]
    assert x.qparams is not None
    assert x.qparams.zero_point == -128
    Reference(watch.watched(step)).predict(np.full(x.shape, 127, np.int8))
    bias = watch.largest["fc1"] - 127 * 255 * x.size
    assert 0 < bias <= 2**30
    assert bound.largest == 127 * 255 * x.size + 2**30


@pytest.mark.toolchain
@pytest.mark.parametrize("signs", ["minus", "rows"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_c_is_free_of_undefined_behaviour(scheme: str, signs: str, tmp_path: Path) -> None:
    chosen = toolchain_or_skip("host", "gcc")
    step = extreme_step("digits-cnn", signs, tmp_path, SCHEMES[scheme])
    source = source_of(step)
    stream = worst_stream(step, 40)
    plain = TwinLibrary(host_library(source, chosen), "worst")
    ran = plain.run(stream)
    expected = ran.state
    if scheme == "sampled":  # both of what a draw can do
        assert set(ran.info["skipped"]) == {0, 2}
    built = host_library(source, chosen, sanitize=True)
    digest, said = run_sanitized(built, "worst", stream, sanitizer_environment(chosen))
    assert digest == hashlib.sha256(expected).hexdigest(), said
    assert _reference_state(step, stream) == expected


def _reference_state(step: Graph, stream: Stream) -> bytes:
    reference = Reference(step, seed=stream.seed)
    shape = step.tensors[step.inputs[0]].shape
    for x, label in zip(stream.x, stream.labels, strict=True):
        reference.train_step(x.reshape(shape), int(label), 1.0)
    state = {**reference.state, "seed": np.asarray([stream.seed], np.uint32)}
    return state_layout(step).pack(state)
