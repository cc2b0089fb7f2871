/* Convolution with AVX2: bit for bit what src/conv/conv.c computes, which is the definition. */
#if !defined(__AVX2__)
#include <conv.c> /* the portable source in the model's folder */
#else
#include "conv_update.h"
#include "insitu_kernels.h"
#include "microkernels.h"

/* The kernel's places that lie on the map when the window starts at `start`. */
static inline insitu_span_t span_on_map(int32_t start, int32_t kernel, int32_t size) {
  insitu_span_t span = {insitu_min(insitu_max(0, -start), kernel),
                        insitu_max(insitu_min(kernel, size - start), 0)};
  return span;
}

/* patch[k] = x[k] - zero, k < size */
static inline void centre(int32_t size, int32_t zero, const int8_t *x, int16_t *patch) {
  const __m256i zeros = _mm256_set1_epi16((int16_t)zero);
  int32_t k = 0;
  for (; k + 16 <= size; k += 16) {
    store(patch + k, _mm256_sub_epi16(load_s8(x + k), zeros));
  }
  for (; k < size; k++)
    patch[k] = (int16_t)(x[k] - zero);
}

/* patch[ky, kx, i] = x[iy, ix, i] - zero, 0 outside the map. */
static void gather_patch(const insitu_conv_params_t *p, int32_t zero, const int8_t *x, int32_t oy,
                         int32_t ox, int16_t *patch) {
  const int32_t channels = p->in_channels, line = p->kernel_width * channels;
  const int32_t start_x = ox * p->stride_width - p->pad_left;
  const insitu_span_t columns = span_on_map(start_x, p->kernel_width, p->in_width);
  const int32_t first = columns.first * channels, end = columns.end * channels;
  for (int32_t ky = 0; ky < p->kernel_height; ky++, patch += line) {
    const int32_t iy = oy * p->stride_height - p->pad_top + ky;
    const int32_t inside = iy >= 0 && iy < p->in_height && first < end;
    if (!inside || end - first < line)
      memset(patch, 0, (size_t)line * sizeof *patch);
    if (!inside)
      continue;
    centre(end - first, zero, x + (iy * p->in_width + start_x) * channels + first, patch + first);
  }
}

/* v[j] = sum of w[j, k] patch[k], k < size, for the rows j < 8 of w[., size]; a patch shorter than
 * 16 has zeros behind it. */
static inline __m256i dot_rows(int32_t size, const int8_t *w, const int16_t *patch) {
  static const int16_t mask[32] = {0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,
                                   -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};
  __m256i acc[INSITU_BLOCK];
  int32_t k = 0;
  for (int32_t j = 0; j < INSITU_BLOCK; j++)
    acc[j] = _mm256_setzero_si256();
  for (; k + 16 <= size; k += 16) {
    const __m256i block = load(patch + k);
    for (int32_t j = 0; j < INSITU_BLOCK; j++) {
      acc[j] = add_pairs(acc[j], block, load_s8(w + j * size + k));
    }
  }
  if (size < 16) {
    const __m256i block = load(patch);
    for (int32_t j = 0; j < INSITU_BLOCK; j++) {
      const __m256i row = load_before(w + j * size, w + INSITU_BLOCK * size);
      acc[j] = add_pairs(acc[j], block, row);
    }
  } else if (k < size) { /* the last 16, of which the first are done already */
    const __m256i block = _mm256_and_si256(load(patch + size - 16), load(mask + size - k));
    for (int32_t j = 0; j < INSITU_BLOCK; j++) {
      acc[j] = add_pairs(acc[j], block, load_s8(w + j * size + size - 16));
    }
  }
  return sum_each(acc);
}

static int32_t dot_row(int32_t size, const int8_t *restrict w, const int16_t *restrict patch) {
  int32_t sum = 0;
  for (int32_t k = 0; k < size; k++)
    sum += w[k] * patch[k];
  return sum;
}

/* The part of a layer's call that is the same for all positions. */
typedef struct {
  int32_t row, channels, zero, low, high, shift;
  const int8_t *w;
  const int32_t *bias, *multiplier;
} insitu_layer_t;

