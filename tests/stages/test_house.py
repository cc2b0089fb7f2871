"""Does every file keep to the sizes and the walls of the house?"""

from __future__ import annotations

import ast
import functools
import itertools
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from insitu.target.board import CORES

ROOT = Path(__file__).parents[2]
PYTHON = sorted(p for d in ("insitu", "tests", "bench") for p in (ROOT / d).rglob("*.py"))
C = sorted(p for d in ("insitu", "tests") for p in (ROOT / d).rglob("*.[ch]"))
KERNELS = [p for p in C if "ports" not in p.parts and "runtime" in p.parts]
STAGES = {
    stage: [p for p in PYTHON if p.relative_to(ROOT).with_suffix("").parts[:2] == ("insitu", stage)]
    for stage in (
        *("prepare", "quantize", "differentiate", "plan", "generate", "firmware", "run", "measure"),
    )
}


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_a_file_is_under_400_lines() -> None:
    lines = {_name(path): len(path.read_text().splitlines()) for path in PYTHON + C}
    assert not {name: count for name, count in lines.items() if count >= 400}


@functools.cache
def tree(path: Path) -> ast.Module:
    """Of a file of Python."""
    return ast.parse(path.read_text())


def test_a_function_has_under_40_lines() -> None:
    """Signature and docstring apart."""
    long = {}
    for path in PYTHON:
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
                if lines >= 40:
                    long[_name(path), node.name] = lines
    assert not long


def test_a_stage_names_no_op() -> None:
    """`op.name` may be printed, never compared."""
    assert all(STAGES.values()), [stage for stage, paths in STAGES.items() if not paths]
    named = {
        (_name(path), ast.unparse(node))
        for path in itertools.chain(*STAGES.values())
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Compare | ast.Match) and re.search(r"\bop\.name\b", _subject(node))
    }
    assert not named


TABLES = ("insitu.ops", "insitu.ops.losses.table")


def test_a_stage_imports_no_single_op() -> None:
    imported = {
        (_name(path), node.module)
        for path in itertools.chain(*STAGES.values())
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("insitu.ops")
    }
    assert not {row for row in imported if row[1] not in TABLES}
    taken = {
        (_name(path), ast.unparse(node))
        for path in itertools.chain(*STAGES.values())
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Subscript | ast.Import)
        if re.match(r"OPS\['|import insitu\.ops", ast.unparse(node))
    }
    assert not taken


def test_a_name_is_no_protocol() -> None:
    """What a tensor or a node is stands in its fields; parts of its name say nothing."""
    asks = re.compile(r"\bname\.(?:starts|ends)with\(|\bname\.remove(?:pre|suf)fix\(")
    asking = {
        (_name(path), ast.unparse(node))
        for path in PYTHON
        if path.parts[len(ROOT.parts) : len(ROOT.parts) + 2] in ROOMS
        or path in itertools.chain(*STAGES.values())
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and asks.search(ast.unparse(node.func) + "(")
        if re.search(r"\b(?:tensor|node|t|n|life)\.name\b", ast.unparse(node.func))
    }
    assert not asking


ROOMS = {("insitu", room) for room in ("network", "report", "graph")}


def _subject(node: ast.Compare | ast.Match) -> str:
    return ast.unparse(node.subject if isinstance(node, ast.Match) else node)


FORBIDDEN = {
    "heap": r"\b(malloc|calloc|realloc|free|alloca)\s*\(",
    "double": r"\b(long\s+)?double\b",
    "libc": r"#\s*include\s*<(?!stdint\.h|stddef\.h|string\.h|arm_acle\.h|arm_mve\.h)",
}


@pytest.mark.parametrize("pattern", FORBIDDEN.values(), ids=FORBIDDEN)
def test_the_runtime_is_free_of(pattern: str) -> None:
    comments = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
    code = {_name(path): comments.sub("", path.read_text()) for path in KERNELS}
    assert not {
        name: re.findall(pattern, text) for name, text in code.items() if re.search(pattern, text)
    }


