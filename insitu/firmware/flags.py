"""A C source of the runtime, a core -> the compiler's optimisation flags.

Loops over elements are compiled for speed; what that makes no faster, for size. Results are the
same with all flags. Measured in docs/decisions/0018-code-size.md.
"""

FAST = "-O3"
SMALL = "-Os"

LEVELS = {
    "conv.c": SMALL,
    "conv_grad_input_sparse.c": "-O2",
    "conv_grad_input_tiled.c": SMALL,
    "conv_forward_tiled.c": SMALL,
    "linear.c": "-O2",
    "loss.c": SMALL,
    "rows.c": "-O2",
    "soft_float.c": SMALL,
}
"""Of sources that gain nothing from more; others are FAST."""

LEVELS_M0PLUS = {
    "conv_grad_weight_tiled.c": SMALL,
    "conv_grad_input_sparse.c": SMALL,
    "conv_forward_armv6m.c": SMALL,
    "conv_grad_weight_armv6m.c": SMALL,
    "conv_grad_input_armv6m.c": "-O2",
    "conv_tile.c": SMALL,
    "linear.c": FAST,
    "conv_microkernel_2x4_portable.c": SMALL,
    "rows.c": SMALL,
}
"""Other ones for a core that has few registers for unrolled loops, and little flash."""

OF_MODELS = "insitu_"
"""How the names of generated files begin: they call."""

WRITTEN_OUT = ("conv_tile.c", "linear.c", "conv_microkernel_2x4_dsp.c")
"""Their loops are unrolled in the source as far as it pays; Clang would go on."""


def optimization(source: str, core: str = "") -> tuple[str, ...]:
    """The flags for a source of the runtime, or of a model, by its file's name."""
    if source.startswith(OF_MODELS):
        return (SMALL,)
    levels = {**LEVELS, **(LEVELS_M0PLUS if core == "cortex-m0plus" else {})}
    unrolled = ("-fno-unroll-loops",) if source in WRITTEN_OUT else ()
    return (levels.get(source, FAST), *unrolled)
