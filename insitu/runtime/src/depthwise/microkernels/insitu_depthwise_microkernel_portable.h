/* The depthwise microkernel in plain C: the definition. Two outputs at once; weights one by one. */
#ifndef INSITU_DEPTHWISE_MICROKERNEL_PORTABLE_H
#define INSITU_DEPTHWISE_MICROKERNEL_PORTABLE_H

#include "insitu_depthwise_microkernels.h"

static inline int32_t weight_words(int32_t taps) { return taps; }

/* `count` weights w[0], w[apart], ... behind `lead` zeros, as the words of a line of a kernel. */
static inline void pack_weights(const int8_t *w, int32_t apart, int32_t count, int32_t lead,
                                int32_t taps, uint32_t *words) {
  for (int32_t k = -lead; k < taps - lead; k++, words++)
    *words = (uint32_t)(k >= 0 && k < count ? w[k * apart] : 0);
}

/* Two outputs that begin at a word, `stride` columns apart. */
static inline void two_outputs(const insitu_depthwise_plane_t *s,
                               const insitu_depthwise_kernel_t *kernel, int32_t taps,
                               int32_t stride, const int16_t *x, int16_t *to) {
  int32_t a = kernel->bias, b = kernel->bias;
  const uint32_t *w = kernel->weights;
  for (int32_t row = 0; row < kernel->rows; row++, x += s->line, w += taps) {
    int32_t v[INSITU_PLANES_KERNEL + 3];
    for (int32_t word = 0; 2 * word < taps + stride; word++) {
      v[2 * word] = x[word * INSITU_PAIR_STEP];
      v[2 * word + 1] = x[word * INSITU_PAIR_STEP + 1];
    }
    for (int32_t k = 0; k < taps; k++) {
      a += (int32_t)w[k] * v[k];
      b += (int32_t)w[k] * v[k + stride];
    }
  }
  a = insitu_round_high(a, kernel->multiplier), b = insitu_round_high(b, kernel->multiplier);
  to[0] = (int16_t)insitu_clamp(a, INT16_MIN, INT16_MAX);
  to[1] = (int16_t)insitu_clamp(b, INT16_MIN, INT16_MAX);
}

static inline void microkernel(const insitu_depthwise_plane_t *slide,
                               const insitu_depthwise_kernel_t *kernel, int32_t taps,
                               int32_t stride, const int16_t *x, int16_t *to) {
  const insitu_depthwise_plane_t s = *slide;
  for (int32_t oy = 0; oy < s.height; oy++, x += s.down, to += s.to_line)
    for (int32_t pair = 0; 2 * pair < s.width; pair++)
      two_outputs(&s, kernel, taps, stride, x + pair * stride * INSITU_PAIR_STEP,
                  to + pair * INSITU_PAIR_STEP);
}

#endif
