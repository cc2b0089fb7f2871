"""The command line: parse, call, print; no logic.

Exit status 0 on success, 1 on a user's error (one line on stderr), 2 on wrong usage, 130 and 143
where the user or the system ended it.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from insitu import config, pipeline
from insitu.app.bench import bench
from insitu.app.console import print_json, progress, say_warning, stop
from insitu.app.options import (
    Calibration,
    Data,
    Folder,
    Json,
    Output,
    Scratch,
    Seed,
    Test,
    with_config,
)
from insitu.data.samples import Samples, checked, read_samples
from insitu.errors import ConfigError, FitError, InsituError, ToolError
from insitu.graph.names import order_of
from insitu.network.folder import check_replaceable
from insitu.network.trainable import TrainableNetwork
from insitu.prepare import layers
from insitu.target.board import all_boards

INTERRUPTED, TERMINATED = 130, 143

app = typer.Typer(
    name="insitu",
    help="Train a neural network in place, fully quantized, on a Cortex-M microcontroller.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # in "rich" a [default] would be taken for a style
    add_completion=False,
)


def main() -> None:
    """Entry point of the command `insitu`."""
    # as an exception, so that what was begun is cleared away
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    warnings.showwarning = say_warning
    try:
        app()
    except InsituError as error:
        stop(str(error))
    except SystemExit as end:
        if end.code == INTERRUPTED:  # what typer makes of a KeyboardInterrupt, without a word
            stop("interrupted", INTERRUPTED)
        if end.code == TERMINATED:
            stop("terminated", TERMINATED)
        raise
    except KeyboardInterrupt:
        stop("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # whoever read our output has closed it; nothing is left to be said
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        stop(f"{where}{error.strerror or error}; is the disk full or the file being used?")
    except MemoryError as error:
        stop(f"out of memory ({str(error) or 'no more to be had'}); take fewer samples or steps")


def _samples(path: Path, network: TrainableNetwork) -> Samples:
    found = read_samples(path, labels=not network.labels.are_targets)
    return checked(found, network.input_shape, network.labels, order=order_of(network.graph))


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Where the result goes.")] = Path("demo-out"),
    as_json: Json = False,
) -> None:
    """The main job on real data, from nothing to a report, in a few minutes."""
    from insitu.app.demo import run_demo

    console = Console(stderr=as_json)
    figures = run_demo(out, console=console)
    if as_json:
        print_json(figures)
    _require_equal(figures)


def _require_equal(figures: Mapping[str, Any]) -> None:
    """Fail, after the figures were printed, where the board did something else than the twin."""
    if not figures["twin_equal"]:
        raise ToolError(
            f"{figures['board']}: differs from the twin after {figures['steps']} steps; this is a "
            "mistake of insitu or of the compiler, please report it with the network"
        )


@app.command()
def inspect(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="An ONNX file.")],
    output: Output = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", metavar="DATA.npz", help="Say what 8 bits change on x [and y]."),
    ] = None,
    calibration: Calibration = None,
    samples: Annotated[int, typer.Option(min=1, help="Compare at most so many.")] = 64,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw what --data shows.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Layers, shapes, parameters, MACs; what is not supported; what quantization alone changes."""
    from insitu.network import figures
    from insitu.report import plots, text

    if data is None and plot is not None:
        raise ConfigError(f"{plot}: there is nothing to draw without --data DATA.npz; give both")
    network = pipeline.load(model, output=output)
    rows = layers.list_layers(network.graph)
    fidelity = None
    if data is not None:
        _, quantization = _configs(None, {"calibration": calibration})
        given = read_samples(data, labels=False)
        fidelity = pipeline.compare(network, data=given, quantization=quantization, samples=samples)
    if fidelity is not None and plot is not None:
        plots.write_fidelity_plot(plot, fidelity)
    if as_json:
        print_json(figures.inspect_figures(network, rows, fidelity))
        return
    text.print_inspect(Console(), network, rows)
    if fidelity is not None:
        text.print_fidelity(Console(), fidelity)


@app.command(name="compile")
@with_config
def compile_(
    given: Mapping[str, Any],
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="An ONNX file.")],
    data: Annotated[Path, typer.Option("--data", metavar="DATA.npz", help="Array x.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the result goes.")],
    output: Output = None,
    board: Annotated[str, typer.Option(help="Name, or a TOML file.")] = "nrf52840",
    config_file: Annotated[
        Path | None, typer.Option("--config", metavar="FILE.toml", help="Options as a file.")
    ] = None,
    name: Annotated[str, typer.Option(help="Of the C symbols, insitu_NAME.")] = "model",
    scratch: Scratch = None,
    as_json: Json = False,
) -> None:
    """Quantize, differentiate, plan memory, generate C, measure on the emulated board."""
    from insitu.report import text

    training, quantization = _configs(config_file, given)
    plain: dict[str, Any] = {"board": board, "name": name, "scratch": scratch}
    check_replaceable(out)
    samples = read_samples(data, labels=False)
    try:
        network = pipeline.compile(
            pipeline.load(model, output=output),
            calibration=samples,
            training=training,
            quantization=quantization,
            **plain,
        ).save(out)
    except FitError as error:
        if as_json and error.figures:
            print_json({**error.figures, "fits": False})
        raise
    beyond = network.beyond(samples.x)
    if as_json:
        print_json({**network.figures, "beyond_range": asdict(beyond)})
    else:
        text.print_compile(Console(), network, beyond)


