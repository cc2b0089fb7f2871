"""ONNX's Concat, Pad, Slice, Split and Resize -> concat, pad, slice, resize.

Invariant: the axes of a node of ours are those of its form x[f] or x[h, w, c], see `onnx_scope`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from insitu.frontends.onnx.operation import LARGEST_ATTRIBUTE, NotSupportedError, Operation
from insitu.frontends.onnx.order import Shape
from insitu.frontends.onnx.scope import Scope
from insitu.graph.model import Array
from insitu.ops import OPS


def _ours(values: Sequence[int], missing: int) -> Shape:
    """One number an axis of ONNX, [1, c, h, w] or fewer -> those of our form."""
    channels, *spatial = values[1:]
    if len(values) == 2:
        return (channels,)
    return (*(missing for _ in range(2 - len(spatial))), *spatial, channels)


def _axis(op: Operation, axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise op.error(f"axis {axis} of {rank} axes")
    return axis + rank if axis < 0 else axis


def _integers(scope: Scope, op: Operation, what: str) -> list[int]:
    array = scope.constant(op, what, what)
    if array.dtype.kind not in "iu" or array.size > 16:
        raise op.error(f"its {what} {array.dtype}{list(array.shape)} are not whole numbers an axis")
    return [int(v) for v in array.reshape(-1)]


def _axes(scope: Scope, op: Operation, rank: int, count: int) -> list[int]:
    """The axes that an input names, by default the first ones."""
    axes = _integers(scope, op, "axes") if "axes" in op else list(range(count))
    axes = [_axis(op, axis, rank) for axis in axes]
    if len(axes) != count or len(set(axes)) != count:
        raise op.error(f"its axes {axes} do not belong to {count} numbers")
    return axes


def concat(scope: Scope, op: Operation) -> None:
    """Concat along any axis but the batch's."""
    shapes = [scope.value(op, operand)[1] for operand in op.operands]
    rank = len(shapes[0])
    axis = _axis(op, int(op.attributes.get("axis", 1)), rank)
    if len(shapes) == 1:
        scope.bind(op, 0, scope.value(op)[0])
        return
    for shape in shapes[1:]:
        if len(shape) != rank or any(
            a != b for i, (a, b) in enumerate(zip(shape, shapes[0], strict=True)) if i != axis
        ):
            raise op.error(f"{list(shapes[0])} and {list(shape)} differ beside axis {axis}")
    if axis == 0:
        raise NotSupportedError("it joins samples (axis 0), only axes of one sample are available")
    facing = scope.facing(op, *op.operands)
    inputs = [scope.seen(op, facing, operand) for operand in op.operands]
    length = sum(shape[axis] for shape in shapes)
    ours = _ours(facing.first([int(a == axis) for a in range(rank)]), 0).index(1)
    result = (*shapes[0][:axis], length, *shapes[0][axis + 1 :])
    scope.emit(op, "concat", inputs, result, facing, axis=ours)


