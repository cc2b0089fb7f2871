/* Inner loops of the twin's kernels on x86 with AVX2, and with AVX-512's VNNI where there is one.
 * They add in another order than the portable C, and exactly: the sums of absolute values of all
 * terms stay below 2^31, which the compiler proves for every network (OpDef.bounds). */
#ifndef INSITU_X86_MICROKERNELS_H
#define INSITU_X86_MICROKERNELS_H

#include <immintrin.h>
#include <string.h>

#include "insitu_fixed_point.h"

#define INSITU_BLOCK 8 /* rows of weights, or values, that are taken at once */

static inline __m256i load(const void *from) { return _mm256_loadu_si256(from); }

static inline void store(void *to, __m256i v) { _mm256_storeu_si256(to, v); }

/* 16 elements as int16 */
static inline __m256i load_s8(const int8_t *from) {
  return _mm256_cvtepi8_epi16(_mm_loadu_si128((const void *)from));
}

/* 16 elements as int16, zeros from `end` on. */
static inline __m256i load_before(const int8_t *from, const int8_t *end) {
  if (end - from >= 16)
    return load_s8(from);
  int8_t part[16] = {0};
  memcpy(part, from, (size_t)(end - from));
  return load_s8(part);
}

/* acc[j] + a[2 j] b[2 j] + a[2 j + 1] b[2 j + 1], a and b int16, j < 8 */
static inline __m256i add_pairs(__m256i acc, __m256i a, __m256i b) {
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
  return _mm256_dpwssd_epi32(acc, a, b);
#else
  return _mm256_add_epi32(acc, _mm256_madd_epi16(a, b));
#endif
}

/* v[j] = the sum of the elements of acc[j], j < 8 */
static inline __m256i sum_each(const __m256i acc[INSITU_BLOCK]) {
  const __m256i low =
      _mm256_hadd_epi32(_mm256_hadd_epi32(acc[0], acc[1]), _mm256_hadd_epi32(acc[2], acc[3]));
  const __m256i high =
      _mm256_hadd_epi32(_mm256_hadd_epi32(acc[4], acc[5]), _mm256_hadd_epi32(acc[6], acc[7]));
  return _mm256_add_epi32(_mm256_permute2x128_si256(low, high, 0x20),
                          _mm256_permute2x128_si256(low, high, 0x31));
}

/* v[j] = (a[j] m[j] + low[j]) >> 32, low unsigned, j < 8 */
static inline __m256i multiply_high(__m256i a, __m256i m, __m256i low) {
  const __m256i low_even = _mm256_blend_epi32(low, _mm256_setzero_si256(), 0xAA);
  const __m256i even = _mm256_add_epi64(_mm256_mul_epi32(a, m), low_even);
  const __m256i odd =
      _mm256_add_epi64(_mm256_mul_epi32(_mm256_srli_epi64(a, 32), _mm256_srli_epi64(m, 32)),
                       _mm256_srli_epi64(low, 32));
  return _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA);
}

/* v[j] = insitu_rescale(acc[j], multiplier[j], shift), j < 8 */
static inline __m256i rescale_block(__m256i acc, __m256i multiplier, int32_t shift) {
  if (shift > 0) {
    const int32_t limit = (1 << 30) >> shift;
    acc = _mm256_min_epi32(acc, _mm256_set1_epi32(limit));
    acc = _mm256_max_epi32(acc, _mm256_set1_epi32(-limit));
    acc = _mm256_sll_epi32(acc, _mm_cvtsi32_si128(shift));
  }
  return multiply_high(acc, multiplier, _mm256_set1_epi32(INT32_MIN));
}

/* y[j] = clamp(v[j], low, high), j < 8; low and high within int8 */
static inline void store_clamped(int8_t *y, __m256i v, int32_t low, int32_t high) {
  v = _mm256_max_epi32(v, _mm256_set1_epi32(low));
  v = _mm256_min_epi32(v, _mm256_set1_epi32(high));
  const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  _mm_storel_epi64((void *)y, _mm_packs_epi16(words, words));
}

/* What a layer has seen: extremes of blocks and of single values. */
typedef struct {
  __m256i lowest, highest;
} insitu_extremes_t;

static inline void observe(insitu_extremes_t *seen, __m256i v) {
  seen->lowest = _mm256_min_epi32(seen->lowest, v);
  seen->highest = _mm256_max_epi32(seen->highest, v);
}

