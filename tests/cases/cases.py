"""Networks around every op, as data: shape of the input, layers, what is trained.

Each question of the proof chain (float against onnxruntime, gradient against torch, integer
against float, C against integer) is asked of every case. The op that a case is about stands
behind a trained layer, so that its gradient is needed.
"""

from __future__ import annotations

from activation_cases import ACTIVATIONS, ZOO_OF_FUNCTIONS
from case_layers import (
    ALL_1,
    FLATTEN,
    FRONT,
    HEAD,
    IDENTITY,
    NORM,
    RELU,
    RELU6,
    SOFTMAX,
    Case,
    add,
    after_front,
    average_pool,
    clip,
    conv,
    grouped,
    linear,
    max_pool,
    permute,
    reshape,
    unflatten,
)
from mixing_cases import MIXING, ZOO_MIXING

CONVOLUTIONS = {
    "conv-odd": after_front(conv(5), RELU, shape=(7, 5, 3)),
    "conv-1x1": after_front(conv(4, (1, 1)), RELU),
    "conv-1x1-map": Case((1, 1, 5), (conv(3, (1, 1)), RELU, conv(4, (1, 1)), *HEAD)),
    "conv-1x1-map-padded": Case((1, 1, 2), (FRONT, RELU, conv(3, padding=ALL_1), *HEAD)),
    "conv-stride-2": after_front(conv(4, stride=(2, 2), padding=ALL_1), RELU, shape=(8, 9, 2)),
    "conv-asymmetric": after_front(conv(3, (3, 2), (2, 1), (0, 2, 1, 0)), RELU6),
    "conv-one-channel": Case((5, 6, 1), (conv(1, padding=ALL_1), RELU, conv(1, (2, 4)), *HEAD)),
    "conv-5x5": after_front(conv(3, (5, 5), padding=(2, 2, 2, 2)), RELU),
    "conv-7x7-stride-2": after_front(conv(2, (7, 7), (2, 2), (3, 3, 3, 3)), RELU, shape=(9, 8, 2)),
    "conv-1d": Case(
        (1, 21, 1), (conv(4, (1, 5), (1, 2), (0, 2, 0, 2)), RELU, conv(3, (1, 3)), RELU, *HEAD)
    ),
    "conv-leaves-a-rest": after_front(conv(2, stride=(3, 2)), RELU, shape=(7, 8, 1)),
    "conv-stride-over-kernel": after_front(conv(3, (1, 2), (2, 3)), RELU),
    "conv-windows-of-padding": after_front(conv(3, (2, 2), padding=(3, 2, 2, 3)), RELU),
    "conv-padding-over-map": Case((2, 2, 2), (conv(3, padding=(4, 4, 4, 4)), RELU, conv(2), *HEAD)),
    "conv-no-activation": after_front(conv(4), conv(3), RELU),
    "conv-relu6": Case((6, 6, 2), (conv(4, weights="large"), RELU6, conv(3), RELU6, *HEAD)),
    "conv-hard-tanh": after_front(conv(4), clip(-1.0, 1.0)),
    "conv-clip-above-0": after_front(conv(4), clip(0.5, 2.0)),
    "conv-tiles": Case(
        (15, 13, 9),
        (
            *(conv(12, padding=ALL_1), RELU, conv(7, (5, 5), (2, 1), (2, 0, 1, 3)), RELU),
            *(conv(13, (1, 1), weights="large"), clip(-40.0, 40.0), max_pool((3, 3), (3, 3))),
            *HEAD,
        ),
    ),
    "conv-many-channels": Case((4, 4, 9), (conv(17, padding=ALL_1), RELU, conv(19), RELU, *HEAD)),
}

WIDE = conv(19, (1, 1))
"""To more channels than are worked on side by side."""

