/* Epilogues of insitu_conv_armv6m.h on ARMv6-M: outputs, and steps of weights. */
#include "insitu_conv_armv6m.h"

#if defined(__ARM_ARCH_6M__)

#include "insitu_armv6m.h"

INSITU_NAKED_BEGIN

/* insitu_epilogue_channel without a shift. r6, r7: the multiplier's halves, r8 offset, r12 end of
 * sum, lr step. A value needs no more than rounding while it lies where neither the bounds clamp it
 * nor the extremes grow: in r10 values from -r9 on, which come out as r11 more. 25 instructions.
 *
 * round(acc multiplier / 2^32) = high m_high + (X >> 16) + bit 15 of X, which ASRS leaves in the
 * carry; X = low m_high + high m_low + (low m_low >> 16) may leave int32 upwards only. */
INSITU_NAKED static void epilogue_1x4(insitu_scalar_output_t *output, int32_t count,
                                      const int32_t *sum, int8_t *y) {
  __asm__ volatile(".syntax unified\n\t"
                   "push {r0, r4, r5, r6, r7, lr}\n\t" INSITU_SAVE_HIGH
                   "lsls r4, r1, #4\n\t" /* count fours */
                   "adds r4, r4, r2\n\t"
                   "mov r12, r4\n\t"
                   "mov r1, r3\n\t"
                   "ldr r4, [r0, #4]\n\t"
                   "mov r8, r4\n\t"
                   "ldr r7, [r0]\n\t"
                   "uxth r6, r7\n\t"
                   "lsrs r7, r7, #16\n\t"
                   "mov r3, r0\n\t"
                   "mov r0, r2\n\t"
                   "bl 7f\n\t"
                   "ldr r3, [sp, #16]\n\t"
                   "ldr r4, [r3, #32]\n\t"
                   "mov lr, r4\n"
                   "1:\n\t"
                   "ldr r2, [r0]\n\t"
                   "adds r0, #16\n\t"
                   "add r2, r8\n\t"
                   "uxth r3, r2\n\t"
                   "asrs r2, r2, #16\n\t"
                   "movs r4, r3\n\t"
                   "muls r4, r6, r4\n\t"
                   "lsrs r4, r4, #16\n\t"
                   "movs r5, r2\n\t"
                   "muls r5, r6, r5\n\t"
                   "adds r4, r4, r5\n\t"
                   "muls r3, r7, r3\n\t"
                   "adds r4, r4, r3\n\t"
                   "bvs 4f\n\t"
                   "asrs r4, r4, #16\n"
                   "2:\n\t"
                   "muls r2, r7, r2\n\t"
                   "adcs r2, r2, r4\n\t"
                   "add r2, r9\n\t"
                   "cmp r2, r10\n\t"
                   "bhs 5f\n"
                   "3:\n\t"
                   "add r2, r11\n\t"
                   "strb r2, [r1]\n\t"
                   "add r1, lr\n\t"
                   "cmp r0, r12\n\t"
                   "bne 1b\n\t" INSITU_RESTORE_HIGH "pop {r0, r4, r5, r6, r7, pc}\n"
                   "4:\n\t"
                   "lsrs r4, r4, #16\n\t"
                   "b 2b\n"
                   "5:\n\t" /* an extreme, or clamped */
                   "mov r3, r9\n\t"
                   "subs r2, r2, r3\n\t"
                   "ldr r3, [sp, #16]\n\t"
                   "ldr r4, [r3, #24]\n\t"
                   "cmp r2, r4\n\t"
                   "blt 8f\n\t"
                   "ldr r4, [r3, #28]\n\t"
                   "cmp r2, r4\n\t"
                   "bgt 9f\n"
                   "6:\n\t"
                   "ldr r4, [r3, #16]\n\t"
                   "cmp r2, r4\n\t"
                   "blt 10f\n\t"
                   "ldr r4, [r3, #20]\n\t"
                   "cmp r2, r4\n\t"
                   "bgt 10f\n\t"
                   "movs r4, r2\n"
                   "10:\n\t"
                   "movs r2, r4\n\t"
                   "add r2, r9\n\t"
                   "b 3b\n"
                   "8:\n\t"
                   "str r2, [r3, #24]\n\t"
                   "b 11f\n"
                   "9:\n\t"
                   "str r2, [r3, #28]\n"
                   "11:\n\t"
                   "bl 7f\n\t"
                   "ldr r3, [sp, #16]\n\t"
                   "ldr r4, [r3, #32]\n\t"
                   "mov lr, r4\n\t"
                   "b 6b\n"
                   "7:\n\t" /* the interval from output, r3 */
                   "ldr r4, [r3, #16]\n\t"
                   "ldr r5, [r3, #24]\n\t"
                   "cmp r4, r5\n\t"
                   "bge 12f\n\t"
                   "movs r4, r5\n"
                   "12:\n\t"
                   "rsbs r5, r4, #0\n\t"
                   "mov r9, r5\n\t"
                   "ldr r5, [r3, #12]\n\t"
                   "adds r5, r5, r4\n\t"
                   "mov r11, r5\n\t"
                   "ldr r5, [r3, #20]\n\t"
                   "subs r5, r5, r4\n\t"
                   "ldr r3, [r3, #28]\n\t"
                   "subs r4, r3, r4\n\t"
                   "cmp r4, r5\n\t"
                   "blt 13f\n\t"
                   "movs r4, r5\n"
                   "13:\n\t"
                   "adds r4, r4, #1\n\t"
                   "bpl 14f\n\t"
                   "movs r4, #0\n"
                   "14:\n\t"
                   "mov r10, r4\n\t"
                   "bx lr\n");
}

