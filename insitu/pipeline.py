"""A person's network and samples -> a library that trains it. READ FIRST: one line a stage.

Only this module knows the order of the stages.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from insitu.artifacts import Measurement
from insitu.config import QuantizationConfig, TrainingConfig
from insitu.data.labels import label_type
from insitu.data.samples import (
    Samples,
    channels_last,
    check_calibration,
    checked,
    evenly_spaced,
    quantize_samples,
)
from insitu.differentiate import differentiate
from insitu.errors import ConfigError, DataError, InsituError, ModelError, PrecisionWarning
from insitu.frontends import sklearn, torch
from insitu.frontends.model import Model
from insitu.frontends.onnx import reader as onnx
from insitu.generate import check_name
from insitu.graph.model import Array, Graph
from insitu.graph.names import order_of
from insitu.graph.scheme import Scheme
from insitu.graph.verify import verify
from insitu.measure.blame import find_cause
from insitu.measure.fidelity import Fidelity, explained, measure_fidelity
from insitu.measure.quality import EXPLAINED, Kept, Verdict, judge
from insitu.network.board_run import Tools, check_tools
from insitu.network.compiled import Network
from insitu.network.fit import check_least, measured
from insitu.network.trainable import TrainableNetwork
from insitu.network.twin import Twin
from insitu.plan import limit_scratch, plan_memory
from insitu.prepare.end import layers_that_learn, with_end
from insitu.prepare.layers import select_kept
from insitu.prepare.simplify import simplify
from insitu.quantize import Sized, quantize_graph, refine, size
from insitu.quantize.error_unit import with_error_unit
from insitu.target.board import Board, find_board


def load(path: str | Path, *, output: str | None = None) -> Model:
    """Read a network.

    Args:
        path: an ONNX file.
        output: name of the output that carries the loss, where there are several.

    Raises:
        ModelError: it cannot be read. What is not supported is in `Model.unsupported`.
    """
    return onnx.read(Path(path), output=output)


def from_torch(module: Any, example_input: Any, *, output: str | None = None) -> Model:
    """Read a torch.nn.Module through torch.export, as it is in eval mode.

    Args:
        module: of one float input; it is left as it was.
        example_input: a tensor x[n, ...]; all sizes but n are fixed by it.
        output: name of the output that carries the loss, where there are several.

    Raises:
        ModelError: it cannot be read. What is not supported is in `Model.unsupported`.
        ToolError: PyTorch is not installed.
    """
    return torch.read(module, example_input, output=output)


def from_sklearn(estimator: Any) -> Model:
    """Read a multi-layer perceptron of scikit-learn, alone or behind scalers in a Pipeline.

    Args:
        estimator: a fitted MLPClassifier or MLPRegressor, or a Pipeline of StandardScaler or
            MinMaxScaler that ends in one.

    Raises:
        ModelError: it is not fitted, or another kind of estimator.
    """
    return sklearn.read(estimator)


def compile(  # noqa: A001 - insitu.compile is what it is called by its users
    model: Model | str | Path,
    *,
    calibration: Array | Samples,
    targets: Array | None = None,
    training: TrainingConfig | None = None,
    quantization: QuantizationConfig | None = None,
    board: str | Board = "nrf52840",
    name: str = "model",
    scratch: int | None = None,
    tools: Tools | None = None,
) -> TrainableNetwork:
    """Quantize, differentiate, plan, generate, and measure on the emulated board.

    Args:
        model: from `load` or `from_torch`, or the path that `load` takes.
        calibration: x[n, ...], as the network's own input has it (mostly channels first); or
            `Samples`.
        targets: of the calibration samples, for the loss mse, so that their range is known; or
            their classes, so that the steps that are measured are like yours.
        board: name, or path of a board's TOML file.
        name: of the C symbols, "insitu_NAME".
        scratch: bytes that a kernel keeps to where it has a choice, by default 12 KB. Where the
            board is tight kernels have less: as much as the arena has free while each runs.

    Raises:
        ModelError: the network holds what is not supported.
        DataError: the calibration data does not suit it.
        ConfigError, BoardError: a choice that makes no sense.
        FitError: the network does not fit the board; `figures` says what it needs.
    """
    model = model if isinstance(model, Model) else load(model)
    training = training or TrainingConfig()
    target = board if isinstance(board, Board) else find_board(board)
    check_name(name)
    model.check_supported()
    quantization = quantization or QuantizationConfig()
    given = _as_samples(calibration, targets)
    samples = _calibration_samples(model, given, quantization)

    _check_scratch(scratch)
    kept = select_kept(model.graph, training.layers)
    graph = with_end(simplify(model.graph, training.loss, keep=kept), training)
    trained = layers_that_learn(graph, training)
    tools = tools or Tools()
    _refuse_early(graph, trained, training, target)
    check_tools(target.core, tools)
    shape = graph.sample.shape
    image = channels_last(samples.x, shape, last=graph.channels_last)
    seen = Kept(graph.outputs[0], len(samples))
    sized = size(graph, image, trained, training.scheme, quantization.calibration, seen)

    def made(sized: Sized) -> _Made:
        scheme = with_error_unit(training, given, sized.graph, sized.ranges)
        integers, names = sized.quantized(trained, scheme)
        step = _step(integers, scheme, training, scratch)
        network = _drafted(model.input_shape, graph, step, trained, training, target, name)
        q = quantize_samples(samples.x, shape, network.input_qparams, last=graph.channels_last)
        network = measured(network, q, samples, tools)
        return _Made(network, sized.graph, names, q, _verdict(network, seen, q, samples))

    def refined() -> Sized | None:
        return refine(sized, image, trained, training.scheme, quantization.calibration)

    return _better(made, sized, refined).explained(seen, image)


def _drafted(
    input_shape: tuple[int, ...],
    graph: Graph,
    step: Graph,
    trained: frozenset[str],
    training: TrainingConfig,
    board: Board,
    name: str,
) -> TrainableNetwork:
    """A network that nothing is generated of yet."""
    return TrainableNetwork(
        name=name,
        input_shape=input_shape,
        graph=step,
        float_graph=graph,
        trained=trained,
        training=training,
        plan=plan_memory(step),
        board=board,
        measurement=Measurement(),
        folder=Path(),
    )


def _better(
    made: Callable[[Sized], _Made], sized: Sized, refined: Callable[[], Sized | None]
) -> _Made:
    """What is made of a sized network, or of the refined one where that agrees with float more."""
    first = made(sized)
    more = refined() if first.verdict.could_be_better else None
    if more is None:
        return first
    second = made(more)
    return second if second.verdict.error < first.verdict.error else first


@dataclass(frozen=True)
class _Made:
    """A compiled network, and how far it agrees with its float form.

    Attributes:
        graph: what the integers stand for. names: of its activations, in integers.
        q: the calibration samples as the network takes them.
    """

    network: TrainableNetwork
    graph: Graph
    names: Mapping[str, str]
    q: Array
    verdict: Verdict

    def explained(self, seen: Kept, x: Array) -> TrainableNetwork:
        """The network with what is to be said of it."""
        quality = self.verdict.quality
        if self.verdict.found:
            some = seen.rows[:: -(-len(seen.rows) // EXPLAINED)]
            cause = find_cause(self.graph, self.network.graph, self.names, x[some], self.q[some])
            quality = self.verdict.explained(cause)
        return replace(self.network, quality=quality)


def _step(integers: Graph, scheme: Scheme, training: TrainingConfig, scratch: int | None) -> Graph:
    step = differentiate(integers, scheme, rate=training.lr, seed=training.seed)
    verify(step)
    return step if scratch is None else limit_scratch(step, scratch)


def compare(
    model: Model | str | Path,
    *,
    data: Array | Samples,
    labels: Array | None = None,
    quantization: QuantizationConfig | None = None,
    samples: int = 64,
) -> Fidelity:
    """What quantization alone changes, layer by layer; nothing is trained.

    Args:
        model: from `load`, or the path that `load` takes.
        data: x[n, ...], as the network's own input has it; ranges are found on it as `compile`
            does.
        labels: y[n], where there are any; targets of other losses are not looked at.
        samples: compare at most so many of them, evenly spaced.

    Raises:
        ModelError: the network holds what is not supported.
        DataError: the data does not suit it.
        ConfigError: samples is below 1.
    """
    if samples < 1:
        raise ConfigError(f"{samples} samples; 1 is the least, 64 is usual")
    model = model if isinstance(model, Model) else load(model)
    model.check_supported()
    quantization = quantization or QuantizationConfig()
    given = data if isinstance(data, Samples) else Samples(data, labels, "data")
    x = _calibration_samples(model, given, quantization).x
    graph = simplify(model.graph)
    shape = graph.sample.shape
    labels_of = label_type(graph, TrainingConfig().loss)
    labelled = given.y is not None and given.y.dtype.kind in "iu" and given.y.ndim < 2
    classifies = labelled and max(labels_of.shape) == labels_of.outputs > 1
    wanted = labels_of if classifies else None
    chosen = checked(given, model.input_shape, wanted, order=order_of(graph))
    chosen = evenly_spaced(chosen, samples)
    nothing: frozenset[str] = frozenset()
    x = channels_last(x, shape, last=graph.channels_last)
    method = quantization.calibration
    sized = size(graph, x, nothing, Scheme(), method)
    _warn_untrainable(sized)
    fidelity = measure_fidelity(sized, chosen)
    more = refine(sized, x, nothing, Scheme(), method) if fidelity.could_be_better else None
    if more is not None:
        second = measure_fidelity(more, chosen)
        if second.score_cosine > fidelity.score_cosine:
            fidelity, sized = second, more
    return explained(fidelity, sized, chosen)


def _warn_untrainable(sized: Sized) -> None:
    """Say what `compile` would refuse where every layer is trained."""
    layers = frozenset(node.name for node in sized.graph.nodes if node.op.weights)
    try:
        sized.quantized(layers, Scheme())
    except ModelError as error:
        message = f"{error}; it is compared as it is where this layer, and those before it, stay"
        warnings.warn(message, PrecisionWarning, stacklevel=3)


class _AnyRanges(dict[str, tuple[float, float]]):
    """Of activations before calibration: no size depends on them."""

    def __missing__(self, _: str) -> tuple[float, float]:
        return -1.0, 1.0


def _refuse_early(
    graph: Graph, trained: frozenset[str], training: TrainingConfig, board: Board
) -> None:
    """Refuse what cannot fit, whatever the ranges and however little scratch its kernels have.

    Raises:
        FitError: as `measured`, but with what is needed at least.
    """
    try:
        scheme = training.scheme
        integers = quantize_graph(graph, _AnyRanges(), trained, scheme)
        step = limit_scratch(differentiate(integers, scheme), 0)
    except InsituError:
        return  # said where it arises, with the ranges that are right
    check_least(step, board)


def _check_scratch(scratch: int | None) -> None:
    if scratch is not None and scratch < 0:
        raise ConfigError(f"scratch {scratch} is below 0 bytes; 4096 makes most kernels fast")


def _calibration_samples(model: Model, given: Samples, config: QuantizationConfig) -> Samples:
    """float32[n, ...], checked, at most as many as the config asks for; y as it was given."""
    samples = checked(given, model.input_shape, order=order_of(model.graph))
    check_calibration(samples, last=model.graph.channels_last)
    labelled = given.y is not None and given.y.ndim > 0 and len(given.y) == len(samples)
    samples = replace(samples, y=given.y if labelled else None)
    return evenly_spaced(samples, config.calibration_samples)


def _verdict(network: Network, seen: Kept, q: Array, samples: Samples) -> Verdict:
    """How far a network that is not trained yet agrees with its float form.

    Args:
        seen: the float scores. q: the samples of the calibration as the network takes them.
    """
    scores, _ = Twin(network, network.build_folder).library.predict(q[seen.rows])
    labels = _labels(samples, network)
    known = None if labels is None else labels[seen.rows]
    return judge(network.training.loss, seen.scores, scores, known)


def _labels(samples: Samples, network: Network) -> Array | None:
    """Where there are some that suit the network, and its last layer knows them."""
    if samples.y is None or network.training.classes or network.labels.record.ranged:
        return None
    try:
        order = order_of(network.graph)
        return checked(samples, network.input_shape, network.labels, order=order).y
    except DataError:  # nothing but a score asks for them
        return None


def _as_samples(calibration: Array | Samples, targets: Array | None) -> Samples:
    if isinstance(calibration, Samples):
        return calibration
    return Samples(calibration, targets, "calibration")
