/* insitu_conv_microkernels.h for cores with the DSP extension: packing for the products, and steps
 * by a gradient. Loops in assembly are functions of their own (naked), the same at every
 * optimisation level; words are loaded from anywhere, LDM and LDRD from words. */
#include "insitu_conv_microkernels.h"

#if defined(__ARM_FEATURE_DSP) && !defined(__ARM_FEATURE_MVE)
#include "insitu_dsp.h"
#include "insitu_naked.h"

INSITU_NAKED_BEGIN

/* Eights of values, 2 instructions each. */
INSITU_NAKED static void centre_eights(int32_t eights, uint32_t minus, const int8_t *x,
                                       int16_t *to) {
  __asm__("push {r4, r5, r6, r7}\n"
          "1:\n\t"
          ".rept 2\n\t"
          "ldr r4, [r2], #4\n\t"
          "sxtab16 r5, r1, r4\n\t"
          "sxtab16 r6, r1, r4, ror #8\n\t"
          "pkhbt r7, r5, r6, lsl #16\n\t"
          "pkhtb r6, r6, r5, asr #16\n\t"
          "str r7, [r3], #8\n\t"
          "str r6, [r3], #8\n\t"
          ".endr\n\t"
          "subs r0, r0, #1\n\t"
          "bne 1b\n\t"
          "pop {r4, r5, r6, r7}\n\t"
          "bx lr");
}

void insitu_centre_pairs(int32_t size, int32_t zero, const int8_t *x, int16_t *to) {
  const uint32_t minus = dup_s16x2(-zero);
  int32_t k = size & ~7;
  if (k > 0)
    centre_eights(size / 8, minus, x, to);
  if (size - k >= 4) {
    const uint32_t bytes = load_word(x + k);
    const uint32_t even = sxtab16(minus, bytes);
    const uint32_t odd = sxtab16_ror8(minus, bytes);
    store_word(to + 2 * k, pkhbt(even, odd));
    store_word(to + 2 * k + 4, pkhtb(odd, even));
    k += 4;
  }
  for (; k < size; k++)
    to[(k / 2) * 4 + k % 2] = (int16_t)(x[k] - zero);
}

/* Four weights of a row become a word of the first group, LOW, and one of the second, HIGH. */
#define INSITU_PACK_ROW(FROM, LOW, HIGH)                                                           \
  "ldr r12, " FROM "\n\t"                                                                          \
  "sxtb16 " LOW ", r12\n\t"                                                                        \
  "sxtb16 r12, r12, ror #8\n\t"                                                                    \
  "pkhtb " HIGH ", r12, " LOW ", asr #16\n\t"                                                      \
  "pkhbt " LOW ", " LOW ", r12, lsl #16\n\t"

/* Four columns of four rows at a time, 1.5 instructions a weight. */
INSITU_NAKED static void pack_fours(int32_t fours, int32_t step, const int8_t *w, int16_t *to) {
  __asm__("push {r4, r5, r6, r7, r8, r9, r10, r11, lr}\n\t"
          "add lr, r1, r1, lsl #1\n"
          "1:\n\t" INSITU_PACK_ROW("[r2, r1]", "r5", "r9")
              INSITU_PACK_ROW("[r2, r1, lsl #1]", "r6", "r10")
                  INSITU_PACK_ROW("[r2, lr]", "r7", "r11")
                      INSITU_PACK_ROW("[r2], #4", "r4", "r8") "stm r3!, {r4-r11}\n\t"
                                                              "subs r0, r0, #1\n\t"
                                                              "bne 1b\n\t"
                                                              "pop {r4-r11, pc}");
}

void insitu_pack_rows(int32_t size, int32_t step, const int8_t *w, int16_t *to) {
  const int32_t whole = size & ~3;
  if (whole > 0)
    pack_fours(size / 4, step, w, to);
  for (int32_t j = 0; j < INSITU_CHANNELS; j++, w += step) {
    for (int32_t k = whole; k < size; k++)
      to[(k / 2) * 8 + j * 2 + k % 2] = w[k];
  }
}

/* All errors of four channels, one over the other. */
static uint32_t any_of_four(int32_t positions, int32_t channels, const int8_t *dy) {
  uint32_t a = 0, b = 0;
  int32_t n = 0;
  for (; n + 4 <= positions; n += 4, dy += 4 * channels) {
    a |= load_word(dy) | load_word(dy + channels);
    b |= load_word(dy + 2 * channels) | load_word(dy + 3 * channels);
  }
  for (; n < positions; n++, dy += channels)
    a |= load_word(dy);
  return a | b;
}

