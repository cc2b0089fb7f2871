"""What is installed -> EmulatorTool: what runs the firmware of a core."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
from dataclasses import dataclass

from insitu.errors import ToolError
from insitu.target.machines import MACHINES
from insitu.tools.compilers import version_of


@dataclass(frozen=True, kw_only=True)
class EmulatorTool:
    """An emulator: "qemu" (a program) or "unicorn" (a Python package; `command` is empty)."""

    name: str
    version: str
    command: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.name} {self.version}"


def find_emulator(core: str, *, prefer: str | None = None) -> EmulatorTool:
    """The emulator for a core: QEMU where installed, else Unicorn.

    The M0+ has always Unicorn, the M55 always QEMU: the other does not have it.

    Raises:
        ToolError: there is none, or not the preferred one.
    """
    if prefer not in (None, "qemu", "unicorn"):
        raise ToolError(f'no emulator "{prefer}"; choose from: qemu, unicorn')
    if prefer == "qemu" and not MACHINES[core].qemu_machine:
        raise ToolError(f"qemu has no board with {core}; use unicorn")
    if prefer == "unicorn" and not MACHINES[core].unicorn_model:
        raise ToolError(f"unicorn has no {core}; use qemu")
    if prefer != "unicorn" and MACHINES[core].qemu_machine:
        path = shutil.which("qemu-system-arm")
        version = version_of((path, "--version")) if path else None
        if path is not None and version is not None:
            return EmulatorTool(name="qemu", version=version, command=(path,))
        if prefer == "qemu":
            raise ToolError("qemu-system-arm is not installed; install it, or use unicorn")
        if not MACHINES[core].unicorn_model:
            raise ToolError(
                f"only qemu has {core} and qemu-system-arm is not installed; install it, or choose "
                f"a board with another core: it is the same C for every core"
            )
    if importlib.util.find_spec("unicorn") is None:
        raise ToolError(f"no emulator for {core} is installed; run: pip install unicorn")
    return EmulatorTool(name="unicorn", version=importlib.metadata.version("unicorn"))
