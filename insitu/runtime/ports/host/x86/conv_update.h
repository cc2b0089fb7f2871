/* A convolution's weight gradient and its update, in tiles of 8 rows by 8 weights that stay in
 * registers over the whole map; a part of conv.c. */
#ifndef INSITU_X86_CONV_UPDATE_H
#define INSITU_X86_CONV_UPDATE_H

#include "insitu_kernels.h"
#include "microkernels.h"

static inline int32_t row_size(const insitu_conv_params_t *p) {
  return p->kernel_height * p->kernel_width * p->in_channels;
}

/* Places [first, end) of an axis. */
typedef struct {
  int32_t first, end;
} insitu_span_t;

/* Up to 8 rows of weights: which have an error, their factors M and their generators. */
typedef struct {
  int32_t nonzero[INSITU_BLOCK];
  __m256i multiplier, state, bits;
} insitu_rows_t;

/* A map of which 8 channels are looked at; `end` is the end of the whole map. */
typedef struct {
  const int8_t *at, *end;
  int32_t step; /* elements from one position to the next */
} insitu_channels_t;

/* The next 8 elements, zeros behind the end of the map. */
static inline __m128i load_8(const int8_t *at, const int8_t *end) {
  if (end - at >= INSITU_BLOCK)
    return _mm_loadl_epi64((const void *)at);
  int8_t part[INSITU_BLOCK] = {0};
  memcpy(part, at, (size_t)(end - at));
  return _mm_loadl_epi64((const void *)part);
}

/* tile[i][o] += pair[i] . (errors at two positions of row o), i < inputs */
static inline void add_outer(int32_t inputs, __m256i e, const int32_t *pair, __m256i *tile) {
  if (inputs == INSITU_BLOCK) {
    for (int32_t i = 0; i < INSITU_BLOCK; i++) {
      tile[i] = add_pairs(tile[i], e, _mm256_set1_epi32(pair[i]));
    }
  } else {
    for (int32_t i = 0; i < inputs; i++) {
      tile[i] = add_pairs(tile[i], e, _mm256_set1_epi32(pair[i]));
    }
  }
}

/* tile[i][o] += sum over the positions of a line of dy[., o] (x[., i] - zero), i < inputs; what it
 * adds for rows o that do not exist is never read. */
static inline void add_line(int32_t positions, int32_t inputs, __m256i zeros, insitu_channels_t dy,
                            insitu_channels_t x, __m256i *tile) {
  for (int32_t n = 0; n < positions; n += 2, dy.at += 2 * dy.step, x.at += 2 * x.step) {
    __m128i second_dy = _mm_setzero_si128(), second_x = second_dy;
    if (n + 1 < positions) {
      second_dy = load_8(dy.at + dy.step, dy.end);
      second_x = load_8(x.at + x.step, x.end);
    }
    const __m128i errors = _mm_unpacklo_epi8(load_8(dy.at, dy.end), second_dy);
    if (_mm_testz_si128(errors, errors))
      continue;
    const __m128i both = _mm_unpacklo_epi8(load_8(x.at, x.end), second_x);
    int32_t pair[INSITU_BLOCK];
    store(pair, _mm256_sub_epi16(_mm256_cvtepi8_epi16(both), zeros));
    add_outer(inputs, _mm256_cvtepi8_epi16(errors), pair, tile);
  }
}

/* The same for one position at the border of the map, of which only the elements [first, end) of
 * the line x lie on the map. */
static inline void add_border(int32_t inputs, int32_t zero, __m128i dy, const int8_t *x,
                              int32_t first, int32_t end, __m256i *tile) {
  int32_t pair[INSITU_BLOCK] = {0};
  for (int32_t i = first; i < end; i++)
    pair[i] = (x[i] - zero) & 0xFFFF;
  const __m128i errors = _mm_unpacklo_epi8(dy, _mm_setzero_si128());
  add_outer(inputs, _mm256_cvtepi8_epi16(errors), pair, tile);
}

