/* Inner loops of linear layers with the DSP extension: Cortex-M4, M7, M33.
 *
 * Inputs are laid out as pairs of int16, (x0, x2) then (x1, x3), which is how SXTB16 widens four
 * weights. The loops are assembly, since compilers spill what just fits into 14 registers; they
 * are functions of their own (naked), so that they are the same at every optimisation level.
 * Loads of words need no alignment but where LDM and LDRD are used: on the inputs' pairs and on
 * lists, which lie on 4 bytes. Each loop says how many instructions a product costs. */
#ifndef INSITU_LINEAR_MICROKERNELS_DSP_H
#define INSITU_LINEAR_MICROKERNELS_DSP_H

#include "insitu_dsp.h"
#include "insitu_naked.h"

INSITU_NAKED_BEGIN

/* insitu_rescale in one instruction where there is no shift. */
static inline int32_t rescale_sum(int32_t acc, int32_t multiplier, int32_t shift) {
  if (shift > 0) {
    const int32_t limit = (1 << 30) >> shift;
    acc = insitu_clamp(acc, -limit, limit) * (1 << shift);
  }
  return smmulr(acc, multiplier);
}

/* Four inputs as pairs of (x - zero) 2^scale. */
static inline void centre_four(uint32_t offset, int32_t scale, uint32_t four, uint32_t *pair) {
  const uint32_t kept = (0xFFFFu >> scale) * 0x10001u;
  const uint32_t even = sxtab16(offset, four), odd = sxtab16_ror8(offset, four);
  pair[0] = scale > 0 ? (even & kept) << scale : even;
  pair[1] = scale > 0 ? (odd & kept) << scale : odd;
}

/* (x - zero) 2^scale in pairs, scale <= 7; zeros behind the last. */
static inline void centre_scaled(int32_t size, int32_t zero, int32_t scale, const int8_t *x,
                                 int16_t *centred) {
  const uint32_t offset = (uint32_t)(-zero & 0xFFFF) * 0x10001u;
  uint32_t *pair = (uint32_t *)(void *)centred;
  int32_t left = size;
  for (; left >= 8; left -= 8, x += 8, pair += 4) {
    centre_four(offset, scale, load_word(x), pair);
    centre_four(offset, scale, load_word(x + 4), pair + 2);
  }
  if (left >= 4) {
    centre_four(offset, scale, load_word(x), pair);
    left -= 4, x += 4, pair += 2;
  }
  if (left > 0) {
    int16_t tail[4] = {0, 0, 0, 0};
    for (int32_t i = 0; i < left; i++)
      tail[i & 1 ? 2 + i / 2 : i / 2] = (int16_t)((x[i] - zero) * (1 << scale));
    memcpy(pair, tail, sizeof tail);
  }
}

/* x - zero */
static inline void centre(int32_t size, int32_t zero, const int8_t *x, int16_t *centred) {
  centre_scaled(size, zero, 0, x, centred);
}

/* ---- forward ------------------------------------------------------------------------------- */

#define INSITU_LINEAR_ROWS 4 /* that are summed side by side */

/* Four products of each of four rows: rows at r0 + 0, 1, 2, 3 times r1 (r3 = 3 r1), which goes on
 * by 4; sums in r4 to r7; EVEN and ODD hold the inputs. 20 instructions. */
#define INSITU_DOT(ROW, SUM, EVEN, ODD)                                                            \
  "ldr r12, " ROW "\n\t"                                                                           \
  "sxtb16 lr, r12\n\t"                                                                             \
  "sxtb16 r12, r12, ror #8\n\t"                                                                    \
  "smlad " SUM ", lr, " EVEN ", " SUM "\n\t"                                                       \
  "smlad " SUM ", r12, " ODD ", " SUM "\n\t"
#define INSITU_DOT_FOUR(EVEN, ODD)                                                                 \
  INSITU_DOT("[r0, r1]", "r5", EVEN, ODD)                                                          \
  INSITU_DOT("[r0, r1, lsl #1]", "r6", EVEN, ODD)                                                  \
  INSITU_DOT("[r0, r3]", "r7", EVEN, ODD)                                                          \
  INSITU_DOT("[r0], #4", "r4", EVEN, ODD)
#define INSITU_DOT_EIGHT                                                                           \
  "ldm r2!, {r8, r9, r10, r11}\n\t" INSITU_DOT_FOUR("r8", "r9") INSITU_DOT_FOUR("r10", "r11")
