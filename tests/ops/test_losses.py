"""Does a network learn real targets, on the desk and on cores alike, and does it refuse others?

The losses' own arithmetic is held against torch, its bounds and the C where all ops are; here are
float32 beside torch.optim.SGD, whole networks, and whatever a person can get wrong.
"""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builds import host_library
from case_layers import Case
from case_models import Compiled, run_reference
from cases import ENDS, LINEARS, MAP
from fakes import toolchain_or_skip
from onnx_models import model, node, normal, saved
from sanitized import run_sanitized

import insitu
from insitu.data.labels import LabelType, checked_labels
from insitu.data.samples import Samples, checked
from insitu.errors import DataError, InsituError, ModelError
from insitu.firmware.build import build_firmware
from insitu.graph.model import Array, Kind
from insitu.graph.scheme import Scheme
from insitu.network.compiled import Network
from insitu.network.trainable import TrainableNetwork
from insitu.ops.losses.table import LOSSES
from insitu.prepare.simplify import simplify
from insitu.run import emulator
from insitu.run.reference import Reference
from insitu.run.stream import Stream, digest
from insitu.tools.compilers import sanitizer_environment


def weights(*sizes: int, seed: int = 0) -> dict[str, Array]:
    """Of an MLP, within the range that int8 holds best."""
    rng, made = np.random.default_rng(seed), {}
    for index, (wide, narrow) in enumerate(pairwise(sizes), start=1):
        bound = np.sqrt(6 / wide)
        made[f"w{index}"] = rng.uniform(-bound, bound, (wide, narrow)).astype(np.float32)
        made[f"b{index}"] = np.zeros(narrow, np.float32)
    return made


def mlp(*sizes: int, shape: tuple[int, ...] | None = None, end: str = "") -> Any:
    """x[n, ...] -> hidden with ReLU -> outputs [, an op at the end]."""
    nodes = [
        node("Flatten", "x", "f"),
        node("Gemm", "f w1 b1", "h", "fc1"),
        node("Relu", "h", "r"),
        node("Gemm", "r w2 b2", "s" if end else "y", "fc2"),
        *([node(end, "s", "y", "end")] if end else []),
    ]
    return model(["n", *(shape or sizes[:1])], nodes, weights(*sizes))


def compiled(folder: Path, proto: Any, x: Array, y: Any, **training: Any) -> TrainableNetwork:
    config = insitu.TrainingConfig(**training)
    return insitu.compile(
        insitu.load(saved(proto, folder)), calibration=x, targets=y, training=config
    )


def made_data() -> tuple[Array, Array]:
    """Three features and two smooth functions of them."""
    x = np.random.default_rng(0).uniform(-1, 1, (400, 3)).astype(np.float32)
    y = np.stack([x[:, 0] * x[:, 1] + x[:, 2], np.sin(3 * x[:, 0])], axis=1)
    return x, y.astype(np.float32)


BOARDS = ["nrf52840", "rp2040"]
"""An M4 and an M0+."""


@pytest.mark.toolchain
@pytest.mark.parametrize(("precision", "factor"), [("uint8", 10), ("float32", 50)])
def test_a_regression_is_learnt_and_every_core_agrees(
    precision: str, factor: float, tmp_path: Path
) -> None:
    x, y = made_data()
    net = compiled(tmp_path, mlp(3, 16, 2), x, y, loss="mse", lr=0.2, precision=precision)
    twin = net.twin()
    before = twin.loss(x, y)
    history = twin.fit(x, y, epochs=10, validation=(x, y))
    assert twin.loss(x, y) < before / factor
    assert history.loss[-1] < history.loss[0] / 4 and not history.accuracy
    np.testing.assert_allclose(np.mean((twin.predict(x) - y) ** 2), twin.loss(x, y), rtol=1e-5)
    rest, spread = ((twin.predict(x) - y) ** 2).sum(), ((y - y.mean(axis=0)) ** 2).sum()
    assert twin.score(x, y) == pytest.approx(1 - rest / spread) == history.validation[-1]
    for board in BOARDS:
        run = net.run(x, y, steps=120, board=board)
        assert run.figures["twin_equal"]
        assert run.figures["accuracy_before"] is None and run.figures["accuracy_after"] is None
        assert run.figures["loss_after"] < run.figures["loss_before"] / 4


