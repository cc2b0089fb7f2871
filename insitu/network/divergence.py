"""a stream, what its steps did -> sentences about a training that has diverged, and what to do.

A network that has diverged seldom comes back by itself: its scores are no numbers, or its units are
dead, so that no error reaches their weights. Both are seen in what training leaves anyway: losses,
and biases before and after.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from insitu.graph.model import Array, Ends, Role
from insitu.network.compiled import Network
from insitu.run.stream import Stream

LEAST_STEPS = 64
"""Steps whose mean loss says something; fewer are not judged."""

HARDLY_BETTER = 0.98
"""A loss that is more than this part of a constant answer's is no better."""

WELL_LEARNT = 0.1
"""Likewise, of one that is well learnt: then errors are rare, and units rest that are not dead."""

MANY_UNITS = 0.25
"""Share of a layer's units from which on users are told: networks have a few dead ones anyway."""

CURE = "start afresh from the initial state with a lower rate (a new twin; insitu_{}_init in C)"


class Epoch(NamedTuple):
    """losses[steps] float32, and how each step ended, as insitu_info_t's skipped."""

    losses: Array
    ends: Array

    @property
    def loss(self) -> float:
        """The mean of the steps that were not broken; NaN where all were."""
        sound = self.losses[self.ends != Ends.DIVERGED]
        return float(sound.mean(dtype=np.float64)) if len(sound) else float("nan")


class Watch:
    """What becomes of a training, epoch by epoch.

    Attributes:
        broken: steps that changed nothing, since their scores were no finite numbers.
    """

    def __init__(self, network: Network, stream: Stream) -> None:
        """Before the first step."""
        self.network, self.stream, self.broken = network, stream, 0
        self._epochs = self._first_broken = 0
        self._cure = CURE.format(network.name)

    def epoch(self, before: bytes, done: Epoch) -> None:
        """Another epoch, and the state before it."""
        self._before, self._last = before, done
        self._epochs += 1
        broken = int((done.ends == Ends.DIVERGED).sum())
        if broken and not self.broken:
            self._first_broken = self._epochs
        self.broken += broken

    def warnings(self, after: bytes) -> list[str]:
        """What is to be said of the training that ended in this state."""
        constant = self.network.labels.record.of_a_constant(self.stream.labels)
        steps = max(len(self._last.losses) // 4, LEAST_STEPS)
        loss = Epoch(self._last.losses[-steps:], self._last.ends[-steps:]).loss
        said = [self._of_broken_steps()] if self.broken else []
        if len(self._last.losses) < LEAST_STEPS or constant <= 0:
            return said
        if loss > HARDLY_BETTER * constant:
            said.append(
                f"the mean loss of the last {steps:,} steps is {loss:.4g}, where one answer for "
                f"all samples has {constant:.4g}: the network tells them apart no better. If it "
                f"did before, or more epochs do not help, it will not relearn; {self._cure}"
            )
        return said + self._of_dead_units(after) if loss > WELL_LEARNT * constant else said

    def _of_broken_steps(self) -> str:
        return (
            f"{self.broken:,} of {len(self.stream):,} steps, the first in epoch "
            f"{self._first_broken}, had scores that are no finite numbers and changed nothing: "
            f"training has diverged, at rate {self.stream.rates.max():g} or before; {self._cure}"
        )

    def _of_dead_units(self, after: bytes) -> list[str]:
        """Of layers many of whose units have learnt once, but not in the last epoch."""
        learnt = int((self._last.ends == Ends.NEVER).sum())
        if learnt < LEAST_STEPS or self.network.training.update != "full":
            return []
        then, now = (self.network.state.unpack(state) for state in (self._before, after))
        said = []
        for t in self.network.graph.tensors.values():
            if t.role is not Role.BIAS or t.name not in now or t.data is None:
                continue
            dead = (then[t.name] == now[t.name]) & (now[t.name] != t.data)
            if dead.sum() >= MANY_UNITS * t.size:
                said.append(
                    f"{int(dead.sum())} of {t.size} units of {t.layer} have learnt, but nothing in "
                    f"the last {learnt:,} steps with an error: they are dead, no sample moves "
                    f"them any more; {self._cure}"
                )
        return said
