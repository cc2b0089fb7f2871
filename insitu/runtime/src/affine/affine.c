/* Layers of the preset paper: affine 8-bit weights, one scale and one zero point a tensor.
 * Twin: insitu/ops/layers/affine.py. This portable version is the definition. */
#include <string.h>

#include "insitu_fixed_point.h"
#include "insitu_kernels_groups.h"
#include "insitu_conv_taps.h"

/* patch[ky, kx, i] = x[iy, ix, i] - zero for the channels i of a group that x starts with, 0
 * outside the map; returns the sum. */
static int32_t gather(const insitu_conv_groups_params_t *p, int32_t zero, const int8_t *x,
                      int32_t position, int16_t *patch) {
  const insitu_conv_params_t *c = &p->conv;
  const int32_t top = position / c->out_width * c->stride_height - c->pad_top;
  const int32_t left = position % c->out_width * c->stride_width - c->pad_left;
  const int32_t channels = c->in_channels / p->groups;
  int32_t sum = 0;
  for (int32_t ky = 0; ky < c->kernel_height; ky++) {
    for (int32_t kx = 0; kx < c->kernel_width; kx++, patch += channels) {
      const int32_t iy = top + ky * p->dilation_height, ix = left + kx * p->dilation_width;
      if (iy < 0 || iy >= c->in_height || ix < 0 || ix >= c->in_width) {
        memset(patch, 0, (size_t)channels * sizeof *patch);
        continue;
      }
      const int8_t *from = x + (iy * c->in_width + ix) * c->in_channels;
      for (int32_t i = 0; i < channels; i++) {
        patch[i] = (int16_t)(from[i] - zero);
        sum += patch[i];
      }
    }
  }
  return sum;
}

static inline int starts_group(const insitu_conv_groups_params_t *p, int32_t o) {
  return p->groups == 1 ? o == 0 : o % (p->conv.out_channels / p->groups) == 0;
}

/* The channels that row o reads. */
static inline const int8_t *group_of(const insitu_conv_groups_params_t *p, const int8_t *x,
                                     int32_t o) {
  const int32_t group = o / (p->conv.out_channels / p->groups);
  return x + group * (p->conv.in_channels / p->groups);
}

void insitu_affine_s8(const insitu_conv_groups_params_t *p, const insitu_qparams_t *x_q,
                      const insitu_qparams_t *w_q, const insitu_qparams_t *y_q, const int8_t *x,
                      const int8_t *w, const int32_t *bias, void *scratch, int8_t *y) {
  const int32_t row = group_row(p);
  const float unit = x_q->scale * w_q->scale;
  const float bias_unit = INSITU_BIAS_SCALE / unit;
  const float ratio = unit / y_q->scale;
  int16_t *patch = scratch;
  int32_t correction = 0;
  for (int32_t n = 0; n < p->conv.out_height * p->conv.out_width; n++) {
    for (int32_t o = 0; o < p->conv.out_channels; o++) {
      if (starts_group(p, o))
        correction = w_q->zero_point * gather(p, x_q->zero_point, group_of(p, x, o), n, patch);
      const int32_t b = insitu_round_clamp((float)bias[o] * bias_unit, -(1 << 30), 1 << 30);
      const int32_t acc = dot_s16(row, patch, w + o * row) - correction + b;
      const int32_t v = insitu_round_clamp((float)acc * ratio, -512, 512);
      *y++ = (int8_t)insitu_clamp(v + y_q->zero_point, y_q->clamp_min, y_q->clamp_max);
    }
  }
}

