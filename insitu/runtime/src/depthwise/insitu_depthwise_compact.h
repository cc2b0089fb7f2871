/* Compaction of nonzero channels: where at most half of a depthwise layer's channels have errors,
 * four of them at a time are gathered into a layer of four channels. Twin of the sizes:
 * insitu/ops/kernels/bands.py. */
#ifndef INSITU_DEPTHWISE_COMPACT_H
#define INSITU_DEPTHWISE_COMPACT_H

#include "insitu_kernels_groups.h"
#include "insitu_depthwise_lanes.h"

/* The channels whose errors are not all 0, and room for four; in the first compact_bytes of the
 * scratch. */
typedef struct {
  int32_t count;
  int16_t *list;    /* [in_channels] their indices */
  int8_t *dy, *map; /* [positions][4] of dy, and of x or dx */
  int8_t *w;        /* [4][weights in a row] */
  uint16_t rel[4];  /* of four of them */
  int32_t few;      /* whether compaction pays */
} insitu_nonzero_channels_t;

insitu_nonzero_channels_t insitu_nonzero_channels(const insitu_conv_groups_params_t *p,
                                                  const int8_t *dy, void *scratch);

/* The shape of the layer of four channels. */
insitu_conv_groups_params_t insitu_compact_shape(const insitu_conv_groups_params_t *p);

/* to[position][j] = from[position][list[j]], j < count <= 4, else 0 */
void insitu_gather_channels(int32_t positions, int32_t channels, const int16_t *list, int32_t count,
                            const int8_t *from, int8_t *to);

/* insitu_conv_groups_grad_input_s8 where few. */
void insitu_depthwise_grad_input_compact(const insitu_conv_groups_grad_input_params_t *g,
                                         insitu_nonzero_channels_t *compact, const int8_t *dy,
                                         const int8_t *w, const uint16_t *rel, void *planes,
                                         int8_t *dx);

#endif
