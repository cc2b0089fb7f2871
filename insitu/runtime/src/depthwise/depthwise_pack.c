/* Maps of several channels -> planes. See insitu_depthwise.h. */
#include "insitu_depthwise_pack.h"

/* Where the pairs of a channel lie, in halfwords. */
typedef struct {
  int32_t step, lane, line; /* between pairs, between channels, between lines */
} insitu_layout_t;

static insitu_layout_t insitu_by_turns(const insitu_source_t *s) {
  const insitu_layout_t layout = {INSITU_PAIR_STEP, 2, s->pairs * INSITU_PAIR_STEP};
  return layout;
}

static insitu_layout_t insitu_apart(const insitu_source_t *s, int32_t lane) {
  const insitu_layout_t layout = {2, lane, s->pairs * 2};
  return layout;
}

static void insitu_clear_words(int32_t words, int16_t *to) {
  for (; words > 3; words -= 4, to += 8) {
    store_word_aligned(to, 0), store_word_aligned(to + 2, 0);
    store_word_aligned(to + 4, 0), store_word_aligned(to + 6, 0);
  }
  for (; words > 0; words--, to += 2)
    store_word_aligned(to, 0);
}

/* `lines` lines of `count` pairs of zeros. */
static void insitu_clear(const insitu_layout_t *layout, int32_t lines, int32_t count, int16_t *to) {
  if (lines <= 0 || count <= 0)
    return;
  if (count * layout->step == layout->line)
    count *= lines, lines = 1;
  for (; lines > 0; lines--, to += layout->line) {
    if (layout->step == INSITU_PAIR_STEP)
      insitu_clear_words(count * INSITU_LANES, to);
    else
      for (int32_t lane = 0; lane < INSITU_LANES; lane++)
        insitu_clear_words(count, to + lane * layout->lane);
  }
}

/* What a line of the map gives, beside zeros: of places that are not behind the plane's end. */
static insitu_run_t insitu_run(const insitu_source_t *s, const insitu_layout_t *layout) {
  const int32_t count = insitu_max(insitu_min(s->width, 2 * s->pairs - s->left), 0);
  insitu_run_t run = {
      .right = s->right,
      .odd = count > 0 ? s->left & 1 : 0,
      .none = 0x01010101u * ((uint32_t)s->zero & 0xFFu),
      .minus = pack_s16x2(-s->zero, -s->zero),
      .next = s->down - count * s->right,
      .lane = 2 * layout->lane,
  };
  run.pairs = (count - run.odd) / 2, run.rest = (count - run.odd) & 1;
  run.to_next = 2 * (layout->line - layout->step * (run.odd + run.pairs + run.rest));
  return run;
}

/* Which of `lines` lines from y on lie on the map: [first, end). */
typedef struct {
  int32_t first, end;
} insitu_on_map_t;

static insitu_on_map_t insitu_on_map(const insitu_source_t *s, int32_t y, int32_t lines) {
  insitu_on_map_t on = {insitu_min(insitu_max(-y, 0), lines), insitu_min(s->height - y, lines)};
  on.end = insitu_max(on.end, on.first);
  return on;
}

/* Everything but what a run gives; returns where that begins, 0 if it is nothing. */
static int16_t *insitu_clear_around(const insitu_source_t *s, const insitu_layout_t *layout,
                                    const insitu_run_t *run, insitu_on_map_t on, int32_t lines,
                                    int16_t *planes) {
  const int32_t made = run->odd + run->pairs + run->rest;
  const int32_t before = made > 0 ? s->left / 2 : s->pairs;
  int16_t *const to = planes + on.first * layout->line;
  insitu_clear(layout, on.first, s->pairs, planes);
  insitu_clear(layout, lines - on.end, s->pairs, planes + on.end * layout->line);
  insitu_clear(layout, on.end - on.first, before, to);
  insitu_clear(layout, on.end - on.first, s->pairs - before - made,
               to + (before + made) * layout->step);
  return made > 0 && on.end > on.first ? to + before * layout->step : 0;
}

