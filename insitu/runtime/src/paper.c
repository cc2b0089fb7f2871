/* Layers of the preset paper: affine 8-bit weights, one scale and one zero point a tensor.
 * Twin: insitu/ops/paper.py. This portable version is the definition. */
#include <string.h>

#include "insitu_fixed_point.h"
#include "insitu_kernels.h"

/* patch[ky, kx, i] = x[iy, ix, i] - zero, 0 outside the map; returns the sum. */
static int32_t insitu_gather(const insitu_conv_params_t *p, int32_t zero, const int8_t *x,
                             int32_t position, int16_t *patch) {
  const int32_t top = position / p->out_width * p->stride_height - p->pad_top;
  const int32_t left = position % p->out_width * p->stride_width - p->pad_left;
  int32_t sum = 0;
  for (int32_t ky = 0; ky < p->kernel_height; ky++) {
    for (int32_t kx = 0; kx < p->kernel_width; kx++, patch += p->in_channels) {
      const int32_t iy = top + ky, ix = left + kx;
      if (iy < 0 || iy >= p->in_height || ix < 0 || ix >= p->in_width) {
        memset(patch, 0, (size_t)p->in_channels * sizeof *patch);
        continue;
      }
      const int8_t *from = x + (iy * p->in_width + ix) * p->in_channels;
      for (int32_t i = 0; i < p->in_channels; i++) {
        patch[i] = (int16_t)(from[i] - zero);
        sum += patch[i];
      }
    }
  }
  return sum;
}

static inline int32_t insitu_row_weights(const insitu_conv_params_t *p) {
  return p->kernel_height * p->kernel_width * p->in_channels;
}

static int32_t insitu_dot(int32_t size, const int16_t *restrict a, const int8_t *restrict b) {
  int32_t sum = 0;
  for (int32_t k = 0; k < size; k++)
    sum += a[k] * b[k];
  return sum;
}

void insitu_affine_s8(const insitu_conv_params_t *p, const insitu_qparams_t *x_q,
                      const insitu_qparams_t *w_q, const insitu_qparams_t *y_q, const int8_t *x,
                      const int8_t *w, const int32_t *bias, void *scratch, int8_t *y) {
  const int32_t row = insitu_row_weights(p);
  const float unit = x_q->scale * w_q->scale;
  const float bias_unit = INSITU_BIAS_SCALE / unit;
  const float ratio = unit / y_q->scale;
  int16_t *patch = scratch;
  for (int32_t n = 0; n < p->out_height * p->out_width; n++) {
    const int32_t correction = w_q->zero_point * insitu_gather(p, x_q->zero_point, x, n, patch);
    for (int32_t o = 0; o < p->out_channels; o++) {
      const int32_t b = insitu_round_clamp((float)bias[o] * bias_unit, -(1 << 30), 1 << 30);
      const int32_t acc = insitu_dot(row, patch, w + o * row) - correction + b;
      const int32_t v = insitu_round_clamp((float)acc * ratio, -512, 512);
      *y++ = (int8_t)insitu_clamp(v + y_q->zero_point, y_q->clamp_min, y_q->clamp_max);
    }
  }
}

void insitu_affine_logits_s8(const insitu_conv_params_t *p, const insitu_qparams_t *x_q,
                             const insitu_qparams_t *w_q, const int8_t *x, const int8_t *w,
                             const int32_t *bias, void *scratch, float *y) {
  const int32_t row = insitu_row_weights(p);
  const float unit = x_q->scale * w_q->scale;
  int16_t *patch = scratch;
  for (int32_t n = 0; n < p->out_height * p->out_width; n++) {
    const int32_t correction = w_q->zero_point * insitu_gather(p, x_q->zero_point, x, n, patch);
    for (int32_t o = 0; o < p->out_channels; o++) {
      const int32_t acc = insitu_dot(row, patch, w + o * row) - correction;
      const float real_bias = (float)bias[o] * INSITU_BIAS_SCALE;
      *y++ = (float)acc * unit + real_bias;
    }
  }
}

