/* Sums and differences of floats in integers; see insitu_soft_float.h. */
#include "insitu_float_parts.h"

enum { GUARD = 7, HALF = 1 << (GUARD - 1) }; /* bits that a mantissa has below its last */

#define ONE (IMPLIED << GUARD) /* the mantissa of a power of two */

/* infinity or NaN, and something no larger */
static __attribute__((noinline)) float add_special(uint32_t larger, uint32_t smaller) {
  if (is_no_number(larger))
    return insitu_float_from_bits(larger | NO_NUMBER);
  if (smaller == (larger ^ SIGN))
    return insitu_float_from_bits(NO_NUMBER);
  return insitu_float_from_bits(larger);
}

/* What of a mantissa counts `distance` places below; bits that are lost count as one. */
static inline uint32_t shift_down(uint32_t mantissa, int32_t distance) {
  const uint32_t shifted = mantissa >> distance;
  return shifted | (shifted << distance != mantissa);
}

/* A sum's last bits rounded away. */
static inline uint32_t rounded(uint32_t sum) {
  return (sum + HALF - 1 + (sum >> GUARD & 1u)) >> GUARD;
}

/* x + y of any numbers, |x| >= |y|. */
static __attribute__((noinline)) float add_any(uint32_t x, uint32_t y) {
  int32_t exponent = exponent_of(x), below = exponent_of(y);
  uint32_t sum = (x & FRACTION) << GUARD, small = (y & FRACTION) << GUARD;
  if (exponent == SPECIAL)
    return add_special(x, y);
  /* a subnormal number has exponent 1 without the implied bit */
  if (exponent == 0)
    exponent = 1;
  else
    sum |= ONE;
  if (below == 0)
    below = 1;
  else
    small |= ONE;
  small = shift_down(small, exponent - below);
  if ((int32_t)(x ^ y) >= 0) {
    sum += small;
    if (sum >= 2 * ONE) {
      sum = sum >> 1 | (sum & 1u);
      if (++exponent == SPECIAL)
        return insitu_float_from_bits((x & SIGN) | INFINITE);
    }
  } else {
    sum -= small;
    if (sum == 0)
      return 0.0f;
    for (; sum < ONE && exponent > 1; exponent--)
      sum <<= 1;
  }
  /* a carry goes into the exponent, as it should */
  const uint32_t bits = ((uint32_t)(exponent - 1) << 23) + rounded(sum);
  return insitu_float_from_bits((x & SIGN) | bits);
}

float insitu_add_soft(float a, float b) {
  uint32_t x = insitu_float_bits(a), y = insitu_float_bits(b);
  if (x << 1 < y << 1) {
    const uint32_t larger = y;
    y = x;
    x = larger;
  }
  const int32_t exponent = (int32_t)(x << 1 >> 24), below = (int32_t)(y << 1 >> 24);
  if (exponent - below > 25 && exponent < SPECIAL) /* y is less than half of the last bit of x */
    return insitu_float_from_bits(x);
  if (below == 0 || exponent >= SPECIAL - 1)
    return add_any(x, y);
  uint32_t head = (x >> 23 << 23) - IMPLIED; /* sign and exponent */
  const uint32_t m = (x << 8 | SIGN) >> 1;
  const uint32_t n = shift_down((y << 8 | SIGN) >> 1, exponent - below);
  if ((int32_t)(x ^ y) >= 0) {
    const uint32_t sum = m + n;
    if (sum < 2 * ONE)
      return insitu_float_from_bits(head + rounded(sum));
    return insitu_float_from_bits(head + IMPLIED + rounded(sum >> 1 | (sum & 1u)));
  }
  uint32_t sum = m - n;
  if (sum < ONE) {
    if (sum == 0)
      return 0.0f;
    if (exponent <= 31)
      return add_any(x, y);
#if defined(__thumb__) && !defined(__thumb2__)
    for (; sum < ONE; head -= IMPLIED)
      sum <<= 1;
#else
    const int32_t shift = leading_zeros(sum) - 1;
    sum <<= shift;
    head -= (uint32_t)shift << 23;
#endif
  }
  return insitu_float_from_bits(head + rounded(sum));
}

float insitu_subtract_soft(float a, float b) {
  return insitu_add_soft(a, insitu_float_from_bits(insitu_float_bits(b) ^ SIGN));
}
