"""A case's firmware on an emulated core, and whether it did what the reference does."""

from __future__ import annotations

import numpy as np
from builds import core_firmware
from case_models import Compiled, run_reference
from fakes import MACHINES, emulator_or_skip

from insitu.artifacts import RunResult
from insitu.graph.model import Graph
from insitu.run import emulator
from insitu.run.stream import Stream

CORES = (
    "cortex-m0plus",
    "cortex-m3",
    "cortex-m4-fpu",
    "cortex-m7-fpu",
    "cortex-m33-fpu",
    "cortex-m55-fpu",
)
"""One machine of each, with its FPU."""


def run_on_core(
    compiled: Compiled, stream: Stream, machine: str, name: str | None = None
) -> RunResult:
    """Of a machine of `fakes.MACHINES`; where its emulator or the compiler is missing, skips."""
    emulator_or_skip(MACHINES[machine][0])
    return emulator.run(core_firmware(compiled.source(), machine, name), stream)


def assert_same(step: Graph, stream: Stream, result: RunResult) -> None:
    """State, losses and predictions are those of the reference, in every bit."""
    expected = run_reference(step, stream)
    np.testing.assert_array_equal(result.predicted, expected.predicted)
    np.testing.assert_array_equal(result.losses, expected.losses)
    assert result.state == expected.state
