"""Are the pages true? What they show is taken from them and run."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from networks import example
from pages import DOCS, ROOT, blocks, run

from insitu.app.cli import app
from insitu.errors import OutputError
from insitu.graph.model import OpDef
from insitu.network.compiled import Network
from insitu.tools.compilers import find_toolchain


def apply_diff(path: Path, diff: str) -> None:
    """Put the + lines of each hunk behind its context lines, which stand in the file once."""
    for hunk in diff.split("@@\n"):
        lines = hunk.splitlines()
        context = "".join(f"{line[1:]}\n" for line in lines if not line.startswith("+"))
        added = "".join(f"{line[1:]}\n" for line in lines if line.startswith("+"))
        text = path.read_text()
        assert text.count(context) == 1, f"{path.name} holds {text.count(context)} times {context}"
        path.write_text(text.replace(context, context + added))


@pytest.mark.toolchain
@pytest.mark.slow
def test_adding_an_op_works_as_the_page_says(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "insitu", tmp_path / "insitu")
    *changes, proof = blocks(DOCS / "adding-an-op.md")
    for change in changes:
        path = tmp_path / change.named
        if change.language == "diff":
            apply_diff(path, change.text)
        else:
            assert not path.exists()
            path.write_text(change.text)
    (tmp_path / "proof.py").write_text(proof.text)
    printed = run([sys.executable, "proof.py"], tmp_path, path=tmp_path)
    assert "reference == twin == board" in printed


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `insitu compile` writes for an untrained MLP 64-32-10."""
    folder = tmp_path_factory.mktemp("compiled")
    example("digits_mlp").main(folder)
    options = ["--data", "calibration.npz", "--out", "out"]
    run([sys.executable, "-m", "insitu", "compile", "model.onnx", *options], folder)
    return folder / "out"


@pytest.mark.toolchain
def test_the_c_example_learns(compiled: Path, tmp_path: Path) -> None:
    (source,) = [b for b in blocks(DOCS / "architecture.md") if b.language == "c"]
    (tmp_path / "main.c").write_text(source.text)
    tool = find_toolchain("host")
    sources = [*compiled.glob("*.c"), *compiled.glob("runtime/*.c"), tmp_path / "main.c"]
    strict = ("-std=c99", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O2")
    folders = (f"-I{compiled}", f"-I{compiled / 'runtime'}")
    tool.run(*strict, *folders, *sources, "-o", tmp_path / "main")
    assert re.match(r"class 3, loss 0\.\d\d\n$", run([str(tmp_path / "main")], tmp_path))


def table(page: Path, heading: str) -> list[str]:
    """What stands as `code` in the first column of the table under a heading."""
    text = page.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    first = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    return [name for cell in first for name in re.findall(r"`([^`]+)`", cell)]


@pytest.mark.toolchain
def test_the_folder_and_its_keys_are_as_the_page_says(compiled: Path) -> None:
    page = DOCS / "architecture.md"
    files = {name.rstrip("/") for name in table(page, "The folder that `insitu compile` writes")}
    assert files - {"build"} == {
        path.name.replace("insitu_model", "insitu_NAME")
        for path in compiled.iterdir()
        if path.name != "build"
    }
    keys = json.loads((compiled / "insitu.json").read_text()).keys()
    assert set(table(page, "The keys of `insitu.json`")) == set(keys)


@pytest.mark.toolchain
def test_a_result_is_replaced_as_a_whole_or_not_at_all(compiled: Path, tmp_path: Path) -> None:
    network = Network.load(compiled)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("the only copy")
    with pytest.raises(OutputError, match="holds 1 files"):
        network.save(tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    network.save(tmp_path / "result")
    (tmp_path / "result" / "old.c").touch()
    broken = replace(network, folder=tmp_path / "absent")
    with pytest.raises(OutputError, match="cannot be written"):
        broken.save(tmp_path / "result")
    assert (tmp_path / "result" / "old.c").exists()
    network.save(tmp_path / "result")
    assert not (tmp_path / "result" / "old.c").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"mine", "result"}


def test_the_rooms_on_the_page_are_there_and_in_the_order_of_the_picture() -> None:
    names = table(DOCS / "architecture.md", "The way through the house")
    assert not [name for name in names if not (ROOT / "insitu" / name).exists()]
    numbered = re.findall(r">(\w+)</text><circle.*>(\d+)</text>", (DOCS / "house.svg").read_text())
    rooms = {room: int(number) for room, number in numbered}
    passed = [re.split(r"\W", name)[0] for name in names]
    assert sorted(rooms, key=rooms.__getitem__) == [room for room in passed if room in rooms]


def test_the_picture_of_the_house_is_that_of_today(tmp_path: Path) -> None:
    pytest.importorskip("grimp", reason="it comes with import-linter, of the extra dev")
    drawn = tmp_path / "house.svg"
    run([sys.executable, str(ROOT / "bench/draw_house.py"), "--out", str(drawn)], tmp_path)
    assert drawn.read_text() == (DOCS / "house.svg").read_text(), "run bench/draw_house.py"


def test_the_places_in_the_glossary_are_there() -> None:
    places = re.findall(r"^\|.*\| (`.*) \|$", (DOCS / "glossary.md").read_text(), re.MULTILINE)
    names = [name for cell in places for name in re.findall(r"`([^`]+)`", cell)]
    assert 25 <= len(places) <= 40
    for name in names:
        op, _, rule = name.partition(".")
        root = ROOT if name.startswith("docs/") else ROOT / "insitu"
        assert hasattr(OpDef, rule) if op == "OpDef" else any(root.rglob(name.rstrip("/"))), name


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the examples in it, and the commands `insitu` and `python` for it."""
    folder = tmp_path_factory.mktemp("user")
    shutil.copytree(ROOT / "examples", folder / "examples")
    commands = folder / "bin"
    commands.mkdir()
    for name, words in (("python", ""), ("insitu", "-m insitu ")):
        command = commands / name
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" {words}"$@"\n')
        command.chmod(0o755)
    return folder


@pytest.mark.toolchain
@pytest.mark.slow
def test_the_readme_can_be_followed(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{user / 'bin'}{os.pathsep}{os.environ['PATH']}")
    for block in blocks(ROOT / "README.md"):
        if block.language == "sh":
            printed = run(["sh", "-e", "-c", block.text], user)
            assert "equal in every bit" in printed
        elif block.language == "python":
            printed = run([sys.executable, "-c", block.text], user)
            before, after = (float(v) for v in re.findall(r"(?:before|after) (\S+)%", printed))
            assert before < 20 < 95 < after
            assert re.search(r"^True \d+\.\d+$", printed, re.MULTILINE)
        else:
            assert block.language == "console"
    assert (user / "work/report.html").stat().st_size > 10_000
    assert (user / "work/library/CMakeLists.txt").exists()


def test_every_command_is_in_the_readme() -> None:
    told = (ROOT / "README.md").read_text()
    for command in app.registered_commands:
        name = command.name or getattr(command.callback, "__name__", "")
        assert re.search(rf"(`|insitu |make ){name}\b", told), name