#define INSITU_DOT_LAST "ldm r2!, {r8, r9}\n\t" INSITU_DOT_FOUR("r8", "r9")

/* sum[k] = sum of w[k size + i] x[i], i < size & ~3, k < 4. 1.30 instructions a product. */
INSITU_NAKED static void dot_four_rows(const int8_t *w, int32_t size, const int16_t *x,
                                       int32_t *sum) {
  __asm__("push {r3, r4, r5, r6, r7, r8, r9, r10, r11, lr}\n\t"
          "bic r12, r1, #63\n\t"
          "add r12, r2, r12, lsl #1\n\t" /* where x ends for steps of 64 */
          "bic lr, r1, #3\n\t"
          "add lr, r2, lr, lsl #1\n\t"
          "push {r12, lr}\n\t"
          "add r3, r1, r1, lsl #1\n\t"
          "mov r4, #0\n\t"
          "mov r5, #0\n\t"
          "mov r6, #0\n\t"
          "mov r7, #0\n\t"
          "cmp r2, r12\n\t"
          "beq 2f\n"
          "1:\n\t"
          ".rept 8\n\t" INSITU_DOT_EIGHT ".endr\n\t"
          "ldr r12, [sp]\n\t"
          "cmp r2, r12\n\t"
          "bne 1b\n"
          "2:\n\t"
          "ldr r12, [sp, #4]\n\t"
          "cmp r2, r12\n\t"
          "beq 3f\n\t" INSITU_DOT_LAST "b 2b\n"
          "3:\n\t"
          "pop {r1, r2, r3}\n\t"
          "stm r3, {r4, r5, r6, r7}\n\t"
          "pop {r4, r5, r6, r7, r8, r9, r10, r11, pc}");
}

/* sum + products of one row with the inputs' pairs, size <= 4. */
static inline int32_t dot_few(int32_t size, const int8_t *w, const int16_t *x, int32_t sum) {
  const uint32_t *pair = (const uint32_t *)(const void *)x;
  uint32_t four = 0;
  if (size == 4) {
    four = load_word(w);
  } else {
    for (int32_t i = 0; i < size; i++)
      four |= (uint32_t)(uint8_t)w[i] << 8 * i;
  }
  /* not smlad(), so that the sum stays in one register */
  __asm__("smlad %0, %1, %2, %0" : "+r"(sum) : "r"(sxtab16(0, four)), "r"(pair[0]));
  __asm__("smlad %0, %1, %2, %0" : "+r"(sum) : "r"(sxtab16_ror8(0, four)), "r"(pair[1]));
  return sum;
}

/* sum[k] = sum of w[k size + i] x[i], i < size, k < INSITU_LINEAR_ROWS. */
static inline void dot_rows(int32_t size, const int8_t *w, const int16_t *x, int32_t *sum) {
  const int32_t whole = size & ~3;
  dot_four_rows(w, size, x, sum);
  if (size > whole) {
    for (int32_t k = 0; k < INSITU_LINEAR_ROWS; k++, w += size)
      sum[k] = dot_few(size - whole, w + whole, x + whole, sum[k]);
  }
}

/* The same of one row. */
__attribute__((unused)) static int32_t dot_row(int32_t size, const int8_t *w, const int16_t *x) {
  int32_t sum = 0;
  int32_t i = 0;
  for (; i + 4 <= size; i += 4)
    sum = dot_few(4, w + i, x + i, sum);
  return i < size ? dot_few(size - i, w + i, x + i, sum) : sum;
}

#define INSITU_LINEAR_OUTPUTS

/* Of y, in bytes and halves as the assembly wants them; the smallest and largest value before the
 * clamp, clamped to int16. */
typedef struct {
  uint32_t zero, low, high; /* zero - low, low, high - low */
  int32_t extremes[2];      /* two of the smallest, two of the largest */
  int32_t lowest, highest;
} insitu_linear_outputs_t;

static inline insitu_linear_outputs_t linear_outputs(const insitu_qparams_t *y_q) {
  const uint32_t every = 0x01010101u;
  const int32_t low = y_q->clamp_min;
  const insitu_linear_outputs_t outputs = {(uint32_t)((y_q->zero_point - low) & 0xFFFF) * 0x10001u,
                                           (uint32_t)(low & 0xFF) * every,
                                           (uint32_t)(y_q->clamp_max - low) * every,
                                           {0, 0},
                                           0,
                                           0};
  return outputs;
}

