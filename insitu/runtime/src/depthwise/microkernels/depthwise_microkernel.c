/* The depthwise microkernel, compiled for each number of taps and both strides.
 * See insitu_depthwise_microkernels.h. */
#include "insitu_depthwise_microkernels.h"

void insitu_depthwise_microkernel(const insitu_depthwise_plane_t *s,
                                  const insitu_depthwise_kernel_t *kernel, const int16_t *x,
                                  int16_t *to) {
  if (s->stride == 2 && kernel->taps == 3)
    microkernel(s, kernel, 3, 2, x, to);
  else if (s->stride == 2 && kernel->taps == 5)
    microkernel(s, kernel, 5, 2, x, to);
  else if (s->stride == 2)
    microkernel(s, kernel, 7, 2, x, to);
  else if (kernel->taps == 2)
    microkernel(s, kernel, 2, 1, x, to);
  else if (kernel->taps == 3)
    microkernel(s, kernel, 3, 1, x, to);
  else if (kernel->taps == 4)
    microkernel(s, kernel, 4, 1, x, to);
  else if (kernel->taps == 5)
    microkernel(s, kernel, 5, 1, x, to);
  else
    microkernel(s, kernel, 7, 1, x, to);
}

#if !defined(__ARM_FEATURE_DSP) && !defined(__ARM_ARCH_6M__)
void insitu_depthwise_microkernel_3x3(const insitu_depthwise_kernel_t *kernel, int16_t *x,
                                      int32_t pairs, int32_t lines, int32_t line) {
  const insitu_depthwise_plane_t s = {1, lines, 2 * pairs, line, line, line};
  microkernel(&s, kernel, 3, 1, x, x);
}
#endif
