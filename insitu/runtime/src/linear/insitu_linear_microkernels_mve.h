/* Inner loops of linear layers with Helium (MVE): Cortex-M55. */
#ifndef INSITU_LINEAR_MICROKERNELS_MVE_H
#define INSITU_LINEAR_MICROKERNELS_MVE_H

#include <arm_mve.h>

#include "insitu_fixed_point.h"
#include "insitu_linear_sparse.h"
#include "insitu_naked.h"

INSITU_NAKED_BEGIN

static inline int32_t rescale_sum(int32_t acc, int32_t multiplier, int32_t shift) {
  return insitu_rescale(acc, multiplier, shift);
}

static inline int32x4_t clamp_lanes(int32x4_t v, int32_t low, int32_t high) {
  return vminq_s32(vmaxq_s32(v, vdupq_n_s32(low)), vdupq_n_s32(high));
}

/* insitu_rescale */
static inline int32x4_t rescale_lanes(int32x4_t acc, int32x4_t multiplier, int32_t shift) {
  if (shift > 0) {
    const int32_t limit = (1 << 30) >> shift;
    acc = vshlq_r_s32(clamp_lanes(acc, -limit, limit), shift);
  }
  return vrmulhq_s32(acc, multiplier);
}

/* x - zero */
static inline void centre(int32_t size, int32_t zero, const int8_t *x, int16_t *centred) {
  for (int32_t i = 0; i < size; i += 8) {
    const mve_pred16_t there = vctp16q((uint32_t)(size - i));
    const int16x8_t v = vldrbq_z_s16(x + i, there);
    vstrhq_p_s16(centred + i, vsubq_n_s16(v, (int16_t)zero), there);
  }
}

/* ---- forward ------------------------------------------------------------------------------- */

#define INSITU_LINEAR_ROWS 4 /* that are summed side by side */

/* sum + products of at most eight weights. */
static inline int32_t dot_few(int32_t size, const int8_t *w, const int16_t *x, int32_t sum) {
  const mve_pred16_t there = vctp16q((uint32_t)size);
  return vmladavaq_s16(sum, vldrbq_z_s16(w, there), vldrhq_z_s16(x, there));
}

/* sum[k] = sum of w[k size + i] x[i], i < size, k < INSITU_LINEAR_ROWS. */
static inline void dot_rows(int32_t size, const int8_t *w, const int16_t *x, int32_t *sum) {
  const int8_t *second = w + size, *third = second + size, *fourth = third + size;
  const int32_t tail = size & 7;
  int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
  for (int32_t left = size >> 3; left > 0; left--) {
    const int16x8_t v = vldrhq_s16(x);
    s0 = vmladavaq_s16(s0, v, vldrbq_s16(w));
    s1 = vmladavaq_s16(s1, v, vldrbq_s16(second));
    s2 = vmladavaq_s16(s2, v, vldrbq_s16(third));
    s3 = vmladavaq_s16(s3, v, vldrbq_s16(fourth));
    x += 8, w += 8, second += 8, third += 8, fourth += 8;
  }
  if (tail > 0) {
    s0 = dot_few(tail, w, x, s0);
    s1 = dot_few(tail, second, x, s1);
    s2 = dot_few(tail, third, x, s2);
    s3 = dot_few(tail, fourth, x, s3);
  }
  sum[0] = s0, sum[1] = s1, sum[2] = s2, sum[3] = s3;
}

/* The same of one row. */
static inline int32_t dot_row(int32_t size, const int8_t *w, const int16_t *x) {
  int32_t sum = 0;
  for (int32_t i = 0; i < size; i += 8)
    sum = dot_few(size - i, w + i, x + i, sum);
  return sum;
}

#define INSITU_LINEAR_OUTPUTS

typedef struct {
  int32_t zero, low, high;
  int32_t lowest, highest;
} insitu_linear_outputs_t;

static inline insitu_linear_outputs_t linear_outputs(const insitu_qparams_t *y_q) {
  const insitu_linear_outputs_t outputs = {y_q->zero_point, y_q->clamp_min, y_q->clamp_max, 0, 0};
  return outputs;
}

