/* The microkernels of insitu_conv_armv6m.h for ARMv6-M: Cortex-M0, M0+.
 *
 * Sums stay in r8 to r11, since ADD alone reaches these registers; LDM loads all of b in one
 * instruction, and a product costs MULS and ADD. With one load of a that makes 2.5 instructions a
 * product, and 2 where three products do for four. */
#include "insitu_conv_armv6m.h"

#if defined(__ARM_ARCH_6M__)

#include "insitu_armv6m.h"

INSITU_NAKED_BEGIN

#define PRODUCT(B, SUM)                                                                            \
  "muls " B ", r0, " B "\n\t"                                                                      \
  "add " SUM ", " B "\n\t"
/* One term of packed words, its a brought to r0 by LOAD: 8 instructions. */
#define PACKED(LOAD)                                                                               \
  LOAD "\n\t"                                                                                      \
       "ldm r2!, {r4, r5, r6}\n\t" PRODUCT("r4", "r8") PRODUCT("r5", "r9") PRODUCT("r6", "r10")
/* The same of four words: 10 instructions. */
#define WIDE(LOAD)                                                                                 \
  LOAD "\n\t"                                                                                      \
       "ldm r2!, {r4, r5, r6, r7}\n\t" PRODUCT("r4", "r8") PRODUCT("r5", "r9")                     \
           PRODUCT("r6", "r10") PRODUCT("r7", "r11")

/* Leaves on the stack: the end of the sums, TO_NEXT, saved r8-r11, micro, a, b, sum, saved r4-r7;
 * all arguments in their registers. r5 is TO_NEXT: from an a to the next. */
#define ENTER(TO_NEXT)                                                                             \
  ".syntax unified\n\t"                                                                            \
  "push {r0, r1, r2, r3, r4, r5, r6, r7, lr}\n\t" INSITU_SAVE_HIGH                                 \
  "ldr r5, [r0, #16]\n\t" /* step */                                                               \
      TO_NEXT "ldr r4, [r0]\n\t"                                                                   \
  "ldr r6, [r0, #20]\n\t" /* sum_step */                                                           \
  "muls r4, r6, r4\n\t"                                                                            \
  "adds r4, r4, r3\n\t"                                                                            \
  "push {r4, r5}\n\t"
/* From the end of the last line to the next a. */
#define FROM_END(SHIFT)                                                                            \
  "ldr r4, [r0, #12]\n\t" /* skip */                                                               \
  "ldr r6, [r0, #4]\n\t" SHIFT "adds r6, r6, r4\n\t"                                               \
  "ldr r7, [r0, #8]\n\t"                                                                           \
  "muls r6, r7, r6\n\t"                                                                            \
  "subs r6, r6, r4\n\t"                                                                            \
  "subs r5, r5, r6\n\t"
/* Next four, of packed words: r11 is its a, r7 says whether sums are fresh; then sum in lr, a in
 * r1, b in r2, micro in r0, and the sums of words are 0. */
#define FIRST_PACKED                                                                               \
  "mov r11, r1\n\t"                                                                                \
  "ldr r7, [r0, #28]\n"
#define BEGIN_PACKED                                                                               \
  "1:\n\t"                                                                                         \
  "ldr r0, [sp, #24]\n\t"                                                                          \
  "mov lr, r3\n\t"                                                                                 \
  "movs r4, #0\n\t"                                                                                \
  "mov r8, r4\n\t"                                                                                 \
  "mov r9, r4\n\t"                                                                                 \
  "mov r10, r4\n\t"                                                                                \
  "mov r1, r11\n\t"                                                                                \
  "ldr r2, [sp, #32]\n\t"
