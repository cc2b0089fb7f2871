/* a b and a / b in IEEE single, rounded to nearest even: what the C operators give, in fewer
 * instructions than the compiler's library takes on cores that have neither an FPU nor long
 * products. Common exponents are computed here, all others by the operators. */
#ifndef INSITU_SOFT_FLOAT_H
#define INSITU_SOFT_FLOAT_H

#include <stdint.h>
#include <string.h>

static inline uint32_t insitu_float_bits(float v) {
  uint32_t bits;
  memcpy(&bits, &v, sizeof bits);
  return bits;
}

/* +-mantissa 2^(exponent - 150), rounded to nearest even; rest: what follows the mantissa, times
 * 2^24. mantissa in [2^23, 2^24), exponent in [1, 253]. */
static inline float insitu_round_float(uint32_t sign, int32_t exponent, uint32_t mantissa,
                                       uint32_t rest) {
  uint32_t bits = sign + ((uint32_t)(exponent - 1) << 23) + mantissa;
  float v;
  if (rest > 0x800000u || (rest == 0x800000u && (mantissa & 1u)))
    bits++; /* a carry goes into the exponent, as it should */
  memcpy(&v, &bits, sizeof v);
  return v;
}

static inline float insitu_multiply_soft(float a, float b) {
  const uint32_t x = insitu_float_bits(a), y = insitu_float_bits(b);
  const int32_t ex = (int32_t)(x >> 23 & 0xFFu), ey = (int32_t)(y >> 23 & 0xFFu);
  const int32_t exponent = ex + ey - 127;
  if (ex < 1 || ex > 254 || ey < 1 || ey > 254 || exponent < 1 || exponent > 252)
    return a * b;
  const uint32_t m = (x & 0x7FFFFFu) | 0x800000u, n = (y & 0x7FFFFFu) | 0x800000u;
  const uint32_t m1 = m >> 12, m0 = m & 0xFFFu, n1 = n >> 12, n0 = n & 0xFFFu;
  const uint32_t middle = m1 * n0 + m0 * n1;
  const uint32_t low = m0 * n0 + (middle << 12 & 0xFFFFFFu);
  const uint32_t high = m1 * n1 + (middle >> 12) + (low >> 24);
  const uint32_t sign = (x ^ y) & 0x80000000u;
  if (high >= 0x800000u)
    return insitu_round_float(sign, exponent + 1, high, low & 0xFFFFFFu);
  return insitu_round_float(sign, exponent, high << 1 | (low >> 23 & 1u), low << 1 & 0xFFFFFFu);
}

static inline float insitu_divide_soft(float a, float b) {
  const uint32_t x = insitu_float_bits(a), y = insitu_float_bits(b);
  const int32_t ex = (int32_t)(x >> 23 & 0xFFu), ey = (int32_t)(y >> 23 & 0xFFu);
  int32_t exponent = ex - ey + 127;
  if (ex < 1 || ex > 254 || ey < 1 || ey > 254 || exponent < 2 || exponent > 253)
    return a / b;
  uint32_t left = (x & 0x7FFFFFu) | 0x800000u, quotient = 0;
  const uint32_t divisor = (y & 0x7FFFFFu) | 0x800000u;
  if (left < divisor) {
    left <<= 1;
    exponent--;
  }
  for (int32_t i = 0; i < 4; i++) {
    for (int32_t k = 0; k < 6; k++) {
      quotient <<= 1;
      if (left >= divisor) {
        left -= divisor;
        quotient++;
      }
      left <<= 1;
    }
  }
  /* left / (2 divisor) is what follows: half or more, and never just a half of a quotient of two
   * 24-bit numbers */
  return insitu_round_float((x ^ y) & 0x80000000u, exponent, quotient, left > divisor ? ~0u : 0u);
}

#if defined(__thumb__) && !defined(__thumb2__)
static __attribute__((noinline, unused)) float insitu_multiply(float a, float b) {
  return insitu_multiply_soft(a, b);
}
static __attribute__((noinline, unused)) float insitu_divide(float a, float b) {
  return insitu_divide_soft(a, b);
}
#else
static inline float insitu_multiply(float a, float b) { return a * b; }
static inline float insitu_divide(float a, float b) { return a / b; }
#endif

#endif
