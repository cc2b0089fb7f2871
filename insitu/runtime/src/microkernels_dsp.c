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

void insitu_centre_pairs(int32_t size, int32_t zero, const int8_t *x, int16_t *to) {
  const uint32_t minus = insitu_both(-zero);
  for (; size >= 4; size -= 4, x += 4, to += 8) {
    const uint32_t bytes = insitu_load_word(x);
    const uint32_t even = insitu_add_even_bytes(minus, bytes);
    const uint32_t odd = insitu_add_odd_bytes(minus, bytes);
    insitu_store_word(to, insitu_lows(even, odd));
    insitu_store_word(to + 4, insitu_highs(even, odd));
  }
  for (int32_t k = 0; k < size; k++)
    to[(k / 2) * 4 + k % 2] = (int16_t)(x[k] - zero);
}

/* Four values of one row of weights, at its place in two groups of pairs. */
static inline void insitu_pack_word(const int8_t *w, int16_t *to) {
  const uint32_t bytes = insitu_load_word(w);
  const uint32_t even = insitu_even_bytes(bytes), odd = insitu_odd_bytes(bytes);
  insitu_store_word(to, insitu_lows(even, odd));
  insitu_store_word(to + 8, insitu_highs(even, odd));
}

void insitu_pack_rows(int32_t size, int32_t step, const int8_t *w, int16_t *to) {
  for (; size >= 4; size -= 4, w += 4, to += 16) {
    insitu_pack_word(w, to);
    insitu_pack_word(w + step, to + 2);
    insitu_pack_word(w + 2 * step, to + 4);
    insitu_pack_word(w + 3 * step, to + 6);
  }
  for (int32_t j = 0; j < INSITU_CHANNELS; j++, w += step) {
    for (int32_t k = 0; k < size; k++)
      to[(k / 2) * 8 + j * 2 + k % 2] = w[k];
  }
}

/* All errors of four channels, one over the other. */
static uint32_t insitu_any_of_four(int32_t positions, int32_t channels, const int8_t *dy) {
  uint32_t a = 0, b = 0;
  int32_t n = 0;
  for (; n + 4 <= positions; n += 4, dy += 4 * channels) {
    a |= insitu_load_word(dy) | insitu_load_word(dy + channels);
    b |= insitu_load_word(dy + 2 * channels) | insitu_load_word(dy + 3 * channels);
  }
  for (; n < positions; n++, dy += channels)
    a |= insitu_load_word(dy);
  return a | b;
}

void insitu_flag_channels(int32_t positions, int32_t channels, const int8_t *dy, int8_t *flags) {
  int32_t o = 0;
  for (; o + 4 <= channels; o += 4)
    insitu_store_word(flags + o, insitu_any_of_four(positions, channels, dy + o));
  for (; o < channels; o++) {
    flags[o] = 0;
    for (int32_t n = 0; n < positions; n++)
      flags[o] = (int8_t)(flags[o] | dy[n * channels + o]);
  }
}

int32_t insitu_count_errors(int32_t size, const int8_t *dy) {
  int32_t count = 0;
  for (; size >= 4; size -= 4, dy += 4) {
    const uint32_t word = insitu_load_word(dy);
    if (word != 0)
      count += insitu_bytes_that_are(word);
  }
  for (int32_t k = 0; k < size; k++)
    count += dy[k] != 0;
  return count;
}

/* rel 2^(9 - drop): e' = (e factor / 2^16 + 1) / 2, each rounded down. */
int32_t insitu_error_factor(uint16_t rel, int32_t drop) { return (int32_t)rel << (9 - drop); }

void insitu_expand_errors(int32_t size, int32_t drop, const int8_t *e, const int32_t *factor,
                          int16_t *to, int16_t *other) {
  (void)drop;
  for (; size >= 4; size -= 4, e += 4, factor += 4, to += 8, other += 8) {
    const uint32_t word = insitu_load_word(e);
    uint32_t low = 0, high = 0;
    if (word != 0) {
      const uint32_t even = insitu_even_bytes(word), odd = insitu_odd_bytes(word);
      low = insitu_halved(insitu_scale_low(factor[0], even), insitu_scale_low(factor[1], odd));
      high = insitu_halved(insitu_scale_high(factor[2], even), insitu_scale_high(factor[3], odd));
    }
    insitu_store_word(to, low);
    insitu_store_word(to + 4, high);
    insitu_store_word(other, low);
    insitu_store_word(other + 4, high);
  }
  for (int32_t k = 0; k < size; k++) {
    const int32_t at = (k / 2) * 4 + k % 2;
    to[at] = other[at] = (int16_t)(insitu_scale_low(factor[k], (uint32_t)e[k]) >> 1);
  }
}

