/* Instructions of the DSP extension (Cortex-M4, M7, M33, M55) under their names, and the same in C,
 * which says what they do. A word is four int8 (s8x4) or two int16 (s16x2), the first one lowest.
 */
#ifndef INSITU_DSP_H
#define INSITU_DSP_H

#include <string.h>

#include "insitu_fixed_point.h"

static inline uint32_t load_word(const void *from) {
  uint32_t word;
  memcpy(&word, from, sizeof word);
  return word;
}

static inline void store_word(void *to, uint32_t word) { memcpy(to, &word, sizeof word); }

static inline uint32_t load_word_aligned(const void *from) {
  return load_word(__builtin_assume_aligned(from, sizeof(uint32_t)));
}

static inline void store_word_aligned(void *to, uint32_t word) {
  memcpy(__builtin_assume_aligned(to, sizeof word), &word, sizeof word);
}

static inline int32_t low_half(uint32_t v) { return (int16_t)(v & 0xFFFFu); }

static inline int32_t high_half(uint32_t v) { return (int16_t)(v >> 16); }

/* (a, b) of values of 16 bits */
static inline uint32_t pack_s16x2(int32_t a, int32_t b) {
  return ((uint32_t)a & 0xFFFFu) | (uint32_t)b << 16;
}

static inline uint32_t dup_s16x2(int32_t v) { return (uint32_t)(v & 0xFFFF) * 0x10001u; }

static inline uint32_t dup_s8x4(int32_t v) { return (uint32_t)(v & 0xFF) * 0x01010101u; }

#if defined(__ARM_FEATURE_DSP) && defined(__thumb__)
#define INSITU_DSP_1(name, text)                                                                   \
  static inline uint32_t name(uint32_t v) {                                                        \
    uint32_t r;                                                                                    \
    __asm__(text : "=r"(r) : "r"(v));                                                              \
    return r;                                                                                      \
  }
#define INSITU_DSP_2(name, text)                                                                   \
  static inline uint32_t name(uint32_t a, uint32_t b) {                                            \
    uint32_t r;                                                                                    \
    __asm__(text : "=r"(r) : "r"(a), "r"(b));                                                      \
    return r;                                                                                      \
  }
#define INSITU_DSP_SELECT(name, text)                                                              \
  static inline uint32_t name(uint32_t a, uint32_t b) {                                            \
    uint32_t r;                                                                                    \
    __asm__(text : "=&r"(r) : "r"(a), "r"(b) : "cc");                                              \
    return r;                                                                                      \
  }
#define INSITU_DSP_SUM(name, text)                                                                 \
  static inline int32_t name(uint32_t a, uint32_t b, int32_t sum) {                                \
    int32_t r;                                                                                     \
    __asm__(text " %0, %1, %2, %3" : "=r"(r) : "r"(a), "r"(b), "r"(sum));                          \
    return r;                                                                                      \
  }

INSITU_DSP_2(pkhbt, "pkhbt %0, %1, %2, lsl #16")
INSITU_DSP_2(pkhtb, "pkhtb %0, %1, %2, asr #16")
INSITU_DSP_1(sxtb16, "sxtb16 %0, %1")
INSITU_DSP_1(sxtb16_ror8, "sxtb16 %0, %1, ror #8")
INSITU_DSP_2(sxtab16, "sxtab16 %0, %1, %2")
INSITU_DSP_2(sxtab16_ror8, "sxtab16 %0, %1, %2, ror #8")
INSITU_DSP_2(uxtab16, "uxtab16 %0, %1, %2")
INSITU_DSP_2(uxtab16_ror8, "uxtab16 %0, %1, %2, ror #8")
INSITU_DSP_2(qadd8, "qadd8 %0, %1, %2")
INSITU_DSP_2(qadd16, "qadd16 %0, %1, %2")
INSITU_DSP_SELECT(max_s8x4, "ssub8 %0, %1, %2\n\tsel %0, %1, %2")
INSITU_DSP_SELECT(min_s8x4, "ssub8 %0, %1, %2\n\tsel %0, %2, %1")
INSITU_DSP_SELECT(max_s16x2, "ssub16 %0, %1, %2\n\tsel %0, %1, %2")
INSITU_DSP_SELECT(min_s16x2, "ssub16 %0, %1, %2\n\tsel %0, %2, %1")
INSITU_DSP_SUM(smlad, "smlad")
INSITU_DSP_SUM(smlabt, "smlabt")
INSITU_DSP_SUM(smlatb, "smlatb")

