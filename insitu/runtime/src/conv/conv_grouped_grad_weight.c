/* Convolution with groups and dilation: weight gradient, with its update in place.
 * Twin: insitu/ops/layers/conv.py. This portable version is the definition. */
#include <string.h>

#include "insitu_error_words.h"
#include "insitu_kernels_groups.h"
#include "insitu_depthwise_lanes.h"
#include "insitu_depthwise_compact.h"
#include "insitu_depthwise.h"
#include "insitu_conv_taps.h"

/* gradient[ky, kx, lane] = sum over positions of dy[.., lane] (x[.., lane] - zero). */
static inline void depthwise_gradients(const insitu_conv_groups_params_t *p, int32_t zero,
                                       const int8_t *dy, const int8_t *x, int32_t lanes,
                                       int32_t *gradient) {
  const insitu_conv_params_t *c = &p->conv;
  const int32_t channels = c->in_channels;
  memset(gradient, 0, (size_t)(group_row(p) * INSITU_LANES) * sizeof *gradient);
  for (int32_t ky = 0; ky < c->kernel_height; ky++) {
    const int32_t down = ky * p->dilation_height - c->pad_top;
    const insitu_taps_t lines = taps_on_map(down, c->out_height, c->stride_height, c->in_height);
    for (int32_t kx = 0; kx < c->kernel_width; kx++, gradient += INSITU_LANES) {
      const int32_t right = kx * p->dilation_width - c->pad_left;
      const insitu_taps_t places = taps_on_map(right, c->out_width, c->stride_width, c->in_width);
      const insitu_steps_t steps = {
          .lines = lines.end - lines.first,
          .count = places.end - places.first,
          .first = c->stride_width * channels,
          .second = channels,
          .first_line = c->stride_height * c->in_width * channels,
          .second_line = c->out_width * channels,
      };
      const int32_t iy = lines.first * c->stride_height + down;
      const int32_t ix = places.first * c->stride_width + right;
      const int8_t *from = x + (iy * c->in_width + ix) * channels;
      const int8_t *by = dy + (lines.first * c->out_width + places.first) * channels;
      if (lanes == INSITU_LANES)
        dw_add_errors(&steps, zero, from, by, gradient);
      else
        dw_add_errors_of(lanes, &steps, zero, from, by, gradient);
    }
  }
}

/* errors[lane] = sum of dy[.., lane]; returns in bit lane whether any of them is not zero. */
static uint32_t sum_errors(int32_t positions, int32_t channels, int32_t lanes, const int8_t *dy,
                           int32_t *errors) {
  uint32_t nonzero = 0;
  for (int32_t lane = 0; lane < lanes; lane++, dy++) {
    int32_t sum = 0, seen = 0;
    for (int32_t k = 0; k < positions; k++) {
      sum += dy[k * channels];
      seen |= dy[k * channels];
    }
    errors[lane] = sum;
    nonzero |= (uint32_t)(seen != 0) << lane;
  }
  return nonzero;
}

/* gradient[ky, kx, i] += e (x[iy, ix, i] - zero) over the part of the window on the map; x points
 * to the group's channels. */
static void add_group(const insitu_conv_groups_params_t *p, int32_t zero, const int8_t *x,
                      int32_t oy, int32_t ox, int32_t e, int32_t *gradient) {
  const insitu_conv_params_t *c = &p->conv;
  const int32_t size = c->in_channels / p->groups;
  const int32_t start_y = oy * c->stride_height - c->pad_top;
  const int32_t start_x = ox * c->stride_width - c->pad_left;
  const insitu_taps_t lines =
      taps_on_map(start_y, c->kernel_height, p->dilation_height, c->in_height);
  const insitu_taps_t places =
      taps_on_map(start_x, c->kernel_width, p->dilation_width, c->in_width);
  for (int32_t ky = lines.first; ky < lines.end; ky++) {
    const int32_t line = (start_y + ky * p->dilation_height) * c->in_width + start_x;
    for (int32_t kx = places.first; kx < places.end; kx++) {
      const int8_t *from = x + (line + kx * p->dilation_width) * c->in_channels;
      int32_t *to = gradient + (ky * c->kernel_width + kx) * size;
      for (int32_t i = 0; i < size; i++)
        to[i] += e * (from[i] - zero);
    }
  }
}

static uint32_t grouped_gradient(const insitu_conv_groups_params_t *p, int32_t zero,
                                 const int8_t *dy, const int8_t *x, int32_t *gradient,
                                 int32_t *errors) {
  uint32_t nonzero = 0;
  *errors = 0;
  for (int32_t oy = 0; oy < p->conv.out_height; oy++) {
    for (int32_t ox = 0; ox < p->conv.out_width; ox++, dy += p->conv.out_channels) {
      if (*dy == 0)
        continue;
      if (!nonzero)
        memset(gradient, 0, (size_t)group_row(p) * sizeof *gradient);
      nonzero = 1;
      *errors += *dy;
      add_group(p, zero, x, oy, ox, *dy, gradient);
    }
  }
  return nonzero;
}

