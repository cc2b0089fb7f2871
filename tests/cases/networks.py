"""The three networks of the acceptance test, as ONNX with fixed seeds.

The demo's stands in the package; the other two are those of `examples/`, read from there, so that
what users are shown is what is tested.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import onnx

ROOT = Path(__file__).parents[2]
DEMO_ONNX = ROOT / "insitu" / "app" / "demo_data" / "digits_cnn.onnx"


def example(name: str) -> ModuleType:
    """The module examples/NAME.py."""
    path = ROOT / "examples" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"examples_{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def digits_cnn() -> onnx.ModelProto:
    """image[batch, 1, 8, 8] -> logits[batch, 10]: pretrained, with batch norms."""
    return onnx.load(DEMO_ONNX)


def digits_mlp() -> onnx.ModelProto:
    """image[batch, 1, 8, 8] -> logits[batch, 10]: 64-32-10, untrained."""
    model: onnx.ModelProto = example("digits_mlp").build(seed=0)
    return model


def bearing_cnn() -> onnx.ModelProto:
    """acceleration[batch, 1, 512] -> logits[batch, 9]: 1-D, untrained."""
    model: onnx.ModelProto = example("bearing_cnn").build(seed=0)
    return model


NETWORKS: dict[str, Callable[[], onnx.ModelProto]] = {
    "digits-cnn": digits_cnn,
    "digits-mlp": digits_mlp,
    "bearing-cnn": bearing_cnn,
}
