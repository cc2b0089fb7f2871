/* Loops over int8 elements for cores with the DSP extension, Cortex-M4, M7, M33, M55: four at once,
 * then those that are left. Contracts: insitu_bytes_portable.h. */
#ifndef INSITU_BYTES_DSP_H
#define INSITU_BYTES_DSP_H

#include "insitu_bytes.h"
#include "insitu_dsp.h"

/* Bytes 0, 2 and 1, 3 from the low bytes of halves. */
static inline uint32_t interleave_bytes(uint32_t even, uint32_t odd) {
  return (even & 0x00FF00FFu) | (odd & 0x00FF00FFu) << 8;
}

/* (a first + b second + offset) >> 14 of bytes 0 and 2, as halves. */
static inline uint32_t weighted_add_two_bytes(uint32_t a, uint32_t b, insitu_weighted_add_t by,
                                              int32_t offset) {
  const int32_t low = (int8_t)a * by.first + offset + (int8_t)b * by.second;
  const int32_t high = (int8_t)(a >> 16) * by.first + offset + (int8_t)(b >> 16) * by.second;
  return pkhbt((uint32_t)(low >> 14), (uint32_t)(high >> 14));
}

/* (a first + b second + 2^13) >> 14 of the halves of a and b, clamped to int8 */
static inline uint32_t weighted_add_halves(uint32_t a, uint32_t b, uint32_t weights) {
  const int32_t low = smlad(pkhbt(a, b), weights, 1 << 13);
  const int32_t high = smlad(pkhtb(b, a), weights, 1 << 13);
  return pkhbt((uint32_t)ssat8_asr14(low), (uint32_t)ssat8_asr14(high));
}

static inline void clamp_bytes(int32_t size, int32_t low, int32_t high, const int8_t *x,
                               int8_t *y) {
  const uint32_t lows = dup_s8x4(low), highs = dup_s8x4(high);
  int32_t i = 0;
  for (; i + 4 <= size; i += 4) {
    const uint32_t v = max_s8x4(load_word(x + i), lows);
    store_word(y + i, min_s8x4(v, highs));
  }
  for (; i < size; i++)
    y[i] = (int8_t)insitu_clamp(x[i], low, high);
}

static inline void mask_bytes(int32_t size, int32_t first, int32_t last, const int8_t *dy,
                              const int8_t *y, int8_t *dx) {
  int32_t i = 0;
  if (first <= 127 && last >= -128) {
    const uint32_t lows = dup_s8x4(insitu_max(first, -128));
    const uint32_t highs = dup_s8x4(insitu_min(last, 127));
    for (; i + 4 <= size; i += 4) {
      const uint32_t v = load_word(y + i);
      const uint32_t kept = keep_ge_s8x4(v, lows, load_word(dy + i));
      store_word(dx + i, keep_ge_s8x4(highs, v, kept));
    }
  }
  for (; i < size; i++)
    dx[i] = y[i] >= first && y[i] <= last ? dy[i] : 0;
}

static inline void weighted_add_errors(int32_t size, insitu_weighted_add_t by, const int8_t *a,
                                       const int8_t *b, int8_t *e) {
  const uint32_t weights = pkhbt((uint32_t)by.first, (uint32_t)by.second);
  int32_t i = 0;
  for (; i + 4 <= size; i += 4) {
    const uint32_t v = load_word(a + i), w = load_word(b + i);
    const uint32_t even = weighted_add_halves(sxtb16(v), sxtb16(w), weights);
    const uint32_t odd = weighted_add_halves(sxtb16_ror8(v), sxtb16_ror8(w), weights);
    store_word(e + i, max_s8x4(interleave_bytes(even, odd), 0x81818181u));
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
    const uint32_t zeros = dup_s16x2(q.zero_point), mins = dup_s16x2(q.clamp_min);
    const uint32_t maxs = dup_s16x2(q.clamp_max);
    uint32_t lows = 0, highs = 0;
    for (; i + 4 <= size; i += 4) {
      const uint32_t u = load_word(a + i), w = load_word(b + i);
      const uint32_t even = weighted_add_two_bytes(u, w, by, offset);
      const uint32_t odd = weighted_add_two_bytes(u >> 8, w >> 8, by, offset);
      lows = min_s16x2(min_s16x2(lows, even), odd);
      highs = max_s16x2(max_s16x2(highs, even), odd);
      const uint32_t y02 = max_s16x2(qadd16(even, zeros), mins);
      const uint32_t y13 = max_s16x2(qadd16(odd, zeros), mins);
      store_word(y + i, interleave_bytes(min_s16x2(y02, maxs), min_s16x2(y13, maxs)));
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
