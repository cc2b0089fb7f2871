"""Planner: shape of a depthwise convolution -> lines that its kernels take at once, their scratch.

On Cortex-M four channels at a time are expanded to int16 and laid out in planes with zeros around
them: a band of lines, as many as fit. Twin: insitu_depthwise.h.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

LANES = 4
"""INSITU_LANES in the C."""

KERNEL = 7
"""INSITU_PLANES_KERNEL in the C."""

ENOUGH_BYTES, MOST_BYTES = 6 * 1024, 12 * 1024
"""A band takes up to the first, and the second where a single line needs as much."""

MOST_NONZERO_BYTES = 2 * 1024
"""What may be added to them so that channels without errors cost nothing."""

MOST_ERRORS = 256
"""Of a line: their sum fits int16."""

ENOUGH_TAPS = 3
"""The least columns of a phase: fewer do not pay. A phase: places a stride apart."""

BLOCK, BEHIND = 4, 8
"""INSITU_BLOCK and INSITU_BEHIND in the C."""


@dataclass(frozen=True)
class Band:
    """Lines of the output, backward of errors, taken at once; none: position after position."""

    lines: int
    bytes: int


UNTILED = Band(0, 0)


def _even(value: int) -> int:
    return value + value % 2


def _div_up(value: int, by: int) -> int:
    return -(-value // by)


def _taps(width: int, step: int) -> int:
    """insitu_taps_of in the C."""
    if step == 1 and width in (1, 2, 4):
        return _even(width)
    return max(width | 1, 3)


def _fits(c: Mapping[str, int]) -> bool:
    """Kernels of one weight gain nothing, large ones have no microkernel."""
    kernel = c["kernel_height"], c["kernel_width"]
    return 1 < max(kernel) <= KERNEL


def _band(lines: int, size: Callable[[int], int], limit: int) -> Band:
    """Of at most so many lines and bytes; size: halfwords of a channel for a number of lines."""
    if 2 * LANES * size(1) > limit:
        return UNTILED
    while lines > 1 and 2 * LANES * size(lines) > min(ENOUGH_BYTES, limit):
        lines -= 1
    return Band(lines, 2 * LANES * size(lines))


def nonzero_bytes(c: Mapping[str, int]) -> int:
    """What channels that have errors are brought together in; 0 where that does not pay.

    Twin: insitu_depthwise_compact.h.
    """
    places = c["in_height"] * c["in_width"] + c["out_height"] * c["out_width"]
    weights = c["kernel_height"] * c["kernel_width"]
    needed = 2 * _even(c["in_channels"]) + LANES * (places + weights)
    worth = c["in_channels"] % LANES == 0 and c["in_channels"] > 2 * LANES
    return needed if worth and needed <= MOST_NONZERO_BYTES else 0


def forward_band(c: Mapping[str, int], limit: int = MOST_BYTES) -> Band:
    """Of insitu_conv_params_t; at most so many bytes."""
    stride, down = c["stride_width"], c["stride_height"]
    if not _fits(c) or stride > 2:
        return UNTILED
    columns = _even(stride * _even(c["out_width"]) + _taps(c["kernel_width"], stride) - 1)
    return _band(
        c["out_height"], lambda lines: ((lines - 1) * down + c["kernel_height"]) * columns, limit
    )


def grad_input_band(c: Mapping[str, int], limit: int = MOST_BYTES) -> Band:
    """Of insitu_conv_params_t of the forward pass; at most so many bytes."""
    inside = c["pad_top"] < c["kernel_height"] and c["pad_left"] < c["kernel_width"]
    if not _fits(c) or not inside:
        return UNTILED
    height, width = _windows(c, "height", "pad_top"), _even(_windows(c, "width", "pad_left"))
    stride, before = c["stride_width"], _div_up(c["kernel_height"], c["stride_height"]) - 1
    columns = _even(width + _div_up(c["kernel_width"], stride) + 4)
    if stride == 1:
        columns = _even(width + _taps(c["kernel_width"], 1) - 1)
    values = 0 if stride == c["stride_height"] == 1 else width
    return _band(height, lambda lines: (lines + before) * columns + lines * values, limit)


def _windows(c: Mapping[str, int], axis: str, pad: str) -> int:
    """How many windows start so that places of the map lie in their first stride."""
    stride = c[f"stride_{axis}"]
    return (c[f"in_{axis}"] - 1 + c[pad]) // stride - c[pad] // stride + 1


def gradient_band(c: Mapping[str, int], limit: int = MOST_BYTES) -> Band:
    """Of insitu_conv_params_t: of the map and of the errors; at most so many bytes with the sums.

    With a stride, planes of few weights cost more than they save.
    """
    strided = c["stride_height"] > 1 or c["stride_width"] > 1
    few = strided and _div_up(c["kernel_width"], c["stride_width"]) < ENOUGH_TAPS
    if not _fits(c) or few or c["out_width"] > MOST_ERRORS:
        return UNTILED
    columns = _gradient_columns(c)
    down = _div_up(c["kernel_height"], c["stride_height"]) - 1

    def size(lines: int) -> int:
        errors = _div_up(lines * columns, 2 * BLOCK) * 2 * BLOCK
        return (lines + down) * columns + 2 * BEHIND + errors

    sums = 4 * (LANES + 1) * c["kernel_height"] * c["kernel_width"]
    return _band(c["out_height"], size, min(MOST_BYTES, limit - sums))


def _gradient_columns(c: Mapping[str, int]) -> int:
    """Twice insitu_gradient_pairs in the C."""
    stride, left = c["stride_width"], c["pad_left"]
    wanted = c["out_width"] + _div_up(c["kernel_width"], stride) - 1
    if stride > 1:
        return _even(wanted)
    end = left + max(min(wanted - left, c["in_width"]), 0)
    return _even(max(c["out_width"], wanted - left, end))