/* rows[j] = int16 (a[j][o] for all a), o = j in the low lane, 4 + j in the high one, j < 4 */
static inline void transpose(const __m256i a[INSITU_BLOCK], __m256i rows[4]) {
  const __m256i zip = _mm256_setr_epi8(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15, 0, 1,
                                       8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15);
  __m256i two[4], four[4];
  for (int32_t j = 0; j < 4; j++) {
    two[j] = _mm256_shuffle_epi8(_mm256_packs_epi32(a[2 * j], a[2 * j + 1]), zip);
  }
  four[0] = _mm256_unpacklo_epi32(two[0], two[1]);
  four[1] = _mm256_unpackhi_epi32(two[0], two[1]);
  four[2] = _mm256_unpacklo_epi32(two[2], two[3]);
  four[3] = _mm256_unpackhi_epi32(two[2], two[3]);
  rows[0] = _mm256_unpacklo_epi64(four[0], four[2]);
  rows[1] = _mm256_unpackhi_epi64(four[0], four[2]);
  rows[2] = _mm256_unpacklo_epi64(four[1], four[3]);
  rows[3] = _mm256_unpackhi_epi64(four[1], four[3]);
}

/* w[i] = sat127(w[i] - step[i]), i < size <= 8 */
static inline void step_weights(int32_t size, __m128i step, int8_t *w) {
  int8_t part[INSITU_BLOCK] = {0};
  int8_t *const at = size == INSITU_BLOCK ? w : part;
  if (at == part)
    memcpy(part, w, (size_t)size);
  const __m128i old = _mm_cvtepi8_epi16(_mm_loadl_epi64((const void *)at));
  const __m128i words = _mm_subs_epi16(old, step);
  const __m128i stepped = _mm_max_epi8(_mm_packs_epi16(words, words), _mm_set1_epi8(-127));
  _mm_storel_epi64((void *)at, stepped);
  if (at == part)
    memcpy(w, part, (size_t)size);
}

/* Weights [k, k + inputs) of 8 rows of w[., row], from tile[i][o]; the steps are clamped to int16,
 * where they saturate the weights already. */
static void step_tile(int32_t inputs, int32_t k, int32_t row, const __m256i *tile,
                      insitu_rows_t *rows, int8_t *w) {
  const __m256i top = _mm256_set1_epi32((int32_t)0xFF000000u), half = _mm256_set1_epi32(1 << 23);
  __m256i steps[INSITU_BLOCK], by_row[4];
  for (int32_t i = 0; i < INSITU_BLOCK; i++)
    steps[i] = _mm256_setzero_si256();
  for (int32_t i = 0; i < inputs; i++) {
    if ((k + i) % 4 == 0)
      rows->bits = rows->state = draw_each(rows->state);
    const __m256i noise = _mm256_or_si256(_mm256_and_si256(rows->bits, top), half);
    steps[i] = multiply_high(tile[i], rows->multiplier, noise);
    rows->bits = _mm256_slli_epi32(rows->bits, 8);
  }
  transpose(steps, by_row);
  for (int32_t o = 0; o < INSITU_BLOCK / 2; o++) {
    const __m128i low = _mm256_castsi256_si128(by_row[o]);
    const __m128i high = _mm256_extracti128_si256(by_row[o], 1);
    if (rows->nonzero[o])
      step_weights(inputs, low, w + o * row + k);
    if (rows->nonzero[o + 4])
      step_weights(inputs, high, w + (o + 4) * row + k);
  }
}

/* The outputs whose window has its place k on the map. */
static inline insitu_span_t outputs_of(int32_t k, int32_t pad, int32_t stride, int32_t inputs,
                                       int32_t outputs) {
  const int32_t offset = k - pad;
  insitu_span_t span = {offset < 0 ? (-offset + stride - 1) / stride : 0, 0};
  if (inputs > offset)
    span.end = insitu_min(outputs, (inputs - offset - 1) / stride + 1);
  return span;
}

/* The part [k, k + inputs) of one line of the window, on an output line; its elements are those
 * from `offset` on of a line of x. `some`: the columns where any is on the map; `all`: where all.
 */
typedef struct {
  int32_t inputs, offset;
  insitu_span_t some, all;
} insitu_piece_t;

