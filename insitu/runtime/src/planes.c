/* Maps of several channels -> planes. See insitu_planes.h. */
#include "insitu_planes.h"

/* What stands in a line beside the map's values: how they are made, what is noted of them. */
typedef struct {
  const int32_t *factor;     /* of e', or 0 */
  insitu_error_sums_t *sums; /* or 0 */
} insitu_making_t;

typedef struct {
  uint32_t of[INSITU_LANES];
} insitu_pairs_t;

/* Two places, one after the other, of four channels; a, b: their bytes. */
static inline insitu_pairs_t insitu_pairs(uint32_t a, uint32_t b, uint32_t minus,
                                          const int32_t *factor) {
  const uint32_t lows = insitu_pair_lows(a, b), highs = insitu_pair_highs(a, b);
  insitu_pairs_t v = {{insitu_pair_add_even(minus, lows), insitu_pair_add_odd(minus, lows),
                       insitu_pair_add_even(minus, highs), insitu_pair_add_odd(minus, highs)}};
  if (factor) {
    v.of[0] = insitu_pair_scale(factor[0], v.of[0]),
    v.of[1] = insitu_pair_scale(factor[1], v.of[1]);
    v.of[2] = insitu_pair_scale(factor[2], v.of[2]),
    v.of[3] = insitu_pair_scale(factor[3], v.of[3]);
  }
  return v;
}

/* `count` places, `apart` elements from each other, of four channels into their lines. */
__attribute__((always_inline)) static inline void insitu_spread(const int8_t *from, int32_t apart,
                                                                int32_t count, int32_t zero,
                                                                insitu_making_t making, int16_t *to,
                                                                int32_t line) {
  const uint32_t minus = insitu_make_pair(-zero, -zero);
  uint32_t even = 0, odd = 0, bits = 0;
  int16_t *last = to + 3 * line;
  for (; count > 1; count -= 2, from += 2 * apart, to += 2, last += 2) {
    const uint32_t a = insitu_load_pair(from), b = insitu_load_pair(from + apart);
    const insitu_pairs_t v = insitu_pairs(a, b, minus, making.factor);
    insitu_store_pair(to, v.of[0]), insitu_store_pair(to + line, v.of[1]);
    insitu_store_pair(to + 2 * line, v.of[2]), insitu_store_pair(last, v.of[3]);
    if (making.sums) {
      even = insitu_pair_add_even(insitu_pair_add_even(even, a), b);
      odd = insitu_pair_add_odd(insitu_pair_add_odd(odd, a), b);
      bits |= a | b;
    }
  }
  if (count > 0) {
    const uint32_t a = insitu_load_pair(from);
    const insitu_pairs_t v = insitu_pairs(a, 0, minus, making.factor);
    to[0] = (int16_t)insitu_low(v.of[0]), to[line] = (int16_t)insitu_low(v.of[1]);
    to[2 * line] = (int16_t)insitu_low(v.of[2]), last[0] = (int16_t)insitu_low(v.of[3]);
    even = insitu_pair_add_even(even, a), odd = insitu_pair_add_odd(odd, a);
    bits |= a;
  }
  if (making.sums) {
    making.sums->sum[0] += insitu_low(even), making.sums->sum[2] += insitu_high(even);
    making.sums->sum[1] += insitu_low(odd), making.sums->sum[3] += insitu_high(odd);
    making.sums->bits |= bits;
  }
}

/* The same of fewer channels. */
static void insitu_spread_of(int32_t lanes, const int8_t *from, int32_t apart, int32_t count,
                             int32_t zero, insitu_making_t making, int16_t *to, int32_t line) {
  for (int32_t lane = 0; lane < lanes; lane++) {
    for (int32_t k = 0; k < count; k++) {
      const int32_t v = from[k * apart + lane] - zero;
      to[lane * line + k] = (int16_t)v;
      if (making.factor) {
        const uint32_t scaled = insitu_pair_scale(making.factor[lane], insitu_make_pair(v, 0));
        to[lane * line + k] = (int16_t)insitu_low(scaled);
      }
      if (making.sums) {
        making.sums->sum[lane] += v;
        making.sums->bits |= ((uint32_t)v & 0xFFu) << (8 * lane);
      }
    }
  }
}

__attribute__((always_inline)) static inline void insitu_fill(const insitu_source_t *source,
                                                              insitu_making_t making, int32_t y,
                                                              int32_t lines, int16_t *planes) {
  const insitu_source_t s = *source;
  const int32_t map_line = s.width * s.channels;
  const int32_t count = insitu_min(s.columns - s.left, s.width);
  if (count <= 0)
    return;
  planes += s.left;
  for (const int32_t end = y + lines; y < end; y++, planes += s.line) {
    if (y < 0 || y >= s.height)
      for (int32_t lane = 0; lane < s.lanes; lane++)
        memset(planes + lane * s.lane, 0, (size_t)count * sizeof *planes);
    else if (s.lanes == INSITU_LANES)
      insitu_spread(s.map + y * map_line, s.channels, count, s.zero, making, planes, s.lane);
    else
      insitu_spread_of(s.lanes, s.map + y * map_line, s.channels, count, s.zero, making, planes,
                       s.lane);
  }
}

void insitu_fill_planes(const insitu_source_t *from, int32_t y, int32_t lines, int16_t *planes) {
  const insitu_making_t making = {0};
  insitu_fill(from, making, y, lines, planes);
}

void insitu_fill_expanded(const insitu_source_t *from, const int32_t *factor, int32_t y,
                          int32_t lines, int16_t *planes) {
  const insitu_making_t making = {.factor = factor};
  insitu_fill(from, making, y, lines, planes);
}

void insitu_fill_errors(const insitu_source_t *from, int32_t y, int32_t lines, int16_t *planes,
                        insitu_error_sums_t *sums) {
  const insitu_making_t making = {.sums = sums};
  insitu_fill(from, making, y, lines, planes);
}
