/* Mini-batches and momentum of float layers. Twin: insitu/ops/updates/buffer_f32.py. */
#include "insitu_kernels_f32.h"

int32_t insitu_conv_accumulate_f32(const insitu_conv_accumulate_f32_params_t *p, const float *dy,
                                   const float *x, void *scratch, float *bias_buffer,
                                   float *buffer) {
  const insitu_conv_params_t *shape = &p->shape;
  const int32_t row = shape->kernel_height * shape->kernel_width * shape->in_channels;
  float *gradient = scratch;
  if (!insitu_step_is_small_f32(p->share, shape->out_height * shape->out_width, shape->out_channels,
                                dy, shape->in_height * shape->in_width * shape->in_channels, x))
    return shape->out_channels;
  for (int32_t o = 0; o < shape->out_channels; o++, buffer += row) {
    float errors;
    if (!insitu_conv_row_gradient_f32(shape, dy + o, x, gradient, &errors))
      continue;
    for (int32_t k = 0; k < row; k++)
      buffer[k] = buffer[k] + p->share * gradient[k];
    bias_buffer[o] = bias_buffer[o] + p->share * errors;
  }
  return 0;
}

int32_t insitu_linear_accumulate_f32(const insitu_linear_accumulate_f32_params_t *p,
                                     const float *dy, const float *x, float *bias_buffer,
                                     float *buffer) {
  const int32_t columns = p->shape.in_features;
  if (!insitu_step_is_small_f32(p->share, 1, p->shape.out_features, dy, columns, x))
    return p->shape.out_features;
  for (int32_t o = 0; o < p->shape.out_features; o++, buffer += columns) {
    if (dy[o] == 0.0f)
      continue;
    const float e = p->share * dy[o];
    for (int32_t i = 0; i < columns; i++)
      buffer[i] = buffer[i] + e * x[i];
    bias_buffer[o] = bias_buffer[o] + e;
  }
  return 0;
}

static void step_f32(int32_t size, float rate, float weight_decay, float momentum, float *velocity,
                     float *w) {
  for (int32_t k = 0; k < size; k++) {
    const float v = weight_decay > 0.0f ? velocity[k] + weight_decay * w[k] : velocity[k];
    w[k] = w[k] - rate * v;
    velocity[k] = momentum > 0.0f ? momentum * v : 0.0f;
  }
}

void insitu_apply_f32(const insitu_apply_f32_params_t *p, const float *rate, float *bias_buffer,
                      float *buffer, float *b, float *w) {
  step_f32(p->weights, rate[0], p->weight_decay, p->momentum, buffer, w);
  step_f32(p->rows, rate[0], 0.0f, p->momentum, bias_buffer, b);
}
