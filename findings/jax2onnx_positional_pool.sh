#!/bin/sh
# jax2onnx 0.17.1 replaces flax.nnx.max_pool while it converts by a function that takes x alone by
# position: nnx.max_pool(x, (2,), (2,)), which flax itself runs, is a TypeError inside to_onnx and only
# there; nnx.max_pool(x, window_shape=(2,), strides=(2,)) converts. A good guess would have been that
# whatever runs is traced. It matters since the error names no network and no conversion, but an
# argument count: name the arguments of pools.
# Seen in jax2onnx 0.17.1, flax 0.12.8 and jax 0.10.2 from PyPI. Exit status 1 where this is no longer
# so.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  jax2onnx==0.17.1 flax==0.12.8 jax==0.10.2
"$folder/venv/bin/python" - >"$folder/seen" <<'PYTHON'
from importlib.metadata import version

import jax.numpy as jnp
from flax import nnx
from jax2onnx import to_onnx


def by_position(x):
    return nnx.max_pool(x, (2,), (2,))


def by_name(x):
    return nnx.max_pool(x, window_shape=(2,), strides=(2,))


print("jax2onnx", version("jax2onnx"))
for pool in (by_position, by_name):
    run = pool(jnp.zeros((1, 8, 3))).shape
    try:
        nodes = [node.op_type for node in to_onnx(pool, [("B", 8, 3)]).graph.node]
        outcome = "MaxPool" if "MaxPool" in nodes else str(nodes)
    except TypeError:
        outcome = "TypeError"
    print(pool.__name__, "runs to", run, "converts to", outcome)
PYTHON
cat >"$folder/known" <<'KNOWN'
jax2onnx 0.17.1
by_position runs to (1, 4, 3) converts to TypeError
by_name runs to (1, 4, 3) converts to MaxPool
KNOWN
cat "$folder/seen"
diff "$folder/known" "$folder/seen"
