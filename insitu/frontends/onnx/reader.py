"""ONNX file -> Model: reads whatever exporters write, and names all that we cannot train.

Invariant: the file is not trusted. `read` returns a Model or raises a ModelError of one line; a
node that is not supported becomes `opaque` and the walk goes on with the shapes ONNX infers.
The way through: `file` (checked and sorted), then each node is folded (`folding`) or
handed to its importer in `IMPORTERS`, which works on the `scope.Scope`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import onnx

from insitu.errors import ModelError
from insitu.frontends.model import Model, Unsupported
from insitu.frontends.onnx import qdq as onnx_quantized
from insitu.frontends.onnx.advice import advice
from insitu.frontends.onnx.entry import has_channels_last
from insitu.frontends.onnx.file import ML_DOMAIN, STANDARD_DOMAINS, checked, load, opset_of
from insitu.frontends.onnx.folding import Folder, infer, static_shape, to_array
from insitu.frontends.onnx.fusion import with_functions
from insitu.frontends.onnx.names import Names, legible
from insitu.frontends.onnx.operation import NotSupportedError, Operation, operation
from insitu.frontends.onnx.operators import activations as onnx_functions
from insitu.frontends.onnx.operators import arithmetic as onnx_arithmetic
from insitu.frontends.onnx.operators import conv_transpose as onnx_transposed
from insitu.frontends.onnx.operators import layers as onnx_layers
from insitu.frontends.onnx.operators import moves as onnx_moves
from insitu.frontends.onnx.operators import pools as onnx_pools
from insitu.frontends.onnx.operators import shape as onnx_layout
from insitu.frontends.onnx.order import Facing, Shape
from insitu.frontends.onnx.outputs import loss_output, scores_of
from insitu.frontends.onnx.quantizers import in_pairs
from insitu.frontends.onnx.scope import Scope, Value, check_shape, form_of
from insitu.graph.builder import Builder
from insitu.ops import OPS

IMPORTERS: dict[str, Callable[[Scope, Operation], None]] = {
    **onnx_layout.IMPORTERS,
    "Add": onnx_arithmetic.add,
    "AveragePool": onnx_pools.average_pool,
    "BatchNormalization": onnx_layers.batch_norm,
    "Clip": onnx_functions.clip,
    "Concat": onnx_moves.concat,
    "Conv": onnx_layers.conv,
    "ConvTranspose": onnx_transposed.conv_transpose,
    "DequantizeLinear": onnx_quantized.dequantize_linear,
    "Div": onnx_arithmetic.divide,
    "Elu": onnx_functions.elu,
    "Gather": onnx_moves.gather,
    "Gelu": onnx_functions.gelu,
    "Gemm": onnx_layers.gemm,
    "GlobalAveragePool": partial(onnx_pools.global_pool, "average_pool"),
    "GlobalMaxPool": partial(onnx_pools.global_pool, "max_pool"),
    "HardSigmoid": onnx_functions.hard_sigmoid,
    "HardSwish": onnx_functions.plain,
    "LeakyRelu": onnx_functions.leaky_relu,
    "LogSoftmax": onnx_functions.softmax,
    "MatMul": onnx_layers.matmul,
    "MaxPool": onnx_pools.max_pool,
    "Mul": onnx_arithmetic.multiply,
    "PRelu": onnx_functions.prelu,
    "Pad": onnx_moves.pad,
    "QuantizeLinear": onnx_quantized.quantize_linear,
    "ReduceMax": partial(onnx_pools.reduce, "max_pool"),
    "ReduceMean": partial(onnx_pools.reduce, "average_pool"),
    "ReduceSum": onnx_pools.reduce_sum,
    "Relu": onnx_functions.relu,
    "Resize": onnx_moves.resize,
    "Selu": onnx_functions.selu,
    "Sigmoid": onnx_functions.plain,
    "Slice": onnx_moves.slice_,
    "Softmax": onnx_functions.softmax,
    "Softplus": onnx_functions.plain,
    "Split": onnx_moves.split,
    "Sub": onnx_arithmetic.subtract,
    "Swish": onnx_functions.swish,
    "Tanh": onnx_functions.plain,
}
"""ONNX operator -> what imports it; a new one is one line here."""

ML_IMPORTERS: dict[str, Callable[[Scope, Operation], None]] = {"Scaler": onnx_arithmetic.scaler}
"""The same of the domain ai.onnx.ml."""

FLOAT_TYPES = ("FLOAT", "FLOAT16", "DOUBLE", "BFLOAT16")


def read(path: Path, *, output: str | None = None) -> Model:
    """Read an ONNX model.

    Args:
        output: the one that carries the loss, where there are several.

    Raises:
        ModelError: one line, `PATH: what is wrong and what to do`.
    """
    path = Path(path)
    with _told(str(path)):
        return _import(load(path), path.stem, output)


def read_proto(proto: onnx.ModelProto, name: str, what: str, *, output: str | None = None) -> Model:
    """Read an ONNX model in memory.

    Args:
        name: of the network.
        what: messages begin with it.
        output: the one that carries the loss, where there are several.

    Raises:
        ModelError: one line, `WHAT: what is wrong and what to do`.
    """
    with _told(what):
        return _import(checked(proto), name, output)


@contextmanager
def _told(what: str) -> Iterator[None]:
    """Errors as one line that begins with what was read."""
    try:
        yield
    except ModelError as error:
        raise ModelError(_one_line(f"{what}: {error}")) from None
    except (RecursionError, MemoryError, OverflowError) as error:
        kind = type(error).__name__
        raise ModelError(_one_line(f"{what}: is damaged or far too large ({kind})")) from None


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _import(proto: onnx.ModelProto, stem: str, chosen: str | None) -> Model:
    graph = proto.graph
    constants = {tensor.name: to_array(tensor) for tensor in graph.initializer}
    entry, shape, batch = _only_input(graph, set(constants))
    named = loss_output(graph, chosen)
    output, note = scores_of(graph.node, constants, named)
    form = form_of((1, *shape))
    assert form is not None  # `_only_input` let ranks 2 to 4 through
    builder = Builder(stem)
    scope = Scope(builder, opset_of(proto), batch)
    scope.constants = constants
    scope.outputs = frozenset({output})
    written, scope.notes = in_pairs(graph.node, constants, output)
    scope.notes += [note] if note else []
    nodes = with_functions(written, constants, entry.name, STANDARD_DOMAINS)
    nodes = _needed(nodes, output)
    for node in nodes:
        for read_name in set(node.input):
            scope.readers.setdefault(read_name, []).append(node)
    _begin(scope, entry.name, shape, form)
    _walk(scope, nodes, _declared_shapes(graph))
    if output not in scope.values:
        raise ModelError(f'the output "{named}" does not depend on the input "{entry.name}"')
    try:
        result = builder.finish((_final(scope, output),))
    except NotSupportedError as error:
        raise ModelError(f'the output "{named}": {error.reason}; {error.advice}') from None
    return Model(stem, result, shape, tuple(scope.unsupported), tuple(scope.notes))


def _begin(scope: Scope, entry: str, shape: Shape, form: Shape) -> None:
    """Declare the input; where all that reads it has the channels last, so have our samples."""
    last = has_channels_last(entry, shape, scope.readers, scope.constants)
    builder = scope.builder
    builder.channels_last = last
    held = (1,) * (3 - len(shape)) + shape if last else form
    name = builder.input(builder.unique(legible(entry) or "input"), held)
    scope.values[entry] = scope.as_seen(name, (1, *shape), Facing(last))


def _only_input(
    graph: onnx.GraphProto, initializers: set[str]
) -> tuple[onnx.ValueInfoProto, Shape, int]:
    """The one real input, the shape of a sample (channels first), and the file's batch size."""
    entries = [entry for entry in graph.input if entry.name not in initializers]
    if len(entries) != 1:
        names = ", ".join(entry.name for entry in entries) or "none"
        raise ModelError(f"has {len(entries)} inputs ({names}), 1 belongs; cut the others off")
    entry = entries[0]
    if not entry.type.HasField("tensor_type") or not entry.type.tensor_type.HasField("shape"):
        raise ModelError(f'input "{entry.name}" is not a tensor with a shape')
    kind = entry.type.tensor_type.elem_type
    known = onnx.TensorProto.DataType.values()
    kind_name = onnx.TensorProto.DataType.Name(kind) if kind in known else str(kind)
    if kind_name not in FLOAT_TYPES:
        raise ModelError(f'input "{entry.name}" is {kind_name.lower()}, only float can be read')
    dims = entry.type.tensor_type.shape.dim
    if not 2 <= len(dims) <= 4:
        raise ModelError(
            f'input "{entry.name}" has {len(dims)} axes, 2 to 4 can be read: [batch, features], '
            "[batch, channels, length] or [batch, channels, height, width]"
        )
    symbolic = [d.dim_param or "?" for d in dims[1:] if not d.HasField("dim_value")]
    if symbolic:
        raise ModelError(
            f'input "{entry.name}" leaves {", ".join(symbolic)} open, only the batch may be; '
            "export it with a fixed size"
        )
    shape = tuple(int(d.dim_value) for d in dims[1:])
    check_shape(shape, f'input "{entry.name}"')
    return entry, shape, int(dims[0].dim_value)


