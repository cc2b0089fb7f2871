/* insitu_conv_microkernels.h for cores with Helium (MVE): Cortex-M55.
 *
 * VLD4 brings the pairs of each of four channels into a vector of its own, VLD2 those of the two
 * positions; VMLADAVA adds eight products to a sum in one of the even registers, all of which are
 * sums. So a and b are packed as for the other cores. Loads and stores of words lie on words. */
#include "insitu_conv_microkernels.h"

#if defined(__ARM_FEATURE_MVE)
#include <arm_mve.h>

#include "insitu_naked.h"

INSITU_NAKED_BEGIN

enum { GROUP = 4, UNROLLED = 4, GROUP_BYTES = 56 }; /* pairs in a vector, groups in the loop */

insitu_conv_block_t insitu_block(int32_t pairs, int32_t lines, int32_t skip_a, int32_t skip_b,
                                 const int32_t *start) {
  const int32_t groups = pairs / GROUP;
  const int32_t left_out = groups > 0 ? -groups & (UNROLLED - 1) : UNROLLED;
  const insitu_conv_block_t block = {left_out * GROUP_BYTES + 1, /* 1: Thumb code */
                                     pairs * 8,
                                     lines,
                                     skip_a * 2,
                                     skip_b * 2,
                                     start};
  return block;
}

/* Sums in r0, r2, r4, r6 and r8, r10, r12, lr, a in r1, b in r3. Four pairs are 14 instructions of
 * 4 bytes; the loop is entered so far in that it ends with the line's whole groups, which end at
 * r7. On the stack: where it is entered, bytes of a's whole groups, pairs left over, lines left,
 * skip_a, skip_b, the saved vectors, acc, the saved registers. */
INSITU_NAKED void insitu_multiply_block(const insitu_conv_block_t *block, const int16_t *a,
                                        const int16_t *b, int32_t *acc) {
  __asm__ volatile("push {r3-r11, lr}\n"
                   "vpush {d8-d11}\n"
                   "ldm r0, {r4-r9}\n" /* jump, bytes, lines, skip_a, skip_b, start */
                   "mov r3, r2\n"
                   "push {r7, r8}\n"
                   "adr.w r7, 2f\n"
                   "add r7, r7, r4\n"
                   "ubfx r10, r5, #3, #2\n" /* pairs left over */
                   "bic r8, r5, #31\n"
                   "mov r11, r6\n"
                   "push {r7, r8, r10, r11}\n"
                   "ldrd r0, r2, [r9]\n"
                   "ldrd r4, r6, [r9, #8]\n"
                   "ldrd r12, lr, [r9, #24]\n"
                   "ldrd r8, r10, [r9, #16]\n"
                   "1:\n"
                   "ldrd r5, r7, [sp]\n"
                   "add r7, r7, r1\n"
                   "bx r5\n"
                   ".balign 4\n"
                   "2:\n"
                   ".rept 4\n"
                   "vld20.32 {q4, q5}, [r1]\n"
                   "vld21.32 {q4, q5}, [r1]!\n"
                   "vld40.32 {q0, q1, q2, q3}, [r3]\n"
                   "vld41.32 {q0, q1, q2, q3}, [r3]\n"
                   "vld42.32 {q0, q1, q2, q3}, [r3]\n"
                   "vld43.32 {q0, q1, q2, q3}, [r3]!\n"
                   "vmladava.s16 r0, q4, q0\n"
                   "vmladava.s16 r8, q5, q0\n"
                   "vmladava.s16 r2, q4, q1\n"
                   "vmladava.s16 r10, q5, q1\n"
                   "vmladava.s16 r4, q4, q2\n"
                   "vmladava.s16 r12, q5, q2\n"
                   "vmladava.s16 r6, q4, q3\n"
                   "vmladava.s16 lr, q5, q3\n"
                   ".endr\n"
                   "cmp r1, r7\n"
                   "bne 2b\n"
                   "ldrd r11, r5, [sp, #8]\n" /* pairs left over, lines left */
                   "cmp r11, #0\n"
                   "beq 4f\n"
                   "3:\n"
                   "ldrd r5, r7, [r1], #8\n"
                   ".irp first, r0, r2, r4, r6\n"
                   "ldr r9, [r3], #4\n"
                   "smlad \\first, r5, r9, \\first\n"
                   ".ifc \\first, r0\n"
                   "smlad r8, r7, r9, r8\n"
                   ".endif\n"
                   ".ifc \\first, r2\n"
                   "smlad r10, r7, r9, r10\n"
                   ".endif\n"
                   ".ifc \\first, r4\n"
                   "smlad r12, r7, r9, r12\n"
                   ".endif\n"
                   ".ifc \\first, r6\n"
                   "smlad lr, r7, r9, lr\n"
                   ".endif\n"
                   ".endr\n"
                   "subs r11, r11, #1\n"
                   "bne 3b\n"
                   "ldr r5, [sp, #12]\n"
                   "4:\n"
                   "subs r5, r5, #1\n"
                   "beq 5f\n"
                   "str r5, [sp, #12]\n"
                   "ldrd r9, r11, [sp, #16]\n" /* skip_a, skip_b */
                   "add r1, r1, r9\n"
                   "add r3, r3, r11\n"
                   "b 1b\n"
                   "5:\n"
                   "add sp, sp, #24\n"
                   "vpop {d8-d11}\n"
                   "pop {r3}\n"
                   "strd r0, r2, [r3]\n"
                   "strd r4, r6, [r3, #8]\n"
                   "strd r8, r10, [r3, #16]\n"
                   "strd r12, lr, [r3, #24]\n"
                   "pop {r4-r11, pc}\n");
}

