/* Convolution with groups and dilation: forward and input gradient.
 * Twin: insitu/ops/layers/conv.py. This portable version is the definition. */
#include <string.h>

#include "insitu_fixed_point.h"
#include "insitu_kernels_groups.h"
#include "insitu_depthwise_lanes.h"
#include "insitu_depthwise_compact.h"
#include "insitu_depthwise.h"
#include "insitu_conv_taps.h"

typedef struct {
  int32_t lowest, highest;
} insitu_seen_t;

/* What every output of a layer goes through. */
typedef struct {
  insitu_qparams_t y_q;
  const int32_t *bias, *multiplier;
  int32_t shift;
} insitu_requantize_t;

static inline int8_t requantized(const insitu_requantize_t *r, int32_t sum, int32_t o,
                                 insitu_seen_t *seen) {
  const int32_t v = insitu_rescale(sum, r->multiplier[o], r->shift);
  seen->lowest = insitu_min(seen->lowest, v);
  seen->highest = insitu_max(seen->highest, v);
  return (int8_t)insitu_clamp(v + r->y_q.zero_point, r->y_q.clamp_min, r->y_q.clamp_max);
}

/* columns[ky, kx, place of the lane] = w[lane, ky, kx], `lanes` rows of weights. */
static void interleave(int32_t row, int32_t lanes, const int8_t *w, int16_t *columns) {
  for (int32_t lane = 0; lane < lanes; lane++)
    for (int32_t k = 0; k < row; k++)
      columns[k * INSITU_LANES + lane_place(lane)] = *w++;
}

/* sum[lane] += sum over the window of w (x - zero); x points to the first lane. */
static inline void add_window(const insitu_conv_groups_params_t *p, int32_t zero, const int8_t *x,
                              const int16_t *columns, int32_t start_y, insitu_taps_t lines,
                              int32_t start_x, int32_t lanes, int32_t *sum) {
  const insitu_conv_params_t *c = &p->conv;
  const insitu_taps_t places =
      taps_on_map(start_x, c->kernel_width, p->dilation_width, c->in_width);
  const insitu_steps_t steps = {
      .lines = lines.end - lines.first,
      .count = places.end - places.first,
      .first = p->dilation_width * c->in_channels,
      .second = INSITU_LANES,
      .first_line = p->dilation_height * c->in_width * c->in_channels,
      .second_line = c->kernel_width * INSITU_LANES,
  };
  const int32_t iy = start_y + lines.first * p->dilation_height;
  const int32_t ix = start_x + places.first * p->dilation_width;
  const int8_t *from = x + (iy * c->in_width + ix) * c->in_channels;
  const int16_t *by = columns + (lines.first * c->kernel_width + places.first) * INSITU_LANES;
  if (lanes == INSITU_LANES)
    dw_add_products(&steps, zero, from, by, sum);
  else
    dw_add_products_of(lanes, &steps, zero, from, by, sum);
}

/* y[oy, ox, o] of `lanes` channels from o on. */
static inline insitu_seen_t depthwise_lanes(const insitu_conv_groups_params_t *p, int32_t zero,
                                            insitu_requantize_t r, const int8_t *x,
                                            const int16_t *columns, int32_t o, int32_t lanes,
                                            int8_t *y) {
  const insitu_conv_params_t *c = &p->conv;
  insitu_seen_t seen = {0, 0}; /* local, as r is: y could be any of what lies in memory */
  y += o;
  for (int32_t oy = 0; oy < c->out_height; oy++) {
    const int32_t start_y = oy * c->stride_height - c->pad_top;
    const insitu_taps_t lines =
        taps_on_map(start_y, c->kernel_height, p->dilation_height, c->in_height);
    for (int32_t ox = 0; ox < c->out_width; ox++, y += c->out_channels) {
      const int32_t start_x = ox * c->stride_width - c->pad_left;
      int32_t sum[INSITU_LANES];
      for (int32_t lane = 0; lane < lanes; lane++)
        sum[lane] = r.bias[o + lane];
      add_window(p, zero, x + o, columns, start_y, lines, start_x, lanes, sum);
      for (int32_t lane = 0; lane < lanes; lane++)
        y[lane] = requantized(&r, sum[lane], o + lane, &seen);
    }
  }
  return seen;
}

