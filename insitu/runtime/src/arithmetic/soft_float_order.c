/* Comparisons and rounding of floats in integers; see insitu_soft_float.h. */
#include "insitu_float_parts.h"

/* An integer in the order of the floats, -0 and 0 as one. */
static inline int32_t ordered(uint32_t bits) {
  const int32_t size = (int32_t)(bits & ~SIGN);
  return bits >> 31 ? -size : size;
}

int32_t insitu_unordered_soft(float a, float b) {
  return is_no_number(insitu_float_bits(a)) || is_no_number(insitu_float_bits(b));
}

int32_t insitu_less_soft(float a, float b) {
  const uint32_t x = insitu_float_bits(a), y = insitu_float_bits(b);
  if (is_no_number(x) || is_no_number(y))
    return 0;
  return ordered(x) < ordered(y);
}

int32_t insitu_at_most_soft(float a, float b) {
  const uint32_t x = insitu_float_bits(a), y = insitu_float_bits(b);
  if (is_no_number(x) || is_no_number(y))
    return 0;
  return ordered(x) <= ordered(y);
}

int32_t insitu_greater_soft(float a, float b) { return insitu_less_soft(b, a); }

int32_t insitu_at_least_soft(float a, float b) { return insitu_at_most_soft(b, a); }

int32_t insitu_equal_soft(float a, float b) {
  const uint32_t x = insitu_float_bits(a), y = insitu_float_bits(b);
  if (x == y)
    return !is_no_number(x);
  return (x | y) << 1 == 0;
}

int32_t insitu_round_clamp_soft(float v, int32_t low, int32_t high) {
  const uint32_t bits = insitu_float_bits(v);
  const int32_t exponent = exponent_of(bits);
  const uint32_t mantissa = (bits & FRACTION) | IMPLIED;
  uint32_t size = 0;
  if (exponent >= BIAS + 31) /* 2^31 or more, infinite, NaN */
    return bits >> 31 || is_no_number(bits) ? low : high;
  if (exponent >= BIAS + 23) {
    size = mantissa << (exponent - 150);
  } else if (exponent >= BIAS - 1) { /* 0.5 or more */
    size = (mantissa + (1u << (149 - exponent))) >> (150 - exponent);
  }
  const int32_t whole = bits >> 31 ? -(int32_t)size : (int32_t)size;
  return whole < low ? low : whole > high ? high : whole;
}
