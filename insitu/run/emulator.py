"""Firmware + Stream -> RunResult: the model on an emulated Cortex-M.

Invariant: one image, whichever emulator runs it; Unicorn maps exactly the memories that the
linker script gave, QEMU's boards are larger. C side: runtime/ports/cortex_m/firmware.c.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from insitu.artifacts import Firmware, RunResult
from insitu.errors import DataError, FitError, ToolError
from insitu.graph.model import Array
from insitu.run.alignment import AlignmentGuard
from insitu.run.profile import BlockProfile, BlocksByNode, Flood, ProfiledResult, QemuProfile
from insitu.run.stream import Stream, failure
from insitu.run.unicorn_machine import UnicornMachine
from insitu.target.elf import Image, read_elf
from insitu.target.machines import MACHINES
from insitu.tools.emulators import EmulatorTool, find_emulator

Progress = Callable[[int], None]
"""Called now and then with the number of records done."""

COUNTS = [(name, "<i4") for name in ("predicted", "skipped", "saturated")]
RESULT = np.dtype([("status", "<i4"), ("loss", "<f4"), *COUNTS])
WRONG_INPUT, WRONG_LABEL = -1, -2  # statuses of firmware.c


def run(
    firmware: Firmware,
    stream: Stream,
    *,
    prefer: str | None = None,
    profile: Path | None = None,
    profiled_records: int = 1,
    states: Array | None = None,
    flood: Flood | None = None,
    timeout_s: float = 600.0,
    progress: Progress | None = None,
) -> RunResult:
    """What the stream did to the model, from its initial state on, or from those given.

    Args:
        prefer: "qemu" or "unicorn"; None takes what suits and is installed.
        profile: the library of `firmware.build.build_hook`: count the instructions of the last
            `profiled_records` training records, which must follow each other, on Unicorn where it
            has the core; the result is a `ProfiledResult`. Wants a firmware built with
            profile=True. Unicorn then faults as cores do where LDRD has an odd address.
        states: uint8[records, bytes], the model's state before each record; None: each record
            goes on from the one before.
        flood: bytes that are written into the arena where nodes begin, while they are counted;
            where `can_flood` says that it can be done.
        timeout_s: of the whole run, in seconds of this machine.

    Raises:
        DataError: a record was refused, or has another size than the model's input.
        FitError: the stack met the data.
        ToolError: no emulator, the firmware faulted, or time ran out.
    """
    image = read_elf(firmware.elf)
    tool = _choose(firmware, image, prefer if profile is None else counting(firmware.core))
    records, tell = records_of(stream, states), _within(progress, len(stream))
    start = time.perf_counter()
    code: int | None
    blocks = None
    window = range(0) if profile is None else _profile_window(stream, profiled_records)
    if tool.name == "qemu":
        plugin = QemuProfile(profile, image, window) if profile is not None else None
        code, console, raw, blocks = _run_qemu(
            firmware, image, tool, records, timeout_s, tell, plugin
        )
    else:
        guarded = profile if flood is None else None
        guard = AlignmentGuard(guarded, image) if guarded is not None else None
        machine = UnicornMachine(firmware.core, image, guard)
        count = BlockProfile(profile, image, flood) if profile is not None else None
        reads = window if states is None else range(2 * window.start, 2 * window.stop)
        raw = machine.run(records, timeout_s, tell, RESULT.itemsize, count, reads)
        code, console = machine.exit_code, machine.console
        blocks = count.by_node() if count is not None else None
    seconds = time.perf_counter() - start
    state, stack_bytes, results = read_results(firmware, stream, code, console, raw)
    _check_stack(firmware, image, stack_bytes)
    losses = results["loss"].copy()
    losses[~stream.trains] = np.nan
    result = RunResult(
        state=state,
        predicted=results["predicted"].copy(),
        losses=losses,
        info={name: results[name].copy() for name in ("skipped", "saturated")},
        stack_bytes=stack_bytes,
        seconds=seconds,
        emulator=tool.title,
    )
    return result if blocks is None else ProfiledResult.of(result, blocks, profiled_records)


def counting(core: str) -> str:
    """The emulator that counts the instructions of a core."""
    return "unicorn" if MACHINES[core].unicorn_model else "qemu"


def can_flood(core: str) -> bool:
    """Whether errors can be written while steps of a core are counted: Unicorn has it."""
    return counting(core) == "unicorn"


def _within(progress: Progress | None, records: int) -> Progress | None:
    """Behind the results of the records the firmware writes its state, which is no progress."""
    return None if progress is None else lambda done: progress(min(done, records))


def _choose(firmware: Firmware, image: Image, prefer: str | None) -> EmulatorTool:
    """The emulator; an image that is larger than QEMU's board goes to Unicorn."""
    machine = MACHINES[firmware.core]
    flash_end = machine.flash_origin + machine.qemu_bytes
    ram_end = machine.ram_origin + machine.qemu_bytes
    too_large = image.load_end > flash_end or image.symbols["insitu_stack_top"] > ram_end
    if too_large and prefer == "qemu":
        raise ToolError(
            f"{firmware.elf.name}: {firmware.flash_bytes} bytes of flash or {firmware.ram_bytes} "
            f"of RAM are more than the {machine.qemu_bytes} of {machine.qemu_machine}; use unicorn"
        )
    return find_emulator(firmware.core, prefer="unicorn" if too_large else prefer)


