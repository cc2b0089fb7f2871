"""Do transpositions change what a network computes, or costs? Are samples as files have them?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx_models import model, node, normal, saved
from onnx_order_cases import CASES, REFUSED
from test_onnx import assert_same

import insitu
from insitu.errors import DataError, ModelError
from insitu.frontends.model import Model
from insitu.frontends.onnx.order import Order
from insitu.frontends.onnx.reader import read, read_proto
from insitu.graph.evaluate import evaluate_float
from insitu.graph.model import Array


@pytest.mark.parametrize("case", CASES)
def test_reads_the_function_that_onnxruntime_computes(case: str, tmp_path: Path) -> None:
    assert_same(CASES[case], saved(CASES[case], tmp_path))


@pytest.mark.parametrize("case", ["between", "keras-1d", "dense-at-each-place", "gate", "pad"])
def test_nothing_moves_where_the_channels_stay_last(case: str, tmp_path: Path) -> None:
    graph = read(saved(CASES[case], tmp_path)).graph
    assert graph.channels_last
    assert {n.op.name for n in graph.nodes}.isdisjoint({"permute", "unflatten", "flatten"})


def test_what_moves_more_than_three_groups_is_refused(tmp_path: Path) -> None:
    (found,) = read(saved(REFUSED["windows"], tmp_path)).unsupported
    assert "move 5 groups of axes" in found.reason


def test_an_output_that_moves_more_than_three_groups_is_refused_in_a_line(tmp_path: Path) -> None:
    nodes = [
        *(node("Conv", "x w", "c"), node("Reshape", "c s", "r")),
        *(node("Transpose", "r", "t", perm=[0, 3, 2, 1, 4]), node("Flatten", "t")),
    ]
    data = {"w": normal(6, 2, 1, 1), "s": np.array([-1, 3, 2, 8, 3])}
    with pytest.raises(ModelError, match='the output "y": the transpositions before it move 4'):
        read(saved(model(["n", 2, 8, 3], nodes, data), tmp_path))


def _memory(order: Order, memory: Array) -> Array:
    """What ONNX reads, in a row."""
    return memory.reshape(order.sizes).transpose(order.reading).reshape(-1)


FACTORS = st.lists(st.sampled_from([1, 2, 3, 4]), min_size=3, max_size=3)


@given(st.data(), FACTORS)
def test_an_order_reads_what_transpositions_give(data: st.DataObject, sizes: list[int]) -> None:
    memory, order = np.arange(np.prod(sizes)), Order.of(tuple(sizes))
    x = _memory(order, memory)
    for _ in range(data.draw(st.integers(1, 4))):
        first = data.draw(st.sampled_from([d for d in range(1, x.size + 1) if x.size % d == 0]))
        rest = x.size // first
        second = data.draw(st.sampled_from([d for d in range(1, rest + 1) if rest % d == 0]))
        shape = (1, first, second, rest // second)
        axes = data.draw(st.permutations(range(4)))
        found = order.transposed(shape, axes)
        if found is None:
            continue
        order, x = found, x.reshape(shape).transpose(axes).reshape(-1)
        np.testing.assert_array_equal(_memory(order, memory), x)
        assert order.plain == order
        arranged = order.arranged(shape[1:])
        if arranged is not None:
            moved = memory.reshape(arranged.sizes).transpose(arranged.reading).reshape(shape[1:])
            np.testing.assert_array_equal(moved.transpose(2, 0, 1).reshape(-1), x)


def keras() -> tuple[Model, Array, Array]:
    """A classifier of x[n, 16, 3], channels last, of unlike size, and samples."""
    nodes = [
        node("Transpose", "x", "t", perm=[0, 2, 1]),
        node("Conv", "t w b", "c", "conv"),
        node("Relu", "c", "r"),
        node("Transpose", "r", "u", perm=[0, 2, 1]),
        node("ReduceMean", "u a", "m", keepdims=0),
        node("Gemm", "m v", "y", "head"),
    ]
    weights = {"w": normal(8, 3, 3), "b": normal(8), "a": np.array([1]), "v": normal(8, 2)}
    proto = model(["n", 16, 3], nodes, weights, opset=18)
    rng = np.random.default_rng(3)
    x = rng.normal(size=(200, 16, 3)).astype(np.float32) * np.array([1, 20, 400], np.float32)
    y = (x[:, :, 0].mean(axis=1) > 0).astype(np.int32)
    return read_proto(proto, "keras", "keras"), x, y


@pytest.mark.parametrize("precision", ["uint8", "float32"])
def test_samples_stay_as_the_file_has_them(precision: str, tmp_path: Path) -> None:
    read_model, x, y = keras()
    assert read_model.input_shape == (16, 3)
    training = insitu.TrainingConfig(precision=precision, layers="all", lr=0.05)
    network = insitu.compile(read_model, calibration=x, training=training, name="keras")
    header = (network.folder / "insitu_keras.h").read_text()
    assert "as sensors give it, channels last" in " ".join(header.split()).replace(" * ", " ")
    assert (network.input_qparams is not None and network.input_qparams.units is not None) == (
        precision == "uint8"
    )
    twin, said = network.twin(), evaluate_float(read_model.graph, {"x": x[:, None]})
    scores = said[read_model.graph.outputs[0]]
    assert float((twin.predict(x) == scores.argmax(axis=1)).mean()) > 0.95
    assert network.run(x[:20], y[:20]).twin_equal
    network.save(tmp_path / "saved")
    assert insitu.TrainableNetwork.load(tmp_path / "saved").graph.channels_last
    with pytest.raises(DataError, match=r"x\[N, 16, 3\], channels last"):
        twin.predict(x.transpose(0, 2, 1))