GROUPS = {
    "depthwise": after_front(grouped(3, 3, padding=ALL_1), RELU),
    "depthwise-wide": Case((5, 6, 2), (WIDE, RELU, grouped(19, 19, padding=ALL_1), RELU, *HEAD)),
    "depthwise-16": Case(
        (5, 6, 2), (conv(16, (1, 1)), RELU, grouped(16, 16, padding=ALL_1), RELU, *HEAD)
    ),
    "depthwise-5x5": after_front(grouped(3, 3, (5, 5), padding=(2, 2, 2, 2)), RELU6),
    "depthwise-7x7": after_front(
        grouped(3, 3, (7, 7), stride=(2, 2), padding=(3, 3, 3, 3)), RELU, shape=(9, 8, 2)
    ),
    "depthwise-asymmetric": after_front(
        grouped(3, 3, stride=(2, 2), padding=(0, 1, 1, 2)), RELU, shape=(7, 5, 2)
    ),
    "depthwise-one-channel": Case(
        (5, 6, 1), (conv(1, padding=ALL_1), RELU, grouped(1, 1, dilation=(2, 1)), *HEAD)
    ),
    "depthwise-1x1": after_front(grouped(3, 3, (1, 1)), RELU),
    "depthwise-1d": Case(
        (1, 21, 2),
        (conv(6, (1, 3)), RELU, grouped(6, 6, (1, 5), stride=(1, 2), padding=(0, 1, 0, 2)), *HEAD),
    ),
    "depthwise-dilated": after_front(
        grouped(3, 3, dilation=(2, 3), padding=(2, 3, 2, 3), stride=(2, 1)), RELU, shape=(7, 9, 2)
    ),
    "depthwise-tiny-rows": after_front(
        grouped(3, 3, padding=ALL_1, weights="tiny-rows"), RELU6, conv(4, (1, 1)), RELU
    ),
    "depthwise-over-map": after_front(
        grouped(3, 3, (3, 3), padding=(4, 3, 3, 4), stride=(3, 2)), RELU, shape=(2, 3, 2)
    ),
    "depthwise-first": Case(
        (6, 7, 3), (grouped(3, 3, padding=ALL_1), RELU, conv(4, (1, 1)), RELU, *HEAD)
    ),
    "depthwise-frozen": Case(
        (6, 7, 3),
        (FRONT, RELU, grouped(3, 3, padding=ALL_1), RELU, conv(4, (1, 1)), RELU, *HEAD),
        trained="conv1,linear8",
    ),
    "multiplier-2": after_front(grouped(6, 3, padding=ALL_1), RELU),
    "multiplier-3-stride-2": after_front(grouped(9, 3, stride=(2, 2), dilation=(1, 2)), RELU),
    "grouped-1x1": Case((5, 4, 6), (conv(6, (1, 1)), RELU, grouped(4, 2, (1, 1)), RELU, *HEAD)),
    "grouped": Case((5, 6, 2), (conv(6), RELU, grouped(9, 3, padding=(1, 0, 2, 1)), RELU, *HEAD)),
    "grouped-1d": Case(
        (1, 17, 2), (conv(4, (1, 3)), RELU, grouped(6, 2, (1, 3), dilation=(1, 2)), RELU, *HEAD)
    ),
    "dilated": after_front(grouped(4, 1, dilation=(2, 2), padding=(2, 2, 2, 2)), RELU),
    "dilated-stride-2": after_front(
        grouped(4, 1, (2, 3), stride=(2, 3), dilation=(3, 2), padding=(1, 2, 0, 2)), RELU
    ),
    "dilated-1d": Case(
        (1, 23, 2), (conv(3, (1, 3)), RELU, grouped(4, 1, (1, 4), dilation=(1, 3)), RELU, *HEAD)
    ),
}

