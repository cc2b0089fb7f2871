/* Which rows of a layer learn from a sample, in integers. Twin: insitu/ops/structures.py. */
#include <string.h>

#include "insitu_fixed_point.h"
#include "insitu_kernels.h"

/* The sum over positions of |dy| of a row. */
static int32_t insitu_sum_row(int32_t positions, int32_t rows, const int8_t *dy) {
  int32_t sum = 0;
  for (; positions > 0; positions--, dy += rows)
    sum += *dy < 0 ? -*dy : *dy;
  return sum;
}

/* sums[rows] of all rows; returns their total. */
static int32_t insitu_sum_rows(const insitu_select_rows_params_t *p, const int8_t *dy,
                               int32_t *sums) {
  int32_t total = 0;
  for (int32_t row = 0; row < p->rows; row++) {
    sums[row] = insitu_sum_row(p->positions, p->rows, dy + row);
    total += sums[row];
  }
  return total;
}

/* max(floor((least + total / largest (most - least)) rows), 1), without a division. */
static int32_t insitu_rows_to_keep(const insitu_select_rows_params_t *p, int32_t total,
                                   int32_t largest) {
  const uint64_t share = (uint64_t)(uint32_t)p->least * (uint32_t)largest +
                         (uint64_t)(uint32_t)(p->most - p->least) * (uint32_t)total;
  const uint64_t rows = share * (uint32_t)p->rows; /* below 2^47 2^16 */
  const uint64_t unit = (uint64_t)(uint32_t)largest << 16;
  int32_t k = 1;
  for (uint64_t next = 2 * unit; next <= rows; next += unit)
    k++;
  return k;
}

/* The k-th largest of sums[rows], bit by bit: the largest value that k of them reach. */
static int32_t insitu_kth_largest(int32_t rows, const int32_t *sums, int32_t k) {
  int32_t value = 0, highest = 0, bit = 1;
  for (int32_t row = 0; row < rows; row++)
    highest = insitu_max(highest, sums[row]);
  while (bit <= highest / 2)
    bit *= 2;
  for (; bit > 0; bit /= 2) {
    int32_t reached = 0;
    for (int32_t row = 0; row < rows; row++)
      reached += sums[row] >= value + bit;
    if (reached >= k)
      value += bit;
  }
  return value;
}

static void insitu_clear_row(int32_t positions, int32_t rows, int8_t *dy) {
  for (int32_t position = 0; position < positions; position++, dy += rows)
    *dy = 0;
}

void insitu_select_rows_s8(const insitu_select_rows_params_t *p, const int8_t *dy, void *scratch,
                           int32_t *largest, int8_t *selected) {
  int32_t *sums = scratch;
  const int32_t total = insitu_sum_rows(p, dy, sums);
  if (selected != dy)
    memcpy(selected, dy, (size_t)(p->positions * p->rows));
  if (total == 0)
    return;
  *largest = insitu_max(*largest, total);
  const int32_t k = insitu_rows_to_keep(p, total, *largest);
  const int32_t last = insitu_kth_largest(p->rows, sums, k);
  int32_t equal = k; /* how many of the rows whose sum is `last` stay */
  for (int32_t row = 0; row < p->rows; row++)
    equal -= sums[row] > last;
  for (int32_t row = 0; row < p->rows; row++) {
    if (sums[row] > last || sums[row] == 0)
      continue;
    if (sums[row] == last && equal-- > 0)
      continue;
    insitu_clear_row(p->positions, p->rows, selected + row);
  }
}

/* round(dy unit / sum), halves away from zero, held to [-127, 127]. */
static void insitu_enlarge_row(int32_t positions, int32_t rows, int32_t unit, int32_t sum,
                               int8_t *dy) {
  for (; positions > 0; positions--, dy += rows) {
    if (*dy == 0) {
      continue;
    }
    const int32_t size = *dy < 0 ? -*dy : *dy;
    const int32_t enlarged = insitu_min((size * unit + sum / 2) / sum, 127);
    *dy = (int8_t)(*dy < 0 ? -enlarged : enlarged);
  }
}

void insitu_sample_rows_s8(const insitu_select_rows_params_t *p, const int8_t *dy, void *scratch,
                           int32_t *largest, uint32_t *generator, int8_t *selected) {
  int32_t *sums = scratch;
  const int32_t total = insitu_sum_rows(p, dy, sums);
  if (selected != dy) {
    memcpy(selected, dy, (size_t)(p->positions * p->rows));
  }
  if (total == 0) {
    return;
  }
  *largest = insitu_max(*largest, total);
  const int32_t k = insitu_rows_to_keep(p, total, *largest);
  const int32_t unit = (total - 1) / k + 1;
  *generator = insitu_draw(*generator);
  int32_t place = (int32_t)(((uint64_t)*generator * (uint32_t)unit) >> 32);
  for (int32_t row = 0; row < p->rows; row++) {
    if (sums[row] == 0 || sums[row] >= unit) {
      continue;
    }
    place += sums[row];
    if (place < unit) {
      insitu_clear_row(p->positions, p->rows, selected + row);
      continue;
    }
    place -= unit;
    insitu_enlarge_row(p->positions, p->rows, unit, sums[row], selected + row);
  }
}

void insitu_keep_rows_s8(const insitu_keep_rows_params_t *p, const int8_t *dy, int8_t *kept) {
  const size_t before = (size_t)p->first, behind = (size_t)(p->rows - p->end);
  if (kept != dy)
    memcpy(kept, dy, (size_t)(p->positions * p->rows));
  for (int32_t position = 0; position < p->positions; position++, kept += p->rows) {
    memset(kept, 0, before);
    memset(kept + p->end, 0, behind);
  }
}
