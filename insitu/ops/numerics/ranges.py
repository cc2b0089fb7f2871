"""Ranges of outputs: fixed as calibrated, or state that follows what an op puts out.

Where a range follows, the op has a second output, observed[2]: the least and the largest value of
this step, in steps from the zero point. Twin: rows.c.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from insitu.fixed_point import F32, affine_qparams, range_qparams
from insitu.fixed_point import follow_range as follow
from insitu.graph.builder import Builder
from insitu.graph.model import Array, CCall, Graph, Node, OpDef, Phase, QParams, Role, TensorType
from insitu.graph.rules import Attributes, Quantizations, Values, no_outputs

if TYPE_CHECKING:
    from insitu.quantize.assign import Quantizer

UNCLIPPED = (-np.inf, np.inf)


def activation_qparams(
    quantizer: Quantizer, node: Node, clip: tuple[float, float], *, dynamic: bool
) -> QParams:
    """Quantization of a layer's output from its calibrated range, as state where it follows.

    Of bounds that are one a channel, the tightest hold.
    """
    clip = (float(np.max(clip[0])), float(np.min(clip[1])))
    known = quantizer.known(node.outputs[0])
    if known is not None and not dynamic:
        return affine_qparams(F32(known.scale), known.zero_point, *clip)
    low, high = quantizer.calibrated(node.outputs[0])
    q = range_qparams(low, high, *clip)
    if not dynamic:
        return q
    data = np.asarray([min(low, 0.0), max(high, 0.0)], F32)
    name = quantizer.builder.state("range", data, Role.RANGE, layer=node.name)
    return replace(q, range=name)


def quantize_rescaled(quantizer: Quantizer, node: Node, attributes: Attributes) -> None:
    """Emit an op without weights whose output has a scale of its own.

    Its range is the calibrated one where nothing before it moves, else it follows what the op
    puts out; then attribute observe asks for the second output, observed[2].
    """
    inputs = tuple(quantizer.quantized(name) for name in node.inputs)
    quantizations = [quantizer.builder.tensors[name].qparams for name in inputs]
    dynamic = any(q is not None and q.range is not None for q in quantizations)
    clip = node.attributes.get("clip", UNCLIPPED)
    y_q = activation_qparams(quantizer, node, clip, dynamic=dynamic)
    emit_requantized(quantizer, node, node.op, inputs, attributes, y_q)


def emit_requantized(
    quantizer: Quantizer,
    node: Node,
    op: OpDef,
    inputs: tuple[str, ...],
    attributes: Attributes,
    y_q: QParams,
) -> None:
    """Emit the op that stands for a float node, and what its range follows, if it does."""
    y, *observed = quantizer.builder.node(
        op,
        inputs,
        name=node.name,
        outputs=(f"{node.name}.y", f"{node.name}.observed"),
        attributes={**attributes, "observe": y_q.range is not None},
        qparams=(y_q, y_q),
        layer=node.name,
    )
    quantizer.set(node.outputs[0], y)
    for name in observed:
        emit_follow_range(quantizer.builder, node, y_q, name)


def emit_follow_range(builder: Builder, node: Node, y_q: QParams, observed: str) -> None:
    """Let the range of an output follow what was observed, from the next step on."""
    assert y_q.range is not None
    builder.node(
        follow_range,
        (y_q.range, observed),
        name=f"{node.name}.follow_range",
        attributes={"smallest": float(F32(y_q.scale) * F32(255.0 / 64.0))},
        updates=(y_q.range,),
        layer=node.name,
        phase=Phase.UPDATE,
    )


def observed_too(attributes: Attributes, y: TensorType) -> list[TensorType]:
    """The output and, where its range follows, observed[2]: for shape rules."""
    return [y, TensorType((2,), "int32")] if attributes.get("observe") else [y]


def reached(v: Array) -> Array:
    """observed[2] of an output, in steps from its zero point: the least and the largest, or 0."""
    return np.asarray([min(int(v.min()), 0), max(int(v.max()), 0)], np.int32)


def _integer(node: Node, inputs: Values, outputs: Quantizations) -> list[Array]:
    old, observed = inputs
    assert observed.qparams is not None
    smallest = F32(node.attributes["smallest"])
    return [np.asarray(follow(old.array, observed.array, observed.qparams, smallest), F32)]


def _c_call(node: Node, graph: Graph) -> CCall:
    bounds, observed = node.inputs
    q = graph.tensors[observed].qparams
    assert q is not None
    return CCall(
        function="insitu_follow_range",
        params_type="insitu_follow_range_params_t",
        params={
            "clip_min": q.clip_min,
            "clip_max": q.clip_max,
            "smallest": node.attributes["smallest"],
        },
        arguments=(f"?{observed}", f"${observed}", f"${bounds}"),
    )


follow_range = OpDef(
    "follow_range", no_outputs, ("range", "observed"), integer_reference=_integer, c_call=_c_call
)
"""Range of a trained layer's output, from the next step on. Inputs: range[2], observed[2]."""
