/* Linear layers with AVX2: bit for bit what src/linear/linear.c computes, which is the definition.
 */
#if !defined(__AVX2__)
#include <linear.c> /* the portable source in the model's folder */
#else
#include "insitu_kernels.h"
#include "microkernels.h"

/* v[j] = sum of w[j, i] (x[i] - zero), i < size, for the rows j < 8 of w[., size] */
static __m256i dot_rows(int32_t size, int32_t zero, const int8_t *w, const int8_t *x) {
  const __m256i zeros = _mm256_set1_epi16((int16_t)zero);
  __m256i acc[INSITU_BLOCK];
  int32_t i = 0;
  for (int32_t j = 0; j < INSITU_BLOCK; j++)
    acc[j] = _mm256_setzero_si256();
  for (; i + 16 <= size; i += 16) {
    const __m256i centred = _mm256_sub_epi16(load_s8(x + i), zeros);
    for (int32_t j = 0; j < INSITU_BLOCK; j++) {
      acc[j] = add_pairs(acc[j], centred, load_s8(w + j * size + i));
    }
  }
  if (i < size) { /* what follows a row of w is multiplied by zeros */
    int16_t tail[16] = {0};
    for (int32_t k = i; k < size; k++)
      tail[k - i] = (int16_t)(x[k] - zero);
    const __m256i centred = load(tail);
    for (int32_t j = 0; j < INSITU_BLOCK; j++) {
      const __m256i row = load_before(w + j * size + i, w + INSITU_BLOCK * size);
      acc[j] = add_pairs(acc[j], centred, row);
    }
  }
  return sum_each(acc);
}

/* sum of w[i] (x[i] - zero) */
static int32_t dot_row(int32_t size, int32_t zero, const int8_t *restrict w,
                       const int8_t *restrict x) {
  int32_t sum = 0;
  for (int32_t i = 0; i < size; i++)
    sum += w[i] * (int16_t)(x[i] - zero);
  return sum;
}

void insitu_linear_s8(const insitu_linear_params_t *p, const insitu_qparams_t *x_q,
                      const insitu_qparams_t *y_q, const int8_t *x, const int8_t *w,
                      const int32_t *bias, const int32_t *multiplier, const int32_t *shift,
                      void *scratch, int8_t *y, int32_t *observed) {
  const int32_t size = p->in_features, zero = y_q->zero_point;
  insitu_extremes_t seen = {_mm256_setzero_si256(), _mm256_setzero_si256()};
  int32_t o = 0;
  (void)scratch;
  for (; o + INSITU_BLOCK <= p->out_features; o += INSITU_BLOCK) {
    const __m256i sum = dot_rows(size, x_q->zero_point, w + o * size, x);
    const __m256i acc = _mm256_add_epi32(sum, load(bias + o));
    const __m256i v = rescale_block(acc, load(multiplier + o), shift[0]);
    observe(&seen, v);
    store_clamped(y + o, _mm256_add_epi32(v, _mm256_set1_epi32(zero)), y_q->clamp_min,
                  y_q->clamp_max);
  }
  for (; o < p->out_features; o++) {
    const int32_t acc = bias[o] + dot_row(size, x_q->zero_point, w + o * size, x);
    const int32_t v = insitu_rescale(acc, multiplier[o], shift[0]);
    observe(&seen, _mm256_set1_epi32(v));
    y[o] = (int8_t)insitu_clamp(v + zero, y_q->clamp_min, y_q->clamp_max);
  }
  store_extremes(&seen, observed);
}

void insitu_logits_s8(const insitu_linear_params_t *p, const insitu_qparams_t *x_q, const int8_t *x,
                      const int8_t *w, const int32_t *bias, const float *row_scale, void *scratch,
                      float *y) {
  const int32_t size = p->in_features;
  (void)scratch;
  for (int32_t o = 0; o < p->out_features; o++) {
    const int32_t acc = dot_row(size, x_q->zero_point, w + o * size, x);
    const float unit = x_q->scale * row_scale[o];
    const float real_bias = (float)bias[o] * INSITU_BIAS_SCALE;
    y[o] = (float)acc * unit + real_bias;
  }
}

#define INSITU_ROWS 64    /* rows whose errors are expanded at once */
#define INSITU_COLUMNS 64 /* columns that are summed at a time */

/* sum[i] += sum over o of e'[o] w[o, i] for the rows [first, end) whose error is not zero */
static void add_errors(const insitu_linear_grad_input_params_t *g, int32_t first, int32_t end,
                       int32_t size, const int8_t *dy, const int8_t *w, const uint16_t *rel,
                       int32_t *sum) {
  int16_t e[INSITU_ROWS];
  int32_t row[INSITU_ROWS], count = 0;
  for (int32_t o = first; o < end; o++) {
    if (dy[o] == 0)
      continue;
    e[count] = (int16_t)insitu_expand_error(dy[o], rel[o], g->drop);
    row[count++] = o * g->shape.in_features;
  }
  if (count == 0)
    return;
  add_rows(size, count, e, row, w, sum);
}