POOLS = {
    "max": after_front(max_pool()),
    "max-overlap": after_front(max_pool((3, 3), (2, 2), ALL_1), shape=(7, 7, 2)),
    "max-stride-1": after_front(max_pool((3, 2), (1, 1))),
    "max-asymmetric": after_front(max_pool((3, 2), (2, 2), (0, 1, 2, 0))),
    "max-leaves-a-rest": after_front(max_pool((2, 2), (3, 3))),
    "max-1d": Case((1, 20, 1), (conv(3, (1, 3)), RELU, max_pool((1, 2), (1, 2)), *HEAD)),
    "max-whole-map": after_front(max_pool((6, 7), (1, 1))),
    "max-of-negatives": Case((6, 6, 2), (FRONT, max_pool((3, 3), (2, 2), ALL_1), *HEAD)),
    "average": after_front(average_pool()),
    "average-stride-1": after_front(average_pool((3, 2), (1, 1))),
    "average-padded": after_front(average_pool((3, 3), (2, 2), ALL_1), shape=(5, 5, 2)),
    "average-counted": after_front(
        average_pool((3, 3), (2, 2), (1, 0, 1, 2), counted=True), shape=(5, 5, 2)
    ),
    "average-uneven": after_front(average_pool((3, 3), (1, 1), (2, 1, 0, 2)), shape=(4, 5, 2)),
    "average-of-both-signs": Case((6, 6, 2), (FRONT, average_pool((3, 3), (3, 3)), *HEAD)),
    "average-1d": Case(
        (1, 19, 2), (conv(3, (1, 3)), RELU, average_pool((1, 4), (1, 3), (0, 1, 0, 1)), *HEAD)
    ),
    "average-whole-map": after_front(average_pool((6, 7), (6, 7))),
    "pool-of-input": Case((6, 6, 3), (average_pool(), max_pool(), conv(3, (1, 1)), *HEAD)),
}

LINEARS = {
    "linear": Case((6,), (linear(5), RELU, linear(3))),
    "linear-one-feature": Case((1,), (linear(3), RELU, linear(2))),
    "linear-one-row": Case((7,), (linear(1), RELU, linear(3))),
    "linear-two-classes": Case((9,), (linear(4), RELU, linear(2))),
    "linear-wide": Case((150,), (linear(3), RELU, linear(5))),
    "linear-of-wide": Case((3,), (linear(150), RELU, linear(130), RELU, linear(11))),
    "linear-relu6": Case((12,), (linear(9, weights="large"), RELU6, linear(8), RELU6, linear(4))),
    "linear-no-activation": Case((6,), (linear(5), linear(4), linear(3))),
    "linear-alone": Case((8,), (linear(4),)),
    "linear-softmax": Case((8,), (linear(5), RELU, linear(4), SOFTMAX)),
    "linear-of-map": Case((3, 4, 2), (conv(3, (2, 2)), RELU, *HEAD)),
    "linear-clipped-scores": Case((8,), (linear(5), RELU, linear(4), RELU)),
}

LAYOUTS = {
    "flatten-kept": after_front(max_pool(), FLATTEN, RELU, unflatten(3, 3, 3), conv(2, (2, 2))),
    "flatten-then-clip": after_front(average_pool(), FLATTEN, clip(0.25, 1.0)),
    "permute": after_front(permute(1, 2, 0), conv(3), RELU),
    "permute-then-linear": after_front(permute(2, 0, 1), reshape(126)),
    "shuffle": after_front(
        *(conv(6, (1, 1)), RELU, reshape(42, 2, 3), permute(0, 2, 1), reshape(6, 7, 6)),
        *(grouped(6, 3, padding=ALL_1), RELU),
    ),
    "reshape-kept": after_front(max_pool(), reshape(27), RELU, reshape(3, 3, 3), conv(2, (2, 2))),
    "unflatten": Case((24,), (linear(24), RELU, unflatten(3, 4, 2), conv(3, (2, 2)), RELU, *HEAD)),
    "identity": after_front(IDENTITY, conv(3), IDENTITY),
    "norm": after_front(conv(4), NORM, RELU),
    "norm-1d": Case((1, 15, 2), (conv(3, (1, 3)), NORM, RELU, *HEAD)),
    "norm-of-input": Case((6, 7, 2), (NORM, RELU, conv(3), RELU, *HEAD)),
    "norm-behind-relu": after_front(NORM, RELU, conv(4), NORM, NORM, RELU),
    "norm-between-pools": after_front(max_pool(), NORM, average_pool((3, 3), (3, 3))),
    "norm-of-features": Case((7,), (linear(5), NORM, RELU, linear(3))),
    "clip-after-max": Case((6, 6, 2), (FRONT, max_pool(), RELU, *HEAD)),
    "clip-after-average": Case((6, 6, 2), (FRONT, average_pool(), clip(-0.5, 0.5), *HEAD)),
    "clip-beyond-range": Case((6, 6, 2), (FRONT, max_pool(), clip(-50.0, 50.0), *HEAD)),
    "clip-twice": after_front(RELU6, max_pool(), RELU6, clip(0.0, 1.0)),
    "clip-of-input": Case((5, 5, 2), (RELU, FRONT, RELU, *HEAD)),
    "clip-below-0": Case((6, 6, 2), (FRONT, max_pool(), clip(-2.0, -0.5), *HEAD)),
}

