"""A C source of the runtime, a core -> the compiler's optimisation flags (runtime/flags.toml)."""

from __future__ import annotations

import tomllib

from insitu.runtime import ROOT

FLAGS = tomllib.loads((ROOT / "flags.toml").read_text(encoding="utf-8"))

OF_MODELS = "insitu_"
"""How the names of generated files begin."""


def optimization(source: str, core: str = "") -> tuple[str, ...]:
    """The flags for a source of the runtime, or of a model, by its file's name."""
    if source.startswith(OF_MODELS):
        return (FLAGS["generated"],)
    levels = {**FLAGS["files"], **FLAGS["cores"].get(core, {})}
    unrolled = ("-fno-unroll-loops",) if source in FLAGS["written_out"] else ()
    return (levels.get(source, FLAGS["kernels"]), *unrolled)
