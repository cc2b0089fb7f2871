"""Does a network that comes quantized keep its integers, its scales and its zero points?"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx_models import model, node, normal, saved
from quantized_linear import DATA, W, linear, pair
from test_onnx import channels_last

import insitu
from insitu.app import cli
from insitu.data.samples import quantize_samples
from insitu.errors import ModelError
from insitu.fixed_point import range_qparams
from insitu.frontends.model import Model
from insitu.graph.model import Array, Graph
from insitu.prepare.simplify import simplify
from insitu.quantize import calibrate, quantize_graph
from insitu.run.reference import Reference

qdq = pytest.importorskip("qdq_models", reason="onnxruntime is the quantizer and the oracle")

pytestmark = pytest.mark.filterwarnings("ignore")  # what onnxruntime's quantizer warns of

CASES = [(network, style) for network in qdq.FLOAT_NETWORKS for style in qdq.STYLES]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """(network, style) -> its QDQ file, made once."""
    folder = tmp_path_factory.mktemp("qdq")
    made: dict[tuple[str, str], Path] = {}

    def file(network: str, style: str) -> Path:
        if (network, style) not in made:
            made[network, style] = qdq.quantized(network, style, folder)
        return made[network, style]

    return file


def integers(read: Model, x: Array, trained: frozenset[str] = frozenset()) -> Graph:
    """The quantized network; x[n, ...] are other samples than the file's."""
    assert read.unsupported == ()
    graph = simplify(read.graph)
    ranges = calibrate(graph, channels_last(x).reshape(-1, *graph.tensors[graph.inputs[0]].shape))
    return quantize_graph(graph, ranges, trained)


def others(proto: onnx.ModelProto) -> Any:
    """Calibration data that would give quite other ranges, float32[n, ...]."""
    return 3 * qdq.calibration(proto, 8)[:, ::-1] + 1


@pytest.mark.parametrize(("network", "style"), CASES)
def test_scales_zero_points_and_integers_are_those_of_the_file(
    network: str, style: str, files: Callable[[str, str], Path]
) -> None:
    path = files(network, style)
    proto = onnx.load(path)
    graph = integers(insitu.load(path), others(proto))
    x_q = graph.tensors[graph.inputs[0]].qparams
    data = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    first = next(n for n in proto.graph.node if n.input[0] == "x")
    shift = 128 if data[first.input[2]].dtype == np.uint8 else 0
    assert x_q is not None
    assert x_q.scale == data[first.input[1]]
    assert x_q.zero_point == int(data[first.input[2]]) - shift
    said = qdq.layers_of(proto)
    layers = {n.name: n for n in graph.nodes if n.op.weights or n.name in said}
    assert list(layers) == list(said)
    for name, node_ in layers.items():
        w, wanted = graph.tensors[node_.inputs[1]], said[name].w
        assert w.data is not None and w.qparams is not None
        np.testing.assert_array_equal(w.qparams.scale, said[name].scale)
        if wanted.ndim > 2:
            wanted = channels_last(wanted)
            np.testing.assert_array_equal(w.data, wanted)
        else:  # behind a flatten the columns have another order
            np.testing.assert_array_equal(np.sort(w.data), np.sort(wanted))
        y_q = graph.tensors[node_.outputs[0]].qparams
        if y_q is not None:
            assert y_q.scale == np.float32(said[name].output_scale)
            assert y_q.zero_point == said[name].zero_point


@pytest.mark.parametrize(("network", "style"), CASES)
def test_predicts_what_onnxruntime_predicts_of_the_file(
    network: str, style: str, files: Callable[[str, str], Path]
) -> None:
    path = files(network, style)
    proto = onnx.load(path)
    x = qdq.calibration(proto, 60)[40:]
    graph = integers(insitu.load(path), others(proto))
    said = qdq.layers_of(proto)
    reference = Reference(graph)
    entry = graph.tensors[graph.inputs[0]]
    off: list[Array] = []
    for row, oracle in zip(
        quantize_samples(x, entry.shape, entry.qparams), qdq.run_onnxruntime(proto, x), strict=True
    ):
        values = reference._execute({entry.name: row.reshape(entry.shape)}, lambda _: True)
        for node_ in graph.nodes:
            y = graph.tensors[node_.outputs[0]]
            if node_.name in said and y.qparams is not None:
                wanted = oracle[said[node_.name].output]
                wanted = channels_last(wanted)[0] if wanted.ndim > 2 else wanted[0]
                off.append(np.abs(values[y.name].astype(np.int64) - wanted).reshape(-1))
        last = said[list(said)[-1]]
        scores = np.rint(values[graph.outputs[0]] / np.float32(last.output_scale))
        held = np.clip(scores + last.zero_point, -128, 127)
        off.append(np.abs(held - oracle[last.output][0]).astype(np.int64))
    error = np.concatenate(off)
    assert error.max() <= 1
    assert np.mean(error == 0) >= 0.999


