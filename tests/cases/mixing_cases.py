"""Networks around the ops that mix and move activations, as in cases.py."""

from __future__ import annotations

from typing import Any

from case_layers import (
    ALL_1,
    FLATTEN,
    FRONT,
    HEAD,
    RELU,
    Case,
    Layer,
    after_front,
    average_pool,
    clip,
    conv,
    linear,
    max_pool,
)


def multiply(*of: int) -> Layer:
    return Layer("multiply", of=of)


def concat(*of: int, axis: int = 2) -> Layer:
    return Layer("concat", {"axis": axis}, of=of)


def resize(high: int, wide: int, **fields: Any) -> Layer:
    return Layer("resize", {"factor": (high, wide)}, **fields)


def move(op: str, low: tuple[int, ...], shape: tuple[int, ...], **fields: Any) -> Layer:
    """Pad or slice; a step of its own is one number an axis."""
    step = fields.pop("step", (1,) * len(low))
    return Layer(op, {"low": low, "step": step, "shape": shape}, **fields)


MIXING = {
    "product": after_front(conv(3, padding=ALL_1), multiply(2, 3), RELU),
    "product-clipped": after_front(conv(3, padding=ALL_1), multiply(3, 2), clip(-0.1, 0.3)),
    "product-frozen": after_front(
        conv(3, padding=ALL_1), multiply(2, 3), conv(4), RELU, trained="last:2"
    ),
    "squared": Case((6, 7, 2), (FRONT, multiply(1, 1), conv(3), RELU, *HEAD)),
    "squeeze-and-excitation": after_front(
        *(average_pool((6, 7), (6, 7)), conv(2, (1, 1)), RELU, conv(3, (1, 1)), clip(0.0, 1.0)),
        *(multiply(2, 7), conv(3), RELU),
    ),
    "excited-by-features": after_front(
        *(average_pool((6, 7), (6, 7)), FLATTEN, linear(3), clip(-1.0, 1.0), multiply(2, 6)),
    ),
    "product-of-features": Case(
        (6,), (linear(5), RELU, linear(5, weights="large"), multiply(2, 3), RELU, linear(3))
    ),
    "concat": after_front(conv(4, padding=ALL_1), RELU, concat(2, 4), conv(3), RELU),
    "concat-of-three": after_front(
        *(conv(2, padding=ALL_1), conv(1, (1, 1), of=(2,)), concat(3, 2, 4), RELU, conv(3), RELU)
    ),
    "concat-twice-the-same": after_front(concat(2, 2), conv(3), RELU),
    "concat-frozen": after_front(
        conv(2, padding=ALL_1), concat(2, 3), conv(3), RELU, trained="last:2"
    ),
    "concat-of-features": Case((6,), (linear(5), RELU, linear(4), concat(2, 3, axis=0), linear(3))),
    "concat-below": after_front(conv(3, (2, 1)), RELU, concat(4, 2, axis=0), conv(3), RELU),
    "concat-beside": after_front(conv(3, (1, 3)), concat(2, 3, axis=1), conv(3), RELU),
    "pad-before-conv": after_front(move("pad", (1, 0, 0), (8, 9, 3)), conv(3), RELU),
    "pad-before-average": after_front(move("pad", (0, 1, 0), (7, 8, 3)), average_pool()),
    "pad-before-max": Case(
        (5, 5, 2), (FRONT, move("pad", (1, 2, 0), (7, 8, 3)), max_pool(), *HEAD)
    ),
    "pad-channels": after_front(move("pad", (0, 0, 2), (6, 7, 7)), conv(3), RELU),
    "pad-crops": after_front(move("pad", (-1, 2, -1), (5, 8, 3)), conv(3), RELU),
    "pad-spread": after_front(move("pad", (1, -2, 0), (13, 17, 3), step=(2, 3, 1)), conv(3), RELU),
    "pad-of-features": Case(
        (6,), (linear(5), RELU, move("pad", (2,), (9,)), linear(4), RELU, linear(3))
    ),
    "slice-channels": after_front(move("slice", (0, 0, 1), (6, 7, 2)), conv(3), RELU),
    "slice-every-other": after_front(
        move("slice", (1, 0, 0), (3, 4, 3), step=(2, 2, 1)), conv(3), RELU
    ),
    "slice-beyond": after_front(move("slice", (-1, 4, 1), (8, 5, 4)), conv(3), RELU),
    "split-and-swapped": after_front(
        *(conv(4, padding=ALL_1), RELU, move("slice", (0, 0, 0), (6, 7, 2))),
        *(move("slice", (0, 0, 2), (6, 7, 2), of=(4,)), concat(6, 5), conv(3), RELU),
    ),
    "resize": after_front(max_pool(), resize(2, 2), conv(3), RELU),
    "resize-uneven": after_front(average_pool(), resize(1, 3), conv(3), RELU),
    "resize-saturates": Case(
        (3, 3, 2), (FRONT, resize(3, 3), conv(3, weights="large"), FLATTEN, linear(3))
    ),
}

ZOO_MIXING = Case(
    (6, 8, 3),
    (
        *(FRONT, RELU, conv(3, padding=ALL_1), multiply(2, 3), average_pool((6, 8), (6, 8))),
        *(conv(3, (1, 1)), clip(0.0, 1.0), multiply(4, 7), concat(8, 2, 4), clip(-1.0, 2.0)),
        *(move("slice", (0, 0, 2), (3, 4, 5), step=(2, 2, 1)), resize(2, 2), conv(4)),
        *(move("pad", (0, -1, 0), (9, 12, 4), step=(2, 3, 1)), conv(3), RELU, *HEAD),
    ),
)