enum { CHANNELS = 64 }; /* input gradients are summed for so many channels at a time */

/* What the errors that reach one element of the input add up to. */
typedef struct {
  int32_t errors;        /* sum of e */
  int32_t sum[CHANNELS]; /* sum of e w */
} insitu_error_sums_t;

/* Adds the errors of one position, through one place of the window. */
static void insitu_add_errors(const insitu_conv_params_t *p, const int8_t *dy, const int8_t *w,
                              int32_t channels, insitu_error_sums_t *sums) {
  const int32_t row = insitu_row_weights(p);
  for (int32_t o = 0; o < p->out_channels; o++) {
    const int32_t e = dy[o];
    if (e == 0)
      continue;
    sums->errors += e;
    for (int32_t i = 0; i < channels; i++)
      sums->sum[i] += e * w[o * row + i];
  }
}

/* All errors that reach channels [first, first + channels) of input element (iy, ix). */
static void insitu_sum_errors(const insitu_conv_params_t *p, const int8_t *dy, const int8_t *w,
                              int32_t iy, int32_t ix, int32_t channels, insitu_error_sums_t *sums) {
  memset(sums, 0, sizeof *sums);
  for (int32_t ky = 0; ky < p->kernel_height; ky++) {
    const int32_t sy = iy + p->pad_top - ky, oy = sy / p->stride_height;
    if (sy < 0 || sy % p->stride_height != 0 || oy >= p->out_height)
      continue;
    for (int32_t kx = 0; kx < p->kernel_width; kx++) {
      const int32_t sx = ix + p->pad_left - kx, ox = sx / p->stride_width;
      if (sx < 0 || sx % p->stride_width != 0 || ox >= p->out_width)
        continue;
      insitu_add_errors(p, dy + (oy * p->out_width + ox) * p->out_channels,
                        w + (ky * p->kernel_width + kx) * p->in_channels, channels, sums);
    }
  }
}

void insitu_affine_grad_input_s8(const insitu_conv_params_t *p, const insitu_qparams_t *dy_q,
                                 const insitu_qparams_t *w_q, const insitu_qparams_t *dx_q,
                                 const int8_t *dy, const int8_t *w, int8_t *dx, float *largest) {
  const float unit = dy_q->scale * w_q->scale;
  const float ratio = unit / dx_q->scale;
  insitu_error_sums_t sums;
  int32_t most = 0;
  for (int32_t n = 0; n < p->in_height * p->in_width; n++) {
    for (int32_t first = 0; first < p->in_channels; first += CHANNELS) {
      const int32_t channels = insitu_min(p->in_channels - first, CHANNELS);
      insitu_sum_errors(p, dy, w + first, n / p->in_width, n % p->in_width, channels, &sums);
      for (int32_t i = 0; i < channels; i++) {
        const int32_t acc = sums.sum[i] - w_q->zero_point * sums.errors;
        most = insitu_max(most, acc < 0 ? -acc : acc);
        *dx++ = (int8_t)insitu_round_clamp((float)acc * ratio, -127, 127);
      }
    }
  }
  if (largest)
    largest[0] = (float)most * unit;
}

void insitu_affine_accumulate_s8(const insitu_conv_params_t *p, const insitu_qparams_t *x_q,
                                 const int8_t *dy, const int8_t *x, void *scratch,
                                 int32_t *bias_buffer, int32_t *buffer) {
  const int32_t row = insitu_row_weights(p);
  int16_t *restrict patch = scratch;
  for (int32_t n = 0; n < p->out_height * p->out_width; n++, dy += p->out_channels) {
    int32_t gathered = 0;
    for (int32_t o = 0; o < p->out_channels; o++) {
      const int32_t e = dy[o];
      if (e == 0)
        continue;
      if (!gathered)
        insitu_gather(p, x_q->zero_point, x, n, patch);
      gathered = 1;
      bias_buffer[o] += e;
      int32_t *restrict to = buffer + o * row;
      for (int32_t k = 0; k < row; k++)
        to[k] += e * patch[k];
    }
  }
}
