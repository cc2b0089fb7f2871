"""ONNX file -> ModelProto: read, checked and sorted, so that what follows may trust its form.

Invariant: whatever `load` returns parsed as ONNX, passed onnx's own checker, has its external data
in place, text that is UTF-8, constants whose bytes fit their shapes, each tensor written once, and
its nodes in execution order. Every other file ends in a ModelError.
"""

from __future__ import annotations

import contextlib
import heapq
import math
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx import external_data_helper

from insitu.errors import ModelError

FIRST_OPSET, OLDEST_OPSET = 11, 7
CONVERSION_SECONDS = 60
CONVERT = """
import sys, onnx
from onnx import version_converter
model = onnx.load_model_from_string(sys.stdin.buffer.read())
onnx.checker.check_model(model)
sys.stdout.buffer.write(version_converter.convert_version(model, TARGET).SerializeToString())
"""
LARGEST_FILE = 2**31 - 1  # protobuf's own limit
STRING_FIELD = 9  # protobuf's FieldDescriptor.TYPE_STRING
STANDARD_DOMAINS = ("", "ai.onnx")
ML_DOMAIN = "ai.onnx.ml"  # what scikit-learn's converter writes beside them
UNKNOWN_DOMAIN = "insitu.unknown"  # stands in while the checker looks at ops it does not know


def load(path: Path) -> onnx.ModelProto:
    """The checked model of `path`.

    Raises:
        ModelError: without the path, which `read` puts in front.
    """
    return checked(_parse(_content(path)), path.parent)


def checked(model: onnx.ModelProto, folder: Path | None = None) -> onnx.ModelProto:
    """The model, sorted and with its external data, which lie in `folder`.

    Raises:
        ModelError: it is not as this module's invariant says.
    """
    check_text(model)
    check_opset(model)
    if opset_of(model) < FIRST_OPSET:
        model = _converted(model)
    if not model.HasField("graph") or not model.graph.output:
        raise ModelError("holds no graph with an output; is it an ONNX model?")
    if model.graph.sparse_initializer:
        raise ModelError("has sparse weights; export them dense")
    _load_external(model, folder)
    for tensor in _tensors(model.graph):
        _check_size(tensor)
    del model.functions[:]  # nodes that call them are of a foreign domain, hence not supported
    _check_names(model.graph)
    nodes = sort_nodes(model.graph)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    _run_checker(model)
    return model


@contextlib.contextmanager
def foreign(what: str) -> Iterator[None]:
    """Turn whatever a foreign library raises on a damaged model into a ModelError."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # noqa: BLE001  onnx raises anything from ValueError to TypeError
        text = " ".join(str(error).split()) or type(error).__name__
        raise ModelError(f"{what}: {text[:240]}") from None


def opset_of(model: onnx.ModelProto) -> int:
    """The version of the standard operators, 0 where none is imported."""
    versions = [o.version for o in model.opset_import if o.domain in STANDARD_DOMAINS]
    return max(versions, default=0)


def _content(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise ModelError("is a folder; give the .onnx file in it")
        if not path.exists():
            raise ModelError("does not exist")
        if not path.is_file():
            raise ModelError("is not an ordinary file")
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise ModelError(f"has {size} bytes; an ONNX file has at most {LARGEST_FILE}")
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not content:
        raise ModelError("is empty (0 bytes); export the model again")
    return content


def _parse(content: bytes) -> onnx.ModelProto:
    try:
        model = onnx.ModelProto()
        model.ParseFromString(content)
    except Exception:  # noqa: BLE001  protobuf's DecodeError, or RecursionError where nested
        raise ModelError(
            f"is not an ONNX model, or only a part of one ({len(content)} bytes); export it again"
        ) from None
    return model


def check_text(message: Any) -> None:
    """Raise where a protobuf message holds a string that is not UTF-8: it comes as bytes."""
    for field, value in message.ListFields():
        if isinstance(value, str | int | float):
            continue
        if hasattr(value, "ListFields"):
            check_text(value)
        elif isinstance(value, bytes):
            _check_utf8(field, value)
        else:
            for part in value:
                if hasattr(part, "ListFields"):
                    check_text(part)
                elif isinstance(part, bytes):
                    _check_utf8(field, part)
                elif not isinstance(part, str):
                    break  # numbers, all of one type


def _check_utf8(field: Any, text: bytes) -> None:
    if field.type == STRING_FIELD:
        raise ModelError(f"is damaged: {field.name} {text[:40]!r} is not UTF-8 text")


def check_opset(model: onnx.ModelProto) -> None:
    """Raise where the operators are older or newer than what we read."""
    opset, last = opset_of(model), onnx.defs.onnx_opset_version()
    if opset < OLDEST_OPSET:
        raise ModelError(
            f"has opset {opset}, {OLDEST_OPSET} to {last} can be read; export it again with opset "
            "17"
        )
    if opset > last:
        raise ModelError(
            f"has opset {opset}, the installed onnx {onnx.__version__} knows {last}; "
            "update onnx or export with an older opset"
        )


def _converted(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model of an old opset in the first one that we read, by onnx's own converter.

    It is native code, which a damaged model may bring down: so it has a process of its own.
    """
    opset, code = opset_of(model), CONVERT.replace("TARGET", str(FIRST_OPSET))
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            input=model.SerializeToString(),
            capture_output=True,
            timeout=CONVERSION_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        reason = f"it takes more than {CONVERSION_SECONDS} s"
    else:
        if done.returncode == 0:
            return _parse(done.stdout)
        said = done.stderr.decode(errors="replace").strip().splitlines()
        reason = said[-1][:240] if said else f"it ended with {done.returncode}"
    raise ModelError(
        f"has opset {opset}, and onnx {onnx.__version__} cannot convert it to {FIRST_OPSET} "
        f"({reason}); export it again with opset 17"
    )


