/* Instructions of the DSP extension (Cortex-M4, M7, M33), by what they do. */
#ifndef INSITU_CONV_MICROKERNELS_DSP_H
#define INSITU_CONV_MICROKERNELS_DSP_H

#include <string.h>

#include "insitu.h"

#if defined(__clang__)
#define INSITU_NAKED __attribute__((naked, noinline))
#else
#define INSITU_NAKED __attribute__((naked, noipa))
#endif

/* Two int16 in a word: low, high. */
static inline uint32_t insitu_load_word(const void *from) {
  uint32_t word;
  memcpy(&word, from, sizeof word);
  return word;
}

static inline void insitu_store_word(void *to, uint32_t word) { memcpy(to, &word, sizeof word); }

static inline uint32_t insitu_both(int32_t v) { return (uint32_t)(v & 0xFFFF) * 0x10001u; }

/* (a.low, b.low) */
static inline uint32_t insitu_lows(uint32_t a, uint32_t b) {
  uint32_t r;
  __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(r) : "r"(a), "r"(b));
  return r;
}

/* (a.high, b.high) */
static inline uint32_t insitu_highs(uint32_t a, uint32_t b) {
  uint32_t r;
  __asm__("pkhtb %0, %1, %2, asr #16" : "=r"(r) : "r"(b), "r"(a));
  return r;
}

/* Bytes 0 and 2 of v as int16. */
static inline uint32_t insitu_even_bytes(uint32_t v) {
  uint32_t r;
  __asm__("sxtb16 %0, %1" : "=r"(r) : "r"(v));
  return r;
}

static inline uint32_t insitu_odd_bytes(uint32_t v) {
  uint32_t r;
  __asm__("sxtb16 %0, %1, ror #8" : "=r"(r) : "r"(v));
  return r;
}

static inline uint32_t insitu_add_even_bytes(uint32_t a, uint32_t v) {
  uint32_t r;
  __asm__("sxtab16 %0, %1, %2" : "=r"(r) : "r"(a), "r"(v));
  return r;
}

static inline uint32_t insitu_add_odd_bytes(uint32_t a, uint32_t v) {
  uint32_t r;
  __asm__("sxtab16 %0, %1, %2, ror #8" : "=r"(r) : "r"(a), "r"(v));
  return r;
}

static inline uint32_t insitu_larger_bytes(uint32_t a, uint32_t b) {
  uint32_t r;
  __asm__("ssub8 %0, %1, %2\n\tsel %0, %1, %2" : "=&r"(r) : "r"(a), "r"(b) : "cc");
  return r;
}

static inline uint32_t insitu_smaller_bytes(uint32_t a, uint32_t b) {
  uint32_t r;
  __asm__("ssub8 %0, %1, %2\n\tsel %0, %2, %1" : "=&r"(r) : "r"(a), "r"(b) : "cc");
  return r;
}

static inline uint32_t insitu_larger_halves(uint32_t a, uint32_t b) {
  uint32_t r;
  __asm__("ssub16 %0, %1, %2\n\tsel %0, %1, %2" : "=&r"(r) : "r"(a), "r"(b) : "cc");
  return r;
}

static inline uint32_t insitu_smaller_halves(uint32_t a, uint32_t b) {
  uint32_t r;
  __asm__("ssub16 %0, %1, %2\n\tsel %0, %2, %1" : "=&r"(r) : "r"(a), "r"(b) : "cc");
  return r;
}

/* Sums of halves, held to int16. */
static inline uint32_t insitu_sum_of_halves(uint32_t a, uint32_t b) {
  uint32_t r;
  __asm__("qadd16 %0, %1, %2" : "=r"(r) : "r"(a), "r"(b));
  return r;
}

/* v >> 14, held to int8 */
static inline int32_t insitu_hold_meeting(int32_t v) {
  int32_t r;
  __asm__("ssat %0, #8, %1, asr #14" : "=r"(r) : "r"(v) : "cc");
  return r;
}

/* The bytes of `value` where a >= b as int8, 0 elsewhere. */
static inline uint32_t insitu_keep_where(uint32_t a, uint32_t b, uint32_t value) {
  const uint32_t none = 0;
  uint32_t r;
  __asm__("ssub8 %0, %1, %2\n\tsel %0, %3, %4"
          : "=&r"(r)
          : "r"(a), "r"(b), "r"(value), "r"(none)
          : "cc");
  return r;
}

/* Sums of bytes, held to int8. */
static inline uint32_t insitu_sum_of_bytes(uint32_t a, uint32_t b) {
  uint32_t r;
  __asm__("qadd8 %0, %1, %2" : "=r"(r) : "r"(a), "r"(b));
  return r;
}

/* Of the bytes of `rest` those where a >= b as int8, 0 elsewhere; there, rest becomes 0. */
static inline uint32_t insitu_take_where(uint32_t a, uint32_t b, uint32_t *rest) {
  const uint32_t none = 0;
  uint32_t taken, left;
  __asm__("ssub8 %0, %2, %3\n\tsel %0, %4, %5\n\tsel %1, %5, %4"
          : "=&r"(taken), "=&r"(left)
          : "r"(a), "r"(b), "r"(*rest), "r"(none)
          : "cc");
  *rest = left;
  return taken;
}

/* count + how many bytes of v are not 0 */
static inline int32_t insitu_add_bytes_that_are(uint32_t v, int32_t count) {
  const uint32_t ones = 0x01010101u, none = 0;
  uint32_t r;
  __asm__("usub8 %0, %1, %2\n\tsel %0, %2, %3\n\tusada8 %0, %0, %3, %4"
          : "=&r"(r)
          : "r"(v), "r"(ones), "r"(none), "r"(count)
          : "cc");
  return (int32_t)r;
}

/* factor times the low half of e, / 2^16, rounded down, + 1 */
static inline int32_t insitu_scale_low(int32_t factor, uint32_t e) {
  int32_t r;
  __asm__("smlawb %0, %1, %2, %3" : "=r"(r) : "r"(factor), "r"(e), "r"(1));
  return r;
}

/* acc + the products of both halves */
static inline int32_t insitu_add_products(uint32_t a, uint32_t b, int32_t acc) {
  int32_t r;
  __asm__("smlad %0, %1, %2, %3" : "=r"(r) : "r"(a), "r"(b), "r"(acc));
  return r;
}

#endif