void insitu_flag_channels(int32_t positions, int32_t channels, const int8_t *dy, int8_t *flags) {
  int32_t o = 0;
  for (; o + 4 <= channels; o += 4)
    store_word(flags + o, any_of_four(positions, channels, dy + o));
  for (; o < channels; o++) {
    flags[o] = 0;
    for (int32_t n = 0; n < positions; n++)
      flags[o] = (int8_t)(flags[o] | dy[n * channels + o]);
  }
}

int32_t insitu_count_errors(int32_t size, const int8_t *dy) {
  int32_t count = 0;
  for (; size >= 4; size -= 4, dy += 4)
    count = count_nonzero_s8x4(load_word(dy), count);
  for (int32_t k = 0; k < size; k++)
    count += dy[k] != 0;
  return count;
}

/* rel 2^(9 - drop): e' = (e factor / 2^16 + 1) / 2, each rounded down. */
int32_t insitu_error_factor(uint16_t rel, int32_t drop) { return (int32_t)rel << (9 - drop); }

/* Four errors, STORES puts r4 and r6 where they belong; 3.75 instructions an error and they. */
#define INSITU_EXPAND_FOURS(STORES)                                                                \
  "push {r4, r5, r6, r7, r8, r9, r10, lr}\n\t"                                                     \
  "ldr r12, [sp, #32]\n\t"                                                                         \
  "mov r10, #1\n"                                                                                  \
  "1:\n\t"                                                                                         \
  "ldr r5, [r1], #4\n\t"                                                                           \
  "cmp r5, #0\n\t"                                                                                 \
  "beq 3f\n\t"                                                                                     \
  "sxtb16 r8, r5\n\t"                                                                              \
  "sxtb16 r9, r5, ror #8\n\t"                                                                      \
  "ldm r2!, {r4, r5, r6, r7}\n\t"                                                                  \
  "smlawb r4, r4, r8, r10\n\t"                                                                     \
  "smlawb r5, r5, r9, r10\n\t"                                                                     \
  "smlawt r6, r6, r8, r10\n\t"                                                                     \
  "smlawt r7, r7, r9, r10\n\t"                                                                     \
  "lsl r5, r5, #15\n\t"                                                                            \
  "lsl r7, r7, #15\n\t"                                                                            \
  "pkhtb r4, r5, r4, asr #1\n\t"                                                                   \
  "pkhtb r6, r7, r6, asr #1\n"                                                                     \
  "2:\n\t" STORES "subs r0, r0, #1\n\t"                                                            \
  "bne 1b\n\t"                                                                                     \
  "pop {r4, r5, r6, r7, r8, r9, r10, pc}\n"                                                        \
  "3:\n\t"                                                                                         \
  "add r2, r2, #16\n\t"                                                                            \
  "mov r4, #0\n\t"                                                                                 \
  "mov r6, #0\n\t"                                                                                 \
  "b 2b"

INSITU_NAKED static void expand_fours(int32_t fours, const int8_t *e, const int32_t *factor,
                                      int16_t *to) {
  __asm__(INSITU_EXPAND_FOURS("str r4, [r3], #8\n\tstr r6, [r3], #8\n\t"));
}

INSITU_NAKED static void expand_fours_twice(int32_t fours, const int8_t *e, const int32_t *factor,
                                            int16_t *to, int16_t *other) {
  __asm__(INSITU_EXPAND_FOURS("str r4, [r3], #8\n\tstr r6, [r3], #8\n\t"
                              "str r4, [r12], #8\n\tstr r6, [r12], #8\n\t"));
}

void insitu_expand_errors(int32_t size, int32_t drop, const int8_t *e, const int32_t *factor,
                          int16_t *to, int16_t *other) {
  (void)drop;
  const int32_t whole = size & ~3;
  if (whole > 0 && to == other)
    expand_fours(size / 4, e, factor, to);
  else if (whole > 0)
    expand_fours_twice(size / 4, e, factor, to, other);
  for (int32_t k = whole; k < size; k++) {
    const int32_t at = (k / 2) * 4 + k % 2;
    to[at] = other[at] = (int16_t)(smlawb(factor[k], (uint32_t)e[k], 1) >> 1);
  }
}

/* (low, high) halves of r4 and r5 widened into r4 to r7 by EVEN and ODD. */
#define INSITU_BESIDE(EVEN, ODD)                                                                   \
  "pkhbt r8, r4, r5, lsl #16\n\t"                                                                  \
  "pkhtb r9, r5, r4, asr #16\n\t" EVEN("r4", "r8") ODD("r5", "r8") EVEN("r6", "r9")                \
      ODD("r7", "r9")