def test_a_trained_layer_starts_from_the_range_of_the_file(
    files: Callable[[str, str], Path],
) -> None:
    path = files("image", "uint8-rows")
    proto = onnx.load(path)
    said = qdq.layers_of(proto)["conv2"]
    graph = integers(insitu.load(path), others(proto), frozenset({"conv2", "fc1"}))
    w = graph.tensors["conv2.w"]
    assert w.data is not None
    np.testing.assert_array_equal(w.data, channels_last(said.w))
    low, high = said.output_scale * np.asarray([-128, 127]) - said.output_scale * said.zero_point
    start = graph.tensors["conv2.range"].data
    assert start is not None
    np.testing.assert_allclose(start, [low, high], rtol=2**-23)
    q = range_qparams(start[0], start[1], 0, np.inf)
    assert q.zero_point == said.zero_point
    np.testing.assert_allclose(q.scale, said.output_scale, rtol=1e-6)


@pytest.mark.toolchain
@pytest.mark.parametrize("options", [{}, {"layers": "last:1", "classes": 6}])
def test_a_quantized_network_is_trained(
    options: dict[str, Any], files: Callable[[str, str], Path], tmp_path: Path
) -> None:
    path = files("image", "uint8-rows")
    x = qdq.calibration(onnx.load(path), 12)
    training = insitu.TrainingConfig(**options)
    net = insitu.compile(insitu.load(path), calibration=x, training=training).save(tmp_path / "o")
    assert insitu.TrainableNetwork.load(tmp_path / "o").run(x, np.arange(12) % 4).twin_equal
    assert net.input_qparams == net.graph.tensors["x"].qparams


def test_a_scale_behind_a_pool_that_is_not_kept_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {"s": np.float32(0.5), "z": np.uint8(128), "t": np.float32(0.25), "w": normal(2, 3)}
    nodes = [
        *pair("x", "xd"),
        node("GlobalAveragePool", "xd", "g", "gap"),
        *pair("g", "gd", scale="t"),
        node("Flatten", "gd", "f"),
        *pair("f", "fd", scale="t"),
        node("MatMul", "fd w", "y", "fc"),
    ]
    path = saved(model([1, 2, 4, 4], nodes, data), tmp_path)
    read = insitu.load(path)
    assert read.unsupported == ()
    note = (
        'average_pool "gap": its output keeps the scale 0.5 and the zero point 0 of its input, '
        "not 0.25 and 0 as the file has it"
    )
    assert read.notes == (note,)
    for words in ([], ["--json"]):
        monkeypatch.setattr("sys.argv", ["insitu", "inspect", str(path), *words])
        with pytest.raises(SystemExit):
            cli.main()
        assert note in capsys.readouterr().out.replace("\n", " ").replace('\\"', '"')


def test_a_transposed_weight_with_a_bias_behind_it_keeps_its_integers(tmp_path: Path) -> None:
    read = insitu.load(saved(linear(), tmp_path))
    graph = integers(read, normal(8, 4))
    w, y_q = graph.tensors["fc1.w"], graph.tensors["fc1.y"].qparams
    assert w.data is not None and w.qparams is not None and y_q is not None
    np.testing.assert_array_equal(w.data, W)
    np.testing.assert_array_equal(w.qparams.scale[:2], DATA["ws"][:2])
    assert y_q.scale == np.float32(0.25)
    assert (y_q.zero_point, y_q.clamp_min) == (-10, -10)


def test_weights_that_are_quantized_in_the_file_keep_their_integers(tmp_path: Path) -> None:
    nodes = [
        *pair("x", "xd"),
        *pair("w", "wd", scale="ws", zero="wz"),
        node("MatMul", "xd wd", "y", "fc1"),
    ]
    data = {**DATA, "w": (W * DATA["ws"][:, None]).T.astype(np.float32)}
    graph = integers(insitu.load(saved(model([1, 4], nodes, data), tmp_path)), normal(8, 4))
    np.testing.assert_array_equal(graph.tensors["fc1.w"].data, W)