uint32_t insitu_conv_groups_gradient(const insitu_conv_groups_params_t *p, int32_t zero,
                                     const int8_t *dy, const int8_t *x, int32_t o, void *planes,
                                     int32_t *gradient, int32_t *errors) {
  if (INSITU_PLANES && p->band > 0)
    return insitu_depthwise_grad_weight(p, zero, dy, x, o, planes, gradient, errors);
  const int32_t size = p->conv.in_channels / p->groups;
  const int32_t rows = p->conv.out_channels / p->groups;
  dy += o;
  x += o / rows * size;
  if (!is_depthwise(p))
    return grouped_gradient(p, zero, dy, x, gradient, errors);
  const int32_t channels = p->conv.out_channels;
  const int32_t lanes = insitu_min(channels - o, INSITU_LANES);
  const int32_t positions = p->conv.out_height * p->conv.out_width;
  const uint32_t nonzero = sum_errors(positions, channels, lanes, dy, errors);
  if (nonzero)
    depthwise_gradients(p, zero, dy, x, lanes, gradient);
  return nonzero;
}

int32_t insitu_rows_at_once(const insitu_conv_groups_params_t *p) {
  return is_depthwise(p) ? INSITU_LANES : 1;
}

static inline int8_t stepped(int8_t w, int32_t gradient, int32_t multiplier, uint32_t bits) {
  const int64_t noise = (int64_t)((bits & 0xFF000000u) | 1u << 23);
  const int32_t step = (int32_t)(((int64_t)gradient * multiplier + noise) >> 32);
  return (int8_t)insitu_clamp(w - step, -127, 127);
}

/* w[k] -= (gradient[k] M + noise) >> 32, gradients `apart` elements apart. */
static uint32_t step_row(int32_t row, int32_t multiplier, const int32_t *gradient, int32_t apart,
                         uint32_t state, int8_t *w) {
  for (; row > 3; row -= 4, w += 4) {
    state = insitu_draw(state);
    for (int32_t k = 0; k < 4; k++, gradient += apart)
      w[k] = stepped(w[k], *gradient, multiplier, state << (8 * k));
  }
  if (row > 0)
    state = insitu_draw(state);
  for (int32_t k = 0; k < row; k++, gradient += apart)
    w[k] = stepped(w[k], *gradient, multiplier, state << (8 * k));
  return state;
}

/* insitu_conv_groups_gradient of the channels list[count <= 4]. */
static uint32_t gradient_nonzero(const insitu_conv_groups_params_t *p, int32_t zero,
                                 const insitu_nonzero_channels_t *compact, int32_t r,
                                 const int8_t *dy, const int8_t *x, void *planes, int32_t *gradient,
                                 int32_t *errors) {
  const insitu_conv_params_t *c = &p->conv;
  const insitu_conv_groups_params_t four = insitu_compact_shape(p);
  const int32_t count = insitu_min(compact->count - r, INSITU_WORD);
  const int16_t *const list = compact->list + r;
  insitu_gather_channels(c->out_height * c->out_width, c->out_channels, list, count, dy,
                         compact->dy);
  insitu_gather_channels(c->in_height * c->in_width, c->in_channels, list, count, x, compact->map);
  return insitu_depthwise_grad_weight(&four, zero, compact->dy, compact->map, 0, planes, gradient,
                                      errors);
}

int32_t insitu_conv_groups_update_s8(const insitu_conv_groups_params_t *p,
                                     const insitu_qparams_t *dy_q, const insitu_qparams_t *x_q,
                                     const int8_t *dy, const int8_t *x, const float *row_scale,
                                     const float *rate, void *scratch, uint32_t *generator,
                                     int32_t *bias, int8_t *w) {
  const float factor = rate[0] * dy_q->scale * x_q->scale * 4294967296.0f;
  const int32_t row = group_row(p), at_once = insitu_rows_at_once(p);
  insitu_nonzero_channels_t compact = {0};
  if (INSITU_PLANES)
    compact = insitu_nonzero_channels(p, dy, scratch);
  int32_t *const gradient = (int32_t *)scratch + p->compact_bytes / 4;
  int32_t *const planes = gradient + row * at_once;
  int32_t saturated = 0, errors[INSITU_DEPTHWISE_BLOCK];
  uint32_t state = *generator, nonzero = 0;
  for (int32_t r = 0; r < (compact.few ? compact.count : p->conv.out_channels); r++) {
    const int32_t lane = r % at_once, o = compact.few ? compact.list[r] : r;
    if (lane == 0 && compact.few)
      nonzero = gradient_nonzero(p, x_q->zero_point, &compact, r, dy, x, planes, gradient, errors);
    else if (lane == 0)
      nonzero = insitu_conv_groups_gradient(p, x_q->zero_point, dy, x, o, planes, gradient, errors);
    if (!(nonzero >> lane & 1))
      continue;
    const int32_t multiplier = insitu_round_clamp(factor / row_scale[o], 0, INT32_MAX);
    saturated += multiplier == INT32_MAX;
    state = step_row(row, multiplier, gradient + lane, at_once, state, w + o * row);
    bias[o] = insitu_update_bias(bias[o], errors[lane], rate[0], dy_q->scale);
  }
  *generator = state;
  return saturated;
}