void insitu_affine_logits_s8(const insitu_conv_groups_params_t *p, const insitu_qparams_t *x_q,
                             const insitu_qparams_t *w_q, const int8_t *x, const int8_t *w,
                             const int32_t *bias, void *scratch, float *y) {
  const int32_t row = group_row(p);
  const float unit = x_q->scale * w_q->scale;
  int16_t *patch = scratch;
  int32_t correction = 0;
  for (int32_t n = 0; n < p->conv.out_height * p->conv.out_width; n++) {
    for (int32_t o = 0; o < p->conv.out_channels; o++) {
      if (starts_group(p, o))
        correction = w_q->zero_point * gather(p, x_q->zero_point, group_of(p, x, o), n, patch);
      const int32_t acc = dot_s16(row, patch, w + o * row) - correction;
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

/* Adds the errors of one position, through one place of the window; dy and w start at the group. */
static void add_errors(const insitu_conv_groups_params_t *p, const int8_t *dy, const int8_t *w,
                       int32_t channels, insitu_error_sums_t *sums) {
  const int32_t row = group_row(p);
  for (int32_t o = 0; o < p->conv.out_channels / p->groups; o++) {
    const int32_t e = dy[o];
    if (e == 0)
      continue;
    sums->errors += e;
    for (int32_t i = 0; i < channels; i++)
      sums->sum[i] += e * w[o * row + i];
  }
}

/* All errors that reach so many channels of input element (iy, ix). */
static void sum_errors(const insitu_conv_groups_params_t *p, const int8_t *dy, const int8_t *w,
                       int32_t iy, int32_t ix, int32_t channels, insitu_error_sums_t *sums) {
  const insitu_conv_params_t *c = &p->conv;
  memset(sums, 0, sizeof *sums);
  for (int32_t ky = 0; ky < c->kernel_height; ky++) {
    const int32_t sy = iy + c->pad_top - ky * p->dilation_height, oy = sy / c->stride_height;
    if (sy < 0 || sy % c->stride_height != 0 || oy >= c->out_height)
      continue;
    for (int32_t kx = 0; kx < c->kernel_width; kx++) {
      const int32_t sx = ix + c->pad_left - kx * p->dilation_width, ox = sx / c->stride_width;
      if (sx < 0 || sx % c->stride_width != 0 || ox >= c->out_width)
        continue;
      const int32_t place = (ky * c->kernel_width + kx) * (c->in_channels / p->groups);
      add_errors(p, dy + (oy * c->out_width + ox) * c->out_channels, w + place, channels, sums);
    }
  }
}

void insitu_affine_grad_input_s8(const insitu_conv_groups_params_t *p, const insitu_qparams_t *dy_q,
                                 const insitu_qparams_t *w_q, const insitu_qparams_t *dx_q,
                                 const int8_t *dy, const int8_t *w, int8_t *dx, float *largest) {
  const insitu_conv_params_t *c = &p->conv;
  const float unit = dy_q->scale * w_q->scale;
  const float ratio = unit / dx_q->scale;
  const int32_t own = c->in_channels / p->groups, rows = c->out_channels / p->groups;
  insitu_error_sums_t sums;
  int32_t most = 0, channels;
  for (int32_t n = 0; n < c->in_height * c->in_width; n++) {
    for (int32_t first = 0; first < c->in_channels; first += channels) {
      const int32_t group = first / own, inside = first - group * own;
      channels = insitu_min(own - inside, CHANNELS);
      sum_errors(p, dy + group * rows, w + group * rows * group_row(p) + inside, n / c->in_width,
                 n % c->in_width, channels, &sums);
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

void insitu_affine_accumulate_s8(const insitu_conv_groups_params_t *p, const insitu_qparams_t *x_q,
                                 const int8_t *dy, const int8_t *x, void *scratch,
                                 int32_t *bias_buffer, int32_t *buffer) {
  const int32_t row = group_row(p);
  int16_t *restrict patch = scratch;
  int gathered = 0;
  for (int32_t n = 0; n < p->conv.out_height * p->conv.out_width; n++) {
    for (int32_t o = 0; o < p->conv.out_channels; o++) {
      const int32_t e = *dy++;
      if (starts_group(p, o))
        gathered = 0;
      if (e == 0)
        continue;
      if (!gathered)
        gather(p, x_q->zero_point, group_of(p, x, o), n, patch);
      gathered = 1;
      bias_buffer[o] = insitu_wrap_add(bias_buffer[o], e);
      int32_t *restrict to = buffer + o * row;
      for (int32_t k = 0; k < row; k++)
        to[k] = insitu_wrap_add(to[k], e * patch[k]);
    }
  }
}