static insitu_seen_t depthwise(const insitu_conv_groups_params_t *p, int32_t zero,
                               const insitu_requantize_t *r, const int8_t *x, const int8_t *w,
                               int16_t *columns, int8_t *y) {
  const int32_t row = group_row(p), channels = p->conv.in_channels;
  insitu_seen_t seen = {0, 0};
  for (int32_t o = 0; o < channels; o += INSITU_LANES) {
    const int32_t lanes = insitu_min(channels - o, INSITU_LANES);
    interleave(row, lanes, w + o * row, columns);
    const insitu_seen_t block = lanes == INSITU_LANES
                                    ? depthwise_lanes(p, zero, *r, x, columns, o, INSITU_LANES, y)
                                    : depthwise_lanes(p, zero, *r, x, columns, o, lanes, y);
    seen.lowest = insitu_min(seen.lowest, block.lowest);
    seen.highest = insitu_max(seen.highest, block.highest);
  }
  return seen;
}

/* patch[ky, kx, i] = x[iy, ix, i] - zero over the channels of a group, to which x points; 0
 * outside the map. */
static void gather_group(const insitu_conv_groups_params_t *p, int32_t zero, const int8_t *x,
                         int32_t oy, int32_t ox, int16_t *patch) {
  const insitu_conv_params_t *c = &p->conv;
  const int32_t size = c->in_channels / p->groups;
  for (int32_t ky = 0; ky < c->kernel_height; ky++) {
    const int32_t iy = oy * c->stride_height - c->pad_top + ky * p->dilation_height;
    for (int32_t kx = 0; kx < c->kernel_width; kx++, patch += size) {
      const int32_t ix = ox * c->stride_width - c->pad_left + kx * p->dilation_width;
      if (iy < 0 || iy >= c->in_height || ix < 0 || ix >= c->in_width) {
        memset(patch, 0, (size_t)size * sizeof *patch);
        continue;
      }
      const int8_t *from = x + (iy * c->in_width + ix) * c->in_channels;
      for (int32_t i = 0; i < size; i++)
        patch[i] = (int16_t)(from[i] - zero);
    }
  }
}

static insitu_seen_t grouped(const insitu_conv_groups_params_t *p, int32_t zero,
                             const insitu_requantize_t *r, const int8_t *x, const int8_t *w,
                             int16_t *patch, int8_t *y) {
  const insitu_conv_params_t *c = &p->conv;
  const int32_t row = group_row(p), size = c->in_channels / p->groups;
  const int32_t rows = c->out_channels / p->groups;
  insitu_seen_t seen = {0, 0};
  for (int32_t oy = 0; oy < c->out_height; oy++) {
    for (int32_t ox = 0; ox < c->out_width; ox++) {
      for (int32_t o = 0; o < c->out_channels; o++) {
        if (o % rows == 0)
          gather_group(p, zero, x + o / rows * size, oy, ox, patch);
        const int32_t sum = r->bias[o] + dot_s16(row, patch, w + o * row);
        *y++ = requantized(r, sum, o, &seen);
      }
    }
  }
  return seen;
}

void insitu_conv_groups_s8(const insitu_conv_groups_params_t *p, const insitu_qparams_t *x_q,
                           const insitu_qparams_t *y_q, const int8_t *x, const int8_t *w,
                           const int32_t *bias, const int32_t *multiplier, const int32_t *shift,
                           void *scratch, int8_t *y, int32_t *observed) {
  if (INSITU_PLANES && p->band > 0 && shift[0] == 0) {
    int32_t seen[2];
    insitu_depthwise_forward(p, x_q, y_q, x, w, bias, multiplier, scratch, y, seen);
    if (is_exact(seen)) {
      if (observed)
        memcpy(observed, seen, sizeof seen);
      return;
    }
  }
  const insitu_requantize_t requantize = {*y_q, bias, multiplier, shift[0]};
  const insitu_seen_t seen = is_depthwise(p)
                                 ? depthwise(p, x_q->zero_point, &requantize, x, w, scratch, y)
                                 : grouped(p, x_q->zero_point, &requantize, x, w, scratch, y);
  if (observed) {
    observed[0] = seen.lowest;
    observed[1] = seen.highest;
  }
}

static inline int8_t error(const insitu_conv_groups_grad_input_params_t *g, int32_t sum) {
  return (int8_t)insitu_clamp(insitu_rescale(sum, g->multiplier, g->shift), -127, 127);
}

