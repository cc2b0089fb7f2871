"""Networks with branches that hypothesis makes: up to twelve nodes that read any earlier ones."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from case_layers import ALL_1, FLATTEN, RELU, Case, Layer, add, conv, linear
from hypothesis import assume
from hypothesis import strategies as st
from made_cases import SEEDS, SHAPES, Shape, layers, output_shape
from mixing_cases import concat, move, multiply, resize

LARGEST = 400
"""Elements of a tensor."""

PRODUCTS = 3
"""At most; a longer chain of them leaves the numbers that int8 networks are about."""


@dataclass
class Growing:
    """A network in the making: its layers, and the shape of each position; 0 is the sample."""

    shapes: list[Shape]
    layers: list[Layer] = field(default_factory=list)

    def append(self, layer: Layer, shape: Shape, *of: int) -> None:
        """The next node, which reads the positions `of`."""
        self.layers.append(replace(layer, of=of))
        self.shapes.append(shape)

    def alike(self, position: int, axis: int | None = None) -> list[int]:
        """Positions of the same shape, but for one axis."""

        def other(shape: Shape) -> Shape:
            return shape if axis is None else (*shape[:axis], 0, *shape[axis + 1 :])

        shape = self.shapes[position]
        return [
            p
            for p, s in enumerate(self.shapes)
            if len(s) == len(shape) and other(s) == other(shape)
        ]


@st.composite
def joins(draw: st.DrawFn, made: Growing, x: int) -> tuple[Layer, Shape, tuple[int, ...]]:
    """A node that brings x and other positions together."""
    shape = made.shapes[x]
    kind = draw(st.sampled_from(["add", "subtract", "multiply", "concat"]))
    if kind == "concat":
        axis = draw(st.integers(0, len(shape) - 1))
        more = st.lists(st.sampled_from(made.alike(x, axis)), min_size=1, max_size=3)
        of = (x, *draw(more))
        length = sum(made.shapes[p][axis] for p in of)
        return concat(axis=axis), (*shape[:axis], length, *shape[axis + 1 :]), of
    if kind == "multiply":
        factors = {shape, (1, 1, shape[-1]), (shape[-1],)} if len(shape) == 3 else {shape}
        alike = [p for p, s in enumerate(made.shapes) if s in factors]
        return multiply(), shape, (x, draw(st.sampled_from(alike)))
    y = draw(st.sampled_from(made.alike(x)))
    return add(subtract=kind == "subtract"), shape, (x, y)


@st.composite
def moves(draw: st.DrawFn, shape: Shape) -> tuple[Layer, Shape]:
    """A pad, slice or resize of a tensor."""
    kind = draw(st.sampled_from(["pad", "slice", "resize"]))
    if kind == "resize" and len(shape) == 3:
        high, wide = draw(st.tuples(st.integers(1, 2), st.integers(1, 3)))
        return resize(high, wide), (shape[0] * high, shape[1] * wide, shape[2])
    low, step, result = [], [], []
    for size in shape:
        low.append(draw(st.integers(-2, 2)))
        step.append(draw(st.integers(1, 2)))
        reach = (size - 1) * step[-1] + 1 if kind == "pad" else -(-size // step[-1])
        result.append(max(reach + low[-1] + draw(st.integers(-2, 2)), 1))
    layer = move("slice" if kind == "slice" else "pad", tuple(low), tuple(result), step=tuple(step))
    return layer, tuple(result)


@st.composite
def graphs(draw: st.DrawFn) -> Case:
    """Up to twelve nodes and a linear head; any part of it is trained."""
    shape = draw(SHAPES)
    made = Growing([shape])
    for _ in range(draw(st.integers(2, 12))):
        last = len(made.shapes) - 1
        x = draw(st.sampled_from([last, last, *range(last + 1)]))
        kind = draw(st.sampled_from(["layer", "layer", "alike", "join", "join", "move"]))
        of: tuple[int, ...] = (x,)
        if kind == "join":
            layer, now, of = draw(joins(made, x))
        elif kind == "move":
            layer, now = draw(moves(made.shapes[x]))
        else:
            layer = _alike(made.shapes[x]) if kind == "alike" else draw(layers(made.shapes[x]))
            if layer.weights == "tiny-rows" and layer.out == 1:
                layer = replace(layer, weights="normal")  # a tiny layer cannot hold its bias
            now = output_shape(made.shapes[x], layer)
        products = sum(entry.op == "multiply" for entry in made.layers)
        if math.prod(now) > LARGEST or (layer.op == "multiply" and products == PRODUCTS):
            continue
        made.append(layer, now, *of)
        if layer.op in ("conv", "linear", "add") and draw(st.booleans()):
            made.append(RELU, now, len(made.shapes) - 1)
    last = len(made.shapes) - 1
    if len(made.shapes[last]) == 3:
        made.append(FLATTEN, (math.prod(made.shapes[last]),), last)
    made.append(linear(draw(st.integers(2, 5))), (), len(made.shapes) - 1)
    chosen = _needed(made.layers)
    assume(len(chosen) <= 14)
    names = [f"{e.op}{i}" for i, e in enumerate(chosen, 1) if e.op in ("conv", "linear")]
    trained = draw(st.sampled_from(["all", "last:1", *names]))
    return Case(shape, chosen, trained=trained, seed=draw(SEEDS))


def _alike(shape: Shape) -> Layer:
    """A layer whose output has its input's shape."""
    return conv(shape[2], padding=ALL_1) if len(shape) == 3 else linear(shape[0])


def _needed(made: list[Layer]) -> tuple[Layer, ...]:
    """The layers that the last one depends on, numbered anew."""
    wanted = {len(made)}
    for position in range(len(made), 0, -1):
        if position in wanted:
            wanted.update(made[position - 1].of)
    kept = sorted(wanted | {0})
    place = {position: index for index, position in enumerate(kept)}
    return tuple(
        replace(made[p - 1], of=tuple(place[q] for q in made[p - 1].of)) for p in kept if p
    )