def _needed(given: list[onnx.NodeProto], output: str) -> list[onnx.NodeProto]:
    """The nodes that the output depends on, in order."""
    wanted, nodes = {output}, []
    for node in reversed(given):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            nodes.append(node)
    return nodes[::-1]


def _declared_shapes(graph: onnx.GraphProto) -> dict[str, Shape]:
    """The shapes that the file claims for activations, with a batch of one."""
    declared = {}
    for entry in (*graph.value_info, *graph.output):
        kind = onnx.TypeProto()
        kind.CopyFrom(entry.type)
        dims = kind.tensor_type.shape.dim
        if len(dims):
            dims[0].dim_value = 1
        shape = static_shape(kind)
        if shape and min(shape) >= 1:
            declared[entry.name] = shape
    return declared


def _walk(scope: Scope, nodes: list[onnx.NodeProto], declared: dict[str, Shape]) -> None:
    """Import every node, in order."""
    names, folder = Names(), Folder(scope.opset)
    for node in nodes:
        weight = next((name for name in node.input[1:] if name in scope.constants), "")
        op = operation(node, scope.builder.unique(names.of(node, weight)), scope.opset)
        try:
            _import_node(scope, op, folder)
        except NotSupportedError as error:
            hint = error.advice or advice(op.op)
            scope.unsupported.append(Unsupported(op.name, op.op, error.reason, hint))
            _opaque(scope, op, error.reason, declared)
        except _UnknownShapeError as error:
            _opaque(scope, op, str(error), declared)


