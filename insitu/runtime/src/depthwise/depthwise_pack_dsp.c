/* insitu_depthwise_pack.h for cores with the DSP extension: Cortex-M4, M7, M33, M55. */
#include "insitu_depthwise_pack.h"

#if defined(__ARM_FEATURE_DSP)

#include "insitu_naked.h"

INSITU_NAKED_BEGIN

/* Lines of a map: from in r1, to in r3, `right` in r4, pairs left in r5; on the stack run, lines
 * left. `make` finds the bytes of two places in r8 and r9; `end` comes after a line. */
#define INSITU_LINES(make, end)                                                                    \
  "1:\n"                                                                                           \
  "ldr r2, [sp]\n"                                                                                 \
  "ldr r8, [r2, #16]\n"     /* padding */                                                          \
  "ldrd r2, r5, [r2, #4]\n" /* head, pairs */                                                      \
  "cbz r2, 2f\n"                                                                                   \
  "ldr r9, [r1]\n"                                                                                 \
  "add r1, r1, r4\n"                                                                               \
  "add r5, r5, #1\n"                                                                               \
  "b 4f\n"                                                                                         \
  "2:\n"                                                                                           \
  "cmp r5, #0\n"                                                                                   \
  "beq 5f\n"                                                                                       \
  "3:\n"                                                                                           \
  "ldr r8, [r1]\n"                                                                                 \
  "ldr r9, [r1, r4]\n"                                                                             \
  "add r1, r1, r4, lsl #1\n"                                                                       \
  "4:\n" make "subs r5, r5, #1\n"                                                                  \
  "bne 3b\n"                                                                                       \
  "5:\n"                                                                                           \
  "ldr r2, [sp]\n"                                                                                 \
  "ldrd r2, r9, [r2, #12]\n" /* tail, padding */                                                   \
  "cbz r2, 6f\n"                                                                                   \
  "ldr r8, [r1]\n"                                                                                 \
  "add r1, r1, r4\n" make "6:\n" end "ldrd r2, r5, [sp]\n"                                         \
  "ldrd r8, r9, [r2, #24]\n" /* next, to_next */                                                   \
  "add r1, r1, r8\n"                                                                               \
  "add r3, r3, r9\n"                                                                               \
  "subs r5, r5, #1\n"                                                                              \
  "str r5, [sp, #4]\n"                                                                             \
  "bne 1b\n"

/* A function: `begin` sets registers up, `run` in r0, from what it finds there. */
#define INSITU_PACK(begin, make, end)                                                              \
  __asm__ volatile("push {r4-r11, lr}\n" begin INSITU_LINES(make, end) "add sp, sp, #12\n"         \
                                                                       "pop {r4-r11, pc}\n")
#define INSITU_ENTER                                                                               \
  "sub sp, sp, #12\n"                                                                              \
  "strd r0, r2, [sp]\n"

/* r8, r9 -> channels' pairs in r8-r11, less the zero point: r6 is added. */
#define INSITU_CENTRE                                                                              \
  "pkhtb r11, r9, r8, asr #16\n"                                                                   \
  "pkhbt r9, r8, r9, lsl #16\n"                                                                    \
  "sxtab16 r8, r6, r9\n"                                                                           \
  "sxtab16 r9, r6, r9, ror #8\n"                                                                   \
  "sxtab16 r10, r6, r11\n"                                                                         \
  "sxtab16 r11, r6, r11, ror #8\n"

/* The same as they are. */
#define INSITU_EXTEND                                                                              \
  "pkhtb r11, r9, r8, asr #16\n"                                                                   \
  "pkhbt r9, r8, r9, lsl #16\n"                                                                    \
  "sxtb16 r8, r9\n"                                                                                \
  "sxtb16 r9, r9, ror #8\n"                                                                        \
  "sxtb16 r10, r11\n"                                                                              \
  "sxtb16 r11, r11, ror #8\n"