def _configs(
    path: Path | None, given: Mapping[str, Any]
) -> tuple[config.TrainingConfig, config.QuantizationConfig]:
    """From a file, and from the command line, which holds where both say something."""
    options = {} if path is None else config.read_toml(path)
    options |= {key: value for key, value in given.items() if value is not None}
    return config.from_options(options)


@app.command()
def twin(
    folder: Folder,
    data: Data,
    test: Test = None,
    epochs: Annotated[int, typer.Option(min=1)] = 1,
    lr: Annotated[float | None, typer.Option(help="Instead of the rate given to compile.")] = None,
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Train the bit-exact twin on the desk."""
    from insitu.report import text

    network = _with_training(TrainableNetwork.load(folder), lr=lr, seed=seed)
    samples = _samples(data, network)
    scored = samples if test is None else _samples(test, network)
    with progress("training") as tell:
        model = network.twin()
        before = model.judge(scored.x, scored.y)
        history = model.fit(samples.x, samples.labels, epochs=epochs, progress=tell)
        after = model.judge(scored.x, scored.y)
    figures = {
        "epochs": epochs,
        "lr": network.training.lr,
        "seed": network.training.seed,
        **{f"{name}_before": value for name, value in before.items()},
        **{f"{name}_after": value for name, value in after.items()},
        **history.figures,
        "weights_sha256": model.sha256,
    }
    if as_json:
        print_json(figures)
    else:
        text.print_twin(Console(), figures, history)


def _with_training(network: TrainableNetwork, **options: Any) -> TrainableNetwork:
    """The network with other training options, checked."""
    return network.with_training(**{k: v for k, v in options.items() if v is not None})


@app.command()
def run(
    folder: Folder,
    data: Data,
    test: Test = None,
    board: Annotated[str | None, typer.Option(help="Instead of the one of compile.")] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Training steps. [one pass over the data]")
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Instead of the rate given to compile.")] = None,
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Train on the emulated board and say whether it equals the twin."""
    from insitu.report import text

    network = _with_training(TrainableNetwork.load(folder), lr=lr, seed=seed)
    samples = _samples(data, network)
    evaluation = None if test is None else _samples(test, network)
    with progress("emulating") as tell:
        result = network.run(
            samples.x,
            samples.labels,
            test=None if evaluation is None else (evaluation.x, evaluation.labels),
            board=board,
            steps=steps,
            progress=tell,
        )
    if as_json:
        print_json(result.figures)
    else:
        text.print_run(Console(), result.figures, board=result.board)
    _require_equal(result.figures)


@app.command()
def report(
    folder: Folder,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page with plots.")
    ] = None,
    as_json: Json = False,
) -> None:
    """RAM and flash by tensor and layer, latency and energy by layer, memory map."""
    from insitu.network import figures
    from insitu.report import text
    from insitu.report.html import write_html

    network = TrainableNetwork.load(folder)
    if html is not None:
        write_html(html, network)
    if as_json:
        print_json(figures.report_figures(network))
    elif html is None:
        text.print_report(Console(), network)
    else:
        print(f"wrote {html}")


@app.command()
def export(
    folder: Folder,
    format_: Annotated[str, typer.Option("--format", help="cmake or arduino")],
    out: Annotated[Path, typer.Option(metavar="OUT", help="A new folder.")],
    as_json: Json = False,
) -> None:
    """A library for the user's own build."""
    written = TrainableNetwork.load(folder).export(out, format=format_)
    if as_json:
        print_json({"format": format_, "files": [str(path.relative_to(out)) for path in written]})
    else:
        print(f"wrote {len(written)} files to {out}")


@app.command()
def boards(as_json: Json = False) -> None:
    """The boards known, with their limits."""
    from insitu.report import text

    known = all_boards()
    if not as_json:
        text.print_boards(Console(), known.values())
        return
    totals = ("flash_bytes", "ram_bytes")
    print_json(
        [{**asdict(b), **{total: getattr(b, total) for total in totals}} for b in known.values()]
    )


@app.command()
def doctor(as_json: Json = False) -> None:
    """Which compilers and emulators were found, and what is missing for what."""
    from insitu.report import text
    from insitu.tools.survey import survey

    findings = survey()
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        text.print_doctor(Console(), findings)


app.command()(bench)

if __name__ == "__main__":
    main()