static inline uint32_t abs_s8x4(uint32_t v) {
  uint32_t r;
  __asm__("ssub8 %0, %2, %1\n\tsel %0, %0, %1" : "=&r"(r) : "r"(v), "r"(0) : "cc");
  return r;
}

static inline uint32_t keep_ge_s8x4(uint32_t a, uint32_t b, uint32_t v) {
  const uint32_t none = 0;
  uint32_t r;
  __asm__("ssub8 %0, %1, %2\n\tsel %0, %3, %4"
          : "=&r"(r)
          : "r"(a), "r"(b), "r"(v), "r"(none)
          : "cc");
  return r;
}

static inline uint32_t take_ge_s8x4(uint32_t a, uint32_t b, uint32_t *v) {
  const uint32_t none = 0;
  uint32_t taken, left;
  __asm__("ssub8 %0, %2, %3\n\tsel %0, %4, %5\n\tsel %1, %5, %4"
          : "=&r"(taken), "=&r"(left)
          : "r"(a), "r"(b), "r"(*v), "r"(none)
          : "cc");
  *v = left;
  return taken;
}

static inline int32_t count_nonzero_s8x4(uint32_t v, int32_t count) {
  const uint32_t ones = 0x01010101u, none = 0;
  uint32_t r;
  __asm__("usub8 %0, %1, %2\n\tsel %0, %2, %3\n\tusada8 %0, %0, %3, %4"
          : "=&r"(r)
          : "r"(v), "r"(ones), "r"(none), "r"(count)
          : "cc");
  return (int32_t)r;
}

static inline int32_t smlawb(int32_t a, uint32_t b, int32_t sum) {
  int32_t r;
  __asm__("smlawb %0, %1, %2, %3" : "=r"(r) : "r"(a), "r"(b), "r"(sum));
  return r;
}

static inline int32_t smlawt(int32_t a, uint32_t b, int32_t sum) {
  int32_t r;
  __asm__("smlawt %0, %1, %2, %3" : "=r"(r) : "r"(a), "r"(b), "r"(sum));
  return r;
}

static inline int32_t ssat8_asr14(int32_t v) {
  int32_t r;
  __asm__("ssat %0, #8, %1, asr #14" : "=r"(r) : "r"(v) : "cc");
  return r;
}

static inline int32_t smmulr(int32_t a, int32_t b) {
  int32_t r;
  __asm__("smmulr %0, %1, %2" : "=r"(r) : "r"(a), "r"(b));
  return r;
}

static inline int32_t smmulr_ssat16(int32_t a, int32_t b) {
  int32_t r;
  __asm__("smmulr %0, %1, %2\n\tssat %0, #16, %0" : "=r"(r) : "r"(a), "r"(b) : "cc");
  return r;
}

static inline uint32_t scale_s16x2(int32_t factor, uint32_t e) {
  const int32_t low = smlawb(factor, e, 1), high = smlawt(factor, e, 1);
  uint32_t r;
  __asm__("pkhbt %0, %1, %2, lsl #15" : "=r"(r) : "r"(low >> 1), "r"(high));
  return r;
}

#else
static inline int32_t byte_of(uint32_t v, int32_t k) { return (int8_t)(v >> 8 * k & 0xFFu); }

static inline int32_t saturate_s16(int32_t v) { return insitu_clamp(v, INT16_MIN, INT16_MAX); }

/* (a.low, b.low) */
static inline uint32_t pkhbt(uint32_t a, uint32_t b) { return (a & 0xFFFFu) | b << 16; }

/* (b.high, a.high) */
static inline uint32_t pkhtb(uint32_t a, uint32_t b) { return b >> 16 | (a & 0xFFFF0000u); }

/* a + bytes 0 and 2 of v, modulo 2^16 */
static inline uint32_t sxtab16(uint32_t a, uint32_t v) {
  return pack_s16x2(low_half(a) + byte_of(v, 0), high_half(a) + byte_of(v, 2));
}

/* a + bytes 1 and 3 of v */
static inline uint32_t sxtab16_ror8(uint32_t a, uint32_t v) { return sxtab16(a, v >> 8); }

static inline uint32_t sxtb16(uint32_t v) { return sxtab16(0, v); }

static inline uint32_t sxtb16_ror8(uint32_t v) { return sxtab16(0, v >> 8); }

/* The same of unsigned bytes. */
static inline uint32_t uxtab16(uint32_t a, uint32_t v) {
  return ((a + (v & 0xFFu)) & 0xFFFFu) | ((a >> 16) + (v >> 16 & 0xFFu)) << 16;
}

