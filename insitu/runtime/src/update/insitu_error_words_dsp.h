/* Inner loops over errors for cores with the DSP extension: Cortex-M4, M7, M33. Contracts:
 * insitu_error_words_portable.h. */
#ifndef INSITU_ERROR_WORDS_DSP_H
#define INSITU_ERROR_WORDS_DSP_H

#include "insitu_error_words.h"

static inline uint32_t insitu_word_at(const int8_t *from) {
  uint32_t word;
  memcpy(&word, from, sizeof word);
  return word;
}

static inline void insitu_put_word(int8_t *to, uint32_t word) { memcpy(to, &word, sizeof word); }

/* |v| of four bytes */
static inline uint32_t insitu_sizes_of(uint32_t v) {
  uint32_t r;
  __asm__("ssub8 %0, %2, %1\n\tsel %0, %0, %1" : "=&r"(r) : "r"(v), "r"(0) : "cc");
  return r;
}

/* |v| of four rows at two positions, added. */
static inline uint32_t insitu_two_sizes(const int8_t *dy, int32_t rows) {
  return insitu_sizes_of(insitu_word_at(dy)) + insitu_sizes_of(insitu_word_at(dy + rows));
}

/* Two sums of bytes 0 and 2 of v, of bytes 1 and 3; unsigned. */
static inline uint32_t insitu_sum_even(uint32_t sum, uint32_t v) {
  uint32_t r;
  __asm__("uxtab16 %0, %1, %2" : "=r"(r) : "r"(sum), "r"(v));
  return r;
}

static inline uint32_t insitu_sum_odd(uint32_t sum, uint32_t v) {
  uint32_t r;
  __asm__("uxtab16 %0, %1, %2, ror #8" : "=r"(r) : "r"(sum), "r"(v));
  return r;
}

static inline void insitu_sum_word(int32_t positions, int32_t rows, const int8_t *dy,
                                   int32_t *sums) {
  uint32_t even = 0, odd = 0;
  for (int32_t left = positions % 4; left > 0; left--, dy += rows) {
    const uint32_t size = insitu_sizes_of(insitu_word_at(dy));
    even = insitu_sum_even(even, size);
    odd = insitu_sum_odd(odd, size);
  }
  for (int32_t left = positions / 4; left > 0; left--, dy += 4 * rows) {
    const uint32_t a = insitu_two_sizes(dy, rows), b = insitu_two_sizes(dy + 2 * rows, rows);
    even = insitu_sum_even(insitu_sum_even(even, a), b);
    odd = insitu_sum_odd(insitu_sum_odd(odd, a), b);
  }
  sums[0] = (int32_t)(even & 0xFFFFu), sums[1] = (int32_t)(odd & 0xFFFFu);
  sums[2] = (int32_t)(even >> 16), sums[3] = (int32_t)(odd >> 16);
}

static inline void insitu_keep_word(int32_t positions, int32_t rows, uint32_t kept, int8_t *dy) {
  if (kept == 0) {
    for (; positions > 3; positions -= 4, dy += 4 * rows) {
      insitu_put_word(dy, 0);
      insitu_put_word(dy + rows, 0);
      insitu_put_word(dy + 2 * rows, 0);
      insitu_put_word(dy + 3 * rows, 0);
    }
  }
  for (; positions > 0; positions--, dy += rows)
    insitu_put_word(dy, insitu_word_at(dy) & kept);
}

static inline uint32_t insitu_live_word(int32_t positions, int32_t rows, const int8_t *dy) {
  uint32_t live = 0;
  for (; positions >= 4; positions -= 4, dy += 4 * rows) {
    live |= insitu_word_at(dy) | insitu_word_at(dy + rows) | insitu_word_at(dy + 2 * rows) |
            insitu_word_at(dy + 3 * rows);
    if ((live & 0xFFu) && (live & 0xFF00u) && (live & 0xFF0000u) && (live & 0xFF000000u))
      return live;
  }
  for (; positions > 0; positions--, dy += rows)
    live |= insitu_word_at(dy);
  return live;
}

static inline int32_t insitu_next_error(int32_t from, int32_t size, const int8_t *e) {
  int32_t k = from;
  for (; k + 4 <= size; k += 4) {
    const uint32_t word = insitu_word_at(e + k);
    if (word != 0)
      return k + __builtin_ctz(word) / 8;
  }
  while (k < size && e[k] == 0)
    k++;
  return k;
}

#endif
