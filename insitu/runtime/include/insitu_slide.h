/* A line of weights slid along a line of a plane: two and four outputs at once.
 *
 * Weights w_0, w_1, ... of a line are packed as (w_0, w_1), (w_1, w_2), ...: taps - 1 words.
 */
#ifndef INSITU_SLIDE_H
#define INSITU_SLIDE_H

#include "insitu_pairs.h"

typedef struct {
  int32_t a, b, c, d;
} insitu_four_t;

/* Word i of those that an output reads which starts at a word: its part of the sum. */
static inline int32_t insitu_at_word(int32_t taps, int32_t i, uint32_t x, const uint32_t *w,
                                     int32_t sum) {
  return 2 * i == taps - 1 ? insitu_pair_high_low(w[taps - 2], x, sum)
                           : insitu_pair_dot(w[2 * i], x, sum);
}

/* The same of an output that starts in the middle of a word. */
static inline int32_t insitu_within_word(int32_t i, uint32_t x, const uint32_t *w, int32_t sum) {
  return i == 0 ? insitu_pair_low_high(w[0], x, sum) : insitu_pair_dot(w[2 * i - 1], x, sum);
}

/* Adds word x, the `word`-th from where output a starts. Outputs begin `step` columns apart. */
static inline void insitu_slide_word(int32_t taps, int32_t step, int32_t word, uint32_t x,
                                     const uint32_t *w, insitu_four_t *sum) {
  const int32_t most = (taps - 1) / 2;
  if (step == 2) {
    if (word <= most)
      sum->a = insitu_at_word(taps, word, x, w, sum->a);
    if (word >= 1 && word <= most + 1)
      sum->b = insitu_at_word(taps, word - 1, x, w, sum->b);
    if (word >= 2 && word <= most + 2)
      sum->c = insitu_at_word(taps, word - 2, x, w, sum->c);
    if (word >= 3)
      sum->d = insitu_at_word(taps, word - 3, x, w, sum->d);
    return;
  }
  if (word <= most) {
    sum->a = insitu_at_word(taps, word, x, w, sum->a);
    sum->b = insitu_within_word(word, x, w, sum->b);
  }
  if (word >= 1) {
    sum->c = insitu_at_word(taps, word - 1, x, w, sum->c);
    sum->d = insitu_within_word(word - 1, x, w, sum->d);
  }
}

/* Four outputs of a line of weights. */
static inline void insitu_slide_four(int32_t taps, int32_t step, const int16_t *x,
                                     const uint32_t *w, insitu_four_t *sum) {
  const int32_t words = (taps + 1) / 2 + (step == 2 ? 3 : 1);
  insitu_slide_word(taps, step, 0, insitu_load_pair(x), w, sum);
  insitu_slide_word(taps, step, 1, insitu_load_pair(x + 2), w, sum);
  insitu_slide_word(taps, step, 2, insitu_load_pair(x + 4), w, sum);
  if (words > 3)
    insitu_slide_word(taps, step, 3, insitu_load_pair(x + 6), w, sum);
  if (words > 4)
    insitu_slide_word(taps, step, 4, insitu_load_pair(x + 8), w, sum);
  if (words > 5)
    insitu_slide_word(taps, step, 5, insitu_load_pair(x + 10), w, sum);
  if (words > 6)
    insitu_slide_word(taps, step, 6, insitu_load_pair(x + 12), w, sum);
}

/* Word i of two outputs, a and b. */
static inline void insitu_slide_pair(int32_t taps, int32_t step, int32_t i, const int16_t *x,
                                     const uint32_t *w, insitu_four_t *sum) {
  const uint32_t word = insitu_load_pair(x + 2 * i);
  sum->a = insitu_at_word(taps, i, word, w, sum->a);
  if (step == 2)
    sum->b = insitu_at_word(taps, i, insitu_load_pair(x + 2 * i + 2), w, sum->b);
  else
    sum->b = insitu_within_word(i, word, w, sum->b);
}

static inline void insitu_slide_two(int32_t taps, int32_t step, const int16_t *x, const uint32_t *w,
                                    insitu_four_t *sum) {
  insitu_slide_pair(taps, step, 0, x, w, sum);
  insitu_slide_pair(taps, step, 1, x, w, sum);
  if (taps > 3)
    insitu_slide_pair(taps, step, 2, x, w, sum);
  if (taps > 5)
    insitu_slide_pair(taps, step, 3, x, w, sum);
}

#endif
