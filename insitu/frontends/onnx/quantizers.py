"""sorted ONNX nodes -> the same in QDQ form, as `qdq` reads it: what quantizers write otherwise.

Invariant: QLinear operators become the DequantizeLinear, float operator and QuantizeLinear that
they stand for; what computes with integers and dynamic scales becomes the float operator of the
dequantized weights. com.microsoft's Q and DQ are ONNX's own. One pair stays of several alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeGuard

import numpy as np
from onnx import AttributeProto, NodeProto, helper

from insitu.errors import ModelError
from insitu.frontends.onnx.folding import to_array
from insitu.graph.model import Array

MICROSOFT = "com.microsoft"
PAIR = frozenset({"QuantizeLinear", "DequantizeLinear"})


@dataclass
class _Pass:
    """What the walk over the nodes has found so far.

    Attributes:
        constants: initializers, to which it adds.
        written: the node behind each tensor.
        renamed: a tensor that is left out -> the one that stands for it.
    """

    constants: dict[str, Array]
    nodes: list[NodeProto] = field(default_factory=list)
    written: dict[str, NodeProto] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    pairs: dict[tuple[object, ...], str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def value(self, name: str) -> Array | None:
        """A constant's value, whether it is an initializer or a Constant node."""
        node = self.written.get(name)
        if name in self.constants or node is None or node.op_type != "Constant":
            return self.constants.get(name)
        given = next((a.t for a in node.attribute if a.name == "value"), None)
        try:
            return None if given is None else to_array(given)
        except ModelError:
            return None

    def add(
        self,
        op: str,
        inputs: Sequence[str],
        output: str,
        given: Iterable[AttributeProto] = (),
    ) -> str:
        """Append a node of ONNX's own, called after what it makes; returns its output.

        Args:
            given: attributes of the node in whose place it stands.
        """
        while inputs and not inputs[-1]:
            inputs = inputs[:-1]
        node = helper.make_node(op, list(inputs), [output], name=output)
        node.attribute.extend(given)
        self.keep(node)
        return output

    def keep(self, node: NodeProto) -> None:
        """Append a node."""
        self.nodes.append(node)
        self.written.update((name, node) for name in node.output)

    def constant(self, name: str, data: Array) -> str:
        """Add an initializer."""
        self.constants[name] = data
        return name

    def real(self, node: NodeProto, first: int, axis: int | None = None) -> str:
        """The numbers that input `first` of a node and the two behind it stand for."""
        q, scale, zero = node.input[first : first + 3]
        along = [] if axis is None or _is_single(self.value(scale)) else _along(axis)
        given = [q, scale] if not zero else [q, scale, zero]
        return self.add("DequantizeLinear", given, f"{node.output[0]}:{first}", along)

    def bias(self, node: NodeProto, place: int, scales: tuple[int, int], alpha: float = 1) -> str:
        """An int32 bias as the numbers that it stands for; "" where there is none."""
        name = node.input[place] if len(node.input) > place else ""
        q, *given = (self.value(each) for each in (name, *(node.input[s] for s in scales)))
        known = [each.astype(np.float32).reshape(-1) for each in given if _is_number(each)]
        fits = all(each.size in (1, 0 if q is None else q.size) for each in known)
        if not _is_number(q) or len(known) < len(given) or not fits:
            return ""
        scale = np.float32(alpha) * known[0] * known[1]
        return self.constant(f"{node.output[0]}:bias", (q * scale).astype(np.float32))

    def quantized(self, node: NodeProto, made: str, place: int) -> None:
        """Quantize what stands for a node's output, by the scale in that place."""
        scale, zero = (*node.input[place : place + 2], "")[:2]
        self.add("QuantizeLinear", [made, scale, zero], node.output[0])


def _along(axis: int) -> list[AttributeProto]:
    return [helper.make_attribute("axis", axis)]


def _is_number(array: Array | None) -> TypeGuard[Array]:
    return array is not None and array.dtype.kind in "fiu"


def _is_single(scale: Array | None) -> bool:
    return scale is None or scale.size == 1


def _attributes(node: NodeProto, *left_out: str) -> list[AttributeProto]:
    return [a for a in node.attribute if a.name not in left_out]


def _made(node: NodeProto) -> str:
    return f"{node.output[0]}:float"


