"""network, calibration samples -> the steps that compile counts: a training's, and the dearest.

A training runs on the twin, then single steps of it are counted from the state that it had there.
Errors that are 0 cost next to nothing, so the first step says little: behind a fresh head, whose
weights are 0, there is no error at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from insitu.artifacts import MemoryPlan
from insitu.data.labels import checked_labels
from insitu.data.samples import Samples
from insitu.errors import DataError
from insitu.graph.model import Array, Graph, Kind, Phase
from insitu.network.compiled import Network
from insitu.network.twin import Twin
from insitu.ops.losses.table import far_label
from insitu.run.profile import Flood
from insitu.run.stream import Stream, no_labels

STEPS, LEAST_STEPS, TRAINED_MACS = 300, 60, 6_000_000_000
"""Of the training on the twin; fewer where they cost more multiply-accumulates than that."""

LEAST_COUNTED, MOST_COUNTED, COUNTED_MACS = 12, 48, 80_000_000
"""Steps that are counted: as many as do not cost more multiply-accumulates than that."""

PRESENT = (1.0, 0.5, 0.3, 0.18, 0.11)
"""Parts of the errors that are not 0 in steps that may cost most: kernels that pass over zeros do
so up to a part of their own, and just below it they cost more than where no error is 0."""

NOISE_GIVEN, NOISE_MADE = 4, 2
"""One label in so many is another sample's: of labels that were given, and of those made here."""

FAR_RATE = 0.01
"""Of steps towards the least likely label."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Steps:
    """Training steps of one kind: they end at the same node.

    Attributes:
        states: uint8[records, bytes], the model's state before each record; None: each record
            goes on from the one before, the first from the initial state.
        share: of the kind among all steps of a training.
    """

    stream: Stream
    states: Array | None = None
    share: float = 1.0


class Probe:
    """What is known of the steps of a network; found when it is first asked for."""

    def __init__(self, network: Network, x: Array, samples: Samples) -> None:
        """Takes the calibration samples, and the same as the model takes them.

        Args:
            x: int8 or float32[n, elements]. samples: with labels, where there are any.
        """
        self.network, self.x, self.samples = network, x, samples

    @cached_property
    def _twin(self) -> Twin:
        return Twin(self.network, self.network.build_folder)

    @cached_property
    def far(self) -> Stream:
        """A prediction, then a batch of steps towards the label that is least likely."""
        x = self.x[0]
        scores, _ = self._fresh().library.predict(x[None])
        label = far_label(self.network.graph, scores[0])[None]
        batch = self.network.training.batch
        return Stream(
            x=np.stack([x, x]),
            labels=np.concatenate([no_labels(1, label), label]),
            rates=np.full(1 + batch, FAR_RATE, np.float32),
            order=np.minimum(np.arange(1 + batch), 1),
        )

    @cached_property
    def learning(self) -> tuple[Steps, ...]:
        """Steps of a training on the calibration samples, spread over it, by kind.

        Of each kind, those are taken whose losses are evenly spaced among all of the kind, since
        what a step costs follows its error.
        """
        training = self._training()
        twin = self._fresh()
        run = twin.library.run(training)
        kinds = 2 * run.info["skipped"] + self._ends_batch(len(training))
        chosen: dict[int, Array] = {}
        for kind in np.unique(kinds):
            members = np.flatnonzero(kinds == kind)
            count = max(round(self._counted * len(members) / len(training)), 2)
            chosen[int(kind)] = _spread(members, run.losses, count)
        states = self._states(training, np.sort(np.concatenate(list(chosen.values()))))
        return tuple(
            Steps(
                share=float((kinds == kind).mean()),
                stream=training.part_of(steps),
                states=np.stack([states[step] for step in steps]),
            )
            for kind, steps in chosen.items()
        )

    @cached_property
    def dearest(self) -> tuple[Steps, ...]:
        """The first step of a batch and, behind it, the one that ends it; towards the far label."""
        batch, far = self.network.training.batch, self.far.part(slice(1, None))
        states = self._states(far, np.unique([0, batch - 1]))
        return tuple(
            Steps(stream=far.part_of(np.asarray([step])), states=state[None])
            for step, state in states.items()
        )

    def _fresh(self) -> Twin:
        """The twin in its initial state."""
        self._twin.library.reset()
        self._twin.library.set_seed(self.network.training.seed)
        return self._twin

    def _training(self) -> Stream:
        """On the samples in an order of their own, at the rate that users will train with."""
        macs = sum(self.network.macs(phase) for phase in Phase)
        batch = self.network.training.batch
        steps = max(min(STEPS, TRAINED_MACS // max(macs, 1)), LEAST_STEPS, 2 * batch)
        return self._fresh().stream(self.x, self._labels(), steps=steps)

    @property
    def _counted(self) -> int:
        macs = sum(self.network.macs(phase) for phase in Phase)
        return min(max(COUNTED_MACS // max(macs, 1), LEAST_COUNTED), MOST_COUNTED)

    def _ends_batch(self, steps: int) -> Array:
        """bool[steps]: whether a step completes its batch."""
        batch = self.network.training.batch
        return np.asarray(np.arange(1, steps + 1) % batch == 0)

    def _labels(self) -> Array:
        """Labels of which some are learnt with ease, some never: in between lie users' own.

        Those given, or what the network says, classes under another name, since what it knows
        already costs nothing; then some samples get that of another one.
        """
        labels, random = self.network.labels, np.random.Generator(np.random.PCG64(0))
        count = len(self.x)
        known, noise = self._given_labels(), NOISE_GIVEN
        if known is None:
            known, noise = self._own_labels(), NOISE_MADE
        if known is None:
            known = random.permutation(np.arange(count, dtype=np.int32) % labels.outputs)
        elif not labels.are_targets:
            known = ((known + 1) % labels.outputs).astype(np.int32)
        others = np.flatnonzero(np.arange(count) % noise == noise - 1)
        mixed = known.copy()
        mixed[others] = known[random.permutation(others)]
        return mixed

    def _given_labels(self) -> Array | None:
        """Those of the calibration samples; None: there are none, or they suit another loss."""
        given, labels = self.samples, self.network.labels
        try:
            return labels.in_own_order(checked_labels(given.x, given.y, labels, given.source))
        except DataError:
            return None

    def _own_labels(self) -> Array | None:
        """What the network says; None where its head is fresh and says nothing."""
        labels = self.network.labels
        if self.network.training.classes is not None:
            return None
        scores, classes = self._fresh().library.predict(self.x)
        if labels.are_targets:
            return np.ascontiguousarray(labels.record.decide(scores), np.float32)
        return classes

    def _states(self, stream: Stream, steps: Array) -> dict[int, Array]:
        """The model's state before each of these steps, which ascend."""
        twin, states, done = self._fresh(), {}, 0
        for step in map(int, steps):
            if step > done:
                twin.library.run(stream.part(slice(done, step)), seed=done == 0)
                done = step
            states[step] = np.frombuffer(twin.state, np.uint8)
        return states