/* 9.75 instructions a row. */
INSITU_NAKED static void epilogue_fours(insitu_linear_outputs_t *outputs, const int32_t *sum,
                                        const int32_t *bias, const int32_t *multiplier, int8_t *y,
                                        int32_t fours) {
  __asm__("push {r4, r5, r6, r7, r8, r9, r10, r11, lr}\n\t"
          "ldrd r12, lr, [sp, #36]\n"
          "1:\n\t"
          "ldm r1!, {r4, r5, r6, r7}\n\t"
          "ldm r2!, {r8, r9, r10, r11}\n\t"
          "add r4, r4, r8\n\t"
          "add r5, r5, r9\n\t"
          "add r6, r6, r10\n\t"
          "add r7, r7, r11\n\t"
          "ldm r3!, {r8, r9, r10, r11}\n\t"
          "smmulr r4, r4, r8\n\t"
          "smmulr r5, r5, r9\n\t"
          "smmulr r6, r6, r10\n\t"
          "smmulr r7, r7, r11\n\t"
          "ssat r4, #16, r4\n\t"
          "ssat r5, #16, r5\n\t"
          "ssat r6, #16, r6\n\t"
          "ssat r7, #16, r7\n\t"
          "pkhbt r4, r4, r6, lsl #16\n\t"
          "pkhbt r5, r5, r7, lsl #16\n\t"
          "ldrd r6, r7, [r0, #12]\n\t" /* extremes */
          "ssub16 r8, r4, r5\n\t"
          "sel r9, r4, r5\n\t"
          "sel r10, r5, r4\n\t"
          "ssub16 r8, r9, r7\n\t"
          "sel r7, r9, r7\n\t"
          "ssub16 r8, r6, r10\n\t"
          "sel r6, r10, r6\n\t"
          "strd r6, r7, [r0, #12]\n\t"
          "ldrd r8, r9, [r0]\n\t"
          "ldr r10, [r0, #8]\n\t"
          "qadd16 r4, r4, r8\n\t"
          "qadd16 r5, r5, r8\n\t"
          "usat16 r4, #8, r4\n\t"
          "usat16 r5, #8, r5\n\t"
          "orr r4, r4, r5, lsl #8\n\t"
          "usub8 r11, r10, r4\n\t"
          "sel r4, r4, r10\n\t"
          "uadd8 r4, r4, r9\n\t"
          "str r4, [r12], #4\n\t"
          "subs lr, lr, #1\n\t"
          "bne 1b\n\t"
          "pop {r4, r5, r6, r7, r8, r9, r10, r11, pc}");
}

/* y = clamp(zero + rescale(bias + sum)) of the first rows; returns of how many: fours whose values
 * did not leave int16, and that need no shift. */
static inline int32_t epilogue_rows(insitu_linear_outputs_t *outputs, int32_t rows, int32_t shift,
                                    const int32_t *sum, const int32_t *bias,
                                    const int32_t *multiplier, int8_t *y) {
  if (rows < 4 || shift > 0)
    return 0;
  outputs->extremes[0] = outputs->extremes[1] = 0;
  epilogue_fours(outputs, sum, bias, multiplier, y, rows / 4);
  const int32_t *const seen = outputs->extremes;
  const int32_t lowest = insitu_min((int16_t)seen[0], seen[0] >> 16);
  const int32_t highest = insitu_max((int16_t)seen[1], seen[1] >> 16);
  if (lowest == INT16_MIN || highest == INT16_MAX)
    return 0;
  outputs->lowest = insitu_min(outputs->lowest, lowest);
  outputs->highest = insitu_max(outputs->highest, highest);
  return rows & ~3;
}

/* ---- input gradient ------------------------------------------------------------------------ */

#define INSITU_LINEAR_LIST 4    /* the rows of a list are filled up to a multiple of this */
#define INSITU_LINEAR_COLUMNS 4 /* that are summed side by side */

/* Two rows of weights and their errors, first | second << 16. */
typedef struct {
  int32_t first, second; /* where they begin in w */
  uint32_t errors;
} insitu_sparse_pair_t;

/* Row k of a list. */
static inline void append_row(void *list, int32_t k, int32_t begin, int32_t error) {
  insitu_sparse_pair_t *pair = (insitu_sparse_pair_t *)list + k / 2;
  if (k % 2 == 0) {
    pair->first = begin;
    pair->errors = (uint32_t)error & 0xFFFFu;
  } else {
    pair->second = begin;
    pair->errors |= (uint32_t)error << 16;
  }
}

/* Four columns of two rows: words at A + r1 and B + r1, errors in E, sums in r4 to r7.
 * 12 instructions, 8 products. */
