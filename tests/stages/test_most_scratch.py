"""Does any kernel of the networks that people have need more than 12 KB of scratch?"""

from __future__ import annotations

from pathlib import Path

import networks
import numpy as np
import onnx
import pytest

import insitu
from insitu.bench.layers import Layer, conv, depthwise, linear
from insitu.bench.program import float_network
from insitu.differentiate import differentiate
from insitu.graph.model import Graph
from insitu.graph.scheme import Scheme
from insitu.prepare.layers import select_layers
from insitu.prepare.simplify import simplify
from insitu.quantize import calibrate, quantize_graph

MOST_BYTES = 12 * 1024

ZOO = networks.example("zoo")

BLOCKS = (
    # channels inside, kernel, stride, channels out
    *((16, 3, 1, 8), (32, 3, 2, 16), (48, 3, 1, 16), (48, 3, 1, 16), (48, 7, 2, 24)),
    *((120, 3, 1, 24), (120, 3, 2, 40), (160, 7, 1, 40), (160, 5, 1, 48), (144, 3, 1, 48)),
    *((192, 3, 1, 48), (240, 7, 2, 96), (384, 5, 1, 96), (576, 3, 1, 160)),
)
"""Of MCUNet-5FPS (Lin et al., 2020, ImageNet at 128 x 128), those of a kind once, without the
additions."""

SCHEMES = {
    "in-place": Scheme(),
    "batch": Scheme(batch=8),
    "momentum-int16": Scheme(momentum=0.9, buffer="int16"),
    "float32": Scheme(precision="float32"),
}


def mcunet() -> Graph:
    """x[128, 128, 3] -> 1000 scores."""
    layers: list[Layer] = [conv("", (128, 128, 3), 16, stride=(2, 2))]
    side, channels = 64, 16
    for inside, kernel, stride, out in BLOCKS:
        if inside != channels:
            layers.append(conv("", (side, side, channels), inside, (1, 1)))
        layers.append(depthwise(inside, side, kernel, stride=stride))
        side, channels = side // stride, out
        layers.append(conv("", (side, side, inside), out, (1, 1)))
    pool = {"kernel": (4, 4), "stride": (4, 4), "padding": (0,) * 4, "count_include_pad": False}
    layers.append(Layer(group="", op="average_pool", shape=(), attributes=pool))
    layers.append(Layer(group="", op="flatten", shape=()))
    return simplify(float_network(*layers, linear("", channels, 1000)))


def most_scratch(graph: Graph, scheme: Scheme) -> tuple[int, str]:
    """The largest scratch of a training step of all layers, and whose it is."""
    shape = graph.tensors[graph.inputs[0]].shape
    x = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    integers = quantize_graph(graph, calibrate(graph, x), select_layers(graph, "all"), scheme)
    step = differentiate(integers, scheme)
    return max((node.op.scratch_bytes(node, step), node.name) for node in step.nodes)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_no_kernel_of_mcunet_needs_more(scheme: str) -> None:
    most, name = most_scratch(mcunet(), SCHEMES[scheme])
    assert most <= MOST_BYTES, name


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("network", ZOO.NETWORKS)
def test_no_kernel_of_the_zoo_needs_more(network: str, scheme: str, tmp_path: Path) -> None:
    onnx.save(ZOO.NETWORKS[network][0](), tmp_path / "model.onnx")
    graph = simplify(insitu.load(tmp_path / "model.onnx").graph)
    most, name = most_scratch(graph, SCHEMES[scheme])
    assert most <= MOST_BYTES, name
