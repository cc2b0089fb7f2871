/* Clip and its gradient. Twin: insitu/ops/activations/clip.py. */
#include "insitu_bytes.h"
#include "insitu_kernels.h"

void insitu_clip_s8(const insitu_clip_params_t *p, const insitu_qparams_t *x_q, const int8_t *x,
                    int8_t *y) {
  const int32_t low = insitu_quantize_bound(p->min, x_q);
  const int32_t high = insitu_quantize_bound(p->max, x_q);
  clamp_bytes(p->size, low, high, x, y);
}

void insitu_clip_grad_s8(const insitu_clip_params_t *p, const insitu_qparams_t *x_q,
                         const int8_t *dy, const int8_t *x, int8_t *dx) {
  const int32_t low = insitu_quantize_bound(p->min, x_q);
  const int32_t high = insitu_quantize_bound(p->max, x_q);
  const float lowest = (float)(-128 - x_q->zero_point);
  const float highest = (float)(127 - x_q->zero_point);
  const int32_t first = p->min / x_q->scale >= lowest ? low + 1 : -128;
  const int32_t last = p->max / x_q->scale <= highest ? high - 1 : 127;
  mask_bytes(p->size, first, last, dy, x, dx);
}

void insitu_layer_clip_grad_s8(const insitu_size_params_t *p, const insitu_qparams_t *y_q,
                               const int8_t *dy, const int8_t *y, int8_t *dx) {
  mask_bytes(p->size, y_q->pass_min, y_q->pass_max, dy, y, dx);
}
