"""Shared library + Stream -> RunResult: the generated C in this process, whole streams in C.

Invariant: a `TwinLibrary` owns the memory of its model; several of one path are independent.
C side: runtime/ports/host/host.c.
"""

from __future__ import annotations

import ctypes
import time
from pathlib import Path

import numpy as np

from insitu.artifacts import RunResult
from insitu.errors import DataError, ToolError
from insitu.graph.model import Array
from insitu.run.stream import MEANING, Status, Stream, failure


class _Sizes(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_int32)
        for name in (
            *("model", "state", "arena", "input_size", "outputs", "nodes", "element"),
            *("label_size", "float_labels"),
        )
    ]


class _Results(ctypes.Structure):
    _fields_ = [(name, ctypes.c_void_p) for name in ("predicted", "losses", "skipped", "saturated")]


class TwinLibrary:
    """A model on the desk; see `firmware.build.build_host`.

    Attributes:
        input_size, outputs, nodes, state_bytes, arena_bytes: of the model.
        input_dtype: of the elements of a sample, int8 or float32.
        label_dtype: int32, of a class, or float32, of targets[outputs].
    """

    def __init__(self, path: Path, name: str) -> None:
        """Loads the library and initialises a model of its own.

        Raises:
            ToolError: the library cannot be loaded.
        """
        self.name = name
        try:
            self._library = ctypes.CDLL(str(path))
            sizes = _Sizes()
            self._library.insitu_host_sizes(ctypes.byref(sizes))
        except (OSError, AttributeError) as error:
            raise ToolError(f"{path}: {error}; build the twin again") from None
        self.input_size, self.outputs, self.nodes = sizes.input_size, sizes.outputs, sizes.nodes
        self.state_bytes, self.arena_bytes = sizes.state, sizes.arena
        self.input_dtype = np.dtype(np.int8 if sizes.element == 1 else np.float32)
        self.label_dtype = np.dtype(np.float32 if sizes.float_labels else np.int32)
        self._label_size = sizes.label_size
        # uint64: the alignment that the model's struct and its arena ask for
        self._model = np.zeros(-(-sizes.model // 8), np.uint64)
        self._arena = np.zeros(max(1, -(-sizes.arena // 8)), np.uint64)
        self.reset()

    def reset(self) -> None:
        """Sets the initial state."""
        status = self._library.insitu_host_init(_pointer(self._model), _pointer(self._arena))
        if status != Status.OK:
            raise ToolError(f"{self.name}: {MEANING[Status(status)]}; build the twin again")

    def set_seed(self, seed: int) -> None:
        """Seeds the random generator."""
        self._library.insitu_host_set_seed(_pointer(self._model), ctypes.c_uint32(seed))

    @property
    def state(self) -> bytes:
        """The bytes of the model's state struct."""
        data = np.empty(self.state_bytes, np.uint8)
        self._library.insitu_host_get_state(_pointer(self._model), _pointer(data))
        return data.tobytes()

    @state.setter
    def state(self, data: bytes) -> None:
        if len(data) != self.state_bytes:
            raise DataError(
                f"{self.name}: a state of {len(data)} bytes but the model's has "
                f"{self.state_bytes}; take it from the same compilation"
            )
        copied = np.frombuffer(data, np.uint8).copy()
        self._library.insitu_host_set_state(_pointer(self._model), _pointer(copied))

    def quantize_input(self, x: Array) -> Array:
        """q[n, input_size], channels last, as the model takes it, of float x[n, ...]."""
        return self.quantize_counted(x)[0]

    def quantize_counted(self, x: Array) -> tuple[Array, Array]:
        """(q, int32[n]: how many values of each sample are not finite, or beyond the range)."""
        values = np.ascontiguousarray(x, np.float32).reshape(len(x), -1)
        self._check_size(values)
        q = np.empty(values.shape, self.input_dtype)
        beyond = np.empty(len(values), np.int32)
        self._library.insitu_host_quantize_input(
            _pointer(values), len(values), _pointer(q), _pointer(beyond)
        )
        return q, beyond

    def predict(self, x: Array) -> tuple[Array, Array]:
        """(scores float32[n, outputs], class or digest int32[n]) of x[n, input_size].

        Args:
            x: as from `quantize_input`.

        Raises:
            DataError: x has another size or type.
        """
        q = np.ascontiguousarray(x)
        self._check_size(q)
        self._check_type(q)
        scores = np.empty((len(q), self.outputs), np.float32)
        predicted = np.empty(len(q), np.int32)
        self._library.insitu_host_predict(
            _pointer(self._model), _pointer(q), len(q), _pointer(scores), _pointer(predicted)
        )
        return scores, predicted

    def run(self, stream: Stream, *, seed: bool = True) -> RunResult:
        """Feeds the stream to the model, which goes on from its present state.

        Args:
            seed: set the stream's seed first; False goes on with the generator as it stands.

        Raises:
            DataError: x or the labels have another size or type, a label is outside the classes,
                a target is none, or a rate is too high.
        """
        self._check_size(stream.x)
        self._check_type(stream.x)
        self._check_labels(stream.labels)
        n = len(stream)
        x, labels, order = (
            np.ascontiguousarray(a) for a in (stream.x, stream.labels, stream.samples)
        )
        rates = np.ascontiguousarray(stream.rates)
        predicted, skipped, saturated = (np.empty(n, np.int32) for _ in range(3))
        losses = np.empty(n, np.float32)
        results = _Results(*map(_pointer, (predicted, losses, skipped, saturated)))
        failed = ctypes.c_int32(-1)
        if seed:
            self.set_seed(stream.seed)
        start = time.perf_counter()
        status = self._library.insitu_host_run(
            _pointer(self._model),
            *map(_pointer, (x, labels, order, rates)),
            n,
            ctypes.byref(results),
            ctypes.byref(failed),
        )
        seconds = time.perf_counter() - start
        if status != 0:
            raise failure(status, failed.value, stream, self.outputs)
        losses[~stream.trains] = np.nan
        return RunResult(
            state=self.state,
            predicted=predicted,
            losses=losses,
            info={"skipped": skipped, "saturated": saturated},
            seconds=seconds,
        )

    def _check_type(self, x: Array) -> None:
        if x.dtype != self.input_dtype:
            raise DataError(
                f"{self.name}: x is {x.dtype} but the model takes {self.input_dtype}; make it with "
                "quantize_input"
            )

    def _check_labels(self, labels: Array) -> None:
        if labels.dtype != self.label_dtype or labels[:1].size not in (0, self._label_size):
            raise DataError(
                f"{self.name}: labels are {labels.dtype}{list(labels.shape)} but the model takes "
                f"{self._label_size} of {self.label_dtype} a sample; check y and the loss"
            )

    def _check_size(self, x: Array) -> None:
        if x.ndim != 2 or x.shape[1] != self.input_size:
            raise DataError(
                f"{self.name}: x{list(x.shape)} does not have the model's {self.input_size} "
                f"values a sample; check the data's shape"
            )


def _pointer(array: Array) -> ctypes.c_void_p:
    return array.ctypes.data_as(ctypes.c_void_p)
