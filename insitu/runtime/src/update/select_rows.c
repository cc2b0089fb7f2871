/* Which rows of a layer learn from a sample, in integers. Twin:
 * insitu/ops/updates/selected_rows.py. */
#include <string.h>

#include "insitu_error_words.h"
#include "insitu_kernels.h"

enum { BITS = 6, BINS = 1 << BITS }; /* of a sum that are looked at in one pass */

/* The sum over positions of |dy| of a row. */
static int32_t sum_row(int32_t positions, int32_t rows, const int8_t *dy) {
  int32_t sum = 0;
  for (; positions > 0; positions--, dy += rows)
    sum += *dy < 0 ? -*dy : *dy;
  return sum;
}

/* sums[rows] of all rows, and the highest; returns their total. */
static int32_t sum_rows(const insitu_select_rows_params_t *p, const int8_t *dy, int32_t *sums,
                        int32_t *highest) {
  const int32_t rows = p->rows, positions = p->positions;
  int32_t total = 0, most = 0, row = 0;
  for (; row + INSITU_WORD <= rows; row += INSITU_WORD) {
    sum_error_word(insitu_min(positions, INSITU_SUMMED), rows, dy + row, sums + row);
    for (int32_t n = INSITU_SUMMED; n < positions; n += INSITU_SUMMED) {
      int32_t more[INSITU_WORD];
      sum_error_word(insitu_min(positions - n, INSITU_SUMMED), rows, dy + n * rows + row, more);
      for (int32_t j = 0; j < INSITU_WORD; j++)
        sums[row + j] += more[j];
    }
  }
  for (; row < rows; row++)
    sums[row] = sum_row(positions, rows, dy + row);
  for (row = 0; row < rows; row++) {
    total += sums[row];
    most = insitu_max(most, sums[row]);
  }
  *highest = most;
  return total;
}

/* max(floor((least + total / largest (most - least)) rows), 1), without a division. */
static int32_t rows_to_keep(const insitu_select_rows_params_t *p, int32_t total, int32_t largest) {
  const uint64_t share = (uint64_t)(uint32_t)p->least * (uint32_t)largest +
                         (uint64_t)(uint32_t)(p->most - p->least) * (uint32_t)total;
  const uint64_t rows = share * (uint32_t)p->rows; /* below 2^47 2^16 */
  const uint64_t unit = (uint64_t)(uint32_t)largest << 16;
  int32_t k = 1;
  for (uint64_t next = 2 * unit; next <= rows; next += unit)
    k++;
  return k;
}

/* The k largest of some sums: all above `least`, and of those equal to it the first `equal`. */
typedef struct {
  int32_t least, equal;
} insitu_largest_t;

/* Of sums[rows], of which none is above `highest`, counted by their highest bits, then those in
 * question by the next. */
static insitu_largest_t find_largest(int32_t rows, const int32_t *sums, int32_t k,
                                     int32_t highest) {
  uint32_t low = 0, shift = 0;
  while (highest >> shift >= BINS)
    shift++;
  uint32_t bins = ((uint32_t)highest >> shift) + 1;
  for (;;) {
    uint16_t count[BINS] = {0};
    for (int32_t row = 0; row < rows; row++) {
      const uint32_t bin = ((uint32_t)sums[row] - low) >> shift;
      if (bin < bins)
        count[bin]++;
    }
    uint32_t bin = bins - 1;
    for (; k > count[bin]; bin--)
      k -= count[bin];
    low += bin << shift;
    if (shift == 0 || k == count[bin]) {
      const insitu_largest_t largest = {(int32_t)low, k};
      return largest;
    }
    const uint32_t next = shift < BITS ? 0 : shift - BITS;
    bins = 1u << (shift - next);
    shift = next;
  }
}

static void clear_row(int32_t positions, int32_t rows, int8_t *dy) {
  for (int32_t position = 0; position < positions; position++, dy += rows)
    *dy = 0;
}

/* Whether a row stays whose sum is at least `least`, or of those beside it one of the first. */
static inline int32_t is_kept(int32_t sum, int32_t least, int32_t *equal) {
  return sum > least || (sum == least && (*equal)-- > 0);
}

/* Clears all rows but k with the largest sums, of equal ones the first. */
static void keep_largest(const insitu_select_rows_params_t *p, const int32_t *sums,
                         insitu_largest_t largest, int8_t *dy) {
  const int32_t least = largest.least;
  int32_t row = 0, equal = largest.equal;
  for (; row + INSITU_WORD <= p->rows; row += INSITU_WORD) {
    uint32_t kept = 0;
    int32_t dropped = 0; /* sum of the rows that go */
    for (int32_t j = 0; j < INSITU_WORD; j++) {
      const int32_t sum = sums[row + j];
      if (is_kept(sum, least, &equal))
        kept |= 0xFFu << 8 * j;
      else
        dropped += sum;
    }
    if (dropped > 0)
      keep_error_word(p->positions, p->rows, kept, dy + row);
  }
  for (; row < p->rows; row++) {
    if (!is_kept(sums[row], least, &equal) && sums[row] > 0)
      clear_row(p->positions, p->rows, dy + row);
  }
}

void insitu_select_rows_s8(const insitu_select_rows_params_t *p, const int8_t *dy, void *scratch,
                           int32_t *largest, int8_t *selected) {
  int32_t *sums = scratch;
  int32_t highest;
  const int32_t total = sum_rows(p, dy, sums, &highest);
  if (selected != dy)
    memcpy(selected, dy, (size_t)(p->positions * p->rows));
  if (total == 0)
    return;
  *largest = insitu_max(*largest, total);
  const int32_t k = rows_to_keep(p, total, *largest);
  if (k < p->rows)
    keep_largest(p, sums, find_largest(p->rows, sums, k, highest), selected);
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
