"""Networks around activation functions that are no clips: see cases.py."""

from __future__ import annotations

from case_layers import (
    ALL_1,
    FLATTEN,
    FRONT,
    HEAD,
    RELU,
    Case,
    activation,
    add,
    after_front,
    clip,
    conv,
    linear,
    max_pool,
    prelu,
)

PLAIN = ("sigmoid", "tanh", "hard_swish", "silu", "gelu", "gelu_tanh", "softplus")
FUNCTIONS = {
    **{name: activation(name) for name in PLAIN},
    "hard_sigmoid": activation("hard_sigmoid", 0.2, 0.5),
    "elu": activation("elu", 1.0, 1.0),
    "selu": activation("elu", 1.6732632, 1.050701),
    "leaky_relu": prelu(0.1),
    "prelu": prelu(0.25, -0.5, 1.5),
}

MAPS = {
    **{name: Case((6, 6, 2), (FRONT, layer, conv(3), *HEAD)) for name, layer in FUNCTIONS.items()},
    **{
        f"{name}-large": Case((10, 9, 2), (FRONT, layer, conv(3, stride=(2, 2)), *HEAD), scale=3.0)
        for name, layer in FUNCTIONS.items()
    },
    **{
        f"{name}-frozen": Case((6, 6, 2), (FRONT, layer, conv(3), RELU, *HEAD), trained="last:1")
        for name, layer in FUNCTIONS.items()
    },
}
"""Of fewer elements than a table, of more, and where no scale moves."""

ACTIVATIONS = {
    **MAPS,
    "functions-in-a-row": Case(
        (8, 8, 2), (FRONT, *(FUNCTIONS[name] for name in sorted(FUNCTIONS)), *HEAD)
    ),
    "function-of-sum": after_front(conv(3, padding=ALL_1), add(2, 3), FUNCTIONS["silu"]),
    "function-of-a-range-at-its-end": after_front(max_pool(), FUNCTIONS["sigmoid"], scale=40.0),
    "function-of-a-tiny-range": after_front(FUNCTIONS["hard_swish"], FUNCTIONS["tanh"], scale=1e-5),
    "function-of-the-input": Case((5, 5, 2), (FUNCTIONS["tanh"], FRONT, FUNCTIONS["silu"], *HEAD)),
    "functions-of-features": Case(
        (7,), (linear(6), FUNCTIONS["gelu"], linear(5), prelu(0.1, 0.2, 1.9, -1, 0), linear(3))
    ),
    "function-then-clip": Case((6, 6, 2), (FRONT, FUNCTIONS["sigmoid"], clip(0.25, 0.75), *HEAD)),
    "sigmoid-at-the-end": Case((8,), (linear(5), RELU, linear(4), FUNCTIONS["sigmoid"])),
}

ZOO_OF_FUNCTIONS = Case(
    (9, 10, 2),
    (
        *(conv(4, padding=ALL_1), FUNCTIONS["hard_swish"], FUNCTIONS["elu"], max_pool()),
        *(conv(4, padding=ALL_1), FUNCTIONS["silu"], FUNCTIONS["softplus"]),
        *(conv(3), FUNCTIONS["prelu"], FUNCTIONS["gelu"], FUNCTIONS["hard_sigmoid"], FLATTEN),
        *(linear(9), FUNCTIONS["leaky_relu"], FUNCTIONS["sigmoid"], FUNCTIONS["tanh"]),
        *(linear(9), FUNCTIONS["gelu_tanh"], linear(5)),
    ),
)
"""All of them, of maps and of features."""
