/* Nearest-neighbour upsampling and its gradient. Twin: insitu/ops/maps/resize.py. */
#include <string.h>

#include "insitu_fixed_point.h"
#include "insitu_kernels_mixing.h"

#define INSITU_REPEAT(element)                                                                     \
  const int32_t channels = p->channels;                                                            \
  for (int32_t oy = 0; oy < p->height * p->factor_height; oy++) {                                  \
    const element *row = x + oy / p->factor_height * p->width * channels;                          \
    for (int32_t ix = 0; ix < p->width; ix++) {                                                    \
      for (int32_t k = 0; k < p->factor_width; k++) {                                              \
        memcpy(y, row + ix * channels, (size_t)channels * sizeof *y);                              \
        y += channels;                                                                             \
      }                                                                                            \
    }                                                                                              \
  }

void insitu_resize_s8(const insitu_resize_params_t *p, const int8_t *x, int8_t *y) {
  INSITU_REPEAT(int8_t)
}

void insitu_resize_f32(const insitu_resize_params_t *p, const float *x, float *y) {
  INSITU_REPEAT(float)
}

/* `put` the sum of each block of dy, whose lines are `line` elements, in row order. */
#define INSITU_SUM_BLOCKS(error, type, put)                                                        \
  const int32_t channels = p->channels, line = p->width * p->factor_width * channels;              \
  for (int32_t iy = 0; iy < p->height; iy++) {                                                     \
    for (int32_t ix = 0; ix < p->width; ix++) {                                                    \
      const error *block = dy + iy * p->factor_height * line + ix * p->factor_width * channels;    \
      for (int32_t c = 0; c < channels; c++) {                                                     \
        type sum = 0;                                                                              \
        for (int32_t ky = 0; ky < p->factor_height; ky++) {                                        \
          for (int32_t kx = 0; kx < p->factor_width; kx++)                                         \
            sum = sum + block[ky * line + kx * channels + c];                                      \
        }                                                                                          \
        *dx++ = put;                                                                               \
      }                                                                                            \
    }                                                                                              \
  }

void insitu_resize_grad_s8(const insitu_resize_params_t *p, const int8_t *dy, int8_t *dx) {
  INSITU_SUM_BLOCKS(int8_t, int32_t, (int8_t)insitu_clamp(sum, -127, 127))
}

void insitu_resize_grad_f32(const insitu_resize_params_t *p, const float *dy, float *dx) {
  INSITU_SUM_BLOCKS(float, float, sum)
}