def pad(scope: Scope, op: Operation) -> None:
    """Pad with zeros; negative pads crop."""
    _, shape = scope.value(op)
    mode = op.text("mode", "constant")
    if mode != "constant":
        raise NotSupportedError(
            f"it pads by {mode}, only by zeros is available", "pad with zeros and train again"
        )
    if "constant_value" in op and scope.floats(op, "constant_value", "value", finite=False).any():
        raise NotSupportedError(
            f'it pads with "{op["constant_value"]}", which is not 0',
            "pad with zeros and train again",
        )
    pads = _integers(scope, op, "pads")
    axes = _axes(scope, op, len(shape), len(pads) // 2)
    if len(pads) != 2 * len(axes) or ("axes" not in op and len(axes) != len(shape)):
        raise op.error(f"pads {pads} do not belong to {len(shape)} axes")
    if max(map(abs, pads), default=0) >= LARGEST_ATTRIBUTE:
        raise op.error(f"pads {pads} reach {LARGEST_ATTRIBUTE}")
    low, high = [0] * len(shape), [0] * len(shape)
    for axis, before, after in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        low[axis], high[axis] = before, after
    result = tuple(d + a + b for d, a, b in zip(shape, low, high, strict=True))
    _one_sample(op, low[0] == high[0] == 0)
    if min(result) < 1:
        raise op.error(f"pads {pads} leave {list(result)} of {list(shape)}")
    _move(scope, op, "pad", low, [1] * len(shape), result)


def _one_sample(op: Operation, untouched: bool) -> None:
    if not untouched:
        raise NotSupportedError("it changes the batch axis, only axes of one sample are available")


def _move(
    scope: Scope, op: Operation, kind: str, low: Sequence[int], step: Sequence[int], shape: Shape
) -> None:
    """Emit pad or slice; all per axis of ONNX."""
    facing = scope.facing(op)
    first = facing.first
    attributes = {
        "low": _ours(first(low), 0),
        "step": _ours(first(step), 1),
        "shape": _ours(first(shape), 1),
    }
    scope.emit(op, kind, [scope.seen(op, facing)], shape, facing, **attributes)


def slice_(scope: Scope, op: Operation) -> None:
    """Slice with steps of at least 1."""
    _, shape = scope.value(op)
    starts, ends = _integers(scope, op, "starts"), _integers(scope, op, "ends")
    axes = _axes(scope, op, len(shape), len(starts))
    steps = _integers(scope, op, "steps") if "steps" in op else [1] * len(starts)
    if not len(starts) == len(ends) == len(steps):
        raise op.error(f"starts {starts}, ends {ends} and steps {steps} differ in length")
    low, step, result = [0] * len(shape), [1] * len(shape), list(shape)
    for axis, start, end, by in zip(axes, starts, ends, steps, strict=True):
        if by == 0:
            raise op.error(f"its steps {steps} hold a 0")
        if by < 0:
            raise NotSupportedError(
                f"steps {steps}, only steps of at least 1 are available", "do not turn axes around"
            )
        taken = range(*slice(start, end, by).indices(shape[axis]))
        low[axis], step[axis], result[axis] = taken.start, min(by, shape[axis]), len(taken)
    if min(result) < 1:
        raise op.error(f"it leaves {result} of {list(shape)}")
    _one_sample(op, result[0] == shape[0])
    _move(scope, op, "slice", low, step, tuple(result))


def gather(scope: Scope, op: Operation) -> None:
    """Gather of one place, whose axis disappears, or of places evenly apart."""
    _, shape = scope.value(op)
    axis = _axis(op, int(op.attributes.get("axis", 0)), len(shape))
    indices = scope.constant(op, "indices", "indices")
    if indices.dtype.kind not in "iu" or indices.ndim > 1 or not 0 < indices.size <= shape[axis]:
        raise NotSupportedError(
            f"indices {indices.dtype}{list(indices.shape)} of axis {axis} of {list(shape)}; one "
            "place, or a row of places evenly apart, is available",
        )
    places = [int(i) + (shape[axis] if i < 0 else 0) for i in indices.reshape(-1)]
    if not all(0 <= place < shape[axis] for place in places):
        raise op.error(f"index {places[0]} and others of axis {axis} of {list(shape)}")
    by = places[1] - places[0] if len(places) > 1 else 1
    if by < 1 or places != list(range(places[0], places[0] + by * len(places), by)):
        raise NotSupportedError(
            f"places {places[:8]} of axis {axis} are not evenly apart, from the first to the last",
            "take a slice with a step",
        )
    low, step, result = [0] * len(shape), [1] * len(shape), list(shape)
    low[axis], step[axis], result[axis] = places[0], by, len(places)
    _one_sample(op, axis != 0)
    _move(scope, op, "slice", low, step, tuple(result))
    if indices.ndim == 0:
        taken = scope.values[op.outputs[0]]
        scope.bind(op, 0, replace(taken, shape=(*shape[:axis], *shape[axis + 1 :])))


def split(scope: Scope, op: Operation) -> None:
    """Split, and with it torch's chunk, into one slice an output."""
    value, shape = scope.value(op)
    axis = _axis(op, int(op.attributes.get("axis", 0)), len(shape))
    count = len(op.outputs)
    if "split" in op:
        sizes = _integers(scope, op, "split")
    else:
        share = -(-shape[axis] // count)
        default = [share] * (count - 1) + [shape[axis] - share * (count - 1)]
        sizes = [int(v) for v in op.attributes.get("split", default)]
    if len(sizes) != count or sum(sizes) != shape[axis] or min(sizes) < 1:
        raise op.error(f"its sizes {sizes} do not make {shape[axis]} in {count} outputs")
    if axis == 0:
        _one_sample(op, count == 1)
        scope.bind(op, 0, value)
        return
    facing, start = scope.facing(op), 0
    x = scope.seen(op, facing)
    for index, size in enumerate(sizes):
        low = _ours(facing.first([start if a == axis else 0 for a in range(len(shape))]), 0)
        part = tuple(size if a == axis else d for a, d in enumerate(shape))
        start += size
        if not op.outputs[index]:
            continue
        (tensor,) = scope.builder.node(
            OPS["slice"],
            [x],
            name=scope.builder.unique(op.name),
            attributes={"low": low, "step": (1,) * len(low), "shape": _ours(facing.first(part), 1)},
        )
        scope.bind(op, index, scope.as_seen(tensor, part, facing))


def resize(scope: Scope, op: Operation) -> None:
    """Resize to a multiple, by repeating the nearest element."""
    _, shape = scope.value(op)
    mode = op.text("mode", "nearest")
    if mode != "nearest" or len(shape) not in (3, 4):
        raise NotSupportedError(
            f"mode {mode} of {list(shape)}, only nearest over images and signals is available",
            "use mode nearest and a whole factor, and train again",
        )
    if op.text("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise NotSupportedError("it keeps an aspect ratio", "give the sizes as scales")
    facing = scope.facing(op)
    scales = facing.first(_scales(scope, op, shape))
    factors = []
    for size, scale in zip(facing.first(shape), scales, strict=True):
        result = int(size * scale) if 0 < scale < LARGEST_ATTRIBUTE else 0
        factor = result // size
        places = np.arange(result)
        if (
            factor < 1
            or result % size
            or (_nearest(op, places, scale, size) != places // factor).any()
        ):
            raise NotSupportedError(
                f"scales {[round(s, 4) for s in scales]}, only whole factors that repeat every "
                "element alike are available",
                "use whole factors, asymmetric with nearest_mode floor, and export again",
            )
        factors.append(factor)
    if factors[:2] != [1, 1]:
        raise NotSupportedError("it repeats samples or channels, only places are available")
    grown = tuple(d * f for d, f in zip(shape, facing.back(factors), strict=True))
    spatial = (*(1 for _ in range(4 - len(shape))), *factors[2:])
    scope.emit(op, "resize", [scope.seen(op, facing)], grown, facing, factor=spatial)


def _scales(scope: Scope, op: Operation, shape: Shape) -> list[float]:
    """By axis, from the scales or the sizes."""
    by_size = "sizes" in op
    given: Array
    if by_size:
        given = np.asarray(_integers(scope, op, "sizes"))
    else:
        given = scope.floats(op, "scales", "scales").reshape(-1).astype(np.float64)
    axes = [_axis(op, int(a), len(shape)) for a in op.attributes.get("axes", range(len(shape)))]
    if len(given) != len(axes) or len(set(axes)) != len(axes):
        raise op.error(f"it has {len(given)} scales or sizes for {len(axes)} axes of {list(shape)}")
    scales = [1.0] * len(shape)
    for axis, number in zip(axes, given, strict=True):
        scales[axis] = float(number) / shape[axis] if by_size else float(number)
    return scales


ROUNDING: dict[str, Callable[[Array], Array]] = {
    "round_prefer_floor": lambda v: np.ceil(v - 0.5),
    "round_prefer_ceil": lambda v: np.floor(v + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}
"""ONNX's nearest_mode."""


def _nearest(op: Operation, places: Array, scale: float, size: int) -> Array:
    """The element that each place of the result shows, by the rule of ONNX."""
    rule = op.text("coordinate_transformation_mode", "half_pixel")
    length = len(places)
    if rule == "asymmetric" or scale == 1:
        exact = places / scale
    elif rule == "half_pixel" or (rule == "pytorch_half_pixel" and length > 1):
        exact = (places + 0.5) / scale - 0.5
    elif rule == "pytorch_half_pixel":
        exact = np.zeros(length)
    elif rule == "align_corners":
        exact = places * ((size - 1) / max(length - 1, 1))
    else:
        raise NotSupportedError(
            f"coordinate_transformation_mode {rule}", "use asymmetric, and export again"
        )
    name = op.text("nearest_mode", "round_prefer_floor")
    if name not in ROUNDING:
        raise op.error(f'nearest_mode "{name}" is not one of ONNX\'s')
    nearest: Array = np.clip(ROUNDING[name](exact), 0, size - 1)
    return nearest
