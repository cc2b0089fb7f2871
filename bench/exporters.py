"""Networks that real tools write -> which are imported, how exactly, and whether they train.

    python bench/exporters.py [--tool NAME] [--json FILE] [--markdown FILE]

Each script in bench/exporters/ names its tool with all versions (PEP 723) and writes the networks
of one exporter or quantizer. It runs in an environment of its own under .cache/exporters/. Every
file is imported; its scores are held against onnxruntime's; then it is compiled and trained for 20
steps, on the desk and on an emulated Cortex-M4. Fails where a network is not imported, differs, or
where desk and board do.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from rich.console import Console

import insitu
from insitu.config import TrainingConfig
from insitu.data.samples import channels_last
from insitu.errors import InsituError
from insitu.frontends.model import Model
from insitu.frontends.onnx.outputs import loss_output, scores_of
from insitu.graph.evaluate import evaluate_float
from insitu.graph.model import Array
from insitu.target.board import Board, find_board

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "bench/exporters"
ENVIRONMENTS = ROOT / ".cache/exporters"
HEADER = re.compile(r"^# /// script\n(.*?)^# ///", re.MULTILINE | re.DOTALL)
SAMPLES, STEPS = 128, 20
MOST_RELATIVE, MOST_STEPS, LEAST_SHARE = 1e-5, 1.0, 0.99
MEMORY_BYTES = 8 << 20
"""Of the board, so that every network fits."""
QUANTIZED = ("DequantizeLinear", "MatMulInteger", "QGemm", "QLinearConv", "QLinearMatMul")


@dataclass(frozen=True)
class Tool:
    """An exporter or a quantizer.

    Attributes:
        versions: what its environment holds, "keras==3.12.0".
    """

    name: str
    what: str
    versions: tuple[str, ...]

    @staticmethod
    def of(script: Path) -> Tool:
        """From the header of its script."""
        text = script.read_text(encoding="utf-8")
        found = HEADER.search(text)
        assert found is not None, script
        header = tomllib.loads(re.sub(r"^# ?", "", found[1], flags=re.MULTILINE))
        return Tool(script.stem, text.split('"""')[1], tuple(header["dependencies"]))

    def networks(self, folder: Path) -> list[Path]:
        """The files that it writes."""
        key = hashlib.sha256("\n".join(self.versions).encode()).hexdigest()[:8]
        environment = ENVIRONMENTS / f"{self.name}-{key}"
        python = environment / "bin/python"
        if not (environment / "ready").exists():
            venv.create(environment, with_pip=True, clear=True)
            subprocess.run([python, "-m", "pip", "install", "-q", *self.versions], check=True)
            (environment / "ready").touch()
        subprocess.run([python, SCRIPTS / f"{self.name}.py", folder], check=True, cwd=SCRIPTS)
        return sorted(folder.glob("*.onnx"))


@dataclass(frozen=True)
class Outcome:
    """What became of one file.

    Attributes:
        difference: of float scores, relative to the largest; of quantized ones the share that is
            within one step of the output's scale.
        equal: desk and board after training.
        reason: why it was refused, or what of the file is not kept that matters to the scores.
    """

    tool: str
    network: str
    quantized: bool = False
    difference: float | None = None
    equal: bool | None = None
    reason: str = ""

    @property
    def good(self) -> bool:
        """Imported, as exact as it must be, and trained alike."""
        if self.difference is None or not self.equal:
            return False
        if self.quantized:
            return self.difference >= LEAST_SHARE
        return self.difference <= MOST_RELATIVE


def outcome_of(tool: Tool, path: Path) -> Outcome:
    """Import, compare, train."""
    proto = onnx.load(path)
    quantized = any(node.op_type in QUANTIZED for node in proto.graph.node)
    beside = path.with_suffix(".json")
    options = json.loads(beside.read_text()) if beside.exists() else {}
    result = Outcome(tool.name, path.stem, quantized)
    try:
        model = insitu.load(path, output=options.get("output"))
        model.check_supported()
        x = _samples(model)
        expected = _of_onnxruntime(proto, x, options.get("output"))
        training = TrainingConfig(layers="all", loss=options.get("loss", "cross_entropy"), lr=0.01)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network = insitu.compile(model, calibration=x, training=training, board=_large_board())
        if quantized:
            scores = network.twin().predict_scores(x).reshape(len(x), -1)
            step = _output_step(proto, expected)
            difference = float((np.abs(scores - expected) <= MOST_STEPS * step * 1.001).mean())
        else:
            difference = _relative(_of_insitu(model, x), expected)
        run = network.run(x[:STEPS], _labels(network, expected[:STEPS]))
        told = [note for note in model.notes if "keeps the scale" in note or "as floats" in note]
        return Outcome(tool.name, path.stem, quantized, difference, run.twin_equal, "; ".join(told))
    except InsituError as error:
        return Outcome(**{**asdict(result), "reason": str(error)})


def _large_board() -> Board:
    board = find_board("nrf52840")
    kinds = {m.kind: replace(m, length_bytes=MEMORY_BYTES) for m in board.memories}
    return replace(board, memories=tuple(kinds.values()))


def _samples(model: Model) -> Array:
    """Random ones, in the order of the file's own input."""
    return np.random.default_rng(5).normal(size=(SAMPLES, *model.input_shape)).astype(np.float32)


