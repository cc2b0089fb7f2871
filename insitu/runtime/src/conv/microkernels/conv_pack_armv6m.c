/* Packing for insitu_conv_armv6m.h on ARMv6-M. */
#include "insitu_conv_armv6m.h"

#if defined(__ARM_ARCH_6M__)

#include "insitu_armv6m.h"

INSITU_NAKED_BEGIN

/* r4-r6: lanes, r8-r10: offsets, r11 step, r12 end of to, r7 the last operand. 21 instructions. */
INSITU_NAKED int32_t *insitu_pack_fours(const insitu_scalar_fours_t *fours, const int8_t *x,
                                        int32_t *to) {
  __asm__ volatile(".syntax unified\n\t"
                   "push {r4, r5, r6, r7, lr}\n\t" INSITU_SAVE_HIGH "ldm r0!, {r3, r7}\n\t"
                   "mov r11, r7\n\t"
                   "movs r7, #12\n\t"
                   "muls r3, r7, r3\n\t"
                   "adds r3, r3, r2\n\t"
                   "mov r12, r3\n\t"
                   "ldm r0!, {r4, r5, r6}\n\t"
                   "ldr r3, [r0]\n\t"
                   "mov r8, r3\n\t"
                   "ldr r3, [r0, #4]\n\t"
                   "mov r9, r3\n\t"
                   "ldr r3, [r0, #8]\n\t"
                   "mov r10, r3\n\t"
                   "cmp r2, r12\n\t"
                   "beq 2f\n"
                   "1:\n\t"
                   "ldrsb r7, [r1, r6]\n\t"
                   "movs r0, #0\n\t"
                   "ldrsb r0, [r1, r0]\n\t"
                   "lsls r3, r7, #24\n\t"
                   "adds r0, r0, r3\n\t"
                   "add r0, r8\n\t"
                   "stm r2!, {r0}\n\t"
                   "ldrsb r0, [r1, r4]\n\t"
                   "lsls r3, r7, #16\n\t"
                   "adds r0, r0, r3\n\t"
                   "add r0, r9\n\t"
                   "stm r2!, {r0}\n\t"
                   "ldrsb r0, [r1, r5]\n\t"
                   "lsls r3, r7, #8\n\t"
                   "adds r0, r0, r3\n\t"
                   "add r0, r10\n\t"
                   "stm r2!, {r0}\n\t"
                   "add r1, r11\n\t"
                   "cmp r2, r12\n\t"
                   "bne 1b\n"
                   "2:\n\t"
                   "movs r0, r2\n\t" INSITU_RESTORE_HIGH "pop {r4, r5, r6, r7, pc}\n");
}

INSITU_NAKED void insitu_sum_fours(int32_t count, const int32_t *b, int32_t *total) {
  __asm__ volatile(".syntax unified\n\t"
                   "push {r2, r4, r5, r6, r7, lr}\n\t"
                   "movs r3, #12\n\t"
                   "muls r3, r0, r3\n\t"
                   "adds r3, r3, r1\n\t"
                   "mov r12, r3\n\t"
                   "movs r4, #0\n\t"
                   "movs r5, #0\n\t"
                   "movs r6, #0\n"
                   "1:\n\t"
                   "ldm r1!, {r2, r3, r7}\n\t"
                   "adds r4, r4, r2\n\t"
                   "adds r5, r5, r3\n\t"
                   "adds r6, r6, r7\n\t"
                   "cmp r1, r12\n\t"
                   "bne 1b\n\t" INSITU_UNPACK "pop {r3}\n\t"
                   "ldm r3!, {r4, r5, r7}\n\t"
                   "adds r0, r0, r4\n\t"
                   "adds r1, r1, r5\n\t"
                   "adds r2, r2, r7\n\t"
                   "ldr r4, [r3]\n\t"
                   "adds r6, r6, r4\n\t"
                   "subs r3, #12\n\t"
                   "stm r3!, {r0, r1, r2, r6}\n\t"
                   "pop {r4, r5, r6, r7, pc}\n");
}

