/* Inner loops of linear layers on cores without vectors: Cortex-M0+ in assembly, M3 in C; part of
 * insitu_linear_microkernels_portable.h.
 *
 * The update: w - ((kappa x + r 2^8 + 2^7) >> 16) clamped to 127 is moved - 127, where
 * moved = w + ((top - kappa (x + 256) - r 2^8) >> 16) is clamped to [0, 254]: one comparison finds
 * both ends. Inputs are x + 256, so that they load without a sign; top takes the 256 back. */
#ifndef INSITU_LINEAR_MICROKERNELS_THUMB_H
#define INSITU_LINEAR_MICROKERNELS_THUMB_H

#include "insitu_fixed_point.h"
#include "insitu_naked.h"

#if !defined(__thumb2__)

INSITU_NAKED_BEGIN

/* Input X_AT bytes behind r0 times weight K of the rows at r2 and r3, to their sums. 9
 * instructions.
 */
#define INSITU_DOT_COLUMN(X_AT, K)                                                                 \
  "movs r7, #" X_AT "\n\t"                                                                         \
  "ldrsh r5, [r0, r7]\n\t"                                                                         \
  "movs r7, #" K "\n\t"                                                                            \
  "ldrsb r6, [r2, r7]\n\t"                                                                         \
  "muls r6, r5\n\t"                                                                                \
  "adds r1, r1, r6\n\t"                                                                            \
  "ldrsb r6, [r3, r7]\n\t"                                                                         \
  "muls r6, r5\n\t"                                                                                \
  "adds r4, r4, r6\n\t"

/* sum[0] = the products of w with the inputs from x to end, a multiple of 4; sum[1] = of next.
 * 5.1 instructions a product. */
INSITU_NAKED static void dot_fours(const int16_t *x, const int16_t *end, const int8_t *w,
                                   const int8_t *next, int32_t *sum) {
  __asm__(".syntax unified\n\t"
          "push {r4, r5, r6, r7, lr}\n\t"
          "mov r12, r1\n\t"
          "movs r1, #0\n\t"
          "movs r4, #0\n\t"
          "cmp r0, r12\n\t"
          "beq 2f\n"
          "1:\n\t" INSITU_DOT_COLUMN("0", "0") INSITU_DOT_COLUMN("2", "1")
              INSITU_DOT_COLUMN("4", "2") INSITU_DOT_COLUMN("6", "3") "adds r0, #8\n\t"
                                                                      "adds r2, #4\n\t"
                                                                      "adds r3, #4\n\t"
                                                                      "cmp r0, r12\n\t"
                                                                      "bne 1b\n"
                                                                      "2:\n\t"
                                                                      "ldr r5, [sp, #20]\n\t"
                                                                      "stm r5!, {r1, r4}\n\t"
                                                                      "pop {r4, r5, r6, r7, pc}");
}

/* Column K of the row at r6 times the error r7 to a sum. 4 instructions. */
#define INSITU_ADD_COLUMN(K, SUM)                                                                  \
  "ldrb r5, [r6, #" K "]\n\t"                                                                      \
  "sxtb r5, r5\n\t"                                                                                \
  "muls r5, r7\n\t"                                                                                \
  "adds " SUM ", " SUM ", r5\n\t"

/* sum[i] = sum over the list from row to end of e w[begin + i], i < 4. 5 instructions a product.
 */
INSITU_NAKED static void add_four_columns(const void *row, const void *end, const int8_t *w,
                                          int32_t *sum) {
  __asm__(".syntax unified\n\t"
          "push {r3, r4, r5, r6, r7, lr}\n\t"
          "mov r4, r8\n\t"
          "push {r4}\n\t"
          "mov r8, r2\n\t"
          "mov r12, r1\n\t"
          "movs r1, #0\n\t"
          "movs r2, #0\n\t"
          "movs r3, #0\n\t"
          "movs r4, #0\n\t"
          "cmp r0, r12\n\t"
          "beq 2f\n"
          "1:\n\t"
          "ldm r0!, {r6, r7}\n\t"
          "add r6, r8\n\t" INSITU_ADD_COLUMN("0", "r1") INSITU_ADD_COLUMN("1", "r2")
              INSITU_ADD_COLUMN("2", "r3")
                  INSITU_ADD_COLUMN("3", "r4") "cmp r0, r12\n\t"
                                               "bne 1b\n"
                                               "2:\n\t"
                                               "pop {r5, r6}\n\t"
                                               "mov r8, r5\n\t"
                                               "stm r6!, {r1, r2, r3, r4}\n\t"
                                               "pop {r4, r5, r6, r7, pc}");
}

static inline void add_columns(const void *list, int32_t rows, const int8_t *w, int32_t *sum) {
  add_four_columns(list, (const insitu_sparse_row_t *)list + rows, w, sum);
}

#else

static inline void dot_fours(const int16_t *x, const int16_t *end, const int8_t *w,
                             const int8_t *next, int32_t *sum) {
  int32_t s0 = 0, s1 = 0;
  for (; x != end; x += 4, w += 4, next += 4) {
    s0 += w[0] * x[0];
    s1 += next[0] * x[0];
    s0 += w[1] * x[1];
    s1 += next[1] * x[1];
    s0 += w[2] * x[2];
    s1 += next[2] * x[2];
    s0 += w[3] * x[3];
    s1 += next[3] * x[3];
    /* else clang makes one index of the pointers and adds it anew to each */
    __asm__("" : "+r"(x), "+r"(w), "+r"(next));
  }
  sum[0] = s0;
  sum[1] = s1;
}

#endif

/* The inputs as step_weights wants them: x - zero + 256. */
static inline void prepare_step(int32_t size, int32_t zero, const int8_t *x, int16_t *inputs) {
  for (int32_t i = 0; i < size; i++)
    inputs[i] = (int16_t)(x[i] - zero + 256);
}