void insitu_epilogue_channel(insitu_scalar_output_t *output, int32_t count, const int32_t *sum,
                             int8_t *y) {
  if (output->shift == 0) {
    epilogue_1x4(output, count, sum, y);
    return;
  }
  for (int32_t n = 0; n < count; n++, sum += INSITU_CHANNELS, y += output->step) {
    const int32_t acc = (int32_t)((uint32_t)*sum + (uint32_t)output->offset);
    const int32_t v = insitu_rescale(acc, output->multiplier, output->shift);
    output->lowest = insitu_min(output->lowest, v);
    output->highest = insitu_max(output->highest, v);
    *y = (int8_t)(insitu_clamp(v, output->low, output->high) + output->zero);
  }
}

/* A weight K of w, r1, with the next gradient of r0; r7, r9: the multiplier's halves, high and low.
 * RANDOM brings r 2^8 to r6. With u: (gradient multiplier + u) >> 32 = high m_high + (X >> 16),
 * X = low m_high + high m_low + (low m_low >> 16) + r 2^8 + 2^7, which may leave int32 upwards
 * only. 28 instructions and a half. */
#define STEP(K, RANDOM, OVER, CLAMPED)                                                             \
  "ldm r0!, {r2}\n\t"                                                                              \
  "uxth r4, r2\n\t"                                                                                \
  "asrs r2, r2, #16\n\t"                                                                           \
  "mov r5, r9\n\t"                                                                                 \
  "muls r5, r4, r5\n\t"                                                                            \
  "lsrs r5, r5, #16\n\t"                                                                           \
  "muls r4, r7, r4\n\t"                                                                            \
  "adds r5, r5, r4\n\t"                                                                            \
  "mov r4, r9\n\t"                                                                                 \
  "muls r4, r2, r4\n\t" RANDOM "adds r6, #128\n\t"                                                 \
  "adds r4, r4, r6\n\t"                                                                            \
  "adds r5, r5, r4\n\t"                                                                            \
  "bvs " OVER "\n\t"                                                                               \
  "asrs r5, r5, #16\n"                                                                             \
  "6" K ":\n\t"                                                                                    \
  "muls r2, r7, r2\n\t"                                                                            \
  "adds r2, r2, r5\n\t"                                                                            \
  "movs r4, #" K "\n\t"                                                                            \
  "ldrsb r4, [r1, r4]\n\t"                                                                         \
  "subs r4, r4, r2\n\t"                                                                            \
  "adds r4, #127\n\t"                                                                              \
  "cmp r4, #254\n\t"                                                                               \
  "bhi " CLAMPED "\n"                                                                              \
  "7" K ":\n\t"                                                                                    \
  "subs r4, #127\n\t"                                                                              \
  "strb r4, [r1, #" K "]\n\t"
