"""Does an emulated core do what the twin does, and does a run that goes wrong say so?"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import (
    KIB,
    MACHINES,
    board,
    calls_of,
    emulator_or_skip,
    stream,
    toolchain_or_skip,
    write_model,
)

from insitu.artifacts import Firmware, RunResult
from insitu.errors import DataError, FitError, ToolError
from insitu.firmware.build import build_firmware, build_hook, build_host
from insitu.run import emulator
from insitu.run.profile import ProfiledResult
from insitu.run.twin_library import TwinLibrary
from insitu.target.elf import read_elf
from insitu.target.machines import MACHINES as CORES
from insitu.target.machines import MIB

pytestmark = pytest.mark.toolchain
EMULATORS = ["qemu", "unicorn"]
LINEAR, LOSS, UPDATE = range(3)  # nodes of the fake model


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "fake")


@pytest.fixture(scope="module")
def out_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def twin_result(model_dir: Path, out_dir: Path) -> RunResult:
    return TwinLibrary(build_host(model_dir, "fake", out_dir), "fake").run(stream(60))


def _build(
    folder: Path, out_dir: Path, machine: str, name: str | None = None, *, profile: bool = False
) -> Firmware:
    core, fpu = MACHINES[machine]
    chosen = toolchain_or_skip(core, name)
    return build_firmware(
        folder, "fake", board(core, fpu=fpu), out_dir, toolchain=chosen, profile=profile
    )


def _assert_equal(result: RunResult, expected: RunResult) -> None:
    assert result.state == expected.state
    np.testing.assert_array_equal(result.predicted, expected.predicted)
    np.testing.assert_array_equal(result.losses, expected.losses)
    for name, values in expected.info.items():
        np.testing.assert_array_equal(result.info[name], values)


@pytest.mark.parametrize("emulated_by", EMULATORS)
@pytest.mark.parametrize("name", ["gcc", "zig"])
@pytest.mark.parametrize("machine", MACHINES)
def test_the_device_equals_the_twin(
    machine: str,
    name: str,
    emulated_by: str,
    twin_result: RunResult,
    model_dir: Path,
    out_dir: Path,
) -> None:
    emulator_or_skip(MACHINES[machine][0], emulated_by)
    firmware = _build(model_dir, out_dir, machine, name)
    result = emulator.run(firmware, stream(60), prefer=emulated_by)
    _assert_equal(result, twin_result)
    assert 64 <= result.stack_bytes <= 1024
    assert result.emulator.startswith(emulated_by)


@pytest.mark.parametrize("machine", ["cortex-m0plus", "cortex-m4-fpu"])
def test_steps_are_emulated_without_python(machine: str, model_dir: Path, out_dir: Path) -> None:
    """20,000 multiply-accumulates a step, and some calls for what it reads and writes."""
    firmware = _build(model_dir, out_dir, machine)
    calls = calls_of(lambda: emulator.run(firmware, stream(300), prefer="unicorn"))
    assert 300 < calls < 400 * 300


@pytest.mark.parametrize("emulated_by", EMULATORS)
def test_the_order_of_the_stream_is_the_order_of_the_records(
    emulated_by: str, model_dir: Path, out_dir: Path
) -> None:
    emulator_or_skip("cortex-m4", emulated_by)
    plain = stream(12)
    order = np.array([3, 1, 1, 11, 0, 5], np.int32)
    ordered = type(plain)(
        x=plain.x, labels=plain.labels, rates=plain.rates[:6], seed=plain.seed, order=order
    )
    expected = TwinLibrary(build_host(model_dir, "fake", out_dir), "fake").run(ordered)
    firmware = _build(model_dir, out_dir, "cortex-m4")
    _assert_equal(emulator.run(firmware, ordered, prefer=emulated_by), expected)


@pytest.mark.parametrize("emulated_by", EMULATORS)
def test_progress_counts_records(emulated_by: str, model_dir: Path, out_dir: Path) -> None:
    emulator_or_skip("cortex-m4", emulated_by)
    seen: list[int] = []
    firmware = _build(model_dir, out_dir, "cortex-m4")
    emulator.run(firmware, stream(1000), prefer=emulated_by, progress=seen.append)
    assert seen == sorted(seen)
    assert all(0 <= done <= 1000 for done in seen)
    assert seen


def test_initialised_variables_arrive(twin_result: RunResult, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "fake")
    data = folder / "insitu_fake_data.c"
    data.write_text(data.read_text().replace("const int8_t", "int8_t"))
    firmware = _build(folder, tmp_path, "cortex-m4")
    assert read_elf(firmware.elf).sections[".data"][1] == 16
    _assert_equal(emulator.run(firmware, stream(60)), twin_result)


# what goes wrong


@pytest.mark.parametrize("emulated_by", EMULATORS)
@pytest.mark.parametrize("machine", ["cortex-m0plus", "cortex-m4", "cortex-m33"])
def test_a_label_outside_the_classes_is_refused(
    machine: str, emulated_by: str, model_dir: Path, out_dir: Path
) -> None:
    emulator_or_skip(MACHINES[machine][0], emulated_by)
    records = stream(10)
    records.labels[4] = 10
    firmware = _build(model_dir, out_dir, machine)
    with pytest.raises(DataError, match="record 4 has label 10, outside the model's classes"):
        emulator.run(firmware, records, prefer=emulated_by)


@pytest.mark.parametrize("emulated_by", EMULATORS)
@pytest.mark.parametrize("machine", ["cortex-m0plus", "cortex-m4"])
def test_x_of_another_size_is_refused(
    machine: str, emulated_by: str, model_dir: Path, out_dir: Path
) -> None:
    emulator_or_skip(MACHINES[machine][0], emulated_by)
    firmware = _build(model_dir, out_dir, machine)
    with pytest.raises(DataError, match=r"x\[3, 7\] has 7 values .* the model takes 1022"):
        emulator.run(firmware, stream(3, inputs=7), prefer=emulated_by)


FAULTS = {
    "read-outside": "saturated = *(volatile int32_t *)0xDEAD0000;",
    "undefined-instruction": '__asm__ volatile("udf #0");',
}


@pytest.mark.parametrize("emulated_by", EMULATORS)
@pytest.mark.parametrize("machine", ["cortex-m0plus", "cortex-m3", "cortex-m33"])
@pytest.mark.parametrize("mishap", FAULTS.values(), ids=FAULTS)
def test_a_fault_ends_the_run_and_names_its_address(
    mishap: str, machine: str, emulated_by: str, tmp_path: Path
) -> None:
    emulator_or_skip(MACHINES[machine][0], emulated_by)
    firmware = _build(write_model(tmp_path / "fake", mishap=mishap), tmp_path, machine)
    with pytest.raises(ToolError, match=r"fault at pc 0x([0-9a-f]{8})") as caught:
        emulator.run(firmware, stream(10), prefer=emulated_by)
    assert "\n" not in str(caught.value)
    pc = int(str(caught.value).split("pc 0x")[1][:8], 16)
    symbols = read_elf(firmware.elf).symbols
    assert symbols["insitu_fake_init"] & ~0xFFFF <= pc < read_elf(firmware.elf).load_end


@pytest.mark.parametrize("emulated_by", EMULATORS)
def test_a_run_without_end_is_ended(emulated_by: str, tmp_path: Path) -> None:
    emulator_or_skip("cortex-m4", emulated_by)
    folder = write_model(tmp_path / "fake", mishap="for (volatile int32_t i = 0; i < 1;) {}")
    firmware = _build(folder, tmp_path, "cortex-m4")
    with pytest.raises(ToolError, match=r"not finished after 1 s and 1 records"):
        emulator.run(firmware, stream(10), prefer=emulated_by, timeout_s=1)


LONG_RUN = """
import pickle, signal, sys
from fakes import stream
from insitu.run import emulator

