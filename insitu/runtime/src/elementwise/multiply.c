/* Product of two activations and its gradients. Twin: insitu/ops/merge/multiply.py. */
#include "insitu_fixed_point.h"
#include "insitu_kernels_mixing.h"

/* A positive ratio for insitu_rescale. */
typedef struct {
  int32_t multiplier, shift;
} insitu_ratio_t;

static insitu_ratio_t split_ratio(float ratio) {
  insitu_ratio_t result = {0, 0};
  float largest = ratio, factor = 4294967296.0f;
  while (largest >= 0.5f && result.shift < INSITU_RATIO_LIMIT) {
    largest = largest * 0.5f;
    factor = factor * 0.5f;
    result.shift++;
  }
  result.multiplier = insitu_round_clamp(factor * ratio, 0, INT32_MAX);
  return result;
}

void insitu_multiply_s8(const insitu_multiply_params_t *p, const insitu_qparams_t *a_q,
                        const insitu_qparams_t *b_q, const insitu_qparams_t *y_q, const int8_t *a,
                        const int8_t *b, int8_t *y, int32_t *observed) {
  const insitu_ratio_t ratio = split_ratio(a_q->scale / y_q->scale * b_q->scale);
  const int32_t zero_a = a_q->zero_point, zero_b = b_q->zero_point, zero = y_q->zero_point;
  int32_t low = 0, high = 0;
  for (int32_t r = 0; r < p->repeats; r++) {
    for (int32_t i = 0; i < p->size; i++) {
      const int32_t product = (*a++ - zero_a) * (b[i] - zero_b);
      const int32_t v = insitu_rescale(product, ratio.multiplier, ratio.shift);
      low = insitu_min(low, v);
      high = insitu_max(high, v);
      *y++ = (int8_t)insitu_clamp(v + zero, y_q->clamp_min, y_q->clamp_max);
    }
  }
  if (observed) {
    observed[0] = low;
    observed[1] = high;
  }
}

void insitu_multiply_grad_s8(const insitu_multiply_params_t *p, const insitu_qparams_t *b_q,
                             const int8_t *dy, const int8_t *b, int8_t *da) {
  const insitu_ratio_t ratio = split_ratio(b_q->scale);
  const int32_t zero = b_q->zero_point;
  for (int32_t r = 0; r < p->repeats; r++) {
    for (int32_t i = 0; i < p->size; i++) {
      const int32_t v = insitu_rescale(*dy++ * (b[i] - zero), ratio.multiplier, ratio.shift);
      *da++ = (int8_t)insitu_clamp(v, -127, 127);
    }
  }
}

void insitu_multiply_grad_factor_s8(const insitu_multiply_params_t *p, const insitu_qparams_t *a_q,
                                    const int8_t *dy, const int8_t *a, int8_t *db) {
  const insitu_ratio_t ratio = split_ratio(a_q->scale);
  const int32_t zero = a_q->zero_point;
  for (int32_t i = 0; i < p->size; i++) {
    int32_t sum = 0;
    for (int32_t r = 0; r < p->repeats; r++)
      sum += dy[r * p->size + i] * (a[r * p->size + i] - zero);
    db[i] = (int8_t)insitu_clamp(insitu_rescale(sum, ratio.multiplier, ratio.shift), -127, 127);
  }
}
