/* A float library that takes subnormal numbers for zero, as that in a Pico's ROM does: a firmware is
 * linked with it before the compiler's. */
#include "insitu_soft_float.h"

static float flushed(float v) {
  const uint32_t bits = insitu_float_bits(v);
  return (bits >> 23 & 0xFFU) == 0 ? insitu_float_from_bits(bits & 0x80000000U) : v;
}

#define OF_TWO(NAME, TYPE, FUNCTION, LAST)                                                         \
  TYPE NAME(float a, float b);                                                                     \
  TYPE NAME(float a, float b) { return LAST(FUNCTION(flushed(a), flushed(b))); }

OF_TWO(__aeabi_fadd, float, insitu_add_soft, flushed)
OF_TWO(__aeabi_fsub, float, insitu_subtract_soft, flushed)
OF_TWO(__aeabi_fmul, float, insitu_multiply_soft, flushed)
OF_TWO(__aeabi_fdiv, float, insitu_divide_soft, flushed)
OF_TWO(__aeabi_fcmpeq, int32_t, insitu_equal_soft, )
OF_TWO(__aeabi_fcmplt, int32_t, insitu_less_soft, )
OF_TWO(__aeabi_fcmple, int32_t, insitu_at_most_soft, )
OF_TWO(__aeabi_fcmpgt, int32_t, insitu_greater_soft, )
OF_TWO(__aeabi_fcmpge, int32_t, insitu_at_least_soft, )
