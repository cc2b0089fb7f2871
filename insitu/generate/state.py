"""training-step graph -> the layout of the model's state struct.

Invariant: no padding that the compiler could choose; the bytes are the same on every core and on
the desk (little endian).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from insitu.graph.model import DTYPES, Array, Graph, Kind, Role, Tensor
from insitu.graph.names import GENERATOR, LEARNING_RATE, SEED

ZEROS = 64
"""A state tensor of so many bytes that is zero at the start is not kept in flash."""


@dataclass(frozen=True, eq=False)
class StateLayout:
    """Where each state tensor lies.

    Attributes:
        tensors: in order: four-byte elements first, then shorter ones, each on 4 bytes; then what
            is zero at the start.
        offsets: bytes from the start, by name.
        nbytes: size of the struct.
        initial_nbytes: the part of it whose initial values lie in flash; the rest starts as 0.
    """

    tensors: tuple[Tensor, ...]
    offsets: Mapping[str, int]
    nbytes: int
    initial_nbytes: int

    @property
    def initial(self) -> tuple[Tensor, ...]:
        """Tensors whose initial values lie in flash."""
        return tuple(t for t in self.tensors if self.offsets[t.name] < self.initial_nbytes)

    @property
    def fixed_range_weights(self) -> tuple[Tensor, ...]:
        """Trained int8 weights that stay at +-127 where a step would take them further."""
        quantized = ((t, t.qparams) for t in self.tensors if t.dtype == "int8")
        return tuple(t for t, q in quantized if q is not None and q.range is None)

    def pack(self, values: Mapping[str, Array]) -> bytes:
        """The struct's bytes for these values."""
        buffer = bytearray(self.nbytes)
        for tensor in self.tensors:
            raw = np.ascontiguousarray(values[tensor.name], _little(tensor.dtype)).tobytes()
            start = self.offsets[tensor.name]
            buffer[start : start + len(raw)] = raw
        return bytes(buffer)

    def unpack(self, raw: bytes) -> dict[str, Array]:
        """The values in a struct's bytes."""
        return {
            tensor.name: np.frombuffer(
                raw, _little(tensor.dtype), tensor.size, self.offsets[tensor.name]
            )
            .reshape(tensor.shape)
            .copy()
            for tensor in self.tensors
        }


def state_layout(graph: Graph, *, seed: int = 0) -> StateLayout:
    """The layout for a training-step graph; the seed stands in it beside the graph's own state."""
    value = np.asarray([seed], np.uint32)
    seeded = Tensor(SEED, (1,), "uint32", Kind.STATE, value, role=Role.SETTING)
    tensors = [*graph.of_kind(Kind.STATE), seeded]
    order = {LEARNING_RATE: 0, SEED: 1, GENERATOR: 2}
    tensors.sort(
        key=lambda t: (
            _starts_as_zero(t),
            DTYPES[t.dtype] != 4,
            order.get(t.name, 3),
            t.dtype != "float32",
        )
    )
    offsets, end, initial = {}, 0, 0
    for tensor in tensors:
        offsets[tensor.name] = end
        end += -(-tensor.nbytes // 4) * 4
        initial = initial if _starts_as_zero(tensor) else end
    return StateLayout(tuple(tensors), offsets, end, initial)


def _starts_as_zero(tensor: Tensor) -> bool:
    """Large tensors of zeros, such as gradient buffers, take no flash."""
    return tensor.nbytes >= ZEROS and tensor.data is not None and not tensor.data.any()


def _little(dtype: str) -> np.dtype[np.generic]:
    return np.dtype(dtype).newbyteorder("<")
