"""Names -> the float networks whose training steps are measured.

Small ones are data of this package. Larger ones are those of examples/zoo.py, so only a checkout
has them: the same architectures as the published networks', with random weights, since the
repository holds no model files.
"""

from __future__ import annotations

import math
import runpy
from pathlib import Path

from insitu.bench.layers import Layer, conv, linear
from insitu.bench.program import float_network
from insitu.errors import ConfigError
from insitu.frontends.onnx.reader import read_proto
from insitu.graph.model import Graph
from insitu.prepare.simplify import simplify

RELU = Layer(group="", op="clip", shape=(), attributes={"min": 0.0, "max": math.inf})
FLATTEN = Layer(group="", op="flatten", shape=())
STRIDE = (2, 2)

SMALL: dict[str, tuple[Layer, ...]] = {
    "MLP 64-32-10": (linear("", 64, 32), RELU, linear("", 32, 10)),
    "MLP 784-64-10": (linear("", 784, 64), RELU, linear("", 64, 10)),
    "Fashion-MNIST CNN": (
        *(conv("", (28, 28, 1), 16, stride=STRIDE), RELU),
        *(conv("", (14, 14, 16), 32, stride=STRIDE), RELU, FLATTEN),
        *(linear("", 1568, 64), RELU, linear("", 64, 10)),
    ),
}
"""Networks as layers one after the other: those that every check measures."""

ZOO_FILE = Path(__file__).parents[2] / "examples/zoo.py"
ZOO = {"DS-CNN": "ds-cnn", "ResNet-8": "resnet-8", "MCUNet": "mcunet"}
"""Title -> name in examples/zoo.py."""


def names(*, gate: bool) -> list[str]:
    """What `float_graph` takes; `gate`: without the large ones."""
    return [*SMALL, *(ZOO if ZOO_FILE.is_file() and not gate else ())]


def float_graph(name: str) -> Graph:
    """The simplified float network.

    Raises:
        ConfigError: one of the zoo's, and this is no checkout.
    """
    if name in SMALL:
        return simplify(float_network(*SMALL[name]))
    if not ZOO_FILE.is_file():
        raise ConfigError(f'"{name}" is made by examples/zoo.py of a checkout, which is not here')
    build, _ = runpy.run_path(str(ZOO_FILE))["NETWORKS"][ZOO[name]]
    return simplify(read_proto(build(), name, f"{name} of the zoo").graph)
