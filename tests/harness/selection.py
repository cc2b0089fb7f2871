"""A test, the name of an op -> is the test about it? `--op NAME` and `make test OP=NAME` ask.

It is, if a case that it is asked of has the op for its subject, if its file is said to hold the
op's proofs, or if its name, its id or its file's name has the op's name in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from case_layers import Case
from cases import CASES, MAP

from insitu.ops import OPS

LAYERS = frozenset(layer.op for case in CASES.values() for layer in case.layers)
"""Ops of networks; the others come with training."""


ELSEWHERE = {
    **dict.fromkeys(("apply", "count_sample", "decay"), "test_optimizer.py"),
    **dict.fromkeys(("linear_accumulate", "conv_accumulate"), "test_optimizer.py"),
    **dict.fromkeys(
        ("linear_accumulate_f32", "conv_accumulate_f32", "apply_f32"), "test_optimizer_float.py"
    ),
    **dict.fromkeys(
        ("affine", "affine_grad_input", "affine_accumulate", "affine_apply"), "test_paper.py"
    ),
    **dict.fromkeys(("adopt_error", "average_error"), "test_paper.py"),
    **dict.fromkeys(("select_rows", "draw_sample"), "test_update_choice.py"),
    **dict.fromkeys(("keep_rows", "bias_update"), "test_partial_update.py"),
    "quantize_error": "test_float32.py",
}
"""Ops of other schemes than the default one, and who judges them."""

ASKED_OF_CASES = r"\bcases import|^(CASES|EXTREMES)\b"


def subject(op: str) -> str:
    """The op of networks that an op of training belongs to, where there is one, else the op.

    Raises:
        pytest.UsageError: there is no such op.
    """
    if op not in OPS:
        raise pytest.UsageError(f'no op "{op}"; choose from: {", ".join(sorted(OPS))}')
    found = [name for name in LAYERS if op == name or op.startswith(f"{name}_")]
    return max(found, key=len, default=op)


def names(text: str, op: str) -> bool:
    """Does the text have the op's name in it, word for word? Names may be CamelCase or-so."""
    words, wanted = (f" {' '.join(re.findall(r'[A-Z]?[a-z]+', of)).lower()} " for of in (text, op))
    return wanted in words


def cases_of(parameters: Iterable[Any], own: Mapping[str, Any]) -> Iterable[Case]:
    """The cases that a test is asked of: given, or named among its module's own or all."""
    known = {"map": MAP, **CASES, **own}
    for value in parameters:
        found = known.get(value) if isinstance(value, str) else value
        found = getattr(found, "case", found)
        if isinstance(found, Case):
            yield found


def may_be_about(path: Path, op: str) -> bool:
    """May a test of the file be about the op? It names the op, or asks something of all cases."""
    text = path.read_text()
    if ELSEWHERE.get(op) == path.name or re.search(ASKED_OF_CASES, text, re.MULTILINE):
        return True
    return op.replace("_", "") in text.lower().replace("_", "")


def is_about(item: pytest.Item, op: str) -> bool:
    """Is the test about the op, as `subject` gives it?"""
    call = getattr(item, "callspec", None)
    module = getattr(item, "module", None)
    tables = [getattr(module, name, None) for name in ("CASES", "EXTREMES")]
    own = {name: case for t in tables if isinstance(t, Mapping) for name, case in t.items()}
    cases = list(cases_of(call.params.values() if call else (), own))
    if any(op in case.about for case in cases) or ELSEWHERE.get(op) == item.path.name:
        return True
    texts = (item.path.stem, getattr(item, "originalname", item.name))
    return any(names(text, op) for text in (*texts, "" if cases or not call else call.id))


TOOLS = frozenset({"gcc", "clang", "qemu"})
"""Those that do not come from pip."""


def names_a_tool(item: pytest.Item) -> bool:
    """Is the test asked of a compiler or an emulator that pip does not bring?"""
    call = getattr(item, "callspec", None)
    return call is not None and any(v in TOOLS for v in call.params.values() if isinstance(v, str))
