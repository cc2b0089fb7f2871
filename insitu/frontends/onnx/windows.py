"""ONNX's kernel, strides, pads, auto_pad, ceil_mode -> what slides in our graph.

Invariant: padding is (top, left, bottom, right), in full: with it, the number of windows is
floor((in + padding - reach) / stride) + 1, whatever rule of ONNX it came from; reach is what the
kernel covers, (kernel - 1) dilation + 1. 1-D has height 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from insitu.frontends.onnx.operation import NotSupportedError, Operation
from insitu.frontends.onnx.order import Shape

LARGEST_WINDOWS = 2**25
"""Elements of all windows of a node; 28 million are those of the largest layer of VGG-16."""


@dataclass(frozen=True)
class Window:
    """A sliding window.

    Attributes:
        kernel, stride: (height, width).
        padding: (top, left, bottom, right).
        dilation: how far the kernel's places lie apart, (height, width).
        overhang: ceil_mode added padding to the last window.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int] = (1, 1)
    overhang: bool = False

    @property
    def attributes(self) -> dict[str, tuple[int, ...]]:
        """Of a pool."""
        return {"kernel": self.kernel, "stride": self.stride, "padding": self.padding}


def window_of(op: Operation, spatial: Shape, kernel: Shape, *, ceil_mode: bool = False) -> Window:
    """The window of `op` over an input of `spatial` size.

    Raises:
        ModelError: an attribute that does not fit the input.
        NotSupportedError: an auto_pad that frameworks disagree about, or with dilation.
    """
    rank = len(spatial)
    strides, dilations, reach = steps_of(op, kernel)
    rule = auto_pad_of(op)
    pads = op.integers("pads", 2 * rank, 0)
    before, after, overhang = [], [], False
    for axis, (size, k, s) in enumerate(zip(spatial, reach, strides, strict=True)):
        if rule.startswith("SAME"):
            low, high = _same(rule, size, k, s, dilations[axis])
        else:
            low, high = (pads[axis], pads[axis + rank]) if rule == "NOTSET" else (0, 0)
            if ceil_mode and size + low + high >= k:
                more = _overhang(size, k, s, low, high)
                overhang |= more > 0
                high += more
        before.append(low)
        after.append(high)
    (top, left), (bottom, right) = (0, *before)[-2:], (0, *after)[-2:]
    padding = (top, left, bottom, right)
    return Window(pair(kernel), pair(strides), padding, pair(dilations), overhang)


def steps_of(op: Operation, kernel: Shape) -> tuple[Shape, Shape, Shape]:
    """Strides, dilations, and what the kernel covers.

    Raises:
        ModelError: one of them is below 1.
    """
    strides, dilations = (op.integers(key, len(kernel), 1) for key in ("strides", "dilations"))
    if min(*strides, *kernel, *dilations) < 1:
        raise op.error(
            f"kernel {list(kernel)}, dilations {list(dilations)}, strides {list(strides)}: all are "
            "at least 1"
        )
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True))
    return strides, dilations, reach


def auto_pad_of(op: Operation) -> str:
    """The rule of padding.

    Raises:
        ModelError: ONNX has no such rule.
    """
    rule = op.text("auto_pad", "NOTSET")
    if rule not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise op.error(f'auto_pad "{rule}" is not one of ONNX\'s')
    return rule


def check_cost(op: Operation, shape: Shape, window: Window) -> None:
    """Raise where all windows over x[1, c, ...] together hold more than any board could compute."""
    size = (1, *shape[2:])[-2:]
    count = shape[1] * math.prod(window.kernel)
    for axis in (0, 1):
        reach = (window.kernel[axis] - 1) * window.dilation[axis]
        padded = size[axis] + window.padding[axis] + window.padding[axis + 2]
        count *= max((padded - reach - 1) // window.stride[axis] + 1, 0)
    if count > LARGEST_WINDOWS:
        raise op.error(
            f"its windows over {list(shape)} hold {count} numbers together; at most "
            f"{LARGEST_WINDOWS} can be read"
        )


def _same(rule: str, size: int, reach: int, stride: int, dilation: int) -> tuple[int, int]:
    """The padding of auto_pad SAME_UPPER and SAME_LOWER on one axis."""
    if dilation != 1:
        raise NotSupportedError(
            f"auto_pad {rule} with dilation {dilation}", "export with explicit pads"
        )
    total = (-(-size // stride) - 1) * stride + reach - size
    if total < -1:
        raise NotSupportedError(
            f"auto_pad {rule} with stride {stride} over kernel {reach}, where frameworks disagree",
            "export with explicit pads",
        )
    less, more = max(total, 0) // 2, -(-max(total, 0) // 2)
    return (less, more) if rule == "SAME_UPPER" else (more, less)


def pair(values: Shape) -> tuple[int, int]:
    """(height, width) of one number an axis."""
    return (1, values[0]) if len(values) == 1 else (values[0], values[1])


def _overhang(size: int, kernel: int, stride: int, low: int, high: int) -> int:
    """The padding that ceil_mode adds at the end.

    A window counts only if it starts within the input or the padding before it.
    """
    windows = -(-(size + low + high - kernel) // stride) + 1
    if (windows - 1) * stride >= size + low:
        windows -= 1
    return max((windows - 1) * stride + kernel - size - low - high, 0)
