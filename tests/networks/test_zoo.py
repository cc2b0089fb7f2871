"""Do the networks that people have compile unchanged, and train on a board as on the desk?"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import networks
import numpy as np
import onnx
import pytest
from case_layers import Case
from case_models import Compiled, trainable
from test_ops_integer import assert_nodes_within_bounds

import insitu
from insitu.config import TrainingConfig
from insitu.data.datasets import Dataset, digits
from insitu.frontends.model import Model
from insitu.graph.model import Graph
from insitu.prepare.layers import select_layers
from insitu.prepare.simplify import simplify

ZOO = networks.example("zoo")


@pytest.fixture
def path(name: str, tmp_path: Path) -> Path:
    """The network's file."""
    found = tmp_path / "model.onnx"
    onnx.save(ZOO.NETWORKS[name][0](), found)
    return found


def samples(shape: tuple[int, ...]) -> Dataset:
    data: Dataset = ZOO.enlarged(digits().take(np.arange(64)), shape)
    return data


@pytest.mark.parametrize("name", ZOO.NETWORKS)
def test_example_is_sound(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ZOO.main(name, tmp_path / "out")
    onnx.checker.check_model(onnx.load(tmp_path / "out" / "model.onnx"), full_check=True)
    commands = capsys.readouterr().out
    named = {word for word in commands.split() if word.endswith((".onnx", ".npz"))}
    assert named == {str(path) for path in (tmp_path / "out").iterdir()}


@pytest.mark.parametrize("name", ZOO.NETWORKS)
def test_a_step_of_all_layers_is_that_of_autograd(name: str, path: Path) -> None:
    autograd = pytest.importorskip("autograd")
    model = insitu.load(path)
    assert not model.unsupported
    graph = trainable(simplify(model.graph))
    data = samples(model.input_shape).take(np.arange(autograd.BATCH))
    x = data.x.astype(np.float64)
    last = x.transpose(0, 2, 3, 1) if x.ndim == 4 else x.transpose(0, 2, 1)[:, None]
    autograd.assert_same_step_of(graph, last, data.y)


class OfTheZoo(Compiled):
    """One of its networks, all layers trained."""

    model: Model

    @cached_property
    def simple(self) -> Graph:
        """The simplified float graph."""
        return simplify(self.model.graph)


@pytest.mark.parametrize("name", ZOO.NETWORKS)
def test_every_node_is_within_its_bound(name: str, path: Path) -> None:
    model = insitu.load(path)
    compiled = OfTheZoo(Case(model.graph.tensors[model.graph.inputs[0]].shape, ()))
    object.__setattr__(compiled, "model", model)
    assert_nodes_within_bounds(compiled, 1)


@pytest.mark.toolchain
@pytest.mark.slow
@pytest.mark.parametrize("board", ["nrf52840", "imxrt1062"])
@pytest.mark.parametrize("name", ZOO.NETWORKS)
def test_a_board_trains_it_as_the_twin_does(name: str, board: str, path: Path) -> None:
    model = insitu.load(path)
    data = samples(model.input_shape)
    training = TrainingConfig(layers=ZOO.NETWORKS[name][1])
    network = insitu.compile(model, calibration=data.x, training=training, board=board)
    assert network.trained == select_layers(simplify(model.graph), training.layers)
    run = network.run(data.x, data.y, steps=20, test=(data.x[:8], data.y[:8]))
    assert run.twin_equal
    assert len(set(run.losses.tolist())) > 10
