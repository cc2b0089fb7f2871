/* Inner loops over errors, one by one: the definition. */
#ifndef INSITU_ERROR_WORDS_PORTABLE_H
#define INSITU_ERROR_WORDS_PORTABLE_H

#include "insitu_error_words.h"

/* sums[j] = sum over at most INSITU_SUMMED positions of |dy[rows position + j]|, j < INSITU_WORD */
static inline void sum_error_word(int32_t positions, int32_t rows, const int8_t *dy,
                                  int32_t *sums) {
  int32_t a = 0, b = 0, c = 0, d = 0;
  for (; positions > 0; positions--, dy += rows) {
    a += dy[0] < 0 ? -dy[0] : dy[0];
    b += dy[1] < 0 ? -dy[1] : dy[1];
    c += dy[2] < 0 ? -dy[2] : dy[2];
    d += dy[3] < 0 ? -dy[3] : dy[3];
  }
  sums[0] = a, sums[1] = b, sums[2] = c, sums[3] = d;
}

/* dy[rows position + j] = 0 at all positions for the j < INSITU_WORD whose byte of `kept` is 0; the
 * others are 0xFF. */
static inline void keep_error_word(int32_t positions, int32_t rows, uint32_t kept, int8_t *dy) {
  for (; positions > 0; positions--, dy += rows) {
    for (int32_t j = 0; j < INSITU_WORD; j++) {
      if ((kept >> 8 * j & 0xFFu) == 0)
        dy[j] = 0;
    }
  }
}

/* Byte j of the result is 0 where dy[rows position + j] is at all positions, j < INSITU_WORD. */
static inline uint32_t nonzero_word(int32_t positions, int32_t rows, const int8_t *dy) {
  uint32_t nonzero = 0;
  for (; positions > 0; positions--, dy += rows) {
    for (int32_t j = 0; j < INSITU_WORD; j++)
      nonzero |= (uint32_t)(uint8_t)dy[j] << 8 * j;
  }
  return nonzero;
}

/* The first k from `from` on where e[k] is not 0; size where there is none. */
static inline int32_t next_error(int32_t from, int32_t size, const int8_t *e) {
  int32_t k = from;
  while (k < size && e[k] == 0)
    k++;
  return k;
}

#endif
