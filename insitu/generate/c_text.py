"""Values -> C text: names, literals, arrays, initializers."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from insitu.graph.model import Array

C_TYPES = {
    "float32": "float",
    "int8": "int8_t",
    "int16": "int16_t",
    "uint16": "uint16_t",
    "int32": "int32_t",
    "uint32": "uint32_t",
}

RESERVED = """
    auto break case char const continue default do double else enum extern float for goto if
    inline int long register restrict return short signed sizeof static struct switch typedef
    union unsigned void volatile while
    arena state model info scores q p errors in_force result seed label target unwanted
"""
"""C's keywords, and what the generated functions call their own variables."""


GLUE = "\N{NO-BREAK SPACE}"
"""A space where no line may break; the finished text has ordinary ones."""


def c_names(names: Iterable[str]) -> dict[str, str]:
    """Tensor names -> C identifiers, unique, as alike as C allows."""
    taken: set[str] = set(RESERVED.split())
    result: dict[str, str] = {}
    for name in names:
        stem = re.sub(r"\W", "_", name, flags=re.ASCII)
        stem = stem if stem[:1].isalpha() else f"t_{stem}"
        candidate, count = stem, 1
        while candidate in taken:
            count += 1
            candidate = f"{stem}_{count}"
        taken.add(candidate)
        result[name] = candidate
    return result


def comment(text: str) -> str:
    """Text that can stand inside a C comment: ASCII, one line, without the signs of a comment."""
    printable = "".join(c if " " <= c <= "~" else "_" for c in text)
    return printable.replace("*/", "*_").replace("/*", "/_")


def literal(value: Any) -> str:
    """A number as C writes it; floats with the digits that give the same float32."""
    if isinstance(value, float | np.floating):
        number = float(np.float32(value))
        if math.isinf(number):
            return "-INSITU_NO_BOUND" if number < 0 else "INSITU_NO_BOUND"
        text = f"{number:.9g}"
        return f"{text}f" if re.search(r"[.e]", text) else f"{text}.0f"
    number = int(value)
    return "(-2147483647 - 1)" if number == -(2**31) else str(number)


def array_initializer(data: Array, *, indent: int = 4) -> str:
    """{1, 2, ...} wrapped to the line length."""
    suffix = "u" if data.dtype == np.uint32 else ""
    text = ", ".join(literal(v) + suffix for v in data.reshape(-1))
    lines = textwrap.fill(text, 98, initial_indent=" " * indent, subsequent_indent=" " * indent)
    return "{\n" + lines + "}"


def struct_initializer(fields: Mapping[str, Any]) -> str:
    """{.height = 8, ...}; nested mappings are nested structs."""
    parts = [
        f".{name}{GLUE}={GLUE}{struct_initializer(v) if isinstance(v, Mapping) else literal(v)}"
        for name, v in fields.items()
    ]
    return "{" + ", ".join(parts) + "}"


def wrap(text: str, indent: int) -> str:
    """Statement text broken at spaces to the line length; `GLUE` holds."""
    pad = " " * indent
    return textwrap.fill(
        text,
        98,
        initial_indent=pad,
        subsequent_indent=pad + "    ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def comment_shape(shape: tuple[int, ...]) -> str:
    """A shape as comments show it: [8, 8, 16]."""
    return "[" + ", ".join(map(str, shape)) + "]"