static inline uint32_t uxtab16_ror8(uint32_t a, uint32_t v) { return uxtab16(a, v >> 8); }

/* a + b, each clamped to int8 */
static inline uint32_t qadd8(uint32_t a, uint32_t b) {
  uint32_t r = 0;
  for (int32_t k = 0; k < 4; k++)
    r |= ((uint32_t)insitu_clamp(byte_of(a, k) + byte_of(b, k), -128, 127) & 0xFFu) << 8 * k;
  return r;
}

/* a + b, each clamped to int16 */
static inline uint32_t qadd16(uint32_t a, uint32_t b) {
  return pack_s16x2(saturate_s16(low_half(a) + low_half(b)),
                    saturate_s16(high_half(a) + high_half(b)));
}

/* The bytes of v where a >= b, 0 elsewhere. */
static inline uint32_t keep_ge_s8x4(uint32_t a, uint32_t b, uint32_t v) {
  uint32_t r = 0;
  for (int32_t k = 0; k < 4; k++)
    r |= byte_of(a, k) >= byte_of(b, k) ? v & 0xFFu << 8 * k : 0;
  return r;
}

/* The same; they become 0 in v. */
static inline uint32_t take_ge_s8x4(uint32_t a, uint32_t b, uint32_t *v) {
  const uint32_t taken = keep_ge_s8x4(a, b, *v);
  *v &= ~taken;
  return taken;
}

static inline uint32_t max_s8x4(uint32_t a, uint32_t b) {
  return keep_ge_s8x4(a, b, a) | (b & ~keep_ge_s8x4(a, b, 0xFFFFFFFFu));
}

static inline uint32_t min_s8x4(uint32_t a, uint32_t b) {
  return keep_ge_s8x4(a, b, b) | (a & ~keep_ge_s8x4(a, b, 0xFFFFFFFFu));
}

static inline uint32_t max_s16x2(uint32_t a, uint32_t b) {
  return pack_s16x2(insitu_max(low_half(a), low_half(b)), insitu_max(high_half(a), high_half(b)));
}

static inline uint32_t min_s16x2(uint32_t a, uint32_t b) {
  return pack_s16x2(insitu_min(low_half(a), low_half(b)), insitu_min(high_half(a), high_half(b)));
}

/* |v|, v in [-127, 127] */
static inline uint32_t abs_s8x4(uint32_t v) {
  uint32_t r = 0;
  for (int32_t k = 0; k < 4; k++)
    r |= (uint32_t)insitu_max(byte_of(v, k), -byte_of(v, k)) << 8 * k;
  return r;
}

/* count + how many bytes of v are not 0 */
static inline int32_t count_nonzero_s8x4(uint32_t v, int32_t count) {
  for (int32_t k = 0; k < 4; k++)
    count += byte_of(v, k) != 0;
  return count;
}

static inline int32_t smlad(uint32_t a, uint32_t b, int32_t sum) {
  return sum + low_half(a) * low_half(b) + high_half(a) * high_half(b);
}

static inline int32_t smlabt(uint32_t a, uint32_t b, int32_t sum) {
  return sum + low_half(a) * high_half(b);
}

static inline int32_t smlatb(uint32_t a, uint32_t b, int32_t sum) {
  return sum + high_half(a) * low_half(b);
}

/* a times a half of b, / 2^16, rounded down, + sum */
static inline int32_t smlawb(int32_t a, uint32_t b, int32_t sum) {
  return (int32_t)((int64_t)a * low_half(b) >> 16) + sum;
}

static inline int32_t smlawt(int32_t a, uint32_t b, int32_t sum) { return smlawb(a, b >> 16, sum); }

/* v >> 14, clamped to int8 */
static inline int32_t ssat8_asr14(int32_t v) { return insitu_clamp(v >> 14, -128, 127); }

/* round(a b / 2^32), halves up */
static inline int32_t smmulr(int32_t a, int32_t b) { return insitu_round_high(a, b); }

/* The same, clamped to int16. */
static inline int32_t smmulr_ssat16(int32_t a, int32_t b) {
  return saturate_s16(insitu_rescale(a, b, 0));
}

/* round(e factor / 2^17), halves up, of both; below 2^15 */
static inline uint32_t scale_s16x2(int32_t factor, uint32_t e) {
  const int64_t half = (int64_t)1 << 16;
  return pack_s16x2((int32_t)(((int64_t)factor * low_half(e) + half) >> 17),
                    (int32_t)(((int64_t)factor * high_half(e) + half) >> 17));
}
#endif

#endif
