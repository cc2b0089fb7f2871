"""scikit-learn estimator -> Model: its weights as an ONNX network, which `frontends.onnx` reads.

Invariant: scikit-learn itself is not imported; the estimator's own attributes say all. Multi-layer
perceptrons, alone or behind scalers in a Pipeline.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from insitu.errors import ModelError
from insitu.frontends.model import Model
from insitu.frontends.onnx import reader as onnx
from insitu.frontends.onnx.names import snake_case
from insitu.graph.model import Array

OPSET = 17
ACTIVATIONS = {"relu": "Relu", "tanh": "Tanh", "logistic": "Sigmoid", "identity": "Identity"}
ENDS = {"softmax": "Softmax", "logistic": "Sigmoid", "identity": "Identity"}


def read(estimator: Any) -> Model:
    """Read a fitted estimator.

    Args:
        estimator: an MLPClassifier or MLPRegressor, or a Pipeline of StandardScaler or MinMaxScaler
            that ends in one. A classifier of two classes is a network of one output, for the loss
            bce; of more, one that ends in a softmax.

    Raises:
        ModelError: it is not fitted, or another kind of estimator.
    """
    *scalers, last = [step for _, step in getattr(estimator, "steps", [("", estimator)])]
    name = type(last).__name__
    if not hasattr(last, "coefs_"):
        fitted = hasattr(last, "hidden_layer_sizes")
        raise ModelError(
            f"{name}: "
            + ("is not fitted; call fit first" if fitted else "is no multi-layer perceptron")
            + ("" if fitted else "; give an MLPClassifier, an MLPRegressor or a Pipeline with one")
        )
    return onnx.read_proto(_network(scalers, last), snake_case(name), name)


def _network(scalers: list[Any], last: Any) -> ModelProto:
    nodes: list[NodeProto] = []
    weights: dict[str, Array] = {}
    x = "x"
    for index, scaler in enumerate(scalers):
        x = _scaled(nodes, weights, scaler, x, f"scaler{index + 1}")
    functions = [ACTIVATIONS[last.activation]] * (last.n_layers_ - 2)
    functions.append(ENDS[last.out_activation_])
    for index, (w, b) in enumerate(zip(last.coefs_, last.intercepts_, strict=True)):
        name = f"layer{index + 1}"
        weights |= {f"{name}.w": w, f"{name}.b": b}
        nodes.append(helper.make_node("Gemm", [x, f"{name}.w", f"{name}.b"], [name], name=name))
        x = f"{name}.y"
        nodes.append(helper.make_node(functions[index], [name], [x], name=f"function{index + 1}"))
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", len(_first(scalers, last))])],
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, ["n", len(last.intercepts_[-1])])],
        [numpy_helper.from_array(np.asarray(w, np.float32), name) for name, w in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


def _first(scalers: list[Any], last: Any) -> Array:
    """Something with a row for each feature of the sample."""
    return np.zeros(scalers[0].n_features_in_) if scalers else np.asarray(last.coefs_[0])


def _scaled(
    nodes: list[NodeProto], weights: dict[str, Array], scaler: Any, x: str, name: str
) -> str:
    """Append what a scaler does to x: times a factor, plus an offset; returns its output."""
    kind = type(scaler).__name__
    if kind == "StandardScaler" and hasattr(scaler, "n_features_in_"):
        ones = np.ones(scaler.n_features_in_)
        factor = ones if scaler.scale_ is None else 1 / scaler.scale_
        offset = 0 * ones if scaler.mean_ is None else -scaler.mean_ * factor
    elif kind == "MinMaxScaler" and hasattr(scaler, "n_features_in_") and not scaler.clip:
        factor, offset = scaler.scale_, scaler.min_
    else:
        raise ModelError(
            f"{kind}: is not a fitted StandardScaler or a MinMaxScaler without clip; scale the "
            "samples before, or export the estimator with skl2onnx"
        )
    weights |= {f"{name}.factor": factor, f"{name}.offset": offset}
    nodes.append(helper.make_node("Mul", [x, f"{name}.factor"], [f"{name}.m"], name=f"{name}.m"))
    nodes.append(
        helper.make_node("Add", [f"{name}.m", f"{name}.offset"], [f"{name}.y"], name=f"{name}.y")
    )
    return f"{name}.y"
