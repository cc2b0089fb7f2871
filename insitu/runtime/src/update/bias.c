/* Update of biases alone. Twin: insitu/ops/updates/bias.py. */
#include "insitu_fixed_point.h"
#include "insitu_kernels.h"
#include "insitu_kernels_f32.h"

void insitu_bias_update_s8(const insitu_bias_update_params_t *p, const insitu_qparams_t *dy_q,
                           const int8_t *dy, const float *rate, int32_t *bias) {
  for (int32_t row = 0; row < p->rows; row++) {
    int32_t sum = 0;
    for (int32_t position = 0; position < p->positions; position++) {
      sum += dy[position * p->rows + row];
    }
    bias[row] = insitu_update_bias(bias[row], sum, rate[0], dy_q->scale);
  }
}

int32_t insitu_bias_update_f32(const insitu_bias_update_params_t *p, const float *dy,
                               const float *rate, float *bias) {
  if (!insitu_step_is_small_f32(rate[0], p->positions, p->rows, dy, 0, 0))
    return p->rows;
  for (int32_t row = 0; row < p->rows; row++) {
    float sum = 0.0f;
    for (int32_t position = 0; position < p->positions; position++) {
      sum = sum + dy[position * p->rows + row];
    }
    bias[row] = bias[row] - rate[0] * sum;
  }
  return 0;
}
