"""Generated models -> what libFuzzer and the sanitizers find; exit status 1 where that is anything.

    python bench/fuzz_c.py [--seconds 60] [--models cnn-uint8,...] [--keep FOLDER] [--json FILE]

Each model is called in any order, with any samples, labels and rates, on states whose words are
corrupted or random (`fuzz_c.c`), under AddressSanitizer and UndefinedBehaviorSanitizer, casts of
floats that no integer holds included. Needs clang with libFuzzer. Kernels are the portable ones.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/cases"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests/harness"))
from case_layers import ALL_1, FLATTEN, RELU, Case, activation, add, conv, grouped, linear, max_pool
from case_models import Compiled

from insitu.config import TrainingConfig
from insitu.runtime import FILES, INCLUDE_FLAGS, PORTS
from insitu.tools.compilers import Toolchain, find_toolchain

HARNESS = Path(__file__).with_suffix(".c")

CNN = Case(
    (6, 6, 2),
    (
        *(conv(4, padding=ALL_1), RELU, grouped(4, 4, padding=ALL_1), RELU),
        *(conv(4, (1, 1)), add(2, 5), RELU, max_pool(), FLATTEN, linear(5), RELU, linear(4)),
    ),
)
MLP = Case((9,), (linear(7), activation("tanh"), linear(5), RELU, linear(3)))
PLAIN = Case(
    (6, 6, 2), (conv(4, padding=ALL_1), RELU, max_pool(), FLATTEN, linear(5), RELU, linear(4))
)

MODELS: dict[str, tuple[Case, TrainingConfig]] = {
    "cnn-uint8": (CNN, TrainingConfig()),
    "cnn-scalar": (CNN, TrainingConfig()),
    "cnn-batch": (CNN, TrainingConfig(batch=3)),
    "cnn-momentum": (CNN, TrainingConfig(batch=2, momentum=0.9, weight_decay=0.01)),
    "cnn-int16": (CNN, TrainingConfig(batch=2, momentum=0.9, weight_decay=0.5, buffer="int16")),
    "cnn-decay": (CNN, TrainingConfig(weight_decay=0.1, skip=0.05)),
    "cnn-dynamic": (CNN, TrainingConfig(update="dynamic:0.25:0.75")),
    "cnn-sampled": (CNN, TrainingConfig(update="sampled:0.25:0.5")),
    "cnn-bias": (CNN, TrainingConfig(update="bias")),
    "cnn-mixed": (CNN, TrainingConfig(precision="mixed")),
    "cnn-float32": (CNN, TrainingConfig(precision="float32")),
    "cnn-float32-momentum": (
        CNN,
        TrainingConfig(precision="float32", batch=2, momentum=0.9, weight_decay=0.1),
    ),
    "cnn-float32-dynamic": (CNN, TrainingConfig(precision="float32", update="dynamic:0.25:0.75")),
    "paper": (PLAIN, TrainingConfig(preset="paper", batch=2)),
    "paper-moving": (PLAIN, TrainingConfig(preset="paper", batch=2, error_range="moving")),
    "paper-dynamic": (
        PLAIN,
        TrainingConfig(preset="paper", batch=2, update="dynamic:0.25:0.75"),
    ),
    "mlp-uint8": (MLP, TrainingConfig()),
    "mlp-momentum": (MLP, TrainingConfig(batch=3, momentum=0.5)),
    "mlp-mse": (MLP, TrainingConfig(loss="mse")),
    "mlp-bce": (MLP, TrainingConfig(loss="bce", update="sampled:0.5:1")),
    "mlp-mixed-mse": (MLP, TrainingConfig(loss="mse", precision="mixed")),
    "mlp-float32-sampled": (MLP, TrainingConfig(precision="float32", update="sampled:0.5:1")),
}
"""Every kind of state: weights, biases, buffers, ranges, statistics, rows that are next, floats."""

FLAGS = {"cnn-scalar": ("-DINSITU_SCALAR",)}
"""As on cores without products side by side."""

CHECKS = "-fsanitize=fuzzer,address,undefined,float-cast-overflow"
ERROR = re.compile(r"([\w./-]+):(\d+):\d+: runtime error: (.*)|==\d+==\s*ERROR: (.*)")


@dataclass
class Finding:
    """What the sanitizers said of one line of code."""

    model: str
    where: str
    what: str


@dataclass
class Campaign:
    """Counts and findings of all models."""

    calls: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


def build(name: str, clang: Toolchain, folder: Path) -> Path:
    """The program that libFuzzer drives."""
    case, config = MODELS[name]
    source = Compiled(case, config.scheme).source()
    for file, text in source.files.items():
        (folder / file).write_text(text)
    kernels = [FILES[file] for file in source.runtime if file.endswith(".c")]
    program = folder / name
    clang.run(
        *("-std=c99", "-O1", "-g", "-ffp-contract=off", CHECKS, "-fsanitize-recover=undefined"),
        *('-DINSITU_HEADER="insitu_model.h"', "-DINSITU_PREFIX=insitu_model"),
        *FLAGS.get(name, ()),
        *(f"-I{folder}", *INCLUDE_FLAGS, f"-I{PORTS}"),
        *(HARNESS, *sorted(folder.glob("*.c")), *kernels, "-o", program),
    )
    return program


def run(name: str, program: Path, seconds: int, seed: int, keep: Path, campaign: Campaign) -> None:
    """Call the model for so long; UBSan goes on after an error, ASan ends the run."""
    keep.mkdir(parents=True, exist_ok=True)
    options = (f"-max_total_time={seconds}", f"-seed={seed}", "-max_len=512", "-timeout=30")
    done = subprocess.run(
        [program, *options, f"-artifact_prefix={keep}/{name}-", "-print_final_stats=1"],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    executed = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    campaign.calls[name] = int(executed[1]) if executed else 0
    known = {finding.where for finding in campaign.findings}
    for path, line, said, ended in ERROR.findall(done.stderr):
        where = f"{Path(path).name}:{line}" if path else name
        if where not in known:
            known.add(where)
            campaign.findings.append(Finding(name, where, said or ended))
            print(f"{name}: {where}: {said or ended}", file=sys.stderr, flush=True)
    if done.returncode != 0 and not any(f.model == name for f in campaign.findings):
        said = done.stderr.strip().splitlines()[-1:] or ["no message"]
        campaign.findings.append(Finding(name, name, f"ended with {done.returncode}: {said[0]}"))


def parsed() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=60, help="of each model")
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="folder for what ended a run")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def main() -> None:
    """Build and call one model after the other and print what became of them."""
    options = parsed()
    clang = find_toolchain("host", prefer="clang")
    campaign, start = Campaign(), time.monotonic()
    for name in options.models.split(","):
        with tempfile.TemporaryDirectory(prefix="insitu-fuzz-") as made:
            program = build(name, clang, Path(made))
            keep = options.keep or Path(made) / "kept"
            run(name, program, options.seconds, options.seed, keep, campaign)
            print(f"{name}: {campaign.calls[name]} sequences of calls", flush=True)
    figures = {
        "compiler": clang.title,
        "seconds_of_each": options.seconds,
        "seed": options.seed,
        "sequences": sum(campaign.calls.values()),
        "models": campaign.calls,
        "findings": [vars(finding) for finding in campaign.findings],
        "seconds": round(time.monotonic() - start),
    }
    print(json.dumps(figures, indent=1))
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    sys.exit(bool(campaign.findings))


if __name__ == "__main__":
    main()
