/* Gradient buffers of convolutions with groups or dilation.
 * Twin: insitu/ops/updates/buffer.py. This portable version is the definition. */
#include "insitu_fixed_point.h"
#include "insitu_kernels_groups.h"
#include "insitu_conv_taps.h"

int32_t insitu_conv_groups_accumulate_s8(const insitu_conv_groups_accumulate_params_t *p,
                                         const insitu_qparams_t *dy_q, const insitu_qparams_t *x_q,
                                         const int8_t *dy, const int8_t *x, const float *row_scale,
                                         const float *rate, void *scratch, uint32_t *generator,
                                         int32_t *bias_buffer, void *buffer) {
  const insitu_conv_groups_params_t *shape = &p->shape;
  const float share = rate[0] * dy_q->scale;
  const float factor = share * x_q->scale * p->gain;
  const float bias_factor = share * (p->gain * 0.015625f);
  const int32_t row = group_row(shape), at_once = insitu_rows_at_once(shape);
  int32_t *gradient = scratch, *line = gradient + row * at_once, errors[INSITU_DEPTHWISE_BLOCK];
  int32_t saturated = 0;
  uint32_t state = *generator, nonzero = 0;
  for (int32_t o = 0; o < shape->conv.out_channels; o++) {
    const int32_t lane = o % at_once;
    if (lane == 0)
      nonzero = insitu_conv_groups_gradient(shape, x_q->zero_point, dy, x, o, line + row, gradient,
                                            errors);
    if (!(nonzero >> lane & 1))
      continue;
    const int32_t m = insitu_round_clamp(factor / row_scale[o], -INT32_MAX, INT32_MAX);
    saturated += m == INT32_MAX;
    for (int32_t k = 0; k < row; k++)
      line[k] = gradient[k * at_once + lane];
    state = insitu_add_row(p->wide, row, m, line, state, buffer, o * row);
    bias_buffer[o] = insitu_add_bias(bias_buffer[o], errors[lane], bias_factor);
  }
  *generator = state;
  return saturated;
}