def _of_onnxruntime(given: onnx.ModelProto, x: Array, output: str | None) -> Array:
    """Its scores[n, outputs], sample by sample: of the tensor that is imported as such."""
    proto = onnx.ModelProto()
    proto.CopyFrom(given)
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in proto.graph.initializer}
    scores, _ = scores_of(proto.graph.node, constants, loss_output(proto.graph, output))
    if scores not in [entry.name for entry in proto.graph.output]:
        proto.graph.output.add().CopyFrom(
            onnx.helper.make_tensor_value_info(scores, onnx.TensorProto.FLOAT, None)
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    # fused integer operators saturate where the processor has no VNNI: pairs as they are written
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    content = proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0].name
    rows = [session.run([scores], {entry: row[None]})[0] for row in x]
    return np.stack(rows).reshape(len(x), -1)


def _of_insitu(model: Model, x: Array) -> Array:
    """The float graph's scores[n, outputs], as the file orders them, its softmax included."""
    graph = model.graph
    image = channels_last(x.astype(np.float64), graph.sample.shape, last=graph.channels_last)
    scores = evaluate_float(graph, {graph.inputs[0]: image})[graph.outputs[0]]
    return (scores.transpose(0, 3, 1, 2) if scores.ndim == 4 else scores).reshape(len(x), -1)


def _relative(got: Array, expected: Array) -> float:
    return float(np.abs(got - expected).max() / np.abs(expected).max())


def _output_step(proto: onnx.ModelProto, expected: Array) -> float:
    """The scale of the last quantization before the output, 1/255 of the scores' span at least."""
    least = float(np.ptp(expected)) / 255
    writers = {name: node for node in proto.graph.node for name in node.output}
    constants = {t.name: onnx.numpy_helper.to_array(t) for t in proto.graph.initializer}
    node = writers.get(proto.graph.output[0].name)
    while node is not None:
        place = {"QuantizeLinear": 1, "DequantizeLinear": 1, "QLinearConv": 6, "QLinearMatMul": 6}
        place |= {"QGemm": 7}
        if node.op_type in place and len(node.input) > place[node.op_type]:
            scale = constants.get(node.input[place[node.op_type]])
            if scale is not None and scale.size == 1 and node.input[0] in writers:
                return max(float(scale.reshape(())), least)
        node = writers.get(node.input[0])
    return least


def _labels(network: insitu.TrainableNetwork, expected: Array) -> Array:
    """Classes or targets that teach something else than what it says."""
    rng = np.random.default_rng(6)
    if not network.labels.are_targets:
        return rng.integers(0, expected.shape[1], len(expected)).astype(np.int32)
    if network.training.loss == "bce":
        return rng.integers(0, 2, expected.shape).astype(np.float32)
    return (expected + rng.normal(size=expected.shape)).astype(np.float32)


def outcomes(wanted: str | None) -> Iterator[tuple[Tool, Outcome]]:
    """Of all networks of all tools, or of one."""
    for script in sorted(SCRIPTS.glob("*.py")):
        if HEADER.search(script.read_text(encoding="utf-8")) is None:
            continue
        tool = Tool.of(script)
        if wanted in (None, tool.name):
            with tempfile.TemporaryDirectory(prefix="insitu-exporters-") as folder:
                for path in tool.networks(Path(folder)):
                    yield tool, outcome_of(tool, path)


def markdown(rows: list[tuple[Tool, Outcome]]) -> str:
    """The page."""
    good = sum(outcome.good for _, outcome in rows)
    lines = [
        "# What exporters and quantizers write",
        "",
        f"{len(rows)} networks, written by real tools in environments of their own, by",
        f"`python bench/exporters.py --markdown FILE`. {good} are imported, as exact as they must",
        f"be, and trained for {STEPS} steps alike on the desk and on an emulated Cortex-M4. Float",
        f"networks differ from onnxruntime by at most {MOST_RELATIVE:g} of the largest score; of",
        f"quantized ones at least {LEAST_SHARE:.0%} of the scores lie within one step of the",
        "output's scale, which is at least 1/255 of the scores' span.",
        "",
        "| tool | network | imported | difference, or share in a step | trained alike | why not |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for _, row in rows:
        imported = "yes" if row.difference is not None else "no"
        figure = "" if row.difference is None else f"{row.difference:.1e}"
        if row.quantized and row.difference is not None:
            figure = f"{row.difference:.1%}"
        alike = {None: "", True: "yes", False: "no"}[row.equal]
        why = "" if row.good else row.reason
        lines.append(f"| {row.tool} | {row.network} | {imported} | {figure} | {alike} | {why} |")
    lines += ["", "## Versions", ""]
    tools = {tool.name: tool for tool, _ in rows}
    lines += [f"- {t.name}: {t.what} {', '.join(t.versions)}" for t in tools.values()]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tool")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    args = parser.parse_args(arguments)
    console, rows = Console(stderr=True), []
    for tool, outcome in outcomes(args.tool):
        rows.append((tool, outcome))
        console.print(outcome, "[green]good" if outcome.good else "[red]not good")
    if args.json:
        args.json.write_text(json.dumps([asdict(row) for _, row in rows], indent=1))
    if args.markdown:
        args.markdown.write_text(markdown(rows), encoding="utf-8")
    return 0 if rows and all(row.good for _, row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
