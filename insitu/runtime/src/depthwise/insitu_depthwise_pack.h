/* Packing of lines of a map: four channels of int8 become pairs of int16, zero point removed. */
#ifndef INSITU_DEPTHWISE_PACK_H
#define INSITU_DEPTHWISE_PACK_H

#include "insitu_depthwise.h"

/* A line of a map as pairs of places. Where the left padding is odd, the first pair (`head`) holds
 * but one place, behind a zero; `pairs` whole ones follow; `tail`: a last one holds but one place,
 * before a zero. */
typedef struct {
  int32_t right; /* bytes from place to place */
  int32_t head, pairs, tail;
  uint32_t padding;    /* the bytes of a place outside the map: the zero point */
  uint32_t minus_zero; /* the zero point negated, as a pair */
  int32_t next;        /* bytes from the end of a line of the map to the next */
  int32_t to_next;     /* and of a plane */
  int32_t lane;        /* bytes between planar channels */
  int32_t factor[INSITU_LANES];
} insitu_depthwise_run_t;

/* Interleaved: to[line][pair][lane] = x - zero point, two places each. */
void insitu_depthwise_pack_lines(const insitu_depthwise_run_t *run, const int8_t *from,
                                 int32_t lines, int16_t *to);

/* The same of e' = round(e factor[lane] / 2^17). */
void insitu_depthwise_pack_lines_expanded(const insitu_depthwise_run_t *run, const int8_t *from,
                                          int32_t lines, int16_t *to);

/* Planar: to[lane][line][pair]. */
void insitu_depthwise_pack_lines_planar(const insitu_depthwise_run_t *run, const int8_t *from,
                                        int32_t lines, int16_t *to);

/* The same of errors; adds them to sum[lane]. */
void insitu_depthwise_pack_lines_errors(const insitu_depthwise_run_t *run, const int8_t *from,
                                        int32_t lines, int16_t *to, int32_t *sum);

#endif
