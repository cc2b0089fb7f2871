"""Shape of a depthwise convolution -> how many lines its kernels take at once, and their scratch.

With the DSP extension four channels at a time are expanded to int16 and laid out in planes with
zeros around them: a band of lines, as many as fit. Twin: runtime/include/insitu_planes.h.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

LANES = 4
"""INSITU_LANES in the C."""

KERNEL = 7
"""INSITU_PLANES_KERNEL in the C."""

ENOUGH_BYTES, MOST_BYTES = 6 * 1024, 12 * 1024
"""A band takes up to the first, and the second where a single line needs as much."""

MOST_LIVE_BYTES = 2 * 1024
"""What may be added to them so that channels without errors cost nothing."""

MOST_ERRORS = 256
"""Of a line: their sum fits int16."""


@dataclass(frozen=True)
class Band:
    """Lines of the output, backward of errors, taken at once; none: position after position."""

    lines: int
    bytes: int


BY_POSITIONS = Band(0, 0)


def _even(value: int) -> int:
    return value + value % 2


def _taps(width: int) -> int:
    return max(width | 1, 3)


def _fits(c: Mapping[str, int]) -> bool:
    """Kernels of one weight gain nothing, large ones have no microkernel."""
    kernel = c["kernel_height"], c["kernel_width"]
    return 1 < max(kernel) <= KERNEL


def _band(lines: int, once: int, again: int, limit: int) -> Band:
    """Of at most so many lines; the halfwords that one needs and each further one."""
    once, again = 2 * LANES * once, 2 * LANES * again
    if once > limit:
        return BY_POSITIONS
    count = max(min(lines, (min(ENOUGH_BYTES, limit) - once) // again + 1), 1)
    return Band(count, once + (count - 1) * again)


def live_bytes(c: Mapping[str, int]) -> int:
    """What channels that have errors are brought together in; 0 where that does not pay.

    Twin: runtime/include/insitu_live_channels.h.
    """
    places = c["in_height"] * c["in_width"] + c["out_height"] * c["out_width"]
    weights = c["kernel_height"] * c["kernel_width"]
    needed = 2 * _even(c["in_channels"]) + LANES * (places + weights)
    worth = c["in_channels"] % LANES == 0 and c["in_channels"] > 2 * LANES
    return needed if worth and needed <= MOST_LIVE_BYTES else 0


def forward_band(c: Mapping[str, int], limit: int = MOST_BYTES) -> Band:
    """Of insitu_conv_params_t; at most so many bytes."""
    if not _fits(c) or c["stride_width"] > 2:
        return BY_POSITIONS
    columns = c["stride_width"] * _even(c["out_width"]) + _taps(c["kernel_width"]) - 1
    once, again = c["kernel_height"] * columns, c["stride_height"] * columns
    return _band(c["out_height"], once, again, limit)


def grad_input_band(c: Mapping[str, int], limit: int = MOST_BYTES) -> Band:
    """Of insitu_conv_params_t of the forward pass; at most so many bytes."""
    inside = c["pad_top"] < c["kernel_height"] and c["pad_left"] < c["kernel_width"]
    if not _fits(c) or not inside:
        return BY_POSITIONS
    height, width = _windows(c, "height", "pad_top"), _windows(c, "width", "pad_left")
    columns = _even(width + -(-c["kernel_width"] // c["stride_width"]) + 4)
    if c["stride_width"] == 1:
        columns = _even(width) + _taps(c["kernel_width"]) - 1
    once = -(-c["kernel_height"] // c["stride_height"]) * columns
    return _band(height, once, columns, limit)


def _windows(c: Mapping[str, int], axis: str, pad: str) -> int:
    """How many windows start so that places of the map lie in their first stride."""
    stride = c[f"stride_{axis}"]
    return (c[f"in_{axis}"] - 1 + c[pad]) // stride - c[pad] // stride + 1


def gradient_band(c: Mapping[str, int], limit: int = MOST_BYTES) -> Band:
    """Of insitu_conv_params_t: of the map and of the errors; at most so many bytes with the sums.

    With a stride planes cost more than they save.
    """
    strided = c["stride_height"] > 1 or c["stride_width"] > 1
    if not _fits(c) or strided or c["out_width"] > MOST_ERRORS:
        return BY_POSITIONS
    columns = _gradient_columns(c)
    sums = 4 * (LANES + 1) * c["kernel_height"] * c["kernel_width"]
    most = min(MOST_BYTES, limit - sums)

    def size(lines: int) -> int:
        plane = _even((lines - 1 + c["kernel_height"]) * columns + c["kernel_width"] + 1)
        return 2 * LANES * (plane + _even(lines * columns))

    if size(1) > most:
        return BY_POSITIONS
    count = c["out_height"]
    while count > 1 and size(count) > min(ENOUGH_BYTES, most):
        count -= 1
    return Band(count, size(count))


def _gradient_columns(c: Mapping[str, int]) -> int:
    """insitu_gradient_columns in the C."""
    wanted, left = c["out_width"] + c["kernel_width"] - 1, c["pad_left"]
    end = left + max(min(wanted - left, c["in_width"]), 0)
    return max(c["out_width"], wanted - left, end)
