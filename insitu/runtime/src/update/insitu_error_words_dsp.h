/* Inner loops over errors for cores with the DSP extension: Cortex-M4, M7, M33, M55. Contracts:
 * insitu_error_words_portable.h. */
#ifndef INSITU_ERROR_WORDS_DSP_H
#define INSITU_ERROR_WORDS_DSP_H

#include "insitu_dsp.h"
#include "insitu_error_words.h"

/* |v| of four rows at two positions, added. */
static inline uint32_t abs_two_words(const int8_t *dy, int32_t rows) {
  return abs_s8x4(load_word(dy)) + abs_s8x4(load_word(dy + rows));
}

static inline void sum_error_word(int32_t positions, int32_t rows, const int8_t *dy,
                                  int32_t *sums) {
  uint32_t even = 0, odd = 0;
  for (int32_t left = positions % 4; left > 0; left--, dy += rows) {
    const uint32_t size = abs_s8x4(load_word(dy));
    even = uxtab16(even, size);
    odd = uxtab16_ror8(odd, size);
  }
  for (int32_t left = positions / 4; left > 0; left--, dy += 4 * rows) {
    const uint32_t a = abs_two_words(dy, rows), b = abs_two_words(dy + 2 * rows, rows);
    even = uxtab16(uxtab16(even, a), b);
    odd = uxtab16_ror8(uxtab16_ror8(odd, a), b);
  }
  sums[0] = (int32_t)(even & 0xFFFFu), sums[1] = (int32_t)(odd & 0xFFFFu);
  sums[2] = (int32_t)(even >> 16), sums[3] = (int32_t)(odd >> 16);
}

static inline void keep_error_word(int32_t positions, int32_t rows, uint32_t kept, int8_t *dy) {
  if (kept == 0) {
    for (; positions > 3; positions -= 4, dy += 4 * rows) {
      store_word(dy, 0);
      store_word(dy + rows, 0);
      store_word(dy + 2 * rows, 0);
      store_word(dy + 3 * rows, 0);
    }
  }
  for (; positions > 0; positions--, dy += rows)
    store_word(dy, load_word(dy) & kept);
}

static inline uint32_t nonzero_word(int32_t positions, int32_t rows, const int8_t *dy) {
  uint32_t nonzero = 0;
  for (; positions >= 4; positions -= 4, dy += 4 * rows) {
    nonzero |=
        load_word(dy) | load_word(dy + rows) | load_word(dy + 2 * rows) | load_word(dy + 3 * rows);
    if ((nonzero & 0xFFu) && (nonzero & 0xFF00u) && (nonzero & 0xFF0000u) &&
        (nonzero & 0xFF000000u))
      return nonzero;
  }
  for (; positions > 0; positions--, dy += rows)
    nonzero |= load_word(dy);
  return nonzero;
}

static inline int32_t next_error(int32_t from, int32_t size, const int8_t *e) {
  int32_t k = from;
  for (; k + 4 <= size; k += 4) {
    const uint32_t word = load_word(e + k);
    if (word != 0)
      return k + __builtin_ctz(word) / 8;
  }
  while (k < size && e[k] == 0)
    k++;
  return k;
}

#endif
