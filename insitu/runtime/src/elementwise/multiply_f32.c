/* Float: product of two activations and its gradients. Twin: insitu/ops/merge/multiply.py. */
#include "insitu_fixed_point.h"
#include "insitu_kernels_mixing.h"

void insitu_multiply_f32(const insitu_multiply_f32_params_t *p, const float *a, const float *b,
                         float *y) {
  for (int32_t r = 0; r < p->sizes.repeats; r++) {
    for (int32_t i = 0; i < p->sizes.size; i++) {
      const float v = *a++ * b[i];
      *y++ = v < p->min ? p->min : v > p->max ? p->max : v;
    }
  }
}

void insitu_multiply_grad_f32(const insitu_multiply_params_t *p, const float *dy, const float *b,
                              float *da) {
  for (int32_t r = 0; r < p->repeats; r++) {
    for (int32_t i = 0; i < p->size; i++)
      *da++ = *dy++ * b[i];
  }
}

void insitu_multiply_grad_factor_f32(const insitu_multiply_params_t *p, const float *dy,
                                     const float *a, float *db) {
  for (int32_t i = 0; i < p->size; i++) {
    float sum = 0.0f;
    for (int32_t r = 0; r < p->repeats; r++)
      sum = sum + dy[r * p->size + i] * a[r * p->size + i];
    db[i] = sum;
  }
}