@pytest.mark.toolchain
def test_bits_are_learnt_from_a_network_that_ends_in_a_sigmoid(tmp_path: Path) -> None:
    x, y = made_data()
    bits = y > 0
    net = compiled(tmp_path, mlp(3, 16, 2, end="Sigmoid"), x, bits, loss="bce", lr=0.2)
    twin = net.twin()
    twin.fit(x, bits, epochs=10)
    assert twin.score(x, bits) > 0.9
    assert np.array_equal(twin.predict(x), twin.predict_scores(x) > 0)
    shares = 1 / (1 + np.exp(-twin.predict_scores(x).astype(np.float64)))
    by_hand = -np.where(bits, np.log(shares), np.log(1 - shares)).mean()
    assert twin.loss(x, bits) == pytest.approx(by_hand)
    run = net.run(x, bits, steps=60, board="rp2040")
    assert run.twin_equal and run.loss_after < run.loss_before


@pytest.mark.toolchain
def test_an_autoencoder_learns_its_own_input(tmp_path: Path) -> None:
    x = pytest.importorskip("sklearn.datasets").load_digits().images[:, None] / 16
    proto = mlp(64, 16, 64, shape=(1, 8, 8))
    net = compiled(tmp_path, proto, x, None, loss="mse", lr=1.0)
    twin = net.twin()
    before = twin.loss(x)
    twin.fit(x[:900], epochs=2)
    assert twin.loss(x[900:]) < before / 4
    assert twin.loss(x[900:]) == twin.loss(x[900:], x[900:].reshape(-1, 64))
    run = net.run(x, steps=40, board="nrf52840")
    assert run.twin_equal and run.loss_after < run.loss_before / 2


@pytest.mark.toolchain
def test_maps_come_and_go_channels_first(tmp_path: Path) -> None:
    """Targets with a pattern of their own in every channel and place are learnt where they are."""
    w = {"w1": normal(3, 2, 3, 3) / 4, "b1": normal(3)}
    nodes = [node("Conv", "x w1 b1", "y", "conv", pads=[1, 1, 1, 1])]
    x = normal(60, 2, 4, 5)
    kernel, bias = normal(3, 2, 1, 1, seed=5) / 2, normal(3, seed=6) / 4
    y = np.einsum("nchw,oc->nohw", x, kernel[:, :, 0, 0]) + bias[:, None, None]
    y = y.astype(np.float32)
    net = compiled(tmp_path, model(["n", 2, 4, 5], nodes, w), x, y, loss="mse", lr=0.3)
    twin = net.twin()
    before = twin.loss(x, y)
    twin.fit(x, y, epochs=10)
    assert twin.predict(x).shape == y.shape
    assert np.mean((twin.predict(x) - y) ** 2) == pytest.approx(twin.loss(x, y), rel=1e-5)
    assert twin.loss(x, y) < before / 10
    assert net.run(x, y, steps=20, board="nrf52840").twin_equal


@pytest.mark.toolchain
def test_a_saved_network_remembers_its_loss(tmp_path: Path) -> None:
    x, y = made_data()
    net = compiled(tmp_path, mlp(3, 4, 2), x, y, loss="mse").save(tmp_path / "c")
    loaded = Network.load(tmp_path / "c")
    assert loaded.labels == net.labels == LabelType("mse", (2,))
    header = (tmp_path / "c" / "insitu_model.h").read_text()
    assert "insitu_model_outputs = 2" in header and "insitu_model_classes" not in header
    assert "insitu_status_t insitu_model_predict(" in header
    assert re.search(r"train_step\(insitu_model_t \*model, .*, const float \*target,", header)
    example = net.export(tmp_path / "out")
    (text,) = [path.read_text() for path in example if path.name == "example.c"]
    assert "const float *target" in text and "label" not in text


