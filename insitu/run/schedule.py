"""samples, steps, seed -> Stream: which sample at which step, and at which learning rate.

Invariant: the same for the reference, the twin and every board, so that they can be compared.
"""

from __future__ import annotations

import numpy as np

from insitu.errors import ConfigError
from insitu.fixed_point import F32, cosine_rates
from insitu.graph.model import Array
from insitu.run.stream import Stream, no_labels

MOST_STEPS = 100_000_000
"""Of a run: its order and rates are held in memory, some bytes a step."""


def sample_order(samples: int, steps: int, seed: int) -> Array:
    """int32[steps]: the samples shuffled anew for each pass, the last pass cut where it ends."""
    generator = np.random.Generator(np.random.PCG64(seed))
    order = np.empty(steps, np.int32)
    for first in range(0, steps, samples):
        order[first : first + samples] = generator.permutation(samples)[: steps - first]
    return order


def learning_rates(rate: float, steps: int, schedule: str) -> Array:
    """float32[steps]; the schedules are those of `config.SCHEDULES`."""
    if schedule == "cosine":
        return cosine_rates(rate, steps)
    rates = np.full(steps, rate, F32)
    if schedule == "step":
        rates[steps // 2 :] *= F32(0.3)
        rates[steps * 4 // 5 :] = F32(rate) * F32(0.1)
    return rates


def training_stream(
    x: Array, y: Array, *, steps: int, rate: float, schedule: str, seed: int
) -> Stream:
    """A training run over x int8[n, elements], y: labels as a `Stream` has them.

    Raises:
        ConfigError: more steps than `MOST_STEPS`.
    """
    if steps > MOST_STEPS:
        raise ConfigError(
            f"{steps} steps over {len(x)} samples, but a run has at most {MOST_STEPS}; take fewer "
            "epochs or steps"
        )
    return Stream(
        x=x,
        labels=y,
        rates=learning_rates(rate, steps, schedule),
        seed=seed,
        order=sample_order(len(x), steps, seed),
    )


def with_predictions(training: Stream, x: Array) -> Stream:
    """Predictions of x, then a training run, then predictions of x again, as one stream."""
    n, first = len(x), len(training.x)
    ends = np.arange(first, first + n, dtype=np.int32)
    return Stream(
        x=np.concatenate([training.x, x]),
        labels=np.concatenate([training.labels, no_labels(n, training.labels)]),
        rates=np.concatenate([np.zeros(n, F32), training.rates, np.zeros(n, F32)]),
        seed=training.seed,
        order=np.concatenate([ends, training.samples, ends]),
    )