class _UnknownShapeError(Exception):
    """A node that is supported follows one whose shape nobody knows."""


def _import_node(scope: Scope, op: Operation, folder: Folder) -> None:
    inputs = [name for name in op.inputs if name]
    importers = IMPORTERS if op.proto.domain in STANDARD_DOMAINS else ML_IMPORTERS
    if op.proto.domain not in (*STANDARD_DOMAINS, ML_DOMAIN):
        raise NotSupportedError(
            f'it is of the domain "{op.proto.domain}", only standard ONNX operators are known',
            "export with standard operators, or inline the model's functions (onnx.inliner)",
        )
    if importers is IMPORTERS and all(name in scope.constants for name in inputs):
        results = folder.fold(op, scope.constants)
        scope.constants.update(
            (name, result) for name, result in zip(op.outputs, results, strict=False) if name
        )
        onnx_quantized.keep_known(scope, op)
        onnx_layers.keep_origin(scope, op)
        return
    if op.op not in importers and not (importers is IMPORTERS and op.op in ("Shape", "Size")):
        raise NotSupportedError(f"the operator {op.op} is not available")
    whole = [name for name in inputs if name in scope.integers]
    if whole and op.op not in onnx_quantized.OF_INTEGERS:
        raise NotSupportedError(
            f'it computes with the integers "{whole[0]}"',
            "quantize in QDQ format (onnxruntime: QuantFormat.QDQ), which computes in float",
        )
    unknown = [n for n in inputs if n in scope.values and scope.values[n].shape is None]
    if unknown:
        raise _UnknownShapeError(f'the shape of its input "{unknown[0]}" is not known')
    if op.op in ("Shape", "Size"):
        scope.constants[op.outputs[0]] = onnx_layout.value_shape(scope.value(op)[1], op)
    else:
        importers[op.op](scope, op)
        onnx_quantized.pass_on(scope, op)


def _opaque(scope: Scope, op: Operation, reason: str, declared: dict[str, Shape]) -> None:
    """Stand a node in for `op`, with its outputs' shapes as far as ONNX knows them."""
    outputs = [i for i, name in enumerate(op.outputs) if name]
    seen: dict[str, Shape] = {}
    for name in filter(None, op.inputs):
        if name in scope.constants:
            seen[name] = scope.constants[name].shape
        elif (known := scope.values[name].shape) is not None:
            seen[name] = known
    standard = op.proto.domain in STANDARD_DOMAINS
    complete = standard and all(name in seen for name in op.inputs if name)
    inferred = infer(op, seen, scope.constants, opset=scope.opset) if complete else []
    shapes = {i: inferred[i] if i < len(inferred) else None for i in outputs}
    shapes = {i: shape or declared.get(op.outputs[i]) for i, shape in shapes.items()}
    for i, shape in shapes.items():
        if shape is not None:
            check_shape(shape, f'{op.op} "{op.name}": its output {i}')
    tensors = scope.builder.node(
        OPS["opaque"],
        [scope.values[name].tensor for name in op.inputs if name in scope.values],
        name=op.name,
        attributes={
            "op": op.op,
            "reason": reason,
            "shapes": tuple(_held(shapes[i]) for i in outputs),
        },
    )
    for i, tensor in zip(outputs, tensors, strict=True):
        scope.bind(op, i, Value(tensor, shapes[i]))


def _held(shape: Shape | None) -> Shape:
    """Our form of ONNX's shape; elements in a row where it has none."""
    if shape is None:
        return ()
    return form_of(shape) or (math.prod(shape),)


def _final(scope: Scope, output: str) -> str:
    """The tensor that holds the output: class scores as a vector where they are one."""
    value = scope.values[output]
    if value.shape is None:
        return value.tensor
    if math.prod(value.shape) == max(value.shape):
        return scope.as_vector(value)
    if form_of(value.shape) is None:
        return value.tensor if value.order is None else scope.as_vector(value)
    return scope.as_form(value)
