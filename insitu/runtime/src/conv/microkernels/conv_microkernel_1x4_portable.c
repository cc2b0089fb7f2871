/* insitu_conv_armv6m.h in plain C: the definition. */
#include "insitu_conv_armv6m.h"

#if defined(INSITU_SCALAR) && !defined(__ARM_ARCH_6M__)

/* The low 24 bits with their sign. */
static uint32_t low_sum(uint32_t word) { return (word & 0xFFFFFFu) - (word << 1 & 1u << 24); }

/* sum += the four sums in the sums of packed words */
static void unpack_sums(const uint32_t *word, int32_t *sum) {
  uint32_t whole[INSITU_CHANNELS], last = 0;
  for (int32_t j = 0; j < INSITU_PACKED; j++) {
    const uint32_t left = word[j] - (last << (24 - 8 * j));
    whole[j] = low_sum(left);
    last |= (left - whole[j]) >> 24 << (8 * j);
  }
  whole[INSITU_PACKED] = low_sum(last);
  for (int32_t j = 0; j < INSITU_CHANNELS; j++)
    sum[j] = (int32_t)((uint32_t)sum[j] + whole[j]);
}

static void begin_sums(const insitu_microkernel_1x4_t *micro, int32_t *sum) {
  for (int32_t j = 0; j < INSITU_CHANNELS && micro->fresh; j++)
    sum[j] = 0;
}

static void add_products(int32_t size, int32_t a, const int32_t *b, uint32_t *sum) {
  for (int32_t j = 0; j < size; j++)
    sum[j] += (uint32_t)a * (uint32_t)b[j];
}

void insitu_microkernel_1x4_u8(const insitu_microkernel_1x4_t *micro, const uint8_t *a,
                               const int32_t *b, int32_t *sum) {
  for (int32_t n = 0; n < micro->count; n++, a += micro->step, sum += micro->sum_step / 4) {
    const uint8_t *from = a;
    const int32_t *four = b;
    uint32_t word[INSITU_PACKED] = {0};
    for (int32_t line = 0; line < micro->lines; line++, from += micro->skip) {
      for (int32_t k = 0; k < micro->terms; k++, four += INSITU_PACKED)
        add_products(INSITU_PACKED, *from++, four, word);
    }
    begin_sums(micro, sum);
    unpack_sums(word, sum);
  }
}

void insitu_microkernel_1x4_u16(const insitu_microkernel_1x4_t *micro, const uint16_t *a,
                                const int32_t *b, int32_t *sum) {
  for (int32_t n = 0; n < micro->count; n++, a += micro->step / 2, sum += micro->sum_step / 4) {
    const uint16_t *from = a;
    const int32_t *four = b;
    begin_sums(micro, sum);
    for (int32_t line = 0; line < micro->lines; line++, from += micro->skip / 2) {
      for (int32_t k = 0; k < micro->terms; k++, four += INSITU_CHANNELS)
        add_products(INSITU_CHANNELS, *from++, four, (uint32_t *)sum);
    }
  }
}

void insitu_microkernel_1x4_strided(const insitu_microkernel_1x4_t *micro, const int8_t *a,
                                    const int32_t *b, int32_t *sum) {
  for (int32_t n = 0; n < micro->count; n++, a += micro->step, sum += micro->sum_step / 4) {
    uint32_t word[INSITU_PACKED] = {0};
    for (int32_t k = 0; k < micro->terms; k++)
      add_products(INSITU_PACKED, a[k * micro->stride], b + k * INSITU_PACKED, word);
    begin_sums(micro, sum);
    unpack_sums(word, sum);
  }
}

int32_t *insitu_pack_fours(const insitu_scalar_fours_t *fours, const int8_t *x, int32_t *to) {
  for (int32_t k = 0; k < fours->count; k++, x += fours->step) {
    const uint32_t last = (uint32_t)x[fours->lane[2]];
    *to++ = (int32_t)((uint32_t)x[0] + (last << 24) + fours->offset[0]);
    *to++ = (int32_t)((uint32_t)x[fours->lane[0]] + (last << 16) + fours->offset[1]);
    *to++ = (int32_t)((uint32_t)x[fours->lane[1]] + (last << 8) + fours->offset[2]);
  }
  return to;
}

void insitu_sum_fours(int32_t count, const int32_t *b, int32_t *total) {
  uint32_t word[INSITU_PACKED] = {0};
  for (int32_t k = 0; k < count; k++, b += INSITU_PACKED)
    add_products(INSITU_PACKED, 1, b, word);
  unpack_sums(word, total);
}

void insitu_widen_fours(const int32_t *begin, int32_t size, const int8_t *w, int32_t *to,
                        int32_t *total) {
  for (int32_t k = 0; k < size; k++) {
    for (int32_t j = 0; j < INSITU_CHANNELS; j++)
      total[j] += *to++ = w[begin[k] + j];
  }
}

void insitu_offset_errors(int32_t size, const int8_t *e, const int32_t *factor, int32_t shift,
                          int32_t offset, uint16_t *to) {
  for (int32_t k = 0; k < size; k++)
    to[k] = (uint16_t)((e[k] * factor[k] + offset) >> shift);
}

void insitu_epilogue_channel(insitu_scalar_output_t *output, int32_t count, const int32_t *sum,
                             int8_t *y) {
  for (int32_t n = 0; n < count; n++, sum += INSITU_CHANNELS, y += output->step) {
    const int32_t acc = (int32_t)((uint32_t)*sum + (uint32_t)output->offset);
    const int32_t v = insitu_rescale(acc, output->multiplier, output->shift);
    output->lowest = insitu_min(output->lowest, v);
    output->highest = insitu_max(output->highest, v);
    *y = (int8_t)(insitu_clamp(v, output->low, output->high) + output->zero);
  }
}

void insitu_offset_bytes(int32_t size, const int8_t *x, uint8_t *to) {
  for (int32_t k = 0; k < size; k++)
    to[k] = (uint8_t)(x[k] + 128);
}

#endif
