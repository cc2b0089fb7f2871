"""A damaged file -> what insitu makes of it, with everything it writes and needs under watch."""

from __future__ import annotations

import math
import os
import re
import resource
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import insitu
from insitu import pipeline
from insitu.artifacts import Measurement
from insitu.config import TrainingConfig
from insitu.frontends.model import Model
from insitu.frontends.onnx.file import CONVERT, FIRST_OPSET
from insitu.measure.quality import Quality, Verdict
from insitu.network import fit
from insitu.prepare import layers

AGREED = Verdict(quality=Quality(), error=0.0, found="")

MEMORY_BYTES = 3 * 2**30
"""Address space of the process; the libraries alone take a part of it."""

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGING = (
    "os.mkdir",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.truncate",
)
WITHIN = ("os.remove", "os.rmdir", "os.mkdir")
MOVING = ("os.rename", "os.link", "os.symlink")
STARTING = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect")


CONVERSION = [sys.executable, "-c", CONVERT.replace("TARGET", str(FIRST_OPSET))]
"""The one program that an import may start: onnx's converter of old files, which reads a pipe."""


class EscapeError(Exception):
    """Something was written, or started, that should not have been."""


@dataclass
class Watch:
    """Paths outside `folder` that the process wrote while `active`; Python's own audit says it."""

    folder: Path
    active: bool = False

    def __post_init__(self) -> None:
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.active:
            return
        if event in STARTING:
            if event != "subprocess.Popen" or list(arguments[1]) != CONVERSION:
                self.seen.append(event)
        elif event == "open" and isinstance(arguments[0], str | bytes):
            path, _, flags = arguments
            if isinstance(flags, int) and flags & WRITING:
                self._check(os.fsdecode(path))
        elif event in CHANGING:
            paths = arguments[:2] if event in MOVING else arguments[:1]
            folder = arguments[-1] if event in WITHIN else -1
            for path in paths:
                if isinstance(path, str | bytes):
                    self._check(os.fsdecode(path), folder)

    def _check(self, path: str, folder: int = -1) -> None:
        """Note a path that lies elsewhere; `folder` is the open one that it is relative to."""
        within = Path(f"/proc/self/fd/{folder}").readlink() if folder >= 0 else Path()
        whole = os.path.realpath(within / path)
        if whole not in (os.devnull, str(self.folder)) and not whole.startswith(
            f"{self.folder}{os.sep}"
        ):
            self.seen.append(path)


def limit_memory() -> None:
    """Let this process have no more than `MEMORY_BYTES`."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def outcome(content: bytes, watch: Watch) -> str:
    """What became of a file: "refused", "unsupported", "not compiled" or "compiled".

    Raises:
        EscapeError: it wrote outside its output folder, or started a program.
        Exception: whatever insitu raises that is not an InsituError of one line; a warning too.
    """
    path, out = watch.folder / "model.onnx", watch.folder / "out"
    path.write_bytes(content)
    watch.seen.clear()
    watch.active = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            said = _read_and_compile(path, out)
    finally:
        watch.active = False
    if watch.seen:
        raise EscapeError(f"outside {watch.folder}: {', '.join(watch.seen)}")
    return said


def _read_and_compile(path: Path, out: Path) -> str:
    try:
        model = insitu.load(path)
    except insitu.InsituError as error:
        _check_line(error)
        if not str(error).startswith(f"{path}: "):
            raise AssertionError(f"names no file: {error}") from None
        return "refused"
    layers.list_layers(model.graph)
    if model.unsupported:
        assert all(u.name and u.op is not None and u.reason and u.advice for u in model.unsupported)
        return "unsupported"
    if np.prod(model.input_shape) > 2**20:
        return "too large for a sample here"
    x = np.random.default_rng(0).normal(size=(3, *model.input_shape)).astype(np.float32)
    try:
        with (
            mock.patch.object(fit, "measure_network", return_value=Measurement()),
            mock.patch.object(pipeline, "_verdict", return_value=AGREED),
            mock.patch.object(pipeline, "check_tools"),
        ):
            insitu.compile(model, calibration=x, training=_training(model)).save(out)
    except insitu.InsituError as error:
        _check_line(error)
        return "not compiled"
    return "compiled"


def _training(model: Model) -> TrainingConfig:
    """Cross-entropy where there is one score for each class, else mean squared error."""
    shape = model.graph.tensors[model.graph.outputs[0]].shape
    scores = math.prod(shape)
    return TrainingConfig(loss="cross_entropy" if scores == max(shape) > 1 else "mse")


def _check_line(error: insitu.InsituError) -> None:
    assert re.fullmatch(r"[^\n]+", str(error)), f"not one line: {error!s}"
