/* Depthwise convolution by planes: forward and input gradient. See insitu_planes.h.
 * Bit for bit what src/conv_groups.c computes, which is the definition. */
#include "insitu_error_words.h"
#include "insitu_planes.h"
#include "insitu_slide.h"

/* The words of a packed kernel: INSITU_PLANES_KERNEL lines of taps - 1. */
#define INSITU_WORDS (INSITU_PLANES_KERNEL * (INSITU_PLANES_KERNEL - 1))

/* How a kernel's outputs are finished: with any bounds; with those of int8, so that no more than
 * saturation is needed; as errors, of which nothing is noted. */
typedef enum { INSITU_BOUNDED, INSITU_FULL, INSITU_ERRORS } insitu_ending_t;

/* Where a kernel is slid over a plane, and where its outputs go. */
typedef struct {
  int32_t taps, rows, step; /* of the packed kernel; columns between outputs in the plane */
  int32_t height, width;    /* outputs */
  int32_t line, down;       /* halfwords between lines of a window, between outputs' lines */
  int32_t apart, y_line;    /* elements between outputs, between their lines */
  insitu_ending_t ending;
} insitu_slide_t;

/* What every sum goes through: bias, multiplier, zero point, bounds, as pairs of the last three;
 * and what is seen before the last two. */
typedef struct {
  int32_t bias, multiplier;
  uint32_t zero, least, most;
  uint32_t lowest, highest;
} insitu_finish_t;

/* Two outputs. */
static inline uint32_t insitu_finished(insitu_ending_t ending, insitu_finish_t *f, int32_t a,
                                       int32_t b) {
  uint32_t v = insitu_pair_lows((uint32_t)insitu_scale_to_half(a, f->multiplier),
                                (uint32_t)insitu_scale_to_half(b, f->multiplier));
  if (ending == INSITU_ERRORS)
    return insitu_pair_max(insitu_pair_to_bytes(v), f->least);
  f->lowest = insitu_pair_min(v, f->lowest);
  f->highest = insitu_pair_max(v, f->highest);
  v = insitu_pair_add(v, f->zero);
  if (ending == INSITU_FULL)
    return insitu_pair_to_bytes(v);
  return insitu_pair_min(insitu_pair_max(v, f->least), f->most);
}

/* One or two outputs. */
static inline void insitu_two_outputs(const insitu_slide_t *s, int32_t taps, int32_t rows,
                                      int32_t step, insitu_ending_t ending, const int16_t *x,
                                      const uint32_t *w, insitu_finish_t *f, int32_t left,
                                      int8_t *y) {
  insitu_four_t sum = {f->bias, f->bias, 0, 0};
  for (int32_t row = 0; row < rows; row++, x += s->line, w += taps - 1)
    insitu_slide_two(taps, step, x, w, &sum);
  const uint32_t pair = insitu_finished(ending, f, sum.a, left == 1 ? sum.a : sum.b);
  y[0] = (int8_t)pair;
  if (left > 1)
    y[s->apart] = (int8_t)(pair >> 16);
}

static inline void insitu_four_outputs(const insitu_slide_t *s, int32_t taps, int32_t rows,
                                       int32_t step, insitu_ending_t ending, const int16_t *x,
                                       const uint32_t *w, insitu_finish_t *f, int8_t *y) {
  insitu_four_t sum = {f->bias, f->bias, f->bias, f->bias};
  if (rows == 3 && taps == 3 && step == 1)
    insitu_slide_four_3x3(x, s->line, w, f->bias, &sum);
  else
    for (int32_t row = 0; row < rows; row++, x += s->line, w += taps - 1)
      insitu_slide_four(taps, step, x, w, &sum);
  const uint32_t first = insitu_finished(ending, f, sum.a, sum.b);
  y[0] = (int8_t)first;
  y[s->apart] = (int8_t)(first >> 16);
  const uint32_t second = insitu_finished(ending, f, sum.c, sum.d);
  y[2 * s->apart] = (int8_t)second;
  y[3 * s->apart] = (int8_t)(second >> 16);
}

