/* Kernels slid over planes. */
#ifndef INSITU_DEPTHWISE_MICROKERNELS_H
#define INSITU_DEPTHWISE_MICROKERNELS_H

#include "insitu_depthwise.h"

/* A kernel and what becomes of its sums: round((bias + sum) multiplier / 2^32), held to int16.
 * Weights are as the core wants them: insitu_words(taps) words a line. */
typedef struct {
  int32_t bias, multiplier;
  int32_t taps, rows;
  uint32_t weights[INSITU_PLANES_KERNEL * INSITU_PLANES_KERNEL];
} insitu_kernel_t;

/* Where a kernel is slid over a plane of a channel, and where the values go, as pairs. Sizes of
 * lines in halfwords. */
typedef struct {
  int32_t step;          /* columns between outputs */
  int32_t height, width; /* outputs */
  int32_t line, down;    /* between lines of a window, between outputs' lines */
  int32_t to_line;       /* between lines of values */
} insitu_slide_t;

/* All outputs of a channel in a band. `to` may be x, where to_line is down: a value is written when
 * its place has been read for the last time. */
void insitu_slide_plane(const insitu_slide_t *s, const insitu_kernel_t *kernel, const int16_t *x,
                        int16_t *to);

/* The same of a kernel of 3 x 3 with step 1, to == x, where no value leaves int16; `pairs` of
 * outputs in a line. */
void insitu_slide_3x3(const insitu_kernel_t *kernel, int16_t *x, int32_t pairs, int32_t lines,
                      int32_t line);

/* `count` weights w[0], w[apart], ... behind `lead` zeros, as a line of a kernel: one by one, or
 * w_0, w_1, ... as pairs (w_0, w_1), (w_1, w_2), ... */
#ifdef __ARM_FEATURE_DSP
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
#else
static inline int32_t insitu_words(int32_t taps) { return taps; }

static inline void insitu_pack_line(const int8_t *w, int32_t apart, int32_t count, int32_t lead,
                                    int32_t taps, uint32_t *words) {
  for (int32_t k = -lead; k < taps - lead; k++, words++)
    *words = (uint32_t)(k >= 0 && k < count ? w[k * apart] : 0);
}
#endif

#endif
