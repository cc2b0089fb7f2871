"""Attributes and shapes of a convolution -> which of its C kernels it takes, and their parameters.

Those without groups and dilation have kernels of their own. Twin: conv_grouped.c.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from insitu.graph.model import SCRATCH_LIMIT, Tensor
from insitu.graph.rules import Attributes
from insitu.ops.kernels import bands
from insitu.ops.kernels.bands import LANES, MOST_BYTES, UNTILED, Band
from insitu.ops.numerics.geometry import DENSE, conv_params, dilation_of, groups_of

BandOf = Callable[[Mapping[str, int], int], Band]
"""Of insitu_conv_params_t and the most bytes that it may take."""

PLAIN, GROUPED = "conv", "conv_groups"
"""What the names of kernels, their parameters and their sources begin with."""

DEPTHWISE_BLOCK = 16
"""INSITU_DEPTHWISE_BLOCK in the C."""


def is_plain(attributes: Attributes) -> bool:
    """Whether a convolution, or a linear layer, has neither groups nor dilation."""
    return groups_of(attributes) == 1 and dilation_of(attributes) == DENSE


def is_fully_connected(attributes: Attributes, x: Tensor, w: Tensor) -> bool:
    """Whether the only window is the whole map: a linear layer, in every bit but its update."""
    whole = x.shape[:2] == w.shape[1:3] and not any(attributes["padding"])
    return whole and is_plain(attributes)


def kernel_of(attributes: Attributes) -> str:
    """The kernel family of a convolution."""
    return PLAIN if is_plain(attributes) else GROUPED


def is_depthwise(attributes: Attributes, w: Tensor) -> bool:
    """Whether every channel is a group of its own with one row of weights."""
    groups = groups_of(attributes)
    return not is_plain(attributes) and groups == w.shape[0] and w.shape[3] == 1


def band(attributes: Attributes, x: Tensor, w: Tensor, y: Tensor, band_of: BandOf | None) -> Band:
    """Lines that a depthwise layer's kernel takes at once; `band_of`: for a kernel with planes."""
    dense = dilation_of(attributes) == DENSE
    if band_of is None or not dense or not is_depthwise(attributes, w):
        return UNTILED
    limit = attributes.get(SCRATCH_LIMIT, MOST_BYTES)
    return band_of(conv_params(attributes, x, w, y), limit)


def nonzero_scratch(
    attributes: Attributes, x: Tensor, w: Tensor, y: Tensor, scratch_bytes: int
) -> int:
    """What a depthwise kernel of the backward pass adds to its scratch, see `nonzero_bytes`."""
    if not is_depthwise(attributes, w) or dilation_of(attributes) != DENSE:
        return 0
    added = bands.nonzero_bytes(conv_params(attributes, x, w, y))
    limit: int = attributes.get(SCRATCH_LIMIT, MOST_BYTES)
    return added if scratch_bytes + added <= limit else 0


def shape_params(
    attributes: Attributes,
    x: Tensor,
    w: Tensor,
    y: Tensor,
    band_of: BandOf | None = None,
    nonzero: int = 0,
) -> Attributes:
    """Fields of insitu_conv_params_t, or of insitu_conv_groups_params_t, see `band`."""
    conv = conv_params(attributes, x, w, y)
    if is_plain(attributes):
        return conv
    height, width = dilation_of(attributes)
    return {
        "conv": conv,
        "groups": groups_of(attributes),
        "dilation_height": height,
        "dilation_width": width,
        "band": band(attributes, x, w, y, band_of).lines,
        "compact_bytes": nonzero,
    }


def gradient_scratch(
    attributes: Attributes, x: Tensor, w: Tensor, dy: Tensor, *, lines: int = 0
) -> int:
    """Bytes of the gradient of one row, or of so many rows as are made at once; int32.

    Args:
        lines: as many more rows are asked for beside them.
    """
    row = 4 * (w.size // w.shape[0])
    if not is_depthwise(attributes, w):
        return row * (1 + lines)
    planes = band(attributes, x, w, dy, bands.gradient_band).bytes
    return max(row * (DEPTHWISE_BLOCK + lines), row * (LANES + lines) + planes)
