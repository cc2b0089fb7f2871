/* Depthwise convolution on packed planes: forward and input gradient. See insitu_depthwise.h.
 * Bit for bit what conv_grouped.c computes, which is the definition. */
#include "insitu_depthwise_epilogue.h"
#include "insitu_depthwise_microkernels.h"

#define INSITU_LARGEST_ERROR (127 * 128) /* expanded */

/* Whether no value leaves int16 while no place of a plane is larger than `most`. */
static inline int32_t fits_int16(const insitu_depthwise_kernel_t *kernel, int32_t most) {
  const int32_t sum = kernel->rows * kernel->taps * 127 * most;
  const int32_t bias = kernel->bias < 0 ? -kernel->bias : kernel->bias;
  return insitu_round_high(sum + bias, kernel->multiplier) < INT16_MAX;
}

/* A kernel over a channel's plane of values up to `most`. */
static inline void run_microkernel(const insitu_depthwise_plane_t *s,
                                   const insitu_depthwise_kernel_t *kernel, int32_t most,
                                   int16_t *x, int16_t *to) {
  if (x == to && s->stride == 1 && kernel->taps == 3 && kernel->rows == 3 && s->down == s->line &&
      fits_int16(kernel, most))
    insitu_depthwise_microkernel_3x3(kernel, x, (s->width + 1) / 2, s->height, s->line);
  else
    insitu_depthwise_microkernel(s, kernel, x, to);
}

static insitu_depthwise_plane_t forward_plane(const insitu_conv_params_t *c) {
  const int32_t line = forward_pairs(c) * INSITU_PAIR_STEP;
  const insitu_depthwise_plane_t s = {
      .stride = c->stride_width,
      .width = c->out_width,
      .line = line,
      .down = c->stride_height * line,
      .to_line = c->stride_height * line,
  };
  return s;
}

/* The values of a band, in place. */
static void convolve_band(const insitu_conv_params_t *c, const insitu_depthwise_plane_t *s,
                          const int8_t *w, const int32_t *bias, const int32_t *multiplier,
                          int32_t lanes, int16_t *planes) {
  const int32_t width = c->kernel_width;
  insitu_depthwise_kernel_t kernel;
  kernel.taps = padded_taps(width, s->stride), kernel.rows = c->kernel_height;
  for (int32_t lane = 0; lane < lanes; lane++, planes += 2) {
    for (int32_t ky = 0; ky < kernel.rows; ky++, w += width)
      pack_weights(w, 1, width, 0, kernel.taps, kernel.weights + ky * weight_words(kernel.taps));
    kernel.bias = bias[lane], kernel.multiplier = multiplier[lane];
    run_microkernel(s, &kernel, 255, planes, planes);
  }
}

void insitu_depthwise_forward(const insitu_conv_groups_params_t *p, const insitu_qparams_t *x_q,
                              const insitu_qparams_t *y_q, const int8_t *x, const int8_t *w,
                              const int32_t *bias, const int32_t *multiplier, int16_t *planes,
                              int8_t *y, int32_t observed[2]) {
  const insitu_conv_params_t *c = &p->conv;
  const int32_t channels = c->in_channels, row = c->kernel_height * c->kernel_width;
  insitu_depthwise_map_t from = {
      .height = c->in_height,
      .width = c->in_width,
      .down = c->in_width * channels,
      .right = channels,
      .zero = x_q->zero_point,
      .left = c->pad_left,
      .pairs = forward_pairs(c),
  };
  insitu_depthwise_plane_t s = forward_plane(c);
  insitu_depthwise_outputs_t to = {
      .width = c->out_width, .line = s.down, .apart = channels, .y_line = c->out_width * channels};
  const int32_t is_full = y_q->clamp_min == INT8_MIN && y_q->clamp_max == INT8_MAX;
  insitu_depthwise_epilogue_t epilogue = {
      .zero = y_q->zero_point,
      .least = y_q->clamp_min,
      .most = y_q->clamp_max,
  };
  for (int32_t o = 0; o < channels; o += INSITU_LANES) {
    to.lanes = from.lanes = insitu_min(channels - o, INSITU_LANES);
    from.map = x + o;
    for (int32_t first = 0; first < c->out_height; first += p->band) {
      to.height = s.height = insitu_min(p->band, c->out_height - first);
      const int32_t lines = (s.height - 1) * c->stride_height + c->kernel_height;
      insitu_depthwise_pack(&from, first * c->stride_height - c->pad_top, lines, planes);
      convolve_band(c, &s, w + o * row, bias + o, multiplier + o, from.lanes, planes);
      insitu_depthwise_epilogue(is_full ? INSITU_CLAMP_INT8 : INSITU_CLAMP_BOUNDS, &to, planes,
                                &epilogue, y + first * to.y_line + o);
    }
  }
  observed[0] = epilogue.lowest;
  observed[1] = epilogue.highest;
}

