/* Where two branches, or their errors, meet. Twin: insitu/ops/add.py. */
#include "insitu_fixed_point.h"
#include "insitu_kernels.h"

void insitu_add_s8(const insitu_add_params_t *p, const insitu_qparams_t *a_q,
                   const insitu_qparams_t *b_q, const insitu_qparams_t *y_q, const int8_t *a,
                   const int8_t *b, int8_t *y, int32_t *observed) {
  const int32_t first = insitu_meeting_multiplier(a_q, y_q);
  const int32_t second = p->sign * insitu_meeting_multiplier(b_q, y_q);
  const int32_t zero_a = a_q->zero_point, zero_b = b_q->zero_point, zero = y_q->zero_point;
  const int32_t clamp_min = y_q->clamp_min, clamp_max = y_q->clamp_max;
  int32_t low = 0, high = 0;
  for (int32_t i = 0; i < p->size; i++) {
    const int32_t v = insitu_meet((a[i] - zero_a) * first + (b[i] - zero_b) * second);
    low = insitu_min(low, v);
    high = insitu_max(high, v);
    y[i] = (int8_t)insitu_clamp(v + zero, clamp_min, clamp_max);
  }
  if (observed) {
    observed[0] = low;
    observed[1] = high;
  }
}

void insitu_add_errors_s8(const insitu_add_errors_params_t *p, const int8_t *a, const int8_t *b,
                          int8_t *e) {
  const int32_t first = p->first, second = p->second;
  for (int32_t i = 0; i < p->size; i++)
    e[i] = (int8_t)insitu_clamp(insitu_meet(a[i] * first + b[i] * second), -127, 127);
}

void insitu_negate_s8(const insitu_size_params_t *p, const int8_t *a, int8_t *e) {
  for (int32_t i = 0; i < p->size; i++)
    e[i] = (int8_t)-a[i];
}
