"""Planner: shapes of a convolution -> positions that its kernels take at once, their scratch.

A tile's operands are expanded to int16 once, each channel's weights once a tile: the larger the
tile, the fewer instructions, the more scratch. Twins: conv_forward_tiled.c,
conv_grad_input_tiled.c, conv_grad_input_sparse.c, conv_grad_weight_tiled.c. Cores of ARMv6-M take
tiles of their own in the same bytes: conv_forward_armv6m.c, conv_grad_{input,weight}_armv6m.c.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from insitu.graph.model import SCRATCH_LIMIT
from insitu.graph.rules import Attributes
from insitu.ops.kernels.choice import is_plain

Shape = tuple[int, ...]
Pair = tuple[int, int]

CHANNELS = 4
"""Of a block of the microkernels."""

PACK, EXPAND = 2.2, 5.5
"""Instructions that a weight and an operand cost in each tile, with the DSP extension."""

INPUT, ERROR, BLOCK, ROW = 2.3, 2.0, 23.0, 85.0
"""The same of an input and an error of the weight gradient; what a block of products costs beside
them, and a line of a row's window in each block of the gradient."""

PRICE = 1e-5
"""Of a byte of scratch, in instructions a multiply-accumulate."""

LEAST_BYTES, MOST_BYTES = 8 * 1024, 12 * 1024
"""Between these the scratch may have as many bytes as the layer's weights, or as its input and
output twice; fewer where SCRATCH_LIMIT says so. A layer for whose smallest tile this is too little
is made position by position."""

MOST_LISTED = 512
"""Errors; a position that is made of more takes them in several lists."""


@dataclass(frozen=True)
class Tile:
    """Positions taken at once; height and width 0: one after the other.

    Attributes:
        out, elements: of a block of the weight gradient: rows, and elements of a window's line.
    """

    height: int
    width: int
    bytes: int
    out: int = 0
    elements: int = 0


UNTILED = Tile(0, 0, 0)


def tiled(params: Attributes, tile: Tile) -> Attributes:
    """Fields of insitu_conv_params_t with a tile."""
    if tile is UNTILED:
        return params
    names = {"tile_height": tile.height, "tile_width": tile.width}
    block = {"tile_out": tile.out, "tile_in": tile.elements}
    return {**params, **names, **block, "tile_bytes": tile.bytes}


def forward_tile(attributes: Attributes, x: Shape, w: Shape, y: Shape) -> Tile:
    """Of x[h, w, in], w[out, kernel_h, kernel_w, in], y[h, w, out]."""
    if not is_plain(attributes):
        return UNTILED
    stride: Pair = attributes["stride"]
    width, most = _even(w[2] * w[3]), _most_bytes(attributes, x, w, y)

    def operands(rows: int, columns: int) -> int:
        line = _line(columns, w[2] * w[3], stride[1] * w[3])
        return line * ((rows - 1) * min(stride[0], w[1]) + w[1])

    def size(rows: int, columns: int) -> int:
        return 2 * w[1] * width * CHANNELS + 4 * operands(rows, columns)

    return _cheapest(_flat(x, w, y, stride, y[:2]), (x, w, y), operands, size, most)


