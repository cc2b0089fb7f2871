"""nodes that read constants only -> constants: the shape arithmetic that exporters leave behind.

Invariant: nothing is computed whose size was not known to be bounded before, and no operator runs
that loops, draws random numbers or reads files: a hostile model costs its error message.
"""

from __future__ import annotations

import math

import numpy as np
import onnx
from onnx import TensorProto, TypeProto, helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

from insitu.errors import ModelError
from insitu.frontends.onnx import qdq_folding as onnx_rounding
from insitu.frontends.onnx.file import foreign
from insitu.frontends.onnx.operation import NotSupportedError, Operation
from insitu.frontends.onnx.order import Shape
from insitu.graph.model import Array

LARGEST_CONSTANT = 64 * 2**20  # bytes, of one result
LARGEST_TOTAL = 512 * 2**20  # bytes, of all results
SMALL = 1024  # elements of a constant whose values shape inference is given

# fmt: off
FOLDABLE = frozenset(
    {
        "Abs", "Add", "And", "Cast", "CastLike", "Ceil", "Clip", "Concat", "Constant",
        "ConstantOfShape", "DequantizeLinear", "Div", "Equal", "Exp", "Expand", "Flatten",
        "Floor", "Gather", "Greater", "GreaterOrEqual", "Identity", "Less", "LessOrEqual",
        "MatMul", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Pow", "QuantizeLinear", "Range",
        "Reciprocal",
        "ReduceMax", "ReduceMin", "ReduceProd", "ReduceSum", "Reshape", "Round", "Shape",
        "Sign", "Size", "Slice", "Split", "Sqrt", "Squeeze", "Sub", "Tile", "Transpose",
        "Unsqueeze", "Where",
    }
)
# fmt: on
"""Operators that are evaluated; their cost is about that of writing their result."""

OWN = {"DequantizeLinear": onnx_rounding.dequantize, "QuantizeLinear": onnx_rounding.quantize}
"""What we evaluate ourselves."""


class Folder:
    """Evaluates nodes within a budget of bytes."""

    def __init__(self, opset: int) -> None:
        """Start with the whole budget."""
        self.opset = opset
        self.spent = 0

    def fold(self, op: Operation, constants: dict[str, Array]) -> list[Array]:
        """The outputs of `op`, an operation on constants only.

        Raises:
            NotSupportedError: the operator is not one that is evaluated.
            ModelError: the result is too large, or the operator fails.
        """
        if op.op not in FOLDABLE:
            raise NotSupportedError(
                f"{op.op} works on constants and is not evaluated on import",
                "fold constants before the export, for example with onnxsim",
            )
        shapes = infer(
            op, {n: constants[n].shape for n in op.inputs if n}, constants, opset=self.opset
        )
        for shape in shapes:
            self._spend(op, shape)
        own = OWN.get(op.op)
        if own is not None:
            with np.errstate(all="ignore"):
                return [own(op, [constants[name] for name in op.inputs if name])]
        feeds = {name: constants[name] for name in op.inputs if name}
        with foreign(f'{op.op} "{op.name}": its constants cannot be computed'):
            with np.errstate(all="ignore"):
                results = ReferenceEvaluator(self._alone(op, feeds)).run(None, feeds)
            arrays = [np.asarray(result) for result in results]
        for array in arrays:
            self._spend(op, array.shape, again=True)
        return arrays

    def _spend(self, op: Operation, shape: Shape | None, *, again: bool = False) -> None:
        if shape is None:
            raise op.error("the size of its result is not known before it is computed")
        size = 8 * math.prod(shape)
        if size > LARGEST_CONSTANT:
            raise op.error(
                f"its result {list(shape)} would take {size} bytes; "
                f"constants of at most {LARGEST_CONSTANT} are computed"
            )
        self.spent += 0 if again else size
        if self.spent > LARGEST_TOTAL:
            raise op.error(
                f"all computed constants together would take {self.spent} bytes; "
                f"at most {LARGEST_TOTAL} are computed"
            )

    def _alone(self, op: Operation, feeds: dict[str, Array]) -> onnx.ModelProto:
        """A model that holds `op` and nothing else."""
        inputs = [
            helper.make_tensor_value_info(name, element_type(array), array.shape)
            for name, array in feeds.items()
        ]
        outputs = [helper.make_empty_tensor_value_info(name) for name in op.outputs if name]
        graph = helper.make_graph([op.proto], "constants", inputs, outputs)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)])


def element_type(array: Array) -> int:
    """ONNX's number for an array's element type."""
    if array.dtype.kind in "OUS":
        return int(TensorProto.STRING)
    return int(helper.np_dtype_to_tensor_dtype(array.dtype))


def infer(
    op: Operation, shapes: dict[str, Shape], constants: dict[str, Array], *, opset: int
) -> list[Shape | None]:
    """The shape of each output of a standard operator, None where ONNX cannot tell."""
    unknown: list[Shape | None] = [None for _ in op.outputs]
    if not onnx.defs.has(op.op, opset, ""):
        return unknown
    types: dict[str, TypeProto] = {}
    data: dict[str, TensorProto] = {}
    try:
        for name, shape in shapes.items():
            array = constants.get(name)
            kind = int(TensorProto.FLOAT) if array is None else element_type(array)
            types[name] = helper.make_tensor_type_proto(kind, shape)
            if array is not None and array.size <= SMALL and array.dtype.kind in "iufb":
                data[name] = numpy_helper.from_array(array, name)
        known = shape_inference.infer_node_outputs(
            onnx.defs.get_schema(op.op, opset, ""),
            op.proto,
            types,
            data,
            opset_imports=[helper.make_opsetid("", opset)],
        )
    except Exception:  # noqa: BLE001  an inference that fails knows nothing, whatever it raises
        return unknown
    return [static_shape(known[name]) if name in known else None for name in op.outputs]


def static_shape(kind: TypeProto) -> Shape | None:
    """The shape of a tensor type where every axis is a number of at least 1."""
    if not kind.HasField("tensor_type") or not kind.tensor_type.HasField("shape"):
        return None
    dims = kind.tensor_type.shape.dim
    if not all(dim.HasField("dim_value") and dim.dim_value >= 0 for dim in dims):
        return None
    return tuple(dim.dim_value for dim in dims)


def to_array(tensor: TensorProto) -> Array:
    """The value of a constant of the file.

    Raises:
        ModelError: its data do not fit its shape.
    """
    size = math.prod(tensor.dims)
    stored = _stored_elements(tensor)
    if stored is not None and stored < size:
        raise ModelError(
            f'tensor "{tensor.name}"{list(tensor.dims)} has {size} elements, '
            f"the file holds {stored}; export it again"
        )
    with foreign(f'tensor "{tensor.name}" cannot be read'):
        return np.asarray(numpy_helper.to_array(tensor))


def _stored_elements(tensor: TensorProto) -> int | None:
    """How many numbers the typed fields hold at most; None where the data are raw."""
    if tensor.HasField("raw_data"):
        return None
    types = ("float", "int32", "int64", "double", "uint64", "string")
    most = max(len(getattr(tensor, f"{type_}_data")) for type_ in types)
    return 8 * most  # sub-byte types share a field's number