@pytest.mark.toolchain
@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_losses_are_clean_under_the_sanitizers(loss: str, tmp_path: Path) -> None:
    """With AddressSanitizer and UBSan, and every warning there is."""
    chosen = toolchain_or_skip("host", "gcc")
    case = Compiled(MAP, Scheme(loss=loss, error_unit=1e-9))  # far scores, errors that are held
    case.write(tmp_path / "source")
    library = host_library(case.source(), chosen, sanitize=True)
    records = case.stream(12)
    found, said = run_sanitized(library, "model", records, sanitizer_environment(chosen))
    assert found == run_reference(case.step, records).sha256, said
    strict = "-std=c99 -pedantic -Wall -Wextra -Wconversion -Wundef -Wdouble-promotion -Werror"
    folders = (f"-I{tmp_path / 'source'}", f"-I{tmp_path / 'source' / 'runtime'}")
    for source in (tmp_path / "source").glob("*.c"):
        chosen.run(*strict.split(), *folders, "-c", source, "-o", tmp_path / "strict.o")


# float32 is torch's SGD


@pytest.mark.parametrize(("loss", "rate"), [("mse", 0.002), ("bce", 0.05)])
def test_float32_steps_are_those_of_torchs_sgd(loss: str, rate: float) -> None:
    """From the same weights, as far from float64 as torch's own float32, see test_float32_torch.py.

    Up to the order of sums.
    """
    torch = pytest.importorskip("torch")
    from autograd import of_torch, torch_loss

    compiled_case = Compiled(LINEARS["linear-of-wide"], Scheme(loss=loss, precision="float32"))
    step, forward = compiled_case.step, compiled_case.forward
    names = [t.name for t in forward.of_kind(Kind.STATE)]
    reference, stream = Reference(step), compiled_case.stream(20)
    labels = compiled_case.labels(20, np.random.default_rng(2))

    def theirs(before: dict[str, Array], i: int, kind: Any) -> Array:
        tensors = {n: torch.tensor(v, dtype=kind, requires_grad=True) for n, v in before.items()}
        value = torch.tensor(stream.x[i : i + 1], dtype=kind)
        for layer in forward.nodes:
            value = of_torch(layer, value, [tensors[n] for n in layer.inputs[1:]])
        torch_loss(loss, value, labels[i : i + 1].astype(str(kind).split(".")[1])).backward()
        torch.optim.SGD(tensors.values(), lr=rate).step()
        return np.concatenate([tensors[n].detach().numpy().reshape(-1) for n in names])

    for i in range(20):
        before = {n: reference.state[n].copy() for n in names}
        reference.train_step(stream.x[i], labels[i], rate)
        ours = np.concatenate([reference.state[n].reshape(-1) for n in names])
        exact = theirs(before, i, torch.float64)
        distance = np.linalg.norm(theirs(before, i, torch.float32) - exact)
        assert np.linalg.norm(ours - exact) <= 4 * distance, f"step {i}"
        assert np.linalg.norm(exact - np.concatenate([b.reshape(-1) for b in before.values()])) > 0


def test_scores_that_are_not_finite_teach_nothing_in_float32() -> None:
    for loss in ("mse", "bce"):
        case = Compiled(LINEARS["linear"], Scheme(loss=loss, precision="float32"))
        reference = Reference(case.step)
        reference.state["linear3.bias"][0] = np.nan
        before = {name: value.copy() for name, value in reference.state.items()}
        x = case.stream(1).x[0]
        assert reference.train_step(x, np.zeros(3, np.float32), 0.1) == float(
            np.float32(3.402823466e38)
        )
        for name in ("linear3.w", "linear1.w", "linear1.bias"):
            np.testing.assert_array_equal(reference.state[name], before[name])


