"""Is a perceptron of scikit-learn the same network, from the estimator and from skl2onnx's file?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_models import model, node, normal, saved
from test_onnx import of_insitu

import insitu
from insitu.errors import ModelError
from insitu.frontends.model import Model

neural = pytest.importorskip("sklearn.neural_network")
preprocessing = pytest.importorskip("sklearn.preprocessing")
pipeline = pytest.importorskip("sklearn.pipeline")

RANDOM = np.random.default_rng(0)
X = (RANDOM.normal(size=(200, 5)) * [1, 2, 3, 5, 8] + [0, 10, -3, 0, 100]).astype(np.float32)
Z = X[:, 1] - 10 + X[:, 2]
THREE, TWO = np.digitize(Z, [-2, 2]), (Z > 0).astype(int)
FEW: dict[str, Any] = {"hidden_layer_sizes": (8, 6), "max_iter": 20, "random_state": 0}

ESTIMATORS: dict[str, tuple[Any, Any]] = {
    "classifier": (neural.MLPClassifier(**FEW), THREE),
    "binary": (neural.MLPClassifier(activation="tanh", **FEW), TWO),
    "regressor": (neural.MLPRegressor(activation="logistic", **FEW), Z),
    "two-targets": (neural.MLPRegressor(activation="identity", **FEW), X[:, :2]),
    "standardized": (
        pipeline.make_pipeline(preprocessing.StandardScaler(), neural.MLPClassifier(**FEW)),
        THREE,
    ),
    "both-scalers": (
        pipeline.make_pipeline(
            preprocessing.MinMaxScaler(),
            preprocessing.StandardScaler(with_std=False),
            neural.MLPRegressor(**FEW),
        ),
        Z,
    ),
}


def fitted(case: str) -> Any:
    estimator, y = ESTIMATORS[case]
    return estimator.fit(X, y)


def expected(case: str, estimator: Any) -> Any:
    if case == "binary":
        return estimator.predict_proba(X)[:, 1:]
    if hasattr(estimator, "predict_proba"):
        return estimator.predict_proba(X)
    return np.asarray(estimator.predict(X)).reshape(len(X), -1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", ESTIMATORS)
def test_an_estimator_and_the_network_say_the_same(case: str) -> None:
    estimator = fitted(case)
    read = insitu.from_sklearn(estimator)
    assert read.unsupported == () and read.input_shape == (5,)
    wanted = expected(case, estimator)
    assert np.abs(of_insitu(read, X) - wanted).max() <= 1e-5 * max(np.abs(wanted).max(), 1)


@pytest.mark.toolchain
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("case", "loss"), [("standardized", "cross_entropy"), ("binary", "bce")])
def test_an_estimator_is_trained_alike_on_desk_and_board(case: str, loss: str) -> None:
    training = insitu.TrainingConfig(layers="all", loss=loss)
    network = insitu.compile(insitu.from_sklearn(fitted(case)), calibration=X, training=training)
    y = TWO.astype(np.float32)[:, None] if loss == "bce" else THREE.astype(np.int32)
    assert network.run(X[:20], y[:20]).twin_equal


@pytest.mark.filterwarnings("ignore")
def test_what_is_no_perceptron_is_refused() -> None:
    with pytest.raises(ModelError, match="MLPClassifier: is not fitted; call fit first"):
        insitu.from_sklearn(neural.MLPClassifier())
    with pytest.raises(ModelError, match="StandardScaler: is no multi-layer perceptron"):
        insitu.from_sklearn(preprocessing.StandardScaler())
    both = pipeline.make_pipeline(preprocessing.Normalizer(), neural.MLPRegressor(**FEW))
    with pytest.raises(ModelError, match="Normalizer: is not a fitted StandardScaler or a MinMax"):
        insitu.from_sklearn(both.fit(X, Z))


def classifier(*ends: onnx.NodeProto, outputs: Mapping[str, int], last: int = 3) -> onnx.ModelProto:
    """As skl2onnx writes it: a label and what the label is taken from."""
    body = [node("Gemm", "x w", "a"), node("Relu", "a", "r"), node("Gemm", "r v", "s")]
    weights = {"w": normal(5, 6), "v": normal(6, last), "one": np.float32(1)}
    weights["classes"] = np.arange(last)
    proto = model(["n", 5], [*body, *ends], weights, domains=["ai.onnx.ml"])
    del proto.graph.output[:]
    for name, kind in outputs.items():
        proto.graph.output.append(helper.make_tensor_value_info(name, kind, None))
    return proto


LABEL = [
    node("ArgMax", "p", "m", axis=1),
    node("ArrayFeatureExtractor", "classes m", "e", domain="ai.onnx.ml"),
    node("Cast", "e", "label", to=TensorProto.FLOAT),
]
BOTH = {"label": TensorProto.FLOAT, "p": TensorProto.FLOAT}


def test_the_label_is_never_what_is_trained(tmp_path: Path) -> None:
    path = saved(classifier(node("Softmax", "s", "p"), *LABEL, outputs=BOTH), tmp_path)
    assert [each.op.name for each in insitu.load(path).graph.nodes][-1] == "softmax"
    with pytest.raises(ModelError, match=r'"label" says what is decided .* say --output p, in'):
        insitu.load(path, output="label")


def _chain(read: Model) -> list[str]:
    assert read.unsupported == ()
    return [each.op.name for each in read.graph.nodes]


def test_a_zipmap_only_names_the_scores(tmp_path: Path) -> None:
    ends = [
        node("Softmax", "s", "p"),
        *LABEL[:2],
        node("Cast", "e", "label", to=TensorProto.INT64),
        node("ZipMap", "p", "z", domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2]),
    ]
    proto = classifier(*ends, outputs={"label": TensorProto.INT64, "z": TensorProto.FLOAT})
    maps = proto.graph.output[1].type.sequence_type.elem_type.map_type
    maps.key_type = TensorProto.INT64
    maps.value_type.tensor_type.elem_type = TensorProto.FLOAT
    assert _chain(insitu.load(saved(proto, tmp_path))) == ["linear", "clip", "linear", "softmax"]


def test_two_probabilities_are_one_output(tmp_path: Path) -> None:
    ends = [
        node("Sigmoid", "s", "q"),
        node("Sub", "one q", "o"),
        node("Concat", "o q", "p", axis=1),
        *LABEL,
    ]
    read = insitu.load(saved(classifier(*ends, outputs=BOTH, last=1), tmp_path))
    assert _chain(read) == ["linear", "clip", "linear", "activation"]
    assert "train it with the loss bce" in read.notes[0]
