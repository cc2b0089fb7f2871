"""Is what cannot work refused before the work, with the words of the late refusal?"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fuzzing import AGREED
from networks import DEMO_ONNX

import insitu
from insitu import pipeline
from insitu.config import TrainingConfig
from insitu.errors import FitError, ToolError
from insitu.network import board_run, fit
from insitu.target.board import Board, find_board
from insitu.tools import compilers

X = np.random.default_rng(0).normal(size=(8, 1, 8, 8)).astype(np.float32)
TRAINING = TrainingConfig(layers="all")


def small(**bytes_of: int) -> Board:
    """An nRF52840 with less memory of a kind."""
    board = find_board("nrf52840")
    memories = tuple(
        replace(m, length_bytes=bytes_of.get(m.kind, m.length_bytes)) for m in board.memories
    )
    return replace(board, name="small", memories=memories)


def not_to_be_called(*_: object, **__: object) -> None:
    raise AssertionError("it was called all the same")


@pytest.mark.parametrize(("kind", "has"), [("RAM", 4096), ("flash", 8192)])
def test_what_cannot_fit_is_refused_before_calibration(
    monkeypatch: pytest.MonkeyPatch, kind: str, has: int
) -> None:
    monkeypatch.setattr(pipeline, "size", not_to_be_called)
    monkeypatch.setattr(fit, "generate", not_to_be_called)
    monkeypatch.setattr(compilers, "look_for", not_to_be_called)
    with pytest.raises(FitError, match=f"bytes of {kind}") as refused:
        pipeline.compile(
            DEMO_ONNX, calibration=X, training=TRAINING, board=small(**{kind.lower(): has})
        )
    figures, needed = refused.value.figures, refused.value.figures[f"{kind.lower()}_bytes"]
    assert str(refused.value).startswith(
        f"small: the network needs at least {needed} bytes of {kind} but the board has {has}, "
        f"{needed - has} too few; train fewer layers or take a larger board; largest: "
    )
    assert figures["at_least"]


@pytest.mark.toolchain
def test_what_is_needed_at_least_is_no_more_than_what_is_needed() -> None:
    """So that nothing is refused early that would have fitted."""
    net = insitu.compile(DEMO_ONNX, calibration=X, training=TRAINING, scratch=0)
    figures = net.figures
    least = figures["state_bytes"] + net.plan.lower_bound_bytes
    fits = small(ram=figures["ram_bytes"], flash=figures["flash_bytes"])
    fit.check_least(net.graph, fits)
    with pytest.raises(FitError, match=f"needs at least {least} bytes of RAM"):
        fit.check_least(net.graph, small(ram=least - 4))
    # the ranges of calibration change no size
    monkey = pytest.MonkeyPatch()
    seen: list[int] = []
    with monkey.context() as patch:
        patch.setattr(
            pipeline, "check_least", lambda step, _: seen.append(fit.least_bytes(step)["RAM"])
        )
        patch.setattr(pipeline, "measured", lambda network, *_: network)
        patch.setattr(pipeline, "_verdict", lambda *_: AGREED)
        pipeline.compile(DEMO_ONNX, calibration=X, training=TRAINING)
    assert seen == [least]


@pytest.mark.parametrize("missing", ["compiler", "emulator"])
def test_a_missing_tool_is_told_before_calibration(
    monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setattr(pipeline, "size", not_to_be_called)
    if missing == "compiler":
        monkeypatch.setattr(compilers, "look_for", lambda *_: None)
    else:
        monkeypatch.setattr("shutil.which", lambda *_: None)
        monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)
        monkeypatch.setattr(board_run, "find_toolchain", lambda _: None)
    with pytest.raises(ToolError, match=r"is not installed|is installed; run: pip"):
        pipeline.compile(DEMO_ONNX, calibration=X, training=TRAINING)