static insitu_piece_t piece_at(const insitu_conv_params_t *p, int32_t k) {
  const int32_t channels = p->in_channels, line = p->kernel_width * channels;
  const int32_t inputs = insitu_min(line - k % line, INSITU_BLOCK);
  const int32_t left = k % line / channels, right = (k % line + inputs - 1) / channels;
  const insitu_span_t of_left =
      outputs_of(left, p->pad_left, p->stride_width, p->in_width, p->out_width);
  const insitu_span_t of_right =
      outputs_of(right, p->pad_left, p->stride_width, p->in_width, p->out_width);
  insitu_piece_t piece = {inputs, k % line - p->pad_left * channels, of_left, of_left};
  piece.some.first = insitu_min(of_right.first, of_left.first);
  piece.some.end = insitu_max(of_left.end, of_right.end);
  piece.all.first = insitu_min(of_left.first, piece.some.end);
  piece.all.end = insitu_max(of_right.end, piece.all.first);
  return piece;
}

/* tile[i][o] += the sum over the outputs of one line; dy and x point to the beginnings of lines. */
static void add_piece(const insitu_conv_params_t *p, insitu_piece_t piece, int32_t zero,
                      insitu_channels_t dy, insitu_channels_t x, __m256i *tile) {
  const int32_t width = p->in_width * p->in_channels;
  const insitu_channels_t errors = dy;
  x.at += piece.offset;
  for (int32_t ox = piece.some.first; ox < piece.some.end; ox++) {
    if (ox == piece.all.first)
      ox = piece.all.end;
    if (ox >= piece.some.end)
      break;
    const int32_t at = piece.offset + ox * x.step;
    add_border(piece.inputs, zero, load_8(errors.at + ox * dy.step, dy.end), x.at + ox * x.step,
               insitu_max(-at, 0), insitu_min(width - at, piece.inputs), tile);
  }
  dy.at += piece.all.first * dy.step;
  x.at += piece.all.first * x.step;
  add_line(piece.all.end - piece.all.first, piece.inputs, _mm256_set1_epi16((int16_t)zero), dy, x,
           tile);
}

/* Gradient and step of the rows of weights that begin at w; dy and x point to their maps. */
static void update_rows(const insitu_conv_params_t *p, int32_t zero, insitu_channels_t dy,
                        insitu_channels_t x, insitu_rows_t *rows, int8_t *w) {
  const int32_t row = row_size(p), line = p->kernel_width * p->in_channels;
  const insitu_channels_t map_dy = dy, map_x = x;
  for (int32_t k = 0; k < row;) {
    const insitu_piece_t piece = piece_at(p, k);
    const int32_t ky = k / line - p->pad_top;
    const insitu_span_t lines =
        outputs_of(k / line, p->pad_top, p->stride_height, p->in_height, p->out_height);
    __m256i tile[INSITU_BLOCK];
    for (int32_t j = 0; j < INSITU_BLOCK; j++)
      tile[j] = _mm256_setzero_si256();
    for (int32_t oy = lines.first; oy < lines.end; oy++) {
      dy.at = map_dy.at + oy * p->out_width * dy.step;
      x.at = map_x.at + (oy * p->stride_height + ky) * p->in_width * p->in_channels;
      add_piece(p, piece, zero, dy, x, tile);
    }
    step_tile(piece.inputs, k, row, tile, rows, w);
    k += piece.inputs;
  }
}

/* errors[o] = sum over the map of dy[., o], nonzero[o] = whether any is not zero, o < 8. */
static void sum_errors(int32_t positions, insitu_channels_t dy, int32_t *errors, int32_t *nonzero) {
  __m256i sum = _mm256_setzero_si256(), any = sum;
  for (int32_t n = 0; n < positions; n++) {
    const __m256i e = _mm256_cvtepi8_epi32(load_8(dy.at + n * dy.step, dy.end));
    sum = _mm256_add_epi32(sum, e);
    any = _mm256_or_si256(any, e);
  }
  store(errors, sum);
  store(nonzero, any);
}

#endif
