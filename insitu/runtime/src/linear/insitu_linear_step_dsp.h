/* Update in place of linear layers with the DSP extension; part of
 * insitu_linear_microkernels_dsp.h, which says what holds for its assembly. */
#ifndef INSITU_LINEAR_STEP_DSP_H
#define INSITU_LINEAR_STEP_DSP_H

/* The inputs as step_weights wants them: (x - zero) 2^7. */
static inline void prepare_step(int32_t size, int32_t zero, const int8_t *x, int16_t *inputs) {
  centre_scaled(size, zero, 7, x, inputs);
}

/* Four weights at r2, their inputs in X and Y: draws, steps, goes on.
 *
 * With inputs times 2^7 and twice kappa in r4 a product's high half is that of kappa x in units of
 * 2^-8, r5 rounds it and adds 1; random bytes are added below the point, and the high bytes are the
 * steps plus 1. QSUB8 with one more and QADD8 clamp the weights to -127 and 127. 17 instructions.
 */
#define INSITU_STEP(X, Y)                                                                          \
  "lsrs r3, r3, #1\n\t"                                                                            \
  "it cs\n\t"                                                                                      \
  "eorcs r3, r3, #0xA3000000\n\t"                                                                  \
  "smlabb r12, " X ", r4, r5\n\t"                                                                  \
  "smlatb " X ", " X ", r4, r5\n\t"                                                                \
  "pkhtb " X ", " X ", r12, asr #16\n\t"                                                           \
  "smlabb r12, " Y ", r4, r5\n\t"                                                                  \
  "smlatb " Y ", " Y ", r4, r5\n\t"                                                                \
  "pkhtb " Y ", " Y ", r12, asr #16\n\t"                                                           \
  "uxtab16 " X ", " X ", r3, ror #24\n\t"                                                          \
  "uxtab16 " Y ", " Y ", r3, ror #16\n\t"                                                          \
  "ldr r12, [r2]\n\t"                                                                              \
  "lsr " X ", " X ", #8\n\t"                                                                       \
  "sel " X ", " X ", " Y "\n\t"                                                                    \
  "qsub8 r12, r12, " X "\n\t"                                                                      \
  "qadd8 r12, r12, r6\n\t"                                                                         \
  "str r12, [r2], #4\n\t"
#define INSITU_STEP_EIGHT                                                                          \
  "ldm r0!, {r8, r9, r10, r11}\n\t" INSITU_STEP("r8", "r9") INSITU_STEP("r10", "r11")

/* Steps of the weights for the inputs from x to end, a multiple of 4; returns the generator.
 * 4.44 instructions a weight. */
INSITU_NAKED static uint32_t step_fours(const int16_t *x, const int16_t *end, int8_t *w,
                                        uint32_t state, int32_t twice_kappa) {
  __asm__(
      "push {r4, r5, r6, r7, r8, r9, r10, r11, lr}\n\t"
      "ldr r4, [sp, #36]\n\t"
      "movw r5, #0x8000\n\t"
      "movt r5, #0x0100\n\t"
      "mov r6, #0x01010101\n\t"
      "mov r12, #0x00FF00FF\n\t"
      "uadd8 r12, r12, r12\n\t" /* from now on SEL takes bytes 0 and 2 from its first */
      "sub lr, r1, r0\n\t"
      "bic lr, lr, #63\n\t"
      "adds lr, lr, r0\n\t"
      "cmp r0, lr\n\t"
      "beq 2f\n"
      "1:\n\t"
      ".rept 4\n\t" INSITU_STEP_EIGHT ".endr\n\t"
      "cmp r0, lr\n\t"
      "bne 1b\n"
      "2:\n\t"
      "cmp r0, r1\n\t"
      "beq 3f\n\t"
      "ldm r0!, {r8, r9}\n\t" INSITU_STEP("r8", "r9") "b 2b\n"
                                                      "3:\n\t"
                                                      "mov r0, r3\n\t"
                                                      "pop {r4, r5, r6, r7, r8, r9, r10, r11, pc}");
}

/* The same for any kappa, in lanes of 16 bits: weights in the high bytes, r10 below them; the step
 * and r11 + random bytes, a step of 1, are subtracted and clamped; QADD8 adds the 1. 25
 * instructions.
 */
