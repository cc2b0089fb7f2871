/* Float, element by element: clip, sums, quantization of errors.
 * Twin: insitu/ops/merge/add.py, insitu/ops/activations/clip.py,
 * insitu/ops/losses/cross_entropy.py. */
#include "insitu_fixed_point.h"
#include "insitu_kernels_f32.h"

static float clamp_f32(const insitu_clip_params_t *p, float v) {
  return v < p->min ? p->min : v > p->max ? p->max : v;
}

void insitu_clip_f32(const insitu_clip_params_t *p, const float *x, float *y) {
  for (int32_t i = 0; i < p->size; i++)
    y[i] = clamp_f32(p, x[i]);
}

void insitu_add_f32(const insitu_clip_params_t *p, const float *a, const float *b, float *y) {
  for (int32_t i = 0; i < p->size; i++)
    y[i] = clamp_f32(p, a[i] + b[i]);
}

void insitu_subtract_f32(const insitu_clip_params_t *p, const float *a, const float *b, float *y) {
  for (int32_t i = 0; i < p->size; i++)
    y[i] = clamp_f32(p, a[i] - b[i]);
}

void insitu_negate_f32(const insitu_size_params_t *p, const float *x, float *y) {
  for (int32_t i = 0; i < p->size; i++)
    y[i] = -x[i];
}

void insitu_clip_grad_f32(const insitu_clip_params_t *p, const float *dy, const float *x,
                          float *dx) {
  const float min = p->min, max = p->max;
  for (int32_t i = 0; i < p->size; i++)
    dx[i] = x[i] > min && x[i] < max ? dy[i] : 0.0f;
}

void insitu_quantize_error_f32(const insitu_quantize_error_params_t *p, const float *x, int8_t *q) {
  for (int32_t i = 0; i < p->size; i++) {
    const float v = x[i] * p->factor;
    q[i] = (int8_t)(v == v ? insitu_round_clamp(v, -127, 127) : 0);
  }
}