def records_of(stream: Stream, states: Array | None = None) -> bytes:
    """records.bin, as firmware.c reads it."""
    size, element = stream.x.shape[1], stream.x.dtype.newbyteorder("<")
    labels = stream.labels.reshape(len(stream.labels), -1)
    layout = [
        ("label", labels.dtype.newbyteorder("<"), (labels.shape[1],)),
        ("rate", "<f4"),
        ("x", element, (-(-size // 4) * 4,)),
    ]
    state_bytes = 0 if states is None else states.shape[1]
    if states is not None:
        layout.insert(0, ("state", "u1", (state_bytes,)))
    records = np.zeros(len(stream), np.dtype(layout))
    if states is not None:
        records["state"] = states
    records["label"] = labels[stream.samples]
    records["rate"] = stream.rates
    records["x"][:, :size] = stream.x[stream.samples]
    of_labels = (labels.shape[1], labels.dtype == np.float32)
    of_samples = (size, element.itemsize)
    header = np.array([stream.seed, len(stream), *of_samples, *of_labels, state_bytes], "<u4")
    return header.tobytes() + records.tobytes()


def _profile_window(stream: Stream, records: int) -> range:
    """The numbers of the records whose instructions are counted.

    Raises:
        DataError: there is no training record.
    """
    training = np.flatnonzero(stream.trains)
    if len(training) == 0:
        raise DataError("no record is trained on, so there is no step to profile; give labels")
    counted = training[-records:]
    assert counted[-1] - counted[0] + 1 == records, "predictions among the steps to be counted"
    return range(int(counted[0]), int(counted[-1]) + 1)


def _run_qemu(
    firmware: Firmware,
    image: Image,
    tool: EmulatorTool,
    records: bytes,
    timeout_s: float,
    progress: Progress | None,
    profile: QemuProfile | None,
) -> tuple[int, str, bytes, BlocksByNode | None]:
    """(exit status, console, results.bin, what was counted) of a run."""
    with tempfile.TemporaryDirectory(prefix="insitu-") as folder:
        files = Path(folder)
        (files / "records.bin").write_bytes(records)
        results = files / "results.bin"
        results.touch()
        command = (
            *tool.command,
            *("-M", MACHINES[firmware.core].qemu_machine, "-display", "none", "-monitor", "none"),
            *("-serial", "none", "-semihosting-config", "enable=on,target=native"),
            *("-kernel", str(firmware.elf.resolve())),
            *_reset_vectors(firmware, image, files),
            *(profile.options(files / "blocks.bin") if profile else ()),
        )
        with (files / "console").open("w+") as console:
            process = subprocess.Popen(
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=console, stderr=console
            )
            try:
                _wait(process, firmware, timeout_s, progress, results)
            finally:
                process.kill()
                process.wait()
            console.seek(0)
            said = console.read()
        blocks = None
        if profile is not None and process.returncode == 0:
            blocks = profile.read(files / "blocks.bin")
        return process.returncode, said, results.read_bytes(), blocks


def _reset_vectors(firmware: Firmware, image: Image, files: Path) -> tuple[str, ...]:
    """What puts stack pointer and entry where QEMU's board looks for them."""
    address = MACHINES[firmware.core].qemu_reset
    if address is None:
        return ()
    vectors = files / "reset.bin"
    stack, entry = image.symbols["insitu_stack_top"], image.symbols["insitu_reset"]
    vectors.write_bytes(np.array([stack, entry | 1], "<u4").tobytes())
    return ("-device", f"loader,file={vectors},addr={address:#x},force-raw=on")


def _wait(
    process: subprocess.Popen[bytes],
    firmware: Firmware,
    timeout_s: float,
    progress: Progress | None,
    results: Path,
) -> None:
    end = time.monotonic() + timeout_s
    while True:
        try:
            process.wait(timeout=min(0.1, max(0.0, end - time.monotonic())))
            return
        except subprocess.TimeoutExpired:
            done = results.stat().st_size // RESULT.itemsize
            if progress is not None:
                progress(done)
            if time.monotonic() >= end:
                raise ToolError(
                    f"{firmware.elf.name}: not finished after {timeout_s:g} s and {done} records; "
                    f"give fewer steps or a longer time"
                ) from None


def read_results(
    firmware: Firmware, stream: Stream, code: int | None, console: str, raw: bytes
) -> tuple[bytes, int, Array]:
    """(state, stack bytes, results) of results.bin.

    Raises:
        DataError, ToolError: the run did not reach its end.
    """
    end = len(stream) * RESULT.itemsize
    whole = min(len(raw), end) // RESULT.itemsize
    results: Array = np.frombuffer(raw, RESULT, count=whole)
    refused = np.flatnonzero(results["status"])
    if len(refused):
        record = int(refused[0])
        if results["status"][record] == WRONG_INPUT:
            raise _wrong_input(firmware, stream, results[record])
        if results["status"][record] == WRONG_LABEL:
            raise _wrong_label(firmware, stream, results[record])
        raise failure(int(results["status"][record]), record, stream)
    if code != 0:
        said = " ".join(console.split()) or "no message"
        raise ToolError(
            f"{firmware.elf.name}: stopped with status {code} after {whole} of {len(stream)} "
            f"records: {said[:200]}; run it with a debugger or report it"
        )
    return raw[end + 4 :], int.from_bytes(raw[end : end + 4], "little"), results


def _wrong_input(firmware: Firmware, stream: Stream, result: Array) -> DataError:
    taken = "int8" if result["skipped"] == 1 else "float32"
    if stream.x.dtype != taken:
        return DataError(
            f"{firmware.elf.name}: x is {stream.x.dtype} but the model takes {taken}; make it with "
            "the model's quantize_input"
        )
    return DataError(
        f"{firmware.elf.name}: x{list(stream.x.shape)} has {stream.x.shape[1]} values a "
        f"sample but the model takes {result['predicted']}; check the data's shape"
    )


def _wrong_label(firmware: Firmware, stream: Stream, result: Array) -> DataError:
    taken = "float32" if result["skipped"] else "int32"
    return DataError(
        f"{firmware.elf.name}: labels are {stream.labels.dtype}{list(stream.labels.shape)} but the "
        f"model takes {result['predicted']} of {taken} a sample; check y and the loss"
    )


def _check_stack(firmware: Firmware, image: Image, stack_bytes: int) -> None:
    room = image.symbols["insitu_stack_top"] - image.symbols["insitu_stack_limit"]
    if stack_bytes > room:
        raise FitError(
            f"{firmware.elf.name}: the stack needs at least {stack_bytes} bytes but has {room} "
            f"and met the data; train fewer layers or take a larger board"
        )