BRANCHES = {
    "residual": after_front(conv(3, padding=ALL_1), RELU, conv(3, padding=ALL_1), add(2, 5), RELU),
    "residual-clipped": after_front(conv(3, padding=ALL_1), add(2, 3), clip(-0.5, 1.0)),
    "residual-frozen": after_front(
        conv(3, padding=ALL_1), RELU, add(2, 4), RELU, conv(4), RELU, trained="last:2"
    ),
    "residual-projected": after_front(
        *(conv(5, stride=(2, 2), padding=ALL_1), RELU, conv(5, padding=ALL_1)),
        *(conv(5, (1, 1), (2, 2), of=(2,)), add(6, 5), RELU),
        shape=(6, 8, 2),
    ),
    "residual-behind-frozen": after_front(conv(3, padding=ALL_1), add(2, 3), trained="conv1"),
    "difference": after_front(conv(3, padding=ALL_1), add(2, 3, subtract=True), RELU),
    "difference-turned": after_front(conv(3, padding=ALL_1), add(3, 2, subtract=True), RELU),
    "added-to-itself": after_front(add(2, 2), conv(3), RELU),
    "taken-from-itself": after_front(add(2, 2, subtract=True), conv(3), RELU),
    "three-readers": after_front(
        *(conv(3, padding=ALL_1), conv(3, (1, 1), of=(2,)), add(3, 4), add(5, 2), RELU),
    ),
    "sum-of-the-input": Case((5, 6, 3), (conv(3, padding=ALL_1), RELU, add(0, 2), RELU, *HEAD)),
    "sum-at-the-end": Case((6,), (linear(5), RELU, linear(5), add(2, 3))),
    "error-of-two-scales": after_front(
        *(average_pool(), conv(3, (2, 2), of=(2,), stride=(2, 2)), add(3, 4), RELU)
    ),
    "two-errors-saturate": Case(
        (6,), (linear(5), RELU, linear(5, weights="large"), add(2, 3), linear(3, weights="large"))
    ),
}

ENDS = {
    "ends-in-depthwise": Case(
        (6, 6, 2), (FRONT, RELU, grouped(3, 3), average_pool((4, 4), (4, 4)), FLATTEN)
    ),
    "ends-in-average": Case(
        (6, 6, 2), (FRONT, RELU, conv(4), average_pool((4, 4), (4, 4)), FLATTEN)
    ),
    "ends-in-map": Case((6, 6, 2), (FRONT, RELU, conv(4), average_pool((4, 4), (4, 4)))),
    "ends-in-conv": Case((3, 3, 2), (FRONT, RELU, conv(4), FLATTEN)),
    "ends-in-max": Case((6, 6, 2), (FRONT, RELU, conv(3), max_pool((4, 4), (4, 4)), FLATTEN)),
    "ends-in-large-map": Case((4, 4, 2), (FRONT, RELU, conv(2), FLATTEN)),
    "ends-in-softmax": Case(
        (6, 6, 2), (FRONT, RELU, conv(4), average_pool((4, 4), (4, 4)), FLATTEN, SOFTMAX)
    ),
}