/* X of 2^31 or more; a weight that is clamped: 0 below, 254 above. TO says where STEP lies. */
#define STEP_ASIDE(K, TO)                                                                          \
  "4" K ":\n\t"                                                                                    \
  "lsrs r5, r5, #16\n\t"                                                                           \
  "b 6" K TO "\n"                                                                                  \
  "5" K ":\n\t"                                                                                    \
  "asrs r4, r4, #31\n\t"                                                                           \
  "mvns r4, r4\n\t"                                                                                \
  "movs r5, #254\n\t"                                                                              \
  "ands r4, r5\n\t"                                                                                \
  "b 7" K TO "\n"
INSITU_NAKED uint32_t insitu_step_groups(int32_t groups, int32_t multiplier,
                                         const int32_t *gradient, uint32_t state, int8_t *w) {
  __asm__ volatile(
      ".syntax unified\n\t"
      "push {r4, r5, r6, r7, lr}\n\t"
      "mov r4, r8\n\t"
      "mov r5, r9\n\t"
      "push {r4, r5}\n\t"
      "movs r4, #0xA3\n\t"
      "lsls r4, r4, #24\n\t"
      "mov r8, r4\n\t"
      "uxth r4, r1\n\t"
      "mov r9, r4\n\t"
      "lsrs r7, r1, #16\n\t"
      "ldr r1, [sp, #28]\n\t"
      "lsls r0, r0, #4\n\t"
      "adds r0, r0, r2\n\t"
      "mov r12, r0\n\t"
      "movs r0, r2\n\t"
      "b 3f\n" STEP_ASIDE("0", "f") STEP_ASIDE(
          "1", "f") "1:\n\t"
                    "lsrs r3, r3, #1\n\t"
                    "bcc 2f\n\t"
                    "mov r4, r8\n\t"
                    "eors r3, r4\n"
                    "2:\n\t" STEP("0", "lsrs r6, r3, #24\n\tlsls r6, r6, #8\n\t", "40b", "50b")
                        STEP("1", "lsls r6, r3, #8\n\tlsrs r6, r6, #24\n\tlsls r6, r6, #8\n\t",
                             "41b", "51b")
                            STEP("2", "lsls r6, r3, #16\n\tlsrs r6, r6, #24\n\tlsls r6, r6, #8\n\t",
                                 "42f", "52f")
                                STEP("3", "uxtb r6, r3\n\tlsls r6, r6, #8\n\t", "43f",
                                     "53f") "adds r1, #4\n"
                                            "3:\n\t"
                                            "cmp r0, r12\n\t"
                                            "beq 8f\n\t"
                                            "b 1b\n"
                                            "8:\n\t"
                                            "movs r0, r3\n\t"
                                            "pop {r4, r5}\n\t"
                                            "mov r8, r4\n\t"
                                            "mov r9, r5\n\t"
                                            "pop {r4, r5, r6, r7, pc}\n" STEP_ASIDE("2", "b")
                                                STEP_ASIDE("3", "b"));
}

/* The same in halves, see STEP. */
void insitu_step_part(int32_t count, int32_t multiplier, const int32_t *gradient, uint32_t bits,
                      int8_t *w) {
  const int32_t m_low = multiplier & 0xFFFF, m_high = multiplier >> 16;
  for (int32_t j = 0; j < count; j++, bits <<= 8) {
    const uint32_t low = (uint32_t)gradient[j] & 0xFFFFu;
    const int32_t high = gradient[j] >> 16;
    const int32_t first = high * m_low + (int32_t)(bits >> 24 << 8) + (1 << 7);
    const int32_t second = (int32_t)(low * (uint32_t)m_high + (low * (uint32_t)m_low >> 16));
    const int32_t carry = ((first & 0xFFFF) + (second & 0xFFFF)) >> 16;
    const int32_t step = high * m_high + (first >> 16) + (second >> 16) + carry;
    w[j] = (int8_t)insitu_clamp(w[j] - step, -127, 127);
  }
}

INSITU_NAKED_END

#endif
