/* The depthwise microkernel for cores with the DSP extension: Cortex-M4, M7, M33, M55. Four outputs
 * at once; weights w_0, w_1, ... of a line are packed as (w_0, w_1), (w_1, w_2), ...: taps - 1
 * words.
 */
#ifndef INSITU_DEPTHWISE_MICROKERNEL_DSP_H
#define INSITU_DEPTHWISE_MICROKERNEL_DSP_H

#include "insitu_depthwise_microkernels.h"

static inline int32_t weight_words(int32_t taps) { return taps - 1; }

static inline void pack_weights(const int8_t *w, int32_t apart, int32_t count, int32_t lead,
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
} insitu_sums_t;

/* Word i of those that an output reads which starts at a word: its part of the sum. */
static inline int32_t add_at_word(int32_t taps, int32_t i, uint32_t x, const uint32_t *w,
                                  int32_t sum) {
  if (2 * i + 1 < taps)
    return smlad(w[2 * i], x, sum);
  return 2 * i < taps ? smlatb(w[taps - 2], x, sum) : sum;
}

/* The same of an output that starts in the middle of a word. */
static inline int32_t add_within_word(int32_t taps, int32_t i, uint32_t x, const uint32_t *w,
                                      int32_t sum) {
  if (i == 0)
    return smlabt(w[0], x, sum);
  if (2 * i < taps)
    return smlad(w[2 * i - 1], x, sum);
  return 2 * i - 1 < taps ? smlatb(w[taps - 2], x, sum) : sum;
}

/* Adds word x, the `word`-th from where output a starts. Outputs begin `stride` columns apart. */
static inline void add_word(int32_t taps, int32_t stride, int32_t word, uint32_t x,
                            const uint32_t *w, insitu_sums_t *sum) {
  sum->a = add_at_word(taps, word, x, w, sum->a);
  if (stride == 2) {
    if (word >= 1)
      sum->b = add_at_word(taps, word - 1, x, w, sum->b);
    if (word >= 2)
      sum->c = add_at_word(taps, word - 2, x, w, sum->c);
    if (word >= 3)
      sum->d = add_at_word(taps, word - 3, x, w, sum->d);
    return;
  }
  sum->b = add_within_word(taps, word, x, w, sum->b);
  if (word >= 1) {
    sum->c = add_at_word(taps, word - 1, x, w, sum->c);
    sum->d = add_within_word(taps, word - 1, x, w, sum->d);
  }
}

static inline uint32_t load_word_of(const int16_t *x, int32_t word) {
  return load_word(x + word * INSITU_PAIR_STEP);
}

/* Four outputs of a line of weights. */
static inline void add_four_outputs(int32_t taps, int32_t stride, const int16_t *x,
                                    const uint32_t *w, insitu_sums_t *sum) {
  const int32_t words = stride == 2 ? (taps + 1) / 2 + 3 : taps / 2 + 2;
  add_word(taps, stride, 0, load_word_of(x, 0), w, sum);
  add_word(taps, stride, 1, load_word_of(x, 1), w, sum);
  add_word(taps, stride, 2, load_word_of(x, 2), w, sum);
  if (words > 3)
    add_word(taps, stride, 3, load_word_of(x, 3), w, sum);
  if (words > 4)
    add_word(taps, stride, 4, load_word_of(x, 4), w, sum);
  if (words > 5)
    add_word(taps, stride, 5, load_word_of(x, 5), w, sum);
  if (words > 6)
    add_word(taps, stride, 6, load_word_of(x, 6), w, sum);
}

/* Word i of two outputs, a and b. */
static inline void add_word_of_two(int32_t taps, int32_t stride, int32_t i, const int16_t *x,
                                   const uint32_t *w, insitu_sums_t *sum) {
  const uint32_t word = load_word_of(x, i);
  sum->a = add_at_word(taps, i, word, w, sum->a);
  if (stride == 2)
    sum->b = add_at_word(taps, i, load_word_of(x, i + 1), w, sum->b);
  else
    sum->b = add_within_word(taps, i, word, w, sum->b);
}

static inline void add_two_outputs(int32_t taps, int32_t stride, const int16_t *x,
                                   const uint32_t *w, insitu_sums_t *sum) {
  const int32_t words = stride == 2 ? (taps + 1) / 2 : taps / 2 + 1;
  add_word_of_two(taps, stride, 0, x, w, sum);
  add_word_of_two(taps, stride, 1, x, w, sum);
  if (words > 2)
    add_word_of_two(taps, stride, 2, x, w, sum);
  if (words > 3)
    add_word_of_two(taps, stride, 3, x, w, sum);
}

/* Two values. */
static inline uint32_t scale_pair(int32_t multiplier, int32_t a, int32_t b) {
  return pkhbt((uint32_t)smmulr_ssat16(a, multiplier), (uint32_t)smmulr_ssat16(b, multiplier));
}

static inline void four_outputs(const insitu_depthwise_plane_t *s,
                                const insitu_depthwise_kernel_t *kernel, int32_t taps,
                                int32_t stride, const int16_t *x, int16_t *to) {
  insitu_sums_t sum = {kernel->bias, kernel->bias, kernel->bias, kernel->bias};
  const uint32_t *w = kernel->weights;
  for (int32_t row = 0; row < kernel->rows; row++, x += s->line, w += taps - 1)
    add_four_outputs(taps, stride, x, w, &sum);
  store_word_aligned(to, scale_pair(kernel->multiplier, sum.a, sum.b));
  store_word_aligned(to + INSITU_PAIR_STEP, scale_pair(kernel->multiplier, sum.c, sum.d));
}

static inline void two_outputs(const insitu_depthwise_plane_t *s,
                               const insitu_depthwise_kernel_t *kernel, int32_t taps,
                               int32_t stride, const int16_t *x, int16_t *to) {
  insitu_sums_t sum = {kernel->bias, kernel->bias, 0, 0};
  const uint32_t *w = kernel->weights;
  for (int32_t row = 0; row < kernel->rows; row++, x += s->line, w += taps - 1)
    add_two_outputs(taps, stride, x, w, &sum);
  store_word_aligned(to, scale_pair(kernel->multiplier, sum.a, sum.b));
}

static inline void microkernel(const insitu_depthwise_plane_t *slide,
                               const insitu_depthwise_kernel_t *kernel, int32_t taps,
                               int32_t stride, const int16_t *x, int16_t *to) {
  const insitu_depthwise_plane_t s = *slide;
  for (int32_t oy = 0; oy < s.height; oy++, x += s.down, to += s.to_line) {
    const int16_t *from = x;
    int16_t *value = to;
    int32_t left = s.width;
    for (; left > 2;
         left -= 4, from += 2 * stride * INSITU_PAIR_STEP, value += 2 * INSITU_PAIR_STEP)
      four_outputs(&s, kernel, taps, stride, from, value);
    if (left > 0)
      two_outputs(&s, kernel, taps, stride, from, value);
  }
}

#endif
