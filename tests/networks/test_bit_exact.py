"""Do reference, twin and every core agree on every bit of a training run of a whole network?

30 steps here; `python bench/bit_exact.py` runs 300 and prints the digests.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from executions import EXECUTIONS, RUNS, Result, Training, execute, prepare, reference

from insitu.errors import DataError, ToolError
from insitu.generate import state_layout

pytestmark = pytest.mark.toolchain
STEPS = 30


@pytest.fixture(scope="module", params=RUNS)
def run(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Training, Result, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    try:
        training = prepare(request.param, STEPS, folder)
    except DataError as error:
        pytest.skip(str(error))
    return training, reference(training), folder / "build"


@pytest.mark.parametrize(("target", "toolchain"), EXECUTIONS)
def test_a_training_run_is_that_of_the_reference(
    run: tuple[Training, Result, Path], target: str, toolchain: str
) -> None:
    training, expected, out = run
    try:
        got = execute(training, target, toolchain, out)
    except ToolError as error:
        if "not installed" not in str(error):
            raise
        pytest.skip(str(error))
    layout = state_layout(training.step)
    values, wanted = layout.unpack(got.state), layout.unpack(expected.state)
    for name, value in wanted.items():
        np.testing.assert_array_equal(values[name], value, err_msg=name)
    assert got.sha256 == expected.sha256


def test_a_training_run_changes_every_layer(run: tuple[Training, Result, Path]) -> None:
    """Else equality would say nothing."""
    training, expected, _ = run
    after = state_layout(training.step).unpack(expected.state)
    for name, tensor in training.step.tensors.items():
        if name in after and tensor.data is not None and name.endswith((".w", ".bias", ".range")):
            assert not np.array_equal(after[name], tensor.data), name
