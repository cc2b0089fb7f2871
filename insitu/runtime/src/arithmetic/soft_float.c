/* Products and quotients of floats in integers; see insitu_soft_float.h. */
#include "insitu_float_parts.h"

/* +-mantissa 2^(exponent - 150), rounded to nearest even; tail: what follows the mantissa, times
 * 2^24. mantissa in [2^23, 2^24), exponent in [1, 254]. */
static inline float round_float(uint32_t sign, int32_t exponent, uint32_t mantissa, uint32_t tail) {
  uint32_t bits = sign + ((uint32_t)(exponent - 1) << 23) + mantissa;
  if (tail > IMPLIED || (tail == IMPLIED && (mantissa & 1u)))
    bits++; /* a carry goes into the exponent, as it should */
  return insitu_float_from_bits(bits);
}

/* The same of any exponent: infinite from 255 on, and of a smaller mantissa below 1. */
static float round_any(uint32_t sign, int32_t exponent, uint32_t mantissa, uint32_t tail) {
  if (exponent >= SPECIAL)
    return insitu_float_from_bits(sign | INFINITE);
  if (exponent < 1) {
    const int32_t shift = exponent < -24 ? 25 : 1 - exponent;
    const uint32_t lost = shift > 24 ? 1u : mantissa << (24 - shift) & 0xFFFFFFu;
    tail = lost | (tail != 0);
    mantissa >>= shift;
    exponent = 1;
  }
  return round_float(sign, exponent, mantissa, tail);
}

/* The product of mantissas in [2^23, 2^24) as such a mantissa, and what follows it; returns 1 where
 * it is 2^47 or more. */
static inline int32_t multiply_mantissas(uint32_t m, uint32_t n, uint32_t *mantissa,
                                         uint32_t *tail) {
#if defined(__thumb__) && !defined(__thumb2__)
  const uint32_t m1 = m >> 12, m0 = m & 0xFFFu, n1 = n >> 12, n0 = n & 0xFFFu;
  const uint32_t middle = m1 * n0 + m0 * n1;
  const uint32_t low = m0 * n0 + (middle << 12 & 0xFFFFFFu);
  const uint32_t high = m1 * n1 + (middle >> 12) + (low >> 24);
  const int32_t carry = high >= IMPLIED;
  *mantissa = carry ? high : high << 1 | (low >> 23 & 1u);
  *tail = carry ? low & 0xFFFFFFu : low << 1 & 0xFFFFFFu;
#else
  const uint64_t product = (uint64_t)(m << 8) * n;
  const uint32_t high = (uint32_t)(product >> 32), low = (uint32_t)product;
  const int32_t carry = high >= IMPLIED;
  *mantissa = carry ? high : high << 1 | low >> 31;
  *tail = (carry ? low : low << 1) >> 8; /* no bit is lost: m << 8 has eight zeros at its end */
#endif
  return carry;
}

/* The quotient of mantissas, left in [divisor, 2 divisor), as a mantissa and what follows it. */
static __attribute__((noinline)) uint32_t divide_mantissas(uint32_t left, uint32_t divisor,
                                                           uint32_t *tail) {
  /* 2^39 / divisor, from below: a line, then Newton's method; 14 bits are right */
  const uint32_t above = (divisor >> 8) + 1;
  uint32_t inverse = 92520u - (above * 61681u >> 16);
  inverse = inverse * ((0u - above * inverse) >> 16) >> 15;
  inverse = inverse * ((0u - above * inverse) >> 16) >> 15;
  /* two digits of 12 bits, each too small by a few; no product leaves 32 bits, and what the shifts
   * and differences lose above is 0 in the end */
  const uint32_t first = (left >> 8) * inverse >> 20;
  left = (left << 11) - first * divisor;
  const uint32_t second = (left >> 10) * inverse >> 17;
  left = (left << 12) - second * divisor;
  uint32_t quotient = (first << 12) + second;
  for (; left >= divisor; left -= divisor)
    quotient++;
  /* left / divisor is what follows: half or more, and never just a half of a quotient of two 24-bit
   * numbers; what is less than half matters where the mantissa will be shortened */
  *tail = 2 * left > divisor ? 0xFFFFFFu : left > 0;
  return quotient;
}

