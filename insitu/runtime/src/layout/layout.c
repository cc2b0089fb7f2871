/* Flatten and unflatten, between HWC and CHW, permute and reshape, and quantization of the input.
 * Twin: insitu/ops/maps/layout.py, insitu/ops/maps/permute.py, insitu/data/samples.py. */
#include "insitu_fixed_point.h"
#include "insitu_kernels.h"
#include "insitu_kernels_f32.h"

#include <string.h>

/* `put` what x[columns, rows] has for each element of y[rows, columns], at x[at]. */
#define INSITU_TRANSPOSE(rows, columns, put)                                                       \
  const int32_t places = p->height * p->width;                                                     \
  for (int32_t row = 0; row < rows; row++) {                                                       \
    for (int32_t column = 0; column < columns; column++) {                                         \
      const int32_t at = column * rows + row;                                                      \
      put;                                                                                         \
    }                                                                                              \
  }

void insitu_flatten_s8(const insitu_layout_params_t *p, const int8_t *x, int8_t *y) {
  INSITU_TRANSPOSE(p->channels, places, *y++ = x[at])
}

void insitu_flatten_f32(const insitu_layout_params_t *p, const float *x, float *y) {
  INSITU_TRANSPOSE(p->channels, places, *y++ = x[at])
}

void insitu_unflatten_s8(const insitu_layout_params_t *p, const int8_t *x, int8_t *y) {
  INSITU_TRANSPOSE(places, p->channels, *y++ = x[at])
}

void insitu_unflatten_f32(const insitu_layout_params_t *p, const float *x, float *y) {
  INSITU_TRANSPOSE(places, p->channels, *y++ = x[at])
}

/* Walks y[height, width, channels] with the steps that its axes have in x. */
#define INSITU_PERMUTE(type)                                                                       \
  for (int32_t i = 0; i < p->height; i++) {                                                        \
    for (int32_t j = 0; j < p->width; j++) {                                                       \
      const type *from = x + i * p->height_step + j * p->width_step;                               \
      for (int32_t k = 0; k < p->channels; k++, from += p->channels_step)                          \
        *y++ = *from;                                                                              \
    }                                                                                              \
  }

void insitu_permute_s8(const insitu_permute_params_t *p, const int8_t *x, int8_t *y) {
  INSITU_PERMUTE(int8_t)
}

void insitu_permute_f32(const insitu_permute_params_t *p, const float *x, float *y) {
  INSITU_PERMUTE(float)
}

void insitu_reshape_s8(const insitu_size_params_t *p, const int8_t *x, int8_t *y) {
  if (y != x)
    memcpy(y, x, (size_t)p->size);
}

void insitu_reshape_f32(const insitu_size_params_t *p, const float *x, float *y) {
  if (y != x)
    memcpy(y, x, (size_t)p->size * sizeof *x);
}

int32_t insitu_take_input_f32(const insitu_layout_params_t *p, const float *x, float *y) {
  int32_t wrong = 0;
  INSITU_TRANSPOSE(places, p->channels, {
    wrong += (insitu_float_bits(x[at]) >> 23 & 0xFFu) == 0xFFu;
    *y++ = x[at];
  })
  return wrong;
}

/* Stores a value; 1 where it is no number, or moved by the clamp by more than one step. */
static __attribute__((noinline)) int32_t store(float value, float scale, int32_t zero, int8_t *q) {
  const int32_t low = -128 - zero, high = 127 - zero;
  const int32_t v = insitu_round_clamp(insitu_divide(value, scale), low - 2, high + 2);
  *q = (int8_t)(zero + insitu_clamp(v, low, high));
  return v < low - 1 || v > high + 1;
}

int32_t insitu_quantize_input_f32(const insitu_layout_params_t *p, const insitu_qparams_t *q_q,
                                  const float *x, int8_t *q) {
  int32_t beyond = 0;
  INSITU_TRANSPOSE(places, p->channels, beyond += store(x[at], q_q->scale, q_q->zero_point, q++))
  return beyond;
}

int32_t insitu_quantize_input_units_f32(const insitu_layout_params_t *p,
                                        const insitu_qparams_t *q_q, const float *scale,
                                        const float *offset, const float *x, int8_t *q) {
  int32_t beyond = 0;
  INSITU_TRANSPOSE(places, p->channels, {
    const float value = insitu_subtract(x[at], offset[column]);
    beyond += store(value, scale[column], q_q->zero_point, q++);
  })
  return beyond;
}