def test_a_normalization_behind_a_quantized_layer_keeps_its_integers(tmp_path: Path) -> None:
    nodes = [
        node("DequantizeLinear", "wq ws wz", "wd", axis=0),
        node("Gemm", "x wd", "l", "fc1", transB=1),
        *pair("l", "ld"),
        node("BatchNormalization", "ld gamma beta mean var", "n", "norm"),
        *pair("n", "nd", scale="t"),
        node("MatMul", "nd v", "y", "fc2"),
    ]
    data = {
        **DATA,
        "wq": W,
        "t": np.float32(0.25),
        "gamma": np.asarray([2, -0.5, 1], np.float32),
        "beta": normal(3),
        "mean": normal(3, seed=1),
        "var": np.asarray([0.5, 2, 1], np.float32),
    }
    read = insitu.load(saved(model([1, 4], nodes, data), tmp_path))
    graph = integers(read, normal(8, 4))
    np.testing.assert_array_equal(graph.tensors["fc1.w"].data, W * np.asarray([[1], [-1], [1]]))
    y_q = graph.tensors["fc1.y"].qparams
    assert y_q is not None
    assert y_q.scale == np.float32(0.25)


def test_a_function_with_bounds_keeps_the_scale_of_the_file(tmp_path: Path) -> None:
    """Behind a trained layer it keeps the function's own bounds."""
    nodes = [
        *pair("x", "xd"),
        node("Gemm", "xd w b", "l", "fc1"),
        *pair("l", "ld"),
        node("Tanh", "ld", "t", "tanh1"),
        *pair("t", "td", scale="small"),
        node("MatMul", "td v", "y", "fc2"),
    ]
    data = {**DATA, "w": normal(4, 3) / 9, "small": np.float32(0.002)}
    read = insitu.load(saved(model([1, 4], nodes, data), tmp_path))
    scales = []
    for trained in (frozenset[str](), frozenset({"fc1"})):
        graph = integers(read, normal(8, 4), trained)
        y_q = graph.tensors[next(n for n in graph.nodes if n.name == "tanh1").outputs[0]].qparams
        assert y_q is not None
        scales.append((float(y_q.scale), y_q.zero_point))
    own = range_qparams(-1.0, 1.0, -np.inf, np.inf)
    assert scales == [(float(np.float32(0.002)), -10), (float(own.scale), own.zero_point)]


NOT_KEPT: dict[str, tuple[onnx.ModelProto, str]] = {
    "activation-by-channel": (
        linear(s=np.full(4, 0.05, np.float32), z=np.zeros(4, np.int8)),
        "4 scales for an activation, only 1",
    ),
    "other-scale": (
        model(
            [1, 4],
            [
                node("QuantizeLinear", "x s z", "q"),
                node("DequantizeLinear", "q t z", "y", "dequantize"),
            ],
            {**DATA, "t": np.float32(0.06)},
        ),
        "it reads with scale 0.06 and zero point -10 what was written with 0.05 and -10",
    ),
    "twice": (
        model(
            [1, 4],
            [*pair("x", "p"), *pair("x", "q", scale="t"), node("Add", "p q")],
            {**DATA, "t": np.float32(0.06)},
        ),
        "its input is quantized twice, with the scales 0.05 and 0.06",
    ),
    "integers": (
        model([1, 4], [node("QuantizeLinear", "x s z", "q"), node("Relu", "q")], DATA),
        'it computes with the integers "q"',
    ),
    "input-of-integers": (
        model(
            [1, 4],
            [node("Relu", "x", "r"), node("DequantizeLinear", "r s", "y")],
            DATA,
        ),
        'its input "r" is not the output of a QuantizeLinear',
    ),
}


@pytest.mark.parametrize("case", NOT_KEPT)
def test_what_cannot_be_kept_is_said(case: str, tmp_path: Path) -> None:
    proto, expected = NOT_KEPT[case]
    first = insitu.load(saved(proto, tmp_path)).unsupported[0]
    assert expected in first.reason
    assert first.advice


