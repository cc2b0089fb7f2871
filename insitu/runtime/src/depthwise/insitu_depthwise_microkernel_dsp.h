/* The depthwise microkernel for cores with the DSP extension: Cortex-M4, M7, M33. Four outputs at
 * once; weights w_0, w_1, ... of a line are packed as (w_0, w_1), (w_1, w_2), ...: taps - 1 words.
 */
#ifndef INSITU_DEPTHWISE_MICROKERNEL_DSP_H
#define INSITU_DEPTHWISE_MICROKERNEL_DSP_H

#include "insitu_depthwise_microkernels.h"

static inline int32_t insitu_words(int32_t taps) { return taps - 1; }

static inline void insitu_pack_line(const int8_t *w, int32_t apart, int32_t count, int32_t lead,
                                    int32_t taps, uint32_t *words) {
  if (taps == 3 && count == 3) {
    const int32_t middle = w[apart];
    words[0] = pack_s16x2(w[0], middle), words[1] = pack_s16x2(middle, w[2 * apart]);
    return;
  }
  int32_t last = lead == 0 && count > 0 ? w[0] : 0;
  for (int32_t k = 1 - lead; k < taps - lead; k++) {
    const int32_t next = k >= 0 && k < count ? w[k * apart] : 0;
    *words++ = pack_s16x2(last, next);
    last = next;
  }
}

typedef struct {
  int32_t a, b, c, d;
} insitu_four_t;

/* Word i of those that an output reads which starts at a word: its part of the sum. */
static inline int32_t insitu_at_word(int32_t taps, int32_t i, uint32_t x, const uint32_t *w,
                                     int32_t sum) {
  if (2 * i + 1 < taps)
    return smlad(w[2 * i], x, sum);
  return 2 * i < taps ? smlatb(w[taps - 2], x, sum) : sum;
}

/* The same of an output that starts in the middle of a word. */
static inline int32_t insitu_within_word(int32_t taps, int32_t i, uint32_t x, const uint32_t *w,
                                         int32_t sum) {
  if (i == 0)
    return smlabt(w[0], x, sum);
  if (2 * i < taps)
    return smlad(w[2 * i - 1], x, sum);
  return 2 * i - 1 < taps ? smlatb(w[taps - 2], x, sum) : sum;
}

/* Adds word x, the `word`-th from where output a starts. Outputs begin `step` columns apart. */
static inline void insitu_slide_word(int32_t taps, int32_t step, int32_t word, uint32_t x,
                                     const uint32_t *w, insitu_four_t *sum) {
  sum->a = insitu_at_word(taps, word, x, w, sum->a);
  if (step == 2) {
    if (word >= 1)
      sum->b = insitu_at_word(taps, word - 1, x, w, sum->b);
    if (word >= 2)
      sum->c = insitu_at_word(taps, word - 2, x, w, sum->c);
    if (word >= 3)
      sum->d = insitu_at_word(taps, word - 3, x, w, sum->d);
    return;
  }
  sum->b = insitu_within_word(taps, word, x, w, sum->b);
  if (word >= 1) {
    sum->c = insitu_at_word(taps, word - 1, x, w, sum->c);
    sum->d = insitu_within_word(taps, word - 1, x, w, sum->d);
  }
}

static inline uint32_t insitu_load_word_of(const int16_t *x, int32_t word) {
  return load_word(x + word * INSITU_PAIR_STEP);
}

/* Four outputs of a line of weights. */
static inline void insitu_slide_four(int32_t taps, int32_t step, const int16_t *x,
                                     const uint32_t *w, insitu_four_t *sum) {
  const int32_t words = step == 2 ? (taps + 1) / 2 + 3 : taps / 2 + 2;
  insitu_slide_word(taps, step, 0, insitu_load_word_of(x, 0), w, sum);
  insitu_slide_word(taps, step, 1, insitu_load_word_of(x, 1), w, sum);
  insitu_slide_word(taps, step, 2, insitu_load_word_of(x, 2), w, sum);
  if (words > 3)
    insitu_slide_word(taps, step, 3, insitu_load_word_of(x, 3), w, sum);
  if (words > 4)
    insitu_slide_word(taps, step, 4, insitu_load_word_of(x, 4), w, sum);
  if (words > 5)
    insitu_slide_word(taps, step, 5, insitu_load_word_of(x, 5), w, sum);
  if (words > 6)
    insitu_slide_word(taps, step, 6, insitu_load_word_of(x, 6), w, sum);
}