#define INSITU_STEP_FAR                                                                            \
  "ldm r0!, {r8, r9}\n\t"                                                                          \
  "lsrs r3, r3, #1\n\t"                                                                            \
  "it cs\n\t"                                                                                      \
  "eorcs r3, r3, #0xA3000000\n\t"                                                                  \
  "smlabb r12, r8, r4, r5\n\t"                                                                     \
  "smlatb r8, r8, r4, r5\n\t"                                                                      \
  "lsl r8, r8, #1\n\t"                                                                             \
  "pkhtb r8, r8, r12, asr #15\n\t"                                                                 \
  "smlabb r12, r9, r4, r5\n\t"                                                                     \
  "smlatb r9, r9, r4, r5\n\t"                                                                      \
  "lsl r9, r9, #1\n\t"                                                                             \
  "pkhtb r9, r9, r12, asr #15\n\t"                                                                 \
  "ldr r12, [r2]\n\t"                                                                              \
  "orr lr, r10, r12, lsl #8\n\t"                                                                   \
  "orr r12, r12, r10\n\t"                                                                          \
  "qsub16 r8, lr, r8\n\t"                                                                          \
  "qsub16 r9, r12, r9\n\t"                                                                         \
  "uxtab16 lr, r11, r3, ror #24\n\t"                                                               \
  "uxtab16 r12, r11, r3, ror #16\n\t"                                                              \
  "qsub16 r8, r8, lr\n\t"                                                                          \
  "qsub16 r9, r9, r12\n\t"                                                                         \
  "lsr r8, r8, #8\n\t"                                                                             \
  "sel r8, r8, r9\n\t"                                                                             \
  "qadd8 r8, r8, r6\n\t"                                                                           \
  "str r8, [r2], #4\n\t"

/* step_fours with any kappa, and at least one four. 7 instructions a weight. */
INSITU_NAKED static uint32_t step_fours_far(const int16_t *x, const int16_t *end, int8_t *w,
                                            uint32_t state, int32_t kappa) {
  __asm__("push {r4, r5, r6, r7, r8, r9, r10, r11, lr}\n\t"
          "ldr r4, [sp, #36]\n\t"
          "mov r5, #0x4000\n\t"
          "mov r6, #0x01010101\n\t"
          "mov r10, #0x00FF00FF\n\t"
          "uadd8 r12, r10, r10\n\t"
          "mov r11, #0x01000100\n"
          "1:\n\t" INSITU_STEP_FAR "cmp r0, r1\n\t"
          "bne 1b\n\t"
          "mov r0, r3\n\t"
          "pop {r4, r5, r6, r7, r8, r9, r10, r11, pc}");
}

static inline uint32_t step_some(const int16_t *x, const int16_t *end, int8_t *w, uint32_t state,
                                 int32_t kappa) {
  if (x == end)
    return state;
  if (kappa >= -INT16_MAX / 2 && kappa <= INT16_MAX / 2)
    return step_fours(x, end, w, state, 2 * kappa);
  return step_fours_far(x, end, w, state, kappa);
}

/* w[i] = sat127(w[i] - ((kappa x[i] + r 2^8 + 2^7) >> 16)), i < size; returns the generator. */
__attribute__((unused)) static uint32_t step_weights(int32_t size, int32_t kappa, const int16_t *x,
                                                     uint32_t state, int8_t *w) {
  const int32_t whole = size & ~3;
  state = step_some(x, x + whole, w, state, kappa);
  if (size > whole) { /* not as loops, of which compilers would make calls of memcpy */
    int8_t tail[4] = {w[whole], 0, 0, 0};
    tail[1] = size > whole + 1 ? w[whole + 1] : 0;
    tail[2] = size > whole + 2 ? w[whole + 2] : 0;
    state = step_some(x + whole, x + whole + 4, tail, state, kappa);
    w[whole] = tail[0];
    if (size > whole + 1)
      w[whole + 1] = tail[1];
    if (size > whole + 2)
      w[whole + 2] = tail[2];
  }
  return state;
}

#endif