def _load_external(model: onnx.ModelProto, folder: Path | None) -> None:
    for tensor in _tensors(model.graph):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        location = next((e.value for e in tensor.external_data if e.key == "location"), "")
        if folder is None or not location or not _is_file(folder / location):
            raise ModelError(
                f'tensor "{tensor.name}" lies in the file "{location}", which is not there; '
                "put it beside the model"
            )
        with foreign(f'tensor "{tensor.name}" cannot be read from "{location}"'):
            external_data_helper.load_external_data_for_tensor(tensor, str(folder))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long, or with a zero byte
        return False


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            for inner in (attribute.g, *attribute.graphs):
                if inner.node or inner.initializer:
                    yield from _tensors(inner)


def _check_size(tensor: onnx.TensorProto) -> None:
    """Raise where a constant's shape promises more elements than the file holds."""
    if any(d < 0 for d in tensor.dims):
        raise ModelError(f'tensor "{tensor.name}" has the shape {list(tensor.dims)}')
    if tensor.data_type == onnx.TensorProto.STRING or not tensor.HasField("raw_data"):
        return  # the typed fields are counted by the checker
    with foreign(f'tensor "{tensor.name}" has an unknown element type'):
        item = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    size, stored = math.prod(tensor.dims), len(tensor.raw_data)
    if size * item != stored and item > 1:
        raise ModelError(
            f'tensor "{tensor.name}"{list(tensor.dims)} takes {size * item} bytes, '
            f"the file holds {stored}; export it again"
        )


def _check_names(graph: onnx.GraphProto) -> None:
    """Raise where two things write one tensor."""
    for names, what in (
        ([entry.name for entry in graph.input], "two inputs"),
        ([t.name for t in graph.initializer], "two weights"),
        ([o.name for o in graph.output], "two outputs"),
    ):
        double = _first_double(names)
        if double is not None:
            raise ModelError(f'{what} have the name "{double}"')
    written = {entry.name for entry in graph.input} | {t.name for t in graph.initializer}
    for node in graph.node:
        for name in filter(None, node.output):
            if name in written:
                raise ModelError(f'tensor "{name}" is written twice, here by {describe(node)}')
            written.add(name)


def _first_double(names: Sequence[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def describe(node: onnx.NodeProto) -> str:
    """`Conv "conv1"`, or with the name of its output where the node has no name."""
    return f'{node.op_type} "{node.name or next(iter(node.output), "")}"'


def sort_nodes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes in execution order, as near to the file's own order as possible.

    Raises:
        ModelError: an input that nobody writes, or a cycle.
    """
    writer = {name: i for i, node in enumerate(graph.node) for name in node.output if name}
    known = {entry.name for entry in graph.input} | {t.name for t in graph.initializer} | {""}
    needs: list[set[int]] = []
    for node in graph.node:
        missing = [name for name in node.input if name not in writer and name not in known]
        if missing:
            raise ModelError(f'{describe(node)} reads "{missing[0]}", which nothing writes')
        needs.append({writer[name] for name in _reads(node) if name in writer})
    order = _execution_order(needs)
    if len(order) < len(needs):
        first = min(set(range(len(needs))) - set(order))
        node = graph.node[_on_cycle(first, needs, set(order))]
        raise ModelError(f"{describe(node)} depends on its own output: the graph has a cycle")
    for output in graph.output:
        if output.name not in writer and output.name not in known:
            raise ModelError(f'nothing writes the output "{output.name}"')
    return [graph.node[i] for i in order]


def _execution_order(needs: Sequence[set[int]]) -> list[int]:
    """All of 0 .. n-1 whose needs can be met, each after its needs, lowest first."""
    readers: list[list[int]] = [[] for _ in needs]
    missing = [len(need) for need in needs]
    for i, need in enumerate(needs):
        for j in need:
            readers[j].append(i)
    ready = [i for i, count in enumerate(missing) if count == 0]
    order = []
    while ready:
        i = heapq.heappop(ready)
        order.append(i)
        for j in readers[i]:
            missing[j] -= 1
            if missing[j] == 0:
                heapq.heappush(ready, j)
    return order


def _reads(node: onnx.NodeProto) -> set[str]:
    """The tensors a node reads, those of its inner graphs included."""
    names = set(node.input)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                names |= _reads(inner)
            names |= {output.name for output in graph.output}
    return names


def _on_cycle(start: int, needs: Sequence[set[int]], done: set[int]) -> int:
    """A node on the cycle that `start` waits for."""
    seen: set[int] = set()
    while start not in seen:
        seen.add(start)
        start = min(needs[start] - done)
    return start


def _run_checker(model: onnx.ModelProto) -> None:
    """Run onnx's checker, with ops it does not know moved to a domain it does not look into."""
    checked = onnx.ModelProto()
    checked.CopyFrom(model)
    opset = opset_of(model)
    checked.opset_import.add(domain=UNKNOWN_DOMAIN, version=1)
    imported = {entry.domain for entry in checked.opset_import}
    for node in checked.graph.node:
        standard = node.domain in STANDARD_DOMAINS
        if standard and not onnx.defs.has(node.op_type, opset, ""):
            node.domain = UNKNOWN_DOMAIN
        elif not standard and node.domain not in imported:
            raise ModelError(
                f'{describe(node)} is of the domain "{node.domain}", which the file does not import'
            )
    for output in checked.graph.output:
        if output.type.HasField("tensor_type"):
            output.type.tensor_type.shape.SetInParent()  # its shape is not needed: we infer it
    with foreign("is not valid ONNX"):
        onnx.checker.check_model(checked)