static inline void insitu_slide(const insitu_slide_t *slide, int32_t taps, int32_t rows,
                                int32_t step, insitu_ending_t ending, const int16_t *x,
                                const uint32_t *w, insitu_finish_t *finish, int8_t *y) {
  const insitu_slide_t s = *slide; /* local, as f is: y could be any of what lies in memory */
  insitu_finish_t f = *finish;
  for (int32_t oy = 0; oy < s.height; oy++, x += s.down, y += s.y_line) {
    const int16_t *from = x;
    int8_t *to = y;
    int32_t left = s.width;
    for (; left > 3; left -= 4, from += 4 * step, to += 4 * s.apart)
      insitu_four_outputs(&s, taps, rows, step, ending, from, w, &f, to);
    for (; left > 0; left -= 2, from += 2 * step, to += 2 * s.apart)
      insitu_two_outputs(&s, taps, rows, step, ending, from, w, &f, left, to);
  }
  *finish = f;
}

/* All outputs of one channel in a band. */
__attribute__((noinline)) static void insitu_slide_plane(const insitu_slide_t *s, const int16_t *x,
                                                         const uint32_t *w, insitu_finish_t *f,
                                                         int8_t *y) {
  if (s->step == 1 && s->taps == 3 && s->rows == 3 && s->ending == INSITU_ERRORS)
    insitu_slide(s, 3, 3, 1, INSITU_ERRORS, x, w, f, y);
  else if (s->step == 1 && s->taps == 3 && s->rows == 3 && s->ending == INSITU_FULL)
    insitu_slide(s, 3, 3, 1, INSITU_FULL, x, w, f, y);
  else if (s->step == 1 && s->taps == 3)
    insitu_slide(s, 3, s->rows, 1, INSITU_BOUNDED, x, w, f, y);
  else if (s->step == 1 && s->taps == 5)
    insitu_slide(s, 5, s->rows, 1, INSITU_BOUNDED, x, w, f, y);
  else if (s->step == 1)
    insitu_slide(s, 7, s->rows, 1, INSITU_BOUNDED, x, w, f, y);
  else if (s->taps == 3)
    insitu_slide(s, 3, s->rows, 2, INSITU_BOUNDED, x, w, f, y);
  else if (s->taps == 5)
    insitu_slide(s, 5, s->rows, 2, INSITU_BOUNDED, x, w, f, y);
  else
    insitu_slide(s, 7, s->rows, 2, INSITU_BOUNDED, x, w, f, y);
}

/* Weights w[first], w[first + apart], ..., `count` of them, as a line of packed words. */
static void insitu_pack_line(const int8_t *w, int32_t first, int32_t apart, int32_t count,
                             int32_t taps, uint32_t *words) {
  int32_t last = count > 0 ? w[first] : 0;
  for (int32_t k = 1; k < taps; k++) {
    const int32_t next = k < count ? w[first + k * apart] : 0;
    *words++ = insitu_make_pair(last, next);
    last = next;
  }
}

static void insitu_forward_band(const insitu_slide_t *s, const insitu_conv_params_t *c,
                                const insitu_finish_t *all, const int8_t *w, const int32_t *bias,
                                const int32_t *multiplier, int32_t lanes, const int16_t *planes,
                                insitu_finish_t *seen, int8_t *y) {
  uint32_t words[INSITU_WORDS];
  for (int32_t lane = 0; lane < lanes; lane++, w += c->kernel_height * c->kernel_width) {
    insitu_finish_t f = *all;
    f.bias = bias[lane], f.multiplier = multiplier[lane];
    for (int32_t ky = 0; ky < s->rows; ky++)
      insitu_pack_line(w, ky * c->kernel_width, 1, c->kernel_width, s->taps,
                       words + ky * (s->taps - 1));
    insitu_slide_plane(s, planes + lane * (s->line / INSITU_LANES), words, &f, y + lane);
    seen->lowest = insitu_pair_min(f.lowest, seen->lowest);
    seen->highest = insitu_pair_max(f.highest, seen->highest);
  }
}