/* y = clamp(zero + rescale(bias + sum)) of all rows, whose number is returned. */
static inline int32_t epilogue_rows(insitu_linear_outputs_t *outputs, int32_t rows, int32_t shift,
                                    const int32_t *sum, const int32_t *bias,
                                    const int32_t *multiplier, int8_t *y) {
  const int32_t zero = outputs->zero, low = outputs->low, high = outputs->high;
  int32_t lowest = outputs->lowest, highest = outputs->highest;
  for (int32_t k = 0; k < rows; k += 4) {
    const mve_pred16_t there = vctp32q((uint32_t)(rows - k)); /* 0 elsewhere */
    const int32x4_t acc = vaddq_s32(vldrwq_z_s32(sum + k, there), vldrwq_z_s32(bias + k, there));
    const int32x4_t v = rescale_lanes(acc, vldrwq_z_s32(multiplier + k, there), shift);
    lowest = vminvq_s32(lowest, v);
    highest = vmaxvq_s32(highest, v);
    vstrbq_p_s32(y + k, clamp_lanes(vaddq_n_s32(v, zero), low, high), there);
  }
  outputs->lowest = lowest;
  outputs->highest = highest;
  return rows;
}

/* ---- input gradient ------------------------------------------------------------------------ */

#define INSITU_LINEAR_LIST 1     /* the rows of a list are filled up to a multiple of this */
#define INSITU_LINEAR_COLUMNS 16 /* that are summed side by side */

/* sum[i] = sum over the list's `rows` rows of e w[begin + i], i < INSITU_LINEAR_COLUMNS.
 * 0.69 instructions a product. */
INSITU_NAKED static void add_columns(const void *list, int32_t rows, const int8_t *w,
                                     int32_t *sum) {
  __asm__("push {r4, lr}\n\t"
          "vpush {d8-d11}\n\t"
          "vmov.i32 q0, #0\n\t"
          "vmov.i32 q1, #0\n\t"
          "vmov.i32 q2, #0\n\t"
          "vmov.i32 q3, #0\n\t"
          "wls lr, r1, 2f\n"
          "1:\n\t"
          "ldrd r1, r4, [r0], #8\n\t" /* begin, error */
          "add r1, r1, r2\n\t"
          "vldrb.s32 q4, [r1]\n\t"
          "vmla.s32 q0, q4, r4\n\t"
          "vldrb.s32 q5, [r1, #4]\n\t"
          "vmla.s32 q1, q5, r4\n\t"
          "vldrb.s32 q4, [r1, #8]\n\t"
          "vmla.s32 q2, q4, r4\n\t"
          "vldrb.s32 q5, [r1, #12]\n\t"
          "vmla.s32 q3, q5, r4\n\t"
          "le lr, 1b\n"
          "2:\n\t"
          "vstrw.32 q0, [r3]\n\t"
          "vstrw.32 q1, [r3, #16]\n\t"
          "vstrw.32 q2, [r3, #32]\n\t"
          "vstrw.32 q3, [r3, #48]\n\t"
          "vpop {d8-d11}\n\t"
          "pop {r4, pc}");
}

/* dx[i] = rescale(sum[i]) clamped to [-127, 127], i < INSITU_LINEAR_COLUMNS. */
static inline void store_errors(const int32_t *sum, int32_t multiplier, int32_t shift, int8_t *dx) {
  for (int32_t i = 0; i < INSITU_LINEAR_COLUMNS; i += 4) {
    const int32x4_t v = rescale_lanes(vldrwq_s32(sum + i), vdupq_n_s32(multiplier), shift);
    vstrbq_s32(dx + i, clamp_lanes(v, -127, 127));
  }
}

/* ---- update in place ----------------------------------------------------------------------- */

/* The inputs as step_weights wants them. */
static inline void prepare_step(int32_t size, int32_t zero, const int8_t *x, int16_t *inputs) {
  centre(size, zero, x, inputs);
}

/* The generator k draws ahead: moved = state >> k, left = state << (32 - k), k <= 8. What leaves
 * comes in again as a product of polynomials, see insitu_draw_ahead. */
static inline uint32x4_t draw_lanes(uint32x4_t moved, uint32x4_t left) {
  const uint16x8_t product = vmulltq_poly_p8(vreinterpretq_u8_u32(left), vdupq_n_u8(0xA3));
  return veorq_u32(moved, vshlq_n_u32(vreinterpretq_u32_u16(product), 1));
}

/* Eight weights less their steps: inputs and then these in X, noise in U. A step is the high half
 * of kappa x, where the low half carries into it: where adding the noise makes it less than that.
 */
#define INSITU_STEP_EIGHT(X, U)                                                                    \
  "vmul.i16 q4, " X ", r4\n\t"                                                                     \
  "vmulh.s16 " X ", " X ", q7\n\t"                                                                 \
  "vadd.i16 q4, q4, " U "\n\t"                                                                     \
  "vcmp.u16 hi, " U ", q4\n\t"                                                                     \
  "vpst\n\t"                                                                                       \
  "vaddt.i16 " X ", " X ", r5\n\t"

