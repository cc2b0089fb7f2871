/* Correlation by parts of three taps. See insitu_depthwise_correlate.h. */
#include "insitu_depthwise_correlate.h"

#define INSITU_PART 3 /* taps at once */

/* Taps from `first` on, even, so that x begins at a word; those of the part before are left out. */
static void correlate_part(const insitu_depthwise_correlation_t *c, int32_t first, const int16_t *e,
                           const int16_t *x, int32_t *gradient) {
  int32_t part[INSITU_PLANES_KERNEL * INSITU_PART] = {0};
  insitu_depthwise_correlation_t of_part = *c;
  of_part.apart = 1, of_part.below = INSITU_PART;
  insitu_depthwise_correlate_3(&of_part, e, x + first, part);
  for (int32_t row = 0; row < c->rows; row++, gradient += c->below)
    for (int32_t k = first > 0; k < INSITU_PART && first + k < c->taps; k++)
      gradient[(first + k) * c->apart] += part[row * INSITU_PART + k];
}

#ifdef __ARM_FEATURE_DSP
/* Of `taps` taps, by pairs that need not begin at a word. */
static inline void correlate_taps(const insitu_depthwise_correlation_t *c, int32_t taps,
                                  const int16_t *e, const int16_t *x, int32_t *gradient) {
  const int16_t *const end = e + 2 * INSITU_BLOCK * correlate_blocks(c->pairs);
  for (int32_t row = 0; row < c->rows; row++, x += c->line, gradient += c->below) {
    int32_t s[INSITU_PLANES_KERNEL] = {0};
    const int16_t *from = x;
    for (const int16_t *d = e; d != end; d += 4, from += 4) {
      const uint32_t first = load_word_aligned(d), second = load_word_aligned(d + 2);
      for (int32_t k = 0; k < taps; k++)
        s[k] = smlad(first, load_word(from + k), s[k]);
      for (int32_t k = 0; k < taps; k++)
        s[k] = smlad(second, load_word(from + 2 + k), s[k]);
    }
    for (int32_t k = 0; k < taps; k++)
      gradient[k * c->apart] += s[k];
  }
}

static int32_t correlate_wide(const insitu_depthwise_correlation_t *c, const int16_t *e,
                              const int16_t *x, int32_t *gradient) {
  if (c->taps == 4)
    correlate_taps(c, 4, e, x, gradient);
  else if (c->taps == 5)
    correlate_taps(c, 5, e, x, gradient);
  else if (c->taps == 7)
    correlate_taps(c, 7, e, x, gradient);
  return c->taps > INSITU_PART && c->taps != 6;
}
#else
/* Wider than 3 taps: does not pay. */
static int32_t correlate_wide(const insitu_depthwise_correlation_t *c, const int16_t *e,
                              const int16_t *x, int32_t *gradient) {
  (void)c, (void)e, (void)x, (void)gradient;
  return 0;
}
#endif

#if !defined(__ARM_FEATURE_DSP) && !defined(__ARM_ARCH_6M__)
void insitu_depthwise_correlate_3(const insitu_depthwise_correlation_t *c, const int16_t *e,
                                  const int16_t *x, int32_t *gradient) {
  const int32_t count = 2 * INSITU_BLOCK * correlate_blocks(c->pairs);
  for (int32_t row = 0; row < c->rows; row++, x += c->line, gradient += c->below) {
    int32_t a = 0, b = 0, d = 0;
    for (int32_t k = 0; k < count; k++) {
      a += e[k] * x[k];
      b += e[k] * x[k + 1];
      d += e[k] * x[k + 2];
    }
    gradient[0] += a, gradient[c->apart] += b, gradient[2 * c->apart] += d;
  }
}
#endif

void insitu_depthwise_correlate(const insitu_depthwise_correlation_t *c, const int16_t *e,
                                const int16_t *x, int32_t *gradient) {
  if (c->taps == INSITU_PART) {
    insitu_depthwise_correlate_3(c, e, x, gradient);
    return;
  }
  if (correlate_wide(c, e, x, gradient))
    return;
  correlate_part(c, 0, e, x, gradient);
  for (int32_t first = 2; first + 1 < c->taps; first += 2)
    correlate_part(c, first, e, x, gradient);
}
