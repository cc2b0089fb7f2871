"""(seed, index) -> a damaged ONNX file: bytes flipped, or the protobuf changed field by field.

Invariant: the same seed and index give the same file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper
from onnx_cases import CASES
from onnx_mixing_cases import CASES as MIXING
from onnx_models import digits_cnn, layer, normal
from quantized_linear import linear
from test_onnx_advice import five_unsupported

Random = np.random.Generator

WHOLE = (-(2**63), -(2**31), -2, -1, 0, 1, 2, 3, 5, 64, 255, 2**15 - 1, 2**15, 2**31, 2**63 - 1)
REAL = (0.0, -0.0, 1.0, -1.0, 1e-45, 1e38, -1e38, float("inf"), float("nan"))
TEXT = ("", "x", "y", "../../up", "/etc/passwd", "a\nb", '"; /*', "*/", "%s%n", "é∂", "n" * 300)


FUNCTIONS = [
    layer(op, [3, 4, 4], {"s": normal(3, 1, 1)} if op == "PRelu" else {})
    for op in ("Sigmoid", "HardSwish", "PRelu", "LeakyRelu", "Tanh")
]


def corpus() -> list[onnx.ModelProto]:
    """The models that are mutated: small, of operators that we have and some that we have not."""
    return [
        digits_cnn(),
        digits_cnn(batch=3),
        linear(),
        five_unsupported(),
        *FUNCTIONS,
        *CASES.values(),
        *MIXING.values(),
    ]


def mutated(models: Sequence[onnx.ModelProto], seed: int, index: int) -> bytes:
    """One file."""
    random = np.random.default_rng([seed, index])
    model = models[int(random.integers(len(models)))]
    if random.random() < 0.4:
        return _damaged(random, model.SerializeToString())
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for _ in range(int(random.integers(1, 4))):
        change = CHANGES[int(random.integers(len(CHANGES)))]
        try:
            change(random, changed)
        except (ValueError, TypeError, IndexError):
            continue  # protobuf refuses the value, or nothing is there to be changed
    return bytes(changed.SerializeToString())


def _damaged(random: Random, content: bytes) -> bytes:
    """Bytes changed, removed, doubled, inserted or exchanged."""
    data = bytearray(content)
    for _ in range(int(random.integers(1, 9))):
        start = int(random.integers(len(data)))
        end = min(start + int(random.integers(1, 33)), len(data))
        kind = int(random.integers(6))
        if kind == 0:
            data[start] = int(random.integers(256))
        elif kind == 1:
            data[start] ^= 1 << int(random.integers(8))
        elif kind == 2 and len(data) > end - start:
            del data[start:end]
        elif kind == 3:
            data[end:end] = data[start:end]
        elif kind == 4:
            data[start:start] = random.bytes(end - start)
        elif kind == 5 and random.random() < 0.1:
            del data[max(start, 1) :]
    return bytes(data)


def _pick(random: Random, values: Sequence[Any]) -> Any:
    if not len(values):
        raise IndexError("nothing to pick")
    return values[int(random.integers(len(values)))]


def _node(random: Random, model: onnx.ModelProto) -> onnx.NodeProto:
    node = _pick(random, model.graph.node)
    assert isinstance(node, onnx.NodeProto)
    return node


def _tensor(random: Random, model: onnx.ModelProto) -> onnx.TensorProto:
    tensor = _pick(random, model.graph.initializer)
    assert isinstance(tensor, TensorProto)
    return tensor


def _names(model: onnx.ModelProto) -> list[str]:
    graph = model.graph
    made = [name for node in graph.node for name in node.output]
    return [*made, *(t.name for t in graph.initializer), *(i.name for i in graph.input), *TEXT]


def change_attribute(random: Random, model: onnx.ModelProto) -> None:
    """Another value, within or beyond its type."""
    attribute = _pick(random, _node(random, model).attribute)
    if attribute.type == AttributeProto.INT:
        attribute.i = _pick(random, WHOLE)
    elif attribute.type == AttributeProto.INTS:
        place = int(random.integers(len(attribute.ints)))
        attribute.ints[place] = _pick(random, WHOLE)
    elif attribute.type == AttributeProto.FLOAT:
        attribute.f = _pick(random, REAL)
    elif attribute.type == AttributeProto.STRING:
        attribute.s = _pick(random, ("SAME_UPPER", "SAME_LOWER", "VALID", *TEXT)).encode()


def reshape_attribute(random: Random, model: onnx.ModelProto) -> None:
    """More or fewer numbers, another type or name, twice, or not at all."""
    node = _node(random, model)
    attribute = _pick(random, node.attribute)
    kind = int(random.integers(5))
    if kind == 0:
        attribute.ints.append(_pick(random, WHOLE))
    elif kind == 1:
        del attribute.ints[-1]
    elif kind == 2:
        attribute.type = int(random.integers(1, 15))
    elif kind == 3:
        attribute.name = _pick(random, ("axis", "pads", "group", "dilations", *TEXT))
    else:
        node.attribute.remove(attribute)


def add_attribute(random: Random, model: onnx.ModelProto) -> None:
    """One that the operator may or may not have."""
    names = ("axis", "axes", "group", "dilations", "strides", "pads", "kernel_shape", "ceil_mode")
    value = _pick(random, (_pick(random, WHOLE), [_pick(random, WHOLE) for _ in range(2)], 1.5))
    _node(random, model).attribute.append(helper.make_attribute(_pick(random, names), value))


def change_tensor(random: Random, model: onnx.ModelProto) -> None:
    """Another shape, type, length or value of a constant."""
    tensor = _tensor(random, model)
    kind = int(random.integers(6))
    if kind == 0 and tensor.dims:
        tensor.dims[int(random.integers(len(tensor.dims)))] = _pick(random, WHOLE)
    elif kind == 1:
        dims = list(random.permutation(tensor.dims))
        del tensor.dims[:]
        tensor.dims.extend(int(d) for d in dims)
    elif kind == 2:
        tensor.dims.append(1)
    elif kind == 3:
        tensor.data_type = int(random.integers(0, 27))
    elif kind == 4:
        tensor.raw_data = tensor.raw_data[: int(random.integers(len(tensor.raw_data) + 1))]
    else:
        values = np.frombuffer(tensor.raw_data, np.float32).copy()
        values[int(random.integers(values.size))] = _pick(random, REAL)
        tensor.raw_data = values.tobytes()


def move_outside(random: Random, model: onnx.ModelProto) -> None:
    """A constant whose data lie in another file."""
    tensor = _tensor(random, model)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=_pick(random, (*TEXT, "model.onnx")))
    tensor.external_data.add(key="length", value=str(_pick(random, WHOLE)))


def rename(random: Random, model: onnx.ModelProto) -> None:
    """A tensor, a node, an operator or a domain by another name."""
    node, kind = _node(random, model), int(random.integers(6))
    if kind == 0:
        node.input[int(random.integers(len(node.input)))] = _pick(random, _names(model))
    elif kind == 1:
        node.output[int(random.integers(len(node.output)))] = _pick(random, _names(model))
    elif kind == 2:
        node.name = _pick(random, TEXT)
    elif kind == 3:
        node.op_type = _pick(random, (*(n.op_type for n in model.graph.node), "Loop", *OPERATORS))
    elif kind == 4:
        node.domain = _pick(random, ("ai.onnx", "com.example", *TEXT))
    else:
        _tensor(random, model).name = _pick(random, _names(model))


OPERATORS = (
    "Add",
    "Mul",
    "Reshape",
    "Expand",
    "Tile",
    "Range",
    "ConstantOfShape",
    "Softmax",
    "Pad",
)


def restructure(random: Random, model: onnx.ModelProto) -> None:
    """A node removed, doubled or moved; an input more or less."""
    nodes, kind = model.graph.node, int(random.integers(5))
    node = _node(random, model)
    if kind == 0:
        nodes.remove(node)
    elif kind == 1:
        nodes.append(node)
    elif kind == 2:
        nodes.remove(node)
        nodes.insert(int(random.integers(len(nodes) + 1)), node)
    elif kind == 3:
        node.input.append(_pick(random, _names(model)))
    else:
        del node.input[-1]


def change_border(random: Random, model: onnx.ModelProto) -> None:
    """Another shape, type or number of inputs and outputs."""
    graph = model.graph
    entry = _pick(random, [*graph.input, *graph.output])
    kind, dims = int(random.integers(5)), entry.type.tensor_type.shape.dim
    if kind == 0:
        dims[int(random.integers(len(dims)))].dim_value = _pick(random, WHOLE)
    elif kind == 1:
        dims[int(random.integers(len(dims)))].dim_param = _pick(random, TEXT)
    elif kind == 2:
        dims.add().dim_value = _pick(random, WHOLE)
    elif kind == 3:
        entry.type.tensor_type.elem_type = int(random.integers(0, 27))
    else:
        graph.output.add().name = _pick(random, _names(model))


def change_version(random: Random, model: onnx.ModelProto) -> None:
    """Another set of operators."""
    model.opset_import[0].version = int(random.integers(0, 30))


CHANGES: tuple[Callable[[Random, onnx.ModelProto], None], ...] = (
    *(change_attribute, change_attribute, reshape_attribute, add_attribute),
    *(change_tensor, change_tensor, move_outside, rename, rename),
    *(restructure, change_border, change_border, change_version),
)
