"""C of a model, a compiler -> library or firmware, made once for all tests, workers and runs.

Invariant: a file's name is a digest of all that it is made from: the model's C, the runtime's files
that it needs, the C around it, the compiler and how insitu calls it. So the folder can be kept.
"""

from __future__ import annotations

import fcntl
import functools
import inspect
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import fakes
from fakes import MACHINES, board, toolchain_or_skip

from insitu.artifacts import CSource, Firmware
from insitu.firmware import build, flags, objects
from insitu.firmware.build import build_firmware, build_host
from insitu.firmware.objects import digest_of
from insitu.generate import generate
from insitu.graph.model import Graph
from insitu.network import folder
from insitu.network.folder import write_sources
from insitu.plan import plan_memory
from insitu.runtime import FILES, PORTS, ROOT
from insitu.target import elf, instructions, machines
from insitu.tools import compilers
from insitu.tools.compilers import Toolchain


def folder_of_builds() -> Path:
    """In what INSITU_CACHE names, which conftest sees to."""
    folder = Path(os.environ["INSITU_CACHE"]).resolve() / "built"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def alone(toolchain: Toolchain) -> Iterator[None]:
    """While another worker does not build for the same target, so that nothing is made twice."""
    name = f"{toolchain.name}-{toolchain.target}-{toolchain.cpu}.lock"
    with (folder_of_builds() / name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


_PROCESSORS: dict[tuple[str, str], str] = {}


def _processor(toolchain: Toolchain) -> str:
    """What the compiler says of it, asked once."""
    key = toolchain.title, toolchain.cpu
    if toolchain.target == "host" and key not in _PROCESSORS:
        _PROCESSORS[key] = toolchain.processor()
    return _PROCESSORS.get(key, "") if toolchain.target == "host" else ""


@functools.cache
def _around() -> str:
    """Digest of the C around a model, and of the modules that call compilers."""
    ports = sorted(path for path in PORTS.rglob("*.*") if path.suffix in (".c", ".h", ".ld"))
    around = (build, flags, objects, compilers, elf, instructions, machines, folder, fakes)
    modules = [inspect.getsource(module) for module in around]
    texts = [path.read_text() for path in (*ports, ROOT / "flags.toml")]
    return digest_of(*texts, *modules)


def kept(
    source: CSource,
    toolchain: Toolchain,
    suffix: str,
    *options: str,
    make: Callable[[Path], Path],
) -> Path:
    """The file that `make` leaves in the folder it is given, where it is not there already."""
    digest = digest_of(
        _around(),
        *(toolchain.title, toolchain.target, _processor(toolchain), *options),
        *(text for name in sorted(source.files) for text in (name, source.files[name])),
        *(FILES[name].read_text() for name in source.runtime),
    )
    path = folder_of_builds() / f"{source.name}-{digest}{suffix}"
    if not path.exists():
        with alone(toolchain), tempfile.TemporaryDirectory() as where:
            if not path.exists():
                made = shutil.move(make(Path(where)), path.with_suffix(f".{os.getpid()}.partial"))
                Path(made).replace(path)
    os.utime(path)
    return path


def host_library(
    source: CSource, toolchain: Toolchain, *, sanitize: bool = False, portable: bool = False
) -> Path:
    """As by `build_host`."""

    def make(folder: Path) -> Path:
        write_sources(source, folder / "source")
        return build_host(
            folder / "source",
            source.name,
            folder,
            toolchain=toolchain,
            sanitize=sanitize,
            portable=portable,
        )

    options = ("sanitize" * sanitize, "portable" * portable)
    return kept(source, toolchain, ".so", *options, make=make)


def core_firmware(
    source: CSource, machine: str, name: str | None = None, *, profile: bool = False
) -> Firmware:
    """As by `build_firmware`, with as much memory as it takes; where no compiler is, skips.

    Args:
        machine: of `fakes.MACHINES`.
        name: of the toolchain; None takes what is there.
        profile: with the marks by which instructions are counted.
    """
    core, fpu = MACHINES[machine]
    toolchain = toolchain_or_skip(core, name)

    def make(folder: Path) -> Path:
        write_sources(source, folder / "source")
        made = board(core, fpu=fpu)
        where = (folder / "source", source.name, made, folder)
        return build_firmware(*where, toolchain=toolchain, profile=profile, limits=False).elf

    elf = kept(source, toolchain, ".elf", machine, "profile" * profile, make=make)
    # no emulator asks for the sizes of what fits
    return Firmware(elf=elf, core=core, toolchain=toolchain.title, flash_bytes=0, ram_bytes=0)


def source_of(step: Graph, name: str = "worst") -> CSource:
    """The C of a training step."""
    return generate(step, plan_memory(step), name)