#define INSITU_EVEN(TO, FROM) "sxtb16 " TO ", " FROM "\n\t"
#define INSITU_ODD(TO, FROM) "sxtb16 " TO ", " FROM ", ror #8\n\t"
#define INSITU_EVEN_MORE(TO, FROM) "sxtab16 " TO ", r1, " FROM "\n\t"
#define INSITU_ODD_MORE(TO, FROM) "sxtab16 " TO ", r1, " FROM ", ror #8\n\t"
#define INSITU_PACK_PAIR                                                                           \
  "ldrd r4, r5, [r1], #8\n\t"                                                                      \
  "ldr r4, [r2, r4]\n\t"                                                                           \
  "ldr r5, [r2, r5]\n\t" INSITU_BESIDE(INSITU_EVEN, INSITU_ODD) "stm r3!, {r4-r7}\n\t"

/* Pairs of four weights each, 1.4 instructions a weight. */
INSITU_NAKED static void pack_four_of_pairs(int32_t pairs, const int32_t *begin, const int8_t *w,
                                            int16_t *to) {
  __asm__("push {r4, r5, r6, r7, r8, r9}\n\t"
          "lsrs r0, r0, #1\n\t"
          "bcc 1f\n\t" INSITU_PACK_PAIR "cmp r0, #0\n\t"
          "beq 2f\n"
          "1:\n\t" INSITU_PACK_PAIR INSITU_PACK_PAIR "subs r0, r0, #1\n\t"
          "bne 1b\n"
          "2:\n\t"
          "pop {r4, r5, r6, r7, r8, r9}\n\t"
          "bx lr");
}

void insitu_pack_pairs(int32_t size, int32_t count, const int32_t *begin, const int8_t *w,
                       int16_t *to) {
  const int32_t whole = count == INSITU_CHANNELS ? size & ~1 : 0;
  if (whole > 0)
    pack_four_of_pairs(size / 2, begin, w, to);
  for (int32_t k = whole; k < size + size % 2; k++) {
    for (int32_t i = 0; i < INSITU_CHANNELS; i++)
      to[(k / 2) * 8 + i * 2 + k % 2] = k < size && i < count ? w[begin[k] + i] : 0;
  }
}

/* 1.6 instructions an input. */
INSITU_NAKED void insitu_pack_window_pairs(int32_t pairs, int32_t zero, int32_t step,
                                           const int8_t *x, int16_t *to) {
  __asm__("cmp r0, #0\n\t"
          "it eq\n\t"
          "bxeq lr\n\t"
          "push {r4, r5, r6, r7, r8, r9}\n\t"
          "rsb r1, r1, #0\n\t"
          "pkhbt r1, r1, r1, lsl #16\n\t"
          "ldr r12, [sp, #24]\n"
          "1:\n\t"
          "ldr r4, [r3]\n\t"
          "ldr r5, [r3, r2]\n\t"
          "add r3, r3, r2, lsl #1\n\t" INSITU_BESIDE(
              INSITU_EVEN_MORE, INSITU_ODD_MORE) "stm r12!, {r4-r7}\n\t"
                                                 "subs r0, r0, #1\n\t"
                                                 "bne 1b\n\t"
                                                 "pop {r4, r5, r6, r7, r8, r9}\n\t"
                                                 "bx lr");
}

/* 1.6 instructions an error. */
INSITU_NAKED void insitu_pack_error_pairs(int32_t pairs, int32_t step, const int8_t *dy,
                                          int16_t *to, int16_t *next) {
  __asm__("cmp r0, #0\n\t"
          "it eq\n\t"
          "bxeq lr\n\t"
          "push {r4, r5, r6, r7, r8, r9}\n\t"
          "ldr r12, [sp, #24]\n"
          "1:\n\t"
          "ldr r4, [r2]\n\t"
          "ldr r5, [r2, r1]\n\t"
          "add r2, r2, r1, lsl #1\n\t" INSITU_BESIDE(INSITU_EVEN,
                                                     INSITU_ODD) "stm r3!, {r4, r5}\n\t"
                                                                 "stm r12!, {r6, r7}\n\t"
                                                                 "subs r0, r0, #1\n\t"
                                                                 "bne 1b\n\t"
                                                                 "pop {r4, r5, r6, r7, r8, r9}\n\t"
                                                                 "bx lr");
}

/* Two pairs at a time, 7 instructions. */
INSITU_NAKED static void sum_twos(int32_t twos, const int16_t *a, int32_t total[2]) {
  __asm__("push {r4, r5, r6, r7, r8, r9}\n\t"
          "ldrd r4, r5, [r2]\n\t"
          "mov r3, #0x10001\n"
          "1:\n\t"
          "ldm r1!, {r6, r7, r8, r9}\n\t"
          "smlad r4, r6, r3, r4\n\t"
          "smlad r5, r7, r3, r5\n\t"
          "smlad r4, r8, r3, r4\n\t"
          "smlad r5, r9, r3, r5\n\t"
          "subs r0, r0, #1\n\t"
          "bne 1b\n\t"
          "strd r4, r5, [r2]\n\t"
          "pop {r4, r5, r6, r7, r8, r9}\n\t"
          "bx lr");
}

