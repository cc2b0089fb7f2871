"""What is installed -> what `insitu doctor` says of it."""

from __future__ import annotations

from dataclasses import dataclass

from insitu.errors import ToolError
from insitu.tools.compilers import complaint_of, look_for, way_out_of
from insitu.tools.emulators import find_emulator


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of `insitu doctor`.

    Attributes:
        tool: e.g. "gcc 12.2.0", or the bare name where it is missing.
        used_for: what needs it.
        way_out: how to get it; "" where it was found.
    """

    tool: str
    used_for: str
    way_out: str = ""


def survey() -> tuple[Finding, ...]:
    """Every tool that insitu can use on this machine, found or not."""
    findings = []
    for used_for, target, names in (
        ("the twin on the desk", "host", ("gcc", "clang", "zig")),
        ("firmware for Cortex-M", "cortex-m4", ("gcc", "zig")),
    ):
        for name in names:
            program = "arm-none-eabi-gcc" if (name, target) == ("gcc", "cortex-m4") else name
            found = look_for(name, target)
            complaint = complaint_of(found) if found else ""
            way_out = "" if found and not complaint else way_out_of(name, target)
            way_out = f"{complaint}; {way_out}" if complaint else way_out
            title = found.title if found else program
            findings.append(Finding(tool=title, used_for=used_for, way_out=way_out))
    for name in ("qemu", "unicorn"):
        try:
            title, way_out = find_emulator("cortex-m4", prefer=name).title, ""
        except ToolError as error:
            title, way_out = name, str(error)
        findings.append(Finding(tool=title, used_for="running firmware", way_out=way_out))
    return tuple(findings)
