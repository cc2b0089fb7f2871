"""What is installed -> Toolchain: a C compiler for the host or for a core, and how to call it.

Invariant: every toolchain compiles the same C to the same arithmetic (-ffp-contract=off, never
-ffast-math), so that all of them agree bit for bit. Installed tools come first; `ziglang` and
`unicorn` come with insitu from pip, so that there is always one.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from insitu.errors import ToolError
from insitu.runtime import PORTS
from insitu.target.board import CORES

LANGUAGE_FLAGS = ("-std=c99", "-ffp-contract=off")
SECTION_FLAGS = ("-ffunction-sections", "-fdata-sections")

GCC_MACHINE_FLAGS = {
    ("cortex-m0plus", False): ("-mcpu=cortex-m0plus", "-mfloat-abi=soft"),
    ("cortex-m3", False): ("-mcpu=cortex-m3", "-mfloat-abi=soft"),
    ("cortex-m4", False): ("-mcpu=cortex-m4", "-mfloat-abi=soft"),
    ("cortex-m4", True): ("-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"),
    ("cortex-m7", False): ("-mcpu=cortex-m7", "-mfloat-abi=soft"),
    ("cortex-m7", True): ("-mcpu=cortex-m7", "-mfpu=fpv5-d16", "-mfloat-abi=hard"),
    ("cortex-m33", False): ("-mcpu=cortex-m33", "-mfloat-abi=soft"),
    ("cortex-m33", True): ("-mcpu=cortex-m33", "-mfpu=fpv5-sp-d16", "-mfloat-abi=hard"),
    ("cortex-m55", False): ("-mcpu=cortex-m55+nomve+nofp", "-mfloat-abi=soft"),
    ("cortex-m55", True): ("-mcpu=cortex-m55+nomve.fp", "-mfloat-abi=hard"),
}
"""By (core, FPU). No vectors of floats on the M55: Helium flushes subnormal numbers to zero.
Source: Armv8-M Architecture Reference Manual (DDI 0553), StandardFPSCRValue."""

ZIG_CPUS = {
    ("cortex-m0plus", False): "cortex_m0plus",
    ("cortex-m3", False): "cortex_m3",
    ("cortex-m4", False): "cortex_m4",
    ("cortex-m4", True): "cortex_m4+vfp4d16sp",
    ("cortex-m7", False): "cortex_m7",
    ("cortex-m7", True): "cortex_m7+fp_armv8d16sp",
    ("cortex-m33", False): "cortex_m33+dsp",
    ("cortex-m33", True): "cortex_m33+dsp+fp_armv8d16sp",
    ("cortex-m55", False): "cortex_m55",
    ("cortex-m55", True): "cortex_m55+mve+fp_armv8d16sp",
}
"""By (core, FPU), with what zig leaves out of a core by itself: the FPU, and the DSP extension of
the M33, which Arm makes optional, gcc assumes, and every board of ours has."""


@dataclass(frozen=True, kw_only=True)
class Toolchain:
    """A C compiler.

    Attributes:
        name: "gcc", "clang" or "zig".
        title: for people, e.g. "arm-none-eabi-gcc 12.2.1".
        target: "host" or a core.
        command: how to call the compiler.
        environment: variables that the compiler needs on top of ours.
        cpu: of the host, as the compiler calls it, e.g. "haswell".
    """

    name: str
    version: str
    title: str
    target: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    cpu: str = "native"

    def machine_flags(self, *, fpu: bool = False) -> tuple[str, ...]:
        """The flags that choose the processor, for compiling and for linking."""
        if self.target == "host":
            if self.name == "zig":  # takes the host's own without being told
                return () if self.cpu == "native" else (f"-mcpu={self.cpu.replace('-', '_')}",)
            x86 = os.uname().machine in ("x86_64", "i686")
            return (f"-march={self.cpu}" if x86 else f"-mcpu={self.cpu}",)
        if self.name == "zig":
            target = f"thumb-freestanding-eabi{'hf' if fpu else ''}"
            cpu = f"-mcpu={ZIG_CPUS[self.target, fpu]}"
            return ("-target", target, cpu, "-fno-sanitize=all")
        return (*GCC_MACHINE_FLAGS[self.target, fpu], "-mthumb")

    def compile_flags(self, *, fpu: bool = False, sanitize: bool = False) -> tuple[str, ...]:
        """All flags of a compilation but the optimisation level, folders and definitions."""
        flags = (*self.machine_flags(fpu=fpu), *LANGUAGE_FLAGS)
        if self.target != "host":
            return (*flags, *SECTION_FLAGS, "-fomit-frame-pointer")
        if sanitize:
            return (*flags, "-fPIC", "-g1", *SANITIZE_FLAGS)
        return (*flags, "-fPIC", "-fvisibility=hidden", *self._unsanitized())

    def link_flags(self, *, fpu: bool = False, sanitize: bool = False) -> tuple[str, ...]:
        """All flags of a link but the script, the inputs and the output."""
        if self.target == "host":
            checks = SANITIZE_FLAGS if sanitize else self._unsanitized()
            # zig would compile its run-time library, which nothing here calls, for this processor
            library = ("-rtlib=none",) if self.name == "zig" else ()
            return (*self.machine_flags(), "-shared", *library, *checks)
        libraries = ("-nostartfiles",) if self.name == "zig" else ("-nostdlib", "-lgcc")
        return (*self.machine_flags(fpu=fpu), "-static", "-Wl,--gc-sections", *libraries)

    def processor(self) -> str:
        """What code for the host may use: the compiler's definitions, which "native" only names.

        Raises:
            ToolError: the compiler cannot be started or failed.
        """
        if self.target != "host":
            return ""
        return self.run(*self.machine_flags(), "-dM", "-E", "-x", "c", os.devnull)

    def _unsanitized(self) -> tuple[str, ...]:
        return ("-fno-sanitize=all",) if self.name == "zig" else ()

    def run(self, *arguments: str | Path) -> str:
        """What the compiler wrote to stdout.

        Raises:
            ToolError: it cannot be started or failed.
        """
        command = [*self.command, *map(str, arguments)]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                env={**os.environ, **self.environment},
            )
        except OSError as error:
            raise ToolError(f"{self.title}: {error}; install it again") from None
        if done.returncode != 0:
            said = [line for line in done.stderr.splitlines() if "error" in line.lower()]
            said = said or done.stderr.splitlines()[-1:]
            raise ToolError(f"{self.title} failed ({done.returncode}): {' | '.join(said[:3])}")
        return done.stdout


SANITIZE_FLAGS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def sanitizer_environment(toolchain: Toolchain) -> dict[str, str]:
    """What a Python process needs in its environment to load a library built with sanitize=True."""
    library = toolchain.run("-print-file-name=libasan.so").strip()
    return {"LD_PRELOAD": library, "ASAN_OPTIONS": "detect_leaks=0"}


def find_toolchain(target: str = "host", *, prefer: str | None = None) -> Toolchain:
    """The first compiler found for "host" or a core; `prefer` ("gcc", "clang", "zig") names one.

    Raises:
        ToolError: there is none that works, or not the preferred one.
    """
    names = ("gcc", "clang", "zig") if target == "host" else ("gcc", "zig")
    if target != "host" and target not in CORES:
        raise ToolError(f'no compiler for "{target}"; choose from: host, {", ".join(CORES)}')
    if prefer is not None and prefer not in names:
        raise ToolError(f'no toolchain "{prefer}" for {target}; choose from: {", ".join(names)}')
    complaints = []
    for name in names if prefer is None else (prefer,):
        found = look_for(name, target)
        if found is None:
            continue
        complaint = complaint_of(found)
        if not complaint:
            return found
        complaints.append(complaint)
    if complaints:
        raise ToolError(f"{'; '.join(complaints)}; {way_out_of(prefer, target)}")
    missing = " or ".join(names) if prefer is None else prefer
    raise ToolError(f"{missing} for {target} is not installed; {way_out_of(prefer, target)}")


PROBE = "#include <stdint.h>\n#include <string.h>\nint32_t insitu_probe;\n"
"""What every build needs: a compiler may be installed without its headers."""

CORTEX_M_INCLUDE = PORTS / "cortex_m/include"
"""Firmware has its own <string.h>, since zig has none for bare cores."""


def complaint_of(toolchain: Toolchain) -> str:
    """Why it cannot compile for its target; "" where it can. Asked once a process."""
    include = () if toolchain.target == "host" else (f"-I{CORTEX_M_INCLUDE}",)
    return _probe(
        toolchain.title,
        (*toolchain.command, *toolchain.compile_flags(), *include),
        tuple(sorted(toolchain.environment.items())),
    )


@functools.cache
def _probe(title: str, command: tuple[str, ...], environment: tuple[tuple[str, str], ...]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "probe.c"
        source.write_text(PROBE)
        probed = Toolchain(
            name="",
            version="",
            title=title,
            target="",
            command=command,
            environment=dict(environment),
        )
        try:
            probed.run("-c", source, "-o", source.with_suffix(".o"))
        except ToolError as error:
            return str(error)
    return ""


def way_out_of(prefer: str | None, target: str) -> str:
    """How to get a compiler that is missing."""
    if prefer in (None, "zig"):
        return "run: pip install ziglang"
    package = "gcc-arm-none-eabi (with libnewlib-arm-none-eabi)" if target != "host" else prefer
    return f"install {package} with the system's package manager, or leave the choice to insitu"


def look_for(name: str, target: str) -> Toolchain | None:
    """A compiler by name, where it is installed; whether it works is for `complaint_of`."""
    if name == "zig":
        return _find_zig(target)
    program = "arm-none-eabi-gcc" if target != "host" else name
    path = shutil.which(program)
    version = version_of((path, "--version")) if path else None
    if path is None or version is None:
        return None
    title = f"{program} {version}"
    return Toolchain(name=name, version=version, title=title, target=target, command=(path,))


def _find_zig(target: str) -> Toolchain | None:
    package = importlib.util.find_spec("ziglang")
    if package is not None:
        # the program itself: a Python around every call takes as long as the call
        program = Path(next(iter(package.submodule_search_locations or ()), "")) / "zig"
        starts = os.access(program, os.X_OK)
        command = (str(program),) if starts else (sys.executable, "-m", "ziglang")
    else:
        path = shutil.which("zig")
        if path is None:
            return None
        command = (path,)
    environment = _zig_caches()
    version = version_of((*command, "version"), environment)
    if version is None:
        return None
    return Toolchain(
        name="zig",
        version=version,
        title=f"zig {version}",
        target=target,
        command=(*command, "cc"),
        environment=environment,
    )


def _zig_caches() -> dict[str, str]:
    """Where zig may write: its own default where that works, else a private temporary folder.

    Raises:
        ToolError: that folder belongs to somebody else, who could plant code in it.
    """
    chosen = os.environ.get("ZIG_GLOBAL_CACHE_DIR")
    if chosen is None:
        home = os.environ.get("XDG_CACHE_HOME") or os.environ.get("HOME")
        if home and os.access(home, os.W_OK):
            name = "zig" if os.environ.get("XDG_CACHE_HOME") else ".cache/zig"
            chosen = str(Path(home) / name)
        else:
            private = Path(tempfile.gettempdir()) / f"insitu-zig-{os.getuid()}"
            private.mkdir(mode=0o700, exist_ok=True)
            if private.stat().st_uid != os.getuid():
                raise ToolError(f"{private} belongs to another user; set ZIG_GLOBAL_CACHE_DIR")
            chosen = str(private)
    return {"ZIG_GLOBAL_CACHE_DIR": chosen, "ZIG_LOCAL_CACHE_DIR": chosen}


def version_of(
    command: tuple[str, ...], environment: Mapping[str, str] | None = None
) -> str | None:
    """What a program says of its version; None where it does not run."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, **(environment or {})},
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    found = re.findall(r"\d+\.\d+\.\d+", done.stdout) or re.findall(r"\d+\.\d+", done.stdout)
    return found[0] if found else "unknown"
