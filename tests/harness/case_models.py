"""Case -> float graph, integer training step, C on the desk, streams of samples."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from builds import kept
from case_layers import Case, Layer

from insitu.artifacts import CSource, MemoryPlan
from insitu.differentiate import differentiate
from insitu.firmware.objects import Job, compile_objects
from insitu.generate import StateLayout, generate, state_layout
from insitu.graph.builder import Builder
from insitu.graph.model import Array, Graph, Kind
from insitu.graph.scheme import Scheme
from insitu.graph.verify import verify
from insitu.network.folder import write_sources
from insitu.ops import OPS
from insitu.plan import plan_memory
from insitu.prepare.layers import select_layers
from insitu.prepare.simplify import simplify
from insitu.quantize import calibrate, quantize_graph
from insitu.run.reference import Reference
from insitu.run.stream import Stream, digest, no_labels
from insitu.run.twin_library import TwinLibrary
from insitu.runtime import FILES, HEADERS, INCLUDE_FLAGS, PORTS
from insitu.tools.compilers import Toolchain, find_toolchain

INPUT = "image"


def float_graph(case: Case) -> Graph:
    """The case's network with its weights, nothing simplified; layers are OP1, OP2, ..."""
    rng = np.random.default_rng(case.seed)
    builder = Builder("case")
    x = builder.input(INPUT, case.shape)
    made = [x]
    for index, layer in enumerate(case.layers, start=1):
        name = layer.name or f"{layer.op}{index}"
        read = tuple(made[position] for position in layer.of or (-1,))
        shape = builder.tensors[read[0]].shape
        inputs = (*read, *_constants(builder, name, layer, shape, case, rng))
        (x,) = builder.node(OPS[layer.op], inputs, name=name, attributes=layer.attributes)
        made.append(x)
    return builder.finish((x,))


def _constants(
    builder: Builder,
    name: str,
    layer: Layer,
    shape: tuple[int, ...],
    case: Case,
    rng: np.random.Generator,
) -> tuple[str, ...]:
    if layer.op == "batch_norm":
        channels = shape[-1]
        parameters = {
            "gamma": rng.normal(1, 0.3, channels),
            "beta": rng.normal(0, 0.3 * case.scale, channels),
            "mean": rng.normal(0, 0.3 * case.scale, channels),
            "variance": rng.uniform(0.5, 2, channels),
        }
    elif layer.op == "conv":
        channels = shape[-1] // layer.attributes.get("groups", 1)
        parameters = _weights(layer, (layer.out, *layer.kernel, channels), case, rng)
    elif layer.op == "linear":
        parameters = _weights(layer, (layer.out, int(np.prod(shape))), case, rng)
    else:
        parameters = {"slope": np.asarray(layer.slopes)} if layer.slopes else {}
    return tuple(
        builder.constant(f"{name}.{key}", value.astype(np.float32))
        for key, value in parameters.items()
    )


def _weights(
    layer: Layer, shape: tuple[int, ...], case: Case, rng: np.random.Generator
) -> dict[str, Array]:
    fan_in = int(np.prod(shape[1:]))
    w = rng.normal(0, np.sqrt(2 / fan_in), shape)
    b = rng.normal(0, case.bias * case.scale, shape[0])
    if layer.weights == "zero":
        w[:] = 0
    if layer.weights == "zero-rows":
        w[::2] = 0
    if "large" in layer.weights:
        w *= 30
    if "tiny-rows" in layer.weights:
        w[::2] /= 5000
    return {"w": w, "b": b}


def samples(case: Case, count: int, seed: int = 1) -> Array:
    """x[count, ...] float32, channels last."""
    rng = np.random.default_rng((case.seed, seed))
    return (rng.normal(size=(count, *case.shape)) * case.scale).astype(np.float32)


def trainable(graph: Graph, trained: str = "all") -> Graph:
    """The float graph with weights and biases of the trained layers as state."""
    chosen = select_layers(graph, trained)
    names = {n for node in graph.nodes if node.name in chosen for n in node.inputs[1:3]}
    tensors = {
        name: replace(tensor, kind=Kind.STATE) if name in names else tensor
        for name, tensor in graph.tensors.items()
    }
    return replace(graph, tensors=tensors)


@dataclass(frozen=True, eq=False)
class Compiled:
    """Everything between a case and its C."""

    case: Case
    scheme: Scheme = field(default_factory=Scheme)

    @cached_property
    def simple(self) -> Graph:
        """The simplified float graph."""
        return simplify(float_graph(self.case), self.scheme.loss)

    @cached_property
    def forward(self) -> Graph:
        """The forward pass in integers."""
        ranges = calibrate(self.simple, samples(self.case, 40))
        trained = select_layers(self.simple, self.case.trained)
        return quantize_graph(self.simple, ranges, trained, self.scheme)

    @cached_property
    def step(self) -> Graph:
        """The training step in integers."""
        graph = differentiate(self.forward, self.scheme)
        verify(graph)
        return graph

    @cached_property
    def plan(self) -> MemoryPlan:
        """Where its tensors lie."""
        return plan_memory(self.step)

    @cached_property
    def layout(self) -> StateLayout:
        """Of its state struct."""
        return state_layout(self.step)

    def source(self, name: str = "model") -> CSource:
        """Its C."""
        return generate(self.step, self.plan, name)

    def write(self, folder: Path, name: str = "model") -> None:
        """The C sources."""
        write_sources(self.source(name), folder)

    def labels(self, count: int, rng: np.random.Generator) -> Array:
        """Classes, or targets about as large as the error unit; bits and what lies between."""
        outputs = self.step.tensors[self.step.outputs[0]].size
        if self.scheme.loss == "cross_entropy":
            return rng.integers(0, outputs, count).astype(np.int32)
        targets = rng.normal(0, self.scheme.error_unit, (count, outputs))
        if self.scheme.loss == "bce":
            targets = np.where(targets > 0, np.round(rng.random(targets.shape)), rng.random())
        return targets.astype(np.float32)

    def stream(self, records: int, *, seed: int = 5) -> Stream:
        """Samples such as those of the calibration and noise over all int8, in turn.

        Floats are wider instead. Some are only predicted; rates go from gentle to far too large.
        """
        rng = np.random.default_rng(seed)
        x_q = self.step.tensors[self.step.inputs[0]].qparams
        grid = real = samples(self.case, records, seed).reshape(records, -1)
        noise = (real[::-1] * np.float32(3.0)).copy()
        if x_q is not None:
            grid = np.clip(np.round(real / x_q.scale) + x_q.zero_point, -128, 127).astype(np.int8)
            noise = rng.integers(-128, 128, grid.shape).astype(np.int8)
        labels = self.labels(records, rng)
        labels[3::7] = no_labels(len(labels[3::7]), labels)
        rates = rng.choice([1.0, 0.1, 0.02, 0.001], records)
        if x_q is None and self.scheme.loss == "mse":
            rates *= 0.01  # its gradient knows no bound, and the bits of NaN are any core's own
        return Stream(
            x=np.where(np.arange(records)[:, None] % 2 == 0, grid, noise),
            labels=labels,
            rates=rates.astype(np.float32),
            seed=seed,
        )


