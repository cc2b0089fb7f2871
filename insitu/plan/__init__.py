"""graph -> MemoryPlan: lifetimes, then offsets, then an independent proof that they are right.

Invariant: a plan that `plan_memory` returns has passed `check_plan`.
"""

from insitu.artifacts import MemoryPlan
from insitu.graph.model import Graph
from insitu.plan.check import check_plan
from insitu.plan.lifetimes import find_lifetimes
from insitu.plan.place import find_offsets, lower_bound

__all__ = ["plan_memory"]


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
