/* Changes of order, and the way in for samples. Twin: insitu/ops/maps/layout.py, insitu/data/samples.py. */
#include "insitu_fixed_point.h"
#include "insitu_kernels.h"

void insitu_flatten_s8(const insitu_layout_params_t *p, const int8_t *x, int8_t *y) {
  const int32_t places = p->height * p->width;
  for (int32_t c = 0; c < p->channels; c++) {
    for (int32_t place = 0; place < places; place++)
      *y++ = x[place * p->channels + c];
  }
}

void insitu_unflatten_s8(const insitu_layout_params_t *p, const int8_t *x, int8_t *y) {
  const int32_t places = p->height * p->width;
  for (int32_t place = 0; place < places; place++) {
    for (int32_t c = 0; c < p->channels; c++)
      *y++ = x[c * places + place];
  }
}

void insitu_quantize_input_f32(const insitu_layout_params_t *p, const insitu_qparams_t *q_q,
                               const float *x, int8_t *q) {
  const int32_t places = p->height * p->width;
  for (int32_t place = 0; place < places; place++) {
    for (int32_t c = 0; c < p->channels; c++) {
      *q++ = (int8_t)insitu_quantize_bound(x[c * places + place], q_q);
    }
  }
}
