"""What `insitu.compile` returns: a compiled network with the verbs that users call on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from insitu.data.samples import Beyond, Samples, checked, count_beyond
from insitu.errors import ConfigError
from insitu.graph.model import Array
from insitu.graph.names import order_of
from insitu.network.board_run import BoardRun, Tools, run_on_board
from insitu.network.compiled import Network
from insitu.network.export import export
from insitu.network.figures import report_figures
from insitu.network.twin import Twin
from insitu.run.stream import Progress
from insitu.target.board import Board, find_board


class TrainableNetwork(Network):
    """A compiled network: train its twin, train it on an emulated board, export it.

    It adds nothing but verbs to `Network`, which holds the data.
    """

    @property
    def memory(self) -> dict[str, int]:
        """RAM, flash and stack in bytes, and the arena's part of the RAM."""
        names = ("ram_bytes", "flash_bytes", "stack_bytes", "state_bytes", "arena_bytes")
        return {name: self.figures[name] for name in names}

    def twin(self) -> Twin:
        """The bit-exact twin on the desk, in its initial state.

        Raises:
            ToolError: there is no compiler, or it failed.
        """
        return Twin(self, self.build_folder)

    def beyond(self, x: Array) -> Beyond:
        """How many values of samples x[n, ...] the device would clamp."""
        shape, last = self.graph.sample.shape, self.graph.channels_last
        return Beyond.of_counts(count_beyond(np.asarray(x), shape, self.input_qparams, last=last))

    def run(
        self,
        x: Array,
        y: Array | None = None,
        *,
        test: tuple[Array, Array] | None = None,
        board: str | Board | None = None,
        steps: int | None = None,
        tools: Tools | None = None,
        progress: Progress | None = None,
    ) -> BoardRun:
        """Train on an emulated board, beside the twin.

        Args:
            x, y: samples[n, ...], channels first, and labels as `Twin.fit` takes them.
            test: samples and labels to evaluate before and after, by default those it learns.
            board: instead of the one compiled for.
            steps: by default one pass over the samples.

        Raises:
            DataError: samples or labels do not suit the network.
            ConfigError: no steps.
            FitError: the network does not fit the board.
            ToolError: a compiler or an emulator is missing or failed.
        """
        if steps is not None and steps < 1:
            raise ConfigError(f"{steps} steps; 1 is the least")
        samples = self._checked(x, y, "x")
        target = self.board if board is None else board
        return run_on_board(
            self,
            samples,
            board=target if isinstance(target, Board) else find_board(target),
            steps=len(samples) if steps is None else steps,
            evaluation=samples if test is None else self._checked(*test, "test"),
            tools=tools or Tools(),
            progress=progress,
        )

    def _checked(self, x: Array, y: Array | None, source: str) -> Samples:
        given = Samples(np.asarray(x), None if y is None else np.asarray(y), source)
        return checked(given, self.input_shape, self.labels, order=order_of(self.graph))

    def report(self) -> dict[str, Any]:
        """Bytes, instructions, time and energy by layer and by tensor."""
        return report_figures(self)

    def export(self, out: str | Path, *, format: str = "cmake") -> tuple[Path, ...]:  # noqa: A002
        """Write a library for a build of the user's own; returns the files.

        Raises:
            ConfigError: unknown format.
            OutputError: `out` is not empty or cannot be written.
        """
        return export(self, Path(out), format=format)
