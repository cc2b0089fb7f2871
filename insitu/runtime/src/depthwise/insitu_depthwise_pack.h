/* Lines of a map of four channels made lines of planes. */
#ifndef INSITU_DEPTHWISE_PACK_H
#define INSITU_DEPTHWISE_PACK_H

#include "insitu_depthwise.h"

/* A line begins with a pair whose first place is none where `odd` is set, goes on with `pairs`
 * pairs, and ends with one whose last place is none where `rest` is set. */
typedef struct {
  int32_t right; /* bytes from place to place */
  int32_t odd, pairs, rest;
  uint32_t none;   /* the bytes of no place: the zero point */
  uint32_t minus;  /* less the zero point, as a pair */
  int32_t next;    /* bytes from the end of a line of the map to the next */
  int32_t to_next; /* and of a plane */
  int32_t lane;    /* bytes between channels that are each by themselves */
  int32_t factor[INSITU_LANES];
} insitu_depthwise_line_t;

/* to[line][pair][lane] = values less the zero point */
void insitu_depthwise_pack_lines(const insitu_depthwise_line_t *run, const int8_t *from,
                                 int32_t lines, int16_t *to);

/* The same of e' = round(e factor[lane] / 2^17). */
void insitu_depthwise_pack_lines_expanded(const insitu_depthwise_line_t *run, const int8_t *from,
                                          int32_t lines, int16_t *to);

/* As insitu_depthwise_pack_lines, each channel by itself. */
void insitu_depthwise_pack_lines_planar(const insitu_depthwise_line_t *run, const int8_t *from,
                                        int32_t lines, int16_t *to);

/* The same of errors; adds them to sum[lane]. */
void insitu_depthwise_pack_lines_errors(const insitu_depthwise_line_t *run, const int8_t *from,
                                        int32_t lines, int16_t *to, int32_t *sum);

#endif
