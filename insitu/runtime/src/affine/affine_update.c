/* Updates of the preset paper: standardized gradients, ranges that follow the weights.
 * Twin: insitu/ops/updates/standardized.py. This portable version is the definition. */
#include <string.h>

#include "insitu_fixed_point.h"
#include "insitu_kernels.h"

/* sqrt(x), x >= 0, relative error below 2e-7: a first guess from the exponent, then Heron. */
static float square_root(float x) {
  if (!(x > 0.0f))
    return 0.0f;
  uint32_t bits;
  float root;
  memcpy(&bits, &x, sizeof bits);
  bits = (bits >> 1) + 0x1FBB4F2Eu;
  memcpy(&root, &bits, sizeof root);
  for (int32_t i = 0; i < 3; i++)
    root = 0.5f * (root + x / root);
  return root;
}

/* How one structure's gradient g becomes its step: (g - mean) factor. */
typedef struct {
  float mean, factor;
} insitu_standard_t;

static insitu_standard_t standardize(int32_t size, const int32_t *gradient, float rate) {
  const float n = (float)size;
  int64_t sum = 0;
  for (int32_t k = 0; k < size; k++)
    sum += gradient[k];
  insitu_standard_t result = {(float)sum / n, 0.0f};
  float squares = 0.0f;
  for (int32_t k = 0; k < size; k++) {
    const float deviation = (float)gradient[k] - result.mean;
    squares = squares + deviation * deviation;
  }
  const float sd = square_root(squares / n);
  if (sd > 0.0f)
    result.factor = rate / sd;
  return result;
}

static inline float stepped(int8_t w, const insitu_qparams_t *q, int32_t gradient,
                            const insitu_standard_t *standard) {
  const float old = (float)(w - q->zero_point) * q->scale;
  const float step = ((float)gradient - standard->mean) * standard->factor;
  return old - step;
}

/* The range of the new weights; keeps what each row's step needs. */
static void new_range(const insitu_linear_params_t *p, const insitu_qparams_t *w_q, float rate,
                      insitu_standard_t *standard, const int32_t *buffer, const int8_t *w,
                      float range[2]) {
  range[0] = range[1] = 0.0f;
  for (int32_t o = 0; o < p->out_features; o++) {
    standard[o] = standardize(p->in_features, buffer, rate);
    for (int32_t k = 0; k < p->in_features; k++) {
      const float v = stepped(*w++, w_q, *buffer++, &standard[o]);
      if (v < range[0])
        range[0] = v;
      if (v > range[1])
        range[1] = v;
    }
  }
}

static void step_biases(int32_t rows, float rate, const int32_t *buffer, int32_t *bias) {
  const insitu_standard_t standard = standardize(rows, buffer, rate);
  for (int32_t o = 0; o < rows; o++) {
    const float step = ((float)buffer[o] - standard.mean) * standard.factor;
    const int32_t move = insitu_round_clamp(step * 1048576.0f, -INSITU_BIAS_STEP, INSITU_BIAS_STEP);
    bias[o] = insitu_clamp(insitu_wrap_subtract(bias[o], move), -(1 << 30), 1 << 30);
  }
}

void insitu_affine_apply_s8(const insitu_linear_params_t *p, const insitu_qparams_t *w_q,
                            const float *rate, void *scratch, int32_t *bias_buffer, int32_t *buffer,
                            int32_t *bias, float *range, int8_t *w) {
  insitu_standard_t *standard = scratch;
  float moved[2];
  new_range(p, w_q, rate[0], standard, buffer, w, moved);
  if (moved[1] - moved[0] > 1e-20f) {
    const insitu_qparams_t q = insitu_range_qparams(moved, -INSITU_NO_BOUND, INSITU_NO_BOUND);
    const int32_t zero = q.zero_point;
    for (int32_t o = 0; o < p->out_features; o++) {
      for (int32_t k = o * p->in_features; k < (o + 1) * p->in_features; k++) {
        const float v = stepped(w[k], w_q, buffer[k], &standard[o]) / q.scale;
        w[k] = (int8_t)(zero + insitu_round_clamp(v, -128 - zero, 127 - zero));
      }
    }
    range[0] = moved[0];
    range[1] = moved[1];
  }
  step_biases(p->out_features, rate[0], bias_buffer, bias);
  memset(bias_buffer, 0, (size_t)p->out_features * sizeof *bias_buffer);
  memset(buffer, 0, (size_t)(p->out_features * p->in_features) * sizeof *buffer);
}

void insitu_average_error(const float *largest, float *average) {
  const float moved = average[0] + 0.01f * (largest[0] - average[0]);
  if (insitu_is_below(moved, INSITU_DIVERGED))
    average[0] = moved;
}

void insitu_adopt_error(const float *average, float *range) {
  const float smallest = 9.5367431640625e-7f; /* 2^-20 */
  const float high = average[0] > smallest ? average[0] : smallest;
  range[0] = -high * (128.0f / 127.0f);
  range[1] = high;
}