#define INSITU_ADD_PAIR(A, B, E)                                                                   \
  "ldr " A ", [" A ", r1]\n\t"                                                                     \
  "ldr " B ", [" B ", r1]\n\t"                                                                     \
  "pkhbt lr, " A ", " B ", lsl #16\n\t"                                                            \
  "pkhtb " A ", " B ", " A ", asr #16\n\t"                                                         \
  "sxtb16 " B ", lr\n\t"                                                                           \
  "sxtb16 lr, lr, ror #8\n\t"                                                                      \
  "smlad r4, " B ", " E ", r4\n\t"                                                                 \
  "smlad r5, lr, " E ", r5\n\t"                                                                    \
  "sxtb16 " B ", " A "\n\t"                                                                        \
  "sxtb16 " A ", " A ", ror #8\n\t"                                                                \
  "smlad r6, " B ", " E ", r6\n\t"                                                                 \
  "smlad r7, " A ", " E ", r7\n\t"
#define INSITU_ADD_FOUR_ROWS                                                                       \
  "ldm r0!, {r3, r8, r9, r10, r11, r12}\n\t" INSITU_ADD_PAIR("r3", "r8", "r9")                     \
      INSITU_ADD_PAIR("r10", "r11", "r12")

/* sum[i] = sum over the list of e w[begin + i], i < 4; fours: how often it has four rows.
 * 1.6 instructions a product. */
INSITU_NAKED static void add_four_columns(const void *list, const int8_t *w, int32_t fours,
                                          int32_t *sum) {
  __asm__(
      "push {r3, r4, r5, r6, r7, r8, r9, r10, r11, lr}\n\t"
      "mov r4, #0\n\t"
      "mov r5, #0\n\t"
      "mov r6, #0\n\t"
      "mov r7, #0\n"
      "1:\n\t"
      "tst r2, #3\n\t"
      "beq 2f\n\t" INSITU_ADD_FOUR_ROWS "sub r2, r2, #1\n\t"
      "b 1b\n"
      "2:\n\t"
      "cmp r2, #0\n\t"
      "beq 4f\n"
      "3:\n\t" INSITU_ADD_FOUR_ROWS INSITU_ADD_FOUR_ROWS INSITU_ADD_FOUR_ROWS INSITU_ADD_FOUR_ROWS
      "subs r2, r2, #4\n\t"
      "bne 3b\n"
      "4:\n\t"
      "pop {r3}\n\t"
      "stm r3, {r4, r5, r6, r7}\n\t"
      "pop {r4, r5, r6, r7, r8, r9, r10, r11, pc}");
}

static inline void add_columns(const void *list, int32_t rows, const int8_t *w, int32_t *sum) {
  add_four_columns(list, w, rows / INSITU_LINEAR_LIST, sum);
}

/* One column. */
static inline int32_t add_column(const void *list, int32_t rows, const int8_t *w) {
  const insitu_sparse_pair_t *pair = list, *end = pair + rows / 2;
  int32_t sum = 0;
  for (; pair != end; pair++) {
    sum += w[pair->first] * (int16_t)pair->errors;
    sum += w[pair->second] * ((int32_t)pair->errors >> 16);
  }
  return sum;
}

/* rescale(sum) clamped to int8. */
static inline uint32_t error_of(int32_t sum, int32_t multiplier, int32_t shift) {
  uint32_t v;
  __asm__("ssat %0, #8, %1" : "=r"(v) : "r"(rescale_sum(sum, multiplier, shift)));
  return v;
}

/* dx[i] = rescale(sum[i]) clamped to [-127, 127], i < 4. */
static inline void store_errors(const int32_t *sum, int32_t multiplier, int32_t shift, int8_t *dx) {
  uint32_t four = error_of(sum[0], multiplier, shift);
  uint32_t high = error_of(sum[2], multiplier, shift);
  __asm__("bfi %0, %1, #8, #8" : "+r"(four) : "r"(error_of(sum[1], multiplier, shift)));
  __asm__("bfi %0, %1, #8, #8" : "+r"(high) : "r"(error_of(sum[3], multiplier, shift)));
  __asm__("pkhbt %0, %0, %1, lsl #16" : "+r"(four) : "r"(high));
  __asm__("qsub8 %0, %0, %1\n\tqadd8 %0, %0, %1" : "+r"(four) : "r"(0x01010101u)); /* no -128 */
  memcpy(dx, &four, sizeof four);
}

#include "insitu_linear_step_dsp.h"

INSITU_NAKED_END

#endif
