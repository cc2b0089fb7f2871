/* Flatten and unflatten, between HWC and CHW, and quantization of the input.
 * Twin: insitu/ops/maps/layout.py, insitu/data/samples.py. */
#include "insitu_fixed_point.h"
#include "insitu_kernels.h"
#include "insitu_kernels_f32.h"

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

void insitu_quantize_input_f32(const insitu_layout_params_t *p, const insitu_qparams_t *q_q,
                               const float *x, int8_t *q) {
  INSITU_TRANSPOSE(places, p->channels, *q++ = (int8_t)insitu_quantize_bound(x[at], q_q))
}

void insitu_quantize_input_units_f32(const insitu_layout_params_t *p, const insitu_qparams_t *q_q,
                                     const float *scale, const float *offset, const float *x,
                                     int8_t *q) {
  insitu_qparams_t own = *q_q;
  INSITU_TRANSPOSE(places, p->channels, {
    own.scale = scale[column];
    *q++ = (int8_t)insitu_quantize_bound(insitu_subtract(x[at], offset[column]), &own);
  })
}
