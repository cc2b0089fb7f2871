/* insitu_microkernels.h for cores with the DSP extension: Cortex-M4, M7, M33. */
#include "insitu_microkernels.h"

#if defined(__ARM_FEATURE_DSP)
#include "insitu_microkernels_dsp.h"

enum { UNROLLED = 8, PAIR_BYTES = 44 }; /* pairs in the loop, and the code of each */

insitu_conv_block_t insitu_block(int32_t pairs, int32_t lines, int32_t skip_a, int32_t skip_b,
                                 const int32_t *start) {
  const insitu_conv_block_t block = {(-pairs & (UNROLLED - 1)) * PAIR_BYTES + 1, /* 1: Thumb code */
                                     pairs * 8,
                                     lines,
                                     skip_a * 2,
                                     skip_b * 2,
                                     start};
  return block;
}

/* Sums in r3-r6 and r7-r10, a in r1, b in r2. A pair is 11 instructions of 4 bytes; the loop is
 * entered so far in that it ends with the line. On the stack: block, end of a's line, lines left,
 * acc, the saved registers and, instead of r12, where the loop is entered. */
__attribute__((naked)) void insitu_multiply_block(__attribute__((unused))
                                                  const insitu_conv_block_t *block,
                                                  __attribute__((unused)) const int16_t *a,
                                                  __attribute__((unused)) const int16_t *b,
                                                  __attribute__((unused)) int32_t *acc) {
  __asm__ volatile("push {r0-r12, lr}\n"
                   "ldm r0!, {r4, r5, r6}\n" /* jump, bytes, lines */
                   "adr.w r12, 1f\n"
                   "add r12, r12, r4\n"
                   "add r5, r5, r1\n"
                   "strd r5, r6, [sp, #4]\n"
                   "str r12, [sp, #48]\n"
                   "ldr r0, [r0, #8]\n" /* start */
                   "ldm r0, {r3-r10}\n"
                   "bx r12\n"
                   ".balign 4\n"
                   "1:\n"
                   ".rept 8\n"
                   "ldrd r11, r12, [r1], #8\n"
                   "ldrd r0, lr, [r2], #8\n"
                   "smlad r3, r11, r0, r3\n"
                   "smlad r7, r12, r0, r7\n"
                   "smlad r4, r11, lr, r4\n"
                   "smlad r8, r12, lr, r8\n"
                   "ldrd r0, lr, [r2], #8\n"
                   "smlad r5, r11, r0, r5\n"
                   "smlad r9, r12, r0, r9\n"
                   "smlad r6, r11, lr, r6\n"
                   "smlad r10, r12, lr, r10\n"
                   ".endr\n"
                   "ldrd r0, r12, [sp, #4]\n"
                   "cmp r1, r0\n"
                   "bne 1b\n"
                   "subs r12, r12, #1\n"
                   "beq 2f\n"
                   "str r12, [sp, #8]\n"
                   "ldr r11, [sp]\n"
                   "ldrd r12, lr, [r11, #12]\n" /* skip_a, skip_b */
                   "ldr r0, [r11, #4]\n"
                   "add r1, r1, r12\n"
                   "add r2, r2, lr\n"
                   "add r0, r0, r1\n"
                   "str r0, [sp, #4]\n"
                   "ldr pc, [sp, #48]\n"
                   "2:\n"
                   "ldr r0, [sp, #12]\n"
                   "stm r0, {r3-r10}\n"
                   "add sp, sp, #16\n"
                   "pop {r4-r12, pc}\n");
}

insitu_conv_output_t insitu_output(int32_t shift, int32_t zero, int32_t low, int32_t high) {
  const insitu_conv_output_t output = {
      {0},  (int32_t)insitu_both(zero), (int32_t)insitu_both(low), (int32_t)insitu_both(high), 0, 0,
      shift};
  return output;
}

int32_t insitu_observe(const insitu_conv_output_t *output, int32_t *observed) {
  observed[0] = insitu_min((int16_t)output->lowest, output->lowest >> 16);
  observed[1] = insitu_max((int16_t)output->highest, output->highest >> 16);
  return observed[0] > INT16_MIN && observed[1] < INT16_MAX;
}

/* output in r0, acc in r4-r11, y in r2, step in r3. The values of a position are held to int16 and
 * packed, the even ones and the odd ones: r4, r5 and r6, r7. */
__attribute__((naked)) static void insitu_finish_packed(__attribute__((unused))
                                                        insitu_conv_output_t *output,
                                                        __attribute__((unused)) int32_t *acc,
                                                        __attribute__((unused)) int8_t *y,
                                                        __attribute__((unused)) int32_t step) {
  __asm__ volatile("push {r4-r11, lr}\n"
                   "ldm r1, {r4-r11}\n"
                   "ldrd r12, lr, [r0]\n" /* multipliers */
                   "smmulr r4, r4, r12\n"
                   "smmulr r8, r8, r12\n"
                   "smmulr r5, r5, lr\n"
                   "smmulr r9, r9, lr\n"
                   "ldrd r12, lr, [r0, #8]\n"
                   "smmulr r6, r6, r12\n"
                   "smmulr r10, r10, r12\n"
                   "smmulr r7, r7, lr\n"
                   "smmulr r11, r11, lr\n"
                   ".irp v, r4, r5, r6, r7, r8, r9, r10, r11\n"
                   "ssat \\v, #16, \\v\n"
                   ".endr\n"
                   "pkhbt r4, r4, r6, lsl #16\n"
                   "pkhbt r5, r5, r7, lsl #16\n"
                   "pkhbt r6, r8, r10, lsl #16\n"
                   "pkhbt r7, r9, r11, lsl #16\n"
                   "ldrd r8, r9, [r0, #28]\n" /* lowest, highest */
                   ".irp v, r4, r5, r6, r7\n"
                   "ssub16 r1, r8, \\v\n"
                   "sel r8, \\v, r8\n"
                   "ssub16 r1, \\v, r9\n"
                   "sel r9, \\v, r9\n"
                   ".endr\n"
                   "strd r8, r9, [r0, #28]\n"
                   "ldrd r8, r9, [r0, #16]\n" /* zero, low */
                   "ldr r10, [r0, #24]\n"     /* high */
                   ".irp v, r4, r5, r6, r7\n"
                   "qadd16 \\v, \\v, r8\n"
                   "ssub16 r1, \\v, r9\n"
                   "sel \\v, \\v, r9\n"
                   "ssub16 r1, r10, \\v\n"
                   "sel \\v, \\v, r10\n"
                   "uxtb16 \\v, \\v\n"
                   ".endr\n"
                   "orr r4, r4, r5, lsl #8\n"
                   "orr r6, r6, r7, lsl #8\n"
                   "str r4, [r2]\n"
                   "str r6, [r2, r3]\n"
                   "pop {r4-r11, pc}\n");
}

void insitu_finish_block(insitu_conv_output_t *output, int32_t *acc, int8_t *y, int32_t step) {
  if (output->shift > 0) { /* as insitu_rescale */
    const int32_t limit = (1 << 30) >> output->shift;
    for (int32_t j = 0; j < INSITU_POSITIONS * INSITU_CHANNELS; j++)
      acc[j] = insitu_clamp(acc[j], -limit, limit) * (1 << output->shift);
  }
  insitu_finish_packed(output, acc, y, step);
}

#endif