/* y[channels] of one patch. */
static inline void apply(const insitu_layer_t *layer, const int16_t *patch, int8_t *y,
                         insitu_extremes_t *seen) {
  const __m256i zeros = _mm256_set1_epi32(layer->zero);
  int32_t o = 0;
  for (; o + INSITU_BLOCK <= layer->channels; o += INSITU_BLOCK) {
    const __m256i sum = dot_rows(layer->row, layer->w + o * layer->row, patch);
    const __m256i acc = _mm256_add_epi32(sum, load(layer->bias + o));
    const __m256i v = rescale_block(acc, load(layer->multiplier + o), layer->shift);
    observe(seen, v);
    store_clamped(y + o, _mm256_add_epi32(v, zeros), layer->low, layer->high);
  }
  for (; o < layer->channels; o++) {
    const int32_t dot = dot_row(layer->row, layer->w + o * layer->row, patch);
    const int32_t v = insitu_rescale(layer->bias[o] + dot, layer->multiplier[o], layer->shift);
    observe(seen, _mm256_set1_epi32(v));
    y[o] = (int8_t)insitu_clamp(v + layer->zero, layer->low, layer->high);
  }
}

#define INSITU_PATCHES 32 /* short patches that are gathered before the first is read again */

void insitu_conv_s8(const insitu_conv_params_t *p, const insitu_qparams_t *x_q,
                    const insitu_qparams_t *y_q, const int8_t *x, const int8_t *w,
                    const int32_t *bias, const int32_t *multiplier, const int32_t *shift,
                    void *scratch, int8_t *y, int32_t *observed) {
  const insitu_layer_t layer = {
      row_size(p), p->out_channels, y_q->zero_point, y_q->clamp_min, y_q->clamp_max, shift[0], w,
      bias,        multiplier};
  const int32_t positions = p->out_height * p->out_width;
  const int32_t at_once = layer.row < 16 ? INSITU_PATCHES : 1;
  int16_t patches[INSITU_PATCHES][16] = {{0}};
  insitu_extremes_t seen = {_mm256_setzero_si256(), _mm256_setzero_si256()};
  for (int32_t n = 0; n < positions; n += at_once) {
    const int32_t count = insitu_min(positions - n, at_once);
    for (int32_t k = 0; k < count; k++) {
      int16_t *const patch = at_once == 1 ? scratch : patches[k];
      const int32_t oy = (n + k) / p->out_width, ox = (n + k) % p->out_width;
      gather_patch(p, x_q->zero_point, x, oy, ox, patch);
    }
    for (int32_t k = 0; k < count; k++, y += layer.channels) {
      apply(&layer, at_once == 1 ? scratch : patches[k], y, &seen);
    }
  }
  store_extremes(&seen, observed);
}

#define INSITU_ERRORS 64 /* expanded errors at once */

/* sum[i] += sum over o of w[o, ky, kx, i] e'[oy, ox, o], for one place of the window; row[j] is
 * where the j-th row of weights begins. */
static void add_tap(const insitu_conv_grad_input_params_t *g, const int8_t *dy, const int8_t *w,
                    const uint16_t *rel, const int32_t *row, int32_t *sum) {
  int16_t e[INSITU_ERRORS];
  for (int32_t o = 0; o < g->shape.out_channels; o += INSITU_ERRORS) {
    const int32_t rows = insitu_min(g->shape.out_channels - o, INSITU_ERRORS);
    if (!expand_errors(rows, g->drop, dy + o, rel + o, e))
      continue;
    add_rows(g->shape.in_channels, rows, e, row, w + o * row_size(&g->shape), sum);
  }
}