def _weights(**changes: Any) -> tuple[onnx.ModelProto, Array]:
    """A file, and the weight w[o, i] of its first layer as numbers."""
    proto = linear(**changes)
    data = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    scale = changes.get("ws", DATA["ws"]).reshape((1, -1) if changes.get("axis") else (-1, 1))
    zero = data["wz"].astype(np.int32).reshape(scale.shape)
    return proto, ((data["wt"].astype(np.int32) - zero) * scale).astype(np.float32)


READ: dict[str, tuple[tuple[onnx.ModelProto, Array], str]] = {
    "activation-16-bits": (_weights(z=np.int16(0)), "activations of int16 are read as floats"),
    "zero-point": (_weights(wz=np.asarray([0, 7, 0], np.int8)), ""),
    "zero-point-beyond": (
        _weights(wz=np.asarray([7, 0, 0], np.int8)),
        '"fc1": 1 of 3 rows of its int8 weights do not fit -127..127 beside the zero point',
    ),
    "unsigned": (
        _weights(wt=(W.astype(np.int16) + 128).astype(np.uint8), wz=np.full(3, 127, np.uint8)),
        "1 of 3 rows of its uint8 weights",
    ),
    "16-bits": (
        _weights(wt=W.astype(np.int16) * 100, wz=np.zeros(3, np.int16)),
        "2 of 3 rows of its int16 weights",
    ),
    "4-bits": (
        _weights(wt=(W // 32).astype(ml_dtypes.int4), wz=np.zeros(3, ml_dtypes.int4)),
        "",
    ),
    "minus-128": (_weights(wt=np.where(W == -127, -128, W).astype(np.int8)), "1 of 3 rows"),
    "negative-scales": (_weights(ws=np.asarray([-0.01, 0.02, -0.3], np.float32)), ""),
    "by-input": (
        _weights(axis=1, ws=np.asarray([0.1, 0.2, 0.3, 0.4], np.float32), wz=np.zeros(4, np.int8)),
        "3 of 3 rows",
    ),
}


@pytest.mark.parametrize("case", READ)
def test_what_does_not_fit_is_read_with_our_own_scale(case: str, tmp_path: Path) -> None:
    (proto, weight), note = READ[case]
    model_ = insitu.load(saved(proto, tmp_path))
    np.testing.assert_array_equal(model_.graph.tensors["fc1.w"].data, weight)
    assert note in " ".join(model_.notes)
    assert bool(note) == bool(model_.notes)
    w = integers(model_, normal(8, 4)).tensors["fc1.w"]
    assert w.data is not None and w.qparams is not None
    error = np.abs(w.data * w.qparams.scale[:, None] - weight).max()
    told = re.search(r"at most ([0-9.]+)%", " ".join(model_.notes))
    assert error <= (float(told[1]) / 100 if told else 1e-7) * np.abs(weight).max() + 1e-7


HOSTILE: dict[str, tuple[onnx.ModelProto, str]] = {
    "scale-0": (linear(s=np.float32(0)), "its scale is 0, outside"),
    "scale-negative": (linear(s=np.float32(-1)), "its scale is -1, outside"),
    "scale-nan": (linear(s=np.float32(np.nan)), "1 of 1 numbers that are NaN"),
    "scale-infinite": (linear(s=np.float32(np.inf)), "1 of 1 numbers that are NaN"),
    "scale-huge": (linear(s=np.float32(1e38)), "its scale is 1e+38, outside"),
    "zero-shape": (linear(z=np.zeros(2, np.int8)), "its scale is one number, its zero point 2"),
    "weight-scales": (
        linear(ws=np.asarray([0.1, 0.2], np.float32)),
        "scale[2] and zero point[3] have different shapes",
    ),
    "weight-slices": (
        linear(ws=np.ones(2, np.float32), wz=np.zeros(2, np.int8)),
        "another number of slices along axis 0 than the 2 scales",
    ),
    "axis": (linear(axis=7), "axis 7 of a tensor with 2 axes"),
    "weight-nan": (linear(ws=np.asarray([1, np.nan, 1], np.float32)), "NaN or infinite"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_quantization_that_is_wrong_is_refused(case: str, tmp_path: Path) -> None:
    proto, expected = HOSTILE[case]
    with pytest.raises(ModelError) as caught:
        insitu.load(saved(proto, tmp_path))
    assert expected in str(caught.value)
