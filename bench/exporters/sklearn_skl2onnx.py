"""scikit-learn's multi-layer perceptrons by skl2onnx."""
# /// script
# requires-python = ">=3.11"
# dependencies = ["skl2onnx==1.20.0", "scikit-learn==1.9.1", "onnx==1.23.2"]
# ///

import json
import sys
from pathlib import Path

import numpy as np
from skl2onnx import to_onnx
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

rng = np.random.default_rng(0)
x = rng.normal(size=(300, 6)).astype(np.float32) * np.float32([1, 1, 2, 3, 5, 8])
kinds = {"max_iter": 30, "random_state": 0}
three = np.digitize(x[:, 0] + x[:, 1], [-0.5, 0.5])
out = Path(sys.argv[1])
for name, estimator, y, loss in (
    ("classifier", MLPClassifier((12,), **kinds), three, "cross_entropy"),
    ("binary", MLPClassifier((12,), **kinds), three > 1, "bce"),
    (
        "regressor",
        MLPRegressor(hidden_layer_sizes=(12,), activation="tanh", **kinds),
        x[:, 0] * 2,
        "mse",
    ),
    (
        "standardized",
        make_pipeline(StandardScaler(), MLPClassifier((12, 8), **kinds)),
        three,
        "cross_entropy",
    ),
    (
        "scaled",
        make_pipeline(MinMaxScaler(), MLPRegressor(hidden_layer_sizes=(12,), **kinds)),
        x[:, 0] * 2,
        "mse",
    ),
):
    estimator.fit(x, y)
    options = {"zipmap": name != "classifier"} if loss != "mse" else None
    found = {id(estimator): options} if options else None
    (out / f"{name}.onnx").write_bytes(to_onnx(estimator, x[:1], options=found).SerializeToString())
    output = "variable" if loss == "mse" else "probabilities"
    (out / f"{name}.json").write_text(json.dumps({"loss": loss}))
