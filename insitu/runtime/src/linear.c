/* Linear layers: forward, input gradient, weight gradient with its update in place.
 * Twin: insitu/ops/linear.py. This portable version is the definition. */
#include <string.h>

#include "insitu_fixed_point.h"
#include "insitu_kernels.h"

/* sum of w[i] (x[i] - zero); |sum| < 2^31 while size <= 66,000. */
static int32_t insitu_dot_centred(int32_t size, int32_t zero, const int8_t *restrict w,
                                  const int8_t *restrict x) {
  int32_t sum = 0;
  for (int32_t i = 0; i < size; i++)
    sum += w[i] * (int16_t)(x[i] - zero);
  return sum;
}

void insitu_linear_s8(const insitu_linear_params_t *p, const insitu_qparams_t *x_q,
                      const insitu_qparams_t *y_q, const int8_t *x, const int8_t *w,
                      const int32_t *bias, const int32_t *multiplier, const int32_t *shift,
                      int8_t *y, int32_t *observed) {
  int32_t lowest = 0, highest = 0;
  for (int32_t o = 0; o < p->out_features; o++, w += p->in_features) {
    const int32_t acc = bias[o] + insitu_dot_centred(p->in_features, x_q->zero_point, w, x);
    const int32_t v = insitu_rescale(acc, multiplier[o], shift[0]);
    lowest = insitu_min(lowest, v);
    highest = insitu_max(highest, v);
    y[o] = (int8_t)insitu_clamp(v + y_q->zero_point, y_q->clamp_min, y_q->clamp_max);
  }
  if (observed) {
    observed[0] = lowest;
    observed[1] = highest;
  }
}

void insitu_logits_s8(const insitu_linear_params_t *p, const insitu_qparams_t *x_q, const int8_t *x,
                      const int8_t *w, const int32_t *bias, const float *row_scale, float *y) {
  for (int32_t o = 0; o < p->out_features; o++, w += p->in_features) {
    const int32_t acc = insitu_dot_centred(p->in_features, x_q->zero_point, w, x);
    const float unit = x_q->scale * row_scale[o];
    const float real_bias = (float)bias[o] * INSITU_BIAS_SCALE;
    y[o] = (float)acc * unit + real_bias;
  }
}

/* sum[i] += e w[i] */
static void insitu_add_columns(int32_t size, int32_t e, const int8_t *restrict w,
                               int32_t *restrict sum) {
  for (int32_t i = 0; i < size; i++)
    sum[i] += e * w[i];
}

void insitu_linear_grad_input_s8(const insitu_linear_grad_input_params_t *g, const int8_t *dy,
                                 const int8_t *w, const uint16_t *rel, void *scratch, int8_t *dx) {
  const int32_t columns = g->shape.in_features;
  int32_t *sum = scratch;
  for (int32_t start = 0; start < columns; start += INSITU_LINEAR_COLUMNS) {
    const int32_t size = insitu_min(columns - start, INSITU_LINEAR_COLUMNS);
    memset(sum, 0, (size_t)size * sizeof *sum);
    for (int32_t o = 0; o < g->shape.out_features; o++) {
      if (dy[o] == 0)
        continue;
      const int32_t e = insitu_expand_error(dy[o], rel[o], g->drop);
      insitu_add_columns(size, e, w + o * columns + start, sum);
    }
    for (int32_t i = 0; i < size; i++) {
      const int32_t v = insitu_rescale(sum[i], g->multiplier, g->shift);
      dx[start + i] = (int8_t)insitu_clamp(v, -127, 127);
    }
  }
}

enum { NOISE = 64 }; /* random bytes made at a time, so that compilers vectorise their use */

/* One row: w[i] = sat127(w[i] - ((kappa (x[i] - zero) + r 2^8 + 2^7) >> 16)). */
static uint32_t insitu_step_row(int32_t size, int32_t kappa, int32_t zero, uint32_t state,
                                const int8_t *restrict x, int8_t *restrict w) {
  uint8_t noise[NOISE];
  for (int32_t start = 0; start < size; start += NOISE) {
    const int32_t count = insitu_min(size - start, NOISE);
    for (int32_t i = 0; i < count; i += 4) {
      state = insitu_draw(state);
      noise[i] = (uint8_t)(state >> 24);
      noise[i + 1] = (uint8_t)(state >> 16);
      noise[i + 2] = (uint8_t)(state >> 8);
      noise[i + 3] = (uint8_t)state;
    }
    for (int32_t i = 0; i < count; i++) {
      const int32_t random = (noise[i] << 8) + (1 << 7);
      const int32_t step = (kappa * (x[start + i] - zero) + random) >> 16;
      w[start + i] = (int8_t)insitu_clamp(w[start + i] - step, -127, 127);
    }
  }
  return state;
}

int32_t insitu_linear_update_s8(const insitu_linear_params_t *p, const insitu_qparams_t *dy_q,
                                const insitu_qparams_t *x_q, const int8_t *dy, const int8_t *x,
                                const float *row_scale, const float *rate, uint32_t *generator,
                                int32_t *bias, int8_t *w) {
  const float factor = rate[0] * dy_q->scale * x_q->scale * 65536.0f;
  int32_t saturated = 0;
  uint32_t state = *generator;
  for (int32_t o = 0; o < p->out_features; o++, w += p->in_features) {
    if (dy[o] == 0)
      continue;
    const int32_t kappa =
        insitu_round_clamp((float)dy[o] * factor / row_scale[o], -INT16_MAX, INT16_MAX);
    saturated += kappa == INT16_MAX || kappa == -INT16_MAX;
    state = insitu_step_row(p->in_features, kappa, x_q->zero_point, state, x, w);
    bias[o] = insitu_update_bias(bias[o], dy[o], rate[0], dy_q->scale);
  }
  *generator = state;
  return saturated;
}
