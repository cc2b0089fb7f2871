/* The functions of insitu_conv_microkernels_dsp.h that insitu_bytes.h and insitu_pool_microkernels.h
 * use, in C, so that these run on the desk. */
#ifndef INSITU_CONV_MICROKERNELS_DSP_H
#define INSITU_CONV_MICROKERNELS_DSP_H

#include <string.h>

#include "insitu.h"

static inline uint32_t insitu_load_word(const void *from) {
  uint32_t word;
  memcpy(&word, from, sizeof word);
  return word;
}

static inline void insitu_store_word(void *to, uint32_t word) { memcpy(to, &word, sizeof word); }

static inline int32_t lane(uint32_t word, int32_t bits, int32_t k) {
  return bits == 8 ? (int8_t)(word >> 8 * k) : (int16_t)(word >> 16 * k);
}

static inline int32_t held(int32_t v, int32_t bits) {
  const int32_t limit = 1 << (bits - 1);
  return v < -limit ? -limit : v >= limit ? limit - 1 : v;
}

/* The lanes of b where a >= b, by lanes of `bits`, are taken from c, the others from d. */
static inline uint32_t choose(int32_t bits, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  uint32_t word = 0;
  for (int32_t k = 0; k < 32 / bits; k++) {
    const uint32_t mask = (bits == 8 ? 0xFFu : 0xFFFFu) << bits * k;
    word |= (lane(a, bits, k) >= lane(b, bits, k) ? c : d) & mask;
  }
  return word;
}

static inline uint32_t sum(int32_t bits, uint32_t a, uint32_t b) {
  uint32_t word = 0;
  for (int32_t k = 0; k < 32 / bits; k++) {
    const uint32_t mask = bits == 8 ? 0xFFu : 0xFFFFu;
    word |= ((uint32_t)held(lane(a, bits, k) + lane(b, bits, k), bits) & mask) << bits * k;
  }
  return word;
}

static inline uint32_t insitu_both(int32_t v) { return (uint32_t)(v & 0xFFFF) * 0x10001u; }

static inline uint32_t insitu_lows(uint32_t a, uint32_t b) { return (a & 0xFFFFu) | b << 16; }

static inline uint32_t insitu_highs(uint32_t a, uint32_t b) { return a >> 16 | (b & ~0xFFFFu); }

static inline uint32_t insitu_even_bytes(uint32_t v) {
  return insitu_lows((uint32_t)lane(v, 8, 0), (uint32_t)lane(v, 8, 2));
}

static inline uint32_t insitu_odd_bytes(uint32_t v) { return insitu_even_bytes(v >> 8); }

/* Modulo 2^16, as the instruction does. */
static inline uint32_t insitu_add_even_bytes(uint32_t a, uint32_t v) {
  return insitu_lows(a + (uint32_t)lane(v, 8, 0), (a >> 16) + (uint32_t)lane(v, 8, 2));
}

static inline uint32_t insitu_add_odd_bytes(uint32_t a, uint32_t v) {
  return insitu_add_even_bytes(a, v >> 8);
}

static inline uint32_t insitu_larger_bytes(uint32_t a, uint32_t b) {
  return choose(8, a, b, a, b);
}

static inline uint32_t insitu_smaller_bytes(uint32_t a, uint32_t b) {
  return choose(8, a, b, b, a);
}

static inline uint32_t insitu_larger_halves(uint32_t a, uint32_t b) {
  return choose(16, a, b, a, b);
}

static inline uint32_t insitu_smaller_halves(uint32_t a, uint32_t b) {
  return choose(16, a, b, b, a);
}

static inline uint32_t insitu_sum_of_halves(uint32_t a, uint32_t b) { return sum(16, a, b); }

static inline uint32_t insitu_sum_of_bytes(uint32_t a, uint32_t b) { return sum(8, a, b); }

static inline int32_t insitu_hold_meeting(int32_t v) { return held(v >> 14, 8); }

static inline uint32_t insitu_keep_where(uint32_t a, uint32_t b, uint32_t value) {
  return choose(8, a, b, value, 0);
}

static inline uint32_t insitu_take_where(uint32_t a, uint32_t b, uint32_t *rest) {
  const uint32_t taken = choose(8, a, b, *rest, 0);
  *rest = choose(8, a, b, 0, *rest);
  return taken;
}

static inline int32_t insitu_add_products(uint32_t a, uint32_t b, int32_t acc) {
  return acc + lane(a, 16, 0) * lane(b, 16, 0) + lane(a, 16, 1) * lane(b, 16, 1);
}

#endif
