/* Gradient buffers: samples add to them, complete batches move what they hold to the weights.
 * Twin: insitu/ops/updates/buffer.py. This portable version is the definition. */
#include "insitu_fixed_point.h"
#include "insitu_kernels.h"

#define BIAS_LIMIT (1 << 30)

int32_t insitu_count_sample(const insitu_batch_params_t *p, int32_t *count) {
  count[0] = (int32_t)(((uint32_t)count[0] + 1) % (uint32_t)p->batch);
  return count[0] == 0;
}

static inline int64_t clamp_s64(int64_t v, int64_t limit) {
  return v < -limit ? -limit : v > limit ? limit : v;
}

/* buffer[k] += gradient[k] multiplier / 2^24, rounded stochastically with 8 bits. */
static uint32_t add_row_s16(int32_t size, int32_t multiplier, const int32_t *gradient,
                            uint32_t state, int16_t *buffer) {
  uint32_t bits = 0;
  for (int32_t k = 0; k < size; k++, bits <<= 8) {
    if (k % 4 == 0)
      bits = state = insitu_draw(state);
    const int32_t noise = (int32_t)(bits >> 24) * (1 << 16) + (1 << 15);
    const int64_t step = ((int64_t)gradient[k] * multiplier + noise) >> 24;
    buffer[k] = (int16_t)clamp_s64(buffer[k] + step, INT16_MAX);
  }
  return state;
}

/* buffer[k] += gradient[k] multiplier / 2^16, rounded to nearest. */
static void add_row_s32(int32_t size, int32_t multiplier, const int32_t *gradient,
                        int32_t *buffer) {
  for (int32_t k = 0; k < size; k++) {
    const int64_t step = ((int64_t)gradient[k] * multiplier + (1 << 15)) >> 16;
    buffer[k] = (int32_t)clamp_s64(buffer[k] + step, INT32_MAX);
  }
}

uint32_t insitu_add_row(int32_t wide, int32_t size, int32_t multiplier, const int32_t *gradient,
                        uint32_t state, void *buffer, int32_t first) {
  if (!wide)
    return add_row_s16(size, multiplier, gradient, state, (int16_t *)buffer + first);
  add_row_s32(size, multiplier, gradient, (int32_t *)buffer + first);
  return state;
}

int32_t insitu_add_bias(int32_t buffer, int32_t errors, float factor) {
  const int32_t step =
      insitu_round_clamp((float)errors * factor, -INSITU_BIAS_STEP, INSITU_BIAS_STEP);
  return insitu_clamp(insitu_wrap_add(buffer, step), -BIAS_LIMIT, BIAS_LIMIT);
}

int32_t insitu_conv_accumulate_s8(const insitu_conv_accumulate_params_t *p,
                                  const insitu_qparams_t *dy_q, const insitu_qparams_t *x_q,
                                  const int8_t *dy, const int8_t *x, const float *row_scale,
                                  const float *rate, void *scratch, uint32_t *generator,
                                  int32_t *bias_buffer, void *buffer) {
  const insitu_conv_params_t *shape = &p->shape;
  const float share = rate[0] * dy_q->scale;
  const float factor = share * x_q->scale * p->gain;
  const float bias_factor = share * (p->gain * 0.015625f);
  const int32_t row = shape->kernel_height * shape->kernel_width * shape->in_channels;
  int32_t *gradient = scratch;
  int32_t saturated = 0;
  uint32_t state = *generator;
  for (int32_t o = 0; o < shape->out_channels; o++) {
    int32_t errors;
    if (!insitu_conv_row_gradient(shape, x_q->zero_point, dy, x, o, gradient, &errors))
      continue;
    const int32_t m = insitu_round_clamp(factor / row_scale[o], -INT32_MAX, INT32_MAX);
    saturated += m == INT32_MAX;
    state = insitu_add_row(p->wide, row, m, gradient, state, buffer, o * row);
    bias_buffer[o] = insitu_add_bias(bias_buffer[o], errors, bias_factor);
  }
  *generator = state;
  return saturated;
}

enum { CHUNK = 64 }; /* elements of a linear layer's input made at a time, a multiple of 4 */

/* One row of a linear layer: buffer += m (x - zero). */
static uint32_t add_linear_row(const insitu_linear_accumulate_params_t *p, int32_t m, int32_t zero,
                               const int8_t *x, uint32_t state, void *buffer, int32_t first) {
  int32_t gradient[CHUNK];
  for (int32_t start = 0; start < p->shape.in_features; start += CHUNK) {
    const int32_t count = insitu_min(p->shape.in_features - start, CHUNK);
    for (int32_t i = 0; i < count; i++)
      gradient[i] = x[start + i] - zero;
    state = insitu_add_row(p->wide, count, m, gradient, state, buffer, first + start);
  }
  return state;
}

