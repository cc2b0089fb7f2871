"""network -> every figure of `insitu report`, by layer and by tensor, ready for JSON.

Invariant: the layers' instructions and cycles add up to those of the training step, the parts of
a memory to what the linker placed and the stack's bound; nothing is counted twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from insitu.frontends.model import Model
from insitu.graph.model import Graph, Kind, Node, Phase, Tensor
from insitu.measure.cost import DIRECTIONS, millijoules, milliseconds
from insitu.measure.fidelity import Distortion, Fidelity
from insitu.network.compiled import Network
from insitu.prepare.layers import Layer
from insitu.target.board import Board

COSTS = ("macs", "instructions", "cycles", "ms", "mj")
"""Of a layer, in all and by direction."""

SHARED = "(all layers)"
"""Stands for a layer where a tensor serves the whole model: learning rate, generator."""


def inspect_figures(
    model: Model, layers: Sequence[Layer], fidelity: Fidelity | None = None
) -> dict[str, Any]:
    """What `insitu inspect --json` says; with a comparison every layer has its figures.

    They are null where the layer was folded into another.
    """
    figures: dict[str, Any] = {
        "name": model.name,
        "input_shape": model.input_shape,
        "layers": [asdict(layer) for layer in layers],
        "parameters": sum(layer.parameters for layer in layers),
        "macs": sum(layer.macs for layer in layers),
        "unsupported": [asdict(node) for node in model.unsupported],
        "notes": model.notes,
    }
    if fidelity is None:
        return figures
    nothing = dict.fromkeys(field.name for field in fields(Distortion))
    for row in figures["layers"]:
        found = fidelity.layers.get(row["name"])
        row.update(nothing if found is None else asdict(found))
    whole = {k: v for k, v in asdict(fidelity).items() if k != "layers"}
    return {**figures, "fidelity": whole | {"worst": fidelity.worst, "advice": fidelity.advice}}


def layer_rows(network: Network) -> list[dict[str, Any]]:
    """One row a layer, in order of execution, the loss last.

    Keys: name, ops, parameters, trained, state_bytes, flash_bytes, then macs, instructions,
    cycles, ms and mj, each whole and by direction ("cycles_forward", ...).
    """
    owners = tensor_layers(network.graph)
    sizes = _parameters(network.float_graph)
    rows = []
    for layer in _layers(network.graph):
        nodes = [(i, n) for i, n in enumerate(network.graph.nodes) if n.layer == layer]
        kept = [t for t in network.graph.tensors.values() if owners.get(t.name) == layer]
        state = _bytes(kept, Kind.STATE)
        initial = _bytes([t for t in kept if t in network.state.initial], Kind.STATE)
        row = {
            "name": layer,
            "ops": sorted({n.op.name for _, n in nodes}),
            "parameters": sizes.get(layer, 0),
            "trained": layer in network.trained,
            "state_bytes": state,
            "flash_bytes": _bytes(kept, Kind.CONSTANT) + initial,
        }
        rows.append(row | _costs(network, nodes))
    return rows


def trained_names(network: Network, *, most: int = 8) -> str:
    """The trained layers in order of execution: "conv2, fc1, fc2"."""
    names = [node.name for node in network.float_graph.nodes if node.name in network.trained]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _layers(graph: Graph) -> list[str]:
    """Names in order of execution; the loss, which nobody calls a layer, at the end."""
    loss = {n.layer for n in graph.nodes if n.phase is Phase.LOSS}
    names = dict.fromkeys(n.layer for n in graph.nodes)
    return [*(n for n in names if n not in loss), *(n for n in names if n in loss)]


def _costs(network: Network, nodes: Sequence[tuple[int, Node]]) -> dict[str, Any]:
    m, board = network.measurement, network.board
    row: dict[str, Any] = {}
    for direction, phases in DIRECTIONS.items():
        part = [(i, n) for i, n in nodes if n.phase in phases]
        cycles = sum(m.cycles.get(i, 0) for i, _ in part)
        row[f"macs_{direction}"] = sum(n.op.macs(n, network.graph) for _, n in part)
        row[f"instructions_{direction}"] = sum(m.instructions.get(i, 0) for i, _ in part)
        row[f"cycles_{direction}"] = cycles
        row[f"ms_{direction}"] = milliseconds(cycles, board)
        row[f"mj_{direction}"] = millijoules(cycles, board)
    for what in COSTS:
        row[what] = sum(row[f"{what}_{direction}"] for direction in DIRECTIONS)
    return row


def cost_cells(rows: Iterable[Mapping[str, Any]], direction: str = "") -> tuple[str, ...]:
    """`COSTS` of some layers together, for people; all directions where none is named."""
    end = f"_{direction}" if direction else ""
    *counts, ms, mj = zip(*((row[f"{what}{end}"] for what in COSTS) for row in rows), strict=True)
    return (*(f"{sum(count):,}" for count in counts), f"{sum(ms):.3f}", f"{sum(mj):.4f}")


def tensor_layers(graph: Graph) -> dict[str, str]:
    """Tensor -> its layer: who makes it, or else the only layer that reads it, or `SHARED`."""
    makers = {name: node.layer for node in graph.nodes for name in node.outputs}
    readers: dict[str, set[str]] = {}
    for node in graph.nodes:
        for name in node.inputs:
            readers.setdefault(name, set()).add(node.layer)
    found = {}
    for name, tensor in graph.tensors.items():
        layers = readers.get(name, set())
        alone = next(iter(layers)) if len(layers) == 1 else tensor.layer or SHARED
        found[name] = makers.get(name, alone)
    return found


def _parameters(float_graph: Graph) -> dict[str, int]:
    return {
        node.name: sum(t.size for t in float_graph.inputs_of(node) if t.data is not None)
        for node in float_graph.nodes
        if node.op.weights
    }


def _bytes(tensors: Iterable[Tensor], kind: Kind) -> int:
    return sum(t.nbytes for t in tensors if t.kind is kind)


def tensor_rows(network: Network) -> list[dict[str, Any]]:
    """One row for each piece of memory: state, arena, constants, initial values.

    Keys: name, layer, shape, dtype, kind ("state", "activation", "scratch", "constant",
    "initial value"), memory ("RAM" or "flash"), bytes, offset (in the arena, else None), alive
    (the [first, last] node at which its piece of the arena is needed, else None), shares (the
    tensor that this piece belongs to, else None).
    """
    graph, owners = network.graph, tensor_layers(network.graph)
    state = [_row(t, owners, "state", "RAM") for t in network.state.tensors]
    constants = [_row(t, owners, "constant", "flash") for t in graph.of_kind(Kind.CONSTANT)]
    initial = [_row(t, owners, "initial value", "flash") for t in network.state.initial]
    return [*state, *_arena_rows(network, owners), *constants, *initial]


def _row(
    tensor: Tensor, owners: Mapping[str, str], kind: str, memory: str, **more: Any
) -> dict[str, Any]:
    return {
        "name": tensor.name,
        "layer": owners.get(tensor.name, SHARED),
        "shape": list(tensor.shape),
        "dtype": tensor.dtype,
        "kind": kind,
        "memory": memory,
        "bytes": tensor.nbytes,
        "offset": None,
        "alive": None,
        "shares": None,
        **more,
    }


def _arena_rows(network: Network, owners: Mapping[str, str]) -> list[dict[str, Any]]:
    plan, graph = network.plan, network.graph
    lives = {life.name: life for life in plan.lifetimes}
    rows = []
    for tensor, owner in plan.aliases.items():
        if tensor in graph.tensors:
            life = lives[owner]
            shares = owner if owner != tensor else None
            place = {"offset": plan.offsets[owner], "alive": [life.first, life.last]}
            kind = "activation"
            rows.append(_row(graph.tensors[tensor], owners, kind, "RAM", **place, shares=shares))
    makers = {node.name: node.layer for node in graph.nodes}
    for name, life in lives.items():
        if life.scratch_of is not None:
            scratch = Tensor(name, (life.nbytes,), "int8")
            layers = {name: makers[life.scratch_of]}
            place = {"offset": plan.offsets[name], "alive": [life.first, life.last]}
            rows.append(_row(scratch, layers, "scratch", "RAM", **place))
    return sorted(rows, key=lambda row: (row["offset"], row["alive"]))


def memory_parts(network: Network) -> dict[str, dict[str, int]]:
    """{"RAM": parts, "flash": parts}: bytes by part; each sums to what was measured."""
    m, graph = network.measurement, network.graph
    state, constants = network.state.nbytes, _bytes(graph.tensors.values(), Kind.CONSTANT)
    initial = _bytes(network.state.initial, Kind.STATE)
    ram = {"state": state, "arena": network.plan.arena_bytes, "stack": m.stack_bytes}
    flash = {"constants": constants, "initial values": initial}
    return {
        "RAM": {**ram, "buffers": m.ram_bytes + m.stack_bytes - sum(ram.values())},
        "flash": {**flash, "code": m.flash_bytes - sum(flash.values())},
    }


def scratch_line(network: Network) -> str:
    """What was given up so that the network fits the board; "" where nothing was."""
    less = network.less_scratch
    if less is None:
        return ""
    count = len(less["kernels"])
    who = f"{count} kernel{'s have' if count > 1 else ' has'} less than would be fast"
    if less["ram_bytes_wanted"] is None:
        return f"{who}, as asked for"
    change = less["instructions"] / less["instructions_wanted"] - 1
    return (
        f"{who}: {network.figures['ram_bytes']:,} B of RAM instead of "
        f"{less['ram_bytes_wanted']:,}, for {change:+.1%} instructions a step"
    )


def memory_limits(board: Board) -> dict[str, int]:
    """{"RAM": bytes, "flash": bytes} that the board has."""
    return {"RAM": board.ram_bytes, "flash": board.flash_bytes}


def report_figures(network: Network) -> dict[str, Any]:
    """What `insitu report --json` says."""
    return {
        **network.figures,
        "memory": memory_parts(network),
        "layers": layer_rows(network),
        "tensors": tensor_rows(network),
    }
