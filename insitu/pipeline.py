"""A person's network and samples -> a library that trains it. READ FIRST: one line a stage.

Only this module knows the order of the stages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from insitu.artifacts import Measurement
from insitu.config import QuantizationConfig, TrainingConfig
from insitu.data.labels import checked_labels, is_autoencoder, label_type
from insitu.data.samples import (
    Samples,
    channels_last,
    check_calibration,
    checked,
    evenly_spaced,
    quantize_samples,
)
from insitu.differentiate import differentiate
from insitu.errors import ConfigError, DataError, FitError, ModelError
from insitu.frontends import torch
from insitu.frontends.model import Model
from insitu.frontends.onnx import reader as onnx
from insitu.generate import check_name, generate
from insitu.graph.model import Array, Graph
from insitu.graph.scheme import Scheme
from insitu.graph.verify import verify
from insitu.measure.fidelity import Fidelity, measure_fidelity
from insitu.network.board_run import Tools, measure_network
from insitu.network.compiled import ScratchFolder, write_sources
from insitu.network.trainable import TrainableNetwork
from insitu.ops.losses.table import LOSSES, losses_with
from insitu.plan import fit_arena, limit_scratch, plan_memory
from insitu.prepare.head import head_of, replace_head
from insitu.prepare.layers import select_kept, select_layers, select_learning
from insitu.prepare.simplify import simplify
from insitu.quantize import calibrate, quantize_graph
from insitu.target.board import Board, find_board

NOT_MEASURED = Measurement(
    board="",
    core="",
    toolchain="",
    flash_bytes=0,
    ram_bytes=0,
    stack_bytes=0,
    instructions={},
    cycles={},
    cycle_error_percent=0,
)

SMALLEST_UNIT, LARGEST_UNIT = 1e-20, 1e20
"""Of errors: beyond them, products of scales would leave the float32 numbers."""


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
        calibration: x[n, ...], channels first, as the network will see it; or
            `Samples`.
        targets: of the calibration samples, for the loss mse, so that their range is known.
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
    x = _calibration_samples(model, given, quantization)

    _check_scratch(scratch)
    kept = select_kept(model.graph, training.layers)
    graph = _with_end(simplify(model.graph, training.loss, keep=kept), training)
    trained = _layers_that_learn(graph, training)
    shape = graph.tensors[graph.inputs[0]].shape
    ranges = calibrate(graph, channels_last(x, shape), quantization.calibration)
    scheme = _with_error_unit(training, given, graph, ranges)
    integers = quantize_graph(graph, ranges, trained, scheme)
    step = differentiate(integers, scheme, rate=training.lr, seed=training.seed)
    verify(step)
    step = step if scratch is None else limit_scratch(step, scratch)
    network = TrainableNetwork(
        name=name,
        input_shape=model.input_shape,
        graph=step,
        float_graph=graph,
        trained=trained,
        training=training,
        plan=plan_memory(step),
        board=target,
        measurement=NOT_MEASURED,
        folder=Path(),
    )
    sample = quantize_samples(x[:1], shape, network.input_qparams)[0]
    return _measured(network, sample, tools or Tools())


def _measured(network: TrainableNetwork, sample: Array, tools: Tools) -> TrainableNetwork:
    """Generated and measured; with less scratch where the board is tight."""
    wanted = _generated(network)
    try:
        return replace(wanted, measurement=measure_network(wanted, sample, tools=tools))
    except FitError as error:
        if error.arena_bytes is None:
            raise
        refusal = error
    tight = _fitted(wanted, refusal, sample, tools)
    return replace(tight, unlimited=measure_network(wanted, sample, tools=tools, limits=False))


def _fitted(
    wanted: TrainableNetwork, refusal: FitError, sample: Array, tools: Tools
) -> TrainableNetwork:
    """With the scratch that the board has room for; the stack may be another then.

    Raises:
        FitError: it has no room for the least either.
    """
    error = refusal
    while (room := error.arena_bytes) is not None:
        step, plan = fit_arena(wanted.graph, room)
        network = _generated(replace(wanted, graph=step, plan=plan))
        try:
            return replace(network, measurement=measure_network(network, sample, tools=tools))
        except FitError as again:
            error = again
        if plan.arena_bytes > room or error.arena_bytes is None or error.arena_bytes >= room:
            break
    if plan.arena_bytes == wanted.plan.arena_bytes:
        raise refusal
    raise FitError(
        f"{error} (with the least scratch that its kernels can do with; with all of it "
        f"{refusal.figures['ram_bytes']} bytes)",
        error.figures,
    )


def _generated(network: TrainableNetwork) -> TrainableNetwork:
    """With its C in a folder of its own."""
    source = generate(network.graph, network.plan, network.name, seed=network.training.seed)
    folder = ScratchFolder()
    write_sources(source, folder.path)
    return replace(network, folder=folder.path, temporary=folder)


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
        data: x[n, ...], channels first; ranges are found on it as `compile` does.
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
    x = _calibration_samples(model, given, quantization)
    graph = simplify(model.graph)
    shape = graph.tensors[graph.inputs[0]].shape
    labels_of = label_type(graph, Scheme().loss)
    labelled = given.y is not None and given.y.dtype.kind in "iu" and given.y.ndim < 2
    classifies = labelled and max(labels_of.shape) == labels_of.outputs > 1
    chosen = checked(given, model.input_shape, labels_of if classifies else None)
    chosen = evenly_spaced(chosen, samples)
    ranges = calibrate(graph, channels_last(x, shape), quantization.calibration)
    return measure_fidelity(graph, ranges, chosen)


def _layers_that_learn(graph: Graph, training: TrainingConfig) -> frozenset[str]:
    trained = select_learning(graph, select_layers(graph, training.layers), training.scheme.partial)
    if training.classes is None:
        return trained
    head = f'{graph.name}: the head "{head_of(graph).name}" is new, with {training.classes} classes'
    if head_of(graph).name not in trained:
        raise ConfigError(
            f"{head}, but only {', '.join(sorted(trained))} would be trained; train it too"
        )
    if training.update == "bias":
        raise ConfigError(f'{head} and weights of 0; update "bias" would leave them so; say "full"')
    return trained


def _with_end(graph: Graph, training: TrainingConfig) -> Graph:
    """The graph, with a fresh head where one is wanted; refuses what the loss cannot follow."""
    if training.classes is not None:
        graph = replace_head(graph, training.classes)
    loss = training.loss
    for node in graph.nodes:
        suiting = losses_with(node.op)
        if suiting and loss not in suiting:
            raise ModelError(
                f'{graph.name}: ends in {node.op.name} "{node.name}", which belongs to the loss '
                f"{suiting[0]}, not {loss}; train with --loss {suiting[0]} or remove it"
            )
    labels = label_type(graph, loss)
    if labels.are_targets:
        return graph
    if labels.outputs > max(labels.shape):
        others = " or ".join(other.name for other in LOSSES.values() if other.targets)
        raise ModelError(
            f"{graph.name}: puts out a map {list(labels.first)}, channels first, "
            "but cross-entropy takes one score for each class; end the network with a pool over "
            f"the map and a flatten, or train it against targets with --loss {others}"
        )
    if labels.outputs < 2:
        raise ModelError(
            f"{graph.name}: {labels.outputs} score; cross-entropy needs 2 classes or more; end the "
            "network with a score for each class, or replace its last layer with --classes"
        )
    return graph


def _with_error_unit(
    training: TrainingConfig,
    given: Samples,
    graph: Graph,
    ranges: Mapping[str, tuple[float, float]],
) -> Scheme:
    """Where the loss asks: half the range of the targets, where known, else of the scores."""
    labels = label_type(graph, training.loss)
    if not labels.record.ranged:
        return training.scheme
    low, high = ranges[graph.outputs[0]]
    if given.y is not None or is_autoencoder(given.x, labels):
        targets = checked_labels(given.x, given.y, labels, given.source)
        if targets.max() > targets.min():
            low, high = float(targets.min()), float(targets.max())
    unit = (high - low) / 2
    if not SMALLEST_UNIT < unit < LARGEST_UNIT:
        raise DataError(
            f"{given.source}: the outputs range from {low:g} to {high:g}, but half of that should "
            f"be between {SMALLEST_UNIT:g} and {LARGEST_UNIT:g}; scale the targets"
        )
    return replace(training.scheme, error_unit=unit)


def _check_scratch(scratch: int | None) -> None:
    if scratch is not None and scratch < 0:
        raise ConfigError(f"scratch {scratch} is below 0 bytes; 4096 makes most kernels fast")


def _calibration_samples(model: Model, given: Samples, config: QuantizationConfig) -> Array:
    """float32[n, ...], checked, at most as many as the config asks for."""
    samples = checked(given, model.input_shape)
    check_calibration(samples)
    return evenly_spaced(samples, config.calibration_samples).x


def _as_samples(calibration: Array | Samples, targets: Array | None) -> Samples:
    if isinstance(calibration, Samples):
        return calibration
    return Samples(calibration, targets, "calibration")