/* dx[iy, ix, i] of `lanes` channels from i on. */
static inline void depthwise_errors(const insitu_conv_groups_grad_input_params_t *g,
                                    const int8_t *dy, const int16_t *columns, const uint16_t *rel,
                                    int32_t i, int32_t lanes, int8_t *dx) {
  const insitu_conv_groups_params_t *p = &g->shape;
  const insitu_conv_params_t *c = &p->conv;
  const int32_t channels = c->in_channels;
  dx += i;
  for (int32_t iy = 0; iy < c->in_height; iy++) {
    const insitu_over_t lines = over_line(p, iy);
    for (int32_t ix = 0; ix < c->in_width; ix++, dx += channels) {
      const insitu_over_t places = over_column(p, ix);
      const insitu_steps_t steps = {
          .lines = count_windows(&lines),
          .count = count_windows(&places),
          .first = -places.back * channels,
          .second = places.apart * INSITU_LANES,
          .first_line = -lines.back * c->out_width * channels,
          .second_line = lines.apart * c->kernel_width * INSITU_LANES,
      };
      const int8_t *e = dy + (lines.window * c->out_width + places.window) * channels + i;
      const int16_t *by = columns + (lines.first * c->kernel_width + places.first) * INSITU_LANES;
      int32_t sum[INSITU_LANES] = {0};
      dw_add_expanded(lanes, &steps, g->drop, rel + i, e, by, sum);
      for (int32_t lane = 0; lane < lanes; lane++)
        dx[lane] = error(g, sum[lane]);
    }
  }
}

static void depthwise_grad_input(const insitu_conv_groups_grad_input_params_t *g, const int8_t *dy,
                                 const int8_t *w, const uint16_t *rel, int16_t *columns,
                                 int8_t *dx) {
  const int32_t row = group_row(&g->shape), channels = g->shape.conv.in_channels;
  for (int32_t i = 0; i < channels; i += INSITU_LANES) {
    const int32_t lanes = insitu_min(channels - i, INSITU_LANES);
    interleave(row, lanes, w + i * row, columns);
    if (lanes == INSITU_LANES)
      depthwise_errors(g, dy, columns, rel, i, INSITU_LANES, dx);
    else
      depthwise_errors(g, dy, columns, rel, i, lanes, dx);
  }
}

/* sum[i] += sum over o of w[o, ky, kx, i] e'[oy, ox, o], for one place of the window; w points
 * to that place of the first row. */
static void add_tap(const insitu_conv_groups_grad_input_params_t *g, const int8_t *dy,
                    const int8_t *w, const uint16_t *rel, int32_t *sum) {
  const insitu_conv_groups_params_t *p = &g->shape;
  const int32_t row = group_row(p), size = p->conv.in_channels / p->groups;
  const int32_t rows = p->conv.out_channels / p->groups;
  for (int32_t group = 0, o = 0; group < p->groups; group++, sum += size) {
    for (int32_t end = o + rows; o < end; o++, w += row) {
      if (dy[o] == 0)
        continue;
      const int32_t e = insitu_expand_error(dy[o], rel[o], g->drop);
      for (int32_t i = 0; i < size; i++)
        sum[i] += e * w[i];
    }
  }
}

static void grouped_grad_input(const insitu_conv_groups_grad_input_params_t *g, const int8_t *dy,
                               const int8_t *w, const uint16_t *rel, int32_t *sum, int8_t *dx) {
  const insitu_conv_groups_params_t *p = &g->shape;
  const insitu_conv_params_t *c = &p->conv;
  const int32_t size = c->in_channels / p->groups;
  for (int32_t iy = 0; iy < c->in_height; iy++) {
    const insitu_over_t lines = over_line(p, iy);
    for (int32_t ix = 0; ix < c->in_width; ix++) {
      const insitu_over_t places = over_column(p, ix);
      memset(sum, 0, (size_t)c->in_channels * sizeof *sum);
      for (int32_t ky = lines.first, oy = lines.window; ky < lines.end;
           ky += lines.apart, oy -= lines.back)
        for (int32_t kx = places.first, ox = places.window; kx < places.end;
             kx += places.apart, ox -= places.back)
          add_tap(g, dy + (oy * c->out_width + ox) * c->out_channels,
                  w + (ky * c->kernel_width + kx) * size, rel, sum);
      for (int32_t i = 0; i < c->in_channels; i++)
        *dx++ = error(g, sum[i]);
    }
  }
}

void insitu_conv_groups_grad_input_s8(const insitu_conv_groups_grad_input_params_t *g,
                                      const int8_t *dy, const int8_t *w, const uint16_t *rel,
                                      void *scratch, int8_t *dx) {
  if (INSITU_PLANES && g->shape.band > 0 && g->shift == 0 && g->drop == 0) {
    insitu_nonzero_channels_t compact = insitu_nonzero_channels(&g->shape, dy, scratch);
    void *const planes = (int8_t *)scratch + g->shape.compact_bytes;
    if (compact.few)
      insitu_depthwise_grad_input_compact(g, &compact, dy, w, rel, planes, dx);
    else
      insitu_depthwise_grad_input(g, dy, w, rel, planes, dx);
  } else if (is_depthwise(&g->shape))
    depthwise_grad_input(g, dy, w, rel, scratch, dx);
  else
    grouped_grad_input(g, dy, w, rel, scratch, dx);
}
