/* Loops over int8 elements for cores with the DSP extension, Cortex-M4, M7, M33: four at once, then
 * those that are left. Contracts: insitu_bytes_portable.h. */
#ifndef INSITU_BYTES_DSP_H
#define INSITU_BYTES_DSP_H

#include "insitu_bytes.h"
#include "insitu_conv_microkernels_dsp.h"

static inline uint32_t repeat_byte(int32_t v) { return (uint32_t)(v & 0xFF) * 0x01010101u; }

/* Bytes 0, 2 and 1, 3 from the low bytes of halves. */
static inline uint32_t interleave_bytes(uint32_t even, uint32_t odd) {
  return (even & 0x00FF00FFu) | (odd & 0x00FF00FFu) << 8;
}

/* (a first + b second + offset) >> 14 of bytes 0 and 2, as halves. */
static inline uint32_t weighted_add_two_bytes(uint32_t a, uint32_t b, insitu_weighted_add_t by,
                                              int32_t offset) {
  const int32_t low = (int8_t)a * by.first + offset + (int8_t)b * by.second;
  const int32_t high = (int8_t)(a >> 16) * by.first + offset + (int8_t)(b >> 16) * by.second;
  return insitu_lows((uint32_t)(low >> 14), (uint32_t)(high >> 14));
}

/* (a first + b second + 2^13) >> 14 of the halves of a and b, clamped to int8 */
static inline uint32_t weighted_add_halves(uint32_t a, uint32_t b, uint32_t weights) {
  const int32_t low = insitu_add_products(insitu_lows(a, b), weights, 1 << 13);
  const int32_t high = insitu_add_products(insitu_highs(a, b), weights, 1 << 13);
  return insitu_lows((uint32_t)insitu_hold_meeting(low), (uint32_t)insitu_hold_meeting(high));
}

static inline void clamp_bytes(int32_t size, int32_t low, int32_t high, const int8_t *x,
                               int8_t *y) {
  const uint32_t lows = repeat_byte(low), highs = repeat_byte(high);
  int32_t i = 0;
  for (; i + 4 <= size; i += 4) {
    const uint32_t v = insitu_larger_bytes(insitu_load_word(x + i), lows);
    insitu_store_word(y + i, insitu_smaller_bytes(v, highs));
  }
  for (; i < size; i++)
    y[i] = (int8_t)insitu_clamp(x[i], low, high);
}

static inline void mask_bytes(int32_t size, int32_t first, int32_t last, const int8_t *dy,
                              const int8_t *y, int8_t *dx) {
  int32_t i = 0;
  if (first <= 127 && last >= -128) {
    const uint32_t lows = repeat_byte(insitu_max(first, -128));
    const uint32_t highs = repeat_byte(insitu_min(last, 127));
    for (; i + 4 <= size; i += 4) {
      const uint32_t v = insitu_load_word(y + i);
      const uint32_t kept = insitu_keep_where(v, lows, insitu_load_word(dy + i));
      insitu_store_word(dx + i, insitu_keep_where(highs, v, kept));
    }
  }
  for (; i < size; i++)
    dx[i] = y[i] >= first && y[i] <= last ? dy[i] : 0;
}

static inline void weighted_add_errors(int32_t size, insitu_weighted_add_t by, const int8_t *a,
                                       const int8_t *b, int8_t *e) {
  const uint32_t weights = insitu_lows((uint32_t)by.first, (uint32_t)by.second);
  int32_t i = 0;
  for (; i + 4 <= size; i += 4) {
    const uint32_t v = insitu_load_word(a + i), w = insitu_load_word(b + i);
    const uint32_t even = weighted_add_halves(insitu_even_bytes(v), insitu_even_bytes(w), weights);
    const uint32_t odd = weighted_add_halves(insitu_odd_bytes(v), insitu_odd_bytes(w), weights);
    insitu_store_word(e + i, insitu_larger_bytes(interleave_bytes(even, odd), 0x81818181u));
  }
  for (; i < size; i++)
    e[i] = weighted_add_error(by, a[i], b[i]);
}

/* By halves while |v| <= 255 2^7. */
static inline void weighted_add_values(int32_t size, insitu_weighted_add_t by, int32_t offset,
                                       const insitu_qparams_t *y_q, const int8_t *a,
                                       const int8_t *b, int8_t *y, int32_t *observed) {
  const insitu_qparams_t q = *y_q; /* local: y could be any of what lies in memory */
  int32_t i = 0, low = 0, high = 0;
  if (by.first + insitu_max(by.second, -by.second) <= 1 << 21) {
    const uint32_t zeros = insitu_both(q.zero_point), mins = insitu_both(q.clamp_min);
    const uint32_t maxs = insitu_both(q.clamp_max);
    uint32_t lows = 0, highs = 0;
    for (; i + 4 <= size; i += 4) {
      const uint32_t u = insitu_load_word(a + i), w = insitu_load_word(b + i);
      const uint32_t even = weighted_add_two_bytes(u, w, by, offset);
      const uint32_t odd = weighted_add_two_bytes(u >> 8, w >> 8, by, offset);
      lows = insitu_smaller_halves(insitu_smaller_halves(lows, even), odd);
      highs = insitu_larger_halves(insitu_larger_halves(highs, even), odd);
      const uint32_t y02 = insitu_larger_halves(insitu_sum_of_halves(even, zeros), mins);
      const uint32_t y13 = insitu_larger_halves(insitu_sum_of_halves(odd, zeros), mins);
      insitu_store_word(y + i, interleave_bytes(insitu_smaller_halves(y02, maxs),
                                                insitu_smaller_halves(y13, maxs)));
    }
    low = insitu_min((int16_t)lows, (int32_t)lows >> 16);
    high = insitu_max((int16_t)highs, (int32_t)highs >> 16);
  }
  for (; i < size; i++)
    y[i] = weighted_add_value(by, offset, &q, a[i], b[i], &low, &high);
  observed[0] = low;
  observed[1] = high;
}

#endif