def grad_input_tile(attributes: Attributes, x: Shape, w: Shape, y: Shape) -> Tile:
    """The same for dx[h, w, in]; positions are those of one phase, a stride apart."""
    if not is_plain(attributes):
        return UNTILED
    stride: Pair = attributes["stride"]
    padding: Shape = attributes["padding"]
    out, most = _even(w[0]), _most_bytes(attributes, x, w, y)
    places = -(-w[1] // stride[0]) * -(-w[2] // stride[1])
    down, across = (_span(padding[a], w[1 + a], stride[a]) for a in range(2))

    def operands(rows: int, columns: int) -> int:
        return _line(columns, across * out, out) * (rows - 1 + down)

    def size(rows: int, columns: int) -> int:
        scratch = 4 * w[0] + 2 * places * out * CHANNELS + 2 * out
        return scratch + 4 * operands(rows, columns)

    phase = (-(-x[0] // stride[0]), -(-x[1] // stride[1]))
    return _cheapest(_flat(x, w, y, stride, phase), (x, w, y), operands, size, most)


def listed_errors(attributes: Attributes, w: Shape) -> int:
    """Entries of the list of errors that a position of dx is made of; 8 bytes each."""
    stride: Pair = attributes["stride"]
    places = math.prod(-(-w[1 + a] // stride[a]) for a in range(2))
    limit: int = attributes.get(SCRATCH_LIMIT, MOST_BYTES)
    free = (limit - 4 * w[3]) // 8 // CHANNELS * CHANNELS
    return min(-(-places * w[0] // CHANNELS) * CHANNELS, max(free, CHANNELS), MOST_LISTED)


def update_tile(attributes: Attributes, x: Shape, w: Shape, y: Shape) -> Tile:
    """For the weight gradient: also how many of its rows and elements make a block.

    A single position's rows are made one by one: there are no sums.
    """
    if not is_plain(attributes) or y[:2] == (1, 1):
        return UNTILED
    stride: Pair = attributes["stride"]
    size, line, phases = _flat(x, w, y, stride, y[:2]), w[2] * w[3], min(stride[0], w[1])
    found = []
    for (height, width), out, elements in itertools.product(
        _candidates(*size), _parts(w[0], CHANNELS, 16), _parts(line, CHANNELS, 48)
    ):
        lines = phases * (height + (w[1] - 1) // stride[0])
        inputs, errors = elements * lines * width, out * height * width
        sums = out * w[1] * elements
        tiles = -(-size[0] // height) * -(-size[1] // width)
        blocks = -(-w[0] // out) * -(-line // elements)
        again = -(-line // elements) if tiles == 1 else blocks
        run = BLOCK / 8 * elements + ROW
        work = tiles * (INPUT * inputs * again + (ERROR * errors + out * w[1] * run) * blocks)
        scratch = 8 * w[0] + 4 * out + 4 * sums + 2 * (inputs + errors) + 2 * w[0]
        found.append((work, Tile(height, width, scratch, out, elements)))
    return _best(found, math.prod(y[:2]) * math.prod(w), _most_bytes(attributes, x, w, y))


def _parts(size: int, unit: int, most: int) -> list[int]:
    """Multiples of the unit that divide a size into even parts."""
    units = -(-size // unit)
    parts = {-(-units // n) * unit for n in range(1, units + 1)}
    return sorted(part for part in parts if part <= most)


def _most_bytes(attributes: Attributes, x: Shape, w: Shape, y: Shape) -> int:
    held = max(math.prod(w), 2 * (math.prod(x) + math.prod(y)))
    limit: int = attributes.get(SCRATCH_LIMIT, MOST_BYTES)
    return min(max(held, LEAST_BYTES), MOST_BYTES, limit)


def _flat(x: Shape, w: Shape, y: Shape, stride: Pair, size: Shape) -> Pair:
    """Rows and columns to be divided; a 1x1 kernel takes a map as one row, as flatten_1x1."""
    if w[1:3] == (1, 1) == tuple(stride) and x[:2] == y[:2]:
        return 1, size[0] * size[1]
    return size[0], size[1]


def _even(n: int) -> int:
    return n + n % 2


def _line(columns: int, width: int, step: int) -> int:
    """Elements of one of the two streams of a line, as layout_line."""
    return (columns - 1) // 2 * min(_even(width), 2 * step) + _even(width)


def _span(pad: int, kernel: int, stride: int) -> int:
    """Errors along an axis that the positions of dx between two steps look at."""
    lows, ends = [], []
    for phase in range(stride):
        places = -(-(kernel - (phase + pad) % stride) // stride)
        if places > 0:
            ends.append((phase + pad) // stride + 1)
            lows.append(ends[-1] - places)
    return max(ends) - min(lows)


def _cheapest(
    size: Pair,
    shapes: tuple[Shape, Shape, Shape],
    operands: Callable[[int, int], int],
    scratch: Callable[[int, int], int],
    most: int,
) -> Tile:
    """A tile of `size`, for x, w and y; operands and scratch by its height and width."""
    _, w, y = shapes
    found = []
    for height, width in _candidates(*size):
        tiles = -(-size[0] // height) * -(-size[1] // width)
        work = tiles * (PACK * math.prod(w) + EXPAND * operands(height, width))
        found.append((work, Tile(height, width, scratch(height, width))))
    return _best(found, math.prod(y[:2]) * math.prod(w), most)


def _best(found: Sequence[tuple[float, Tile]], macs: int, most: int) -> Tile:
    """Of (instructions, tile) the best within so many bytes."""
    fit = [(work / macs + PRICE * tile.bytes, tile) for work, tile in found if tile.bytes <= most]
    return min(fit, key=lambda choice: choice[0], default=(0, UNTILED))[1]


def _candidates(rows: int, columns: int) -> list[Pair]:
    """Parts of a row, and whole rows; each the smallest that makes its number of parts."""
    widths = {_even(-(-columns // parts)) for parts in range(1, columns // 2 + 2)}
    heights = {-(-rows // parts) for parts in range(1, rows + 1)}
    return [*((1, width) for width in widths), *((height, _even(columns)) for height in heights)]
