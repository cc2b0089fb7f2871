"""ONNX's own node tests -> which of them our float reference passes, and why others are left out.

    python bench/onnx_backend.py [--markdown FILE]

The `onnx` package ships a test for every operator. Each one of a single node whose operator we
import becomes a model whose first input is the sample and whose other inputs are constants; the
float graph is held against the outputs that ship with it. Left out is what the importer refuses,
with the importer's own words. Fails where a result differs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.loader import load_model_tests

from insitu.data.samples import channels_last
from insitu.errors import ModelError
from insitu.frontends.onnx.reader import IMPORTERS, read
from insitu.graph.evaluate import evaluate_float
from insitu.graph.model import Array

RELATIVE, ABSOLUTE = 1e-3, 1e-6
"""ONNX's own tolerance, and our float32 constants."""

MIXES = "it makes {1} of {0}: the first axis is not left alone, which is ours of samples"


@dataclass(frozen=True)
class Outcome:
    """One node test.

    Attributes:
        left_out: why it was not run, or "".
        difference: the largest excess over the tolerance; 0 where it passed.
    """

    operator: str
    name: str
    left_out: str = ""
    difference: float = 0.0


def node_tests() -> Iterator[TestCase]:
    """Each test of a single node that we have an importer for."""
    for case in load_model_tests(kind="node"):
        assert case.model is not None and case.data_sets
        nodes = case.model.graph.node
        if len(nodes) == 1 and nodes[0].op_type in IMPORTERS:
            yield case


def run(case: TestCase) -> Outcome:
    """Read the test's model and compare."""
    assert case.model is not None and case.data_sets
    name, model = case.name.removeprefix("test_"), onnx.ModelProto()
    model.CopyFrom(case.model)
    operator = model.graph.node[0].op_type
    given, made = case.data_sets[0]
    if not all(isinstance(value, np.ndarray | np.generic) for value in (*given, *made)):
        return Outcome(operator, name, "its data are no plain tensors")
    inputs, expected = [np.asarray(value) for value in given], np.asarray(made[0])
    for entry, value in zip(model.graph.input[1:], inputs[1:], strict=True):
        model.graph.initializer.append(numpy_helper.from_array(value, entry.name))
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "model.onnx"
        onnx.save(model, path)
        try:
            found = read(path, output=model.graph.output[0].name)
        except ModelError as error:
            return Outcome(operator, name, str(error).removeprefix(f"{path}: "))
    if found.unsupported:
        return Outcome(operator, name, found.unsupported[0].reason)
    graph = found.graph
    x = channels_last(inputs[0].astype(np.float64), graph.sample.shape, last=graph.channels_last)
    y = evaluate_float(graph, {graph.inputs[0]: x})[graph.outputs[0]]
    if y.size != expected.size or len(expected) != len(x):
        return Outcome(operator, name, MIXES.format(list(inputs[0].shape), list(expected.shape)))
    return Outcome(operator, name, difference=_excess(y, expected))


def _excess(y: Array, expected: Array) -> float:
    """How far y[n, ...] in our layout is beyond the tolerance."""
    first = y.transpose(0, 3, 1, 2) if y.ndim == 4 else y
    wanted = expected.astype(np.float64)
    excess = np.abs(first.reshape(wanted.shape) - wanted) - RELATIVE * np.abs(wanted) - ABSOLUTE
    return float(max(excess.max(), 0.0))


def markdown(outcomes: list[Outcome]) -> str:
    """The page docs/results/onnx-backend.md."""
    passed = [o for o in outcomes if not o.left_out]
    count = f"{len(passed)} of {len(outcomes)}"
    lines = [
        "# ONNX's own node tests",
        "",
        "Made by `python bench/onnx_backend.py --markdown FILE`; do not edit. The `onnx` package",
        f"ships tests for the operators we import, each of a single node: {count} are within our",
        "limits and pass. The others are left out, for the reason that the importer gives.",
        "",
        "## Passed",
        "",
    ]
    for operator in sorted({o.operator for o in passed}):
        names = ", ".join(sorted(o.name for o in passed if o.operator == operator))
        lines.append(f"- **{operator}**: {names}")
    lines += ["", "## Left out", ""]
    for o in sorted((o for o in outcomes if o.left_out), key=lambda o: (o.operator, o.name)):
        lines.append(f"- **{o.operator}** {o.name}: {o.left_out}")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run all and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--markdown", type=Path, help="write the page there")
    options = parser.parse_args()
    outcomes = [run(case) for case in node_tests()]
    for o in outcomes:
        said = o.left_out or ("passed" if not o.difference else f"DIFFERS by {o.difference:.3g}")
        print(f"{o.operator:20} {o.name:50} {said}")
    wrong = [o.name for o in outcomes if o.difference]
    if options.markdown:
        options.markdown.write_text(markdown(outcomes))
    if wrong:
        sys.exit(f"{len(wrong)} of {len(outcomes)} differ: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
