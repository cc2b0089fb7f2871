"""Is the output that carries the loss read, where a network has several?"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_models import model, node, normal, saved
from test_onnx import of_insitu, of_onnxruntime, samples

import insitu
from insitu.app import cli
from insitu.errors import ModelError


def two_heads() -> onnx.ModelProto:
    """x[n, 4] -> scores "a"[n, 3] and, by an operator that we do not know, "b"[n, 2]."""
    nodes = [
        node("Gemm", "x w0", "h", "body"),
        node("Relu", "h", "r", "relu"),
        node("Gemm", "r w1", "a", "head_a"),
        node("Gemm", "r w2", "c", "head_b"),
        node("Erf", "c", "b", "erf"),
    ]
    weights = {"w0": normal(4, 6), "w1": normal(6, 3), "w2": normal(6, 2)}
    proto = model(["n", 4], nodes, weights, output="a")
    del proto.graph.output[:]
    proto.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", count])
        for name, count in (("a", 3), ("b", 2))
    )
    return proto


def test_only_what_the_chosen_output_needs_is_read(tmp_path: Path) -> None:
    path = saved(two_heads(), tmp_path)
    chosen = insitu.load(path, output="a")
    assert chosen.unsupported == ()
    assert [n.name for n in chosen.graph.nodes] == ["body", "relu", "head_a"]
    x = samples((4,))
    np.testing.assert_allclose(of_insitu(chosen, x), of_onnxruntime(two_heads(), x), atol=1e-5)
    assert [u.name for u in insitu.load(path, output="b").unsupported] == ["erf"]


def test_without_a_choice_all_are_listed(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        insitu.load(saved(two_heads(), tmp_path))
    assert str(caught.value).endswith(
        "has 2 outputs (a[n, 3], b[n, 2]), 1 carries the loss; "
        'say which: --output a, in Python output="a"'
    )


@pytest.mark.parametrize("name", ["c", "", "a "])
def test_an_output_that_is_not_there(name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="none is called") as caught:
        insitu.load(saved(two_heads(), tmp_path), output=name)
    assert "has 2 outputs (a[n, 3], b[n, 2])" in str(caught.value)


def test_the_commands_take_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = saved(two_heads(), tmp_path)
    monkeypatch.setattr("sys.argv", ["insitu", "inspect", str(path), "--output", "a", "--json"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert not stopped.value.code
    figures = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in figures["layers"]] == ["body", "relu", "head_a"]


@pytest.mark.toolchain
def test_the_chosen_output_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, data, out = saved(two_heads(), tmp_path), tmp_path / "x.npz", tmp_path / "out"
    np.savez(data, x=samples((4,), 8), y=np.arange(8) % 3)
    words = f"insitu compile {path} --data {data} --out {out} --output a --json"
    monkeypatch.setattr("sys.argv", words.split())
    with pytest.raises(SystemExit):
        cli.main()
    assert json.loads(capsys.readouterr().out)["fits"]
    assert (out / "insitu_model.c").exists()