signal.signal(signal.SIGINT, signal.default_int_handler)
firmware = pickle.loads(open(sys.argv[1], "rb").read())
emulator.run(firmware, stream(20_000), prefer="unicorn", progress=lambda n: print(n, flush=True))
"""


def test_ctrl_c_ends_a_run_on_unicorn(model_dir: Path, out_dir: Path, tmp_path: Path) -> None:
    pickled = tmp_path / "firmware.pickle"
    pickled.write_bytes(pickle.dumps(_build(model_dir, out_dir, "cortex-m4")))
    paths = os.pathsep.join([str(Path(__file__).parents[1] / "harness"), *sys.path])
    with subprocess.Popen(
        [sys.executable, "-c", LONG_RUN, pickled],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    ) as running:
        assert running.stdout is not None
        try:
            assert running.stdout.readline()  # it has begun
            running.send_signal(signal.SIGINT)
            _, said = running.communicate(timeout=10)
        finally:
            running.kill()
    assert running.returncode == -signal.SIGINT
    assert said.rstrip().endswith("KeyboardInterrupt")


@pytest.mark.parametrize("emulated_by", EMULATORS)
def test_a_stack_that_meets_the_data_is_noticed(emulated_by: str, tmp_path: Path) -> None:
    emulator_or_skip("cortex-m4", emulated_by)
    deep = "volatile uint8_t deep[600]; for (int32_t i = 0; i < 600; ++i) { deep[i] = 1; }"
    folder = write_model(tmp_path / "fake", mishap=deep)
    room = 400  # less than `deep` takes
    need = build_firmware(folder, "fake", board(), tmp_path).ram_bytes + room
    small = board(ram=((0x2000_0000, need),))
    firmware = build_firmware(folder, "fake", small, tmp_path, stack_bytes=room)
    with pytest.raises(FitError, match=rf"the stack needs at least \d+ bytes but has {room} and"):
        emulator.run(firmware, stream(10), prefer=emulated_by)


@pytest.mark.parametrize("emulated_by", EMULATORS)
@pytest.mark.parametrize("machine", ["cortex-m0plus", "cortex-m4-fpu"])
def test_a_board_that_is_full_to_the_byte_runs(
    machine: str, emulated_by: str, twin_result: RunResult, model_dir: Path, tmp_path: Path
) -> None:
    core, fpu = MACHINES[machine]
    emulator_or_skip(core, emulated_by)
    roomy = build_firmware(model_dir, "fake", board(core, fpu=fpu), tmp_path)
    stack = emulator.run(roomy, stream(60), prefer=emulated_by).stack_bytes
    need = roomy.ram_bytes + -(-stack // 8) * 8
    full = board(core, fpu=fpu, ram=((0x2000_0000, need),))
    firmware = build_firmware(model_dir, "fake", full, tmp_path, stack_bytes=stack)
    result = emulator.run(firmware, stream(60), prefer=emulated_by)
    _assert_equal(result, twin_result)
    assert result.stack_bytes == stack


def test_the_stack_is_measured_to_the_word(tmp_path: Path) -> None:
    used = []
    for size in (256, 768):
        deep = f"volatile uint8_t deep[{size}]; for (int i = 0; i < {size}; i++) deep[i] = 1;"
        folder = write_model(tmp_path / f"{size}", mishap=deep)
        firmware = _build(folder, folder, "cortex-m4")
        used.append(emulator.run(firmware, stream(3)).stack_bytes)
    assert used[1] - used[0] == 512


def test_an_image_larger_than_qemus_board_runs_on_unicorn(
    twin_result: RunResult, tmp_path: Path
) -> None:
    folder = write_model(tmp_path / "fake")
    large = "const int8_t insitu_fake_ballast[5 << 20] = {1};"
    data = folder / "insitu_fake_data.c"
    data.write_text(
        f"{data.read_text()}\nextern const int8_t insitu_fake_ballast[5 << 20];\n{large}"
    )
    source = folder / "insitu_fake.c"
    touch = "#include <stdint.h>\nextern const int8_t insitu_fake_ballast[5 << 20];\n"
    use = "  model->arena = (uint8_t *)arena + insitu_fake_ballast[1 << 20];"
    source.write_text(touch + source.read_text().replace("  model->arena = arena;", use))
    roomy = board("cortex-m7", flash=8 * MIB)
    firmware = build_firmware(folder, "fake", roomy, tmp_path)
    assert firmware.flash_bytes > 5 * MIB
    result = emulator.run(firmware, stream(60))
    _assert_equal(result, twin_result)
    assert result.emulator.startswith("unicorn")
    with pytest.raises(ToolError, match=r"more than the 4194304 of mps2-an500; use unicorn"):
        emulator.run(firmware, stream(1), prefer="qemu")


@pytest.mark.parametrize("emulated_by", EMULATORS)
def test_a_board_with_ram_in_two_pieces_equals_the_twin(
    emulated_by: str, twin_result: RunResult, model_dir: Path, tmp_path: Path
) -> None:
    emulator_or_skip("cortex-m7", emulated_by)
    pieces = board("cortex-m7", ram=((0x2000_0000, 4 * KIB), (0x2020_0000, 16 * KIB)))
    firmware = build_firmware(model_dir, "fake", pieces, tmp_path)
    _assert_equal(emulator.run(firmware, stream(60), prefer=emulated_by), twin_result)


# counting


def _profile(firmware: Firmware, out_dir: Path, records: int = 20) -> ProfiledResult:
    result = emulator.run(firmware, stream(records), profile=build_hook(out_dir))
    assert isinstance(result, ProfiledResult)
    return result


@pytest.mark.parametrize(
    "machine", ["cortex-m0plus", "cortex-m4-fpu", "cortex-m33", "cortex-m55-fpu"]
)
def test_counting_changes_nothing(
    machine: str, twin_result: RunResult, model_dir: Path, out_dir: Path
) -> None:
    emulator_or_skip(MACHINES[machine][0])
    firmware = _build(model_dir, out_dir, machine, profile=True)
    _assert_equal(_profile(firmware, out_dir, records=60), twin_result)


def test_every_node_is_counted_and_again_the_same(model_dir: Path, out_dir: Path) -> None:
    firmware = _build(model_dir, out_dir, "cortex-m4", profile=True)
    first, second = _profile(firmware, out_dir), _profile(firmware, out_dir)
    assert set(first.instructions) == {LINEAR, LOSS, UPDATE}
    assert first.instructions == second.instructions
    assert first.blocks == second.blocks


def test_qemu_counts_what_unicorn_counts(
    model_dir: Path, out_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a core that both have; QEMU counts for those that Unicorn has not."""
    emulator_or_skip("cortex-m33", "qemu")
    by_unicorn = _profile(_build(model_dir, out_dir, "cortex-m33", profile=True), out_dir)
    without = replace(CORES["cortex-m33"], unicorn_model="")
    monkeypatch.setitem(CORES, "cortex-m33", without)
    by_qemu = _profile(_build(model_dir, tmp_path, "cortex-m33", profile=True), tmp_path)
    assert by_qemu.emulator.startswith("qemu") and by_unicorn.emulator.startswith("unicorn")
    assert by_qemu.instructions == by_unicorn.instructions
    for node, blocks in by_unicorn.blocks.items():
        assert sum(b.taken for b in by_qemu.blocks[node].values()) == sum(
            b.taken for b in blocks.values()
        )


