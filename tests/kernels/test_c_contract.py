"""Does the C refuse what it cannot do: wrong arenas, no init, states that cannot be, fast math?"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from case_layers import RELU, Case, linear
from case_models import Compiled, known_case
from fakes import ROOT, toolchain_or_skip

from insitu.config import TrainingConfig
from insitu.generate.runtime_files import files_for
from insitu.graph.scheme import Scheme
from insitu.run.stream import Status
from insitu.runtime import FILES, INCLUDE_FLAGS, KERNELS, PORTS
from insitu.tools.compilers import CORTEX_M_INCLUDE, Toolchain

pytestmark = pytest.mark.toolchain

HERE = ROOT / "tests/c"
SANITIZED: tuple[str, ...] = (
    *("-std=c99", "-O1", "-g", "-ffp-contract=off", "-fno-sanitize-recover=all"),
    "-fsanitize=address,undefined,float-cast-overflow",
)
SMALL = Case((9,), (linear(7), RELU, linear(4)))


def gcc() -> Toolchain:
    return toolchain_or_skip("host", "gcc")


def said(program: Path, *arguments: str) -> str:
    """What a program printed, on both ways, with a line of its status where that is not 0."""
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr + (f"status {done.returncode}\n" if done.returncode else "")


def build(compiled: Compiled, folder: Path, *sources: Path) -> Path:
    """A program of a model under the sanitizers."""
    compiled.write(folder)
    gcc().run(
        *(*SANITIZED, f"-I{folder}", f"-I{folder / 'runtime'}", f"-I{PORTS}"),
        *('-DINSITU_HEADER="insitu_model.h"', "-DINSITU_PREFIX=insitu_model"),
        *(*folder.glob("*.c"), *(folder / "runtime").glob("*.c")),
        *sources,
        *("-o", str(folder / "program")),
    )
    return folder / "program"


# arena, init, info

REFUSED = "predict {predict}, rate 4, train 4, untouched"
USED = "predict 0, rate 0, train 0, written"


@pytest.mark.parametrize(
    ("scheme", "predict"),
    [
        pytest.param(Scheme(), -1, id="classes"),
        pytest.param(Scheme(loss="mse"), 1, id="targets"),
        pytest.param(Scheme(precision="float32", batch=2), -1, id="float-batch"),
    ],
)
def test_nothing_is_written_where_there_is_no_model(
    scheme: Scheme, predict: int, tmp_path: Path
) -> None:
    lines = said(build(known_case(SMALL, scheme), tmp_path, HERE / "contract.c")).splitlines()
    refused = REFUSED.format(predict=predict)
    assert lines == [
        f"before init: {refused}",
        "init at 0: 3",
        f"after it: {refused}",
        *(f"init at {i}: 3" for i in range(1, 8)),
        f"after it: {refused}",
        "init: 0",
        f"after it: {USED}",
        "init at 4: 3",
        f"after it: {refused}",
        "train without info: 0, the same",
    ]


def test_python_knows_every_status() -> None:
    text = re.sub(r"/\*.*?\*/", "", FILES["insitu.h"].read_text(), flags=re.DOTALL)
    found = re.findall(r"\bINSITU_(\w+) = (\d+)", text)
    assert found == [(status.name, str(status.value)) for status in Status]
    used = set(re.findall(r"INSITU_ERROR_\w+", (ROOT / "docs/architecture.md").read_text()))
    assert used == {f"INSITU_{s.name}" for s in Status if s is not Status.OK}


# states that no training leaves


def test_kernels_have_a_result_for_every_state(tmp_path: Path) -> None:
    source = HERE / "corrupted_state.c"
    kernels = [FILES[name] for name in files_for(source.read_text()) if name.endswith(".c")]
    program = tmp_path / "corrupted_state"
    gcc().run(*SANITIZED, *INCLUDE_FLAGS, *kernels, source, "-o", program)
    assert said(program) == ""


@pytest.mark.parametrize(
    ("case", "config"),
    [
        pytest.param(SMALL, TrainingConfig(batch=2, momentum=0.9, weight_decay=0.1), id="momentum"),
        pytest.param(SMALL, TrainingConfig(preset="paper", batch=2), id="paper"),
        pytest.param(
            SMALL, TrainingConfig(precision="float32", update="dynamic:0.3:0.6"), id="float32"
        ),
    ],
)
def test_random_calls_on_random_states_are_defined(
    case: Case, config: TrainingConfig, tmp_path: Path
) -> None:
    sources = (ROOT / "bench/fuzz_c.c", HERE / "random_calls.c")
    assert said(build(known_case(case, config.scheme), tmp_path, *sources), "300") == ""


# flags that change bits

FAST = {
    "gcc": ("-ffast-math", "-Ofast", "-ffinite-math-only", "-funsafe-math-optimizations"),
    "clang": ("-ffast-math", "-Ofast", "-ffinite-math-only"),
    "zig": ("-ffast-math",),
}
MESSAGE = "insitu needs every float operation as it is written: no -ffast-math, no -Ofast"


def errors(toolchain: Toolchain, *arguments: str | Path) -> str:
    """What the compiler says of sources that are only looked at."""
    command = (*toolchain.command, *toolchain.machine_flags(), "-fsyntax-only", "-std=c99")
    headers = () if toolchain.target == "host" else ("-isystem", CORTEX_M_INCLUDE)
    done = subprocess.run(
        [*command, *headers, *INCLUDE_FLAGS, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**toolchain.environment} or None,
    )
    return done.stderr


@pytest.mark.parametrize(
    ("target", "compiler", "flag"),
    [
        *(("host", compiler, flag) for compiler in FAST for flag in FAST[compiler]),
        *(("cortex-m4", "gcc", flag) for flag in FAST["gcc"]),
    ],
)
def test_fast_math_is_refused(target: str, compiler: str, flag: str) -> None:
    toolchain = toolchain_or_skip(target, compiler)
    assert MESSAGE in errors(toolchain, flag, FILES["layout.c"])
    assert MESSAGE not in errors(toolchain, "-O2", FILES["layout.c"])


def test_every_file_of_the_library_refuses_it_and_a_program_around_it_may_have_it(
    tmp_path: Path,
) -> None:
    known_case(SMALL).write(tmp_path)
    own = tmp_path / "insitu_model.c"
    told = errors(gcc(), "-ffast-math", "-fmax-errors=0", f"-I{tmp_path}", own, *KERNELS)
    assert told.count(f'#error "{MESSAGE}"') >= len(KERNELS) + 1
    around = tmp_path / "around.c"
    around.write_text('#include "insitu_model.h"\n')
    assert errors(gcc(), "-ffast-math", f"-I{tmp_path}", around) == ""