int32_t insitu_linear_accumulate_s8(const insitu_linear_accumulate_params_t *p,
                                    const insitu_qparams_t *dy_q, const insitu_qparams_t *x_q,
                                    const int8_t *dy, const int8_t *x, const float *row_scale,
                                    const float *rate, uint32_t *generator, int32_t *bias_buffer,
                                    void *buffer) {
  const float share = rate[0] * dy_q->scale;
  const float factor = share * x_q->scale * p->gain;
  const float bias_factor = share * (p->gain * 0.015625f);
  int32_t saturated = 0;
  uint32_t state = *generator;
  for (int32_t o = 0; o < p->shape.out_features; o++) {
    if (dy[o] == 0)
      continue;
    const float ratio = (float)dy[o] * factor / row_scale[o];
    const int32_t m = insitu_round_clamp(ratio, -INT32_MAX, INT32_MAX);
    saturated += m == INT32_MAX || m == -INT32_MAX;
    state = add_linear_row(p, m, x_q->zero_point, x, state, buffer, o * p->shape.in_features);
    bias_buffer[o] = insitu_add_bias(bias_buffer[o], dy[o], bias_factor);
  }
  *generator = state;
  return saturated;
}

/* The part of a weight that decay takes, times 2^32, held below a half. */
static int32_t decay_multiplier(float rate, float weight_decay) {
  return insitu_round_clamp(rate * weight_decay * 4294967296.0f, 0, INT32_MAX);
}

/* What one weight's step depends on besides its buffer; `state` goes on with every draw. */
typedef struct {
  int32_t fraction; /* bits of the buffer below one step of the weight */
  int32_t limit, momentum, shrink;
  uint32_t state;
} insitu_apply_t;

/* Moves a buffer's value to its weight; returns what stays in the buffer. */
static int32_t apply_weight(insitu_apply_t *a, int32_t buffer, int8_t *w) {
  int64_t step = buffer;
  int64_t noise = 1 << (a->fraction - 1);
  if (a->shrink > 0) {
    a->state = insitu_draw(a->state);
    const int64_t loss = (int64_t)*w * a->shrink + (int64_t)(a->state >> a->fraction);
    step = clamp_s64(step + (loss >> (32 - a->fraction)), a->limit);
  }
  if (a->momentum > 0) {
    a->state = insitu_draw(a->state);
    noise = a->state >> (32 - a->fraction);
  }
  const int32_t whole = (int32_t)((step + noise) >> a->fraction);
  *w = (int8_t)insitu_clamp(*w - whole, -127, 127);
  if (a->momentum == 0)
    return (int32_t)(step - (int64_t)whole * (1 << a->fraction));
  return (int32_t)((step * a->momentum + (int64_t)(a->state & 0xFFFFu)) >> 16);
}

/* The same for a bias, in units of 2^-26 and 2^-20, rounded to nearest. */
static int32_t apply_bias(int32_t momentum, int32_t buffer, int32_t *bias) {
  const int32_t step = insitu_wrap_add(buffer, 32) >> 6;
  *bias = insitu_clamp(insitu_wrap_subtract(*bias, step), -BIAS_LIMIT, BIAS_LIMIT);
  if (momentum == 0)
    return insitu_wrap_subtract(buffer, step * 64);
  const uint32_t size = buffer < 0 ? 0u - (uint32_t)buffer : (uint32_t)buffer;
  const int32_t kept = (int32_t)((uint64_t)size * (uint32_t)momentum >> 16);
  return buffer < 0 ? -kept : kept;
}

void insitu_apply_s8(const insitu_apply_params_t *p, const float *rate, uint32_t *generator,
                     int32_t *bias_buffer, void *buffer, int32_t *bias, int8_t *w) {
  insitu_apply_t a = {p->wide ? 16 : 8, p->wide ? INT32_MAX : INT16_MAX, p->momentum,
                      decay_multiplier(rate[0], p->weight_decay), *generator};
  int32_t *const wide = buffer;
  int16_t *const narrow = buffer;
  for (int32_t k = 0; k < p->weights; k++) {
    if (p->wide) {
      wide[k] = apply_weight(&a, wide[k], &w[k]);
    } else {
      narrow[k] = (int16_t)apply_weight(&a, narrow[k], &w[k]);
    }
  }
  for (int32_t o = 0; o < p->rows; o++) {
    bias_buffer[o] = apply_bias(p->momentum, bias_buffer[o], &bias[o]);
  }
  *generator = a.state;
}

void insitu_decay_s8(const insitu_decay_params_t *p, const float *rate, uint32_t *generator,
                     int32_t *row, int8_t *w) {
  const int32_t shrink = decay_multiplier(rate[0], p->weight_decay);
  uint32_t state = *generator;
  const int32_t at = (uint32_t)row[0] < (uint32_t)p->rows ? row[0] : 0;
  w += at * p->weights;
  for (int32_t k = 0; k < p->weights; k++) {
    state = insitu_draw(state);
    w[k] = (int8_t)(w[k] - (int32_t)(((int64_t)w[k] * shrink + (int64_t)state) >> 32));
  }
  *generator = state;
  row[0] = (at + 1) % p->rows;
}