/* The exponent of a number that is not zero, and its mantissa in [2^23, 2^24). */
static int32_t take_apart(uint32_t bits, uint32_t *mantissa) {
  int32_t exponent = exponent_of(bits);
  *mantissa = bits & FRACTION;
  if (exponent > 0) {
    *mantissa |= IMPLIED;
    return exponent;
  }
  for (exponent = 1; *mantissa < IMPLIED; exponent--)
    *mantissa <<= 1;
  return exponent;
}

/* Operands that are infinite, zero or no numbers: whether it is one of them, and its result.
 * y: the second operand, or what 1 divided by it is like: zero for infinite, infinite for zero. */
static int32_t special(uint32_t x, uint32_t y, float *result) {
  const uint32_t sign = (x ^ y) & SIGN, a = x & ~SIGN, b = y & ~SIGN;
  uint32_t bits;
  if ((a == 0 || b == 0) && a < INFINITE && b < INFINITE)
    bits = sign;
  else if (is_no_number(x) || is_no_number(y))
    bits = (is_no_number(x) ? x : y) | NO_NUMBER;
  else if (a == INFINITE || b == INFINITE)
    bits = a == 0 || b == 0 ? NO_NUMBER : sign | INFINITE;
  else
    return 0;
  *result = insitu_float_from_bits(bits);
  return 1;
}

static __attribute__((noinline)) float multiply_any(uint32_t x, uint32_t y) {
  float result;
  if (special(x, y, &result))
    return result;
  uint32_t m, n, mantissa, tail;
  int32_t exponent = take_apart(x, &m) + take_apart(y, &n) - BIAS;
  exponent += multiply_mantissas(m, n, &mantissa, &tail);
  return round_any((x ^ y) & SIGN, exponent, mantissa, tail);
}

static __attribute__((noinline)) float divide_any(uint32_t x, uint32_t y) {
  const uint32_t size = y & ~SIGN, sign = y & SIGN;
  const uint32_t inverse = size == 0 ? sign | INFINITE : size == INFINITE ? sign : y;
  float result;
  if (special(x, inverse, &result))
    return result;
  uint32_t m, n, tail;
  int32_t exponent = take_apart(x, &m) - take_apart(y, &n) + BIAS;
  if (m < n) {
    m <<= 1;
    exponent--;
  }
  const uint32_t mantissa = divide_mantissas(m, n, &tail);
  return round_any((x ^ y) & SIGN, exponent, mantissa, tail);
}

float insitu_multiply_soft(float a, float b) {
  const uint32_t x = insitu_float_bits(a), y = insitu_float_bits(b);
  const int32_t ex = exponent_of(x), ey = exponent_of(y), exponent = ex + ey - BIAS;
  if (ex < 1 || ex > 254 || ey < 1 || ey > 254 || exponent < 1 || exponent > 252)
    return multiply_any(x, y);
  uint32_t mantissa, tail;
  const int32_t carry =
      multiply_mantissas((x & FRACTION) | IMPLIED, (y & FRACTION) | IMPLIED, &mantissa, &tail);
  return round_float((x ^ y) & SIGN, exponent + carry, mantissa, tail);
}

float insitu_divide_soft(float a, float b) {
  const uint32_t x = insitu_float_bits(a), y = insitu_float_bits(b);
  const int32_t ex = exponent_of(x), ey = exponent_of(y);
  int32_t exponent = ex - ey + BIAS;
  if (ex < 1 || ex > 254 || ey < 1 || ey > 254 || exponent < 2 || exponent > 253)
    return divide_any(x, y);
  uint32_t left = (x & FRACTION) | IMPLIED, tail;
  const uint32_t divisor = (y & FRACTION) | IMPLIED;
  if (left < divisor) {
    left <<= 1;
    exponent--;
  }
  const uint32_t quotient = divide_mantissas(left, divisor, &tail);
  return round_float((x ^ y) & SIGN, exponent, quotient, tail);
}
