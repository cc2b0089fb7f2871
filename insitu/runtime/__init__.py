"""The C runtime: its headers and kernels by name; in the folders of models they lie flat.

Invariant: no two files have one name. `ports/` holds what is around a model on a core or a desk.
"""

from pathlib import Path

ROOT = Path(__file__).parent
PORTS = ROOT / "ports"

FILES = {
    path.name: path for part in ("include", "src") for path in sorted((ROOT / part).rglob("*.[ch]"))
}
HEADERS = tuple(path for path in FILES.values() if path.suffix == ".h")
KERNELS = tuple(path for path in FILES.values() if path.suffix == ".c")

INCLUDE_FLAGS = tuple(f"-I{folder}" for folder in dict.fromkeys(path.parent for path in HEADERS))
"""For a compiler that reads the kernels where they stand here."""