void insitu_pack_pairs(int32_t size, int32_t count, const int32_t *begin, const int8_t *w,
                       int16_t *to) {
  for (; size >= 2 && count == INSITU_CHANNELS; size -= 2, begin += 2, to += 8) {
    const uint32_t a = insitu_load_word(w + begin[0]), b = insitu_load_word(w + begin[1]);
    const uint32_t lows = insitu_lows(a, b), highs = insitu_highs(a, b);
    insitu_store_word(to, insitu_even_bytes(lows));
    insitu_store_word(to + 2, insitu_odd_bytes(lows));
    insitu_store_word(to + 4, insitu_even_bytes(highs));
    insitu_store_word(to + 6, insitu_odd_bytes(highs));
  }
  for (int32_t k = 0; k < size + size % 2; k++) {
    for (int32_t i = 0; i < INSITU_CHANNELS; i++)
      to[(k / 2) * 8 + i * 2 + k % 2] = k < size && i < count ? w[begin[k] + i] : 0;
  }
}

void insitu_pack_windows_run(int32_t pairs, int32_t zero, int32_t step, const int8_t *x,
                             int16_t *to) {
  const uint32_t minus = insitu_both(-zero);
  for (; pairs > 0; pairs--, x += 2 * step, to += 8) {
    const uint32_t a = insitu_load_word(x), b = insitu_load_word(x + step);
    const uint32_t lows = insitu_lows(a, b), highs = insitu_highs(a, b);
    insitu_store_word(to, insitu_add_even_bytes(minus, lows));
    insitu_store_word(to + 2, insitu_add_odd_bytes(minus, lows));
    insitu_store_word(to + 4, insitu_add_even_bytes(minus, highs));
    insitu_store_word(to + 6, insitu_add_odd_bytes(minus, highs));
  }
}

void insitu_pack_errors_run(int32_t pairs, int32_t step, const int8_t *dy, int16_t *to,
                            int16_t *next) {
  for (; pairs > 0; pairs--, dy += 2 * step, to += 4, next += 4) {
    const uint32_t a = insitu_load_word(dy), b = insitu_load_word(dy + step);
    const uint32_t lows = insitu_lows(a, b), highs = insitu_highs(a, b);
    insitu_store_word(to, insitu_even_bytes(lows));
    insitu_store_word(to + 2, insitu_odd_bytes(lows));
    insitu_store_word(next, insitu_even_bytes(highs));
    insitu_store_word(next + 2, insitu_odd_bytes(highs));
  }
}

void insitu_sum_pairs(int32_t pairs, const int16_t *a, int32_t total[2]) {
  int32_t first = total[0], second = total[1];
  for (int32_t n = 0; n < pairs; n++, a += 4) {
    first = insitu_add_products(insitu_load_word(a), 0x00010001u, first);
    second = insitu_add_products(insitu_load_word(a + 2), 0x00010001u, second);
  }
  total[0] = first;
  total[1] = second;
}

/* sat128(w - ((gradient multiplier + u) >> 32)), u of the high byte of `bits` */
static inline uint32_t insitu_stepped(int32_t w, int32_t gradient, int32_t multiplier,
                                      uint32_t bits) {
  uint32_t low = (bits & 0xFF000000u) | 0x00800000u;
  int32_t step = 0, r;
  __asm__("smlal %0, %1, %2, %3" : "+r"(low), "+r"(step) : "r"(gradient), "r"(multiplier));
  __asm__("ssat %0, #8, %1" : "=r"(r) : "r"(w - step) : "cc");
  return (uint32_t)r;
}

void insitu_step_part(int32_t count, int32_t multiplier, const int32_t *gradient, uint32_t bits,
                      int8_t *w) {
  for (int32_t j = 0; j < count; j++, bits <<= 8) {
    const int32_t v = (int32_t)insitu_stepped(w[j], gradient[j], multiplier, bits);
    w[j] = (int8_t)insitu_max(v, -127);
  }
}

uint32_t insitu_step_groups(int32_t groups, int32_t multiplier, const int32_t *gradient,
                            uint32_t state, int8_t *w) {
  for (; groups > 0; groups--, gradient += 8, w += 4) {
    state = insitu_draw(state);
    const uint32_t old = insitu_load_word(w);
    const uint32_t a = insitu_stepped((int8_t)old, gradient[0], multiplier, state);
    const uint32_t b = insitu_stepped((int8_t)(old >> 8), gradient[1], multiplier, state << 8);
    const uint32_t c = insitu_stepped((int8_t)(old >> 16), gradient[2], multiplier, state << 16);
    const uint32_t d = insitu_stepped((int8_t)(old >> 24), gradient[3], multiplier, state << 24);
    const uint32_t even = insitu_lows(a, c) & 0x00FF00FFu, odd = insitu_lows(b, d) & 0x00FF00FFu;
    insitu_store_word(w, insitu_larger_bytes(even | odd << 8, 0x81818181u));
  }
  return state;
}

#endif
