"""training-step graph, memory plan -> readable C: CSource.

Files: insitu_NAME.h (`interface`), insitu_NAME.c (`network`), insitu_NAME_data.{h,c} (`data`).
"""

import re

from insitu.artifacts import CSource, MemoryPlan
from insitu.errors import ConfigError
from insitu.generate.data import data, data_header
from insitu.generate.interface import header
from insitu.generate.model_text import ModelText
from insitu.generate.network import network
from insitu.generate.runtime_files import files_for, names_taken
from insitu.generate.state import StateLayout, state_layout
from insitu.graph.model import Graph

TAKEN_ENDS = ("_params", "_data")
"""Models with names that end so would have those of the runtime's types, or another's files."""

__all__ = ["StateLayout", "check_name", "generate", "state_layout"]


def generate(graph: Graph, plan: MemoryPlan, name: str, *, seed: int = 0) -> CSource:
    """The C of a model.

    Args:
        graph: training-step graph.
        name: of the model; symbols start with "insitu_NAME".
        seed: of a model that was only initialised.

    Raises:
        ConfigError: the name makes no C symbols, or those of the runtime.
    """
    check_name(name)
    prefix = f"insitu_{name}"
    model = ModelText(graph, plan, prefix, state_layout(graph, seed=seed))
    files = {
        f"{prefix}.h": header(model),
        f"{prefix}.c": network(model),
        f"{prefix}_data.h": data_header(model),
        f"{prefix}_data.c": data(model),
    }
    return CSource(name=name, files=files, runtime=files_for("\n".join(files.values())))


def check_name(name: str) -> None:
    """Refuse a name of a model that makes no C symbols of its own.

    Raises:
        ConfigError: it makes none, or those of the runtime.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name):
        raise ConfigError(
            f'model name "{name}" cannot begin a C symbol of at most 40 characters; '
            "use lower-case letters, digits and _"
        )
    if name in names_taken() or name.endswith(TAKEN_ENDS):
        raise ConfigError(
            f'model name "{name}": insitu_{name} is a name of the runtime; take another'
        )
