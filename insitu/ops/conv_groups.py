"""Which of its C kernels a convolution takes, and what it tells them.

Those without groups and dilation have kernels of their own. Twin: runtime/src/conv_groups.c.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from insitu.graph.model import Tensor
from insitu.ops.geometry import DENSE, conv_params, dilation_of, groups_of

PLAIN, GROUPED = "conv", "conv_groups"
"""What the names of kernels, their parameters and their sources begin with."""

DEPTHWISE_BLOCK = 16
"""INSITU_DEPTHWISE_BLOCK in the C."""


def is_plain(attributes: Mapping[str, Any]) -> bool:
    """Whether a convolution, or a linear layer, has neither groups nor dilation."""
    return groups_of(attributes) == 1 and dilation_of(attributes) == DENSE


def kernel_of(attributes: Mapping[str, Any]) -> str:
    """The kernel family of a convolution."""
    return PLAIN if is_plain(attributes) else GROUPED


def is_depthwise(attributes: Mapping[str, Any], w: Tensor) -> bool:
    """Whether every channel is a group of its own with one row of weights."""
    groups = groups_of(attributes)
    return not is_plain(attributes) and groups == w.shape[0] and w.shape[3] == 1


def shape_params(attributes: Mapping[str, Any], x: Tensor, w: Tensor, y: Tensor) -> dict[str, Any]:
    """Fields of insitu_conv_params_t, or of insitu_conv_groups_params_t."""
    conv = conv_params(attributes, x, w, y)
    if is_plain(attributes):
        return dict(conv)
    height, width = dilation_of(attributes)
    return {
        "conv": conv,
        "groups": groups_of(attributes),
        "dilation_height": height,
        "dilation_width": width,
    }


def gradient_scratch(attributes: Mapping[str, Any], w: Tensor) -> int:
    """Bytes of the gradient of one row, or of so many rows as are made at once; int32 or float."""
    return 4 * (w.size // w.shape[0]) * (DEPTHWISE_BLOCK if is_depthwise(attributes, w) else 1)
