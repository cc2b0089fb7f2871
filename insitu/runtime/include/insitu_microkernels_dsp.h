/* Instructions of the DSP extension (Cortex-M4, M7, M33), by what they do. */
#ifndef INSITU_MICROKERNELS_DSP_H
#define INSITU_MICROKERNELS_DSP_H

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