/* A phase of the transposed convolution in one direction: the places of the map whose distance from
 * the first window has one residue modulo the stride. They depend on the same weights, `phase`,
 * phase + stride, ..., and are a convolution of their own, with stride 1. */
typedef struct {
  int32_t count; /* of its weights */
  int32_t first; /* of its places, counted by windows from the band's first on */
  int32_t end;
} insitu_phase_t;

/* Of windows [from, to), place = window stride + phase - pad of a map of this size. */
static insitu_phase_t phase_span(int32_t kernel, int32_t stride, int32_t phase, int32_t pad,
                                 int32_t size, int32_t from, int32_t to) {
  const int32_t first = insitu_max(div_up(pad - phase, stride), from);
  const int32_t end = insitu_min(div_up(size + pad - phase, stride), to);
  const insitu_phase_t span = {div_up(kernel - phase, stride), first - from, end - from};
  return span;
}

/* Where the first window of a phase begins in a line of errors. */
static inline int32_t phase_start(insitu_phase_t v, int32_t kernel, int32_t stride) {
  return v.first + div_up(kernel, stride) - v.count;
}

/* A band of the input gradient: windows [top, bottom); in lanes whose bit is not set every error
 * is 0. */
typedef struct {
  const insitu_conv_groups_grad_input_params_t *g;
  int32_t top, bottom;
  int32_t lanes, shifted; /* zeros more before a line of errors, so that phases begin at words */
  uint32_t nonzero;
} insitu_error_band_t;

static insitu_phase_t phase_across(const insitu_conv_params_t *c, int32_t phase) {
  const int32_t stride = c->stride_width, start = c->pad_left / stride;
  return phase_span(c->kernel_width, stride, phase, c->pad_left, c->in_width, start,
                    (c->in_width - 1 + c->pad_left) / stride + 1);
}

/* The flipped weights of a phase, from the last place to the first, behind `lead` zeros. */
static void pack_phase(const insitu_conv_params_t *c, const int8_t *w, int32_t py, int32_t px,
                       int32_t lead, insitu_depthwise_kernel_t *kernel) {
  const int32_t down = c->stride_height, right = c->stride_width, width = c->kernel_width;
  const int32_t count = div_up(width - px, right);
  const int8_t *last = w + (py + (kernel->rows - 1) * down) * width + px + (count - 1) * right;
  kernel->taps = padded_taps(lead + count, 1);
  for (int32_t j = 0; j < kernel->rows; j++, last -= down * width)
    pack_weights(last, -right, count, lead, kernel->taps,
                 kernel->weights + j * weight_words(kernel->taps));
}

/* Values of 0. */
static void clear_values(const insitu_depthwise_plane_t *s, int16_t *to) {
  for (int32_t oy = 0; oy < s->height; oy++, to += s->to_line)
    for (int32_t pair = 0; pair < (s->width + 1) / 2; pair++)
      store_word_aligned(to + pair * INSITU_PAIR_STEP, 0);
}

