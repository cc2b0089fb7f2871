"""Does any damage to an ONNX file crash insitu, or make it write where it should not?

Ten thousand cases are `bench/fuzz_onnx.py`'s; these are its first of another seed, in a process of
their own as there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mutations import corpus, mutated

BENCH = Path(__file__).parents[2] / "bench" / "fuzz_onnx.py"


def test_a_mutation_is_the_same_at_every_call() -> None:
    models = corpus()
    files = [mutated(models, 1, index) for index in range(40)]
    assert files == [mutated(corpus(), 1, index) for index in range(40)]
    assert len({*files}) > 35
    assert files != [mutated(models, 2, index) for index in range(40)]


@pytest.mark.slow
def test_two_hundred_mutations_end_as_they_should(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    command = [sys.executable, str(BENCH), "--mutations", "200", "--seed", "1"]
    environment = {**os.environ, "PYTHONPATH": str(BENCH.parents[1])}
    done = subprocess.run(
        [*command, "--json", str(figures)],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(figures.read_text())
    assert found["findings"] == {}
    assert sum(found["outcomes"].values()) == 200
    assert found["outcomes"]["compiled"] > 5
    assert found["outcomes"]["refused"] > 50


FINDINGS = {
    "a path that is none": "raise OSError('nothing')",
    "a file elsewhere": "open('ELSEWHERE', 'a').close()",
    "a program": "import subprocess; subprocess.run(['true'])",
    "memory": "bytearray(2**34)",
    "two lines": "raise insitu.InsituError('one\\ntwo')",
    "the end": "import os; os.abort()",
    "no end": "import time; time.sleep(1e6)",
}
"""What a load may do wrong, as a program."""

PATIENCE = {"no end": ["--seconds", "1"]}
"""Of all others a finding is what they do, however long that takes."""


@pytest.mark.parametrize("what", FINDINGS)
def test_what_is_too_much_is_found(what: str, tmp_path: Path) -> None:
    """The harness is run with a `load` that does wrong, by a sitecustomize module."""
    body = FINDINGS[what].replace("ELSEWHERE", str(tmp_path / "elsewhere")).replace("; ", "\n    ")
    program = f"import sys, insitu\ndef load(path):\n    {body}\ninsitu.load = load\n"
    (tmp_path / "sitecustomize.py").write_text(program)
    figures = tmp_path / "figures.json"
    command = [sys.executable, str(BENCH), "--mutations", "1", *PATIENCE.get(what, [])]
    path = os.pathsep.join((str(tmp_path), str(BENCH.parents[1])))
    done = subprocess.run(
        [*command, "--json", str(figures)],
        env={**os.environ, "PYTHONPATH": path},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    findings = json.loads(figures.read_text())["findings"]
    assert list(findings) == ["0"]
    assert findings["0"].startswith("no end after") == (what == "no end")