void insitu_forward_planes(const insitu_conv_groups_params_t *p, const insitu_qparams_t *x_q,
                           const insitu_qparams_t *y_q, const int8_t *x, const int8_t *w,
                           const int32_t *bias, const int32_t *multiplier, int16_t *planes,
                           int8_t *y, int32_t observed[2]) {
  const insitu_conv_params_t *c = &p->conv;
  const int32_t columns = insitu_forward_columns(c), line = columns * INSITU_LANES;
  const int32_t taps = insitu_taps_of(c->kernel_width);
  insitu_source_t from = {
      .height = c->in_height,
      .width = c->in_width,
      .channels = c->in_channels,
      .zero = x_q->zero_point,
      .left = c->pad_left,
      .columns = columns,
      .line = line,
      .lane = columns,
  };
  insitu_slide_t s = {
      .taps = taps,
      .rows = c->kernel_height,
      .step = c->stride_width,
      .width = c->out_width,
      .line = line,
      .down = c->stride_height * line,
      .apart = c->out_channels,
      .y_line = c->out_width * c->out_channels,
      .ending =
          y_q->clamp_min == INT8_MIN && y_q->clamp_max == INT8_MAX ? INSITU_FULL : INSITU_BOUNDED,
  };
  const insitu_finish_t all = {0,
                               0,
                               insitu_make_pair(y_q->zero_point, y_q->zero_point),
                               insitu_make_pair(y_q->clamp_min, y_q->clamp_min),
                               insitu_make_pair(y_q->clamp_max, y_q->clamp_max),
                               0,
                               0};
  insitu_finish_t seen = all;
  const int32_t most = (p->band - 1) * c->stride_height + c->kernel_height;
  memset(planes, 0, (size_t)(most * line) * sizeof *planes);
  for (int32_t o = 0; o < c->out_channels; o += INSITU_LANES) {
    from.lanes = insitu_min(c->out_channels - o, INSITU_LANES);
    from.map = x + o;
    for (int32_t first = 0; first < c->out_height; first += p->band) {
      s.height = insitu_min(p->band, c->out_height - first);
      const int32_t lines = (s.height - 1) * c->stride_height + c->kernel_height;
      insitu_fill_planes(&from, first * c->stride_height - c->pad_top, lines, planes);
      insitu_forward_band(&s, c, &all, w + o * c->kernel_height * c->kernel_width, bias + o,
                          multiplier + o, from.lanes, planes, &seen, y + first * s.y_line + o);
    }
  }
  observed[0] = insitu_min(insitu_low(seen.lowest), insitu_high(seen.lowest));
  observed[1] = insitu_max(insitu_low(seen.highest), insitu_high(seen.highest));
}

/* Of the places of the map whose windows' places are those of a phase, in one direction. */
typedef struct {
  int32_t count; /* of the kernel's places: phase, phase + stride, ... */
  int32_t first; /* of the places of the map, counted by windows from the band's first on */
  int32_t end;
} insitu_parity_t;

/* Of windows [from, to), place = window stride + phase - pad of a map of this size. */
static insitu_parity_t insitu_parity(int32_t kernel, int32_t stride, int32_t phase, int32_t pad,
                                     int32_t size, int32_t from, int32_t to) {
  const int32_t first = insitu_max(insitu_div_up(pad - phase, stride), from);
  const int32_t end = insitu_min(insitu_div_up(size + pad - phase, stride), to);
  const insitu_parity_t parity = {insitu_div_up(kernel - phase, stride), first - from, end - from};
  return parity;
}

