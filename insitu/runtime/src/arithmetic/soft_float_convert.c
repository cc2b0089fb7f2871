/* Floats from integers and integers from floats, in integers; see insitu_soft_float.h. */
#include "insitu_float_parts.h"

/* +-size 2^(exponent - 158), rounded to nearest even; size >= 2^31, below it lie no more bits than
 * its last stands for. */
static inline float round_size(uint32_t sign, int32_t exponent, uint32_t size) {
  const uint32_t mantissa = size >> 8, rest = size & 0xFFu;
  const uint32_t up = rest > 128 || (rest == 128 && (mantissa & 1u));
  /* a carry goes into the exponent, as it should */
  return insitu_float_from_bits(sign + ((uint32_t)(exponent - 1) << 23) + mantissa + up);
}

static inline float float_of(uint32_t sign, uint32_t size) {
  if (size == 0)
    return 0.0f;
  const int32_t zeros = leading_zeros(size);
  if (zeros >= 8) /* exact */
    return insitu_float_from_bits(sign + ((uint32_t)(BIAS + 30 - zeros) << 23) +
                                  (size << zeros >> 8));
  return round_size(sign, BIAS + 31 - zeros, size << zeros);
}

float insitu_float_of_unsigned_soft(uint32_t v) { return float_of(0, v); }

float insitu_float_of_int_soft(int32_t v) {
  const uint32_t sign = (uint32_t)v & SIGN, bits = (uint32_t)v;
  return float_of(sign, sign ? 0u - bits : bits);
}

float insitu_float_of_long_soft(int64_t v) {
  const uint32_t sign = v < 0 ? SIGN : 0;
  const uint64_t size = v < 0 ? 0u - (uint64_t)v : (uint64_t)v;
  const uint32_t high = (uint32_t)(size >> 32), low = (uint32_t)size;
  if (high == 0)
    return float_of(sign, low);
  const int32_t zeros = leading_zeros(high);
  const uint32_t kept = high << zeros | (low >> 1 >> (31 - zeros)), lost = low << zeros;
  return round_size(sign, BIAS + 63 - zeros, kept | (lost != 0));
}

/* |v| towards zero, where it is below 2^32. */
static inline uint32_t whole_of(uint32_t bits) {
  const int32_t exponent = exponent_of(bits);
  const uint32_t size = (bits << 8) | SIGN; /* 2^31 |v| 2^-(exponent - BIAS) */
  return exponent < BIAS ? 0 : size >> (BIAS + 31 - exponent);
}

int32_t insitu_int_of_float_soft(float v) {
  const uint32_t bits = insitu_float_bits(v);
  if (is_no_number(bits))
    return 0;
  if (exponent_of(bits) >= BIAS + 31)
    return bits >> 31 ? INT32_MIN : INT32_MAX;
  const int32_t whole = (int32_t)whole_of(bits);
  return bits >> 31 ? -whole : whole;
}

uint32_t insitu_unsigned_of_float_soft(float v) {
  const uint32_t bits = insitu_float_bits(v);
  if (bits >> 31 || is_no_number(bits))
    return 0;
  return exponent_of(bits) >= BIAS + 32 ? UINT32_MAX : whole_of(bits);
}
