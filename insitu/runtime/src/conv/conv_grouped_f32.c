/* Convolution with groups and dilation in float: forward, input gradient, weight gradient with its
 * update in place. Twin: insitu/ops/layers/conv_f32.py. */
#include <string.h>

#include "insitu_fixed_point.h"
#include "insitu_kernels_f32.h"
#include "insitu_kernels_groups.h"
#include "insitu_depthwise_lanes_f32.h"
#include "insitu_conv_taps.h"

static inline float within(float v, float min, float max) {
  return v < min ? min : v > max ? max : v;
}

/* Two where two windows beside each other have all their columns on the map, else one. */
static int32_t outputs_at_once(const insitu_conv_groups_params_t *p, int32_t ox) {
  const insitu_conv_params_t *c = &p->conv;
  const int32_t start = ox * c->stride_width - c->pad_left;
  const int32_t end = start + c->stride_width + (c->kernel_width - 1) * p->dilation_width + 1;
  return ox + 1 < c->out_width && start >= 0 && end <= c->in_width ? 2 : 1;
}

/* y[place][c] += sum over the window, as far as it lies on the map, of w[c, ky, kx] x[.., c]. */
static void add_depthwise(const insitu_conv_groups_params_t *p, const float *x, const float *w,
                          int32_t oy, int32_t ox, int32_t outputs, float *y) {
  const insitu_conv_params_t *c = &p->conv;
  const int32_t start_y = oy * c->stride_height - c->pad_top;
  const int32_t start_x = ox * c->stride_width - c->pad_left;
  const insitu_taps_t lines =
      taps_on_map(start_y, c->kernel_height, p->dilation_height, c->in_height);
  const insitu_taps_t places =
      taps_on_map(start_x, c->kernel_width, p->dilation_width, c->in_width);
  const int32_t count = places.end - places.first, channels = c->in_channels;
  const int32_t apart = p->dilation_width * channels;
  const insitu_terms_t terms = {
      .lines = lines.end - lines.first,
      .count = count,
      .first = apart,
      .second = 1,
      .first_skip = p->dilation_height * c->in_width * channels - count * apart,
      .second_skip = c->kernel_width - count,
      .places = outputs,
      .beside = c->stride_width * channels,
  };
  const int32_t line = start_y + lines.first * p->dilation_height;
  const int32_t place = start_x + places.first * p->dilation_width;
  dw_add_channels_f32(&terms, channels, x + (line * c->in_width + place) * channels,
                      w + lines.first * c->kernel_width + places.first, group_row(p), y);
}

/* dx[place][c] += sum over the windows over a place, in their order, of w[c, ky, kx] dy[.., c]. */
static void add_depthwise_errors(const insitu_conv_groups_params_t *p, const insitu_over_t *down,
                                 const insitu_over_t *across, const float *dy, const float *w,
                                 int32_t inputs, float *dx) {
  const insitu_conv_params_t *c = &p->conv;
  const int32_t lines = count_windows(down), count = count_windows(across);
  const int32_t channels = c->out_channels, apart = across->back * channels;
  const insitu_terms_t terms = {
      .lines = lines,
      .count = count,
      .first = apart,
      .second = -across->apart,
      .first_skip = down->back * c->out_width * channels - count * apart,
      .second_skip = count * across->apart - down->apart * c->kernel_width,
      .places = inputs,
      .beside = channels,
  };
  const int32_t oy = down->window - (lines - 1) * down->back;
  const int32_t ox = across->window - (count - 1) * across->back;
  const int32_t ky = down->first + (lines - 1) * down->apart;
  const int32_t kx = across->first + (count - 1) * across->apart;
  dw_add_channels_f32(&terms, channels, dy + (oy * c->out_width + ox) * channels,
                      w + ky * c->kernel_width + kx, group_row(p), dx);
}

/* sum[r] += sum over ky, kx, i of w[r, ky, kx, i] x[.., i], in this order, for `rows` rows of one
 * group; x points to its channels. */
static void add_window(const insitu_conv_groups_params_t *p, const float *x, const float *w,
                       int32_t oy, int32_t ox, int32_t rows, float *sum) {
  const insitu_conv_params_t *c = &p->conv;
  const int32_t size = c->in_channels / p->groups, row = group_row(p);
  const int32_t start_y = oy * c->stride_height - c->pad_top;
  const int32_t start_x = ox * c->stride_width - c->pad_left;
  const insitu_taps_t lines =
      taps_on_map(start_y, c->kernel_height, p->dilation_height, c->in_height);
  const insitu_taps_t places =
      taps_on_map(start_x, c->kernel_width, p->dilation_width, c->in_width);
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
  const int32_t size = c->in_channels / p->groups, row = group_row(p);
  const int32_t rows = c->out_channels / p->groups;
  const int32_t depthwise = is_depthwise(p), outputs = c->out_channels;
  for (int32_t oy = 0; oy < c->out_height; oy++) {
    for (int32_t ox = 0, count; ox < c->out_width; ox += count, y += count * outputs) {
      count = depthwise ? outputs_at_once(p, ox) : 1;
      for (int32_t k = 0; k < count; k++)
        memcpy(y + k * outputs, b, (size_t)outputs * sizeof *y);
      if (depthwise) {
        add_depthwise(p, x, w, oy, ox, count, y);
      } else {
        for (int32_t o = 0; o < outputs; o += rows)
          add_window(p, x + o / rows * size, w + o * row, oy, ox, rows, y + o);
      }
      for (int32_t o = 0; o < count * outputs; o++)
        y[o] = within(y[o], g->min, g->max);
    }
  }
}

