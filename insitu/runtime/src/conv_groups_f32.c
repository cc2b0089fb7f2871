/* Convolution with groups and dilation in float: forward, input gradient, weight gradient with its
 * update in place. Twin: insitu/ops/conv_f32.py. */
#include <string.h>

#include "insitu_fixed_point.h"
#include "insitu_kernels_groups.h"
#include "insitu_taps.h"

static inline float insitu_within(float v, float min, float max) {
  return v < min ? min : v > max ? max : v;
}

/* sum[r] += sum over ky, kx, i of w[r, ky, kx, i] x[.., i], in this order, for `rows` rows of one
 * group; x points to its channels. */
static void insitu_add_window(const insitu_conv_groups_params_t *p, const float *x, const float *w,
                              int32_t oy, int32_t ox, int32_t rows, float *sum) {
  const insitu_conv_params_t *c = &p->conv;
  const int32_t size = c->in_channels / p->groups, row = insitu_group_row(p);
  const int32_t start_y = oy * c->stride_height - c->pad_top;
  const int32_t start_x = ox * c->stride_width - c->pad_left;
  const insitu_taps_t lines =
      insitu_taps(start_y, c->kernel_height, p->dilation_height, c->in_height);
  const insitu_taps_t places =
      insitu_taps(start_x, c->kernel_width, p->dilation_width, c->in_width);
  for (int32_t ky = lines.first; ky < lines.end; ky++) {
    const int32_t line = (start_y + ky * p->dilation_height) * c->in_width + start_x;
    for (int32_t kx = places.first; kx < places.end; kx++) {
      const float *from = x + (line + kx * p->dilation_width) * c->in_channels;
      const float *by = w + (ky * c->kernel_width + kx) * size;
      for (int32_t r = 0; r < rows; r++) {
        float total = sum[r];
        for (int32_t i = 0; i < size; i++)
          total = total + by[r * row + i] * from[i];
        sum[r] = total;
      }
    }
  }
}

void insitu_conv_groups_f32(const insitu_conv_groups_f32_params_t *g, const float *x,
                            const float *w, const float *b, float *y) {
  const insitu_conv_groups_params_t *p = &g->shape;
  const insitu_conv_params_t *c = &p->conv;
  const int32_t size = c->in_channels / p->groups, row = insitu_group_row(p);
  const int32_t rows = c->out_channels / p->groups;
  for (int32_t oy = 0; oy < c->out_height; oy++) {
    for (int32_t ox = 0; ox < c->out_width; ox++, y += c->out_channels) {
      for (int32_t o = 0; o < c->out_channels; o++)
        y[o] = b[o];
      for (int32_t o = 0; o < c->out_channels; o += rows)
        insitu_add_window(p, x + o / rows * size, w + o * row, oy, ox, rows, y + o);
      for (int32_t o = 0; o < c->out_channels; o++)
        y[o] = insitu_within(y[o], g->min, g->max);
    }
  }
}

/* dx[i] += sum over o of w[o, ky, kx, i] dy[o], for one place of the window; w points to that
 * place of the first row. */
static void insitu_add_tap(const insitu_conv_groups_params_t *p, const float *dy, const float *w,
                           float *dx) {
  const int32_t size = p->conv.in_channels / p->groups, row = insitu_group_row(p);
  const int32_t rows = p->conv.out_channels / p->groups;
  for (int32_t group = 0, o = 0; group < p->groups; group++, dx += size) {
    for (int32_t end = o + rows; o < end; o++, w += row) {
      if (dy[o] == 0.0f)
        continue;
      for (int32_t i = 0; i < size; i++)
        dx[i] = dx[i] + dy[o] * w[i];
    }
  }
}

/* The window that starts `place` elements behind the first one; -1 where there is none. */
static inline int32_t insitu_window_over(int32_t place, int32_t stride, int32_t windows) {
  if (place < 0 || place % stride != 0 || place / stride >= windows)
    return -1;
  return place / stride;
}

