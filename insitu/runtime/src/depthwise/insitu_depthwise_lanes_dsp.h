/* Sums of four lanes for cores with the DSP extension: Cortex-M4, M7, M33, M55. Contracts:
 * insitu_depthwise_lanes_portable.h. */
#ifndef INSITU_DEPTHWISE_LANES_DSP_H
#define INSITU_DEPTHWISE_LANES_DSP_H

#include <arm_acle.h>

#include "insitu_depthwise_lanes.h"
#include "insitu_dsp.h"

/* Lanes 0, 2, 1, 3: pairs as SXTB16 makes them. */
static inline int32_t lane_place(int32_t lane) { return (lane & 1) * 2 + (lane >> 1); }

static inline int16x2_t load_s16x2(const void *from) { return (int16x2_t)load_word(from); }

static inline int8x4_t odd_bytes(int16x2_t bytes) {
  const uint32_t v = (uint32_t)bytes;
  return (int8x4_t)(v >> 8 | v << 24);
}

/* sum[lane] += sum over lines and k of w[k, lane] (x[k, lane] - zero): `factor` declares `by`, and
 * `load` what lies there, of which pairs w02 and w13 are made. */
#define INSITU_SUM_LANES(factor, load, w02, w13)                                                   \
  const int16x2_t minus = (int16x2_t)(((uint32_t)-zero & 0xFFFFu) * 0x10001u);                     \
  const int32_t apart = steps->first, by_apart = steps->second;                                    \
  int32_t s0 = sum[0], s1 = sum[1], s2 = sum[2], s3 = sum[3];                                      \
  for (int32_t line = 0; line < steps->lines; line++) {                                            \
    const int8_t *from = x + line * steps->first_line;                                             \
    factor + line * steps->second_line;                                                            \
    for (int32_t k = steps->count; k > 0; k--, from += apart, by += by_apart) {                    \
      const int16x2_t v = load_s16x2(from);                                                        \
      load;                                                                                        \
      const int16x2_t even = __sxtab16(minus, (int8x4_t)v), b02 = w02;                             \
      const int16x2_t odd = __sxtab16(minus, odd_bytes(v)), b13 = w13;                             \
      s0 = __smlabb(even, b02, s0);                                                                \
      s1 = __smlabb(odd, b13, s1);                                                                 \
      s2 = __smlatt(even, b02, s2);                                                                \
      s3 = __smlatt(odd, b13, s3);                                                                 \
    }                                                                                              \
  }                                                                                                \
  sum[0] = s0, sum[1] = s1, sum[2] = s2, sum[3] = s3;

__attribute__((noinline, unused)) static void dw_add_products(const insitu_steps_t *steps,
                                                              int32_t zero, const int8_t *x,
                                                              const int16_t *columns,
                                                              int32_t *sum) {
  INSITU_SUM_LANES(const int16_t *by = columns, const int16x2_t first = load_s16x2(by);
                   const int16x2_t second = load_s16x2(by + 2), first, second)
}

__attribute__((noinline, unused)) static void dw_add_errors(const insitu_steps_t *steps,
                                                            int32_t zero, const int8_t *x,
                                                            const int8_t *dy, int32_t *sum) {
  INSITU_SUM_LANES(const int8_t *by = dy, const int16x2_t e = load_s16x2(by), __sxtb16((int8x4_t)e),
                   __sxtb16(odd_bytes(e)))
}

#endif
