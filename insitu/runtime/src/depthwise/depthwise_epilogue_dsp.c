/* insitu_depthwise_epilogue.h for cores with the DSP extension: Cortex-M4, M7, M33, M55. */
#include "insitu_depthwise_epilogue.h"

#if defined(__ARM_FEATURE_DSP)

#include "insitu_naked.h"

INSITU_NAKED_BEGIN

/* Pairs left in r2, `apart` in r6, four channels' pairs in r9-r12; their bytes, less 128 or as
 * errors, in r10 and r11. */
#define INSITU_TO_BYTES                                                                            \
  ".irp v, r9, r10, r11, r12\n"                                                                    \
  "qadd16 \\v, \\v, r4\n"                                                                          \
  "usat16 \\v, #8, \\v\n"                                                                          \
  ".endr\n"                                                                                        \
  "orr r9, r9, r10, lsl #8\n"                                                                      \
  "orr r12, r11, r12, lsl #8\n"                                                                    \
  "pkhbt r10, r9, r12, lsl #16\n"                                                                  \
  "pkhtb r11, r12, r9, asr #16\n"

#define INSITU_STORE_BYTES                                                                         \
  "str r10, [r3]\n"                                                                                \
  "str r11, [r3, r6]\n"                                                                            \
  "add r3, r3, r6, lsl #1\n"                                                                       \
  "subs r2, r2, #1\n"

/* Extremes in r7 and r8; r0, r5, lr are for the moment. */
INSITU_NAKED void insitu_depthwise_epilogue_int8(insitu_depthwise_epilogue_t *f,
                                                 const int16_t *values, int32_t pairs, int8_t *y,
                                                 int32_t apart) {
  __asm__ volatile(".macro insitu_note a, b\n"
                   "ssub16 r0, \\a, \\b\n"
                   "sel lr, \\a, \\b\n"
                   "sel r0, \\b, \\a\n"
                   "ssub16 r5, r8, lr\n"
                   "sel r8, r8, lr\n"
                   "ssub16 r5, r0, r7\n"
                   "sel r7, r7, r0\n"
                   ".endm\n"
                   "push {r0, r4-r11, lr}\n"
                   "ldr r6, [sp, #40]\n"
                   "ldm r0, {r4, r7, r8}\n" /* zero, lowest, highest */
                   "add r4, r4, #128\n"
                   "pkhbt r4, r4, r4, lsl #16\n"
                   "pkhbt r7, r7, r7, lsl #16\n"
                   "pkhbt r8, r8, r8, lsl #16\n"
                   "1:\n"
                   "ldm r1!, {r9-r12}\n"
                   "insitu_note r9, r10\n"
                   "insitu_note r11, r12\n" /* */
                   INSITU_TO_BYTES "eor r10, r10, #0x80808080\n"
                   "eor r11, r11, #0x80808080\n" /* */
                   INSITU_STORE_BYTES "bne 1b\n"
                   "pop {r0}\n"
                   "sxth r1, r7\n"
                   "cmp r1, r7, asr #16\n"
                   "it gt\n"
                   "asrgt r1, r7, #16\n"
                   "sxth r2, r8\n"
                   "cmp r2, r8, asr #16\n"
                   "it lt\n"
                   "asrlt r2, r8, #16\n"
                   "strd r1, r2, [r0, #4]\n"
                   "pop {r4-r11, pc}\n"
                   ".purgem insitu_note\n");
}

INSITU_NAKED void insitu_depthwise_epilogue_errors(const int16_t *values, int32_t pairs, int8_t *y,
                                                   int32_t apart) {
  __asm__ volatile("push {r4-r11, lr}\n"
                   "mov r6, r3\n"
                   "mov r3, r2\n"
                   "mov r2, r1\n"
                   "mov r4, #0x00800080\n"
                   "mov r7, #0x01010101\n"
                   "mov r8, #0x81818181\n"
                   "1:\n"
                   "ldm r0!, {r9-r12}\n"                   /* */
                   INSITU_TO_BYTES "uqsub8 r10, r10, r7\n" /* the least 1, less 128 */
                   "uqsub8 r11, r11, r7\n"
                   "uadd8 r10, r10, r8\n"
                   "uadd8 r11, r11, r8\n" /* */
                   INSITU_STORE_BYTES "bne 1b\n"
                   "pop {r4-r11, pc}\n");
}

INSITU_NAKED_END

#endif