/* The four sums in the words' to r0, r1, r2, r6, and on to memory. */
#define END_PACKED(SUM_STEP)                                                                       \
  "mov r4, r8\n\t"                                                                                 \
  "mov r5, r9\n\t"                                                                                 \
  "mov r6, r10\n\t" INSITU_UNPACK "mov r3, lr\n\t"                                                 \
  "cmp r7, #0\n\t"                                                                                 \
  "bne 7f\n\t"                                                                                     \
  "ldm r3!, {r4, r5}\n\t"                                                                          \
  "adds r0, r0, r4\n\t"                                                                            \
  "adds r1, r1, r5\n\t"                                                                            \
  "ldm r3!, {r4, r5}\n\t"                                                                          \
  "adds r2, r2, r4\n\t"                                                                            \
  "adds r6, r6, r5\n\t"                                                                            \
  "mov r3, lr\n"                                                                                   \
  "7:\n\t"                                                                                         \
  "stm r3!, {r0, r1, r2, r6}\n\t" SUM_STEP "ldr r4, [sp, #4]\n\t"                                  \
  "add r11, r4\n\t" NEXT
#define BEGIN_WIDE                                                                                 \
  "b 1f\n"                                                                                         \
  "2:\n\t"                                                                                         \
  "ldm r3!, {r4, r5, r6, r7}\n\t"                                                                  \
  "b 9f\n"                                                                                         \
  "1:\n\t"                                                                                         \
  "ldr r0, [sp, #24]\n\t"                                                                          \
  "mov lr, r3\n\t"                                                                                 \
  "ldr r2, [sp, #32]\n\t"                                                                          \
  "movs r5, #0\n\t"                                                                                \
  "movs r6, r5\n\t"                                                                                \
  "movs r7, r5\n\t"                                                                                \
  "ldr r4, [r0, #28]\n\t" /* fresh */                                                              \
  "cmp r4, #0\n\t"                                                                                 \
  "beq 2b\n\t"                                                                                     \
  "movs r4, r5\n"                                                                                  \
  "9:\n\t"                                                                                         \
  "mov r8, r4\n\t"                                                                                 \
  "mov r9, r5\n\t"                                                                                 \
  "mov r10, r6\n\t"                                                                                \
  "mov r11, r7\n\t"
#define END_WIDE                                                                                   \
  "mov r3, lr\n\t"                                                                                 \
  "mov r4, r8\n\t"                                                                                 \
  "mov r5, r9\n\t"                                                                                 \
  "mov r6, r10\n\t"                                                                                \
  "mov r7, r11\n\t"                                                                                \
  "stm r3!, {r4, r5, r6, r7}\n\t"                                                                  \
  "ldr r4, [sp, #4]\n\t"                                                                           \
  "adds r1, r1, r4\n\t" NEXT
/* On to the next sums; behind the last, back. */
#define NEXT                                                                                       \
  "ldr r4, [sp]\n\t"                                                                               \
  "cmp r3, r4\n\t"                                                                                 \
  "beq 8f\n\t"                                                                                     \
  "b 1b\n"                                                                                         \
  "8:\n\t"                                                                                         \
  "add sp, sp, #8\n\t" INSITU_RESTORE_HIGH "add sp, sp, #16\n\t"                                   \
  "pop {r4, r5, r6, r7, pc}\n"

/* Lines of a multiple of 4 terms, by eights, FIRST and SECOND half; where half an eight is over,
 * it is done first, from the middle: HALF bytes of a more than there are, OVER bits left of the
 * sign. SHIFT makes terms bytes. r3 counts lines, r12 is the end of a. */
#define LINES(SHIFT, OVER, HALF, WHOLE, FIRST, SECOND)                                             \
  "ldr r3, [r0, #8]\n" /* lines */                                                                 \
  "3:\n\t"                                                                                         \
  "ldr r4, [r0, #4]\n\t" /* terms */                                                               \
      SHIFT "adds r5, r4, r1\n\t"                                                                  \
  "mov r12, r5\n\t"                                                                                \
  "lsls r4, r4, #" OVER "\n\t"                                                                     \
  "bpl 4f\n\t"                                                                                     \
  "subs r1, #" HALF "\n\t"                                                                         \
  "b 5f\n"                                                                                         \
  "4:\n\t" FIRST "5:\n\t" SECOND "adds r1, #" WHOLE "\n\t"                                         \
  "cmp r1, r12\n\t"                                                                                \
  "bne 4b\n\t"                                                                                     \
  "subs r3, r3, #1\n\t"                                                                            \
  "beq 6f\n\t"                                                                                     \
  "ldr r0, [sp, #24]\n\t"                                                                          \
  "ldr r4, [r0, #12]\n\t" /* skip */                                                               \
  "adds r1, r1, r4\n\t"                                                                            \
  "b 3b\n"                                                                                         \
  "6:\n\t"
