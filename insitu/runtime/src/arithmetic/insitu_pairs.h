/* Pairs of int16 in a word, the first one low: instructions of the DSP extension (Cortex-M4, M7,
 * M33), by what they do, and the same in portable C. INSITU_PLANES: whether they pay. */
#ifndef INSITU_PAIRS_H
#define INSITU_PAIRS_H

#include <string.h>

#include "insitu_fixed_point.h"

#ifndef INSITU_PLANES
#if defined(__thumb__)
#define INSITU_PLANES 1
#else
#define INSITU_PLANES 0
#endif
#endif

static inline uint32_t insitu_load_pair(const void *from) {
  uint32_t word;
  memcpy(&word, from, sizeof word);
  return word;
}

/* From where a word begins. */
static inline uint32_t insitu_load_aligned(const void *from) {
  return insitu_load_pair(__builtin_assume_aligned(from, sizeof(uint32_t)));
}

static inline void insitu_store_pair(void *to, uint32_t word) {
  memcpy(__builtin_assume_aligned(to, sizeof word), &word, sizeof word);
}

static inline int32_t insitu_low(uint32_t v) { return (int16_t)(v & 0xFFFFu); }

static inline int32_t insitu_high(uint32_t v) { return (int16_t)(v >> 16); }

/* (a, b) of values of 16 bits */
static inline uint32_t insitu_make_pair(int32_t a, int32_t b) {
  return ((uint32_t)a & 0xFFFFu) | (uint32_t)b << 16;
}

#ifdef __ARM_FEATURE_DSP
#define INSITU_PAIR_OF_2(name, text)                                                               \
  static inline uint32_t name(uint32_t a, uint32_t b) {                                            \
    uint32_t r;                                                                                    \
    __asm__(text : "=r"(r) : "r"(a), "r"(b));                                                      \
    return r;                                                                                      \
  }
#define INSITU_PAIR_SUM(name, text)                                                                \
  static inline int32_t name(uint32_t a, uint32_t b, int32_t sum) {                                \
    int32_t r;                                                                                     \
    __asm__(text " %0, %1, %2, %3" : "=r"(r) : "r"(a), "r"(b), "r"(sum));                          \
    return r;                                                                                      \
  }

INSITU_PAIR_OF_2(insitu_pair_lows, "pkhbt %0, %1, %2, lsl #16")
INSITU_PAIR_OF_2(insitu_pair_highs, "pkhtb %0, %2, %1, asr #16")
INSITU_PAIR_OF_2(insitu_pair_add_even, "sxtab16 %0, %1, %2")
INSITU_PAIR_OF_2(insitu_pair_add_odd, "sxtab16 %0, %1, %2, ror #8")
INSITU_PAIR_OF_2(insitu_pair_add, "qadd16 %0, %1, %2")
INSITU_PAIR_SUM(insitu_pair_dot, "smlad")
INSITU_PAIR_SUM(insitu_pair_low_high, "smlabt")
INSITU_PAIR_SUM(insitu_pair_high_low, "smlatb")

static inline uint32_t insitu_pair_max(uint32_t a, uint32_t b) {
  uint32_t r;
  __asm__("ssub16 %0, %1, %2\n\tsel %0, %1, %2" : "=&r"(r) : "r"(a), "r"(b) : "cc");
  return r;
}

static inline uint32_t insitu_pair_min(uint32_t a, uint32_t b) {
  uint32_t r;
  __asm__("ssub16 %0, %1, %2\n\tsel %0, %2, %1" : "=&r"(r) : "r"(a), "r"(b) : "cc");
  return r;
}

/* round(v multiplier / 2^32), halves up, held to int16 */
static inline int32_t insitu_scale_to_half(int32_t v, int32_t multiplier) {
  int32_t r;
  __asm__("smmulr %0, %1, %2\n\tssat %0, #16, %0" : "=r"(r) : "r"(v), "r"(multiplier) : "cc");
  return r;
}

/* round(e factor / 2^17), halves up, of both; below 2^15 */
static inline uint32_t insitu_pair_scale(int32_t factor, uint32_t e) {
  int32_t low, high;
  __asm__("smlawb %0, %1, %2, %3" : "=r"(low) : "r"(factor), "r"(e), "r"(1));
  __asm__("smlawt %0, %1, %2, %3" : "=r"(high) : "r"(factor), "r"(e), "r"(1));
  uint32_t r;
  __asm__("pkhbt %0, %1, %2, lsl #15" : "=r"(r) : "r"(low >> 1), "r"(high));
  return r;
}
#else
static inline int32_t insitu_hold_half(int32_t v) { return insitu_clamp(v, INT16_MIN, INT16_MAX); }

/* (a.low, b.low) */
static inline uint32_t insitu_pair_lows(uint32_t a, uint32_t b) { return (a & 0xFFFFu) | b << 16; }

/* (a.high, b.high) */
static inline uint32_t insitu_pair_highs(uint32_t a, uint32_t b) {
  return a >> 16 | (b & 0xFFFF0000u);
}

/* a + bytes 0 and 2 of v, signed */
static inline uint32_t insitu_pair_add_even(uint32_t a, uint32_t v) {
  return insitu_make_pair(insitu_low(a) + (int8_t)(v & 0xFFu),
                          insitu_high(a) + (int8_t)(v >> 16 & 0xFFu));
}

/* a + bytes 1 and 3 of v, signed */
static inline uint32_t insitu_pair_add_odd(uint32_t a, uint32_t v) {
  return insitu_pair_add_even(a, v >> 8);
}

/* a + b, each held to int16 */
static inline uint32_t insitu_pair_add(uint32_t a, uint32_t b) {
  return insitu_make_pair(insitu_hold_half(insitu_low(a) + insitu_low(b)),
                          insitu_hold_half(insitu_high(a) + insitu_high(b)));
}

static inline int32_t insitu_pair_dot(uint32_t a, uint32_t b, int32_t sum) {
  return sum + insitu_low(a) * insitu_low(b) + insitu_high(a) * insitu_high(b);
}

static inline int32_t insitu_pair_low_high(uint32_t a, uint32_t b, int32_t sum) {
  return sum + insitu_low(a) * insitu_high(b);
}

static inline int32_t insitu_pair_high_low(uint32_t a, uint32_t b, int32_t sum) {
  return sum + insitu_high(a) * insitu_low(b);
}

static inline uint32_t insitu_pair_max(uint32_t a, uint32_t b) {
  return insitu_make_pair(insitu_max(insitu_low(a), insitu_low(b)),
                          insitu_max(insitu_high(a), insitu_high(b)));
}

static inline uint32_t insitu_pair_min(uint32_t a, uint32_t b) {
  return insitu_make_pair(insitu_min(insitu_low(a), insitu_low(b)),
                          insitu_min(insitu_high(a), insitu_high(b)));
}

static inline int32_t insitu_scale_to_half(int32_t v, int32_t multiplier) {
  return insitu_hold_half(insitu_rescale(v, multiplier, 0));
}

static inline uint32_t insitu_pair_scale(int32_t factor, uint32_t e) {
  const int64_t half = (int64_t)1 << 16;
  return insitu_make_pair((int32_t)(((int64_t)factor * insitu_low(e) + half) >> 17),
                          (int32_t)(((int64_t)factor * insitu_high(e) + half) >> 17));
}
#endif

#endif
