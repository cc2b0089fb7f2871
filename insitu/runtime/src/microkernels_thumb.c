/* The block product of insitu_microkernels.h for ARMv6-M: Cortex-M0, M0+. */
#include "insitu_microkernels.h"

#if defined(__ARM_ARCH_6M__)

/* One position after the other: its sums in r8-r11, a in r1, its line's end in r12, b in r2. A pair
 * takes a's two products apart into r0 and r3, then b's, two channels at a time. On the stack:
 * lines left, the saved r8-r11, block, a, b, acc, the saved r4-r7. */
__attribute__((naked)) void insitu_multiply_block(__attribute__((unused))
                                                  const insitu_conv_block_t *block,
                                                  __attribute__((unused)) const int16_t *a,
                                                  __attribute__((unused)) const int16_t *b,
                                                  __attribute__((unused)) int32_t *acc) {
  __asm__ volatile(".syntax unified\n"
                   "push {r0-r7, lr}\n"
                   "mov r4, r8\n"
                   "mov r5, r9\n"
                   "mov r6, r10\n"
                   "mov r7, r11\n"
                   "push {r4-r7}\n"
                   "sub sp, sp, #4\n"
                   ".irp pos, 0, 1\n" /* a's word of the position is in r3 or r4 */
                   "ldr r0, [sp, #20]\n"
                   "ldr r3, [r0, #20]\n" /* start */
                   ".if \\pos\n"
                   "adds r3, r3, #16\n"
                   ".endif\n"
                   "ldm r3!, {r4-r7}\n"
                   "mov r8, r4\n"
                   "mov r9, r5\n"
                   "mov r10, r6\n"
                   "mov r11, r7\n"
                   "ldr r1, [sp, #24]\n"
                   "ldr r2, [sp, #28]\n"
                   "ldr r3, [r0, #8]\n" /* lines */
                   "4:\n"
                   "str r3, [sp]\n"
                   "ldr r0, [sp, #20]\n"
                   "ldr r3, [r0, #4]\n" /* bytes of a line: a multiple of 8 */
                   "adds r0, r3, r1\n"
                   "mov r12, r0\n"
                   "lsls r3, r3, #28\n"
                   "bmi 2f\n" /* an odd pair more */
                   "1:\n"
                   ".irp enter, 1, 2\n"
                   ".if \\enter == 2\n"
                   "2:\n"
                   ".endif\n"
                   "ldm r1!, {r3, r4}\n"
                   ".if \\pos\n"
                   "sxth r0, r4\n"
                   "asrs r3, r4, #16\n"
                   ".else\n"
                   "sxth r0, r3\n"
                   "asrs r3, r3, #16\n"
                   ".endif\n"
                   ".irp half, 0, 1\n"
                   "ldm r2!, {r4, r5}\n"
                   "sxth r6, r4\n"
                   "asrs r4, r4, #16\n"
                   "muls r6, r0, r6\n"
                   "muls r4, r3, r4\n"
                   "adds r6, r6, r4\n"
                   "sxth r7, r5\n"
                   "asrs r5, r5, #16\n"
                   "muls r7, r0, r7\n"
                   "muls r5, r3, r5\n"
                   "adds r7, r7, r5\n"
                   ".if \\half\n"
                   "add r10, r6\n"
                   "add r11, r7\n"
                   ".else\n"
                   "add r8, r6\n"
                   "add r9, r7\n"
                   ".endif\n"
                   ".endr\n"
                   ".endr\n"
                   "cmp r1, r12\n"
                   "bne 1b\n"
                   "ldr r3, [sp]\n"
                   "subs r3, r3, #1\n"
                   "beq 3f\n"
                   "ldr r0, [sp, #20]\n"
                   "ldr r4, [r0, #12]\n" /* skip_a, skip_b */
                   "adds r1, r1, r4\n"
                   "ldr r4, [r0, #16]\n"
                   "adds r2, r2, r4\n"
                   "b 4b\n"
                   "3:\n"
                   "ldr r3, [sp, #32]\n"
                   ".if \\pos\n"
                   "adds r3, r3, #16\n"
                   ".endif\n"
                   "mov r4, r8\n"
                   "mov r5, r9\n"
                   "mov r6, r10\n"
                   "mov r7, r11\n"
                   "stm r3!, {r4-r7}\n"
                   ".endr\n"
                   "add sp, sp, #4\n"
                   "pop {r4-r7}\n"
                   "mov r8, r4\n"
                   "mov r9, r5\n"
                   "mov r10, r6\n"
                   "mov r11, r7\n"
                   "add sp, sp, #16\n"
                   "pop {r4-r7, pc}\n");
}

#endif
