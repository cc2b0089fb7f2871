/* Float operations for cores that have neither an FPU nor long products: what the C operators give,
 * bit for bit, in fewer instructions and less flash than the compiler's library takes. What most
 * models call computes products, quotients, differences and comparisons by these alone, so that
 * the library's are not linked; sums are its own. */
#ifndef INSITU_SOFT_FLOAT_H
#define INSITU_SOFT_FLOAT_H

#include <stdint.h>
#include <string.h>

/* ---- soft_float.c ---------------------------------------------------------------------------- */

/* a b and a / b in IEEE single, rounded to nearest even. */
float insitu_multiply_soft(float a, float b);
float insitu_divide_soft(float a, float b);

/* Whether a < b; not where one of them is no number. */
int32_t insitu_less_soft(float a, float b);

/* Nearest integer, halves away from zero, clamped to [low, high]; NaN gives low. |low|, |high| <
 * 2^31.
 */
int32_t insitu_round_clamp_soft(float v, int32_t low, int32_t high);

static inline uint32_t insitu_float_bits(float v) {
  uint32_t bits;
  memcpy(&bits, &v, sizeof bits);
  return bits;
}

static inline float insitu_float_from_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

#if defined(__thumb__) && !defined(__thumb2__)
static inline float insitu_multiply(float a, float b) { return insitu_multiply_soft(a, b); }
static inline float insitu_divide(float a, float b) { return insitu_divide_soft(a, b); }
static inline float insitu_subtract(float a, float b) {
  uint32_t minus = insitu_float_bits(b) ^ 0x80000000u;
  __asm__("" : "+r"(minus)); /* else compilers make it a difference again */
  return a + insitu_float_from_bits(minus);
}
static inline int32_t insitu_less(float a, float b) { return insitu_less_soft(a, b); }
#else
static inline float insitu_multiply(float a, float b) { return a * b; }
static inline float insitu_divide(float a, float b) { return a / b; }
static inline float insitu_subtract(float a, float b) { return a - b; }
static inline int32_t insitu_less(float a, float b) { return a < b; }
#endif

#endif