/* Lines of fewer than four channels, place after place. */
static void insitu_spread_few(const insitu_source_t *s, const insitu_layout_t *layout,
                              const insitu_run_t *run, int32_t y, int32_t lines, int32_t scale,
                              int16_t *to, int32_t *sum) {
  const int32_t count = run->odd + 2 * run->pairs + run->rest;
  for (const int32_t end = y + lines; y < end; y++, to += layout->line) {
    for (int32_t k = 0; k < (count + run->odd + 1) / 2; k++)
      for (int32_t lane = 0; lane < INSITU_LANES; lane++)
        store_word_aligned(to + k * layout->step + lane * layout->lane, 0);
    for (int32_t k = 0; k < count; k++) {
      const int32_t at = k + run->odd;
      for (int32_t lane = 0; lane < s->lanes; lane++) {
        int32_t v = s->map[y * s->down + k * s->right + lane] - s->zero;
        if (sum)
          sum[lane] += v;
        if (scale)
          v = low_half(scale_s16x2(run->factor[lane], pack_s16x2(v, 0)));
        to[at / 2 * layout->step + lane * layout->lane + at % 2] = (int16_t)v;
      }
    }
  }
}

/* The zeros of a plane, and those lines that come place after place. Returns how many lines of
 * four channels are left, from `map` to `to`. */
typedef struct {
  int32_t lines;
  const int8_t *map;
  int16_t *to;
} insitu_left_t;

static insitu_left_t insitu_prepare(const insitu_source_t *s, const insitu_layout_t *layout,
                                    const insitu_run_t *run, int32_t scale, int32_t y,
                                    int32_t lines, int16_t *planes) {
  const insitu_on_map_t on = insitu_on_map(s, y, lines);
  int16_t *const to = insitu_clear_around(s, layout, run, on, lines, planes);
  insitu_left_t left = {0};
  if (to && s->lanes < INSITU_LANES)
    insitu_spread_few(s, layout, run, y + on.first, on.end - on.first, scale, to, 0);
  else if (to)
    left.lines = on.end - on.first, left.map = s->map + (y + on.first) * s->down, left.to = to;
  return left;
}

void insitu_fill_planes(const insitu_source_t *from, int32_t y, int32_t lines, int16_t *planes) {
  const insitu_layout_t layout = insitu_by_turns(from);
  const insitu_run_t run = insitu_run(from, &layout);
  const insitu_left_t left = insitu_prepare(from, &layout, &run, 0, y, lines, planes);
  if (left.lines > 0)
    insitu_spread(&run, left.map, left.lines, left.to);
}

void insitu_fill_expanded(const insitu_source_t *from, const int32_t *factor, int32_t y,
                          int32_t lines, int16_t *planes) {
  const insitu_layout_t layout = insitu_by_turns(from);
  insitu_run_t run = insitu_run(from, &layout);
  memcpy(run.factor, factor, sizeof run.factor);
  const insitu_left_t left = insitu_prepare(from, &layout, &run, 1, y, lines, planes);
  if (left.lines > 0)
    insitu_spread_expanded(&run, left.map, left.lines, left.to);
}

void insitu_fill_apart(const insitu_source_t *from, int32_t y, int32_t lines, int16_t *planes,
                       int32_t lane) {
  const insitu_layout_t layout = insitu_apart(from, lane);
  const insitu_run_t run = insitu_run(from, &layout);
  const insitu_left_t left = insitu_prepare(from, &layout, &run, 0, y, lines, planes);
  insitu_clear(&layout, 1, insitu_min((from->left + 1) / 2, INSITU_BEHIND),
               planes + lines * layout.line);
  if (left.lines > 0)
    insitu_spread_apart(&run, left.map, left.lines, left.to);
}

void insitu_fill_errors(const insitu_source_t *from, int32_t y, int32_t lines, int16_t *planes,
                        int32_t lane, int32_t *sum) {
  const insitu_layout_t layout = insitu_apart(from, lane);
  const insitu_run_t run = insitu_run(from, &layout);
  if (from->lanes < INSITU_LANES)
    insitu_spread_few(from, &layout, &run, y, lines, 0, planes, sum);
  else
    insitu_spread_errors(&run, from->map + y * from->down, lines, planes, sum);
}

static inline int32_t insitu_has_zero_byte(uint32_t v) {
  return ((v - 0x01010101u) & ~v & 0x80808080u) != 0;
}