void insitu_sum_pairs(int32_t pairs, const int16_t *a, int32_t total[2]) {
  if (pairs > 1)
    sum_twos(pairs / 2, a, total);
  if (pairs % 2 == 1) {
    a += pairs / 2 * 8;
    total[0] = smlad(load_word(a), 0x00010001u, total[0]);
    total[1] = smlad(load_word(a + 2), 0x00010001u, total[1]);
  }
}

/* The weight that WIDEN brings to r12, its gradient G: the high word of 2^32 w + 2^32 - 1 - u +
 * G r1, clamped to 8 bits. lr has two random bytes, complemented; what else SHIFT brings lands on
 * ones of r10. */
#define INSITU_STEP_WEIGHT(SHIFT, WIDEN, G)                                                        \
  "orr r11, r10, lr, lsl #" SHIFT "\n\t" WIDEN "\n\t"                                              \
  "smlal r11, r12, " G ", r1\n\t"                                                                  \
  "ssat " G ", #8, r12\n\t"

/* The state is complemented, so that carry must be set when it is drawn. 8.25 instructions a
 * weight. */
INSITU_NAKED uint32_t insitu_step_groups(int32_t groups, int32_t multiplier,
                                         const int32_t *gradient, uint32_t state, int8_t *w) {
  __asm__("cmp r0, #0\n\t" /* sets carry */
          "itt eq\n\t"
          "moveq r0, r3\n\t"
          "bxeq lr\n\t"
          "push {r4, r5, r6, r7, r8, r9, r10, r11, lr}\n\t"
          "ldr r4, [sp, #36]\n\t"
          "movw r10, #0xFFFF\n\t"
          "movt r10, #0x7F\n\t"
          "rsb r1, r1, #0\n\t"
          "mvn r3, r3\n"
          "1:\n\t"
          "rrxs r3, r3\n\t"
          "it cc\n\t"
          "eorcc r3, r3, #0xA3000000\n\t"
          "ldm r2, {r6, r7, r8, r9}\n\t"
          "add r2, r2, #32\n\t"
          "ldr r5, [r4]\n\t"
          "uxtb16 lr, r3, ror #8\n\t" INSITU_STEP_WEIGHT("8", "sxtb r12, r5", "r6")
              INSITU_STEP_WEIGHT(
                  "24", "sbfx r12, r5, #16, #8",
                  "r8") "uxtb16 lr, r3\n\t" INSITU_STEP_WEIGHT("8", "sbfx r12, r5, #8, #8", "r7")
                  INSITU_STEP_WEIGHT("24", "asr r12, r5, #24",
                                     "r9") "bfi r6, r7, #8, #8\n\t"
                                           "bfi r8, r9, #8, #8\n\t"
                                           "pkhbt r6, r6, r8, lsl #16\n\t"
                                           "mov lr, #0x01010101\n\t"
                                           "qsub8 r6, r6, lr\n\t"
                                           "qadd8 r6, r6, lr\n\t" /* no -128 */
                                           "str r6, [r4], #4\n\t"
                                           "subs r0, r0, #1\n\t" /* sets carry */
                                           "bne 1b\n\t"
                                           "mvn r0, r3\n\t"
                                           "pop {r4, r5, r6, r7, r8, r9, r10, r11, pc}");
}

/* The state of which insitu_draw makes this one. */
static inline uint32_t before(uint32_t state) {
  return state >> 31 ? (state ^ 0xA3000000u) << 1 | 1u : state << 1;
}

/* Fewer than four weights. */
static __attribute__((noinline)) void step_few(int32_t count, int32_t multiplier,
                                               const int32_t *gradient, uint32_t bits, int8_t *w) {
  int32_t sums[4] = {0};
  int8_t part[4] = {0};
  for (int32_t j = 0; j < 3 && j < count; j++) {
    sums[j] = gradient[j];
    part[j] = w[j];
  }
  insitu_step_groups(1, multiplier, sums, before(bits), part);
  for (int32_t j = 0; j < 3 && j < count; j++)
    w[j] = part[j];
}

void insitu_step_part(int32_t count, int32_t multiplier, const int32_t *gradient, uint32_t bits,
                      int8_t *w) {
  if (count < 4)
    step_few(count, multiplier, gradient, bits, w);
  else
    insitu_step_groups(1, multiplier, gradient, before(bits), w);
}

INSITU_NAKED_END

#endif
