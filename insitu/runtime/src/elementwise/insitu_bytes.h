/* Loops over the elements of maps that have no neighbours. What is done to one element is the
 * definition; with the DSP extension four go at once. Results may take the place of an operand. */
#ifndef INSITU_BYTES_H
#define INSITU_BYTES_H

#include "insitu_dsp.h"

/* Two int8 operands become a first + b second. */
typedef struct {
  int32_t first, second;
} insitu_weighing_t;

#if defined(__ARM_FEATURE_DSP)
/* Bytes 0, 2 and 1, 3 from the low bytes of halves. */
static inline uint32_t insitu_pack_bytes(uint32_t even, uint32_t odd) {
  return (even & 0x00FF00FFu) | (odd & 0x00FF00FFu) << 8;
}

/* (a first + b second + offset) >> 14 of bytes 0 and 2, as halves. */
static inline uint32_t insitu_meet_pair(uint32_t a, uint32_t b, insitu_weighing_t by,
                                        int32_t offset) {
  const int32_t low = (int8_t)a * by.first + offset + (int8_t)b * by.second;
  const int32_t high = (int8_t)(a >> 16) * by.first + offset + (int8_t)(b >> 16) * by.second;
  return pkhbt((uint32_t)(low >> 14), (uint32_t)(high >> 14));
}

/* (a first + b second + 2^13) >> 14 of the halves of a and b, held to int8 */
static inline uint32_t insitu_meet_halves(uint32_t a, uint32_t b, uint32_t weights) {
  const int32_t low = smlad(pkhbt(a, b), weights, 1 << 13);
  const int32_t high = smlad(pkhtb(b, a), weights, 1 << 13);
  return pkhbt((uint32_t)ssat8_asr14(low), (uint32_t)ssat8_asr14(high));
}
#endif

/* y[i] = x[i], held to [low, high], both int8. */
static inline void insitu_hold(int32_t size, int32_t low, int32_t high, const int8_t *x,
                               int8_t *y) {
  int32_t i = 0;
#if defined(__ARM_FEATURE_DSP)
  const uint32_t lows = dup_s8x4(low), highs = dup_s8x4(high);
  for (; i + 4 <= size; i += 4) {
    const uint32_t v = max_s8x4(load_word(x + i), lows);
    store_word(y + i, min_s8x4(v, highs));
  }
#endif
  for (; i < size; i++)
    y[i] = (int8_t)insitu_clamp(x[i], low, high);
}

/* dx[i] = dy[i] where first <= y[i] <= last, else 0. */
static inline void insitu_pass(int32_t size, int32_t first, int32_t last, const int8_t *dy,
                               const int8_t *y, int8_t *dx) {
  int32_t i = 0;
#if defined(__ARM_FEATURE_DSP)
  if (first <= 127 && last >= -128) {
    const uint32_t lows = dup_s8x4(insitu_max(first, -128));
    const uint32_t highs = dup_s8x4(insitu_min(last, 127));
    for (; i + 4 <= size; i += 4) {
      const uint32_t v = load_word(y + i);
      const uint32_t kept = keep_ge_s8x4(v, lows, load_word(dy + i));
      store_word(dx + i, keep_ge_s8x4(highs, v, kept));
    }
  }
#endif
  for (; i < size; i++)
    dx[i] = y[i] >= first && y[i] <= last ? dy[i] : 0;
}

/* e[i] = (a[i] first + b[i] second + 2^13) >> 14, held to [-127, 127]; 0 <= first, second <= 2^14.
 */
static inline void insitu_meet_errors(int32_t size, insitu_weighing_t by, const int8_t *a,
                                      const int8_t *b, int8_t *e) {
  int32_t i = 0;
#if defined(__ARM_FEATURE_DSP)
  const uint32_t weights = pkhbt((uint32_t)by.first, (uint32_t)by.second);
  for (; i + 4 <= size; i += 4) {
    const uint32_t v = load_word(a + i), w = load_word(b + i);
    const uint32_t even = insitu_meet_halves(sxtb16(v), sxtb16(w), weights);
    const uint32_t odd = insitu_meet_halves(sxtb16_ror8(v), sxtb16_ror8(w), weights);
    store_word(e + i, max_s8x4(insitu_pack_bytes(even, odd), 0x81818181u));
  }
#endif
  for (; i < size; i++)
    e[i] = (int8_t)insitu_clamp(insitu_meet(a[i] * by.first + b[i] * by.second), -127, 127);
}

/* v = (a[i] first + b[i] second + offset) >> 14, which stays below 2^17; y[i] = v + zero, held to
 * the clamp; observed: the least and the largest v, 0 among them. */
static inline void insitu_meet_values(int32_t size, insitu_weighing_t by, int32_t offset,
                                      const insitu_qparams_t *y_q, const int8_t *a, const int8_t *b,
                                      int8_t *y, int32_t *observed) {
  const int32_t zero = y_q->zero_point, clamp_min = y_q->clamp_min, clamp_max = y_q->clamp_max;
  int32_t i = 0, low = 0, high = 0;
#if defined(__ARM_FEATURE_DSP)
  if (by.first + insitu_max(by.second, -by.second) <= 1 << 21) { /* |v| <= 255 2^7 */
    const uint32_t zeros = dup_s16x2(zero), mins = dup_s16x2(clamp_min);
    const uint32_t maxs = dup_s16x2(clamp_max);
    uint32_t lows = 0, highs = 0;
    for (; i + 4 <= size; i += 4) {
      const uint32_t u = load_word(a + i), w = load_word(b + i);
      const uint32_t even = insitu_meet_pair(u, w, by, offset);
      const uint32_t odd = insitu_meet_pair(u >> 8, w >> 8, by, offset);
      lows = min_s16x2(min_s16x2(lows, even), odd);
      highs = max_s16x2(max_s16x2(highs, even), odd);
      const uint32_t y02 = max_s16x2(qadd16(even, zeros), mins);
      const uint32_t y13 = max_s16x2(qadd16(odd, zeros), mins);
      store_word(y + i, insitu_pack_bytes(min_s16x2(y02, maxs), min_s16x2(y13, maxs)));
    }
    low = insitu_min((int16_t)lows, (int32_t)lows >> 16);
    high = insitu_max((int16_t)highs, (int32_t)highs >> 16);
  }
#endif
  for (; i < size; i++) {
    const int32_t v = (a[i] * by.first + offset + b[i] * by.second) >> 14;
    low = insitu_min(low, v);
    high = insitu_max(high, v);
    y[i] = (int8_t)insitu_clamp(v + zero, clamp_min, clamp_max);
  }
  observed[0] = low;
  observed[1] = high;
}

#endif
