"""Does every example write a sound network and data that fit it?"""

from __future__ import annotations

import os
from pathlib import Path

import networks
import numpy as np
import onnx
import pytest

import insitu

SHARED = Path(os.environ.get("INSITU_DATA") or Path(__file__).parents[3] / "shared" / "data")

EXAMPLES = {
    "digits_mlp": (1, 8, 8),
    "turned_digits": (1, 8, 8),
    "bearing_cnn": (1, 512),
    "keywords_dscnn": (1, 49, 10),
}
NEEDS = {"bearing_cnn": "cwru.npz", "keywords_dscnn": "kws01.npz"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_writes_a_network_and_data_that_fit(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if name in NEEDS:
        if not (SHARED / NEEDS[name]).is_file():
            pytest.skip(f"{NEEDS[name]} is not here; set INSITU_DATA to the folder that holds it")
        monkeypatch.setenv("INSITU_DATA", str(SHARED))
    networks.example(name).main(tmp_path / "out")
    model = onnx.load(tmp_path / "out" / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    classes = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[1:]]
    assert tuple(shape) == EXAMPLES[name]
    for path in (tmp_path / "out").glob("*.npz"):
        with np.load(path) as data:
            assert data["x"].shape == (len(data["y"]), *shape)
            assert set(np.unique(data["y"])) == set(range(classes))
    commands = capsys.readouterr().out
    named = {word for word in commands.split() if word.endswith((".onnx", ".npz"))}
    assert named == {str(path) for path in (tmp_path / "out").iterdir()}


@pytest.mark.toolchain
def test_what_the_board_has_learnt_is_normal_separates_all_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = networks.example("anomaly_autoencoder").main(tmp_path / "out")
    assert figures["twin_equal"] and figures["before"] < 0.8 < 0.99 < figures["after"]
    model = onnx.load(tmp_path / "out" / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    with np.load(tmp_path / "out" / "normal.npz") as data:
        assert data.files == ["x"] and data["x"].shape[1:] == (1, 8, 8)
    printed = capsys.readouterr().out
    assert "twin equal: True" in printed and f"{figures['after']:.3f}" in printed


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_network_is_the_same_every_time(name: str) -> None:
    first, second = networks.NETWORKS[name](), networks.NETWORKS[name]()
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(
        deterministic=True
    )


def test_the_keyword_network_is_depthwise_separable_and_supported(tmp_path: Path) -> None:
    onnx.save(networks.example("keywords_dscnn").build(), tmp_path / "model.onnx")
    model = insitu.load(tmp_path / "model.onnx")
    assert not model.unsupported
    groups = [n.attributes["groups"] for n in model.graph.nodes if "groups" in n.attributes]
    assert groups == [1, 32, 1, 32, 1, 32, 1]
