/* Which rows of a layer learn from a sample, in float. Twin: insitu/ops/updates/selected_rows.py.
 */
#include <string.h>

#include "insitu_fixed_point.h"
#include "insitu_kernels.h"

/* sums[rows] = sum over positions of |dy|, in order; returns their total. */
static float sum_rows(const insitu_select_rows_params_t *p, const float *dy, float *sums) {
  float total = 0.0f;
  for (int32_t row = 0; row < p->rows; row++) {
    float sum = 0.0f;
    for (int32_t position = 0; position < p->positions; position++) {
      const float e = dy[position * p->rows + row];
      sum = sum + (e < 0.0f ? -e : e);
    }
    sums[row] = sum;
    total = total + sum;
  }
  return total;
}

/* min(max(floor((total / largest (most - least) + least) rows), 1), rows) */
static int32_t rows_to_keep(const insitu_select_rows_params_t *p, float total, float largest) {
  const float spread = (float)(p->most - p->least) / 65536.0f;
  const float share = total / largest * spread + (float)p->least / 65536.0f;
  return insitu_clamp((int32_t)(share * (float)p->rows), 1, p->rows);
}

/* How many rows come before one: larger, or equal and earlier. */
static int32_t rank_of(int32_t rows, const float *sums, int32_t row) {
  int32_t rank = 0;
  for (int32_t other = 0; other < rows; other++) {
    rank += sums[other] > sums[row] || (sums[other] == sums[row] && other < row);
  }
  return rank;
}

static void clear_row(int32_t positions, int32_t rows, float *dy) {
  for (; positions > 0; positions--, dy += rows) {
    *dy = 0.0f;
  }
}

void insitu_select_rows_f32(const insitu_select_rows_params_t *p, const float *dy, void *scratch,
                            float *largest, float *selected) {
  float *sums = scratch;
  const float total = sum_rows(p, dy, sums);
  if (selected != dy) {
    memcpy(selected, dy, (size_t)(p->positions * p->rows) * sizeof *dy);
  }
  if (!(total > 0.0f && total <= INSITU_NO_BOUND)) {
    return;
  }
  if (!(total <= *largest)) {
    *largest = total;
  }
  const int32_t k = rows_to_keep(p, total, *largest);
  for (int32_t row = 0; row < p->rows; row++) {
    if (rank_of(p->rows, sums, row) >= k) {
      clear_row(p->positions, p->rows, selected + row);
    }
  }
}

void insitu_keep_rows_f32(const insitu_keep_rows_params_t *p, const float *dy, float *kept) {
  for (int32_t position = 0; position < p->positions; position++) {
    for (int32_t row = 0; row < p->rows; row++, dy++, kept++) {
      *kept = row >= p->first && row < p->end ? *dy : 0.0f;
    }
  }
}