static inline int32x4_t clamp_lanes(int32x4_t v, int32_t low, int32_t high) {
  return vminq_s32(vmaxq_s32(v, vdupq_n_s32(low)), vdupq_n_s32(high));
}

/* insitu_rescale where shift > 0, but for the product. */
static inline int32x4_t shift_up(int32x4_t acc, int32_t shift) {
  const int32_t limit = (1 << 30) >> shift;
  return vshlq_r_s32(clamp_lanes(acc, -limit, limit), shift);
}

void insitu_epilogue_block(insitu_conv_output_t *output, int32_t *acc, int8_t *y, int32_t step) {
  const int32x4_t multiplier = vldrwq_s32(output->multiplier);
  const int32_t zero = output->zero, low = output->low, high = output->high;
  int32x4_t first = vldrwq_s32(acc), second = vldrwq_s32(acc + INSITU_CHANNELS);
  if (output->shift > 0) {
    first = shift_up(first, output->shift);
    second = shift_up(second, output->shift);
  }
  first = vrmulhq_s32(first, multiplier);
  second = vrmulhq_s32(second, multiplier);
  output->lowest = vminvq_s32(vminvq_s32(output->lowest, first), second);
  output->highest = vmaxvq_s32(vmaxvq_s32(output->highest, first), second);
  vstrbq_s32(y, clamp_lanes(vaddq_n_s32(first, zero), low, high));
  vstrbq_s32(y + step, clamp_lanes(vaddq_n_s32(second, zero), low, high));
}

/* to[2 k] = word k of v, for the words of the predicate. */
static inline void scatter(int16_t *to, int16x8_t v, mve_pred16_t words) {
  vstrwq_scatter_shifted_offset_p_s32((int32_t *)(void *)to, vidupq_n_u32(0, 2),
                                      vreinterpretq_s32_s16(v), words);
}

void insitu_centre_pairs(int32_t size, int32_t zero, const int8_t *x, int16_t *to) {
  for (int32_t k = 0; k + 2 <= size; k += 8) {
    const mve_pred16_t pairs = vctp32q((uint32_t)(size - k) / 2);
    scatter(to + 2 * k, vsubq_n_s16(vldrbq_z_s16(x + k, pairs), (int16_t)zero), pairs);
  }
  if (size % 2 != 0)
    to[size / 2 * 4] = (int16_t)(x[size - 1] - zero);
}