def known_case(case: Case, scheme: Scheme | None = None) -> Compiled:
    """The same object for the same case and scheme, where it was asked for lately."""
    key = repr((case, scheme or Scheme()))
    known = COMPILED.pop(key, None) or Compiled(case, scheme or Scheme())
    COMPILED[key] = known
    while len(COMPILED) > 32:
        del COMPILED[next(iter(COMPILED))]
    return known


COMPILED: dict[str, Compiled] = {}


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a stream did to the reference."""

    state: bytes
    losses: Array
    predicted: Array
    reference: Reference

    @property
    def sha256(self) -> str:
        """Digest of the state."""
        return hashlib.sha256(self.state).hexdigest()


KNOWN: dict[tuple[Any, ...], Outcome] = {}
"""By training step and stream."""


def first_largest(scores: Array) -> int:
    """insitu_argmax_f32, which looks past what is no number."""
    best = 0
    for index in range(1, len(scores)):
        if scores[index] > scores[best]:
            best = index
    return best


def run_reference(step: Graph, stream: Stream) -> Outcome:
    """The stream through the specification; what was asked for lately is known."""
    key = (
        step,
        stream.seed,
        *(a.tobytes() for a in (stream.x, stream.labels, stream.rates, stream.samples)),
    )
    if key not in KNOWN:
        KNOWN[key] = _run_reference(step, stream)
        while len(KNOWN) > 32:
            del KNOWN[next(iter(KNOWN))]
    return KNOWN[key]


def _run_reference(step: Graph, stream: Stream) -> Outcome:
    reference = Reference(step, seed=stream.seed)
    shape = step.tensors[step.inputs[0]].shape
    losses, predicted = [], []
    records = zip(stream.samples, stream.record_labels, stream.rates, stream.trains, strict=True)
    for sample, label, rate, trains in records:
        x = stream.x[sample].reshape(shape)
        scores = reference.predict(x).reshape(-1)
        if stream.labels.ndim == 1:
            predicted.append(first_largest(scores))
        else:
            predicted.append(-1 if trains else digest(scores))
        losses.append(reference.train_step(x, label, rate) if trains else np.nan)
    state = {**reference.state, "seed": np.asarray([stream.seed], np.uint32)}
    return Outcome(
        state=state_layout(step).pack(state),
        losses=np.asarray(losses, np.float32),
        predicted=np.asarray(predicted),
        reference=reference,
    )


class HostBuilder:
    """Builds models for the desk: a model's C is one text, the runtime's objects are made once."""

    def __init__(
        self, folder: Path, toolchain: Toolchain | None = None, *, flags: tuple[str, ...] = ()
    ) -> None:
        self.folder = folder
        self.flags = flags
        self.toolchain = toolchain or find_toolchain("host")

    def _objects(self, names: Sequence[str]) -> list[Path]:
        flags = (*self.toolchain.compile_flags(), "-O3", *INCLUDE_FLAGS)
        jobs = [Job(FILES[n], flags, of_runtime=True) for n in names if n.endswith(".c")]
        return compile_objects(self.toolchain, jobs, HEADERS, self.folder)

    def library(self, compiled: Compiled) -> TwinLibrary:
        """The case's model, loaded."""
        source = compiled.source()

        def make(folder: Path) -> Path:
            for name, text in source.files.items():
                (folder / name).write_text(text)
            sources = [*sorted(folder.glob("*.c")), PORTS / "host" / "host.c"]
            if not self.flags:  # for strict ones each stands alone
                one = folder / "all.c"
                one.write_text("".join(f'#include "{path}"\n' for path in sources))
                sources = [one]
            flags = (
                *self.toolchain.compile_flags(),
                *self.toolchain.link_flags(),
                *("-O1", *self.flags, f"-I{folder}", *INCLUDE_FLAGS, f"-I{PORTS}"),
                *('-DINSITU_HEADER="insitu_model.h"', "-DINSITU_PREFIX=insitu_model"),
            )
            library = folder / "model.so"
            objects = self._objects(source.runtime)
            self.toolchain.run(*flags, *sources, *objects, "-o", library)
            return library

        how = inspect.getsource(HostBuilder)
        path = kept(source, self.toolchain, ".so", how, *self.flags, make=make)
        return TwinLibrary(path, source.name)
