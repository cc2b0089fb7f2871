"""The losses that there are, by the name that users give them; a new one is a record, and its op.

Invariant: the label is the graph's tensor `LABEL`: int32[1], the class; or, for a loss against real
targets, float32 in the shape of the scores.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from insitu.fixed_point import F32
from insitu.graph.builder import Builder
from insitu.graph.model import Array, Graph, Node, OpDef, Phase
from insitu.graph.names import LABEL
from insitu.ops.losses.border import error_qparams
from insitu.ops.losses.cross_entropy import softmax_cross_entropy
from insitu.ops.losses.targets import binary_cross_entropy, mean_squared_error


def _outputs(scores: Array) -> Array:
    return scores


@dataclass(frozen=True, kw_only=True)
class Loss:
    """What anybody asks of a loss.

    Attributes:
        op: (scores, label) -> error, value.
        of_a_constant: labels -> the mean loss of the best answer that is the same for all samples.
        score: (scores[n, outputs], labels) -> how good they are, as users of scikit-learn expect.
        absorbs: the function that it contains: at the end of a network it is left out.
        targets: the bounds of a target; None: labels are classes.
        numbers: numpy's kinds of numbers that targets may be; whole ones are bits.
        decide: what scores say, against targets.
        steepness: the gradient of one output's loss where its error is 1.
        ranged: whether errors are as large as targets are: `Scheme.error_unit` then is half their
            range; else the unit is 1.
    """

    name: str
    op: OpDef
    of_a_constant: Callable[[Array], float]
    score: Callable[[Array, Array], float]
    absorbs: str = ""
    targets: tuple[float, float] | None = None
    numbers: str = ""
    decide: Callable[[Array], Array] = _outputs
    steepness: float = 1.0
    ranged: bool = False

    def mean(self, scores: Array, labels: Array) -> float:
        """The mean over samples of scores[n, outputs], labels as `checked_labels` gives them."""
        assert self.op.float_reference is not None
        attributes = {"skip": 0.0, "unit": 1.0, "factor": 1.0}
        given = labels if self.targets is None else labels.astype(np.float64)
        with np.errstate(all="ignore"):
            _, losses = self.op.float_reference(attributes, [scores.astype(np.float64), given])
        return float(losses.mean())


def _accuracy(scores: Array, labels: Array) -> float:
    """Share of samples whose class is right."""
    return float((scores.argmax(axis=1) == labels).mean())


def _entropy(p: Array) -> float:
    """-sum of p log p."""
    seen = p[p > 0]
    return float(-(seen * np.log(seen)).sum())


def _entropy_of_classes(labels: Array) -> float:
    return _entropy(np.bincount(labels) / len(labels))


def _entropy_of_bits(labels: Array) -> float:
    """In the mean over the outputs."""
    p = labels.astype(np.float64).mean(axis=0)
    return _entropy(np.stack([p, 1 - p])) / len(p)


def _variance(labels: Array) -> float:
    return float(labels.astype(np.float64).var(axis=0).mean())


def _likelier(scores: Array) -> Array:
    """Whether an output is likelier 1 than 0."""
    return scores > 0


def _bit_accuracy(scores: Array, labels: Array) -> float:
    """Share of outputs on the right side of 1/2."""
    return float((_likelier(scores) == (labels > 0.5)).mean())


def _r_squared(scores: Array, labels: Array) -> float:
    """R^2 of all outputs together, as `r2_score` with `variance_weighted`.

    So outputs that hardly change do not decide; where no target changes, 1 if all are met.
    """
    targets = labels.astype(np.float64)
    rest = float(((scores - targets) ** 2).sum())
    spread = float(((targets - targets.mean(axis=0)) ** 2).sum())
    return 1 - rest / spread if spread > 0 else float(rest == 0)


LOSSES = {
    loss.name: loss
    for loss in (
        Loss(
            name="cross_entropy",
            op=softmax_cross_entropy,
            of_a_constant=_entropy_of_classes,
            score=_accuracy,
            absorbs="softmax",
        ),
        Loss(
            name="mse",
            op=mean_squared_error,
            of_a_constant=_variance,
            score=_r_squared,
            targets=(-math.inf, math.inf),
            numbers="f",
            steepness=2.0,
            ranged=True,
        ),
        Loss(
            name="bce",
            op=binary_cross_entropy,
            of_a_constant=_entropy_of_bits,
            score=_bit_accuracy,
            absorbs="sigmoid",
            targets=(0.0, 1.0),
            numbers="fiub",
            decide=_likelier,
        ),
    )
}
"""By name."""


def losses_with(op: OpDef) -> list[str]:
    """The losses that contain an op; it stands at the end of networks that these train, or none."""
    return [loss.name for loss in LOSSES.values() if loss.absorbs == op.name]


def emit_label(builder: Builder, scores: str) -> str:
    """Declare the label that the scheme's loss takes; returns its name."""
    if LOSSES[builder.scheme.loss].targets is None:
        return builder.input(LABEL, (1,), dtype="int32")
    return builder.input(LABEL, builder.tensors[scores].shape, dtype="float32")


def emit_loss(builder: Builder, scores: str, label: str, *, integer: bool) -> tuple[str, str]:
    """Append the scheme's loss; returns the names of its error and its value."""
    scheme, loss = builder.scheme, LOSSES[builder.scheme.loss]
    attributes: dict[str, Any] = {"integer": integer, "skip": scheme.skip}
    if loss.targets is not None:
        unit = scheme.error_unit if loss.ranged else 1.0
        factor = loss.steepness / builder.tensors[scores].size
        attributes |= {"unit": unit, "factor": factor, "targets": loss.targets}
        builder.full_gradient = unit * factor
    dy, value = builder.node(
        loss.op,
        (scores, label),
        name="loss",
        outputs=("loss.dy", "loss.value"),
        attributes=attributes,
        qparams=(error_qparams(builder.full_gradient) if integer else None,),
        phase=Phase.LOSS,
    )
    return dy, value


def loss_node(graph: Graph) -> Node:
    """The loss of a training step."""
    return next(node for node in graph.nodes if node.phase is Phase.LOSS)


def far_label(graph: Graph, scores: Array) -> Array:
    """A label whose error is as large as errors are, for scores[outputs] of a training step.

    Returns:
        int32[] the class that is least likely, or float32[outputs].
    """
    node = loss_node(graph)
    if "targets" not in node.attributes:
        return np.asarray(scores.argmin(), np.int32)
    low, high = node.attributes["targets"]
    if math.isinf(low):
        return np.asarray(scores + F32(2.0 * node.attributes["unit"]), F32)
    return np.where(scores > 0, F32(low), F32(high)).astype(F32)
