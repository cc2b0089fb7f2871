"""The exception tree: everything that a user can cause is an `InsituError`.

InsituError
├── ModelError    the network: unreadable file, unsupported op, wrong shape
├── DataError     the samples: wrong shape, NaN, labels outside the classes, empty
├── ConfigError   the options: unknown preset, a rate below zero, no such layer
├── BoardError    the board: unknown, or its description is wrong
│   └── FitError  the network does not fit the board
├── ToolError     a compiler or an emulator is missing or failed
└── OutputError   a folder or file that cannot be read or written

A message is one line: where, what is wrong with both numbers, what to do.
Our own mistakes are `AssertionError` and are never caught.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class PrecisionWarning(UserWarning):
    """8 bits hold less of the network or its samples than they should; it says what to do."""


class InsituError(Exception):
    """Something the user can put right; its text is one line."""


class ModelError(InsituError):
    """The network cannot be read, or holds what we cannot train."""


class DataError(InsituError):
    """The samples do not fit the network."""


class ConfigError(InsituError):
    """An option has a value that makes no sense."""


class BoardError(InsituError):
    """The board is unknown or its description is wrong."""


class FitError(BoardError):
    """The network needs more memory than the board has.

    Attributes:
        figures: what it needs, with the keys of `insitu compile --json`; empty where unknown.
        arena_bytes: the arena that there would be room for; None where no arena would help.
    """

    def __init__(
        self, message: str, figures: Mapping[str, Any] | None = None, arena_bytes: int | None = None
    ) -> None:
        super().__init__(message)
        self.figures = dict(figures or {})
        self.arena_bytes = arena_bytes


class ToolError(InsituError):
    """A compiler or an emulator is missing or failed."""


class OutputError(InsituError):
    """A file or folder cannot be read or written."""