static inline void store_extremes(const insitu_extremes_t *seen, int32_t *observed) {
  int32_t lowest[INSITU_BLOCK], highest[INSITU_BLOCK];
  if (!observed)
    return;
  store(lowest, seen->lowest);
  store(highest, seen->highest);
  observed[0] = observed[1] = 0;
  for (int32_t j = 0; j < INSITU_BLOCK; j++) {
    observed[0] = insitu_min(observed[0], lowest[j]);
    observed[1] = insitu_max(observed[1], highest[j]);
  }
}

/* sum[i] += sum over j < rows of e[j] w[row[j] + i], i < size */
static inline void add_rows(int32_t size, int32_t rows, const int16_t *e, const int32_t *row,
                            const int8_t *w, int32_t *sum) {
  int32_t i = 0;
  for (; i + 16 <= size; i += 16) {
    __m256i low = load(sum + i), high = load(sum + i + 8);
    int32_t j = 0;
    for (; j + 2 <= rows; j += 2) {
      int32_t pair;
      memcpy(&pair, e + j, sizeof pair);
      const __m256i factors = _mm256_set1_epi32(pair);
      const __m128i a = _mm_loadu_si128((const void *)(w + row[j] + i));
      const __m128i b = _mm_loadu_si128((const void *)(w + row[j + 1] + i));
      low = add_pairs(low, factors, _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(a, b)));
      high = add_pairs(high, factors, _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(a, b)));
    }
    if (j < rows) {
      const __m256i factors = _mm256_set1_epi32(e[j]);
      const __m128i a = _mm_loadu_si128((const void *)(w + row[j] + i));
      const __m256i first = _mm256_cvtepi8_epi32(a);
      const __m256i second = _mm256_cvtepi8_epi32(_mm_srli_si128(a, 8));
      low = _mm256_add_epi32(low, _mm256_mullo_epi32(factors, first));
      high = _mm256_add_epi32(high, _mm256_mullo_epi32(factors, second));
    }
    store(sum + i, low);
    store(sum + i + 8, high);
  }
  for (int32_t j = 0; j < rows && i < size; j++) {
    for (int32_t k = i; k < size; k++)
      sum[k] += e[j] * w[row[j] + k];
  }
}

/* e[o] = insitu_expand_error(dy[o], rel[o], drop), o < size; returns whether any is not zero. */
static inline int32_t expand_errors(int32_t size, int32_t drop, const int8_t *dy,
                                    const uint16_t *rel, int16_t *e) {
  const __m256i half = _mm256_set1_epi32(1 << (7 + drop));
  const __m128i count = _mm_cvtsi32_si128(8 + drop);
  __m128i any = _mm_setzero_si128();
  int32_t o = 0, tail = 0;
  for (; o + INSITU_BLOCK <= size; o += INSITU_BLOCK) {
    const __m256i errors = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)(dy + o)));
    const __m256i factors = _mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)(rel + o)));
    const __m256i v =
        _mm256_sra_epi32(_mm256_add_epi32(_mm256_mullo_epi32(errors, factors), half), count);
    const __m128i words =
        _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    _mm_storeu_si128((void *)(e + o), words);
    any = _mm_or_si128(any, words);
  }
  for (; o < size; o++) {
    e[o] = (int16_t)insitu_expand_error(dy[o], rel[o], drop);
    tail |= e[o];
  }
  return tail != 0 || !_mm_testz_si128(any, any);
}

/* insitu_draw of each of 8 generators */
static inline __m256i draw_each(__m256i state) {
  const __m256i odd = _mm256_srai_epi32(_mm256_slli_epi32(state, 31), 31);
  const __m256i taps = _mm256_and_si256(odd, _mm256_set1_epi32((int32_t)0xA3000000u));
  return _mm256_xor_si256(_mm256_srli_epi32(state, 1), taps);
}

/* The next 8 draws of one generator. While k <= 25, no bit that the polynomial (bits 31, 29, 25,
 * 24) puts in within k steps comes out again, so those that leave go in at these places at once. */
static inline __m256i next_draws(uint32_t state) {
  const __m256i all = _mm256_set1_epi32((int32_t)state);
  const __m256i left = _mm256_sllv_epi32(all, _mm256_setr_epi32(31, 30, 29, 28, 27, 26, 25, 24));
  const __m256i kept = _mm256_srlv_epi32(all, _mm256_setr_epi32(1, 2, 3, 4, 5, 6, 7, 8));
  const __m256i outer = _mm256_xor_si256(left, _mm256_srli_epi32(left, 2));
  const __m256i inner = _mm256_xor_si256(_mm256_srli_epi32(left, 6), _mm256_srli_epi32(left, 7));
  return _mm256_xor_si256(kept, _mm256_xor_si256(outer, inner));
}

#endif