static inline int32_t step_top(int32_t kappa) {
  return (127 << 16) + 65535 - (1 << 7) + kappa * 256;
}

/* bits: r 2^8. */
static inline int8_t step_weight(int32_t kappa, int32_t top, int32_t x, uint32_t bits, int32_t w) {
  const int32_t moved = w + ((top - kappa * x - (int32_t)bits) >> 16);
  if (__builtin_expect((uint32_t)moved > 254u, 0))
    return moved < 0 ? -127 : 127;
  return (int8_t)(moved - 127);
}

#if !defined(__thumb2__)

/* Weight K at r2, its input at r0; SHIFT brings its byte of the generator r3 to bits 8 to 15, r1
 * masks it; r4 is -kappa, r8 top. 14 instructions. */
#define INSITU_STEP(K, K_TWICE, SHIFT)                                                             \
  "ldrh r6, [r0, #" K_TWICE "]\n\t"                                                                \
  "muls r6, r4\n\t" SHIFT "ands r7, r1\n\t"                                                        \
  "subs r6, r6, r7\n\t"                                                                            \
  "add r6, r8\n\t"                                                                                 \
  "asrs r6, r6, #16\n\t"                                                                           \
  "movs r7, #" K "\n\t"                                                                            \
  "ldrsb r7, [r2, r7]\n\t"                                                                         \
  "adds r6, r6, r7\n\t"                                                                            \
  "cmp r6, #254\n\t"                                                                               \
  "bhi 5" K "f\n"                                                                                  \
  "6" K ":\n\t"                                                                                    \
  "subs r6, #127\n\t"                                                                              \
  "strb r6, [r2, #" K "]\n\t"
/* Where it is clamped: 0 below, 254 above. */
#define INSITU_STEP_CLAMPED(K)                                                                     \
  "5" K ":\n\t"                                                                                    \
  "asrs r6, r6, #31\n\t"                                                                           \
  "mvns r6, r6\n\t"                                                                                \
  "movs r7, #254\n\t"                                                                              \
  "ands r6, r7\n\t"                                                                                \
  "b 6" K "b\n"

/* Steps of the weights for the inputs from x to end, a multiple of 4; returns the generator.
 * 15.7 instructions a weight. */
INSITU_NAKED static uint32_t step_fours(const int16_t *x, const int16_t *end, int8_t *w,
                                        uint32_t state, int32_t minus_kappa, int32_t top) {
  __asm__(".syntax unified\n\t"
          "push {r4, r5, r6, r7, lr}\n\t"
          "mov r4, r8\n\t"
          "mov r5, r9\n\t"
          "push {r4, r5}\n\t"
          "ldr r4, [sp, #32]\n\t"
          "mov r8, r4\n\t"
          "ldr r4, [sp, #28]\n\t"
          "mov r9, r1\n\t"
          "movs r1, #255\n\t"
          "lsls r1, r1, #8\n\t"
          "movs r5, #0xA3\n\t"
          "lsls r5, r5, #24\n\t"
          "cmp r0, r9\n\t"
          "beq 3f\n"
          "1:\n\t"
          "lsrs r3, r3, #1\n\t"
          "bcc 2f\n\t"
          "eors r3, r5\n"
          "2:\n\t" INSITU_STEP("0", "0", "lsrs r7, r3, #16\n\t")
              INSITU_STEP("1", "2", "lsrs r7, r3, #8\n\t") INSITU_STEP("2", "4", "mov r7, r3\n\t")
                  INSITU_STEP(
                      "3", "6",
                      "lsls r7, r3, #8\n\t") "adds r0, #8\n\t"
                                             "adds r2, #4\n\t"
                                             "cmp r0, r9\n\t"
                                             "bne 1b\n"
                                             "3:\n\t"
                                             "mov r0, r3\n\t"
                                             "pop {r4, r5}\n\t"
                                             "mov r8, r4\n\t"
                                             "mov r9, r5\n\t"
                                             "pop {r4, r5, r6, r7, pc}\n" INSITU_STEP_CLAMPED("0")
                                                 INSITU_STEP_CLAMPED("1") INSITU_STEP_CLAMPED("2")
                                                     INSITU_STEP_CLAMPED("3"));
}

INSITU_NAKED_END

#else

static inline uint32_t step_fours(const int16_t *x, const int16_t *end, int8_t *w, uint32_t state,
                                  int32_t minus_kappa, int32_t top) {
  const int32_t kappa = -minus_kappa;
  for (; x != end; x += 4, w += 4) {
    state = insitu_draw(state);
    w[0] = step_weight(kappa, top, x[0], state >> 24 << 8, w[0]);
    w[1] = step_weight(kappa, top, x[1], state << 8 >> 24 << 8, w[1]);
    w[2] = step_weight(kappa, top, x[2], state << 16 >> 24 << 8, w[2]);
    w[3] = step_weight(kappa, top, x[3], state << 24 >> 16, w[3]);
  }
  return state;
}

#endif

/* w[i] = sat127(w[i] - ((kappa x[i] + r 2^8 + 2^7) >> 16)), i < size; returns the generator. */
static inline uint32_t step_weights(int32_t size, int32_t kappa, const int16_t *x, uint32_t state,
                                    int8_t *w) {
  const int32_t whole = size & ~3, top = step_top(kappa);
  state = step_fours(x, x + whole, w, state, -kappa, top);
  if (size > whole) {
    uint32_t bits = state = insitu_draw(state);
    for (int32_t i = whole; i < size; i++, bits <<= 8)
      w[i] = step_weight(kappa, top, x[i], bits >> 24 << 8, w[i]);
  }
  return state;
}

#endif
