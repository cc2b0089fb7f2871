/* The epilogue: requantized int16 of interleaved pairs are clamped, deinterleaved and stored, the
 * four channels of a place as a word of bytes. */
#ifndef INSITU_DEPTHWISE_EPILOGUE_H
#define INSITU_DEPTHWISE_EPILOGUE_H

#include "insitu_depthwise.h"

/* Bounds of outputs: any; those of int8; of errors, [-127, 127], whose extremes are not recorded.
 */
typedef enum {
  INSITU_CLAMP_BOUNDS,
  INSITU_CLAMP_INT8,
  INSITU_CLAMP_ERRORS
} insitu_depthwise_clamp_t;

/* The zero point; the extremes of values before it; the bounds of outputs. */
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

void insitu_depthwise_epilogue(insitu_depthwise_clamp_t clamp,
                               const insitu_depthwise_outputs_t *outputs, const int16_t *values,
                               insitu_depthwise_epilogue_t *f, int8_t *y);

/* `pairs` pairs of places of four channels, `apart` elements from each other; INSITU_CLAMP_INT8. */
void insitu_depthwise_epilogue_int8(insitu_depthwise_epilogue_t *f, const int16_t *values,
                                    int32_t pairs, int8_t *y, int32_t apart);

/* The same as INSITU_CLAMP_ERRORS. */
void insitu_depthwise_epilogue_errors(const int16_t *values, int32_t pairs, int8_t *y,
                                      int32_t apart);

#endif