/* dx[i] += sum over o of w[o, ky, kx, i] dy[o], for one place of the window; w points to that
 * place of the first row. */
static void add_tap(const insitu_conv_groups_params_t *p, const float *dy, const float *w,
                    float *dx) {
  const int32_t size = p->conv.in_channels / p->groups, row = group_row(p);
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

/* dx[i] += the sum over the windows over a place, in their order. */
static void add_over(const insitu_conv_groups_params_t *p, const insitu_over_t *down,
                     const insitu_over_t *across, const float *dy, const float *w, float *dx) {
  const insitu_conv_params_t *c = &p->conv;
  const int32_t size = c->in_channels / p->groups;
  for (int32_t line = count_windows(down) - 1; line >= 0; line--) {
    const int32_t oy = down->window - line * down->back, ky = down->first + line * down->apart;
    for (int32_t k = count_windows(across) - 1; k >= 0; k--) {
      const int32_t ox = across->window - k * across->back, kx = across->first + k * across->apart;
      add_tap(p, dy + (oy * c->out_width + ox) * c->out_channels,
              w + (ky * c->kernel_width + kx) * size, dx);
    }
  }
}

void insitu_conv_groups_grad_input_f32(const insitu_conv_groups_params_t *p, const float *dy,
                                       const float *w, float *dx) {
  const insitu_conv_params_t *c = &p->conv;
  memset(dx, 0, (size_t)(c->in_height * c->in_width * c->in_channels) * sizeof *dx);
  for (int32_t iy = 0; iy < c->in_height; iy++) {
    const insitu_over_t down = windows_over(iy + c->pad_top, c->kernel_height, p->dilation_height,
                                            c->stride_height, c->out_height);
    for (int32_t ix = 0, count; ix < c->in_width; ix += count, dx += count * c->in_channels) {
      const insitu_over_t across = over_column(p, ix);
      count = 1;
      if (is_depthwise(p)) {
        const insitu_over_t next = over_column(p, ix + 1);
        if (ix + 1 < c->in_width && across.first == next.first && across.end == next.end &&
            across.window + 1 == next.window)
          count = 2;
        add_depthwise_errors(p, &down, &across, dy, w, count, dx);
      } else {
        add_over(p, &down, &across, dy, w, dx);
      }
    }
  }
}

/* gradient[ky, kx, i] = sum over positions of dy x, *errors = the sum of dy, for one row; dy points
 * to its channel, x to its group's. Returns whether any error is not zero. */
static int32_t group_gradient(const insitu_conv_groups_params_t *p, const float *dy, const float *x,
                              float *gradient, float *errors) {
  const insitu_conv_params_t *c = &p->conv;
  const int32_t size = c->in_channels / p->groups;
  int32_t nonzero = 0;
  *errors = 0.0f;
  memset(gradient, 0, (size_t)group_row(p) * sizeof *gradient);
  for (int32_t oy = 0; oy < c->out_height; oy++) {
    const int32_t start_y = oy * c->stride_height - c->pad_top;
    const insitu_taps_t lines =
        taps_on_map(start_y, c->kernel_height, p->dilation_height, c->in_height);
    for (int32_t ox = 0; ox < c->out_width; ox++, dy += c->out_channels) {
      if (*dy == 0.0f)
        continue;
      nonzero = 1;
      *errors = *errors + *dy;
      const int32_t start_x = ox * c->stride_width - c->pad_left;
      const insitu_taps_t places =
          taps_on_map(start_x, c->kernel_width, p->dilation_width, c->in_width);
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
  return nonzero;
}

/* The windows of which place `k` of the kernel lies on the map, in one direction. */
static inline insitu_taps_t windows_of(int32_t k, int32_t dilation, int32_t pad, int32_t stride,
                                       int32_t windows, int32_t size) {
  return taps_on_map(k * dilation - pad, windows, stride, size);
}

/* w[r] -= rate (sum over positions of dy[.., r] x[.., r]) of INSITU_LANES_F32 rows or of one, one
 * place of the kernel after the other. */
static void step_depthwise(const insitu_conv_groups_params_t *p, int32_t rows, float rate,
                           const float *dy, const float *x, float *w) {
  const insitu_conv_params_t *c = &p->conv;
  const int32_t channels = c->in_channels, row = c->kernel_height * c->kernel_width;
  for (int32_t tap = 0; tap < row; tap++) {
    const int32_t ky = tap / c->kernel_width, kx = tap % c->kernel_width;
    const insitu_taps_t down = windows_of(ky, p->dilation_height, c->pad_top, c->stride_height,
                                          c->out_height, c->in_height);
    const insitu_taps_t across =
        windows_of(kx, p->dilation_width, c->pad_left, c->stride_width, c->out_width, c->in_width);
    const int32_t iy = down.first * c->stride_height + ky * p->dilation_height - c->pad_top;
    const int32_t ix = across.first * c->stride_width + kx * p->dilation_width - c->pad_left;
    const int32_t count = across.end - across.first;
    const insitu_terms_t terms = {
        .lines = down.end - down.first,
        .count = count,
        .first = channels,
        .second = c->stride_width * channels,
        .first_skip = (c->out_width - count) * channels,
        .second_skip = (c->stride_height * c->in_width - count * c->stride_width) * channels,
    };
    float sum[INSITU_LANES_F32] = {0.0f};
    if (terms.lines <= 0 || count <= 0)
      continue;
    dw_add_pairs_f32(&terms, rows, dy + (down.first * c->out_width + across.first) * channels,
                     x + (iy * c->in_width + ix) * channels, sum);
    for (int32_t r = 0; r < rows; r++)
      w[r * row + tap] = w[r * row + tap] - rate * sum[r];
  }
}

/* b[r] -= rate (sum of dy[.., r]). */
static void step_biases(const insitu_conv_params_t *c, float rate, const float *dy, float *b) {
  for (int32_t o = 0; o < c->out_channels; o++) {
    float errors = 0.0f;
    for (int32_t k = 0; k < c->out_height * c->out_width; k++)
      errors = errors + dy[k * c->out_channels + o];
    b[o] = b[o] - rate * errors;
  }
}

static void update_depthwise(const insitu_conv_groups_params_t *p, float rate, const float *dy,
                             const float *x, float *b, float *w) {
  const int32_t channels = p->conv.in_channels, row = group_row(p);
  for (int32_t c = 0, rows; c < channels; c += rows) {
    rows = c + INSITU_LANES_F32 <= channels ? INSITU_LANES_F32 : 1;
    step_depthwise(p, rows, rate, dy + c, x + c, w + c * row);
  }
  step_biases(&p->conv, rate, dy, b);
}

static int32_t is_small(const insitu_conv_params_t *c, float factor, const float *dy,
                        const float *x) {
  return insitu_step_is_small_f32(factor, c->out_height * c->out_width, c->out_channels, dy,
                                  c->in_height * c->in_width * c->in_channels, x);
}

int32_t insitu_conv_groups_update_f32(const insitu_conv_groups_update_f32_params_t *g,
                                      const float *dy, const float *x, const float *rate,
                                      void *scratch, float *b, float *w) {
  const insitu_conv_groups_params_t *p = &g->shape;
  const int32_t size = p->conv.in_channels / p->groups, row = group_row(p);
  const int32_t rows = p->conv.out_channels / p->groups;
  float *gradient = scratch, errors;
  if (!is_small(&p->conv, rate[0], dy, x))
    return p->conv.out_channels;
  if (g->weight_decay > 0.0f) {
    const float keep = 1.0f - rate[0] * g->weight_decay;
    for (int32_t k = 0; k < p->conv.out_channels * row; k++)
      w[k] = w[k] * keep;
  }
  if (is_depthwise(p)) {
    update_depthwise(p, rate[0], dy, x, b, w);
    return 0;
  }
  for (int32_t o = 0; o < p->conv.out_channels; o++, w += row) {
    if (!group_gradient(p, dy + o, x + o / rows * size, gradient, &errors))
      continue;
    for (int32_t k = 0; k < row; k++)
      w[k] = w[k] - rate[0] * gradient[k];
    b[o] = b[o] - rate[0] * errors;
  }
  return 0;
}

int32_t insitu_conv_groups_accumulate_f32(const insitu_conv_groups_accumulate_f32_params_t *g,
                                          const float *dy, const float *x, void *scratch,
                                          float *bias_buffer, float *buffer) {
  const insitu_conv_groups_params_t *p = &g->shape;
  const int32_t size = p->conv.in_channels / p->groups, row = group_row(p);
  const int32_t rows = p->conv.out_channels / p->groups;
  float *gradient = scratch, errors;
  if (!is_small(&p->conv, g->share, dy, x))
    return p->conv.out_channels;
  for (int32_t o = 0; o < p->conv.out_channels; o++, buffer += row) {
    if (!group_gradient(p, dy + o, x + o / rows * size, gradient, &errors))
      continue;
    for (int32_t k = 0; k < row; k++)
      buffer[k] = buffer[k] + g->share * gradient[k];
    bias_buffer[o] = bias_buffer[o] + g->share * errors;
  }
  return 0;
}
