/* The depthwise microkernel compiled for every number of taps and both strides, and which is taken.
 * See insitu_depthwise_microkernels.h. */
#include "insitu_depthwise_microkernels.h"

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

#if !defined(__ARM_FEATURE_DSP) && !defined(__ARM_ARCH_6M__)
void insitu_slide_3x3(const insitu_kernel_t *kernel, int16_t *x, int32_t pairs, int32_t lines,
                      int32_t line) {
  const insitu_slide_t s = {1, lines, 2 * pairs, line, line, line};
  insitu_slide(&s, kernel, 3, 1, x, x);
}
#endif
