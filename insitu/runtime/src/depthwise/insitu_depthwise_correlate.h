/* Correlation of lines of errors with lines of x: the weight gradient of a depthwise channel. */
#ifndef INSITU_DEPTHWISE_CORRELATE_H
#define INSITU_DEPTHWISE_CORRELATE_H

#include "insitu_depthwise.h"

#define INSITU_BLOCK 4 /* pairs of errors at once */

static inline int32_t correlate_blocks(int32_t pairs) { return div_up(pairs, INSITU_BLOCK); }

typedef struct {
  int32_t pairs; /* of errors, one line after the other; to whole blocks, others 0 behind them */
  int32_t line;  /* halfwords of a line of x */
  int32_t rows, taps;
  int32_t apart, below; /* elements between gradients in a line, between lines */
} insitu_depthwise_correlation_t;

/* gradient[row below + k apart] += sum over positions of e[position] x[row line + position + k] */
void insitu_depthwise_correlate(const insitu_depthwise_correlation_t *c, const int16_t *e,
                                const int16_t *x, int32_t *gradient);

/* The same of three taps. */
void insitu_depthwise_correlate_3(const insitu_depthwise_correlation_t *c, const int16_t *e,
                                  const int16_t *x, int32_t *gradient);

#endif