static inline uint32x4_t load_widened(const int8_t *x) {
  return vreinterpretq_u32_s16(vldrbq_s16(x));
}

void insitu_pack_rows(int32_t size, int32_t step, const int8_t *w, int16_t *to) {
  const int32_t whole = size & ~7;
  for (int32_t k = 0; k < whole; k += 8, w += 8, to += 32) {
    const uint32x4x4_t rows = {{load_widened(w), load_widened(w + step), load_widened(w + 2 * step),
                                load_widened(w + 3 * step)}};
    vst4q_u32((uint32_t *)(void *)to, rows);
  }
  for (int32_t j = 0; j < INSITU_CHANNELS; j++, w += step) {
    for (int32_t k = 0; k < size - whole; k++)
      to[k / 2 * 8 + j * 2 + k % 2] = w[k];
  }
}

void insitu_flag_channels(int32_t positions, int32_t channels, const int8_t *dy, int8_t *flags) {
  for (int32_t o = 0; o < channels; o += 16) {
    const mve_pred16_t there = vctp8q((uint32_t)(channels - o));
    const int8_t *e = dy + o;
    int8x16_t any = vdupq_n_s8(0);
    for (int32_t n = 0; n < positions; n++, e += channels)
      any = vorrq_s8(any, vldrbq_z_s8(e, there));
    vstrbq_p_s8(flags + o, any, there);
  }
}

int32_t insitu_count_errors(int32_t size, const int8_t *dy) {
  uint32_t count = 0;
  for (int32_t k = 0; k < size; k += 16) {
    const int8x16_t e = vldrbq_z_s8(dy + k, vctp8q((uint32_t)(size - k)));
    count = vaddvaq_p_u8(count, vdupq_n_u8(1), vcmpneq_n_s8(e, 0));
  }
  return (int32_t)count;
}

void insitu_expand_errors(int32_t size, int32_t drop, const int8_t *e, const int32_t *factor,
                          int16_t *to, int16_t *other) {
  for (; size >= 8; size -= 8, e += 8, factor += 8, to += 16, other += 16) {
    const int16x8_t errors = vldrbq_s16(e);
    const int32x4x2_t factors = vld2q_s32(factor);
    const int32x4_t even = vmulq_s32(vmovlbq_s16(errors), factors.val[0]);
    const int32x4_t odd = vmulq_s32(vmovltq_s16(errors), factors.val[1]);
    const int32x4_t low = vrshlq_n_s32(even, -(8 + drop)), high = vrshlq_n_s32(odd, -(8 + drop));
    const int16x8_t pairs = vmovntq_s32(vreinterpretq_s16_s32(low), high);
    scatter(to, pairs, 0xFFFF);
    scatter(other, pairs, 0xFFFF);
  }
  for (int32_t k = 0; k < size; k++) {
    const int32_t at = (k / 2) * 4 + k % 2;
    to[at] = other[at] = (int16_t)insitu_expand_error(e[k], (uint16_t)factor[k], drop);
  }
}

/* (w[even], w[odd]) of four pairs of places. */
static inline uint32x4_t gather_pairs(const int8_t *w, uint32x4x2_t places) {
  const int32x4_t even = vldrbq_gather_offset_s32(w, places.val[0]);
  const int32x4_t odd = vldrbq_gather_offset_s32(w, places.val[1]);
  return vreinterpretq_u32_s16(vmovntq_s32(vreinterpretq_s16_s32(even), odd));
}

void insitu_pack_pairs(int32_t size, int32_t count, const int32_t *begin, const int8_t *w,
                       int16_t *to) {
  for (; size >= 8 && count == INSITU_CHANNELS; size -= 8, begin += 8, to += 32) {
    const uint32x4x2_t places = vld2q_u32((const uint32_t *)begin);
    const uint32x4x4_t elements = {{gather_pairs(w, places), gather_pairs(w + 1, places),
                                    gather_pairs(w + 2, places), gather_pairs(w + 3, places)}};
    vst4q_u32((uint32_t *)(void *)to, elements);
  }
  for (int32_t k = 0; k < size + size % 2; k++) {
    for (int32_t i = 0; i < INSITU_CHANNELS; i++)
      to[(k / 2) * 8 + i * 2 + k % 2] = k < size && i < count ? w[begin[k] + i] : 0;
  }
}

