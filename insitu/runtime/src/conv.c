/* Convolution: forward, input gradient, weight gradient with its update in place.
 * Twin: insitu/ops/conv.py. This portable version is the definition. */
#include <string.h>

#include "insitu_fixed_point.h"
#include "insitu_kernels.h"
#include "insitu_span.h"

/* patch[ky, kx, i] = x[iy, ix, i] - zero, 0 outside the map. */
static void insitu_gather_patch(const insitu_conv_params_t *p, int32_t zero, const int8_t *x,
                                int32_t oy, int32_t ox, int16_t *patch) {
  const int32_t channels = p->in_channels;
  const int32_t line = p->kernel_width * channels;
  const int32_t start_x = ox * p->stride_width - p->pad_left;
  const insitu_span_t columns = insitu_span(start_x, p->kernel_width, p->in_width);
  const int32_t first = insitu_min(columns.first, p->kernel_width) * channels;
  const int32_t end = insitu_max(columns.end, 0) * channels;
  for (int32_t ky = 0; ky < p->kernel_height; ky++, patch += line) {
    const int32_t iy = oy * p->stride_height - p->pad_top + ky;
    if (iy < 0 || iy >= p->in_height || first >= end) {
      memset(patch, 0, (size_t)line * sizeof *patch);
      continue;
    }
    const int32_t from = (iy * p->in_width + start_x) * channels; /* below 0 left of the map */
    for (int32_t k = 0; k < first; k++)
      patch[k] = 0;
    for (int32_t k = first; k < end; k++)
      patch[k] = (int16_t)(x[from + k] - zero);
    for (int32_t k = end; k < line; k++)
      patch[k] = 0;
  }
}

static int32_t insitu_dot_s16(int32_t size, const int16_t *restrict a, const int8_t *restrict b) {
  int32_t sum = 0;
  for (int32_t k = 0; k < size; k++)
    sum += a[k] * b[k];
  return sum;
}

void insitu_conv_s8(const insitu_conv_params_t *p, const insitu_qparams_t *x_q,
                    const insitu_qparams_t *y_q, const int8_t *x, const int8_t *w,
                    const int32_t *bias, const int32_t *multiplier, const int32_t *shift,
                    void *scratch, int8_t *y, int32_t *observed) {
  const int32_t row = insitu_row_size(p);
  int16_t *patch = scratch;
  int32_t lowest = 0, highest = 0;
  for (int32_t oy = 0; oy < p->out_height; oy++) {
    for (int32_t ox = 0; ox < p->out_width; ox++) {
      insitu_gather_patch(p, x_q->zero_point, x, oy, ox, patch);
      for (int32_t o = 0; o < p->out_channels; o++) {
        const int32_t acc = bias[o] + insitu_dot_s16(row, patch, w + o * row);
        const int32_t v = insitu_rescale(acc, multiplier[o], shift[0]);
        lowest = insitu_min(lowest, v);
        highest = insitu_max(highest, v);
        *y++ = (int8_t)insitu_clamp(v + y_q->zero_point, y_q->clamp_min, y_q->clamp_max);
      }
    }
  }
  if (observed) {
    observed[0] = lowest;
    observed[1] = highest;
  }
}

/* sum[i] += e w[i] */
static void insitu_add_scaled(int32_t size, int32_t e, const int8_t *restrict w,
                              int32_t *restrict sum) {
  for (int32_t k = 0; k < size; k++)
    sum[k] += e * w[k];
}

/* sum[i] += sum over o of w[o, ky, kx, i] e'[oy, ox, o], for one place of the window. */
static void insitu_add_tap(const insitu_conv_grad_input_params_t *g, const int8_t *dy,
                           const int8_t *w, const uint16_t *rel, int32_t *sum) {
  const insitu_conv_params_t *p = &g->shape;
  const int32_t row = insitu_row_size(p);
  for (int32_t o = 0; o < p->out_channels; o++) {
    if (dy[o] == 0)
      continue;
    const int32_t e = insitu_expand_error(dy[o], rel[o], g->drop);
    insitu_add_scaled(p->in_channels, e, w + o * row, sum);
  }
}

void insitu_conv_grad_input_s8(const insitu_conv_grad_input_params_t *g, const int8_t *dy,
                               const int8_t *w, const uint16_t *rel, void *scratch, int8_t *dx) {
  const insitu_conv_params_t *p = &g->shape;
  const int32_t channels = p->in_channels;
  int32_t *sum = scratch;
  for (int32_t iy = 0; iy < p->in_height; iy++) {
    for (int32_t ix = 0; ix < p->in_width; ix++) {
      memset(sum, 0, (size_t)channels * sizeof *sum);
      for (int32_t ky = 0; ky < p->kernel_height; ky++) {
        const int32_t sy = iy + p->pad_top - ky, oy = sy / p->stride_height;
        if (sy < 0 || sy % p->stride_height != 0 || oy >= p->out_height)
          continue;
        for (int32_t kx = 0; kx < p->kernel_width; kx++) {
          const int32_t sx = ix + p->pad_left - kx, ox = sx / p->stride_width;
          if (sx < 0 || sx % p->stride_width != 0 || ox >= p->out_width)
            continue;
          insitu_add_tap(g, dy + (oy * p->out_width + ox) * p->out_channels,
                         w + (ky * p->kernel_width + kx) * channels, rel, sum);
        }
      }
      for (int32_t i = 0; i < channels; i++) {
        const int32_t v = insitu_rescale(sum[i], g->multiplier, g->shift);
        *dx++ = (int8_t)insitu_clamp(v, -127, 127);
      }
    }
  }
}

int32_t insitu_conv_update_s8(const insitu_conv_params_t *p, const insitu_qparams_t *dy_q,
                              const insitu_qparams_t *x_q, const int8_t *dy, const int8_t *x,
                              const float *row_scale, const float *rate, void *scratch,
                              uint32_t *generator, int32_t *bias, int8_t *w) {
  const float factor = rate[0] * dy_q->scale * x_q->scale * 4294967296.0f;
  const int32_t row = insitu_row_size(p);
  int32_t *gradient = scratch;
  int32_t saturated = 0;
  uint32_t state = *generator;
  for (int32_t o = 0; o < p->out_channels; o++, w += row) {
    int32_t errors;
    if (!insitu_conv_row_gradient(p, x_q->zero_point, dy, x, o, gradient, &errors))
      continue;
    const int32_t multiplier = insitu_round_clamp(factor / row_scale[o], 0, INT32_MAX);
    saturated += multiplier == INT32_MAX;
    uint32_t bits = 0;
    for (int32_t k = 0; k < row; k++, bits <<= 8) {
      if (k % 4 == 0)
        bits = state = insitu_draw(state);
      const int64_t noise = (int64_t)(bits >> 24) * (1 << 24) + (1 << 23);
      const int32_t step = (int32_t)(((int64_t)gradient[k] * multiplier + noise) >> 32);
      w[k] = (int8_t)insitu_clamp(w[k] - step, -127, 127);
    }
    bias[o] = insitu_update_bias(bias[o], errors, rate[0], dy_q->scale);
  }
  *generator = state;
  return saturated;
}
