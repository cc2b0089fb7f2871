/* Values of four channels, pairs by turns, made outputs: one word of bytes a place. */
#ifndef INSITU_DEPTHWISE_EPILOGUE_H
#define INSITU_DEPTHWISE_EPILOGUE_H

#include "insitu_depthwise.h"

/* How values become outputs: with any bounds; with those of int8; as errors, of which nothing is
 * noted. */
typedef enum {
  INSITU_CLAMP_BOUNDS,
  INSITU_CLAMP_INT8,
  INSITU_CLAMP_ERRORS
} insitu_depthwise_clamp_t;

/* The zero point; the least and the largest value seen; the bounds of outputs. */
typedef struct {
  int32_t zero;
  int32_t lowest, highest;
  int32_t least, most;
} insitu_depthwise_epilogue_t;

/* Where values lie, in halfwords between lines, and where outputs go, in elements. */
typedef struct {
  int32_t height, width, lanes;
  int32_t line;
  int32_t apart, y_line;
} insitu_depthwise_outputs_t;

void insitu_depthwise_epilogue(insitu_depthwise_clamp_t ending,
                               const insitu_depthwise_outputs_t *outputs, const int16_t *values,
                               insitu_depthwise_epilogue_t *f, int8_t *y);

/* `pairs` pairs of places of four channels, `apart` elements from each other; INSITU_CLAMP_INT8. */
void insitu_depthwise_epilogue_full(insitu_depthwise_epilogue_t *f, const int16_t *values,
                                    int32_t pairs, int8_t *y, int32_t apart);

/* The same as INSITU_CLAMP_ERRORS. */
void insitu_depthwise_epilogue_errors(const int16_t *values, int32_t pairs, int8_t *y,
                                      int32_t apart);

#endif
