/* Leaky and parametric ReLU and their gradient. Twin: insitu/ops/activations/prelu.py. */
#include "insitu_activation.h"

#define INSITU_SLOPE_BITS 14

static int32_t round_slope(int32_t v) {
  return (v + (1 << (INSITU_SLOPE_BITS - 1))) >> INSITU_SLOPE_BITS;
}

void insitu_prelu_s8(const insitu_prelu_params_t *p, const insitu_qparams_t *x_q,
                     const insitu_qparams_t *y_q, const int8_t *x, const int16_t *slope, int8_t *y,
                     int32_t *observed) {
  const int32_t limit = 1 << 22, zero_x = x_q->zero_point, zero = y_q->zero_point;
  const int32_t clamp_min = y_q->clamp_min, clamp_max = y_q->clamp_max;
  const int32_t channels = p->channels, size = p->positions * channels;
  const float ratio = x_q->scale / y_q->scale;
  const int32_t whole = insitu_round_clamp(ratio * (float)(1 << INSITU_SLOPE_BITS), 0, limit);
  int32_t low = 0, high = 0;
  for (int32_t c = 0; c < channels; c++) {
    const int32_t part = insitu_round_clamp(ratio * (float)slope[c], -limit, limit);
    for (int32_t i = c; i < size; i += channels) {
      const int32_t from_zero = x[i] - zero_x;
      const int32_t v = round_slope(from_zero * (from_zero > 0 ? whole : part));
      low = insitu_min(low, v);
      high = insitu_max(high, v);
      y[i] = (int8_t)insitu_clamp(v + zero, clamp_min, clamp_max);
    }
  }
  if (observed) {
    observed[0] = low;
    observed[1] = high;
  }
}

void insitu_prelu_grad_s8(const insitu_prelu_params_t *p, const insitu_qparams_t *x_q,
                          const int8_t *dy, const int8_t *x, const int16_t *slope, int8_t *dx) {
  const int32_t zero = x_q->zero_point;
  const int32_t channels = p->channels, size = p->positions * channels;
  for (int32_t c = 0; c < channels; c++) {
    const int32_t below = slope[c];
    for (int32_t i = c; i < size; i += channels) {
      const int32_t part = insitu_clamp(round_slope(dy[i] * below), -127, 127);
      dx[i] = x[i] > zero ? dy[i] : (int8_t)part;
    }
  }
}
