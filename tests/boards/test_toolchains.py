"""Do all compilers and emulators that we find do the same, and does a build tell the truth?"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
from fakes import (
    CLASSES,
    INPUTS,
    KIB,
    MACHINES,
    board,
    stream,
    toolchain_or_skip,
    write_model,
)
from sanitized import run_sanitized

from insitu.errors import BoardError, DataError, FitError, OutputError, ToolError
from insitu.firmware.build import build_firmware, build_host
from insitu.run.twin_library import TwinLibrary
from insitu.target.elf import read_elf
from insitu.tools.compilers import find_toolchain, sanitizer_environment
from insitu.tools.emulators import find_emulator
from insitu.tools.survey import survey

pytestmark = pytest.mark.toolchain


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model") / "fake")


@pytest.fixture(scope="module")
def out_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def library(model_dir: Path, out_dir: Path) -> Path:
    return build_host(model_dir, "fake", out_dir)


# finding tools


def test_an_unknown_target_is_named() -> None:
    with pytest.raises(ToolError, match=r'no compiler for "cortex-a53"; choose from: host, cort'):
        find_toolchain("cortex-a53")


def test_an_unknown_toolchain_is_named() -> None:
    with pytest.raises(ToolError, match=r'no toolchain "tcc" for host; choose from: gcc, clang'):
        find_toolchain("host", prefer="tcc")


@pytest.mark.parametrize("target", ["host", "cortex-m4"])
def test_without_installed_compilers_zig_is_found(
    target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert find_toolchain(target).name == "zig"


def test_a_missing_toolchain_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ToolError, match="pip install ziglang"):
        find_toolchain("cortex-m0plus")
    with pytest.raises(ToolError, match="install gcc-arm-none-eabi"):
        find_toolchain("cortex-m0plus", prefer="gcc")
    with pytest.raises(ToolError, match="pip install unicorn"):
        find_emulator("cortex-m4")


def test_the_m0plus_is_always_emulated_by_unicorn() -> None:
    assert find_emulator("cortex-m0plus").name == "unicorn"
    with pytest.raises(ToolError, match="qemu has no board with cortex-m0plus"):
        find_emulator("cortex-m0plus", prefer="qemu")


def test_the_m55_is_always_emulated_by_qemu(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ToolError, match="unicorn has no cortex-m55; use qemu"):
        find_emulator("cortex-m55", prefer="unicorn")
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(ToolError, match=r"only qemu has cortex-m55 and .* same C for every core"):
        find_emulator("cortex-m55")


def test_the_survey_has_a_way_out_for_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    found = {finding.tool: finding.way_out for finding in survey()}
    assert "qemu" in found
    assert "install" in found["qemu"]
    assert "gcc-arm-none-eabi" in found["arm-none-eabi-gcc"]
    assert any(tool.startswith("zig ") and not way_out for tool, way_out in found.items())


@pytest.mark.parametrize("target", ["host", "cortex-m4"])
def test_a_compiler_without_headers_is_passed_over(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "gcc"
    missing = "echo 'fatal error: stdint.h: No such file or directory' >&2; exit 1"
    program.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo 12.2.0 && exit\n{missing}\n')
    program.chmod(0o755)
    monkeypatch.setattr("shutil.which", lambda name: str(program) if "gcc" in name else None)
    assert find_toolchain(target).name == "zig"
    with pytest.raises(ToolError, match=r"gcc 12\.2\.0 failed .*stdint\.h: No such .*; install"):
        find_toolchain(target, prefer="gcc")
    findings = [finding.way_out for finding in survey() if "gcc" in finding.tool]
    assert len(findings) == 2 and all("stdint.h" in way_out for way_out in findings)


def test_zig_has_a_cache_without_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_CACHE_HOME", "ZIG_GLOBAL_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    zig = find_toolchain("cortex-m0plus", prefer="zig")
    source = tmp_path / "empty.c"
    source.write_text("int nothing; ")
    zig.run(*zig.compile_flags(), "-c", source, "-o", tmp_path / "empty.o")
    assert list(tmp_path.glob("insitu-zig-*"))


# the twin


@pytest.mark.parametrize("name", ["gcc", "clang", "zig"])
def test_every_host_compiler_gives_the_same_twin(
    name: str, library: Path, model_dir: Path, out_dir: Path
) -> None:
    chosen = toolchain_or_skip("host", name)
    records = stream(60)
    result = TwinLibrary(build_host(model_dir, "fake", out_dir, toolchain=chosen), "fake").run(
        records
    )
    expected = TwinLibrary(library, "fake").run(records)
    assert result.state == expected.state
    np.testing.assert_array_equal(result.losses, expected.losses)
    np.testing.assert_array_equal(result.predicted, expected.predicted)


def test_two_twins_of_one_library_are_independent(library: Path) -> None:
    first, second = TwinLibrary(library, "fake"), TwinLibrary(library, "fake")
    before = second.state
    first.run(stream(10))
    assert second.state == before != first.state
    second.state = first.state
    assert second.state == first.state


def test_a_stream_in_pieces_is_the_whole_stream(library: Path) -> None:
    whole, pieces = TwinLibrary(library, "fake"), TwinLibrary(library, "fake")
    records = stream(30)
    whole.run(records)
    for i, (start, end) in enumerate([(0, 11), (11, 30)]):
        part = type(records)(
            x=records.x,
            labels=records.labels,
            rates=records.rates[start:end],
            seed=records.seed,
            order=np.arange(start, end, dtype=np.int32),
        )
        pieces.run(part, seed=i == 0)
    assert pieces.state == whole.state


def test_prediction_leaves_the_state_alone(library: Path) -> None:
    twin = TwinLibrary(library, "fake")
    twin.run(stream(20))
    before = twin.state
    scores, classes = twin.predict(stream(5).x)
    assert scores.shape == (5, CLASSES)
    np.testing.assert_array_equal(classes, scores.argmax(axis=1))
    assert twin.state == before


def test_input_is_quantized_by_the_generated_code(library: Path) -> None:
    x = np.linspace(-1, 1, 2 * INPUTS, dtype=np.float32).reshape(2, 1, INPUTS)
    expected = (x.reshape(2, INPUTS) * np.float32(127)).astype(np.int8)
    np.testing.assert_array_equal(TwinLibrary(library, "fake").quantize_input(x), expected)


def test_a_label_outside_the_classes_is_refused(library: Path) -> None:
    records = stream(10)
    records.labels[4] = 10
    with pytest.raises(DataError, match=r"record 4 has label 10, outside \[0, 10\)"):
        TwinLibrary(library, "fake").run(records)


def test_a_learning_rate_above_one_is_refused(library: Path) -> None:
    records = stream(10)
    records.rates[3] = 1.5
    with pytest.raises(DataError, match=r"record 3 has learning rate 1.5, outside \(0, 1\]"):
        TwinLibrary(library, "fake").run(records)


def test_x_of_another_size_is_refused(library: Path) -> None:
    with pytest.raises(DataError, match=r"x\[3, 7\] does not have the model's 1022 values"):
        TwinLibrary(library, "fake").run(stream(3, inputs=7))


@pytest.mark.parametrize(
    ("mishap", "found"),
    [
        pytest.param("", "", id="sound"),
        pytest.param("model->arena[128] = 1;", "AddressSanitizer", id="behind-arena"),
        pytest.param("volatile int32_t i = 1 << 30; i = i * 4;", "runtime error", id="overflow"),
    ],
)
def test_the_sanitizers_find_what_is_wrong(
    mishap: str, found: str, library: Path, tmp_path: Path
) -> None:
    chosen = toolchain_or_skip("host", "gcc")
    folder = write_model(tmp_path / "fake", mishap=mishap)
    built = build_host(folder, "fake", tmp_path, toolchain=chosen, sanitize=True)
    digest, said = run_sanitized(built, "fake", stream(10), sanitizer_environment(chosen))
    if found:
        assert found in said
        assert not digest
    else:
        expected = TwinLibrary(library, "fake").run(stream(10)).state
        assert digest == hashlib.sha256(expected).hexdigest(), said


# builds


def test_an_unchanged_source_is_not_compiled_again(model_dir: Path, out_dir: Path) -> None:
    build_host(model_dir, "fake", out_dir)
    before = {path: path.stat().st_mtime_ns for path in (out_dir / "objects").iterdir()}
    build_host(model_dir, "fake", out_dir)
    assert {path: path.stat().st_mtime_ns for path in (out_dir / "objects").iterdir()} == before


def test_a_changed_source_gives_another_library(tmp_path: Path, library: Path) -> None:
    folder = write_model(tmp_path / "changed", mishap="saturated += 1;")
    assert build_host(folder, "fake", tmp_path).name != library.name


def test_an_error_of_the_compiler_is_one_line(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "broken", mishap="this is not C;")
    with pytest.raises(ToolError, match=r"failed .*error") as caught:
        build_host(folder, "fake", tmp_path)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("*.so*"))


def test_an_empty_folder_has_nothing_to_build(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match='no C sources; run "insitu compile" first'):
        build_host(tmp_path, "fake", tmp_path)


def test_an_output_folder_that_is_a_file_is_refused(model_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="choose a folder you can write"):
        build_host(model_dir, "fake", tmp_path / "file")


def test_a_core_without_an_fpu_has_none(model_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(BoardError, match="cortex-m3 has no FPU"):
        build_firmware(model_dir, "fake", board("cortex-m3", fpu=True), tmp_path)


def _map_sections(text: str) -> dict[str, int]:
    """Bytes by output section in a map of GNU ld or of lld."""
    gnu = re.findall(r"^(\.[a-z_]+)\s+0x([0-9a-f]+)\s+0x([0-9a-f]+)", text, re.MULTILINE)
    lld = re.findall(
        r"^ *([0-9a-f]+) +[0-9a-f]+ +([0-9a-f]+) +\d+ (\.[a-z_]+)$", text, re.MULTILINE
    )
    return {name: int(size, 16) for name, _, size in gnu} | {n: int(s, 16) for _, s, n in lld}


@pytest.mark.parametrize("name", ["gcc", "zig"])
@pytest.mark.parametrize("machine", ["cortex-m0plus", "cortex-m4-fpu"])
def test_sizes_are_those_of_the_linker_map(
    machine: str, name: str, tmp_path: Path, out_dir: Path
) -> None:
    core, fpu = MACHINES[machine]
    folder = write_model(tmp_path / "fake")
    data = folder / "insitu_fake_data.c"  # not const: 16 bytes of .data, in flash and in RAM
    data.write_text(data.read_text().replace("const int8_t", "int8_t"))
    chosen = toolchain_or_skip(core, name)
    firmware = build_firmware(folder, "fake", board(core, fpu=fpu), out_dir, toolchain=chosen)
    sizes = _map_sections(firmware.elf.with_suffix(".map").read_text())
    assert sizes[".data"] == 16
    assert firmware.flash_bytes == sizes[".text"] + sizes[".data"]
    assert firmware.ram_bytes == sum(
        sizes[name] for name in (".data", ".insitu_state", ".insitu_arena", ".bss")
    )


def test_what_does_not_fit_the_flash_says_by_how_much(model_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(FitError, match=r"needs (\d+) bytes of flash but the board has 1024, ") as e:
        build_firmware(model_dir, "fake", board(flash=KIB), tmp_path)
    needed, there, over = map(int, re.findall(r"\b\d+\b", str(e.value).split(":", 1)[1]))
    assert needed - there == over


def test_the_ram_must_hold_the_stack_too(model_dir: Path, tmp_path: Path) -> None:
    firmware = build_firmware(model_dir, "fake", board(), tmp_path)
    need = firmware.ram_bytes + 512
    for length in (need, need - 8):
        small = board(ram=((0x2000_0000, length),))
        if length == need:
            build_firmware(model_dir, "fake", small, tmp_path, stack_bytes=512)
            continue
        with pytest.raises(FitError, match=rf"needs {need} bytes of RAM .* has {length}, 8 too"):
            build_firmware(model_dir, "fake", small, tmp_path, stack_bytes=512)
    assert not list(tmp_path.glob("*.partial*"))


def test_without_limits_everything_fits(model_dir: Path, tmp_path: Path) -> None:
    small = board(flash=KIB, ram=((0x2000_0000, KIB),))
    firmware = build_firmware(model_dir, "fake", small, tmp_path, limits=False)
    assert firmware.flash_bytes > KIB
    assert firmware.ram_bytes > KIB


@pytest.mark.parametrize(
    ("rams", "state_in", "arena_in"),
    [
        pytest.param((32 * KIB, 32 * KIB), 0, 0, id="first-holds-all"),
        pytest.param((13 * KIB, 32 * KIB), 0, 1, id="arena-moves-out"),
        pytest.param((4 * KIB, 32 * KIB), 1, 0, id="state-moves-out"),
    ],
)
def test_state_and_arena_find_their_ram(
    rams: tuple[int, int], state_in: int, arena_in: int, model_dir: Path, tmp_path: Path
) -> None:
    regions = ((0x2000_0000, rams[0]), (0x2020_0000, rams[1]))
    stack_bytes = 512
    if arena_in:  # 8 bytes too many for the first RAM
        stack_bytes = rams[0] - build_firmware(model_dir, "fake", board(), tmp_path).ram_bytes + 8
    firmware = build_firmware(
        model_dir, "fake", board(ram=regions), tmp_path, stack_bytes=stack_bytes
    )
    image = read_elf(firmware.elf)
    origins = [image.symbols[f"insitu_region_{name}_origin"] for name in ("RAM", "RAM1")]
    for section, region in ((".insitu_state", state_in), (".insitu_arena", arena_in)):
        address, _ = image.sections[section]
        assert origins[region] <= address < origins[region] + rams[region]


def test_ram_in_pieces_that_are_all_too_small_is_refused(model_dir: Path, tmp_path: Path) -> None:
    regions = ((0x2000_0000, 8 * KIB), (0x2020_0000, 8 * KIB))
    with pytest.raises(FitError, match=r"RAM is 8192 \+ 8192 bytes in pieces .* 10240 bytes"):
        build_firmware(model_dir, "fake", board(ram=regions), tmp_path)


def test_ram_that_touches_is_one_piece(model_dir: Path, tmp_path: Path) -> None:
    regions = ((0x2000_0000, 8 * KIB), (0x2000_2000, 8 * KIB))
    firmware = build_firmware(model_dir, "fake", board(ram=regions), tmp_path)
    assert read_elf(firmware.elf).symbols["insitu_region_RAM_bytes"] == 16 * KIB


@pytest.mark.toolchain
def test_two_projects_of_one_relative_path_are_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """zig's cache keys headers by their path as given, so it must be given whole."""
    zig, seen = find_toolchain("host", prefer="zig"), []
    for project, more in (("a", 0), ("b", 64)):
        (tmp_path / project).mkdir()
        monkeypatch.chdir(tmp_path / project)
        header = write_model(Path("net")) / "insitu_fake.h"
        text, pattern = header.read_text(), r"(insitu_fake_arena_bytes = \d+)"
        header.write_text(re.sub(pattern, rf"\1 + {more}", text))
        library = build_host(Path("net"), "fake", Path("out"), toolchain=zig)
        seen.append(TwinLibrary(library, "fake").arena_bytes)
    assert seen[1] - seen[0] == 64
