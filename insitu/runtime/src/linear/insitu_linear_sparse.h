/* The rows of a linear layer whose errors are not zero, for cores that take them one by one. */
#ifndef INSITU_LINEAR_SPARSE_H
#define INSITU_LINEAR_SPARSE_H

#include <stdint.h>

typedef struct {
  int32_t begin; /* in w */
  int32_t error;
} insitu_sparse_row_t;

/* Row k of a list. */
static inline void append_row(void *list, int32_t k, int32_t begin, int32_t error) {
  insitu_sparse_row_t *row = (insitu_sparse_row_t *)list + k;
  row->begin = begin;
  row->error = error;
}

/* One column. */
static inline int32_t add_column(const void *list, int32_t rows, const int8_t *w) {
  const insitu_sparse_row_t *row = list, *end = row + rows;
  int32_t sum = 0;
  for (; row != end; row++)
    sum += row->error * w[row->begin];
  return sum;
}

#endif
