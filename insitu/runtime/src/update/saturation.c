/* Counts the weights that training has saturated. Twin:
 * insitu/network/saturation.py. */
#include "insitu_kernels.h"

static inline int at_end(int8_t w) { return w == 127 || w == -127; }

int32_t insitu_saturated_weights(int32_t size, const int8_t *start, const int8_t *w) {
  int32_t count = 0;
  for (int32_t k = 0; k < size; k++)
    count += at_end(w[k]) && !(start && at_end(start[k]));
  return count;
}
