/* Requantization parameters from scales, and ranges that follow the activations.
 * Twin: insitu/ops/layers/rows.py, insitu/fixed_point.py. */
#include "insitu_fixed_point.h"
#include "insitu_kernels.h"

void insitu_row_parameters(const insitu_row_parameters_params_t *p, const insitu_qparams_t *x_q,
                           const insitu_qparams_t *y_q, const float *row_scale, const int32_t *bias,
                           int32_t *multiplier, int32_t *bias_acc, int32_t *shift) {
  const float ratio = insitu_divide(x_q->scale, y_q->scale);
  const float unit = insitu_divide(INSITU_BIAS_SCALE, x_q->scale);
  float largest = insitu_multiply(ratio, p->largest);
  float factor = insitu_multiply(ratio, 4294967296.0f);
  int32_t pre_shift = 0;
  while (!insitu_less(largest, 0.5f) && pre_shift < INSITU_RATIO_LIMIT) {
    largest = insitu_multiply(largest, 0.5f);
    factor = insitu_multiply(factor, 0.5f);
    pre_shift++;
  }
  for (int32_t row = 0; row < p->rows; row++) {
    const float scale = row_scale[row];
    const float in_acc_units = insitu_divide(insitu_multiply((float)bias[row], unit), scale);
    multiplier[row] = insitu_round_clamp(insitu_multiply(factor, scale), 0, INT32_MAX);
    bias_acc[row] = insitu_round_clamp(in_acc_units, -(1 << 30), 1 << 30);
  }
  shift[0] = pre_shift;
}

void insitu_follow_range(const insitu_follow_range_params_t *p, const insitu_qparams_t *y_q,
                         const int32_t *observed, float *range) {
  const float seen_low = insitu_multiply((float)insitu_min(observed[0], 0), y_q->scale);
  const float seen_high = insitu_multiply((float)insitu_max(observed[1], 0), y_q->scale);
  float low = range[0], high = range[1];
  high = high + insitu_multiply(insitu_less(high, seen_high) ? 0.1f : 0.01f,
                                insitu_subtract(seen_high, high));
  low = low +
        insitu_multiply(insitu_less(seen_low, low) ? 0.1f : 0.01f, insitu_subtract(seen_low, low));
  if (insitu_less(low, p->clip_min))
    low = p->clip_min;
  if (insitu_less(p->clip_max, high))
    high = p->clip_max;
  if (insitu_less(insitu_subtract(high, low), p->smallest))
    high = low + p->smallest;
  if (!insitu_is_below(low, INSITU_DIVERGED) || !insitu_is_below(high, INSITU_DIVERGED))
    return;
  range[0] = low;
  range[1] = high;
}

insitu_qparams_t insitu_range_qparams(const float range[2], float clip_min, float clip_max) {
  const float low = insitu_less(range[0], 0.0f) ? range[0] : 0.0f;
  const float high = insitu_less(0.0f, range[1]) ? range[1] : 0.0f;
  insitu_qparams_t q;
  q.scale = insitu_divide(insitu_subtract(high, low), 255.0f);
  q.zero_point = -128 + insitu_round_clamp(insitu_divide(-low, q.scale), 0, 255);
  q.clamp_min = insitu_quantize_bound(clip_min, &q);
  q.clamp_max = insitu_quantize_bound(clip_max, &q);
  q.pass_min = !insitu_less(clip_min, low) ? q.clamp_min + 1 : -128;
  q.pass_max = !insitu_less(high, clip_max) ? q.clamp_max - 1 : 127;
  return q;
}

uint32_t insitu_seed_generator(uint32_t seed) {
  uint32_t state = seed * 2654435761u + 0x9E3779B9u;
  state ^= state >> 16;
  return state ? state : 1u;
}

__attribute__((noinline)) int32_t insitu_quantize_bound(float bound, const insitu_qparams_t *q) {
  const int32_t zero = q->zero_point;
  return zero + insitu_round_clamp(insitu_divide(bound, q->scale), -128 - zero, 127 - zero);
}

int32_t insitu_update_bias(int32_t bias, int32_t errors, float rate, float dy_scale) {
  return insitu_step_bias(bias, errors, insitu_bias_factor(rate, dy_scale));
}

int32_t insitu_is_rate(float rate) { return insitu_less(0.0f, rate) && !insitu_less(1.0f, rate); }

float insitu_cosine_rate(float rate, uint32_t step, uint32_t steps) {
  const float t = (float)step / (float)(steps > 0 ? steps : 1) - 0.5f;
  const float x = t * 3.14159265358979f;
  const float s = x * x;
  float p = 1.0f / 362880.0f;
  p = p * s + -1.0f / 5040.0f;
  p = p * s + 1.0f / 120.0f;
  p = p * s + -1.0f / 6.0f;
  p = p * s + 1.0f;
  const float fall = x * p < -1.0f ? -1.0f : x * p; /* the polynomial leaves [-1, 1] by 4e-6 */
  return rate * (0.02f + 0.49f * (1.0f - fall));
}
