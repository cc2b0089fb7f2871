/* Maps of several channels -> planes. See insitu_planes.h. */
#include "insitu_planes.h"

/* What stands in a line beside the map's values: how they are made, what is noted of them. */
typedef struct {
  const int32_t *factor;     /* of e', or 0 */
  insitu_error_sums_t *sums; /* or 0 */
} insitu_making_t;

/* `count` places, `apart` elements from each other, of four channels into their lines. */
static inline void insitu_spread(const int8_t *from, int32_t apart, int32_t count, int32_t zero,
                                 insitu_making_t making, int16_t *to, int32_t line) {
  const uint32_t minus = insitu_make_pair(-zero, -zero);
  uint32_t even = 0, odd = 0, bits = 0;
  for (; count > 0; count -= 2, from += 2 * apart, to += 2) {
    const int32_t alone = count == 1;
    const uint32_t a = insitu_load_pair(from), b = alone ? 0 : insitu_load_pair(from + apart);
    const uint32_t lows = insitu_pair_lows(a, b), highs = insitu_pair_highs(a, b);
    uint32_t v0 = insitu_pair_add_even(minus, lows), v1 = insitu_pair_add_odd(minus, lows);
    uint32_t v2 = insitu_pair_add_even(minus, highs), v3 = insitu_pair_add_odd(minus, highs);
    if (making.factor) {
      v0 = insitu_pair_scale(making.factor[0], v0), v1 = insitu_pair_scale(making.factor[1], v1);
      v2 = insitu_pair_scale(making.factor[2], v2), v3 = insitu_pair_scale(making.factor[3], v3);
    }
    if (making.sums) {
      even = insitu_pair_add_even(insitu_pair_add_even(even, a), b);
      odd = insitu_pair_add_odd(insitu_pair_add_odd(odd, a), b);
      bits |= a | b;
    }
    if (alone) {
      to[0] = (int16_t)insitu_low(v0), to[line] = (int16_t)insitu_low(v1);
      to[2 * line] = (int16_t)insitu_low(v2), to[3 * line] = (int16_t)insitu_low(v3);
      break;
    }
    insitu_store_pair(to, v0), insitu_store_pair(to + line, v1);
    insitu_store_pair(to + 2 * line, v2), insitu_store_pair(to + 3 * line, v3);
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

static inline void insitu_fill(const insitu_source_t *from, insitu_making_t making, int32_t y,
                               int32_t lines, int16_t *planes) {
  const int32_t line = from->columns * from->phases, apart = from->phases * from->channels;
  const int32_t lanes = from->lanes, zero = from->zero;
  for (int32_t end = y + lines; y < end; y++, planes += line * INSITU_LANES) {
    if (y < 0 || y >= from->height) {
      memset(planes, 0, (size_t)(line * INSITU_LANES) * sizeof *planes);
      continue;
    }
    for (int32_t phase = 0; phase < from->phases; phase++) {
      const int32_t skipped = insitu_max(insitu_div_up(from->left - phase, from->phases), 0);
      const int32_t ix = skipped * from->phases + phase - from->left;
      const int32_t count =
          insitu_min(from->columns - skipped, insitu_div_up(from->width - ix, from->phases));
      const int8_t *source = from->map + (y * from->width + ix) * from->channels;
      int16_t *to = planes + phase * from->columns + skipped;
      if (lanes == INSITU_LANES)
        insitu_spread(source, apart, count, zero, making, to, line);
      else
        insitu_spread_of(lanes, source, apart, count, zero, making, to, line);
    }
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
