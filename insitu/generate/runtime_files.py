"""A text of C -> the runtime's files that it needs.

Those it includes, those that define what it calls, and what these need in turn.

Invariant: of functions with one definition a core, in microkernel files, all definitions are taken.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from functools import cache

from insitu.runtime import FILES

COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*|(?:__attribute__\(\(\w+\)\)|INSITU_NAKED) *", re.DOTALL)
INCLUDE = re.compile(r'^#include "(insitu\w*\.h)"', re.MULTILINE)
DEFINITION = re.compile(r"^(?!static)[a-z][\w *]*?\b(insitu_\w+)\([^;{}]*\)\s*{", re.MULTILINE)
ASSEMBLY = re.compile(r"^__asm__\(.*?\);", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"^static\b.*?^}", re.MULTILINE | re.DOTALL)
PROTOTYPE = re.compile(r"^(?!static)[a-z][\w *]*?\b(insitu_\w+)\([^;{}]*\);", re.MULTILINE)
NAME = re.compile(r"\binsitu_\w+")


@cache
def _texts() -> Mapping[str, str]:
    """File name -> content without comments and attributes, of all headers and kernels."""
    return {
        name: COMMENT.sub("", FILES[name].read_text(encoding="utf-8")) for name in sorted(FILES)
    }


@cache
def _found(pattern: re.Pattern[str]) -> Mapping[str, frozenset[str]]:
    """Function -> files in which the pattern finds it."""
    files: dict[str, set[str]] = defaultdict(set)
    for file, text in _texts().items():
        for function in pattern.findall(text):
            files[function].add(file)
    return {function: frozenset(where) for function, where in files.items()}


def headers_for(text: str) -> list[str]:
    """The headers that declare the kernels which a text calls, and the arithmetic."""
    declared = _found(PROTOTYPE)
    wanted = {file for name in NAME.findall(text) for file in declared.get(name, ())}
    return sorted({"insitu_fixed_point.h", "insitu_kernels.h", *wanted})


def files_for(text: str) -> tuple[str, ...]:
    """Names of the headers and sources that a generated text needs, sorted."""
    texts, definitions = _texts(), _found(DEFINITION)
    wanted: set[str] = set()
    left = {"": text}
    while left:
        name, reached = left.popitem()
        code = reached
        if name.endswith(".h"):
            code = "".join(INLINE.findall(reached) + ASSEMBLY.findall(reached))
        found = {file for call in NAME.findall(code) for file in definitions.get(call, ())}
        new = found.union(INCLUDE.findall(reached)).intersection(texts) - wanted
        wanted |= new
        left |= {file: texts[file] for file in new}
    return tuple(sorted(wanted))


@cache
def names_taken() -> frozenset[str]:
    """What models cannot be called: insitu_NAME_t is a type, insitu_NAME.h a file, or the twin."""
    headers = {name.removesuffix(".h") for name in _texts() if name.endswith(".h")}
    words = {word for text in _texts().values() for word in NAME.findall(text)}
    types = {word.removesuffix("_t") for word in words if word.endswith("_t")}
    return frozenset(name.removeprefix("insitu_") for name in headers | types | {"insitu_host"})
