"""Does every plan keep each byte for as long as it is needed, and is the arena small?"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insitu.artifacts import Lifetime, MemoryPlan
from insitu.graph.builder import Builder
from insitu.graph.model import Graph, OpDef, Phase, TensorType
from insitu.plan import place, plan_memory
from insitu.plan.check import check_plan
from insitu.plan.lifetimes import find_lifetimes
from insitu.plan.place import find_offsets, lower_bound


def _op(*in_place: tuple[int, int]) -> OpDef:
    """An op whose attributes say the sizes of its outputs and of its scratch."""
    return OpDef(
        name="mix",
        infer=lambda attributes, _: [TensorType((n,), "int8") for n in attributes["sizes"]],
        scratch_bytes=lambda node, _: node.attributes.get("scratch", 0),
        in_place=in_place,
    )


MIX = _op()
IN_PLACE = _op((0, 0), (1, 1))


def _graph(*rows: tuple[Any, ...], outputs: tuple[str, ...] = ()) -> Graph:
    """A graph of rows: op, inputs, outputs with sizes, then optionally scratch and phase."""
    builder = Builder("net")
    builder.input("x", (8,), dtype="int8")
    for index, (op, inputs, sizes, *rest) in enumerate(rows):
        scratch = rest[0] if rest else 0
        builder.node(
            op,
            inputs.split(),
            name=f"n{index}",
            attributes={"sizes": tuple(sizes.values()), "scratch": scratch},
            outputs=tuple(sizes),
            phase=rest[1] if len(rest) > 1 else Phase.FORWARD,
        )
    return builder.finish(outputs or tuple(rows[-1][2]))


def _spans(graph: Graph) -> dict[str, tuple[int, int, int]]:
    return {x.name: (x.nbytes, x.first, x.last) for x in find_lifetimes(graph)[0]}


def test_a_tensor_lives_from_its_writer_to_its_last_reader() -> None:
    graph = _graph(
        (MIX, "x", {"a": 5}), (MIX, "a", {"b": 7}), (MIX, "b", {"c": 1}), (MIX, "a", {"d": 2})
    )
    assert _spans(graph) == {"a": (5, 0, 3), "b": (7, 1, 2), "c": (1, 2, 2), "d": (2, 3, 3)}


def test_scratch_lives_during_its_node_alone() -> None:
    graph = _graph((MIX, "x", {"a": 5}), (MIX, "a", {"b": 7}, 12), (MIX, "b", {"c": 1}))
    assert _spans(graph)["n1!scratch"] == (12, 1, 1)


def test_inputs_constants_and_state_take_no_arena() -> None:
    assert "x" not in _spans(_graph((MIX, "x", {"a": 5})))


@pytest.mark.parametrize(("phase", "last"), [(Phase.FORWARD, 1), (Phase.LOSS, 2)])
def test_an_output_lives_until_the_caller_has_read_it(phase: Phase, last: int) -> None:
    graph = _graph(
        (MIX, "x", {"a": 5}, 0, phase),
        (MIX, "x", {"b": 5}, 0, Phase.FORWARD),
        (MIX, "x", {"c": 5}, 0, Phase.UPDATE),
        outputs=("a",),
    )
    assert _spans(graph)["a"] == (5, 0, last)


def test_a_chain_in_place_is_one_lifetime() -> None:
    graph = _graph(
        (MIX, "x", {"a": 8}),
        (IN_PLACE, "a", {"b": 8}),
        (IN_PLACE, "b", {"c": 8}),
        (MIX, "c", {"d": 1}),
    )
    lifetimes, aliases = find_lifetimes(graph)
    assert lifetimes[0] == Lifetime(name="a", nbytes=8, first=0, last=3)
    assert aliases == {"a": "a", "b": "a", "c": "a", "d": "d"}


ALONE = {
    "input-needed-later": ((IN_PLACE, "a", {"b": 8}), (MIX, "a b", {"c": 1})),
    "sizes-differ": ((IN_PLACE, "a", {"b": 4}), (MIX, "b", {"c": 1})),
    "not-allowed": ((MIX, "a", {"b": 8}), (MIX, "b", {"c": 1})),
    "input-read-twice": ((IN_PLACE, "a a", {"b": 8}), (MIX, "b", {"c": 1})),
    "caller-owns-input": ((IN_PLACE, "x", {"b": 8}), (MIX, "a b", {"c": 1})),
}


@pytest.mark.parametrize("rows", ALONE.values(), ids=ALONE)
def test_an_output_gets_memory_of_its_own(rows: tuple[tuple[Any, ...], ...]) -> None:
    graph = _graph((MIX, "x", {"a": 8}), *rows)
    assert plan_memory(graph).aliases["b"] == "b"


def test_nothing_works_in_place_on_what_the_caller_reads() -> None:
    graph = _graph((MIX, "x", {"a": 8}), (IN_PLACE, "a", {"b": 8}), outputs=("a", "b"))
    assert plan_memory(graph).aliases["b"] == "b"


def test_one_memory_goes_to_one_output_only() -> None:
    both = _op((0, 0), (1, 0))
    graph = _graph((MIX, "x", {"a": 8}), (both, "a", {"b": 8, "c": 8}), (MIX, "b c", {"d": 1}))
    assert plan_memory(graph).aliases == {"a": "a", "b": "a", "c": "c", "d": "d"}


def test_a_graph_without_activations_needs_no_arena() -> None:
    graph = _graph((MIX, "x", {}))
    assert plan_memory(graph) == MemoryPlan(
        lifetimes=(), offsets={}, aliases={}, arena_bytes=0, lower_bound_bytes=0
    )


def _training_graph(layers: int) -> Graph:
    """A forward pass whose activations wait for the backward pass, as in a training step."""
    rows: list[tuple[Any, ...]] = []
    for i in range(layers):
        before = f"a{i - 1}" if i else "x"
        rows.append((MIX, before, {f"a{i}": 300 * (i * 7 % 5 + 1)}, 64 * (i % 3)))
    rows.append((IN_PLACE, f"a{layers - 1}", {"e": 300}, 0, Phase.LOSS))
    error = "e"
    for i in reversed(range(layers)):
        before = f"a{i - 1}" if i else "x"
        rows.append((MIX, f"{error} {before}", {f"e{i}": 300 * (i * 3 % 4 + 1)}, 0, Phase.BACKWARD))
        rows.append((MIX, f"{error} {before}", {f"g{i}": 40}, 128, Phase.UPDATE))
        error = f"e{i}"
    return _graph(*rows, outputs=(f"a{layers - 1}",))


@pytest.mark.parametrize("layers", [1, 2, 5, 12])
def test_a_training_step_reaches_the_lower_bound(layers: int) -> None:
    plan = plan_memory(_training_graph(layers))
    assert plan.arena_bytes == plan.lower_bound_bytes


def test_a_plan_is_the_same_every_time() -> None:
    graph = _training_graph(9)
    assert plan_memory(graph) == plan_memory(graph)


def test_400_tensors_are_planned_in_so_many_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step is a lifetime that is placed, or a neighbour that it is compared with."""
    steps, first_fit = 0, place._first_fit

    def counted(
        order: list[int], sizes: list[int], rivals: list[list[int]], limit: int | None = None
    ) -> list[int]:
        nonlocal steps
        steps += len(order) + sum(map(len, rivals))
        return first_fit(order, sizes, rivals, limit)

    monkeypatch.setattr(place, "_first_fit", counted)
    plan = plan_memory(_training_graph(100))
    assert len(plan.lifetimes) > 400
    assert 5 * 400 < steps < 500_000


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Random programs: several readers and outputs, scratch, work in place, all phases."""
    tensors, rows = ["x"], []
    phases = sorted(
        draw(st.lists(st.sampled_from(list(Phase)), min_size=1, max_size=12)), key=list(Phase).index
    )
    for index, phase in enumerate(phases):
        inputs = draw(st.lists(st.sampled_from(tensors), max_size=3))
        sizes = draw(st.lists(st.sampled_from([1, 3, 8, 8, 8, 30, 100]), min_size=1, max_size=2))
        outputs = {f"t{index}_{k}": size for k, size in enumerate(sizes)}
        op = draw(st.sampled_from([MIX, IN_PLACE]))
        rows.append((op, " ".join(inputs), outputs, draw(st.sampled_from([0, 0, 5, 64])), phase))
        tensors.extend(outputs)
    wanted = draw(st.lists(st.sampled_from(tensors[1:]), min_size=1, max_size=2, unique=True))
    return _graph(*rows, outputs=tuple(wanted))


@settings(max_examples=150)
@given(graphs())
def test_any_graph_gets_a_plan_that_passes_the_checker(graph: Graph) -> None:
    plan = plan_memory(graph)
    assert plan.lower_bound_bytes <= plan.arena_bytes
    assert plan.arena_bytes % 4 == 0


def _lowest_arena(lifetimes: list[Lifetime]) -> int:
    """The optimum, by placing in every order: each at the lowest multiple of 4 that is free."""
    best = sum(-(-x.nbytes // 4) * 4 for x in lifetimes)
    for order in itertools.permutations(lifetimes):
        ends: list[tuple[Lifetime, int, int]] = []
        for x in order:
            rivals = [r for r in ends if r[0].first <= x.last and x.first <= r[0].last]
            start = min(
                s
                for s in (0, *(end for _, _, end in rivals))
                if all(s + x.nbytes <= low or end <= s for _, low, end in rivals)
            )
            ends.append((x, start, start - (-x.nbytes // 4) * 4))
        best = min(best, max(end for _, _, end in ends))
    return best


LIFETIMES = st.lists(
    st.tuples(st.integers(1, 40), st.integers(0, 6), st.integers(0, 4)), min_size=1, max_size=6
)


@settings(max_examples=60)
@given(LIFETIMES)
def test_a_few_lifetimes_are_placed_as_well_as_possible(rows: list[tuple[int, int, int]]) -> None:
    lifetimes = [
        Lifetime(name=str(i), nbytes=n, first=f, last=f + d) for i, (n, f, d) in enumerate(rows)
    ]
    _, arena_bytes = find_offsets(lifetimes)
    assert lower_bound(lifetimes) <= arena_bytes == _lowest_arena(lifetimes)


def _fault(plan: MemoryPlan, **changes: Any) -> MemoryPlan:
    """`plan` with some offsets, aliases or other fields changed."""
    offsets = {**plan.offsets, **changes.pop("offsets", {})}
    aliases = {**plan.aliases, **changes.pop("aliases", {})}
    return replace(plan, offsets=offsets, aliases=aliases, **changes)


GOOD = _graph(
    (MIX, "x", {"a": 8}, 16),
    (IN_PLACE, "a", {"b": 8}),
    (MIX, "b", {"c": 12}, 4),
    (MIX, "b c", {"d": 4}, 0, Phase.LOSS),
    outputs=("c",),
)
PLAN = plan_memory(GOOD)
SHORT = tuple(replace(x, last=x.first) for x in PLAN.lifetimes)
FAULTS = {
    "overlap": _fault(PLAN, offsets={"c": PLAN.offsets["a"]}),
    "odd-offset": _fault(PLAN, offsets={"d": 2}, arena_bytes=1000),
    "outside": _fault(PLAN, offsets={"c": PLAN.arena_bytes - 8}),
    "negative": _fault(PLAN, offsets={"c": -4}),
    "arena-too-small": _fault(PLAN, arena_bytes=PLAN.arena_bytes - 4),
    "bound-above-arena": _fault(PLAN, lower_bound_bytes=PLAN.arena_bytes + 4),
    "bound-too-low": _fault(PLAN, lower_bound_bytes=4),
    "wrong-alias": _fault(PLAN, aliases={"d": "a"}),
    "alias-missing": replace(PLAN, aliases={"a": "a", "b": "a", "c": "c"}),
    "alias-of-nothing": _fault(PLAN, aliases={"b": "z"}),
    "offset-missing": replace(PLAN, offsets={"a": 0}),
    "lifetime-twice": replace(PLAN, lifetimes=(*PLAN.lifetimes, PLAN.lifetimes[0])),
    "lifetimes-cut-short": _fault(PLAN, lifetimes=SHORT, offsets={"c": PLAN.offsets["a"]}),
    "scratch-on-output": _fault(
        PLAN, lifetimes=SHORT, offsets={"n2!scratch": PLAN.offsets["c"]}, arena_bytes=1000
    ),
    "scratch-missing": replace(
        PLAN,
        lifetimes=tuple(x for x in PLAN.lifetimes if x.name != "n2!scratch"),
        offsets={k: v for k, v in PLAN.offsets.items() if k != "n2!scratch"},
    ),
}


@pytest.mark.parametrize("plan", FAULTS.values(), ids=FAULTS)
def test_the_checker_finds_a_planted_fault(plan: MemoryPlan) -> None:
    check_plan(GOOD, PLAN)
    with pytest.raises(AssertionError):
        check_plan(GOOD, plan)


def test_the_checker_does_not_believe_the_lifetimes() -> None:
    graph = _graph((MIX, "x", {"a": 8}), (MIX, "x", {"b": 8}), (MIX, "a", {"c": 4}))
    lying = MemoryPlan(
        lifetimes=(
            Lifetime(name="a", nbytes=8, first=0, last=0),
            Lifetime(name="b", nbytes=8, first=1, last=1),
            Lifetime(name="c", nbytes=4, first=2, last=2),
        ),
        offsets={"a": 0, "b": 0, "c": 8},
        aliases={"a": "a", "b": "b", "c": "c"},
        arena_bytes=16,
        lower_bound_bytes=8,
    )
    with pytest.raises(AssertionError, match='8 of 8 bytes of "a" are overwritten'):
        check_plan(graph, lying)


def test_the_checker_knows_that_predict_stops_after_forward() -> None:
    graph = _graph(
        (MIX, "x", {"a": 8}),
        (MIX, "x", {"e": 8}, 0, Phase.BACKWARD),
        (MIX, "e", {"y": 8}, 0, Phase.FORWARD),
        outputs=("y",),
    )
    with pytest.raises(AssertionError, match='"e" are overwritten'):
        plan_memory(graph)