#define BYTE(AT) PACKED("ldrb r0, [r1, #" AT "]")
#define HALF(AT) WIDE("ldrh r0, [r1, #" AT "]")

INSITU_NAKED void insitu_microkernel_1x4_u8(const insitu_microkernel_1x4_t *micro, const uint8_t *a,
                                            const int32_t *b, int32_t *sum) {
  __asm__ volatile(ENTER("") FIRST_PACKED BEGIN_PACKED LINES(
      "", "29", "4", "8", BYTE("0") BYTE("1") BYTE("2") BYTE("3"),
      BYTE("4") BYTE("5") BYTE("6") BYTE("7")) END_PACKED(""));
}

#define TWICE(WORD) "lsls " WORD ", " WORD ", #1\n\t"
INSITU_NAKED void insitu_microkernel_1x4_u16(const insitu_microkernel_1x4_t *micro,
                                             const uint16_t *a, const int32_t *b, int32_t *sum) {
  __asm__ volatile(ENTER(FROM_END(TWICE("r6"))) BEGIN_WIDE LINES(
      TWICE("r4"), "28", "8", "16", HALF("0") HALF("2") HALF("4") HALF("6"),
      HALF("8") HALF("10") HALF("12") HALF("14")) END_WIDE "2:\n\t"
                                                           "ldm r3!, {r4, r5, r6, r7}\n\t"
                                                           "b 9b\n");
}

/* r3 is the stride and r1 a stride behind; of b r12 is the end of eights, r7 of all. */
#define STRIDED PACKED("ldrsb r0, [r1, r3]\n\tadds r1, r1, r3")
#define SUM_STEP                                                                                   \
  "mov r3, lr\n\t"                                                                                 \
  "ldr r0, [sp, #24]\n\t"                                                                          \
  "ldr r4, [r0, #20]\n\t"                                                                          \
  "adds r3, r3, r4\n\t"
INSITU_NAKED void insitu_microkernel_1x4_strided(const insitu_microkernel_1x4_t *micro,
                                                 const int8_t *a, const int32_t *b, int32_t *sum) {
  __asm__ volatile(ENTER(
      "") "mov r11, r1\n" BEGIN_PACKED "ldr r3, [r0, #24]\n\t" /* stride */
          "subs r1, r1, r3\n\t"
          "ldr r4, [r0, #4]\n\t" /* terms */
          "movs r5, #12\n\t"
          "muls r5, r4, r5\n\t"
          "adds r7, r5, r2\n\t"
          "lsrs r4, r4, #3\n\t"
          "beq 4f\n\t"
          "movs r5, #96\n\t"
          "muls r4, r5, r4\n\t"
          "adds r4, r4, r2\n\t"
          "mov r12, r4\n"
          "3:\n\t" STRIDED STRIDED STRIDED STRIDED STRIDED STRIDED STRIDED STRIDED "cmp r2, r12\n\t"
          "bne 3b\n"
          "4:\n\t"
          "cmp r2, r7\n\t"
          "beq 6f\n"
          "5:\n\t" STRIDED "cmp r2, r7\n\t"
          "bne 5b\n"
          "6:\n\t"
          "ldr r0, [sp, #24]\n\t"
          "ldr r7, [r0, #28]\n\t" END_PACKED(SUM_STEP));
}

INSITU_NAKED_END

#endif
