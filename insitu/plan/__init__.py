"""graph -> MemoryPlan: lifetimes, then offsets, then an independent proof that they are right.

Invariant: a plan that `plan_memory` returns has passed `check_plan`.
"""

from insitu.artifacts import MemoryPlan
from insitu.graph.model import Graph
from insitu.plan.check import check_plan
from insitu.plan.lifetimes import find_lifetimes
from insitu.plan.place import aligned, find_offsets, lower_bound
from insitu.plan.scratch import fill_arena, limit_scratch

__all__ = ["fit_arena", "limit_scratch", "plan_memory"]

PLANS = 8
"""Tried at most for an arena that is too small."""


def plan_memory(graph: Graph) -> MemoryPlan:
    """Where every activation and every scratch of `graph` lies in one arena.

    The plan holds for a whole training step and for `predict`, which runs the FORWARD nodes alone.
    """
    lifetimes, aliases = find_lifetimes(graph)
    offsets, arena_bytes = find_offsets(lifetimes)
    plan = MemoryPlan(
        lifetimes=lifetimes,
        offsets=offsets,
        aliases=aliases,
        arena_bytes=arena_bytes,
        lower_bound_bytes=lower_bound(lifetimes),
    )
    check_plan(graph, plan)
    return plan


def fit_arena(graph: Graph, arena_bytes: int) -> tuple[Graph, MemoryPlan]:
    """The graph with no more scratch than an arena of so many bytes has room for, and its plan.

    Kernels that run while there is room keep what they have. Where there is room for none, each
    takes the least that it can do with, and the plan is larger than `arena_bytes`.
    """
    least = limit_scratch(graph, 0)
    smallest = plan_memory(least)
    target = arena_bytes
    for _ in range(PLANS):
        if smallest.arena_bytes > target:
            break
        chosen = fill_arena(graph, target)
        plan = plan_memory(chosen)
        if plan.arena_bytes <= arena_bytes:
            return chosen, plan
        target -= aligned(plan.arena_bytes - arena_bytes)  # what gaps between the pieces cost
    return least, smallest
