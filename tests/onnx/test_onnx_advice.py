"""Does `insitu inspect` name every node that stands in the way, and what to do about each?"""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from onnx_models import model, node, normal, saved

import insitu
from insitu.app import cli
from insitu.frontends.onnx.advice import FAMILIES, GENERAL, advice
from insitu.frontends.onnx.reader import IMPORTERS

FIVE = {
    "norm": ("LayerNormalization", "use BatchNormalization behind a layer"),
    "root": ("Sqrt", "do it to the samples where it prepares the input"),
    "recurrent": ("GRU", "use convolutions over the signal (a temporal CNN)"),
    "mine": ("Fancy", "export with standard operators"),
    "best": ("TopK", "end the network before it, with the scores of all classes"),
}


def five_unsupported() -> onnx.ModelProto:
    """x[n, 4, 6] -> y, by five nodes of five families and two layers that we have."""
    nodes = [
        node("LayerNormalization", "x g", "a", "norm"),
        node("Sqrt", "a", "b", "root"),
        node("GRU", "b w r", "c", "recurrent", hidden_size=3),
        node("Fancy", "c", "d", "mine", domain="com.example"),
        node("Flatten", "d", "e", "flatten"),
        node("Gemm", "e v", "s", "fc"),
        node("TopK", "s k", "y i", "best"),
    ]
    weights = {
        "g": normal(6),
        "w": normal(1, 9, 6),
        "r": normal(1, 9, 3),
        "v": normal(12, 5),
        "k": [1],
    }
    return model([1, 4, 6], nodes, weights, domains=["com.example"])


@pytest.mark.parametrize("as_json", [False, True])
def test_five_unsupported_nodes_are_named_each_with_its_own_advice(
    as_json: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = saved(five_unsupported(), tmp_path)
    words = ["insitu", "inspect", str(path), *(["--json"] if as_json else [])]
    monkeypatch.setattr("sys.argv", words)
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert not stopped.value.code
    printed = capsys.readouterr().out
    if as_json:
        rows = json.loads(printed)["unsupported"]
        assert [(row["name"], row["op"]) for row in rows] == [
            (n, op) for n, (op, _) in FIVE.items()
        ]
        assert all(FIVE[row["name"]][1] in row["advice"] and row["reason"] for row in rows)
        assert len({row["advice"] for row in rows}) == len(FIVE)
        return
    text = " ".join(printed.split())
    assert "5 unsupported nodes:" in text
    places = [text.index(f'{op} "{name}":') for name, (op, _) in FIVE.items()]
    assert places == sorted(places)
    for start, (_, hint) in zip(places, FIVE.values(), strict=True):
        assert hint in text[start : start + 400]


def test_the_error_of_compile_names_them_too(tmp_path: Path) -> None:
    read = insitu.load(saved(five_unsupported(), tmp_path))
    with pytest.raises(insitu.InsituError) as caught:
        insitu.compile(read, calibration=normal(4, 4, 6))
    assert "5 unsupported nodes" in str(caught.value)
    assert all(f'"{name}"' in str(caught.value) for name in FIVE)


def test_every_operator_has_one_advice() -> None:
    operators = [op for family in FAMILIES for op in family.split()]
    assert len(operators) == len(set(operators))
    # what an importer refuses in a form that we do not have needs no hint at its operator's name,
    # unless the importer gives none of its own
    without = {op for op in IMPORTERS if advice(op) == GENERAL}
    assert without <= {"Clip", "DequantizeLinear", "Identity", "QuantizeLinear", "Relu"}


def test_an_operator_that_nobody_knows_gets_the_general_advice() -> None:
    assert advice("Frobnicate") == GENERAL
