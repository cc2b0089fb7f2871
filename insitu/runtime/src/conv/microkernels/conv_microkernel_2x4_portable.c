/* insitu_conv_microkernels.h in plain C: the definition. */
#include "insitu_conv_microkernels.h"

#if !defined(__ARM_FEATURE_DSP) || defined(__ARM_FEATURE_MVE)

insitu_conv_output_t insitu_output(int32_t shift, int32_t zero, int32_t low, int32_t high) {
  const insitu_conv_output_t output = {{0}, zero, low, high, 0, 0, shift};
  return output;
}

int32_t insitu_observe(const insitu_conv_output_t *output, int32_t *observed) {
  observed[0] = output->lowest;
  observed[1] = output->highest;
  return 1;
}

int32_t insitu_error_factor(uint16_t rel, int32_t drop) {
  (void)drop;
  return rel;
}

#endif

#if !defined(__ARM_FEATURE_DSP)

insitu_conv_block_t insitu_block(int32_t pairs, int32_t lines, int32_t skip_a, int32_t skip_b,
                                 const int32_t *start) {
  const insitu_conv_block_t block = {0, pairs * 8, lines, skip_a * 2, skip_b * 2, start};
  return block;
}

void insitu_multiply_block(const insitu_conv_block_t *block, const int16_t *a, const int16_t *b,
                           int32_t *acc) {
  int32_t sum[INSITU_POSITIONS * INSITU_CHANNELS];
  for (int32_t j = 0; j < INSITU_POSITIONS * INSITU_CHANNELS; j++)
    sum[j] = block->start[j];
  for (int32_t line = 0; line < block->lines; line++) {
    for (int32_t k = 0; k < block->bytes; k += 8, a += 4, b += 8) {
      for (int32_t h = 0; h < 2; h++) {
        const int32_t first = a[h], second = a[2 + h];
        for (int32_t j = 0; j < INSITU_CHANNELS; j++) {
          sum[j] += first * b[2 * j + h];
          sum[4 + j] += second * b[2 * j + h];
        }
      }
    }
    a += block->skip_a / 2;
    b += block->skip_b / 2;
  }
  for (int32_t j = 0; j < INSITU_POSITIONS * INSITU_CHANNELS; j++)
    acc[j] = sum[j];
}

void insitu_epilogue_block(insitu_conv_output_t *output, int32_t *acc, int8_t *y, int32_t step) {
  for (int32_t n = 0; n < INSITU_POSITIONS; n++, acc += INSITU_CHANNELS, y += step) {
    for (int32_t j = 0; j < INSITU_CHANNELS; j++) {
      const int32_t v = insitu_rescale(acc[j], output->multiplier[j], output->shift);
      output->lowest = insitu_min(output->lowest, v);
      output->highest = insitu_max(output->highest, v);
      y[j] = (int8_t)insitu_clamp(v + output->zero, output->low, output->high);
    }
  }
}

void insitu_centre_pairs(int32_t size, int32_t zero, const int8_t *x, int16_t *to) {
  for (int32_t k = 0; k < size; k++)
    to[(k / 2) * 4 + k % 2] = (int16_t)(x[k] - zero);
}

void insitu_pack_rows(int32_t size, int32_t step, const int8_t *w, int16_t *to) {
  for (int32_t j = 0; j < INSITU_CHANNELS; j++, w += step) {
    for (int32_t k = 0; k < size; k++)
      to[(k / 2) * 8 + j * 2 + k % 2] = w[k];
  }
}

void insitu_flag_channels(int32_t positions, int32_t channels, const int8_t *dy, int8_t *flags) {
  for (int32_t o = 0; o < channels; o++) {
    const int8_t *e = dy + o;
    int32_t left = positions;
    for (; left > 0 && *e == 0; left--)
      e += channels;
    flags[o] = left > 0;
  }
}

int32_t insitu_count_errors(int32_t size, const int8_t *dy) {
  int32_t count = 0;
  for (int32_t k = 0; k < size; k++)
    count += dy[k] != 0;
  return count;
}

void insitu_expand_errors(int32_t size, int32_t drop, const int8_t *e, const int32_t *factor,
                          int16_t *to, int16_t *other) {
  for (int32_t k = 0; k < size; k++) {
    const int32_t at = (k / 2) * 4 + k % 2;
    to[at] = other[at] = (int16_t)insitu_expand_error(e[k], (uint16_t)factor[k], drop);
  }
}

void insitu_pack_pairs(int32_t size, int32_t count, const int32_t *begin, const int8_t *w,
                       int16_t *to) {
  for (int32_t k = 0; k < size + size % 2; k++) {
    for (int32_t i = 0; i < INSITU_CHANNELS; i++)
      to[(k / 2) * 8 + i * 2 + k % 2] = k < size && i < count ? w[begin[k] + i] : 0;
  }
}

void insitu_pack_window_pairs(int32_t pairs, int32_t zero, int32_t step, const int8_t *x,
                              int16_t *to) {
  for (int32_t n = 0; n < pairs; n++, x += 2 * step, to += 8) {
    for (int32_t j = 0; j < INSITU_CHANNELS; j++) {
      to[2 * j] = (int16_t)(x[j] - zero);
      to[2 * j + 1] = (int16_t)(x[step + j] - zero);
    }
  }
}

void insitu_pack_error_pairs(int32_t pairs, int32_t step, const int8_t *dy, int16_t *to,
                             int16_t *next) {
  for (int32_t n = 0; n < pairs; n++, dy += 2 * step, to += 4, next += 4) {
    for (int32_t j = 0; j < 2; j++) {
      to[2 * j] = dy[j];
      to[2 * j + 1] = dy[step + j];
      next[2 * j] = dy[2 + j];
      next[2 * j + 1] = dy[step + 2 + j];
    }
  }
}

void insitu_sum_pairs(int32_t pairs, const int16_t *a, int32_t total[2]) {
  for (int32_t n = 0; n < pairs; n++, a += 4) {
    total[0] += a[0] + a[1];
    total[1] += a[2] + a[3];
  }
}

#if !defined(__ARM_ARCH_6M__)

void insitu_step_part(int32_t count, int32_t multiplier, const int32_t *gradient, uint32_t bits,
                      int8_t *w) {
  for (int32_t j = 0; j < count; j++, bits <<= 8) {
    const int64_t noise = (int64_t)(bits >> 24) * (1 << 24) + (1 << 23);
    const int32_t step = (int32_t)(((int64_t)gradient[j] * multiplier + noise) >> 32);
    w[j] = (int8_t)insitu_clamp(w[j] - step, -127, 127);
  }
}

uint32_t insitu_step_groups(int32_t groups, int32_t multiplier, const int32_t *gradient,
                            uint32_t state, int8_t *w) {
  for (int32_t j = 0; j < groups; j++) {
    state = insitu_draw(state);
    insitu_step_part(4, multiplier, gradient + INSITU_NEXT_GROUP * j, state, w + 4 * j);
  }
  return state;
}

#endif

#endif
