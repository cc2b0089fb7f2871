/* Concatenation of activations. Twin: insitu/ops/merge/concat.py. */
#include "insitu_fixed_point.h"
#include "insitu_kernels_mixing.h"

void insitu_concat_s8(const insitu_concat_params_t *p, const insitu_qparams_t *const x_q[],
                      const insitu_qparams_t *y_q, const int8_t *const x[], const int32_t sizes[],
                      int8_t *y, int32_t *observed) {
  const int32_t zero_y = y_q->zero_point, clamp_min = y_q->clamp_min, clamp_max = y_q->clamp_max;
  int32_t low = 0, high = 0, before = 0, stride = 0;
  for (int32_t part = 0; part < p->parts; part++)
    stride += sizes[part];
  for (int32_t part = 0; part < p->parts; part++) {
    const int32_t multiplier = insitu_meeting_multiplier(x_q[part], y_q);
    const int32_t zero = x_q[part]->zero_point, size = sizes[part];
    for (int32_t r = 0; r < p->repeats; r++) {
      for (int32_t i = 0; i < size; i++) {
        const int32_t v = insitu_meet((x[part][r * size + i] - zero) * multiplier);
        low = insitu_min(low, v);
        high = insitu_max(high, v);
        y[r * stride + before + i] = (int8_t)insitu_clamp(v + zero_y, clamp_min, clamp_max);
      }
    }
    before += size;
  }
  if (observed) {
    observed[0] = low;
    observed[1] = high;
  }
}
