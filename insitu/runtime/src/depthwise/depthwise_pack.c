/* Packing of maps into planes, padding included. See insitu_depthwise.h. */
#include "insitu_depthwise_pack.h"

/* Where the pairs of a channel lie, in halfwords. */
typedef struct {
  int32_t step, lane, line; /* between pairs, between channels, between lines */
} insitu_pack_layout_t;

static insitu_pack_layout_t interleaved_layout(const insitu_depthwise_map_t *s) {
  const insitu_pack_layout_t layout = {INSITU_PAIR_STEP, 2, s->pairs * INSITU_PAIR_STEP};
  return layout;
}

static insitu_pack_layout_t planar_layout(const insitu_depthwise_map_t *s, int32_t lane) {
  const insitu_pack_layout_t layout = {2, lane, s->pairs * 2};
  return layout;
}

static void clear_words(int32_t words, int16_t *to) {
  for (; words > 3; words -= 4, to += 8) {
    store_word_aligned(to, 0), store_word_aligned(to + 2, 0);
    store_word_aligned(to + 4, 0), store_word_aligned(to + 6, 0);
  }
  for (; words > 0; words--, to += 2)
    store_word_aligned(to, 0);
}

/* `lines` lines of `count` pairs of zeros. */
static void clear_pairs(const insitu_pack_layout_t *layout, int32_t lines, int32_t count,
                        int16_t *to) {
  if (lines <= 0 || count <= 0)
    return;
  if (count * layout->step == layout->line)
    count *= lines, lines = 1;
  for (; lines > 0; lines--, to += layout->line) {
    if (layout->step == INSITU_PAIR_STEP)
      clear_words(count * INSITU_LANES, to);
    else
      for (int32_t lane = 0; lane < INSITU_LANES; lane++)
        clear_words(count, to + lane * layout->lane);
  }
}

/* The pairs of a line of the map, without padding and what lies behind the plane's end. */
static insitu_depthwise_run_t line_of(const insitu_depthwise_map_t *s,
                                      const insitu_pack_layout_t *layout) {
  const int32_t count = insitu_max(insitu_min(s->width, 2 * s->pairs - s->left), 0);
  insitu_depthwise_run_t run = {
      .right = s->right,
      .head = count > 0 ? s->left & 1 : 0,
      .padding = 0x01010101u * ((uint32_t)s->zero & 0xFFu),
      .minus_zero = pack_s16x2(-s->zero, -s->zero),
      .next = s->down - count * s->right,
      .lane = 2 * layout->lane,
  };
  run.pairs = (count - run.head) / 2, run.tail = (count - run.head) & 1;
  run.to_next = 2 * (layout->line - layout->step * (run.head + run.pairs + run.tail));
  return run;
}

/* Which of `lines` lines from y on lie on the map: [first, end). */
typedef struct {
  int32_t first, end;
} insitu_on_map_t;

static insitu_on_map_t rows_on_map(const insitu_depthwise_map_t *s, int32_t y, int32_t lines) {
  insitu_on_map_t on = {insitu_min(insitu_max(-y, 0), lines), insitu_min(s->height - y, lines)};
  on.end = insitu_max(on.end, on.first);
  return on;
}

/* Everything but the pairs of a run; returns where these begin, 0 if there are none. */
static int16_t *pack_padding(const insitu_depthwise_map_t *s, const insitu_pack_layout_t *layout,
                             const insitu_depthwise_run_t *run, insitu_on_map_t on, int32_t lines,
                             int16_t *planes) {
  const int32_t made = run->head + run->pairs + run->tail;
  const int32_t before = made > 0 ? s->left / 2 : s->pairs;
  int16_t *const to = planes + on.first * layout->line;
  clear_pairs(layout, on.first, s->pairs, planes);
  clear_pairs(layout, lines - on.end, s->pairs, planes + on.end * layout->line);
  clear_pairs(layout, on.end - on.first, before, to);
  clear_pairs(layout, on.end - on.first, s->pairs - before - made,
              to + (before + made) * layout->step);
  return made > 0 && on.end > on.first ? to + before * layout->step : 0;
}

