"""graph, MemoryPlan -> nothing, or AssertionError: an independent proof that a plan is right.

Invariant: shares no code with the planner. Two proofs: every pair of lifetimes is disjoint in time
or in space (quadratic, from the plan alone), and a replay of the program over a map that says for
each byte of the arena which tensor wrote it last (from the graph and the offsets alone, without
looking at lifetimes).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from insitu.artifacts import MemoryPlan
from insitu.graph.model import Array, Graph, Kind, Node, Phase


def check_plan(graph: Graph, plan: MemoryPlan) -> None:
    """Prove that no byte is overwritten while it is needed, in a step and in `predict`.

    Raises:
        AssertionError: the plan is wrong, which is a mistake of ours.
    """
    _check_names(graph, plan)
    _check_pairs(plan)
    forward = [node for node in graph.nodes if node.phase is Phase.FORWARD]
    _replay(graph, plan, graph.nodes)
    _replay(graph, plan, forward)


def _check_names(graph: Graph, plan: MemoryPlan) -> None:
    """Every activation and every scratch has a place, and nothing else has."""
    written = {name for node in graph.nodes for name in node.outputs}
    used = written | {name for node in graph.nodes for name in node.inputs if name}
    activations = {name for name in used if graph.tensors[name].kind is Kind.ACTIVATION}
    assert activations <= written, f"{sorted(activations - written)} are read but never written"
    users = [n.name for n in graph.nodes if n.op.scratch_bytes(n, graph) > 0]
    scratch = {x.name for x in plan.lifetimes if x.scratch_of is not None}
    assert sorted(x.scratch_of for x in plan.lifetimes if x.scratch_of is not None) == sorted(
        users
    ), "scratches are not those of the graph's nodes"
    names = [lifetime.name for lifetime in plan.lifetimes]
    assert len(set(names)) == len(names), "two lifetimes have one name"
    assert set(plan.offsets) == set(names), "offsets and lifetimes differ in their names"
    assert set(plan.aliases) == activations, "aliases are not those of the graph's activations"
    owners = set(plan.aliases.values())
    assert set(names) == owners | scratch, "lifetimes are not the owners and the scratches"
    assert all(plan.aliases[owner] == owner for owner in owners), "an owner is owned"


def _check_pairs(plan: MemoryPlan) -> None:
    """Offsets are aligned and inside; lifetimes that meet in time do not meet in space."""
    placed = [(x, plan.offsets[x.name], plan.offsets[x.name] + x.nbytes) for x in plan.lifetimes]
    for x, start, end in placed:
        assert x.nbytes >= 0 and x.first <= x.last, f"{x.name}: {x} is no lifetime"
        assert start % 4 == 0, f"{x.name}: offset {start} is not a multiple of 4"
        assert start >= 0 and end <= plan.arena_bytes, (
            f"{x.name}: [{start}, {end}) is outside the arena of {plan.arena_bytes} bytes"
        )
    for index, (x, start, end) in enumerate(placed):
        for y, low, high in placed[:index]:
            apart = x.last < y.first or y.last < x.first or end <= low or high <= start
            assert apart, f"{x.name} [{start}, {end}) and {y.name} [{low}, {high}) overlap"
    moments = {x.first for x in plan.lifetimes}
    alive = [sum(x.nbytes for x, *_ in placed if x.first <= t <= x.last) for t in moments]
    assert max(alive, default=0) <= plan.lower_bound_bytes <= plan.arena_bytes, (
        f"lower bound {plan.lower_bound_bytes} is not between the {max(alive, default=0)} bytes "
        f"alive at once and the arena of {plan.arena_bytes}"
    )


class _Arena:
    """Who wrote each byte last."""

    def __init__(self, nbytes: int) -> None:
        self.writers: Array = np.zeros(nbytes, np.int32)
        self.marks: dict[str, int] = {}

    def write(self, name: str, start: int, nbytes: int) -> None:
        """All bytes of `name` are its own from now on."""
        assert start + nbytes <= self.writers.size, f"{name}: ends at {start + nbytes}, outside"
        self.writers[start : start + nbytes] = self.marks.setdefault(name, len(self.marks) + 1)

    def check(self, name: str, start: int, nbytes: int, reader: str) -> None:
        """All bytes of `name` still are the ones that were written as `name`."""
        mine = self.writers[start : start + nbytes] == self.marks.get(name, -1)
        wrong = nbytes - int(mine.sum())
        assert wrong == 0, f'{reader}: {wrong} of {nbytes} bytes of "{name}" are overwritten'


def _replay(graph: Graph, plan: MemoryPlan, nodes: Sequence[Node]) -> None:
    """Run `nodes` over an arena of writers; every reader must find what it reads.

    The caller reads the outputs of the forward pass when that ends, others at the end of the step.
    """
    arena = _Arena(plan.arena_bytes)
    forward = [node for node in nodes if node.phase is Phase.FORWARD]
    for node in nodes:
        _replay_node(graph, plan, node, arena)
        if forward and node is forward[-1]:
            _check_outputs(graph, plan, arena, forward)
    _check_outputs(graph, plan, arena, [node for node in nodes if node not in forward])


def _check_outputs(graph: Graph, plan: MemoryPlan, arena: _Arena, nodes: Sequence[Node]) -> None:
    """The graph's outputs that `nodes` wrote are there for the caller."""
    for name in (name for node in nodes for name in node.outputs if name in plan.aliases):
        if name in graph.outputs:
            arena.check(name, plan.offset(name), graph.tensors[name].nbytes, "the caller")


def _replay_node(graph: Graph, plan: MemoryPlan, node: Node, arena: _Arena) -> None:
    """One node: inputs must be there, and stay there while scratch and outputs are written."""
    scratch_bytes = node.op.scratch_bytes(node, graph)
    pieces = {
        name: (plan.offset(name), graph.tensors[name].nbytes)
        for name in (*node.inputs, *node.outputs)
        if name and graph.tensors[name].kind is Kind.ACTIVATION
    }
    inputs = [name for name in node.inputs if name in pieces]
    written = [name for name in node.outputs if name in pieces]
    if scratch_bytes > 0:
        pieces["the scratch"] = (plan.scratch_offset(node.name), scratch_bytes)
        written.insert(0, "the scratch")
    for name in inputs:
        arena.check(name, *pieces[name], node.name)
    for name in written:
        arena.write(name, *pieces[name])
    replaced = {
        node.inputs[i]
        for o, i in node.op.in_place
        if i < len(node.inputs)
        and o < len(node.outputs)
        and node.inputs.count(node.inputs[i]) == 1
        and pieces.get(node.inputs[i]) == pieces.get(node.outputs[o])
    }
    for name in (*written, *(name for name in inputs if name not in replaced)):
        arena.check(name, *pieces[name], node.name)