MAP = Case((5, 4, 2), (FRONT, RELU, conv(3, (2, 2))))
"""Its output is a map: for the losses whose labels are targets."""

BODY = (FRONT, RELU, conv(4, stride=(2, 2)), RELU, max_pool(), FLATTEN, linear(6), RELU, linear(3))

PARTS = {
    "last-1": Case((9, 9, 2), BODY, trained="last:1"),
    "last-2": Case((9, 9, 2), BODY, trained="last:2"),
    "last-3": Case((9, 9, 2), BODY, trained="last:3"),
    "first-only": Case((9, 9, 2), BODY, trained="conv1"),
    "middle-only": Case((9, 9, 2), BODY, trained="conv3"),
    "linear-in-front-of-frozen": Case((9, 9, 2), BODY, trained="linear7"),
}

WEIGHTS = {
    "zero-rows": Case(
        (5, 5, 2),
        (
            conv(4, weights="zero-rows"),
            RELU,
            FLATTEN,
            linear(6, weights="zero-rows"),
            RELU,
            linear(3),
        ),
    ),
    "zero-head": Case((5, 5, 2), (FRONT, RELU, FLATTEN, linear(4, weights="zero"))),
    "zero-layer": Case((5, 5, 2), (conv(3, weights="zero"), RELU, *HEAD)),
    "tiny-rows": Case((5, 5, 2), (conv(4, weights="tiny-rows"), RELU6, conv(4), RELU, *HEAD)),
    "tiny-rows-frozen": Case(
        (5, 5, 2), (conv(4, weights="tiny-rows"), RELU6, conv(4), RELU, *HEAD), trained="last:1"
    ),
    "ratio-over-half": Case(
        (6,),
        (linear(5, weights="large"), clip(0.0, 0.5), linear(4, weights="large"), RELU, linear(3)),
    ),
    "tiny-rows-ratio-over-half": Case(
        (40,),
        (linear(8, weights="tiny-rows-large"), clip(0.0, 0.25), linear(3)),
    ),
}

SCALES = {
    "input-1e6": after_front(conv(3), RELU, scale=1e6, bias=1e-4),
    "input-1e3": after_front(conv(3), RELU, scale=1e3),
    "input-1e-3": after_front(conv(3), RELU, scale=1e-3),
    "input-1e-6": after_front(conv(3), RELU, scale=1e-6),
    "input-1e6-frozen": after_front(conv(3), RELU, scale=1e6, bias=1e-4, trained="last:1"),
    "input-1e-6-frozen": after_front(conv(3), RELU, scale=1e-6, trained="last:1"),
}

