/* Float: concatenation of activations. Twin: insitu/ops/merge/concat.py. */
#include "insitu_fixed_point.h"
#include "insitu_kernels_mixing.h"

void insitu_concat_f32(const insitu_concat_f32_params_t *p, const float *const x[],
                       const int32_t sizes[], float *y) {
  for (int32_t r = 0; r < p->repeats; r++) {
    for (int32_t part = 0; part < p->parts; part++) {
      for (int32_t i = 0; i < sizes[part]; i++) {
        const float v = x[part][r * sizes[part] + i];
        *y++ = v < p->min ? p->min : v > p->max ? p->max : v;
      }
    }
  }
}
