/* Linear layers: forward, input gradient, weight gradient with its update in place.
 * Twin: insitu/ops/layers/linear.py. */
#include "insitu_kernels.h"
#include "insitu_linear_microkernels.h"

enum { CHUNK = 16 }; /* rows that are summed before they are rescaled, as registers are few */

/* sum[k] = sum of w[k, i] x[i] for at most CHUNK rows; returns how many. */
static int32_t sum_rows(int32_t rows, int32_t size, const int8_t *w, const int16_t *x,
                        int32_t *sum) {
  const int32_t count = insitu_min(rows, CHUNK);
  int32_t k = 0;
  for (; k + INSITU_LINEAR_ROWS <= count; k += INSITU_LINEAR_ROWS)
    dot_rows(size, w + k * size, x, sum + k);
  if (k > 0 && count - k > 1) { /* some of them again cost less than rows one by one */
    k = count - INSITU_LINEAR_ROWS;
    dot_rows(size, w + k * size, x, sum + k);
    return count;
  }
  for (; k < count; k++)
    sum[k] = dot_row(size, w + k * size, x);
  return count;
}

void insitu_linear_s8(const insitu_linear_params_t *p, const insitu_qparams_t *x_q,
                      const insitu_qparams_t *y_q, const int8_t *x, const int8_t *w,
                      const int32_t *bias, const int32_t *multiplier, const int32_t *shift,
                      void *scratch, int8_t *y, int32_t *observed) {
  const int32_t pre_shift = shift[0];
  const int32_t zero = y_q->zero_point, min = y_q->clamp_min, max = y_q->clamp_max;
  int32_t sum[CHUNK];
  insitu_linear_outputs_t outputs = linear_outputs(y_q);
  centre(p->in_features, x_q->zero_point, x, scratch);
  for (int32_t left = p->out_features; left > 0; left -= CHUNK) {
    const int32_t rows = sum_rows(left, p->in_features, w, scratch, sum);
    w += rows * p->in_features;
    int32_t k = epilogue_rows(&outputs, rows, pre_shift, sum, bias, multiplier, y);
    for (; k < rows; k++) {
      const int32_t v = rescale_sum(bias[k] + sum[k], multiplier[k], pre_shift);
      outputs.lowest = insitu_min(outputs.lowest, v);
      outputs.highest = insitu_max(outputs.highest, v);
      y[k] = (int8_t)insitu_clamp(v + zero, min, max);
    }
    bias += rows, multiplier += rows, y += rows;
  }
  if (observed) {
    observed[0] = outputs.lowest;
    observed[1] = outputs.highest;
  }
}

void insitu_logits_s8(const insitu_linear_params_t *p, const insitu_qparams_t *x_q, const int8_t *x,
                      const int8_t *w, const int32_t *bias, const float *row_scale, void *scratch,
                      float *y) {
  const float x_scale = x_q->scale;
  int32_t sum[CHUNK];
  centre(p->in_features, x_q->zero_point, x, scratch);
  for (int32_t left = p->out_features; left > 0; left -= CHUNK) {
    const int32_t rows = sum_rows(left, p->in_features, w, scratch, sum);
    w += rows * p->in_features;
    for (int32_t k = 0; k < rows; k++) {
      const float unit = insitu_multiply(x_scale, *row_scale++);
      const float real_bias = insitu_multiply((float)*bias++, INSITU_BIAS_SCALE);
      *y++ = insitu_multiply((float)sum[k], unit) + real_bias;
    }
  }
}

/* The rows whose error is not zero, filled up with errors of 0; returns how many entries. */
static int32_t append_rows(const insitu_linear_grad_input_params_t *g, const int8_t *dy,
                           const uint16_t *rel, void *list) {
  int32_t count = 0;
  for (int32_t o = 0; o < g->shape.out_features; o++) {
    if (dy[o] != 0) {
      const int32_t error = insitu_expand_error(dy[o], rel[o], g->drop);
      append_row(list, count++, o * g->shape.in_features, error);
    }
  }
  while (count % INSITU_LINEAR_LIST != 0)
    append_row(list, count++, 0, 0);
  return count;
}

void insitu_linear_grad_input_s8(const insitu_linear_grad_input_params_t *g, const int8_t *dy,
                                 const int8_t *w, const uint16_t *rel, void *scratch, int8_t *dx) {
  const int32_t multiplier = g->multiplier, shift = g->shift;
  const int32_t columns = g->shape.in_features;
  const int32_t rows = append_rows(g, dy, rel, scratch);
  const int32_t last = columns - INSITU_LINEAR_COLUMNS; /* of the columns made side by side */
  int32_t column = 0, sum[INSITU_LINEAR_COLUMNS];
  while (column < columns && last >= 0) {
    column = insitu_min(column, last); /* some of them a second time */
    add_columns(scratch, rows, w + column, sum);
    store_errors(sum, multiplier, shift, dx + column);
    column += INSITU_LINEAR_COLUMNS;
  }
  for (; column < columns; column++) {
    const int32_t v = rescale_sum(add_column(scratch, rows, w + column), multiplier, shift);
    dx[column] = (int8_t)insitu_clamp(v, -127, 127);
  }
}

/* kappa, clamped to +-INT16_MAX; `saturated` counts those that were. */
static inline int32_t kappa_of(float ratio, int32_t *saturated) {
  if (insitu_is_below(ratio, (float)INT16_MAX - 0.5f))
    return insitu_round_small(ratio);
  *saturated += 1;
  return insitu_less(0.0f, ratio) ? INT16_MAX : -INT16_MAX;
}

int32_t insitu_linear_update_s8(const insitu_linear_params_t *p, const insitu_qparams_t *dy_q,
                                const insitu_qparams_t *x_q, const int8_t *dy, const int8_t *x,
                                const float *row_scale, const float *rate, void *scratch,
                                uint32_t *generator, int32_t *bias, int8_t *w) {
  const float factor = insitu_step_factor(rate[0], dy_q->scale, x_q->scale, 65536.0f);
  const float bias_factor = insitu_bias_factor(rate[0], dy_q->scale);
  const int32_t size = p->in_features, rows = p->out_features;
  int32_t saturated = 0, o = 0;
  uint32_t state = *generator;
  while (o < rows && dy[o] == 0)
    o++;
  if (o < rows)
    prepare_step(size, x_q->zero_point, x, scratch);
  for (; o < rows; o++) {
    if (dy[o] == 0)
      continue;
    const float error = (float)dy[o];
    const float ratio = insitu_divide(insitu_multiply(error, factor), row_scale[o]);
    const int32_t kappa = kappa_of(ratio, &saturated);
    state = step_weights(size, kappa, scratch, state, w + o * size);
    bias[o] = insitu_step_bias(bias[o], dy[o], bias_factor);
  }
  *generator = state;
  return saturated;
}