/* Of a line of four channels. */
static inline uint32_t insitu_line_bits(const int8_t *e, int32_t right, int32_t width) {
  uint32_t bits = 0;
  if ((((uintptr_t)e | (uintptr_t)right) & 3u) == 0) {
    for (; width > 1; width -= 2, e += 2 * right)
      bits |= load_word_aligned(e) | load_word_aligned(e + right);
  }
  for (; width > 0; width--, e += right)
    bits |= load_word(e);
  return bits;
}

uint32_t insitu_error_bits(const insitu_source_t *from, int32_t y, int32_t lines) {
  const insitu_on_map_t on = insitu_on_map(from, y, lines);
  uint32_t bits = 0;
  for (int32_t line = y + on.first; line < y + on.end && insitu_has_zero_byte(bits); line++) {
    const int8_t *e = from->map + line * from->down;
    if (from->lanes == INSITU_LANES)
      bits |= insitu_line_bits(e, from->right, from->width);
    for (int32_t k = 0; from->lanes < INSITU_LANES && k < from->width; k++, e += from->right)
      for (int32_t lane = 0; lane < from->lanes; lane++)
        bits |= ((uint32_t)e[lane] & 0xFFu) << (8 * lane);
  }
  return bits;
}

#if !defined(__ARM_FEATURE_DSP)

/* A line of four channels, place after place; they lie `lane` halfwords apart. */
static inline void insitu_spread_line(const insitu_run_t *run, const int8_t *from, int32_t scale,
                                      int32_t step, int32_t lane, int16_t *to) {
  const int32_t zero = -low_half(run->minus), right = run->right;
  const int32_t end = 2 * (run->odd + run->pairs + run->rest) - run->rest;
  if (run->odd)
    to[0] = to[lane] = to[2 * lane] = to[3 * lane] = 0;
  for (int32_t k = run->odd; k < end; k++, from += right) {
    int16_t *const place = to + (k >> 1) * step + (k & 1);
    for (int32_t i = 0; i < 4; i++)
      place[i * lane] =
          (int16_t)(scale ? (from[i] * (run->factor[i] >> 9) + 128) >> 8 : from[i] - zero);
  }
  for (int32_t i = 0; run->rest && i < 4; i++)
    to[(end >> 1) * step + i * lane + 1] = 0;
}

static inline void insitu_spread_lines(const insitu_run_t *run, const int8_t *from, int32_t lines,
                                       int32_t scale, int32_t step, int32_t lane, int16_t *to) {
  const int32_t pairs = run->odd + run->pairs + run->rest;
  const int32_t next = run->next + (run->odd + 2 * run->pairs + run->rest) * run->right;
  for (; lines > 0; lines--, from += next, to += pairs * step + run->to_next / 2)
    insitu_spread_line(run, from, scale, step, lane, to);
}

void insitu_spread(const insitu_run_t *run, const int8_t *from, int32_t lines, int16_t *to) {
  insitu_spread_lines(run, from, lines, 0, INSITU_PAIR_STEP, 2, to);
}

void insitu_spread_expanded(const insitu_run_t *run, const int8_t *from, int32_t lines,
                            int16_t *to) {
  insitu_spread_lines(run, from, lines, 1, INSITU_PAIR_STEP, 2, to);
}

void insitu_spread_apart(const insitu_run_t *run, const int8_t *from, int32_t lines, int16_t *to) {
  insitu_spread_lines(run, from, lines, 0, 2, run->lane / 2, to);
}

void insitu_spread_errors(const insitu_run_t *run, const int8_t *from, int32_t lines, int16_t *to,
                          int32_t *sum) {
  int32_t s0 = sum[0], s1 = sum[1], s2 = sum[2], s3 = sum[3];
  insitu_spread_lines(run, from, lines, 0, 2, run->lane / 2, to);
  for (; lines > 0; lines--, from += run->next)
    for (int32_t k = run->odd + 2 * run->pairs + run->rest; k > 0; k--, from += run->right)
      s0 += from[0], s1 += from[1], s2 += from[2], s3 += from[3];
  sum[0] = s0, sum[1] = s1, sum[2] = s2, sum[3] = s3;
}

#endif
