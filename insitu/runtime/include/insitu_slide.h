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

/* sum = bias + what a 3 x 3 kernel gives, of four outputs; `line` halfwords between lines of x. */
#ifdef __ARM_FEATURE_DSP
#define INSITU_SLIDE_LINE(W, X, S0, S1, S2, S3)                                                    \
  "ldrd %[wa], %[wb], [%[w], #" W "]\n\t"                                                          \
  "ldr %[t], [" X "]\n\t"                                                                          \
  "smlad %[a], %[wa], %[t], " S0 "\n\t"                                                            \
  "smlabt %[b], %[wa], %[t], " S1 "\n\t"                                                           \
  "ldr %[t], [" X ", #4]\n\t"                                                                      \
  "smlatb %[a], %[wb], %[t], %[a]\n\t"                                                             \
  "smlad %[b], %[wb], %[t], %[b]\n\t"                                                              \
  "smlad %[c], %[wa], %[t], " S2 "\n\t"                                                            \
  "smlabt %[d], %[wa], %[t], " S3 "\n\t"                                                           \
  "ldr %[t], [" X ", #8]\n\t"                                                                      \
  "smlatb %[c], %[wb], %[t], %[c]\n\t"                                                             \
  "smlad %[d], %[wb], %[t], %[d]\n\t"

static inline void insitu_slide_four_3x3(const int16_t *x, int32_t line, const uint32_t *w,
                                         int32_t bias, insitu_four_t *sum) {
  uint32_t t, wa, wb, next;
  __asm__(INSITU_SLIDE_LINE("0", "%[x]", "%[bias]", "%[bias]", "%[bias]", "%[bias]") /* */
          "add %[next], %[x], %[line], lsl #1\n\t"                                   /* */
          INSITU_SLIDE_LINE("8", "%[next]", "%[a]", "%[b]", "%[c]", "%[d]")          /* */
          "add %[next], %[next], %[line], lsl #1\n\t"                                /* */
          INSITU_SLIDE_LINE("16", "%[next]", "%[a]", "%[b]", "%[c]", "%[d]")
          : [a] "=&r"(sum->a), [b] "=&r"(sum->b), [c] "=&r"(sum->c), [d] "=&r"(sum->d),
            [t] "=&r"(t), [wa] "=&r"(wa), [wb] "=&r"(wb), [next] "=&r"(next)
          : [x] "r"(x), [w] "r"(w), [line] "r"(line), [bias] "r"(bias)
          : "memory");
}
#else
static inline void insitu_slide_four_3x3(const int16_t *x, int32_t line, const uint32_t *w,
                                         int32_t bias, insitu_four_t *sum) {
  sum->a = sum->b = sum->c = sum->d = bias;
  for (int32_t row = 0; row < 3; row++, x += line, w += 2)
    insitu_slide_four(3, 1, x, w, sum);
}
#endif

#endif