/* dx of one channel, of the places that windows from `top` on (and `bottom` before) reach. */
static void insitu_grad_input_lane(const insitu_conv_groups_grad_input_params_t *g, int32_t top,
                                   int32_t bottom, const int8_t *w, const int16_t *plane,
                                   int32_t line, int8_t *dx) {
  const insitu_conv_params_t *c = &g->shape.conv;
  const int32_t down = c->stride_height, right = c->stride_width;
  const int32_t start = c->pad_left / right;
  const int32_t end = (c->in_width - 1 + c->pad_left) / right + 1;
  for (int32_t py = 0; py < down; py++) {
    const insitu_parity_t v =
        insitu_parity(c->kernel_height, down, py, c->pad_top, c->in_height, top, bottom);
    const int32_t iy = (top + v.first) * down + py - c->pad_top;
    const int32_t row = v.first + insitu_div_up(c->kernel_height, down) - v.count;
    for (int32_t px = 0; px < right; px++) {
      const insitu_parity_t h =
          insitu_parity(c->kernel_width, right, px, c->pad_left, c->in_width, start, end);
      const int32_t ix = (start + h.first) * right + px - c->pad_left;
      const int32_t column = h.first + insitu_div_up(c->kernel_width, right) - h.count;
      const insitu_slide_t s = {
          .taps = insitu_taps_of(h.count),
          .rows = v.count,
          .step = 1,
          .height = v.end - v.first,
          .width = h.end - h.first,
          .line = line,
          .down = line,
          .apart = right * c->in_channels,
          .y_line = down * c->in_width * c->in_channels,
          .ending = INSITU_ERRORS,
      };
      insitu_finish_t finish = {
          .multiplier = g->multiplier,
          .least = insitu_make_pair(-127, -127),
          .most = insitu_make_pair(127, 127),
      };
      uint32_t words[INSITU_WORDS];
      for (int32_t j = 0; j < v.count; j++) { /* flipped: from the last place to the first */
        const int32_t ky = py + (v.count - 1 - j) * down, kx = px + (h.count - 1) * right;
        insitu_pack_line(w + ky * c->kernel_width, kx, -right, h.count, s.taps,
                         words + j * (s.taps - 1));
      }
      if (s.height > 0 && s.width > 0)
        insitu_slide_plane(&s, plane + row * line + column, words, &finish,
                           dx + (iy * c->in_width + ix) * c->in_channels);
    }
  }
}

/* Byte j is 0 where all errors of lane j are; then all of dx are cleared. */
static uint32_t insitu_live_lanes(const insitu_conv_params_t *c, int32_t lanes, const int8_t *dy,
                                  int8_t *dx) {
  const uint32_t all = 0xFFFFFFFFu;
  if (lanes < INSITU_WORD)
    return all;
  const uint32_t live = insitu_live_word(c->out_height * c->out_width, c->out_channels, dy);
  if (!(live & 0xFFu) || !(live & 0xFF00u) || !(live & 0xFF0000u) || !(live & 0xFF000000u))
    insitu_keep_word(c->in_height * c->in_width, c->in_channels, 0, dx);
  return live;
}

void insitu_grad_input_planes(const insitu_conv_groups_grad_input_params_t *g, const int8_t *dy,
                              const int8_t *w, const uint16_t *rel, int16_t *planes, int8_t *dx) {
  const insitu_conv_params_t *c = &g->shape.conv;
  const int32_t row = c->kernel_height * c->kernel_width, down = c->stride_height;
  const int32_t before = insitu_div_up(c->kernel_height, down) - 1;
  const int32_t columns = insitu_error_columns(c), line = columns * INSITU_LANES;
  insitu_source_t from = {
      .height = c->out_height,
      .width = c->out_width,
      .channels = c->out_channels,
      .left = insitu_div_up(c->kernel_width, c->stride_width) - 1 - c->pad_left / c->stride_width,
      .columns = columns,
      .line = line,
      .lane = columns,
  };
  const int32_t band = g->shape.band;
  const int32_t end = (c->in_height - 1 + c->pad_top) / down + 1;
  memset(planes, 0, (size_t)((band + before) * line) * sizeof *planes);
  for (int32_t i = 0; i < c->in_channels; i += INSITU_LANES, w += row * INSITU_LANES) {
    int32_t factor[INSITU_LANES];
    from.lanes = insitu_min(c->in_channels - i, INSITU_LANES);
    from.map = dy + i;
    const uint32_t live = insitu_live_lanes(c, from.lanes, dy + i, dx + i);
    if (live == 0)
      continue;
    for (int32_t lane = 0; lane < from.lanes; lane++)
      factor[lane] = rel[i + lane] * (1 << (INSITU_PLANES_DROP - g->drop));
    for (int32_t top = c->pad_top / down; top < end; top += band) {
      const int32_t bottom = insitu_min(top + band, end);
      insitu_fill_expanded(&from, factor, top - before, bottom - top + before, planes);
      for (int32_t lane = 0; lane < from.lanes; lane++) {
        if (live >> 8 * lane & 0xFFu)
          insitu_grad_input_lane(g, top, bottom, w + lane * row, planes + lane * from.columns, line,
                                 dx + i + lane);
      }
    }
  }
}
