"""float graph, ranges, samples -> the error that quantization alone makes, layer by layer.

Invariant: nothing is trained: every layer is frozen, and what is compared is the integer reference,
whose bits the C has, with the float network in float64.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from insitu.data.samples import Samples, channels_last, quantize_samples
from insitu.graph.evaluate import evaluate_float
from insitu.graph.model import Array, Graph, Node, QParams, Tensor
from insitu.graph.scheme import Scheme
from insitu.measure.blame import Cause, as_read, dequantize, find_cause
from insitu.measure.quality import AGREES, USUAL
from insitu.quantize import Sized
from insitu.run.reference import Reference

LOST_DB = 20.0
"""8 bits leave 30 dB and more of the scores' differences between samples; below this, some part has
lost more than it must."""


@dataclass(frozen=True, kw_only=True)
class Distortion:
    """What is lost of a tensor's values, or of a layer's output.

    Attributes:
        sqnr_db: signal to quantization noise, of all errors up to here; None: nothing is lost.
        own_sqnr_db: likewise of the error that the layer itself adds: against its float form with
            the quantized network's input.
        max_error_lsb: the largest error in steps of the output's grid; None: the output is float.
        rms_lsb: root mean square of the float values in these steps.
        clipped: share of float values beyond the output's range, in [0, 1].
        cosine: similarity to the float values; None where either is 0 throughout.
    """

    sqnr_db: float | None
    own_sqnr_db: float | None
    max_error_lsb: float | None
    rms_lsb: float | None
    clipped: float
    cosine: float | None


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """A network's error by quantization alone.

    Attributes:
        samples: compared.
        input: of the quantized samples themselves.
        layers: by name, in order of execution; layers that were folded into others are absent.
        score_cosine: mean over the samples of the cosine similarity of the scores.
        same_class: share of samples with the same class in float and in integers; None where the
            output is no row of scores but a map or one number.
        float_accuracy, quantized_accuracy: share predicted as labelled; None without labels.
        loses: whether the scores lose more than 8 bits must.
        cause: what they then lose most by, once it is explained.
    """

    samples: int
    input: Distortion
    layers: Mapping[str, Distortion]
    score_cosine: float
    same_class: float | None
    float_accuracy: float | None
    quantized_accuracy: float | None
    loses: bool = False
    cause: Cause | None = None

    @property
    def could_be_better(self) -> bool:
        """Whether 8 bits may have lost more than they must."""
        return self.loses or (self.same_class is not None and self.same_class < USUAL)

    @property
    def worst(self) -> str | None:
        """The layer that adds most error for its signal; None where none adds any."""
        own = {k: v.own_sqnr_db for k, v in self.layers.items() if v.own_sqnr_db is not None}
        return min(own, key=own.__getitem__) if own else None

    @property
    def advice(self) -> str:
        """What to do, and where."""
        if self.cause is not None:
            return f"{self.cause.where}: {self.cause.advice}"
        if self.worst is None:
            return "nothing is lost"
        return f"{self.worst} loses no more than 8 bits must; there is nothing to do"


def measure_fidelity(sized: Sized, samples: Samples) -> Fidelity:
    """Run the samples through the simplified float network and through its quantized form.

    Args:
        samples: checked; labels lie in the classes if there are any.

    Raises:
        ModelError: an op has no integer form.
    """
    graph = sized.graph
    integers, names = sized.quantized(frozenset(), Scheme())
    name, output = graph.inputs[0], graph.outputs[0]
    image = integers.tensors[integers.inputs[0]]
    grid = quantize_samples(samples.x, image.shape, image.qparams, last=graph.channels_last)
    real = channels_last(samples.x, image.shape, last=graph.channels_last).astype(np.float64)
    reference, sums = Reference(integers), _Sums(graph, integers, names)
    scores: list[tuple[Array, Array]] = []
    for x, q in zip(real, grid, strict=True):
        floats = evaluate_float(graph, {name: x[None]})
        values = reference.forward(q.reshape(image.shape))
        sums.add(floats, {t: values[n] for t, n in names.items()})
        scores.append((floats[output].reshape(-1), values[names[output]].reshape(-1)))
    both = [np.stack(side).astype(np.float64) for side in zip(*scores, strict=True)]
    classes = [side.argmax(axis=1) for side in both]
    scored = len(graph.tensors[output].shape) == 1 < both[0].shape[1]
    same = float((classes[0] == classes[1]).mean()) if scored else None
    accuracy = [None if samples.y is None else float((c == samples.y).mean()) for c in classes]
    return Fidelity(
        samples=len(samples),
        input=sums.input.distortion,
        layers={name: found.distortion for name, found in sums.layers.items() if found.count},
        score_cosine=float(np.mean(cosines(*both))),
        same_class=same,
        float_accuracy=accuracy[0],
        quantized_accuracy=accuracy[1],
        loses=_is_much(both[0], both[1], same),
    )


def explained(fidelity: Fidelity, sized: Sized, samples: Samples) -> Fidelity:
    """With the cause, where the scores lose more than 8 bits must; arguments as it was measured."""
    if not fidelity.loses:
        return fidelity
    graph = sized.graph
    integers, names = sized.quantized(frozenset(), Scheme())
    image = integers.tensors[integers.inputs[0]]
    grid = quantize_samples(samples.x, image.shape, image.qparams, last=graph.channels_last)
    real = channels_last(samples.x, image.shape, last=graph.channels_last).astype(np.float64)
    return replace(fidelity, cause=find_cause(graph, integers, names, real, grid))


def _is_much(exact: Array, got: Array, same_class: float | None) -> bool:
    """Whether scores[n, outputs] lose more than 8 bits must."""
    spread = float(((exact - exact.mean(axis=0)) ** 2).sum())
    lost = _decibels(spread, float(((exact - got) ** 2).sum()))
    return (lost is not None and lost < LOST_DB) or (same_class is not None and same_class < AGREES)


def cosines(a: Array, b: Array) -> Array:
    """Cosine similarity of a[n, ...] and b[n, ...] by row; 1 for two rows of zeros, 0 for one."""
    units = [_unit(v.reshape(len(v), -1).astype(np.float64)) for v in (a, b)]
    both_zero = ~units[0].any(axis=1) & ~units[1].any(axis=1)
    return np.where(both_zero, 1.0, (units[0] * units[1]).sum(axis=1))


def _unit(rows: Array) -> Array:
    """Rows of length 1; the largest value is divided out first, so that no square vanishes."""
    largest = np.abs(rows).max(axis=1, keepdims=True)
    scaled = rows / np.where(largest > 0, largest, 1.0)
    length = np.linalg.norm(scaled, axis=1, keepdims=True)
    return np.asarray(scaled / np.where(length > 0, length, 1.0))


class _Sums:
    """Sums over samples for the input and every layer."""

    def __init__(self, graph: Graph, integers: Graph, names: Mapping[str, str]) -> None:
        self.graph = graph
        self.tensors: dict[str, Tensor] = {t: integers.tensors[n] for t, n in names.items()}
        self.input = _Sum()
        self.layers = {node.name: _Sum() for node in graph.nodes}

    def add(self, floats: Mapping[str, Array], values: Mapping[str, Array]) -> None:
        """A sample: float values with a batch axis of 1, and the integers that stand for them."""
        real = {t: dequantize(v, self.tensors[t].qparams)[None] for t, v in values.items()}
        constants = {k: t.data for k, t in self.graph.tensors.items() if t.data is not None}
        known = {**floats, **constants, **real}
        name = self.graph.inputs[0]
        q = self.tensors[name].qparams
        exact, got = (as_read(value, q) for value in (floats[name], real[name]))
        self.input.add(exact, exact, got, q)
        for node in self.graph.nodes:
            y = node.outputs[0]
            if y in real:
                own = _alone(node, known)
                self.layers[node.name].add(floats[y], own, real[y], self.tensors[y].qparams)


def _alone(node: Node, values: Mapping[str, Array]) -> Array:
    """The float form of a layer on these values."""
    assert node.op.float_reference is not None, node.op.name
    arguments = [values[name] for name in node.inputs if name]
    return np.asarray(node.op.float_reference(node.attributes, arguments)[0])


@dataclass
class _Sum:
    """Sums of squares and products over all values of a tensor; `own` is of the layer alone."""

    count: int = 0
    signal: float = 0.0
    quantized: float = 0.0
    product: float = 0.0
    error: float = 0.0
    own_signal: float = 0.0
    own_error: float = 0.0
    clipped: int = 0
    worst: float = 0.0
    scale: float | None = field(default=None)

    def add(self, exact: Array, own: Array, got: Array, q: QParams | None) -> None:
        """Values of a sample: in float, by the layer alone in float, and in integers."""
        self.count += exact.size
        self.signal += float((exact**2).sum())
        self.quantized += float((got**2).sum())
        self.product += float((exact * got).sum())
        self.error += float(((got - exact) ** 2).sum())
        self.own_signal += float((own**2).sum())
        self.own_error += float(((got - own) ** 2).sum())
        self.worst = max(self.worst, float(np.abs(got - exact).max()))
        if q is not None:
            self.scale = float(q.scale)
            low, high = ((bound - q.zero_point) * self.scale for bound in (-128.5, 127.5))
            self.clipped += int(((exact < low) | (exact > high)).sum())

    @property
    def distortion(self) -> Distortion:
        """What these sums say."""
        norms = np.sqrt(self.signal) * np.sqrt(self.quantized)
        rms = np.sqrt(self.signal / max(self.count, 1))
        return Distortion(
            sqnr_db=_decibels(self.signal, self.error),
            own_sqnr_db=_decibels(self.own_signal, self.own_error),
            max_error_lsb=None if self.scale is None else self.worst / self.scale,
            rms_lsb=None if self.scale is None else float(rms) / self.scale,
            clipped=self.clipped / max(self.count, 1),
            cosine=None if norms == 0 else float(self.product / norms),
        )


def _decibels(signal: float, error: float) -> float | None:
    tiny = float(np.finfo(np.float64).tiny)
    return None if error == 0 else 10 * float(np.log10(max(signal, tiny) / error))
