/* The parts of an IEEE single, for operations on floats in integers. */
#ifndef INSITU_FLOAT_PARTS_H
#define INSITU_FLOAT_PARTS_H

#include "insitu_soft_float.h"

enum { SPECIAL = 255, BIAS = 127 }; /* the exponent of infinities and of what is no number */

#define SIGN 0x80000000u
#define INFINITE 0x7F800000u
#define NO_NUMBER 0x7FC00000u
#define IMPLIED 0x800000u
#define FRACTION 0x7FFFFFu

static inline int32_t exponent_of(uint32_t bits) { return (int32_t)(bits >> 23 & 0xFFu); }

static inline int32_t is_no_number(uint32_t bits) { return bits << 1 > INFINITE << 1; }

/* How far v > 0 can be shifted left until bit 31 is set. */
static inline int32_t leading_zeros(uint32_t v) {
#if defined(__GNUC__) && !(defined(__thumb__) && !defined(__thumb2__))
  return __builtin_clz(v);
#else
  int32_t zeros = 0;
  if (v >> 16 == 0)
    v <<= 16, zeros = 16;
  if (v >> 24 == 0)
    v <<= 8, zeros += 8;
  if (v >> 28 == 0)
    v <<= 4, zeros += 4;
  if (v >> 30 == 0)
    v <<= 2, zeros += 2;
  return zeros + (v < SIGN);
#endif
}

#endif
