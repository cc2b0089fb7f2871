"""A C function of the hooks' library -> a hook of a Unicorn engine.

A Python callback would be a hundred times slower, and Unicorn's binding has no public way to hand
over C. The library is made by `firmware.build.build_hook`.
"""

from __future__ import annotations

import ctypes
from pathlib import Path

from unicorn import Uc
from unicorn.unicorn_py3.unicorn import uclib

from insitu.errors import ToolError


def load_hook(library: Path, name: str) -> int:
    """The address of a function of the library.

    Raises:
        ToolError: the library cannot be loaded or has no such function.
    """
    try:
        function = getattr(ctypes.CDLL(str(library)), name)
    except (OSError, AttributeError) as error:
        raise ToolError(f"{library}: {error}; build the hook again") from None
    return _address(function)


def c_function(name: str) -> int:
    """The address of a function of Unicorn's own."""
    return _address(getattr(uclib, name))


def add_c_hook(engine: Uc, kind: int, function: int, user_data: ctypes.Structure) -> int:
    """Hooks all addresses; the hook's handle, for `remove_c_hook`.

    Args:
        kind: UC_HOOK_BLOCK or UC_HOOK_CODE.
        function: of `load_hook`.
        user_data: what the function is given; it must outlive the hook.

    Raises:
        ToolError: Unicorn refused it.
    """
    handle = ctypes.c_size_t()
    status = uclib.uc_hook_add(
        engine._uch,  # noqa: SLF001
        ctypes.byref(handle),
        kind,
        ctypes.c_void_p(function),
        ctypes.cast(ctypes.byref(user_data), ctypes.c_void_p),
        ctypes.c_uint64(1),  # a range that ends before it begins is all addresses
        ctypes.c_uint64(0),
    )
    if status != 0:
        raise ToolError(f"unicorn refused a hook with status {status}; report it")
    return handle.value


def remove_c_hook(engine: Uc, handle: int) -> None:
    """Takes a hook of `add_c_hook` away."""
    uclib.uc_hook_del(engine._uch, ctypes.c_size_t(handle))  # noqa: SLF001


def _address(function: object) -> int:
    found = ctypes.cast(function, ctypes.c_void_p).value  # type: ignore[arg-type]
    assert found is not None
    return found
