/* Clip and its gradient. Twin: insitu/ops/clip.py. */
#include "insitu_error_words.h"
#include "insitu_kernels.h"

void insitu_clip_s8(const insitu_clip_params_t *p, const insitu_qparams_t *x_q, const int8_t *x,
                    int8_t *y) {
  const int32_t low = insitu_quantize_bound(p->min, x_q);
  const int32_t high = insitu_quantize_bound(p->max, x_q);
  for (int32_t i = 0; i < p->size; i++)
    y[i] = (int8_t)insitu_clamp(x[i], low, high);
}

static void insitu_pass(int32_t size, int32_t first, int32_t last, const int8_t *dy,
                        const int8_t *y, int8_t *dx) {
  for (int32_t i = insitu_pass_words(size, first, last, dy, y, dx); i < size; i++)
    dx[i] = y[i] >= first && y[i] <= last ? dy[i] : 0;
}

void insitu_clip_grad_s8(const insitu_clip_params_t *p, const insitu_qparams_t *x_q,
                         const int8_t *dy, const int8_t *x, int8_t *dx) {
  const int32_t low = insitu_quantize_bound(p->min, x_q);
  const int32_t high = insitu_quantize_bound(p->max, x_q);
  const float lowest = (float)(-128 - x_q->zero_point);
  const float highest = (float)(127 - x_q->zero_point);
  const int32_t first = p->min / x_q->scale >= lowest ? low + 1 : -128;
  const int32_t last = p->max / x_q->scale <= highest ? high - 1 : 127;
  insitu_pass(p->size, first, last, dy, x, dx);
}

void insitu_layer_clip_grad_s8(const insitu_size_params_t *p, const insitu_qparams_t *y_q,
                               const int8_t *dy, const int8_t *y, int8_t *dx) {
  insitu_pass(p->size, y_q->pass_min, y_q->pass_max, dy, y, dx);
}