/* r0 begin, r1 to, r8-r11 totals, r12 w, lr end. 17 instructions. */
INSITU_NAKED void insitu_widen_fours(const int32_t *begin, int32_t size, const int8_t *w,
                                     int32_t *to, int32_t *total) {
  __asm__ volatile(".syntax unified\n\t"
                   "push {r4, r5, r6, r7, lr}\n\t" INSITU_SAVE_HIGH "lsls r1, r1, #2\n\t"
                   "adds r1, r1, r0\n\t"
                   "mov lr, r1\n\t"
                   "mov r12, r2\n\t"
                   "movs r1, r3\n\t"
                   "ldr r2, [sp, #36]\n\t"
                   "ldm r2!, {r4, r5, r6, r7}\n\t"
                   "mov r8, r4\n\t"
                   "mov r9, r5\n\t"
                   "mov r10, r6\n\t"
                   "mov r11, r7\n\t"
                   "cmp r0, lr\n\t"
                   "beq 2f\n"
                   "1:\n\t"
                   "ldm r0!, {r3}\n\t"
                   "add r3, r12\n\t"
                   "movs r7, #3\n\t"
                   "ldrsb r7, [r3, r7]\n\t"
                   "movs r6, #2\n\t"
                   "ldrsb r6, [r3, r6]\n\t"
                   "movs r5, #1\n\t"
                   "ldrsb r5, [r3, r5]\n\t"
                   "movs r4, #0\n\t"
                   "ldrsb r4, [r3, r4]\n\t"
                   "stm r1!, {r4, r5, r6, r7}\n\t"
                   "add r8, r4\n\t"
                   "add r9, r5\n\t"
                   "add r10, r6\n\t"
                   "add r11, r7\n\t"
                   "cmp r0, lr\n\t"
                   "bne 1b\n"
                   "2:\n\t"
                   "subs r2, #16\n\t"
                   "mov r4, r8\n\t"
                   "mov r5, r9\n\t"
                   "mov r6, r10\n\t"
                   "mov r7, r11\n\t"
                   "stm r2!, {r4, r5, r6, r7}\n\t" INSITU_RESTORE_HIGH
                   "pop {r4, r5, r6, r7, pc}\n");
}

/* The error at r1, r4 is 0; r3 shift, r12 offset, r7 end of to. 8 instructions. */
#define ERROR(AT)                                                                                  \
  "ldrsb r5, [r1, r4]\n\t"                                                                         \
  "adds r1, #1\n\t"                                                                                \
  "ldm r2!, {r6}\n\t"                                                                              \
  "muls r6, r5, r6\n\t"                                                                            \
  "add r6, r12\n\t"                                                                                \
  "lsrs r6, r3\n\t"                                                                                \
  "strh r6, [r0, #" AT "]\n\t"
INSITU_NAKED void insitu_offset_errors(int32_t size, const int8_t *e, const int32_t *factor,
                                       int32_t shift, int32_t offset, uint16_t *to) {
  __asm__ volatile(".syntax unified\n\t"
                   "push {r4, r5, r6, r7, lr}\n\t"
                   "lsls r7, r0, #1\n\t"
                   "ldr r4, [sp, #20]\n\t"
                   "mov r12, r4\n\t"
                   "ldr r0, [sp, #24]\n\t"
                   "adds r7, r7, r0\n\t"
                   "movs r4, #0\n\t"
                   "b 2f\n"
                   "1:\n\t" ERROR("0") ERROR("2") ERROR("4")
                       ERROR("6") "adds r0, #8\n"
                                  "2:\n\t"
                                  "subs r5, r7, r0\n\t"
                                  "cmp r5, #8\n\t"
                                  "bhs 1b\n\t"
                                  "cmp r5, #0\n\t"
                                  "beq 4f\n"
                                  "3:\n\t" ERROR("0") "adds r0, #2\n\t"
                                                      "cmp r0, r7\n\t"
                                                      "bne 3b\n"
                                                      "4:\n\t"
                                                      "pop {r4, r5, r6, r7, pc}\n");
}

typedef uint32_t __attribute__((may_alias)) insitu_bytes_t;

void insitu_offset_bytes(int32_t size, const int8_t *x, uint8_t *to) {
  int32_t k = 0;
  if ((((uintptr_t)x | (uintptr_t)to) & 3) == 0) {
    for (; k + 4 <= size; k += 4)
      *(insitu_bytes_t *)(to + k) = *(const insitu_bytes_t *)(x + k) ^ 0x80808080u;
  }
  for (; k < size; k++)
    to[k] = (uint8_t)(x[k] + 128);
}

INSITU_NAKED_END

#endif
