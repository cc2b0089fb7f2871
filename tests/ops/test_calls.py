"""Does every generated call give what the runtime's headers declare, and call what is defined?"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any

import pytest
from case_layers import Case
from case_models import Compiled
from cases import CASES, MAP, ZOO
from selection import names

from insitu.config import parse_update
from insitu.graph.model import CCall
from insitu.graph.scheme import Scheme
from insitu.ops.losses.table import LOSSES
from insitu.runtime import FILES, KERNELS

DECLARED = "".join(
    FILES[f"insitu_{name}.h"].read_text()
    for name in (
        *("kernels", "losses", "kernels_f32", "kernels_groups", "kernels_mixing", "activation"),
    )
)
DEFINED = "".join(path.read_text() for path in KERNELS)
HEADER = re.sub(r"/\*.*?\*/", "", DECLARED, flags=re.DOTALL)
NOT_NODES = {
    "insitu_function_t",
    "insitu_quantize_input_f32",
    "insitu_quantize_input_units_f32",
    "insitu_take_input_f32",
    "insitu_are_finite_f32",
    "insitu_step_is_small_f32",
    "insitu_argmax_f32",
    "insitu_within_f32",
    "insitu_conv_row_gradient",
    "insitu_conv_groups_gradient",
    "insitu_rows_at_once",
    "insitu_saturated_weights",
    "insitu_add_row",
    "insitu_add_bias",
    "insitu_conv_row_gradient_f32",
    "insitu_add_products_f32",
    "insitu_rows_times_f32",
    "insitu_rows_times_two_f32",
    "insitu_scale_f32",
}
"""What the generated functions call around the nodes, and kernels each other."""

TARGETED = [loss.name for loss in LOSSES.values() if loss.targets]
PRECISIONS = ("uint8", "float32")
OPTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"batch": 2},
    {"batch": 2, "buffer": "int16"},
    {"weight_decay": 0.1},
    {"partial": parse_update("dynamic:0.5:1")},
    {"partial": parse_update("sampled:0.5:1")},
    {"partial": parse_update("static:*=0.5")},
    {"partial": parse_update("bias")},
)
SCHEMES = (
    *(Scheme(precision=p, **o) for p in PRECISIONS for o in OPTIONS),
    Scheme(preset="paper", batch=2),
    Scheme(preset="paper", batch=2, error_range="moving"),
)


def struct_fields() -> dict[str, list[tuple[str, str]]]:
    """(type, field) in order, by type name."""
    structs = {}
    for body, name in re.findall(r"typedef struct \{(.*?)\} (\w+);", HEADER, flags=re.DOTALL):
        fields = []
        for line in body.split(";"):
            if line.strip():
                kind, names = line.strip().split(maxsplit=1)
                fields += [(kind, field.strip()) for field in names.split(",")]
        structs[name] = fields
    return structs


STRUCTS = struct_fields()
DECLARED_KERNELS = sorted(set(re.findall(r"\b(insitu_\w+)\(", HEADER)) - NOT_NODES)


NETWORKS: tuple[tuple[Case, Sequence[Scheme]], ...] = (
    *((case, SCHEMES[: len(OPTIONS) * 2]) for case in ZOO.values()),
    (CASES["linear-clipped-scores"], SCHEMES[:1]),
    (CASES["max"], SCHEMES[:1]),
    (CASES["last-1"], SCHEMES[:1]),
    (CASES["max"], SCHEMES[-2:]),
    (CASES["conv-odd"], (*SCHEMES[-2:], Scheme(precision="mixed"))),
    (CASES["linear"], SCHEMES[-2:]),
    (CASES["shuffle"], SCHEMES[: len(OPTIONS) * 2]),
    (MAP, [Scheme(loss=loss, precision=p) for loss in TARGETED for p in PRECISIONS]),
)


@functools.cache
def calls_of(network: int) -> dict[str, CCall]:
    """Of the ops of one of the networks with its schemes, by function."""
    case, schemes = NETWORKS[network]
    return {
        call.function: call
        for scheme in schemes
        for step in [Compiled(case, scheme).step]
        for node in step.nodes
        if node.op.c_call is not None
        for call in [node.op.c_call(node, step)]
    }


def call_of(function: str) -> CCall:
    """A call of the function; networks that are about what it is called after come first."""

    def is_other(network: int) -> bool:
        return not any(names(function, op) for op in NETWORKS[network][0].about)

    for network in sorted(range(len(NETWORKS)), key=is_other):
        if function in calls_of(network):
            return calls_of(network)[function]
    raise AssertionError(f"no op calls {function}")


def assert_fields(params: Any, name: str) -> None:
    assert list(params) == [field for _, field in STRUCTS[name]], name
    for kind, field in STRUCTS[name]:
        if kind in STRUCTS:
            assert_fields(params[field], kind)
        else:
            assert isinstance(params[field], float) == (kind == "float"), f"{name}.{field}"


@pytest.mark.parametrize("function", DECLARED_KERNELS)
def test_a_call_gives_every_field_of_its_struct_in_order(function: str) -> None:
    """A designated initialiser that leaves a field out would silently be zero."""
    call = call_of(function)
    if call.params_type:
        assert_fields(call.params, call.params_type)
    else:
        assert not call.params


def parameters(function: str) -> list[str]:
    found = re.search(rf"\b{function}\((.*?)\);", HEADER, flags=re.DOTALL)
    assert found, f"{function} is not declared"
    return [" ".join(p.split()) for p in found.group(1).split(",")]


@pytest.mark.parametrize("function", DECLARED_KERNELS)
def test_a_call_gives_every_argument_that_is_declared(function: str) -> None:
    """What starts with ? is a quantization, with ! scratch; the parameter struct comes first."""
    call, declared = call_of(function), parameters(function)
    if call.params_type:
        first = declared.pop(0)
        assert first == f"const {call.params_type} *{first.split('*')[-1]}"
    assert len(call.arguments) == len(declared)
    for arguments, wanted in zip(call.arguments, declared, strict=True):
        argument = arguments[0] if isinstance(arguments, tuple) else arguments
        assert isinstance(arguments, tuple) == wanted.endswith("[]")
        assert argument.startswith("?") == wanted.startswith("const insitu_qparams_t *")
        assert argument.startswith("!") == (wanted == "void *scratch")


@functools.cache
def all_called() -> frozenset[str]:
    """Functions that any network calls."""
    return frozenset(name for network in range(len(NETWORKS)) for name in calls_of(network))


def test_every_declared_kernel_is_called_by_an_op() -> None:
    assert set(DECLARED_KERNELS) == all_called()


def test_every_kernel_that_an_op_calls_is_defined() -> None:
    defined = set(re.findall(r"^\w[\w *]*\b(insitu_\w+)\([^;{}]*\)\s*{", DEFINED, re.MULTILINE))
    assert all_called() <= defined
