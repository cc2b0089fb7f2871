"""Networks of flax.nnx by jax2onnx."""
# /// script
# requires-python = ">=3.11"
# dependencies = ["jax2onnx==0.17.1", "jax==0.10.2", "flax==0.12.8", "onnx==1.23.2"]
# ///

import sys

import jax
import jax.numpy as jnp
import onnx
from flax import nnx
from jax2onnx import to_onnx


class Perceptron(nnx.Module):
    """Features."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first, self.last = nnx.Linear(10, 16, rngs=rngs), nnx.Linear(16, 3, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Scores."""
        return self.last(nnx.relu(self.first(x)))


class Images(nnx.Module):
    """Two convolutions, a mean over the image."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first = nnx.Conv(1, 6, (3, 3), strides=2, rngs=rngs)
        self.second = nnx.Conv(6, 8, (3, 3), rngs=rngs)
        self.last = nnx.Linear(8, 4, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Scores."""
        x = nnx.silu(self.second(nnx.relu(self.first(x))))
        return self.last(jnp.mean(x, axis=(1, 2)))


class Signals(nnx.Module):
    """A convolution over time, a flatten."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first = nnx.Conv(4, 8, (5,), rngs=rngs)
        self.last = nnx.Linear(128, 3, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Scores."""
        x = nnx.max_pool(nnx.relu(self.first(x)), window_shape=(2,), strides=(2,))
        return self.last(x.reshape(x.shape[0], -1))


class Places(nnx.Module):
    """A layer at each place of a signal, with a residual, a mean."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first, self.second = nnx.Linear(5, 8, rngs=rngs), nnx.Linear(8, 8, rngs=rngs)
        self.last = nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Scores."""
        x = nnx.relu(self.first(x))
        x = x + nnx.gelu(self.second(x))
        return self.last(x.mean(axis=1))


for name, make, shape in (
    ("mlp", Perceptron, (10,)),
    ("image", Images, (12, 12, 1)),
    ("signal", Signals, (32, 4)),
    ("places", Places, (20, 5)),
):
    model = to_onnx(make(nnx.Rngs(0)), [("B", *shape)], model_name=name)
    onnx.save(model, f"{sys.argv[1]}/{name}.onnx")