ZOO = {
    "zoo-2d": Case(
        (11, 9, 3),
        (
            *(conv(5, (3, 3), (1, 1), (1, 0, 2, 1)), RELU),
            *(max_pool((3, 3), (2, 2), ALL_1), clip(0.0, 1.5)),
            *(conv(7, (1, 1)), RELU6, average_pool((3, 2), (1, 1), (1, 1, 0, 0))),
            *(conv(6, (3, 2), (2, 2), ALL_1), FLATTEN, clip(-1.0, 1.0)),
            *(linear(12), RELU, unflatten(2, 3, 2), conv(3, (2, 2), padding=ALL_1), RELU),
            *(FLATTEN, linear(10), RELU, linear(7)),
        ),
    ),
    "zoo-1d": Case(
        (1, 45, 2),
        (
            *(conv(6, (1, 7), (1, 2), (0, 3, 0, 2)), NORM, RELU, max_pool((1, 3), (1, 2))),
            *(conv(5, (1, 3)), average_pool((1, 3), (1, 2), (0, 1, 0, 1), counted=True)),
            *(RELU, conv(4, (1, 1)), RELU6, max_pool((1, 2), (1, 2)), conv(4, (1, 2))),
            *(average_pool((1, 1), (1, 1)), FLATTEN),
        ),
    ),
    "zoo-branches": Case(
        (8, 8, 3),
        (
            *(conv(3, padding=ALL_1), RELU, conv(3, padding=ALL_1), add(2, 3), RELU),
            *(conv(4, (3, 3), (2, 2), ALL_1), RELU, conv(4, (1, 1), (2, 2), of=(5,))),
            *(add(7, 8, subtract=True), average_pool(), conv(4, (2, 2), (2, 2), of=(9,))),
            *(add(10, 11), RELU, *HEAD),
        ),
    ),
    "zoo-pools": Case(
        (13, 12, 3),
        (
            *(conv(10, (2, 2)), RELU6, max_pool((2, 2), (2, 2)), average_pool((2, 3), (1, 1))),
            *(conv(7, (1, 1)), conv(7, (1, 1), of=(4,)), add(5, 6, subtract=True), RELU),
            *(max_pool((2, 2), (1, 1)), average_pool(), max_pool((2, 1), (1, 1)), FLATTEN),
            linear(6),
        ),
    ),
    "zoo-groups": Case(
        (9, 8, 2),
        (
            *(conv(17, (3, 3), padding=ALL_1), RELU, grouped(17, 17, padding=ALL_1), RELU6),
            *(conv(6, (1, 1)), RELU, grouped(12, 6, (5, 3), stride=(2, 1), padding=(2, 1, 1, 0))),
            *(RELU, grouped(8, 4, dilation=(1, 2)), RELU, grouped(5, 1, (2, 2), dilation=(1, 2))),
            *(RELU, FLATTEN, linear(5)),
        ),
    ),
    "zoo-depthwise": Case(
        (11, 9, 6),
        (
            *(grouped(6, 6, padding=ALL_1), RELU, grouped(6, 6, (5, 5), padding=(2, 2, 2, 2))),
            *(RELU6, grouped(6, 6, (7, 7), padding=(3, 3, 3, 3)), RELU),
            *(grouped(6, 6, (3, 3), stride=(2, 2), padding=(1, 0, 0, 1)), RELU),
            *(grouped(6, 6, (5, 5), stride=(2, 2), padding=(2, 2, 2, 2)), RELU),
            *(grouped(6, 6, padding=ALL_1), RELU, FLATTEN, linear(5)),
        ),
    ),
    "mobile-blocks": Case(
        (10, 9, 3),
        (
            *(conv(16), RELU6, grouped(16, 16, padding=ALL_1), RELU6, conv(8, (1, 1))),
            *(conv(24, (1, 1)), RELU6, grouped(24, 24, (5, 5), padding=(2, 2, 2, 2)), RELU6),
            *(conv(10, (1, 1)), conv(7, stride=(2, 2)), average_pool(), FLATTEN, linear(4)),
        ),
    ),
    "zoo-functions": ZOO_OF_FUNCTIONS,
    "zoo-mixing": ZOO_MIXING,
    "zoo-frozen": Case(
        (8, 8, 1),
        (
            *(FRONT, RELU, conv(6, stride=(2, 2), padding=ALL_1), RELU6, average_pool()),
            *(conv(8, (2, 2)), RELU, FLATTEN, linear(9), RELU, linear(2)),
        ),
        trained="conv3,linear9",
    ),
}
"""What runs on the emulated cores: between them they call every kernel there is."""

CASES = {
    **CONVOLUTIONS,
    **GROUPS,
    **POOLS,
    **LINEARS,
    **LAYOUTS,
    **BRANCHES,
    **ACTIVATIONS,
    **MIXING,
    **ENDS,
    **PARTS,
    **WEIGHTS,
    **SCALES,
    **ZOO,
}