void insitu_linear_grad_input_s8(const insitu_linear_grad_input_params_t *g, const int8_t *dy,
                                 const int8_t *w, const uint16_t *rel, void *scratch, int8_t *dx) {
  const int32_t columns = g->shape.in_features, rows = g->shape.out_features;
  const __m256i multiplier = _mm256_set1_epi32(g->multiplier);
  int32_t sum[INSITU_COLUMNS];
  (void)scratch;
  for (int32_t start = 0; start < columns; start += INSITU_COLUMNS) {
    const int32_t size = insitu_min(columns - start, INSITU_COLUMNS);
    memset(sum, 0, (size_t)size * sizeof *sum);
    for (int32_t o = 0; o < rows; o += INSITU_ROWS) {
      add_errors(g, o, insitu_min(o + INSITU_ROWS, rows), size, dy, w + start, rel, sum);
    }
    int32_t i = 0;
    for (; i + INSITU_BLOCK <= size; i += INSITU_BLOCK) {
      const __m256i v = rescale_block(load(sum + i), multiplier, g->shift);
      store_clamped(dx + start + i, v, -127, 127);
    }
    for (; i < size; i++) {
      const int32_t v = insitu_rescale(sum[i], g->multiplier, g->shift);
      dx[start + i] = (int8_t)insitu_clamp(v, -127, 127);
    }
  }
}

/* (kappa x + noise) >> 16 of int16, noise unsigned */
static inline __m256i step(__m256i kappa, __m256i x, __m256i noise) {
  const __m256i low = _mm256_mullo_epi16(kappa, x);
  const __m256i sum = _mm256_add_epi16(low, noise);
  const __m256i stays = _mm256_cmpeq_epi16(_mm256_max_epu16(sum, low), sum); /* -1: no carry */
  const __m256i carry = _mm256_add_epi16(stays, _mm256_set1_epi16(1));
  return _mm256_add_epi16(_mm256_mulhi_epi16(kappa, x), carry);
}

/* int16 of the low or high halves of both lanes of int8 */
static inline __m256i widen_low(__m256i v) {
  return _mm256_srai_epi16(_mm256_unpacklo_epi8(v, v), 8);
}

static inline __m256i widen_high(__m256i v) {
  return _mm256_srai_epi16(_mm256_unpackhi_epi8(v, v), 8);
}

#define INSITU_STEP 32 /* weights that 8 draws serve */

/* w[i] = sat127(w[i] - ((kappa (x[i] - zero) + r[i] 2^8 + 2^7) >> 16)), i < 32; draws high byte
 * first */
static inline void step_block(__m256i kappa, __m256i zeros, __m256i draws, const int8_t *x,
                              int8_t *w) {
  const __m256i half = _mm256_set1_epi8(INT8_MIN);
  const __m256i reversed = _mm256_setr_epi8(3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12, 3,
                                            2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12);
  const __m256i bytes = _mm256_shuffle_epi8(draws, reversed);
  const __m256i xs = load(x), ws = load(w);
  const __m256i low =
      step(kappa, _mm256_sub_epi16(widen_low(xs), zeros), _mm256_unpacklo_epi8(half, bytes));
  const __m256i high =
      step(kappa, _mm256_sub_epi16(widen_high(xs), zeros), _mm256_unpackhi_epi8(half, bytes));
  const __m256i stepped = _mm256_packs_epi16(_mm256_sub_epi16(widen_low(ws), low),
                                             _mm256_sub_epi16(widen_high(ws), high));
  store(w, _mm256_max_epi8(stepped, _mm256_set1_epi8(-127)));
}

/* One row of weights; returns the generator after its draws. */
static uint32_t step_row(int32_t size, int32_t kappa, int32_t zero, uint32_t state, const int8_t *x,
                         int8_t *w) {
  const __m256i factor = _mm256_set1_epi16((int16_t)kappa);
  const __m256i zeros = _mm256_set1_epi16((int16_t)zero);
  int32_t i = 0;
  for (; i + INSITU_STEP <= size; i += INSITU_STEP) {
    const __m256i draws = next_draws(state);
    step_block(factor, zeros, draws, x + i, w + i);
    state = (uint32_t)_mm256_extract_epi32(draws, 7);
  }
  if (i < size) {
    const size_t tail = (size_t)(size - i);
    int8_t last_x[INSITU_STEP] = {0}, last_w[INSITU_STEP] = {0};
    memcpy(last_x, x + i, tail);
    memcpy(last_w, w + i, tail);
    step_block(factor, zeros, next_draws(state), last_x, last_w);
    memcpy(w + i, last_w, tail);
    state = insitu_draw_ahead(state, (size - i + 3) / 4);
  }
  return state;
}

int32_t insitu_linear_update_s8(const insitu_linear_params_t *p, const insitu_qparams_t *dy_q,
                                const insitu_qparams_t *x_q, const int8_t *dy, const int8_t *x,
                                const float *row_scale, const float *rate, void *scratch,
                                uint32_t *generator, int32_t *bias, int8_t *w) {
  const float factor = rate[0] * dy_q->scale * x_q->scale * 65536.0f;
  int32_t saturated = 0;
  uint32_t state = *generator;
  (void)scratch;
  for (int32_t o = 0; o < p->out_features; o++, w += p->in_features) {
    if (dy[o] == 0)
      continue;
    const int32_t kappa =
        insitu_round_clamp((float)dy[o] * factor / row_scale[o], -INT16_MAX, INT16_MAX);
    saturated += kappa == INT16_MAX || kappa == -INT16_MAX;
    state = step_row(p->in_features, kappa, x_q->zero_point, state, x, w);
    bias[o] = insitu_update_bias(bias[o], dy[o], rate[0], dy_q->scale);
  }
  *generator = state;
  return saturated;
}
#endif
