"""C sources -> objects, each compiled once.

Invariant: a file that is there is whole; an object's name says all that it depends on.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from insitu.errors import OutputError
from insitu.tools.compilers import Toolchain


@dataclass(frozen=True)
class Job:
    """A source to compile.

    Attributes:
        of_runtime: it depends on nothing of the model's.
    """

    source: Path
    flags: tuple[str, ...]
    of_runtime: bool = False

    @property
    def what_counts(self) -> tuple[str, ...]:
        """The flags that the object depends on."""
        if not self.of_runtime:
            return self.flags
        return tuple(f for f in self.flags if not f.startswith(("-I", "-DINSITU_")))


def compile_objects(
    toolchain: Toolchain,
    jobs: Sequence[Job],
    headers: Sequence[Path],
    out_dir: Path,
    *,
    included: Sequence[Path] = (),
) -> list[Path]:
    """One object a job; an object with the same inputs is not compiled again.

    Those of the runtime are kept in the folder that INSITU_CACHE names, where it names one.

    Args:
        headers: of the model, the runtime and the harness.
        included: what else the sources include. One of the runtime counts for an object of the
            runtime only where its source includes it, so that models with other headers share it.

    Raises:
        ToolError: the compiler failed.
        OutputError: there is no source, or a folder cannot be written.
    """
    kept = os.environ.get("INSITU_CACHE")
    folder, shelf = out_dir / "objects", Path(kept or out_dir).resolve() / "objects"
    for place in (folder, shelf):
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            advice = "choose a folder you can write"
            raise OutputError(f"{place}: {error.strerror}; {advice}") from None
    texts = {path.name: read_source(path) for path in sorted((*headers, *included))}
    base = (toolchain.title, toolchain.processor())
    own = digest_of(*(text for item in texts.items() for text in item))

    def build(job: Job) -> Path:
        text = read_source(job.source)
        reads = own if not job.of_runtime else digest_of(*_read_by(text, texts))
        digest = digest_of(*base, reads, job.source.name, text, *job.what_counts)
        compiled = (shelf if job.of_runtime else folder) / f"{job.source.stem}-{digest}.o"
        if not compiled.exists():
            produce(toolchain, compiled, *job.flags, "-c", job.source)
        return compiled

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        return list(pool.map(build, jobs))


INCLUDE = re.compile(r'^\s*#\s*include\s*[<"](?:[^">]*/)?([^">/]+)[">]', re.MULTILINE)


def _read_by(text: str, known: Mapping[str, str]) -> list[str]:
    """Name and text of each file that a source includes, directly or through others.

    Args:
        known: texts by name; what is not there is the compiler's own.
    """
    found: set[str] = set()
    waiting = [text]
    while waiting:
        new = set(INCLUDE.findall(waiting.pop())) & known.keys() - found
        found |= new
        waiting += [known[name] for name in new]
    return [part for name in sorted(found) for part in (name, known[name])]


def produce(toolchain: Toolchain, output: Path, *arguments: str | Path) -> str:
    """What the compiler printed; `output` appears whole or not at all.

    Raises:
        ToolError: the compiler failed.
        OutputError: `output` cannot be written.
    """
    partial = output.with_name(f"{output.stem}.{os.getpid()}.partial{output.suffix}")
    try:
        printed = toolchain.run(*arguments, "-o", partial)
        partial.replace(output)
        return printed
    except OSError as error:
        raise OutputError(f"{output}: {error.strerror}; choose a folder you can write") from None
    finally:
        partial.unlink(missing_ok=True)


def read_source(path: Path) -> str:
    """Its text.

    Raises:
        OutputError: it is not there or damaged.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror}; compile it again") from None
    except UnicodeDecodeError as error:
        raise OutputError(f"{path}: is damaged ({error}); compile it again") from None


def write_text(path: Path, text: str) -> None:
    """Write a text file.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path}: {error.strerror}; choose a folder you can write") from None


def digest_of(*texts: str) -> str:
    """Twelve digits for some texts."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]