def _conv(walk: _Pass, node: NodeProto) -> None:
    inputs = [walk.real(node, 0), walk.real(node, 3, 0), walk.bias(node, 8, (1, 4))]
    walk.quantized(node, walk.add("Conv", inputs, _made(node), _attributes(node)), 6)


def _matmul(walk: _Pass, node: NodeProto) -> None:
    inputs = [walk.real(node, 0), walk.real(node, 3, 1)]
    walk.quantized(node, walk.add("MatMul", inputs, _made(node)), 6)


def _gemm(walk: _Pass, node: NodeProto) -> None:
    attributes = _attributes(node)
    alpha = next((a.f for a in attributes if a.name == "alpha"), 1.0)
    turned = any(a.i for a in attributes if a.name == "transB")
    inputs = [walk.real(node, 0), walk.real(node, 3, 0 if turned else 1)]
    inputs.append(walk.bias(node, 6, (1, 4), alpha))
    to_float = len(node.input) < 8 or not node.input[7]
    made = walk.add("Gemm", inputs, node.output[0] if to_float else _made(node), attributes)
    if not to_float:
        walk.quantized(node, made, 7)


def _of_one(op: str) -> Callable[[_Pass, NodeProto], None]:
    """x, its scale and zero point, those of y."""

    def rewrite(walk: _Pass, node: NodeProto) -> None:
        attributes = _attributes(node, "channels_last", "opset")
        walk.quantized(node, walk.add(op, [walk.real(node, 0)], _made(node), attributes), 3)

    return rewrite


def _of_two(op: str) -> Callable[[_Pass, NodeProto], None]:
    """a and b, each with scale and zero point, those of y."""

    def rewrite(walk: _Pass, node: NodeProto) -> None:
        inputs = [walk.real(node, 0), walk.real(node, 3)]
        walk.quantized(node, walk.add(op, inputs, _made(node)), 6)

    return rewrite


def _concat(walk: _Pass, node: NodeProto) -> None:
    inputs = [walk.real(node, first) for first in range(2, len(node.input), 3)]
    walk.quantized(node, walk.add("Concat", inputs, _made(node), _attributes(node)), 0)


def _mean(walk: _Pass, node: NodeProto) -> None:
    made = walk.add("ReduceMean", [walk.real(node, 0)], _made(node), _attributes(node))
    walk.quantized(node, made, 3)


QLINEAR: dict[str, Callable[[_Pass, NodeProto], None]] = {
    "QGemm": _gemm,
    "QLinearAdd": _of_two("Add"),
    "QLinearAveragePool": _of_one("AveragePool"),
    "QLinearConcat": _concat,
    "QLinearConv": _conv,
    "QLinearGlobalAveragePool": _of_one("GlobalAveragePool"),
    "QLinearLeakyRelu": _of_one("LeakyRelu"),
    "QLinearMatMul": _matmul,
    "QLinearMul": _of_two("Mul"),
    "QLinearReduceMean": _mean,
    "QLinearSigmoid": _of_one("Sigmoid"),
    "QLinearSoftmax": _of_one("Softmax"),
}
"""An operator over integers -> what writes it as the pairs that it stands for."""


def in_pairs(
    nodes: Iterable[NodeProto], constants: dict[str, Array], output: str
) -> tuple[list[NodeProto], list[str]]:
    """The nodes in QDQ form, and notes; what they need is added to the constants.

    Args:
        output: of the network, which keeps its name.
    """
    walk = _Pass(constants)
    for written in nodes:
        node = NodeProto()
        node.CopyFrom(written)
        for place, name in enumerate(node.input):
            node.input[place] = walk.renamed.get(name, name)
        if node.domain == MICROSOFT and node.op_type in PAIR:
            node.domain = ""
        inputs = list(node.input)
        if node.domain in ("", MICROSOFT) and node.op_type in QLINEAR and _is_whole(node):
            QLINEAR[node.op_type](walk, node)
        elif node.op_type == "DynamicQuantizeMatMul" and _is_whole(node):
            _dynamic(walk, node, inputs[0], node, [*inputs[1:], "", ""][:4])
        elif (
            node.op_type == "MatMulIntegerToFloat" and _is_whole(node) and _source(walk, inputs[0])
        ):
            _, weight, _, scale, _, zero, bias = [*inputs, "", "", ""][:7]
            _dynamic(walk, node, _source(walk, inputs[0]), node, [weight, scale, zero, bias])
        elif not (_is_dynamic_product(walk, node) or _is_double(walk, node, output)):
            walk.keep(node)
    return walk.nodes, walk.notes