FUNCTION = re.compile(
    r"^(static )?(?!static)[a-z_]\w*[ *]+[\w *]*?(\w+)\([^;{}]*\)\s*[{;]", re.MULTILINE
)
RUNTIME = ROOT / "insitu" / "runtime"


def _functions(path: Path) -> set[tuple[str, str]]:
    """(`static ` or nothing, name) of all that is defined or declared at the outermost level."""
    code = re.sub(
        r"/\*.*?\*/|__attribute__\(\(.*?\)\)\)?\s*|INSITU_\w+\s", "", path.read_text(), flags=re.S
    )
    return {(found[1] or "", found[2]) for found in FUNCTION.finditer(code)}


def test_no_static_function_has_the_name_of_an_exported_one() -> None:
    """Files that a model needs are found by what they call (generate/runtime_files.py)."""
    functions = set().union(*map(_functions, RUNTIME.rglob("*.[ch]")))
    exported = {name for static, name in functions if not static}
    assert len(exported) > 100
    assert not {name for static, name in functions if static} & exported


def test_flags_are_of_kernels_that_are_there() -> None:
    flags = tomllib.loads((RUNTIME / "flags.toml").read_text())
    named = [
        *flags["written_out"],
        *flags["files"],
        *(f for c in flags["cores"].values() for f in c),
    ]
    assert set(flags["cores"]) <= set(CORES)
    assert set(named) <= {path.name for path in (RUNTIME / "src").rglob("*.c")}


INCLUDED_BY_MODELS = {"insitu_fixed_point.h", "insitu_soft_float.h"}


def test_insitu_means_exported() -> None:
    """But in the arithmetic that generated models include."""
    assert not {
        (_name(path), name)
        for path in (RUNTIME / "src").rglob("*.[ch]")
        if path.name not in INCLUDED_BY_MODELS
        for static, name in _functions(path)
        if static and name.startswith("insitu_")
    }


TWIN = re.compile(r"\bTwins?\b[^:.]*:(.*?)\.(?:\s|$)", re.DOTALL)


def test_a_twin_is_there() -> None:
    """C and ops are named by their files, or by paths."""
    files = {path.name for path in KERNELS}
    files |= {path.name for path in (ROOT / "insitu" / "ops").rglob("*.py")}
    named = {
        (_name(path), file)
        for path in PYTHON + KERNELS
        if path.is_relative_to(ROOT / "insitu")
        for sentence in TWIN.findall(path.read_text())
        for file in re.findall(r"[\w/]+\.(?:[ch]|py)\b", sentence)
    }
    assert len(named) > 60
    missing = {
        (where, file) for where, file in named if file not in files and not (ROOT / file).is_file()
    }
    assert not missing


def test_a_room_is_small() -> None:
    """insitu/ itself holds at most eight modules, a folder at most 20 files."""
    folders = [p for p in (ROOT / "insitu").rglob("*") if p.is_dir() and p.name != "__pycache__"]
    full = {_name(d): sum(p.is_file() for p in d.iterdir()) for d in folders}
    assert not {name: count for name, count in full.items() if count > 20}
    assert len(list((ROOT / "insitu").glob("*.py"))) <= 8


def test_the_lock_pins_what_pyproject_asks_for() -> None:
    locked = dict(
        line.lower().replace("_", "-").split("==")
        for line in (ROOT / "requirements.lock").read_text().splitlines()
        if not line.startswith("#")
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {k: v for k, v in project["optional-dependencies"].items() if k != "torch"}
    wanted = [*project["dependencies"], *(row for rows in extras.values() for row in rows)]
    pinned = [r for r in map(Requirement, wanted) if r.name != "insitu"]
    assert all(r.specifier.contains(locked.get(r.name.lower(), "0")) for r in pinned), [
        f"{r} but {locked.get(r.name.lower())}" for r in pinned
    ]


PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def test_a_page_links_to_what_is_there() -> None:
    missing = {
        (_name(path), target)
        for path in PAGES
        for found in re.findall(r"\]\(([^)\s]+)\)|src=\"([^\"]+)\"", path.read_text())
        for target in found
        if target and not re.match(r"[a-z]+:|#", target)
        if not (path.parent / target.split("#")[0]).exists()
    }
    assert not missing
