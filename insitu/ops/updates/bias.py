"""dy -> new biases: the update of a layer whose weights stay as they are.

It reads no input of the layer, so that none is kept for it. Twin: bias.c.
"""

from __future__ import annotations

import numpy as np

from insitu.errors import ConfigError
from insitu.fixed_point import BIAS_STEP_LIMIT, F32, round_clamp
from insitu.graph.builder import Builder
from insitu.graph.model import Array, CCall, Graph, Node, OpDef, Phase
from insitu.graph.names import LEARNING_RATE
from insitu.graph.rules import Arrays, Attributes, Quantizations, Values, no_outputs
from insitu.ops.numerics.by_type import bit_exact, is_float, suffix
from insitu.ops.numerics.quantization import scale_of
from insitu.ops.numerics.sums import step_is_small, sum_of


def emit_bias_update(builder: Builder, node: Node, dy: str, bias: str) -> None:
    """Emit the step of a layer's biases."""
    builder.node(
        bias_update,
        (dy, bias, LEARNING_RATE),
        name=f"{node.name}.update",
        updates=(bias,),
        layer=node.layer,
        phase=Phase.UPDATE,
    )


def check_bias_only(builder: Builder) -> None:
    """Biases alone have no buffer.

    Raises:
        ConfigError: they would need one.
    """
    if not builder.scheme.in_place:
        raise ConfigError(
            f"update bias with batch {builder.scheme.batch} and momentum "
            f"{builder.scheme.momentum:g} is not available; use batch 1 and momentum 0"
        )


def update_bias(bias: Array, row_errors: Array, rate: np.float32, dy_scale: np.float32) -> Array:
    """bias[out] int32 minus the step of its gradient, rounded to nearest, saturating."""
    factor = F32(F32(rate) * F32(dy_scale)) * F32(2.0**20)
    step = round_clamp(row_errors.astype(F32) * factor, -BIAS_STEP_LIMIT, BIAS_STEP_LIMIT)
    return np.clip(bias.astype(np.int64) - step, -(2**30), 2**30).astype(np.int32)


def _float(attributes: Attributes, inputs: Arrays) -> list[Array]:
    dy, bias, rate = inputs
    return [bias - rate * dy.reshape(-1, len(bias)).sum(axis=0)]


def _integer(node: Node, inputs: Values, outputs: Quantizations) -> list[Array]:
    error, *_ = inputs
    dy, bias, rate = (value.array for value in inputs)
    sums = dy.reshape(-1, len(bias)).astype(np.int64).sum(axis=0)
    return [update_bias(bias, sums, F32(rate[0]), scale_of(error))]


def _exact_float(node: Node, inputs: Values, outputs: Quantizations) -> list[Array]:
    """The errors of a row are summed in memory order, one rounding an operation."""
    dy, bias, rate = (value.array for value in inputs)
    errors = dy.reshape(-1, len(bias))
    if not step_is_small(F32(rate[0]), errors):
        return [bias]
    return [bias - F32(rate[0]) * sum_of(errors)]


def _c_call(node: Node, graph: Graph) -> CCall:
    dy, bias, rate = node.inputs
    error = graph.tensors[dy]
    rows = error.shape[-1]
    return CCall(
        function=f"insitu_bias_update_{suffix(node, graph)}",
        params_type="insitu_bias_update_params_t",
        params={"positions": error.size // rows, "rows": rows},
        arguments=(
            *(() if is_float(node, graph) else (f"?{dy}",)),
            *(f"${dy}", f"${rate}", f"${bias}"),
        ),
        counts_saturated=is_float(node, graph),
    )


bias_update = OpDef(
    name="bias_update",
    operands=("dy", "bias", "rate"),
    infer=no_outputs,
    float_reference=_float,
    integer_reference=bit_exact(_integer, _exact_float),
    c_call=_c_call,
)
"""bias -= rate (sum over positions of dy), in place. Inputs: dy[..., rows], bias[rows], rate."""