/* dx[i] = sat(rescale(sum[i])), i < channels */
static void store_errors(const insitu_conv_grad_input_params_t *g, const int32_t *sum, int8_t *dx) {
  const __m256i multiplier = _mm256_set1_epi32(g->multiplier);
  int32_t i = 0;
  for (; i + INSITU_BLOCK <= g->shape.in_channels; i += INSITU_BLOCK) {
    const __m256i v = rescale_block(load(sum + i), multiplier, g->shift);
    store_clamped(dx + i, v, -127, 127);
  }
  for (; i < g->shape.in_channels; i++) {
    const int32_t v = insitu_rescale(sum[i], g->multiplier, g->shift);
    dx[i] = (int8_t)insitu_clamp(v, -127, 127);
  }
}

void insitu_conv_grad_input_s8(const insitu_conv_grad_input_params_t *g, const int8_t *dy,
                               const int8_t *w, const uint16_t *rel, void *scratch, int8_t *dx) {
  const insitu_conv_params_t *p = &g->shape;
  const int32_t channels = p->in_channels;
  int32_t *sum = scratch, row[INSITU_ERRORS];
  for (int32_t j = 0; j < INSITU_ERRORS; j++)
    row[j] = j * row_size(p);
  for (int32_t iy = 0; iy < p->in_height; iy++) {
    for (int32_t ix = 0; ix < p->in_width; ix++, dx += channels) {
      memset(sum, 0, (size_t)channels * sizeof *sum);
      for (int32_t ky = 0; ky < p->kernel_height; ky++) {
        const int32_t sy = iy + p->pad_top - ky, oy = sy / p->stride_height;
        if (sy < 0 || sy % p->stride_height != 0 || oy >= p->out_height)
          continue;
        for (int32_t kx = 0; kx < p->kernel_width; kx++) {
          const int32_t sx = ix + p->pad_left - kx, ox = sx / p->stride_width;
          if (sx < 0 || sx % p->stride_width != 0 || ox >= p->out_width)
            continue;
          add_tap(g, dy + (oy * p->out_width + ox) * p->out_channels,
                  w + (ky * p->kernel_width + kx) * channels, rel, row, sum);
        }
      }
      store_errors(g, sum, dx);
    }
  }
}

int32_t insitu_conv_update_s8(const insitu_conv_params_t *p, const insitu_qparams_t *dy_q,
                              const insitu_qparams_t *x_q, const int8_t *dy, const int8_t *x,
                              const float *row_scale, const float *rate, void *scratch,
                              uint32_t *generator, int32_t *bias, int8_t *w) {
  const float factor = rate[0] * dy_q->scale * x_q->scale * 4294967296.0f;
  const int32_t row = row_size(p), positions = p->out_height * p->out_width;
  const int8_t *const x_end = x + p->in_height * p->in_width * p->in_channels;
  const insitu_channels_t map = {x, x_end, p->stride_width * p->in_channels};
  int32_t saturated = 0;
  uint32_t state = *generator;
  (void)scratch;
  for (int32_t first = 0; first < p->out_channels; first += INSITU_BLOCK) {
    const insitu_channels_t errors_at = {dy + first, dy + positions * p->out_channels,
                                         p->out_channels};
    int32_t errors[INSITU_BLOCK], multiplier[INSITU_BLOCK] = {0};
    uint32_t states[INSITU_BLOCK] = {0};
    insitu_rows_t rows;
    sum_errors(positions, errors_at, errors, rows.nonzero);
    for (int32_t j = 0, o = first; j < INSITU_BLOCK; j++, o++) {
      rows.nonzero[j] = rows.nonzero[j] && o < p->out_channels;
      if (!rows.nonzero[j])
        continue;
      multiplier[j] = insitu_round_clamp(factor / row_scale[o], 0, INT32_MAX);
      saturated += multiplier[j] == INT32_MAX;
      states[j] = state;
      state = insitu_draw_ahead(state, (row + 3) / 4);
      bias[o] = insitu_update_bias(bias[o], errors[j], rate[0], dy_q->scale);
    }
    rows.multiplier = load(multiplier);
    rows.state = rows.bits = load(states);
    update_rows(p, x_q->zero_point, errors_at, map, &rows, w + first * row);
  }
  *generator = state;
  return saturated;
}
#endif
