"""Graph <-> JSON with arrays beside it.

Invariant: `load(*dump(graph), ops)` is the same graph.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from insitu.errors import ModelError
from insitu.graph.model import Array, Graph, Kind, Node, OpDef, Phase, QParams, Role, Tensor, Units


def dump(graph: Graph) -> tuple[dict[str, Any], dict[str, Array]]:
    """(JSON value, arrays by name)."""
    arrays = {}
    tensors = []
    for tensor in graph.tensors.values():
        if tensor.data is not None:
            arrays[f"data/{tensor.name}"] = tensor.data
        q = tensor.qparams
        if q is not None:
            arrays[f"scale/{tensor.name}"] = q.scale
            if q.units is not None:
                arrays[f"units/{tensor.name}"] = np.stack([q.units.scale, q.units.offset])
        tensors.append(
            {
                "name": tensor.name,
                "shape": list(tensor.shape),
                "dtype": tensor.dtype,
                "kind": tensor.kind.value,
                "quantization": None if q is None else _dump_qparams(q),
                "role": None if tensor.role is None else tensor.role.value,
                "layer": tensor.layer,
            }
        )
    value = {
        "name": graph.name,
        "inputs": list(graph.inputs),
        "outputs": list(graph.outputs),
        "channels_last": graph.channels_last,
        "tensors": tensors,
        "nodes": [_dump_node(node) for node in graph.nodes],
    }
    return value, arrays


def _dump_qparams(q: QParams) -> dict[str, Any]:
    return {
        "zero_point": q.zero_point,
        "clip": [_finite(q.clip_min), _finite(q.clip_max)],
        "clamp": [q.clamp_min, q.clamp_max],
        "pass": [q.pass_min, q.pass_max],
        "range": q.range,
    }


def _dump_node(node: Node) -> dict[str, Any]:
    return {
        "name": node.name,
        "op": node.op.name,
        "layer": node.layer,
        "phase": node.phase.value,
        "inputs": list(node.inputs),
        "outputs": list(node.outputs),
        "updates": list(node.updates),
        "attributes": {key: _finite(value) for key, value in node.attributes.items()},
    }


def _finite(value: Any) -> Any:
    """JSON has no infinity: it becomes a string."""
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"
    if isinstance(value, tuple | list):
        return [_finite(item) for item in value]
    return value


def _restored(value: Any) -> Any:
    if value in ("inf", "-inf"):
        return float(value)
    return tuple(_restored(item) for item in value) if isinstance(value, list) else value


def load(value: Mapping[str, Any], arrays: Mapping[str, Array], ops: Mapping[str, OpDef]) -> Graph:
    """The graph that was dumped.

    Raises:
        ModelError: the value or the arrays are not what `dump` gives.
    """
    try:
        tensors = {entry["name"]: _load_tensor(entry, arrays) for entry in value["tensors"]}
        nodes = tuple(_load_node(entry, ops) for entry in value["nodes"])
        inputs, outputs = tuple(value["inputs"]), tuple(value["outputs"])
        last = bool(value.get("channels_last", False))
        return Graph(value["name"], nodes, tensors, inputs, outputs, last)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"the saved graph is damaged ({type(error).__name__} at {error}); compile it again"
        ) from None


def _load_tensor(entry: Mapping[str, Any], arrays: Mapping[str, Array]) -> Tensor:
    name, q = entry["name"], entry["quantization"]
    qparams = None
    if q is not None:
        clip_min, clip_max = _restored(q["clip"])
        qparams = QParams(
            scale=np.asarray(arrays[f"scale/{name}"]),
            zero_point=q["zero_point"],
            clip_min=clip_min,
            clip_max=clip_max,
            clamp_min=q["clamp"][0],
            clamp_max=q["clamp"][1],
            pass_min=q["pass"][0],
            pass_max=q["pass"][1],
            range=q["range"],
            units=_load_units(arrays.get(f"units/{name}")),
        )
    return Tensor(
        name,
        tuple(entry["shape"]),
        entry["dtype"],
        Kind(entry["kind"]),
        arrays.get(f"data/{name}"),
        qparams,
        None if entry["role"] is None else Role(entry["role"]),
        entry["layer"],
    )


def _load_units(value: Array | None) -> Units | None:
    return None if value is None else Units(value[0], value[1])


def _load_node(entry: Mapping[str, Any], ops: Mapping[str, OpDef]) -> Node:
    return Node(
        name=entry["name"],
        op=ops[entry["op"]],
        inputs=tuple(entry["inputs"]),
        outputs=tuple(entry["outputs"]),
        attributes={key: _restored(value) for key, value in entry["attributes"].items()},
        updates=tuple(entry["updates"]),
        layer=entry["layer"],
        phase=Phase(entry["phase"]),
    )
