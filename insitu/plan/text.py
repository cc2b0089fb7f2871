"""MemoryPlan -> text for people."""

from insitu.artifacts import MemoryPlan


def plan_text(plan: MemoryPlan) -> str:
    """The memory plan for people: one line a piece of the arena."""
    lines = [
        f"arena {plan.arena_bytes} bytes, lower bound {plan.lower_bound_bytes}",
        f"{'offset':>8} {'bytes':>8} {'nodes':>9}  tensor",
    ]
    for life in sorted(plan.lifetimes, key=lambda t: plan.offsets[t.name]):
        shared = [t for t, owner in plan.aliases.items() if owner == life.name and t != life.name]
        also = f" (also {', '.join(shared)})" if shared else ""
        nodes = f"{life.first}-{life.last}"
        lines.append(f"{plan.offsets[life.name]:>8} {life.nbytes:>8} {nodes:>9}  {life.name}{also}")
    return "\n".join(lines) + "\n"