def _spread(members: Array, losses: Array, count: int) -> Array:
    """So many of the members, evenly spaced by their loss."""
    count = min(count, len(members))
    by_loss = members[np.argsort(losses[members], kind="stable")]
    return np.asarray(by_loss[((np.arange(count) + 0.5) * len(members) / count).astype(int)])


def flood_of(graph: Graph, plan: MemoryPlan, present: float) -> Flood:
    """Errors of which so large a part is not 0, for every node that reads one.

    But where an op has put errors to 0 that do not count, as those of rows that do not learn.
    """
    silent = {name for node in graph.nodes if node.op.silences for name in node.outputs}
    flood: dict[int, list[tuple[int, bytes]]] = {}
    for index, node in enumerate(graph.nodes):
        if "dy" not in node or node["dy"] in silent:
            continue
        dy = graph.operand(node, "dy")
        if dy.kind is Kind.ACTIVATION:
            random = np.random.Generator(np.random.PCG64(0))  # alike wherever the node stands
            zero = 0 if dy.qparams is None else dy.qparams.zero_point
            errors = random.integers(1, 128, dy.size) * random.choice([-1, 1], dy.size)
            errors = np.where(errors == zero, errors - 1, errors)
            errors = np.where(np.arange(dy.size) < present * dy.size, errors, zero)
            random.shuffle(errors)
            data = errors / 127 if dy.dtype == "float32" else errors
            piece = (plan.offset(dy.name), data.astype(f"<{np.dtype(dy.dtype).str[1:]}").tobytes())
            flood.setdefault(index, []).append(piece)
    return flood
