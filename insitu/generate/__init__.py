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
from insitu.generate.state import StateLayout, state_layout
from insitu.graph.model import Graph

RUNTIME_HEADERS = (
    "insitu.h",
    "insitu_bytes.h",
    "insitu_elementary.h",
    "insitu_fixed_point.h",
    "insitu_kernels.h",
    "insitu_linear_microkernels.h",
    "insitu_linear_microkernels_dsp.h",
    "insitu_linear_microkernels_portable.h",
    "insitu_linear_microkernels_thumb.h",
    "insitu_linear_step_dsp.h",
    "insitu_losses.h",
    "insitu_microkernels_dsp.h",
    "insitu_soft_float.h",
    "insitu_span.h",
)
RUNTIME_ALWAYS = ("layout.c", "loss.c", "rows.c")
"""Sources that hold what every model calls: the way in, the loss, ranges and rates."""

OF_THE_RUNTIME = (
    "info",
    "activation",
    "elementary",
    "function",
    "qparams",
    "status",
    "kernels",
    "kernels_f32",
    "kernels_groups",
    "kernels_mixing",
    "losses",
    *("conv_block", "conv_draws", "conv_grad", "conv_gradient", "conv_layer", "conv_line"),
    *("conv_output", "conv_part", "conv_phase", "conv_reach", "conv_tile"),
    *("microkernels", "microkernels_dsp", "pool_microkernels"),
    *("axis", "bytes", "holders", "mean", "places", "weighing"),
    *("lanes_f32", "terms"),
    "fixed_point",
    "linear_microkernels",
    "linear_microkernels_dsp",
    "linear_microkernels_portable",
    "linear_microkernels_thumb",
    "linear_step_dsp",
    "listed_row",
    "listed_pair",
    "soft_float",
    "span",
    "lanes",
    "over",
    "steps",
    "taps",
    *("beside", "error_sums", "finish", "four", "making", "parity", "slide", "source"),
    *("pairs", "planes"),
    "pad",
    "pad_shape",
    "pad_span",
    "host",
)
"""Models so called would have types, files or functions of the runtime's names."""

TAKEN_ENDS = ("_params", "_data")
"""Models with names that end so would have those of the runtime's types, or another's files."""

CONV_HEADERS = ("insitu_conv_gradient.h", "insitu_conv_tile.h", "insitu_microkernels.h")
"""For models with integer convolutions without groups."""

GROUPS_HEADERS = (
    *("insitu_kernels_groups.h", "insitu_lanes.h", "insitu_lanes_f32.h"),
    *("insitu_pairs.h", "insitu_planes.h"),
    *("insitu_slide.h", "insitu_taps.h"),
)
"""For models with convolutions that have groups or dilation."""

MIXING_HEADERS = ("insitu_kernels_mixing.h", "insitu_pad.h")
"""For models with concatenations, products, pads and the like."""

POOL_HEADER = "insitu_pool_microkernels.h"
"""For models with integer pools."""

FLOAT_HEADER = "insitu_kernels_f32.h"
"""For models with float layers."""

ACTIVATION_HEADER = "insitu_activation.h"
"""For models with activation functions that are no clips."""

WAY_IN_OF_FLOATS = "elements_f32.c"

RUNTIME_CALLS = {
    "activation.c": ("functions.c",),
    "activation_f32.c": ("functions.c",),
    "buffer.c": ("conv_gradient.c",),
    "buffer_groups.c": (
        *("buffer.c", "conv_gradient.c", "conv_groups_gradient.c"),
        *("conv_planes_gradient.c", "planes.c"),
    ),
    "conv.c": (
        *("conv_blocks.c", "conv_gradient.c", "conv_grad_tiles.c", "conv_tile.c", "conv_tiles.c"),
        *("microkernels_dsp.c", "microkernels_portable.c", "microkernels_thumb.c"),
    ),
    "conv_groups.c": ("conv_planes.c", "planes.c"),
    "conv_groups_gradient.c": ("conv_planes_gradient.c", "planes.c"),
    "buffer_f32.c": ("conv_f32.c", "sums_f32.c"),
    "conv_f32.c": ("sums_f32.c",),
    "linear_f32.c": ("sums_f32.c",),
}
"""Sources that call functions of others."""

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
    sources = model.sources
    sources.update({WAY_IN_OF_FLOATS} if model.input.dtype == "float32" else ())
    sources.update(called for s in tuple(sources) for called in RUNTIME_CALLS.get(s, ()))
    return CSource(
        name=name,
        files={
            f"{prefix}.h": header(model),
            f"{prefix}.c": network(model),
            f"{prefix}_data.h": data_header(model),
            f"{prefix}_data.c": data(model),
        },
        runtime=(
            *RUNTIME_HEADERS,
            *([FLOAT_HEADER] if model.has_float_layers else []),
            *(CONV_HEADERS if "conv.c" in sources else []),
            *([POOL_HEADER] if "pool.c" in sources else []),
            *(GROUPS_HEADERS if model.has_groups else []),
            *([ACTIVATION_HEADER] if model.has_functions else []),
            *(MIXING_HEADERS if model.has_mixing else []),
            *sorted(sources.union(RUNTIME_ALWAYS)),
        ),
    )


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
    if name in OF_THE_RUNTIME or name.endswith(TAKEN_ENDS):
        raise ConfigError(
            f'model name "{name}": insitu_{name} is a name of the runtime; take another'
        )
