/* insitu_depthwise_microkernels.h in plain C: the definition. */
#include "insitu_depthwise_microkernels.h"

#if !defined(__ARM_FEATURE_DSP)

/* Two outputs that begin at a word, `step` columns apart. */
static inline void insitu_slide_two(const insitu_slide_t *s, const insitu_kernel_t *kernel,
                                    int32_t taps, int32_t step, const int16_t *x, int16_t *to) {
  int32_t a = kernel->bias, b = kernel->bias;
  const uint32_t *w = kernel->weights;
  for (int32_t row = 0; row < kernel->rows; row++, x += s->line, w += taps) {
    int32_t v[INSITU_PLANES_KERNEL + 3];
    for (int32_t word = 0; 2 * word < taps + step; word++) {
      v[2 * word] = x[word * INSITU_PAIR_STEP];
      v[2 * word + 1] = x[word * INSITU_PAIR_STEP + 1];
    }
    for (int32_t k = 0; k < taps; k++) {
      a += (int32_t)w[k] * v[k];
      b += (int32_t)w[k] * v[k + step];
    }
  }
  a = insitu_round_high(a, kernel->multiplier), b = insitu_round_high(b, kernel->multiplier);
  to[0] = (int16_t)insitu_clamp(a, INT16_MIN, INT16_MAX);
  to[1] = (int16_t)insitu_clamp(b, INT16_MIN, INT16_MAX);
}

static inline void insitu_slide(const insitu_slide_t *slide, const insitu_kernel_t *kernel,
                                int32_t taps, int32_t step, const int16_t *x, int16_t *to) {
  const insitu_slide_t s = *slide;
  for (int32_t oy = 0; oy < s.height; oy++, x += s.down, to += s.to_line)
    for (int32_t pair = 0; 2 * pair < s.width; pair++)
      insitu_slide_two(&s, kernel, taps, step, x + pair * step * INSITU_PAIR_STEP,
                       to + pair * INSITU_PAIR_STEP);
}

void insitu_slide_plane(const insitu_slide_t *s, const insitu_kernel_t *kernel, const int16_t *x,
                        int16_t *to) {
  if (s->step == 2 && kernel->taps == 3)
    insitu_slide(s, kernel, 3, 2, x, to);
  else if (s->step == 2 && kernel->taps == 5)
    insitu_slide(s, kernel, 5, 2, x, to);
  else if (s->step == 2)
    insitu_slide(s, kernel, 7, 2, x, to);
  else if (kernel->taps == 2)
    insitu_slide(s, kernel, 2, 1, x, to);
  else if (kernel->taps == 3)
    insitu_slide(s, kernel, 3, 1, x, to);
  else if (kernel->taps == 4)
    insitu_slide(s, kernel, 4, 1, x, to);
  else if (kernel->taps == 5)
    insitu_slide(s, kernel, 5, 1, x, to);
  else
    insitu_slide(s, kernel, 7, 1, x, to);
}

#if !defined(__ARM_ARCH_6M__)
void insitu_slide_3x3(const insitu_kernel_t *kernel, int16_t *x, int32_t pairs, int32_t lines,
                      int32_t line) {
  const insitu_slide_t s = {1, lines, 2 * pairs, line, line, line};
  insitu_slide(&s, kernel, 3, 1, x, x);
}
#endif

#endif