DYNAMIC = (
    "the file quantizes activations anew for each sample; here they have ranges that are found on "
    "the calibration samples"
)


def _dynamic(
    walk: _Pass, node: NodeProto, x: str, product: NodeProto, weights: Sequence[str]
) -> None:
    """The float operator of x and dequantized weights: (integers, scale, zero point, bias)."""
    integers, scale, zero, bias = weights
    is_conv = product.op_type == "ConvInteger"
    known = walk.value(scale)
    along = [] if _is_single(known) else _along(0 if is_conv else 1)
    given = [integers, scale, zero] if zero else [integers, scale]
    real = walk.add("DequantizeLinear", given, f"{node.output[0]}:weight", along)
    made = _made(node) if bias else node.output[0]
    op, attributes = ("Conv", _attributes(product)) if is_conv else ("MatMul", [])
    walk.add(op, [x, real], made, attributes)
    if bias:
        walk.add("Add", [made, bias], node.output[0])
    if DYNAMIC not in walk.notes:
        walk.notes.append(DYNAMIC)


def _source(walk: _Pass, name: str) -> str:
    """The float tensor that a DynamicQuantizeLinear makes this one of, or its scale; else ""."""
    node = walk.written.get(name)
    known = node is not None and node.op_type == "DynamicQuantizeLinear" and len(node.input) == 1
    return str(node.input[0]) if node is not None and known else ""


def _is_float_product(walk: _Pass, node: NodeProto) -> bool:
    """Whether it is Microsoft's product of integers of a dynamic scale, in floats."""
    whole = node.op_type == "MatMulIntegerToFloat" and _is_whole(node)
    return whole and bool(_source(walk, node.input[0]))


def _is_dynamic_product(walk: _Pass, node: NodeProto) -> bool:
    """Whether it scales what integers gave, which stand for a float product; that is added."""
    if node.op_type != "Mul" or len(node.input) != 2:
        return False
    for integers, scales in (tuple(node.input), tuple(node.input)[::-1]):
        cast, both = walk.written.get(integers), walk.written.get(scales)
        if cast is None or both is None or (cast.op_type, both.op_type) != ("Cast", "Mul"):
            continue
        product = walk.written.get(next(iter(cast.input), ""))
        if product is None or product.op_type not in ("ConvInteger", "MatMulInteger"):
            continue
        if len(product.input) < 2 or len(node.output) != 1:
            continue
        x = _source(walk, product.input[0])
        known = [name for name in both.input if walk.value(name) is not None]
        if x and len(known) == 1:
            zero = product.input[3] if len(product.input) > 3 else ""
            _dynamic(walk, node, x, product, [product.input[1], known[0], zero, ""])
            return True
    return False


def _is_whole(node: NodeProto) -> bool:
    """Whether an operator over integers has its inputs, and one output."""
    least = {"QGemm": 6, "QLinearConv": 8, "DynamicQuantizeMatMul": 3, "MatMulIntegerToFloat": 4}
    least |= dict.fromkeys(("QLinearAdd", "QLinearMatMul", "QLinearMul"), 8)
    triples = node.op_type != "QLinearConcat" or len(node.input) % 3 == 2
    enough = len(node.input) >= least.get(node.op_type, 5)
    return len(node.output) == 1 and enough and triples


def _is_double(walk: _Pass, node: NodeProto, output: str) -> bool:
    """Whether the same quantization of the same tensor stands before it already."""
    if (node.domain, node.op_type) != ("", "QuantizeLinear") or len(node.output) != 1:
        return False
    if len(node.input) not in (2, 3) or node.output[0] == output:
        return False
    values = [walk.value(name) for name in node.input[1:]]
    if any(value is None for value in values):
        return False
    said = [(value.dtype.str, value.tobytes()) for value in values if value is not None]
    kind = tuple(sorted((a.name, a.SerializeToString()) for a in node.attribute))
    first = walk.pairs.setdefault((node.input[0], *said, *kind), node.output[0])
    if first == node.output[0]:
        return False
    walk.renamed[node.output[0]] = first
    return True