/* dx of a phase; `to`: where its values may lie, or errors themselves where there is but one. */
static void grad_input_phase(const insitu_error_band_t *b, int32_t py, int32_t px, const int8_t *w,
                             int16_t *errors, int16_t *to, int8_t *dx) {
  const insitu_conv_params_t *c = &b->g->shape.conv;
  const int32_t down = c->stride_height, right = c->stride_width, channels = c->in_channels;
  const insitu_phase_t h = phase_across(c, px);
  const insitu_phase_t v =
      phase_span(c->kernel_height, down, py, c->pad_top, c->in_height, b->top, b->bottom);
  const int32_t column = phase_start(h, c->kernel_width, right) + b->shifted;
  const int32_t line = error_pairs(c) * INSITU_PAIR_STEP;
  const int32_t row = phase_start(v, c->kernel_height, down);
  insitu_depthwise_plane_t s = {1, v.end - v.first, h.end - h.first, line, line, line};
  if (s.height <= 0 || s.width <= 0)
    return;
  if (to != errors)
    s.to_line = (s.width + 1) / 2 * INSITU_PAIR_STEP;
  int16_t *from = errors + row * line + column / 2 * INSITU_PAIR_STEP;
  insitu_depthwise_kernel_t kernel;
  kernel.rows = v.count, kernel.bias = 0, kernel.multiplier = b->g->multiplier;
  for (int32_t lane = 0; lane < b->lanes; lane++) {
    if (b->nonzero >> (8 * lane) & 0xFFu) {
      pack_phase(c, w + lane * c->kernel_height * c->kernel_width, py, px, column & 1, &kernel);
      run_microkernel(&s, &kernel, INSITU_LARGEST_ERROR, from + 2 * lane, to + 2 * lane);
    } else if (to != errors) {
      clear_values(&s, to + 2 * lane);
    }
  }
  const insitu_depthwise_outputs_t outputs = {
      s.height, s.width, b->lanes, s.to_line, right * channels, down * c->in_width * channels};
  insitu_depthwise_epilogue_t epilogue = {0};
  const int32_t iy = (b->top + v.first) * down + py - c->pad_top;
  const int32_t ix = (c->pad_left / right + h.first) * right + px - c->pad_left;
  insitu_depthwise_epilogue(INSITU_CLAMP_ERRORS, &outputs, to, &epilogue,
                            dx + (iy * c->in_width + ix) * channels);
}

/* dx = 0 where no error is left. */
static void clear_band(const insitu_error_band_t *b, int8_t *dx) {
  const insitu_conv_params_t *c = &b->g->shape.conv;
  const int32_t first = insitu_max(b->top * c->stride_height - c->pad_top, 0);
  const int32_t end = insitu_min(b->bottom * c->stride_height - c->pad_top, c->in_height);
  dx += first * c->in_width * c->in_channels;
  for (int32_t left = (end - first) * c->in_width; left > 0; left--, dx += c->in_channels) {
    if (b->lanes == INSITU_LANES)
      dx[0] = dx[1] = dx[2] = dx[3] = 0;
    else
      memset(dx, 0, (size_t)b->lanes);
  }
}

static insitu_depthwise_map_t error_map(const insitu_conv_params_t *c, int32_t shifted) {
  const int32_t before = div_up(c->kernel_width, c->stride_width) - 1;
  const insitu_depthwise_map_t from = {
      .height = c->out_height,
      .width = c->out_width,
      .down = c->out_width * c->out_channels,
      .right = c->out_channels,
      .left = before - c->pad_left / c->stride_width + shifted,
      .pairs = error_pairs(c),
  };
  return from;
}

void insitu_depthwise_grad_input(const insitu_conv_groups_grad_input_params_t *g, const int8_t *dy,
                                 const int8_t *w, const uint16_t *rel, int16_t *planes,
                                 int8_t *dx) {
  const insitu_conv_params_t *c = &g->shape.conv;
  const int32_t row = c->kernel_height * c->kernel_width, down = c->stride_height;
  const int32_t phases = down * c->stride_width, band = g->shape.band;
  const int32_t before = div_up(c->kernel_height, down) - 1;
  const int32_t end = (c->in_height - 1 + c->pad_top) / down + 1;
  insitu_error_band_t b = {.g = g};
  b.shifted = phase_start(phase_across(c, 0), c->kernel_width, c->stride_width) & 1;
  insitu_depthwise_map_t from = error_map(c, b.shifted);
  int16_t *const values =
      phases == 1 ? planes : planes + (band + before) * from.pairs * INSITU_PAIR_STEP;
  for (int32_t i = 0; i < c->in_channels; i += INSITU_LANES, w += row * INSITU_LANES) {
    int32_t factor[INSITU_LANES] = {0};
    b.lanes = from.lanes = insitu_min(c->in_channels - i, INSITU_LANES);
    from.map = dy + i;
    for (int32_t lane = 0; lane < b.lanes; lane++)
      factor[lane] = rel[i + lane] * (1 << 9);
    for (b.top = c->pad_top / down; b.top < end; b.top += band) {
      b.bottom = insitu_min(b.top + band, end);
      const int32_t lines = b.bottom - b.top + before;
      b.nonzero = insitu_depthwise_error_bits(&from, b.top - before, lines);
      if (!b.nonzero) {
        clear_band(&b, dx + i);
        continue;
      }
      insitu_depthwise_pack_expanded(&from, factor, b.top - before, lines, planes);
      for (int32_t phase = 0; phase < phases; phase++)
        grad_input_phase(&b, phase / c->stride_width, phase % c->stride_width, w, planes, values,
                         dx + i);
    }
  }
}
