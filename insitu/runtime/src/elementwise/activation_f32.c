/* Activation functions of float. Twin: insitu/ops/activations/activation.py, prelu.py. */
#include "insitu_activation.h"

void insitu_activation_f32(const insitu_activation_params_t *p, insitu_function_t *f,
                           const float *x, float *y) {
  const int32_t size = p->size;
  for (int32_t i = 0; i < size; i++)
    y[i] = f(p, x[i]);
}

void insitu_activation_grad_f32(const insitu_activation_params_t *p, insitu_function_t *slope,
                                const float *dy, const float *x, float *dx) {
  const int32_t size = p->size;
  for (int32_t i = 0; i < size; i++)
    dx[i] = dy[i] * slope(p, x[i]);
}

void insitu_prelu_f32(const insitu_prelu_params_t *p, const float *x, const float *slope,
                      float *y) {
  for (int32_t place = 0; place < p->positions; place++) {
    for (int32_t c = 0; c < p->channels; c++, x++)
      *y++ = *x > 0.0f ? *x : slope[c] * *x;
  }
}

void insitu_prelu_grad_f32(const insitu_prelu_params_t *p, const float *dy, const float *x,
                           const float *slope, float *dx) {
  for (int32_t place = 0; place < p->positions; place++) {
    for (int32_t c = 0; c < p->channels; c++, x++, dy++)
      *dx++ = *x > 0.0f ? *dy : slope[c] * *dy;
  }
}
