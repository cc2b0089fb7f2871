/* Float: maps enlarged by repeating their elements. Twin: insitu/ops/maps/resize.py. */
#include <string.h>

#include "insitu_fixed_point.h"
#include "insitu_kernels_mixing.h"

void insitu_resize_f32(const insitu_resize_params_t *p, const float *x, float *y) {
  const int32_t channels = p->channels;
  for (int32_t oy = 0; oy < p->height * p->factor_height; oy++) {
    const float *row = x + oy / p->factor_height * p->width * channels;
    for (int32_t ix = 0; ix < p->width; ix++) {
      for (int32_t k = 0; k < p->factor_width; k++) {
        memcpy(y, row + ix * channels, (size_t)channels * sizeof *y);
        y += channels;
      }
    }
  }
}

void insitu_resize_grad_f32(const insitu_resize_params_t *p, const float *dy, float *dx) {
  const int32_t channels = p->channels, line = p->width * p->factor_width * channels;
  for (int32_t iy = 0; iy < p->height; iy++) {
    for (int32_t ix = 0; ix < p->width; ix++) {
      const float *block = dy + iy * p->factor_height * line + ix * p->factor_width * channels;
      for (int32_t c = 0; c < channels; c++) {
        float sum = 0.0f;
        for (int32_t ky = 0; ky < p->factor_height; ky++) {
          for (int32_t kx = 0; kx < p->factor_width; kx++)
            sum = sum + block[ky * line + kx * channels + c];
        }
        *dx++ = sum;
      }
    }
  }
}
