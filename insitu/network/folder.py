"""The folder of a compiled network: what lies in it; it is replaced as a whole or not at all.

Invariant: a folder that holds something else than an earlier result is never touched.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

from insitu.artifacts import CSource
from insitu.errors import OutputError
from insitu.runtime import FILES

FORMAT = 4
"""Of the manifest; another one is refused."""

MANIFEST, ARRAYS, PLAN = "insitu.json", "constants.npz", "memory_plan.txt"


class ScratchFolder:
    """A folder that goes when the last who holds this object does, or with the process."""

    def __init__(self) -> None:
        """Make it."""
        self.path = Path(tempfile.mkdtemp(prefix="insitu-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def check_replaceable(folder: Path) -> None:
    """Refuse a folder that `Network.save` could not or should not replace.

    Raises:
        OutputError: it holds something else, is a file, or cannot be written.
    """
    try:
        _check_place(folder, folder.resolve())
    except OSError as error:
        raise cannot_write(folder, error) from None
    except RuntimeError:  # what Python 3.11 and 3.12 make of links in a circle
        raise OutputError(f"{folder}: is a link to itself; name another folder") from None


def _check_place(folder: Path, place: Path) -> None:
    """Whether the resolved `place` can be replaced."""
    if place.exists() and not place.is_dir():
        raise OutputError(f"{folder}: is a file, not a folder; name a new folder")
    above = next(path for path in (*place.parents, place) if path.exists())
    for path in (above, place):
        if path.exists() and not (path.is_dir() and os.access(path, os.W_OK | os.X_OK)):
            raise OutputError(f"{folder}: {path} cannot be written; name another folder")
    if not place.exists():
        if place.is_symlink():
            raise OutputError(f"{folder}: is a link to itself; name another folder")
        return
    if os.path.ismount(place) or Path.cwd().is_relative_to(place):
        raise OutputError(
            f"{folder}: is a mounted disk or where you are, and the folder is replaced as a whole; "
            "name a folder inside it"
        )
    names = {entry.name for entry in place.iterdir()}
    if names and MANIFEST not in names:
        raise OutputError(
            f"{folder}: holds {len(names)} files but no {MANIFEST} of an earlier result, so it "
            "is not replaced; name a new folder"
        )


def cannot_write(folder: Path, error: OSError) -> OutputError:
    """The error to raise where the system refused."""
    reason = error.strerror or type(error).__name__
    return OutputError(f"{folder}: cannot be written ({reason}); name another folder")


def read_manifest(folder: Path) -> dict[str, Any]:
    """What `insitu compile` wrote about the network.

    Raises:
        OutputError: there is nothing, or it is damaged or of another version.
    """
    path = folder / MANIFEST
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise OutputError(f"{folder}: has no {MANIFEST}; run insitu compile first") from None
    except NotADirectoryError:
        raise OutputError(f"{folder}: is a file; give the folder that compile wrote") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise OutputError(f"{path}: {error}; compile it again") from None
    found = value.get("format") if isinstance(value, dict) else None
    if found != FORMAT:
        raise OutputError(f"{path}: has format {found} but this is {FORMAT}; compile it again")
    assert isinstance(value, dict)
    return value


def copy_sources(source: Path, target: Path) -> None:
    """Copy the C files; the copies have the user's own permissions, not a temporary folder's."""
    for path in (*source.glob("*.[ch]"), *source.glob("runtime/*.[ch]")):
        copied = target / path.relative_to(source)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copied)


def put_in_place(fresh: Path, place: Path, *, before: Path) -> None:
    """Replace the folder `place`; what was there comes back where that fails."""
    if not place.exists():
        fresh.rename(place)
        return
    place.rename(before)
    try:
        fresh.rename(place)
    except BaseException:
        before.rename(place)
        raise


def write_sources(source: CSource, folder: Path) -> None:
    """The C of a model into a folder: its own files, and the runtime beside them."""
    (folder / "runtime").mkdir(parents=True, exist_ok=True)
    for name, content in source.files.items():
        (folder / name).write_text(content, encoding="utf-8")
    for name in source.runtime:
        content = FILES[name].read_text(encoding="utf-8")
        (folder / "runtime" / name).write_text(content, encoding="utf-8")
