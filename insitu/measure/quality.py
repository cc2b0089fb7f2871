"""float scores, integer scores, labels -> whether a compiled network is what it was in float.

Invariant: both networks see the same samples, which are those of the calibration.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from insitu.graph.model import Array
from insitu.measure.blame import Cause
from insitu.ops.losses.table import LOSSES

COMPARED = 128
"""Samples that are compared, evenly spaced; of a share of 90 % the standard error then is 2.7 %."""

EXPLAINED = 32
"""Of these, so many are looked into where the networks disagree."""

AGREES = 0.9
"""Share of samples on which networks agree that lose no more than 8 bits must: MLPerf Tiny's have
97 to 100 %, and 128 samples of such a one fall below 90 % in one case of 20,000."""

USUAL = 0.97
"""Share that they agree on at least; below it compile tries what deep networks need."""

MOST_ERROR = 0.1
"""Energy of the error of scores beside that of their differences from sample to sample: 10 dB,
where 8 bits leave 25 to 40."""

ACCURACY_LOSS = 0.05


@dataclass(frozen=True, kw_only=True)
class Quality:
    """What compile says of what it made.

    Attributes:
        accuracy_float, accuracy_quantized: of labelled calibration samples, as the loss scores
            them; None without labels.
        agreement: share of samples for which both networks choose the same; None where nothing is
            chosen (loss mse), or all scores are alike (a fresh head).
        warnings: sentences.
    """

    accuracy_float: float | None = None
    accuracy_quantized: float | None = None
    agreement: float | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How far a float and an integer network agree.

    Attributes:
        quality: without warnings.
        error: energy of the error of the scores beside that of their differences between samples.
        found: what is to be said where they disagree, else "".
    """

    quality: Quality
    error: float
    found: str

    @property
    def could_be_better(self) -> bool:
        """Whether 8 bits may have lost more than they must."""
        agreement = self.quality.agreement
        few = agreement is not None and agreement < USUAL
        return bool(self.found) or few or self.error > MOST_ERROR

    def explained(self, cause: Cause) -> Quality:
        """With the warning that names what most is lost by."""
        return replace(self.quality, warnings=(f"{self.found}; {cause.where}: {cause.advice}",))


class Kept:
    """An observer of `calibrate` that keeps the scores of some samples.

    Attributes:
        rows: of the samples, sorted.
    """

    def __init__(self, output: str, samples: int) -> None:
        """Of at most `COMPARED` samples."""
        count = min(samples, COMPARED)
        self.rows = np.linspace(0, samples - 1, count).round().astype(int)
        self._output, self._seen = output, 0
        self._scores: list[Array] = []

    def __call__(self, tensor: str, value: Array) -> None:
        """A batch of a tensor."""
        if tensor != self._output:
            return
        rows = self.rows - self._seen
        rows = rows[(rows >= 0) & (rows < len(value))]
        self._scores.append(value[rows].reshape(len(rows), -1).astype(np.float32))
        self._seen += len(value)

    @property
    def scores(self) -> Array:
        """float32[rows, outputs]."""
        return np.concatenate(self._scores)


def judge(loss: str, exact: Array, got: Array, labels: Array | None) -> Verdict:
    """How far two networks agree.

    Args:
        exact, got: scores[n, outputs] in float and in integers.
        labels: classes[n] or targets[n, outputs], as the loss takes them.
    """
    record = LOSSES[loss]
    spread = float(((exact - exact.mean(axis=0)) ** 2).sum())
    agreement, choices = None, np.empty(0)
    if record.targets is None and exact.shape[1] > 1 and spread > 0:
        choices = exact.argmax(axis=1)
        agreement = float((choices == got.argmax(axis=1)).mean())
    elif record.decide(exact).dtype == np.bool_:
        choices = record.decide(exact)
        agreement = float((choices == record.decide(got)).mean())
    accuracy = [None if labels is None else record.score(side, labels) for side in (exact, got)]
    error = float(((exact - got) ** 2).sum()) / spread if spread > 0 else 0.0
    chooses = bool((choices != choices[:1]).any())  # else agreement says nothing
    found = _disagreement(agreement if chooses else None, accuracy, error)
    quality = Quality(
        accuracy_float=accuracy[0], accuracy_quantized=accuracy[1], agreement=agreement
    )
    return Verdict(
        quality=quality,
        error=error,
        found=f"{found} of {len(exact)} calibration samples" if found else "",
    )


def _disagreement(agreement: float | None, accuracy: list[float | None], error: float) -> str:
    """What to say of it; "" where 8 bits lose no more than they must."""
    before, after = accuracy
    if before is not None and after is not None and before - after >= ACCURACY_LOSS:
        return f"8 bits score {after:.1%} where float has {before:.1%}"
    if agreement is not None and agreement < AGREES:
        return f"8 bits and float choose the same in only {agreement:.1%}"
    if agreement is None and error > MOST_ERROR:
        return f"8 bits change the scores by {100 * np.sqrt(error):.0f} % of their own differences"
    return ""