/* Steps of 16 weights after 16; the generator's next four states are in q6, returned is the last
 * that was used. The steps of even and odd weights, then random bytes in the order of the weights.
 * 2.25 instructions a weight. */
INSITU_NAKED static uint32_t step_sixteens(const int16_t *x, int32_t sixteens, int8_t *w,
                                           const uint32_t *states, int32_t kappa) {
  __asm__("push {r4, r5, r6, lr}\n\t"
          "vpush {d8-d15}\n\t"
          "ldr r4, [sp, #80]\n\t"
          "vldrw.32 q6, [r3]\n\t"
          "vdup.16 q7, r4\n\t"
          "mov r5, #0xA3\n\t"
          "vdup.8 q5, r5\n\t"
          "mov r5, #1\n\t"
          "dls lr, r1\n"
          "1:\n\t"
          "vld20.16 {q0, q1}, [r0]\n\t"
          "vrev32.8 q2, q6\n\t"
          "vld21.16 {q0, q1}, [r0]!\n\t"
          "vshllb.u8 q3, q2, #8\n\t"
          "vshllt.u8 q2, q2, #8\n\t"
          "vorr.i16 q3, #128\n\t"
          "vorr.i16 q2, #128\n\t" INSITU_STEP_EIGHT("q0", "q3")
              INSITU_STEP_EIGHT("q1", "q2") "vldrb.8 q2, [r2]\n\t"
                                            "vmovlb.s8 q3, q2\n\t"
                                            "vsub.i16 q0, q3, q0\n\t"
                                            "vmovlt.s8 q3, q2\n\t"
                                            "vsub.i16 q1, q3, q1\n\t"
                                            "vqmovnb.s16 q2, q0\n\t"
                                            "vqmovnt.s16 q2, q1\n\t"
                                            "vqsub.s8 q2, q2, r5\n\t" /* no -128 */
                                            "vqadd.s8 q2, q2, r5\n\t"
                                            "vstrb.8 q2, [r2], #16\n\t"
                                            "vmov.32 r6, q6[3]\n\t"
                                            "vshl.i32 q3, q6, #28\n\t"
                                            "vmullt.p8 q3, q3, q5\n\t"
                                            "vshr.u32 q6, q6, #4\n\t"
                                            "vshl.i32 q3, q3, #1\n\t"
                                            "veor q6, q6, q3\n\t"
                                            "le lr, 1b\n\t"
                                            "mov r0, r6\n\t"
                                            "vpop {d8-d15}\n\t"
                                            "pop {r4, r5, r6, pc}");
}

/* step_sixteens after so many draws. */
static inline uint32_t step_from(uint32_t state, int32_t kappa, int32_t sixteens, const int16_t *x,
                                 int8_t *w) {
  const int32x4_t up = vreinterpretq_s32_u32(vddupq_n_u32(31, 1)); /* 31, 30, 29, 28 */
  const uint32x4_t last = vdupq_n_u32(state);
  uint32_t states[4];
  vstrwq_u32(states, draw_lanes(vshlq_u32(last, vsubq_n_s32(up, 32)), vshlq_u32(last, up)));
  return step_sixteens(x, sixteens, w, states, kappa);
}

/* w[i] = sat127(w[i] - ((kappa x[i] + r 2^8 + 2^7) >> 16)), i < size; returns the generator. */
static inline uint32_t step_weights(int32_t size, int32_t kappa, const int16_t *x, uint32_t state,
                                    int8_t *w) {
  const int32_t whole = size & ~15, tail = size - whole;
  if (whole > 0)
    state = step_from(state, kappa, whole / 16, x, w);
  if (tail > 0) { /* on a copy, since loads of every other input know no end */
    const mve_pred16_t there = vctp8q((uint32_t)tail);
    int16_t inputs[16];
    int8_t weights[16];
    vstrhq_s16(inputs, vldrhq_z_s16(x + whole, vctp16q((uint32_t)tail)));
    vstrhq_s16(inputs + 8, vldrhq_z_s16(x + whole + 8, vctp16q((uint32_t)insitu_max(tail - 8, 0))));
    vstrbq_s8(weights, vldrbq_z_s8(w + whole, there));
    step_from(state, kappa, 1, inputs, weights);
    vstrbq_p_s8(w + whole, vldrbq_s8(weights), there);
    state = insitu_draw_ahead(state, (tail + 3) / 4);
  }
  return state;
}

INSITU_NAKED_END

#endif