/* Word i of two outputs, a and b. */
static inline void insitu_slide_pair(int32_t taps, int32_t step, int32_t i, const int16_t *x,
                                     const uint32_t *w, insitu_four_t *sum) {
  const uint32_t word = insitu_load_word_of(x, i);
  sum->a = insitu_at_word(taps, i, word, w, sum->a);
  if (step == 2)
    sum->b = insitu_at_word(taps, i, insitu_load_word_of(x, i + 1), w, sum->b);
  else
    sum->b = insitu_within_word(taps, i, word, w, sum->b);
}

static inline void insitu_slide_two(int32_t taps, int32_t step, const int16_t *x, const uint32_t *w,
                                    insitu_four_t *sum) {
  const int32_t words = step == 2 ? (taps + 1) / 2 : taps / 2 + 1;
  insitu_slide_pair(taps, step, 0, x, w, sum);
  insitu_slide_pair(taps, step, 1, x, w, sum);
  if (words > 2)
    insitu_slide_pair(taps, step, 2, x, w, sum);
  if (words > 3)
    insitu_slide_pair(taps, step, 3, x, w, sum);
}

/* Two values. */
static inline uint32_t insitu_values(int32_t multiplier, int32_t a, int32_t b) {
  return pkhbt((uint32_t)smmulr_ssat16(a, multiplier), (uint32_t)smmulr_ssat16(b, multiplier));
}

static inline void insitu_slide_block(const insitu_slide_t *s, const insitu_kernel_t *kernel,
                                      int32_t taps, int32_t step, const int16_t *x, int16_t *to) {
  insitu_four_t sum = {kernel->bias, kernel->bias, kernel->bias, kernel->bias};
  const uint32_t *w = kernel->weights;
  for (int32_t row = 0; row < kernel->rows; row++, x += s->line, w += taps - 1)
    insitu_slide_four(taps, step, x, w, &sum);
  store_word_aligned(to, insitu_values(kernel->multiplier, sum.a, sum.b));
  store_word_aligned(to + INSITU_PAIR_STEP, insitu_values(kernel->multiplier, sum.c, sum.d));
}

static inline void insitu_slide_rest(const insitu_slide_t *s, const insitu_kernel_t *kernel,
                                     int32_t taps, int32_t step, const int16_t *x, int16_t *to) {
  insitu_four_t sum = {kernel->bias, kernel->bias, 0, 0};
  const uint32_t *w = kernel->weights;
  for (int32_t row = 0; row < kernel->rows; row++, x += s->line, w += taps - 1)
    insitu_slide_two(taps, step, x, w, &sum);
  store_word_aligned(to, insitu_values(kernel->multiplier, sum.a, sum.b));
}

static inline void insitu_slide(const insitu_slide_t *slide, const insitu_kernel_t *kernel,
                                int32_t taps, int32_t step, const int16_t *x, int16_t *to) {
  const insitu_slide_t s = *slide;
  for (int32_t oy = 0; oy < s.height; oy++, x += s.down, to += s.to_line) {
    const int16_t *from = x;
    int16_t *value = to;
    int32_t left = s.width;
    for (; left > 2; left -= 4, from += 2 * step * INSITU_PAIR_STEP, value += 2 * INSITU_PAIR_STEP)
      insitu_slide_block(&s, kernel, taps, step, from, value);
    if (left > 0)
      insitu_slide_rest(&s, kernel, taps, step, from, value);
  }
}

#endif