/* Lines of fewer than four channels, place after place. */
static void pack_few_channels(const insitu_depthwise_map_t *s, const insitu_pack_layout_t *layout,
                              const insitu_depthwise_run_t *run, int32_t y, int32_t lines,
                              int32_t scale, int16_t *to, int32_t *sum) {
  const int32_t count = run->head + 2 * run->pairs + run->tail;
  for (const int32_t end = y + lines; y < end; y++, to += layout->line) {
    for (int32_t k = 0; k < (count + run->head + 1) / 2; k++)
      for (int32_t lane = 0; lane < INSITU_LANES; lane++)
        store_word_aligned(to + k * layout->step + lane * layout->lane, 0);
    for (int32_t k = 0; k < count; k++) {
      const int32_t at = k + run->head;
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
} insitu_packed_lines_t;

static insitu_packed_lines_t pack_edges(const insitu_depthwise_map_t *s,
                                        const insitu_pack_layout_t *layout,
                                        const insitu_depthwise_run_t *run, int32_t scale, int32_t y,
                                        int32_t lines, int16_t *planes) {
  const insitu_on_map_t on = rows_on_map(s, y, lines);
  int16_t *const to = pack_padding(s, layout, run, on, lines, planes);
  insitu_packed_lines_t left = {0};
  if (to && s->lanes < INSITU_LANES)
    pack_few_channels(s, layout, run, y + on.first, on.end - on.first, scale, to, 0);
  else if (to)
    left.lines = on.end - on.first, left.map = s->map + (y + on.first) * s->down, left.to = to;
  return left;
}

void insitu_depthwise_pack(const insitu_depthwise_map_t *from, int32_t y, int32_t lines,
                           int16_t *planes) {
  const insitu_pack_layout_t layout = interleaved_layout(from);
  const insitu_depthwise_run_t run = line_of(from, &layout);
  const insitu_packed_lines_t left = pack_edges(from, &layout, &run, 0, y, lines, planes);
  if (left.lines > 0)
    insitu_depthwise_pack_lines(&run, left.map, left.lines, left.to);
}

void insitu_depthwise_pack_expanded(const insitu_depthwise_map_t *from, const int32_t *factor,
                                    int32_t y, int32_t lines, int16_t *planes) {
  const insitu_pack_layout_t layout = interleaved_layout(from);
  insitu_depthwise_run_t run = line_of(from, &layout);
  memcpy(run.factor, factor, sizeof run.factor);
  const insitu_packed_lines_t left = pack_edges(from, &layout, &run, 1, y, lines, planes);
  if (left.lines > 0)
    insitu_depthwise_pack_lines_expanded(&run, left.map, left.lines, left.to);
}

void insitu_depthwise_pack_planar(const insitu_depthwise_map_t *from, int32_t y, int32_t lines,
                                  int16_t *planes, int32_t lane) {
  const insitu_pack_layout_t layout = planar_layout(from, lane);
  const insitu_depthwise_run_t run = line_of(from, &layout);
  const insitu_packed_lines_t left = pack_edges(from, &layout, &run, 0, y, lines, planes);
  clear_pairs(&layout, 1, insitu_min((from->left + 1) / 2, INSITU_BEHIND),
              planes + lines * layout.line);
  if (left.lines > 0)
    insitu_depthwise_pack_lines_planar(&run, left.map, left.lines, left.to);
}

void insitu_depthwise_pack_errors(const insitu_depthwise_map_t *from, int32_t y, int32_t lines,
                                  int16_t *planes, int32_t lane, int32_t *sum) {
  const insitu_pack_layout_t layout = planar_layout(from, lane);
  const insitu_depthwise_run_t run = line_of(from, &layout);
  if (from->lanes < INSITU_LANES)
    pack_few_channels(from, &layout, &run, y, lines, 0, planes, sum);
  else
    insitu_depthwise_pack_lines_errors(&run, from->map + y * from->down, lines, planes, sum);
}

static inline int32_t has_zero_byte(uint32_t v) {
  return ((v - 0x01010101u) & ~v & 0x80808080u) != 0;
}

/* Of a line of four channels. */
static inline uint32_t line_bits(const int8_t *e, int32_t right, int32_t width) {
  uint32_t bits = 0;
  if ((((uintptr_t)e | (uintptr_t)right) & 3u) == 0) {
    for (; width > 1; width -= 2, e += 2 * right)
      bits |= load_word_aligned(e) | load_word_aligned(e + right);
  }
  for (; width > 0; width--, e += right)
    bits |= load_word(e);
  return bits;
}

uint32_t insitu_depthwise_error_bits(const insitu_depthwise_map_t *from, int32_t y, int32_t lines) {
  const insitu_on_map_t on = rows_on_map(from, y, lines);
  uint32_t bits = 0;
  for (int32_t line = y + on.first; line < y + on.end && has_zero_byte(bits); line++) {
    const int8_t *e = from->map + line * from->down;
    if (from->lanes == INSITU_LANES)
      bits |= line_bits(e, from->right, from->width);
    for (int32_t k = 0; from->lanes < INSITU_LANES && k < from->width; k++, e += from->right)
      for (int32_t lane = 0; lane < from->lanes; lane++)
        bits |= ((uint32_t)e[lane] & 0xFFu) << (8 * lane);
  }
  return bits;
}

#if !defined(__ARM_FEATURE_DSP)

/* A line of four channels, place after place; they lie `lane` halfwords apart. */
static inline void pack_line(const insitu_depthwise_run_t *run, const int8_t *from, int32_t scale,
                             int32_t step, int32_t lane, int16_t *to) {
  const int32_t zero = -low_half(run->minus_zero), right = run->right;
  const int32_t end = 2 * (run->head + run->pairs + run->tail) - run->tail;
  if (run->head)
    to[0] = to[lane] = to[2 * lane] = to[3 * lane] = 0;
  for (int32_t k = run->head; k < end; k++, from += right) {
    int16_t *const place = to + (k >> 1) * step + (k & 1);
    for (int32_t i = 0; i < 4; i++)
      place[i * lane] =
          (int16_t)(scale ? (from[i] * (run->factor[i] >> 9) + 128) >> 8 : from[i] - zero);
  }
  for (int32_t i = 0; run->tail && i < 4; i++)
    to[(end >> 1) * step + i * lane + 1] = 0;
}

static inline void pack_lines(const insitu_depthwise_run_t *run, const int8_t *from, int32_t lines,
                              int32_t scale, int32_t step, int32_t lane, int16_t *to) {
  const int32_t pairs = run->head + run->pairs + run->tail;
  const int32_t next = run->next + (run->head + 2 * run->pairs + run->tail) * run->right;
  for (; lines > 0; lines--, from += next, to += pairs * step + run->to_next / 2)
    pack_line(run, from, scale, step, lane, to);
}

void insitu_depthwise_pack_lines(const insitu_depthwise_run_t *run, const int8_t *from,
                                 int32_t lines, int16_t *to) {
  pack_lines(run, from, lines, 0, INSITU_PAIR_STEP, 2, to);
}

void insitu_depthwise_pack_lines_expanded(const insitu_depthwise_run_t *run, const int8_t *from,
                                          int32_t lines, int16_t *to) {
  pack_lines(run, from, lines, 1, INSITU_PAIR_STEP, 2, to);
}

void insitu_depthwise_pack_lines_planar(const insitu_depthwise_run_t *run, const int8_t *from,
                                        int32_t lines, int16_t *to) {
  pack_lines(run, from, lines, 0, 2, run->lane / 2, to);
}

void insitu_depthwise_pack_lines_errors(const insitu_depthwise_run_t *run, const int8_t *from,
                                        int32_t lines, int16_t *to, int32_t *sum) {
  int32_t s0 = sum[0], s1 = sum[1], s2 = sum[2], s3 = sum[3];
  pack_lines(run, from, lines, 0, 2, run->lane / 2, to);
  for (; lines > 0; lines--, from += run->next)
    for (int32_t k = run->head + 2 * run->pairs + run->tail; k > 0; k--, from += run->right)
      s0 += from[0], s1 += from[1], s2 += from[2], s3 += from[3];
  sum[0] = s0, sum[1] = s1, sum[2] = s2, sum[3] = s3;
}

#endif
