"""Every operation that there is, by name; a new op is one line here."""

from insitu.graph.model import OpDef
from insitu.ops.activation import activation, activation_grad, lookup
from insitu.ops.add import add, add_errors, negate
from insitu.ops.batch_norm import batch_norm
from insitu.ops.bias import bias_update
from insitu.ops.buffer import accumulate, apply, count_sample, decay
from insitu.ops.buffer_f32 import accumulate_f32, apply_f32
from insitu.ops.clip import clip, clip_grad
from insitu.ops.concat import concat
from insitu.ops.conv import conv, conv_grad_input, conv_update
from insitu.ops.layout import flatten, flatten_grad, identity, unflatten, unflatten_grad
from insitu.ops.linear import linear, linear_grad_input, linear_update, logits
from insitu.ops.loss import dequantize, quantize_error, softmax, softmax_cross_entropy
from insitu.ops.loss_targets import binary_cross_entropy, mean_squared_error
from insitu.ops.multiply import multiply, multiply_grad, multiply_grad_factor
from insitu.ops.opaque import opaque
from insitu.ops.pad import pad, slice_op
from insitu.ops.paper import affine, affine_grad_input
from insitu.ops.paper_update import adopt_error, affine_accumulate, affine_apply, average_error
from insitu.ops.pool import average_pool, average_pool_grad, max_pool, max_pool_grad
from insitu.ops.prelu import prelu, prelu_grad
from insitu.ops.resize import resize, resize_grad
from insitu.ops.rows import follow_range, row_parameters
from insitu.ops.sampling import draw_sample
from insitu.ops.structures import keep_rows, select_rows
from insitu.ops.tables import activation_slopes, activation_table, lookup_grad

OPS: dict[str, OpDef] = {
    op.name: op
    for op in (
        identity,
        batch_norm,
        clip,
        clip_grad,
        activation,
        activation_grad,
        activation_table,
        activation_slopes,
        lookup,
        lookup_grad,
        prelu,
        prelu_grad,
        row_parameters,
        conv,
        conv_grad_input,
        conv_update,
        linear,
        logits,
        linear_grad_input,
        linear_update,
        follow_range,
        select_rows,
        keep_rows,
        draw_sample,
        bias_update,
        affine,
        affine_grad_input,
        affine_accumulate,
        affine_apply,
        average_error,
        adopt_error,
        count_sample,
        accumulate,
        accumulate_f32,
        apply,
        apply_f32,
        decay,
        add,
        add_errors,
        negate,
        concat,
        multiply,
        multiply_grad,
        multiply_grad_factor,
        pad,
        resize,
        resize_grad,
        slice_op,
        max_pool,
        max_pool_grad,
        average_pool,
        average_pool_grad,
        flatten,
        flatten_grad,
        unflatten,
        unflatten_grad,
        softmax,
        dequantize,
        quantize_error,
        softmax_cross_entropy,
        mean_squared_error,
        binary_cross_entropy,
        opaque,
    )
}
