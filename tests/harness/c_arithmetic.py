"""The runtime's scalar functions over arrays, in C: see fixed_point.c."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from insitu.runtime import FILES
from insitu.tools.compilers import find_toolchain

Harness = Callable[..., None]


def build(folder: Path) -> Harness:
    """The functions of fixed_point.c by name; arrays go as pointers, numbers by their type."""
    toolchain = find_toolchain("host")
    folders = (f"-I{path.parent}" for path in FILES.values())
    library = folder / "fixed_point.so"
    toolchain.run(
        *toolchain.compile_flags(),
        *toolchain.link_flags(),
        *("-O2", *dict.fromkeys(folders)),
        *(path for name, path in FILES.items() if name.startswith("soft_float")),
        *(Path(__file__).parents[1] / "c/fixed_point.c", "-o", library),
    )
    loaded = ctypes.CDLL(str(library))
    kinds = {"f": ctypes.c_float, "i": ctypes.c_int32, "u": ctypes.c_uint32}

    def call(function: str, *arguments: Any) -> None:
        getattr(loaded, f"array_{function}")(
            *(
                a.ctypes.data_as(ctypes.c_void_p)
                if isinstance(a, np.ndarray)
                else kinds[np.asarray(a).dtype.kind](a)
                for a in arguments
            )
        )

    return call
