"""torch.nn.Module -> Model: torch.export traces it, torch writes ONNX, `frontends.onnx` reads that.

Invariant: the module is left as it was, its training flags, parameters and buffers; whatever torch
cannot export ends in one ModelError. PyTorch is imported only when it is needed.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Iterator
from typing import Any

import onnx as onnx_format

from insitu.errors import ModelError, ToolError
from insitu.frontends.model import Model
from insitu.frontends.onnx import reader as onnx
from insitu.frontends.onnx.file import foreign
from insitu.frontends.onnx.names import snake_case

INSTALL = "pip install 'insitu[torch]'"


def read(module: Any, example_input: Any, *, output: str | None = None) -> Model:
    """Read a module as it infers, for inputs of the example's shape.

    Args:
        module: a torch.nn.Module of one input.
        example_input: a float tensor x[n, ...]; only its shape and type matter.
        output: the one that carries the loss, where there are several.

    Raises:
        ModelError: one line, `CLASS: what is wrong and what to do`.
        ToolError: PyTorch, or what its exporter needs, is not installed.
    """
    torch = _torch()
    if not isinstance(module, torch.nn.Module):
        raise ModelError(f"{type(module).__name__}: is not a torch.nn.Module; give one")
    name = type(module).__name__
    try:
        x = _checked(torch, example_input)
        with _inferring(module), torch.no_grad(), _quietly():
            proto = _export(torch, module, x)
    except ModelError as error:
        raise ModelError(f"{name}: {error}") from None
    return onnx.read_proto(proto, snake_case(name), name, output=output)


def _torch() -> Any:
    try:
        import onnxscript  # noqa: F401  torch's exporter needs it
        import torch
    except ImportError as error:
        raise ToolError(
            f"{error.name} is not installed, which from_torch needs; {INSTALL}"
        ) from None
    return torch


def _checked(torch: Any, example: Any) -> Any:
    """One sample of the example."""
    if isinstance(example, tuple | list | dict):
        raise ModelError(f"example_input holds {len(example)} inputs, 1 tensor belongs; give that")
    if not isinstance(example, torch.Tensor):
        raise ModelError(f"example_input is a {type(example).__name__}, a torch.Tensor belongs")
    if not example.is_floating_point():
        kind = str(example.dtype).removeprefix("torch.")
        raise ModelError(f"example_input is {kind}, only float can be read; convert it")
    shape = list(example.shape)
    if not 2 <= len(shape) <= 4 or min(shape) < 1:
        raise ModelError(
            f"example_input has the shape {shape}; [batch, features], [batch, channels, length] or "
            "[batch, channels, height, width] belongs, of at least one sample"
        )
    return example[:1].detach()


def _export(torch: Any, module: Any, x: Any) -> onnx_format.ModelProto:
    try:
        program = torch.export.export(module, (x,), strict=False)
    except Exception as error:  # noqa: BLE001  whatever the module's own code raises
        raise ModelError(
            f"torch.export cannot trace it for the input {list(x.shape)}: {_said(error)}; give "
            "a module of one tensor, without branches on values"
        ) from None
    with foreign("torch cannot write it as ONNX"):
        try:
            written = torch.onnx.export(program, (), dynamo=True, verbose=False)
            proto: onnx_format.ModelProto = written.model_proto
            return proto
        except torch.onnx.errors.OnnxExporterError as error:
            raise ModelError(f"torch cannot write it as ONNX: {_said(error)}") from None


def _said(error: BaseException) -> str:
    """What torch complains of, without the pages that follow."""
    text = str(error.__cause__ or error).strip() or type(error).__name__
    first = re.split(r"\n\n|\n(?=Caused by|For more|While exec)", text)[0]
    return " ".join(first.split()).removesuffix(".")[:240]


@contextlib.contextmanager
def _inferring(module: Any) -> Iterator[None]:
    """The module in eval mode, and afterwards each part of it as it was."""
    flags = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in flags:
            part.training = training


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without what torch's exporter says of itself."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    unread = io.StringIO()
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(unread),
            contextlib.redirect_stderr(unread),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