void insitu_conv_groups_grad_input_f32(const insitu_conv_groups_params_t *p, const float *dy,
                                       const float *w, float *dx) {
  const insitu_conv_params_t *c = &p->conv;
  const int32_t size = c->in_channels / p->groups;
  memset(dx, 0, (size_t)(c->in_height * c->in_width * c->in_channels) * sizeof *dx);
  for (int32_t iy = 0; iy < c->in_height; iy++) {
    for (int32_t ix = 0; ix < c->in_width; ix++, dx += c->in_channels) {
      for (int32_t ky = c->kernel_height - 1; ky >= 0; ky--) {
        const int32_t oy = insitu_window_over(iy + c->pad_top - ky * p->dilation_height,
                                              c->stride_height, c->out_height);
        if (oy < 0)
          continue;
        for (int32_t kx = c->kernel_width - 1; kx >= 0; kx--) {
          const int32_t ox = insitu_window_over(ix + c->pad_left - kx * p->dilation_width,
                                                c->stride_width, c->out_width);
          if (ox >= 0)
            insitu_add_tap(p, dy + (oy * c->out_width + ox) * c->out_channels,
                           w + (ky * c->kernel_width + kx) * size, dx);
        }
      }
    }
  }
}

/* gradient[ky, kx, i] = sum over positions of dy x, *errors = the sum of dy, for one row; dy points
 * to its channel, x to its group's. Returns whether any error is not zero. */
static int32_t insitu_group_gradient(const insitu_conv_groups_params_t *p, const float *dy,
                                     const float *x, float *gradient, float *errors) {
  const insitu_conv_params_t *c = &p->conv;
  const int32_t size = c->in_channels / p->groups;
  int32_t alive = 0;
  *errors = 0.0f;
  memset(gradient, 0, (size_t)insitu_group_row(p) * sizeof *gradient);
  for (int32_t oy = 0; oy < c->out_height; oy++) {
    const int32_t start_y = oy * c->stride_height - c->pad_top;
    const insitu_taps_t lines =
        insitu_taps(start_y, c->kernel_height, p->dilation_height, c->in_height);
    for (int32_t ox = 0; ox < c->out_width; ox++, dy += c->out_channels) {
      if (*dy == 0.0f)
        continue;
      alive = 1;
      *errors = *errors + *dy;
      const int32_t start_x = ox * c->stride_width - c->pad_left;
      const insitu_taps_t places =
          insitu_taps(start_x, c->kernel_width, p->dilation_width, c->in_width);
      for (int32_t ky = lines.first; ky < lines.end; ky++) {
        const int32_t line = (start_y + ky * p->dilation_height) * c->in_width + start_x;
        for (int32_t kx = places.first; kx < places.end; kx++) {
          const float *from = x + (line + kx * p->dilation_width) * c->in_channels;
          float *to = gradient + (ky * c->kernel_width + kx) * size;
          for (int32_t i = 0; i < size; i++)
            to[i] = to[i] + *dy * from[i];
        }
      }
    }
  }
  return alive;
}

void insitu_conv_groups_update_f32(const insitu_conv_groups_update_f32_params_t *g, const float *dy,
                                   const float *x, const float *rate, void *scratch, float *b,
                                   float *w) {
  const insitu_conv_groups_params_t *p = &g->shape;
  const int32_t size = p->conv.in_channels / p->groups, row = insitu_group_row(p);
  const int32_t rows = p->conv.out_channels / p->groups;
  float *gradient = scratch, errors;
  for (int32_t o = 0; o < p->conv.out_channels; o++, w += row) {
    if (g->weight_decay > 0.0f) {
      const float keep = 1.0f - rate[0] * g->weight_decay;
      for (int32_t k = 0; k < row; k++)
        w[k] = w[k] * keep;
    }
    if (!insitu_group_gradient(p, dy + o, x + o / rows * size, gradient, &errors))
      continue;
    for (int32_t k = 0; k < row; k++)
      w[k] = w[k] - rate[0] * gradient[k];
    b[o] = b[o] - rate[0] * errors;
  }
}

void insitu_conv_groups_accumulate_f32(const insitu_conv_groups_accumulate_f32_params_t *g,
                                       const float *dy, const float *x, void *scratch,
                                       float *bias_buffer, float *buffer) {
  const insitu_conv_groups_params_t *p = &g->shape;
  const int32_t size = p->conv.in_channels / p->groups, row = insitu_group_row(p);
  const int32_t rows = p->conv.out_channels / p->groups;
  float *gradient = scratch, errors;
  for (int32_t o = 0; o < p->conv.out_channels; o++, buffer += row) {
    if (!insitu_group_gradient(p, dy + o, x + o / rows * size, gradient, &errors))
      continue;
    for (int32_t k = 0; k < row; k++)
      buffer[k] = buffer[k] + g->share * gradient[k];
    bias_buffer[o] = bias_buffer[o] + g->share * errors;
  }
}
