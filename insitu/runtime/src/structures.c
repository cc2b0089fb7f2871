/* Which rows of a layer learn from a sample. Twin: insitu/ops/structures.py. */
#include <string.h>

#include "insitu_fixed_point.h"
#include "insitu_kernels.h"

/* sums[rows] = sum over positions of |dy|; returns their total. */
static int32_t insitu_sum_rows(const insitu_select_rows_params_t *p, const int8_t *dy,
                               int32_t *sums) {
  int32_t total = 0;
  memset(sums, 0, (size_t)p->rows * sizeof *sums);
  for (int32_t position = 0; position < p->positions; position++, dy += p->rows) {
    for (int32_t row = 0; row < p->rows; row++) {
      if (dy[row] == 0)
        continue;
      sums[row] += dy[row] < 0 ? -dy[row] : dy[row];
    }
  }
  for (int32_t row = 0; row < p->rows; row++)
    total += sums[row];
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

void insitu_keep_rows_s8(const insitu_keep_rows_params_t *p, const int8_t *dy, int8_t *kept) {
  const size_t before = (size_t)p->first, behind = (size_t)(p->rows - p->end);
  if (kept != dy)
    memcpy(kept, dy, (size_t)(p->positions * p->rows));
  for (int32_t position = 0; position < p->positions; position++, kept += p->rows) {
    memset(kept, 0, before);
    memset(kept + p->end, 0, behind);
  }
}