def test_an_error_of_mixed_layers_enters_the_integers_on_the_scale_of_the_loss() -> None:
    case = Compiled(ENDS["ends-in-conv"], Scheme(loss="mse", error_unit=0.7))
    outputs = case.step.tensors[case.step.outputs[0]].size
    dy = case.step.tensors["loss.dy"].qparams
    assert dy is not None and dy.scale == np.float32(2 * 0.7 / outputs / 127)
    body = Case((5, 5, 2), (*MAP.layers, *LINEARS["linear"].layers))
    mixed = Compiled(body, Scheme(loss="mse", error_unit=0.7, precision="mixed")).step
    (node_,) = [n for n in mixed.nodes if n.op.name == "quantize_error"]
    q = mixed.tensors[node_.outputs[0]].qparams
    assert q is not None and q.scale == np.float32(2 * 0.7 / 3 / 127)
    assert node_.attributes["factor"] == float(np.float32(127 / (2 * 0.7 / 3)))


def test_an_end_that_belongs_to_another_loss_is_refused(tmp_path: Path) -> None:
    x, y = made_data()
    words = 'ends in softmax "end", which belongs to the loss cross_entropy'
    with pytest.raises(ModelError, match=words):
        compiled(tmp_path, mlp(3, 4, 2, end="Softmax"), x, y, loss="bce")
    graph = insitu.load(saved(mlp(3, 4, 2, end="Sigmoid"), tmp_path)).graph
    assert [n.op.name for n in simplify(graph, "bce").nodes] == ["linear", "linear"]


# what people get wrong

