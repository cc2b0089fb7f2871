"""ONNX models whose axes change places, as Keras, tf2onnx and JAX write them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx_models import model, node, normal

NHWC, NCHW, TNC = [0, 2, 3, 1], [0, 3, 1, 2], [0, 2, 1]


def between(*nodes: onnx.NodeProto, **constants: Any) -> onnx.ModelProto:
    """Nodes from c to d, on x[n, 6, 5, 3] with the channels last, between two convolutions."""
    arrays = {name: np.asarray(value) for name, value in constants.items()}
    arrays |= {"w": normal(4, 3, 3, 3), "b": normal(4), "v": normal(400, 3)[:, :2]}
    chain = [
        node("Transpose", "x", "t", perm=NCHW),
        node("Conv", "t w b", "u", pads=[1, 1, 1, 1]),
        node("Relu", "u", "r"),
        node("Transpose", "r", "c", perm=NHWC),
        *nodes,
        node("Flatten", "d", "f"),
    ]
    return model(["n", 6, 5, 3], chain, arrays, output="f", opset=18)


def one(op: str, inputs: str = "c", **options: Any) -> onnx.ModelProto:
    """One node of these."""
    constants = {key: value for key, value in options.items() if key.startswith("k_")}
    attributes = {key: value for key, value in options.items() if key not in constants}
    return between(node(op, inputs, "d", **attributes), **constants)


def signal(*nodes: onnx.NodeProto, shape: tuple[int, ...] = (9, 4), **arrays: Any) -> Any:
    """Nodes from x, a signal with the channels last, to y."""
    return model(["n", *shape], nodes, {k: np.asarray(v) for k, v in arrays.items()}, opset=18)


SHUFFLE = [
    node("Conv", "x w", "c"),
    node("Reshape", "c s", "g"),
    node("Transpose", "g", "t", perm=[0, 2, 1, 3, 4]),
    node("Reshape", "t z", "h"),
    node("Conv", "h v", "y", group=6),
]

CASES = {
    "between": one("Sigmoid"),
    "bias": one("Add", "c k_c", k_c=normal(4)),
    "scale": one("Mul", "k_c c", k_c=normal(1, 1, 4)),
    "standardized": between(
        node("Sub", "c k_m", "a"), node("Div", "a k_d", "d"), k_m=normal(4), k_d=normal(4) + 5
    ),
    "residual": between(node("Sigmoid", "c", "e"), node("Add", "c e", "d")),
    "mixed-orders": between(
        *(node("Transpose", "c", "p", perm=NCHW), node("Sigmoid", "p", "q")),
        *(node("Transpose", "q", "e", perm=NHWC), node("Mul", "c e", "d")),
    ),
    "gate": between(
        node("ReduceMean", "c k_a", "e", keepdims=1),
        node("Sigmoid", "e", "g"),
        node("Mul", "g c", "d"),
        k_a=np.array([1, 2]),
    ),
    "mean": one("ReduceMean", "c k_a", k_a=np.array([1, 2]), keepdims=0),
    "mean-of-rows": one("ReduceMean", "c k_a", k_a=np.array([-3]), keepdims=0),
    "max": one("ReduceMax", "c k_a", k_a=np.array([2])),
    "sum": one("ReduceSum", "c k_a", k_a=np.array([1, 2]), keepdims=0),
    "sum-divided": between(
        node("ReduceSum", "c k_a", "e", keepdims=0),
        node("Div", "e k_n", "d"),
        k_a=np.array([1, 2]),
        k_n=np.float32(30),
    ),
    "sum-shared": between(
        node("ReduceSum", "c k_a", "e", keepdims=0),
        *(node("Mul", "e k_n", "g"), node("Add", "g e", "d")),
        k_a=np.array([1, 2]),
        k_n=np.float32(0.25),
    ),
    "slopes": one("PRelu", "c k_s", k_s=normal(1, 1, 4)),
    "concat-channels": between(node("Sigmoid", "c", "e"), node("Concat", "c e", "d", axis=3)),
    "concat-rows": between(node("Sigmoid", "c", "e"), node("Concat", "c e", "d", axis=-3)),
    "pad": one("Pad", "c k_p", k_p=np.array([0, 1, 0, 2, 0, 0, 3, 0])),
    "slice": one(
        "Slice", "c k_s k_e k_a", k_s=np.array([1, 0]), k_e=np.array([3, 5]), k_a=np.array([-1, 1])
    ),
    "gather-row": one("Gather", "c k_i", k_i=np.int64(-2), axis=1),
    "gather-channel": one("Gather", "c k_i", k_i=np.int64(1), axis=3),
    "gather-places": one("Gather", "c k_i", k_i=np.array([0, 2, 4]), axis=2),
    "gather-the-last": model(
        ["n", 4, 9],
        [node("Conv", "x w", "c"), node("Gather", "c i", "g", axis=2), node("Gemm", "g v")],
        {"w": normal(5, 4, 3), "i": np.int64(-1), "v": normal(5, 2)},
    ),
    "split": between(node("Split", "c", "d e", axis=3, num_outputs=2)),
    "resize": one(
        "Resize",
        "c - k_s",
        k_s=np.array([1, 2, 3, 1], np.float32),
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    ),
    "dense-at-each-place": between(
        node("MatMul", "c k_w", "e"), node("Add", "e k_b", "d"), k_w=normal(4, 3), k_b=normal(3)
    ),
    "dense-over-width": between(
        node("Transpose", "c", "e", perm=[0, 1, 3, 2]),
        node("MatMul", "e k_w", "d"),
        k_w=normal(5, 2),
    ),
    "transposed-within": one("Transpose", perm=[0, 3, 2, 1]),
    "rows-of-a-signal": signal(
        node("MatMul", "x w", "a"), node("Relu", "a", "r"), node("MatMul", "r v", "y"),
        w=normal(4, 6), v=normal(6, 2),
    ),
    "rows-by-gemm": signal(
        node("Reshape", "x s", "a"), node("Gemm", "a w b", "g"), node("Reshape", "g z", "y"),
        s=np.array([9, 4]), z=np.array([1, 9, 5]), w=normal(4, 5), b=normal(5),
    ),
    "keras-1d": signal(
        *(node("Transpose", "x", "t", perm=TNC), node("Conv", "t w b", "c", pads=[1, 1])),
        *(node("Transpose", "c", "u", perm=TNC), node("Reshape", "u s", "f"), node("Gemm", "f v")),
        w=normal(5, 4, 3), b=normal(5), s=np.array([-1, 45]), v=normal(45, 2),
    ),
    "channels-first-read-last": signal(
        node("Conv", "x w", "c"), node("Transpose", "c", "t", perm=TNC), node("MatMul", "t v"),
        shape=(4, 9), w=normal(5, 4, 3), v=normal(5, 2),
    ),
    "first-and-last": signal(
        *(node("Conv", "x w", "c"), node("Transpose", "x", "t", perm=TNC)),
        *(node("Conv", "t v", "d"), node("Flatten", "c", "f"), node("Flatten", "d", "g")),
        node("Concat", "f g", "y", axis=1),
        w=normal(5, 9, 1), v=normal(2, 4, 1),
    ),
    "shuffle": model(
        ["n", 2, 4, 3],
        SHUFFLE,
        {
            "w": normal(6, 2, 1, 1),
            "s": np.array([-1, 2, 3, 4, 3]),
            "z": np.array([-1, 6, 4, 3]),
            "v": normal(6, 1, 3, 2),
        },
    ),
    "vector-as-a-map": model(
        ["n", 24],
        [node("Reshape", "x s", "m"), node("Transpose", "m", "t", perm=NCHW), node("Conv", "t w")],
        {"s": np.array([-1, 4, 2, 3]), "w": normal(2, 3, 2, 2)},
    ),
    "a-vector-of-two-axes": model(
        ["n", 4, 9, 1],
        [
            *(node("Reshape", "x s", "a"), node("Transpose", "a", "t", perm=TNC)),
            *(node("Flatten", "t", "f"), node("Gemm", "f w")),
        ],
        {"s": np.array([-1, 6, 6]), "w": normal(36, 3)},
    ),
    "a-vector-of-axes-that-cut": model(
        ["n", 6, 4],
        [
            *(node("Reshape", "x s", "a"), node("Transpose", "a", "t", perm=TNC)),
            *(node("Flatten", "t", "f"), node("Gemm", "f w")),
        ],
        {"s": np.array([-1, 8, 3]), "w": normal(24, 3)},
    ),
    "a-square-turned": model(
        ["n", 4, 4, 4],
        [
            *(node("MatMul", "x w", "a"), node("Transpose", "a", "t", perm=[0, 2, 1, 3])),
            *(node("Relu", "t", "c"), node("MatMul", "c w")),
        ],
        {"w": normal(4, 4)},
    ),
    "a-square-and-itself-turned": model(
        ["n", 4, 4, 4],
        [
            *(node("Conv", "x w", "c"), node("Transpose", "c", "t", perm=[0, 2, 1, 3])),
            node("Add", "t c"),
        ],
        {"w": normal(4, 4, 1, 1)},
    ),
    "columns": model(
        ["n", 3, 4, 5],
        [
            node("Transpose", "x", "t", perm=[0, 3, 1, 2]),
            node("Flatten", "t", "f"),
            node("Gemm", "f w", "y"),
        ],
        {"w": normal(60, 3)},
    ),
}  # fmt: skip

REFUSED = {
    "windows": model(
        ["n", 8, 8, 3],
        [
            node("Reshape", "x s", "m"),
            node("Transpose", "m", "t", perm=[0, 1, 3, 5, 2, 4]),
            node("Reshape", "t z", "r"),
            node("Conv", "r w"),
        ],
        {
            "s": np.array([1, 2, 4, 2, 4, 3]),
            "z": np.array([1, 12, 4, 4]),
            "w": normal(2, 12, 1, 1),
        },
    )
}