COUNTED = {  # instructions a round, so many rounds; a loop of our own, not the compiler's
    "cortex-m0plus": "movs r0, #100\\n1: subs r0, #1\\nbne 1b",
    "cortex-m4": "movs r0, #100\\n1: subs.w r0, r0, #1\\nbne.n 1b",
    "cortex-m33": "movs r0, #100\\n1: subs.w r0, r0, #1\\nbne.n 1b",
    "cortex-m55-fpu": "movs r0, #100\\n1: subs.w r0, r0, #1\\nbne.n 1b",
}


@pytest.mark.parametrize("name", ["gcc", "zig"])
@pytest.mark.parametrize("machine", COUNTED)
def test_a_loop_of_201_instructions_counts_201(machine: str, name: str, tmp_path: Path) -> None:
    """In the node before the mark that follows: the loss."""
    emulator_or_skip(MACHINES[machine][0])
    loops = []
    for text in ("", COUNTED[machine]):
        mishap = f'__asm__ volatile(".syntax unified\\n{text}" ::: "r0", "cc");'
        folder = write_model(tmp_path / f"{len(text)}", mishap=mishap)
        firmware = _build(folder, tmp_path / f"out{len(text)}", machine, name, profile=True)
        loops.append(_profile(firmware, tmp_path))
    without, with_loop = loops
    assert with_loop.instructions[LOSS] - without.instructions[LOSS] == 201
    loop = [
        b for b in with_loop.blocks[LOSS].values() if b.executions == 99 and b.instructions == 2
    ]
    assert [block.taken for block in loop] == [98]


def test_counts_without_marks_are_refused(model_dir: Path, out_dir: Path) -> None:
    firmware = _build(model_dir, out_dir, "cortex-m4")
    with pytest.raises(ToolError, match="no marks to count by; build it with profile=True"):
        _profile(firmware, out_dir)


def test_a_stream_of_predictions_has_no_step_to_count(model_dir: Path, out_dir: Path) -> None:
    firmware = _build(model_dir, out_dir, "cortex-m4", profile=True)
    records = stream(1)  # its first record is a prediction
    with pytest.raises(DataError, match="no record is trained on"):
        emulator.run(firmware, records, profile=build_hook(out_dir))


def test_marks_cost_nothing_without_profile(model_dir: Path, out_dir: Path) -> None:
    firmware = _build(model_dir, out_dir, "cortex-m4")
    assert "insitu_profile" not in read_elf(firmware.elf).symbols