X = normal(6, 1, 2, 2)
VECTOR, ONE, IMAGE = (LabelType("mse", shape) for shape in ((4,), (1,), (3, 5, 2)))
BITS = LabelType("bce", (4,))
REFUSED: dict[str, tuple[LabelType, Any, str]] = {
    "nan": (VECTOR, np.where(np.arange(24).reshape(6, 4) == 9, np.nan, 1), "nan in sample 2"),
    "infinite": (VECTOR, np.full((6, 4), np.inf), "inf in sample 0, one of 6 of 6"),
    "beyond-float32": (VECTOR, np.full((6, 4), 1e39), "each must be a finite number"),
    "above-1": (BITS, np.full((6, 4), 1.5), r"1.5 in sample 0.*must be in \[0, 1\]"),
    "below-0": (BITS, np.full((6, 4), -1), "-1 in sample 0"),
    "classes-for-mse": (ONE, np.arange(6), "y holds int64, but loss mse takes float targets"),
    "text": (BITS, np.full((6, 4), "a"), "y holds <U1"),
    "too-few-outputs": (
        VECTOR,
        np.zeros((6, 3)),
        r"y\[6, 3\] but the network's outputs are \[N, 4\]",
    ),
    "one-axis": (VECTOR, np.zeros(6), r"y\[6\] but the network's outputs"),
    "too-few-samples": (VECTOR, np.zeros((5, 4)), r"y\[5, 4\] for 6 samples"),
    "a-number": (VECTOR, np.float32(1), r"y\[\] for 6 samples"),
    "channels-last": (IMAGE, np.zeros((6, 3, 5, 2)), r"outputs are \[N, 2, 3, 5\], channels first"),
    "no-targets": (ONE, None, "has no targets y, and x"),
    "no-classes": (LabelType("cross_entropy", (4,)), None, "has no labels y"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_targets_that_make_no_sense_are_refused(case: str) -> None:
    labels, y, words = REFUSED[case]
    with pytest.raises(DataError, match=words) as error:
        checked(Samples(X, y, "data.npz"), (1, 2, 2), labels)
    assert str(error.value).startswith("data.npz: ") and "\n" not in str(error.value)


TAKEN: dict[str, tuple[LabelType, Any, tuple[int, int]]] = {
    "flat": (VECTOR, normal(6, 4), (6, 4)),
    "as-the-input": (VECTOR, normal(6, 1, 2, 2), (6, 4)),
    "one-axis": (ONE, normal(6), (6, 1)),
    "double": (ONE, normal(6, 1).astype(np.float64), (6, 1)),
    "bits": (BITS, np.eye(6, 4, dtype=bool), (6, 4)),
    "whole-bits": (BITS, np.eye(6, 4, dtype=np.int64), (6, 4)),
    "map": (IMAGE, normal(6, 2, 3, 5), (6, 30)),
    "flat-map": (IMAGE, normal(6, 30), (6, 30)),
    "signal": (LabelType("mse", (1, 5, 2)), normal(6, 2, 5), (6, 10)),
    "itself": (VECTOR, None, (6, 4)),
}


@pytest.mark.parametrize("case", TAKEN)
def test_targets_in_every_usual_shape_are_taken(case: str) -> None:
    labels, y, shape = TAKEN[case]
    samples = checked(Samples(X, y, "x"), (1, 2, 2), labels)
    wanted = X if y is None else y
    np.testing.assert_array_equal(samples.labels, wanted.reshape(shape).astype(np.float32))
    again = checked(samples, (1, 2, 2), labels)
    np.testing.assert_array_equal(again.labels, samples.labels)
    own = labels.in_own_order(samples.labels)
    back = labels.channels_first(own)
    np.testing.assert_array_equal(back.reshape(shape), samples.labels)
    assert checked_labels(X, samples.labels, labels, "x").dtype == np.float32


def test_scores_are_what_scikit_learn_says() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    scores, targets = normal(50, 3), normal(50, 3, seed=9)
    r2 = metrics.r2_score(targets, scores, multioutput="variance_weighted")
    assert LOSSES["mse"].score(scores, targets) == pytest.approx(r2)
    assert LOSSES["mse"].mean(scores, targets) == pytest.approx(
        metrics.mean_squared_error(targets, scores)
    )
    bits, shares = targets > 0, 1 / (1 + np.exp(-scores.astype(np.float64)))
    assert LOSSES["bce"].mean(scores, bits) == pytest.approx(
        metrics.log_loss(bits.reshape(-1), shares.reshape(-1))
    )
    assert LOSSES["bce"].score(scores, bits) == ((scores > 0) == bits).mean()
    assert LOSSES["mse"].score(np.ones((3, 1)), np.ones((3, 1))) == 1
    assert LOSSES["mse"].score(np.zeros((3, 1)), np.ones((3, 1))) == 0


# labels of another model


@pytest.fixture(scope="module")
def regressor(tmp_path_factory: pytest.TempPathFactory) -> TrainableNetwork:
    x, y = made_data()
    return compiled(tmp_path_factory.mktemp("r"), mlp(3, 4, 2), x, y, loss="mse")


def stream(labels: Array) -> Stream:
    n = len(labels)
    return Stream(x=np.zeros((n, 3), np.int8), labels=labels, rates=np.full(n, 0.1, np.float32))


WRONG_STREAMS = {
    "classes": (np.zeros(2, np.int32), "labels are int32"),
    "size": (np.zeros((2, 3), np.float32), "but the model takes 2 of float32 a sample"),
    "infinite": (np.full((2, 2), np.inf, np.float32), "record 0 has a target that is infinite"),
    "half": (np.asarray([[0, np.nan]] * 2, np.float32), "or that its loss cannot take"),
}


@pytest.mark.toolchain
@pytest.mark.parametrize("case", WRONG_STREAMS)
@pytest.mark.parametrize("where", ["desk", "board"])
def test_labels_of_another_model_are_refused(
    case: str, where: str, regressor: TrainableNetwork, tmp_path: Path
) -> None:
    labels, words = WRONG_STREAMS[case]

    def run() -> None:
        if where == "desk":
            regressor.twin().library.run(stream(labels))
        else:
            firmware = build_firmware(regressor.folder, "model", regressor.board, tmp_path)
            emulator.run(firmware, stream(labels))

    with pytest.raises(InsituError, match=words):
        run()


@pytest.mark.toolchain
def test_a_prediction_says_the_digest_of_its_scores(regressor: TrainableNetwork) -> None:
    library = regressor.twin().library
    scores, predicted = library.predict(np.asarray([[1, 2, 3], [-9, 90, 4]], np.int8))
    assert [digest(row) for row in scores] == predicted.tolist()
    ended = stream(np.full((2, 2), np.nan, np.float32))
    assert np.isnan(library.run(ended).losses).all()
