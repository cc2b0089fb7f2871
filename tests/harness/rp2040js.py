"""A firmware for a Cortex-M0+ -> what rp2040js makes of it.

An emulator that shares nothing with Unicorn and QEMU, made for one chip, and that knows no
instruction beyond Armv6-M.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from insitu.artifacts import Firmware, RunResult
from insitu.errors import ToolError
from insitu.run.emulator import read_results, records_of
from insitu.run.stream import Stream
from insitu.target.elf import read_elf

PACKAGE = "rp2040js@1.4.1"
RUNNER = Path(__file__).parents[2] / "bench/cycles/semihosting.mjs"


def install(folder: Path) -> Path:
    """The module of rp2040js in a folder, fetched where it is missing.

    Raises:
        ToolError: node or npm is not installed, or npm failed.
    """
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise ToolError(f"{program} is not installed; rp2040js needs it")
    module = folder / "node_modules/rp2040js/dist/esm/index.js"
    if not module.exists():
        command = ["npm", "install", "--silent", "--prefix", str(folder), PACKAGE]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0 or not module.exists():
            raise ToolError(f"npm could not install {PACKAGE}: {done.stderr.strip()[-200:]}")
    return module


def run(module: Path, firmware: Firmware, stream: Stream) -> RunResult:
    """What the stream did to the model, as by `emulator.run`.

    Raises:
        ToolError: rp2040js warned of something, or the firmware stopped.
    """
    image = read_elf(firmware.elf)
    flash = bytearray(image.load_end)
    for segment in image.segments:
        flash[segment.address : segment.address + len(segment.data)] = segment.data
    stack, entry = image.symbols["insitu_stack_top"], image.symbols["insitu_reset"]
    with tempfile.TemporaryDirectory(prefix="insitu-") as temporary:
        folder = Path(temporary)
        (folder / "image.bin").write_bytes(flash)
        (folder / "records.bin").write_bytes(records_of(stream))
        paths = (str(RUNNER), str(module.resolve()), "image.bin")
        command = ["node", *paths, str(stack), str(entry)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            said = [line for line in done.stderr.splitlines() if "Error" in line]
            raise ToolError(f"{firmware.elf.name}: rp2040js: {' '.join(said)[:200]}")
        answer = json.loads(done.stdout)
        raw = (folder / "results.bin").read_bytes()
    state, stack_bytes, results = read_results(
        firmware, stream, answer["status"], answer["said"], raw
    )
    return RunResult(
        state=state,
        predicted=results["predicted"].copy(),
        losses=results["loss"].copy(),
        stack_bytes=stack_bytes,
        seconds=0.0,
        emulator=PACKAGE,
        info={name: results[name].copy() for name in ("skipped", "saturated")},
    )