/* (a[j], b[j]), j < 4 */
static inline int16x8_t pair_bytes(const int8_t *a, const int8_t *b) {
  return vmovntq_s32(vreinterpretq_s16_s32(vldrbq_s32(a)), vldrbq_s32(b));
}

void insitu_pack_window_pairs(int32_t pairs, int32_t zero, int32_t step, const int8_t *x,
                              int16_t *to) {
  for (; pairs > 0; pairs--, x += 2 * step, to += 8)
    vstrhq_s16(to, vsubq_n_s16(pair_bytes(x, x + step), (int16_t)zero));
}

void insitu_pack_error_pairs(int32_t pairs, int32_t step, const int8_t *dy, int16_t *to,
                             int16_t *next) {
  const uint32_t apart = (uint32_t)((uintptr_t)next - (uintptr_t)to);
  const uint32_t places[4] = {0, 4, apart, apart + 4};
  const uint32x4_t offsets = vldrwq_u32(places);
  for (; pairs > 0; pairs--, dy += 2 * step, to += 4) {
    const int16x8_t v = pair_bytes(dy, dy + step);
    vstrwq_scatter_offset_s32((int32_t *)(void *)to, offsets, vreinterpretq_s32_s16(v));
  }
}

void insitu_sum_pairs(int32_t pairs, const int16_t *a, int32_t total[2]) {
  int32_t first = total[0], second = total[1];
  for (; pairs >= GROUP; pairs -= GROUP, a += 4 * GROUP) {
    const uint32x4x2_t v = vld2q_u32((const uint32_t *)(const void *)a);
    first = vaddvaq_s16(first, vreinterpretq_s16_u32(v.val[0]));
    second = vaddvaq_s16(second, vreinterpretq_s16_u32(v.val[1]));
  }
  for (; pairs > 0; pairs--, a += 4) {
    first += a[0] + a[1];
    second += a[2] + a[3];
  }
  total[0] = first;
  total[1] = second;
}

/* Steps of the weights of the predicate. The low half of gradient multiplier carries into the high
 * one where adding the random bits makes it less than these. */
static inline void step_four(mve_pred16_t there, int32_t multiplier, const int32_t *gradient,
                             uint32_t bits, int8_t *w) {
  const int32x4_t shifts = vreinterpretq_s32_u32(vidupq_n_u32(0, 8));
  const uint32x4_t high_bytes =
      vandq_u32(vshlq_u32(vdupq_n_u32(bits), shifts), vdupq_n_u32(0xFF000000u));
  const uint32x4_t noise = vorrq_u32(high_bytes, vdupq_n_u32(0x00800000u));
  const int32x4_t g = vldrwq_z_s32(gradient, there);
  const uint32x4_t low = vreinterpretq_u32_s32(vmulq_n_s32(g, multiplier));
  const int32x4_t high = vmulhq_s32(g, vdupq_n_s32(multiplier));
  const mve_pred16_t carries = vcmphiq_u32(noise, vaddq_u32(low, noise));
  const int32x4_t step = vaddq_m_n_s32(high, high, 1, carries);
  const int32x4_t moved = vqsubq_s32(vldrbq_z_s32(w, there), step);
  vstrbq_p_s32(w, clamp_lanes(moved, -127, 127), there);
}

void insitu_step_part(int32_t count, int32_t multiplier, const int32_t *gradient, uint32_t bits,
                      int8_t *w) {
  step_four(vctp32q((uint32_t)count), multiplier, gradient, bits, w);
}

uint32_t insitu_step_groups(int32_t groups, int32_t multiplier, const int32_t *gradient,
                            uint32_t state, int8_t *w) {
  for (; groups > 0; groups--, gradient += 8, w += 4) {
    state = insitu_draw(state);
    step_four(0xFFFF, multiplier, gradient, state, w);
  }
  return state;
}

INSITU_NAKED_END

#endif
