"""training-step graph, memory plan -> readable C: CSource.

Files: insitu_NAME.h (`interface`), insitu_NAME.c (`network`), insitu_NAME_data.{h,c} (`data`).
"""

from insitu.artifacts import CSource, MemoryPlan
from insitu.generate.data import data, data_header
from insitu.generate.interface import header
from insitu.generate.model_text import ModelText
from insitu.generate.network import network
from insitu.generate.state import StateLayout, state_layout
from insitu.graph.model import Graph

RUNTIME_HEADERS = ("insitu.h", "insitu_fixed_point.h", "insitu_kernels.h")
RUNTIME_ALWAYS = ("layout.c", "loss.c", "rows.c")
"""Sources that hold what every model calls: the way in, the loss, ranges and rates."""

RUNTIME_CALLS = {"buffer.c": ("conv.c",)}
"""Sources that call functions of others."""

__all__ = ["StateLayout", "generate", "state_layout"]


def generate(graph: Graph, plan: MemoryPlan, name: str) -> CSource:
    """The C of a model.

    Args:
        graph: training-step graph in integers.
        name: of the model; symbols start with "insitu_NAME".
    """
    prefix = f"insitu_{name}"
    model = ModelText(graph, plan, prefix, state_layout(graph))
    sources = {model.call(node).source for node in graph.nodes}
    sources.update(called for s in tuple(sources) for called in RUNTIME_CALLS.get(s, ()))
    return CSource(
        name=name,
        files={
            f"{prefix}.h": header(model),
            f"{prefix}.c": network(model),
            f"{prefix}_data.h": data_header(model),
            f"{prefix}_data.c": data(model),
        },
        runtime=(*RUNTIME_HEADERS, *sorted(sources.union(RUNTIME_ALWAYS))),
    )