INSITU_NAKED void insitu_depthwise_pack_lines(const insitu_depthwise_run_t *run, const int8_t *from,
                                              int32_t lines, int16_t *to) {
  INSITU_PACK(INSITU_ENTER "ldr r4, [r0]\n"
                           "ldr r6, [r0, #20]\n",
              INSITU_CENTRE "stm r3!, {r8-r11}\n", "");
}

/* v = round(v factor / 2^17) of both halves; r0 holds 1. */
#define INSITU_EXPAND(v, factor)                                                                   \
  "smlawb r2, " factor ", " v ", r0\n"                                                             \
  "smlawt " v ", " factor ", " v ", r0\n"                                                          \
  "asr r2, r2, #1\n"                                                                               \
  "pkhbt " v ", r2, " v ", lsl #15\n"

INSITU_NAKED void insitu_depthwise_pack_lines_expanded(const insitu_depthwise_run_t *run,
                                                       const int8_t *from, int32_t lines,
                                                       int16_t *to) {
  INSITU_PACK(INSITU_ENTER "ldr r4, [r0], #36\n"
                           "ldm r0, {r6, r7, r12, lr}\n"
                           "mov r0, #1\n",
              INSITU_EXTEND INSITU_EXPAND("r8", "r6") INSITU_EXPAND("r9", "r7")
                  INSITU_EXPAND("r10", "r12") INSITU_EXPAND("r11", "lr") "stm r3!, {r8-r11}\n",
              "");
}

/* Channels are r7 and r12, the threefold, apart. */
#define INSITU_LANE_STEPS                                                                          \
  "ldr r7, [r0, #32]\n" /* lane */                                                                 \
  "add r12, r7, r7, lsl #1\n"

#define INSITU_STORE_APART                                                                         \
  "str r9, [r3, r7]\n"                                                                             \
  "str r10, [r3, r7, lsl #1]\n"                                                                    \
  "str r11, [r3, r12]\n"                                                                           \
  "str r8, [r3], #4\n"

INSITU_NAKED void insitu_depthwise_pack_lines_planar(const insitu_depthwise_run_t *run,
                                                     const int8_t *from, int32_t lines,
                                                     int16_t *to) {
  INSITU_PACK(INSITU_ENTER "ldr r4, [r0]\n"
                           "ldr r6, [r0, #20]\n" INSITU_LANE_STEPS,
              INSITU_CENTRE INSITU_STORE_APART, "");
}

/* Sums of a line, of lanes 0 and 2 in r6, 1 and 3 in r0. */
#define INSITU_ADD_ERRORS                                                                          \
  "sxtab16 r6, r6, r8\n"                                                                           \
  "sxtab16 r0, r0, r8, ror #8\n"                                                                   \
  "sxtab16 r6, r6, r9\n"                                                                           \
  "sxtab16 r0, r0, r9, ror #8\n"

#define INSITU_ADD_SUMS                                                                            \
  "ldm lr, {r8-r11}\n"                                                                             \
  "sxtah r8, r8, r6\n"                                                                             \
  "sxtah r9, r9, r0\n"                                                                             \
  "add r10, r10, r6, asr #16\n"                                                                    \
  "add r11, r11, r0, asr #16\n"                                                                    \
  "stm lr, {r8-r11}\n"                                                                             \
  "mov r6, #0\n"                                                                                   \
  "mov r0, #0\n"

INSITU_NAKED void insitu_depthwise_pack_lines_errors(const insitu_depthwise_run_t *run,
                                                     const int8_t *from, int32_t lines, int16_t *to,
                                                     int32_t *sum) {
  INSITU_PACK("ldr lr, [sp, #36]\n" INSITU_ENTER "ldr r4, [r0]\n" INSITU_LANE_STEPS "mov r6, #0\n"
              "mov r0, #0\n",
              INSITU_ADD_ERRORS INSITU_EXTEND INSITU_STORE_APART, INSITU_ADD_SUMS);
}

INSITU_NAKED_END

#endif
