/* Weight gradient of depthwise convolution on packed planes. See insitu_depthwise.h.
 * Bit for bit what conv_grouped_grad_weight.c computes, which is the definition. */
#include "insitu_depthwise_correlate.h"
#include "insitu_conv_taps.h"

/* The map's places at which windows have those places of the kernel that are a multiple of the
 * stride and `phase` from the first one. */
typedef struct {
  int32_t before; /* windows that have it outside the map */
  int32_t first, size;
  int32_t count; /* of the kernel's places */
} insitu_phase_places_t;

static insitu_phase_places_t phase_places(int32_t kernel, int32_t stride, int32_t phase,
                                          int32_t pad, int32_t size) {
  insitu_phase_places_t v = {.before = div_up(pad - phase, stride),
                             .count = div_up(kernel - phase, stride)};
  v.first = v.before * stride + phase - pad;
  v.size = v.first < size ? div_up(size - v.first, stride) : 0;
  return v;
}

/* What a band of the weight gradient needs to know: of errors `lines` lines from `first` on. */
typedef struct {
  const insitu_conv_params_t *c;
  int32_t first, lines, lanes;
  int32_t zero;
  int32_t e_lane, x_lane; /* halfwords */
  uint32_t nonzero;       /* lane 0 in the low byte */
} insitu_gradient_band_t;

/* The gradients of the kernel's places of a phase; x: the channels' map. */
static void grad_weight_phase(const insitu_gradient_band_t *b, int32_t py, int32_t px,
                              const int8_t *x, int16_t *planes, int32_t *gradient) {
  const insitu_conv_params_t *c = b->c;
  const int32_t down = c->stride_height, right = c->stride_width, channels = c->in_channels;
  const insitu_phase_places_t v =
      phase_places(c->kernel_height, down, py, c->pad_top, c->in_height);
  const insitu_phase_places_t h =
      phase_places(c->kernel_width, right, px, c->pad_left, c->in_width);
  const insitu_depthwise_map_t from = {
      .map = x + (v.first * c->in_width + h.first) * channels,
      .height = v.size,
      .width = h.size,
      .down = down * c->in_width * channels,
      .right = right * channels,
      .lanes = b->lanes,
      .zero = b->zero,
      .left = h.before,
      .pairs = gradient_pairs(c),
  };
  const insitu_depthwise_correlation_t correlation = {
      .pairs = b->lines * from.pairs,
      .line = 2 * from.pairs,
      .rows = v.count,
      .taps = h.count,
      .apart = right * INSITU_LANES,
      .below = down * c->kernel_width * INSITU_LANES,
  };
  if (v.count <= 0 || h.count <= 0)
    return;
  insitu_depthwise_pack_planar(&from, b->first - v.before, b->lines + v.count - 1, planes,
                               b->x_lane);
  const int16_t *e = planes + INSITU_LANES * b->x_lane;
  gradient += (py * c->kernel_width + px) * INSITU_LANES;
  for (int32_t lane = 0; lane < b->lanes; lane++, planes += b->x_lane, e += b->e_lane)
    if (b->nonzero >> (8 * lane) & 0xFFu)
      insitu_depthwise_correlate(&correlation, e, planes, gradient + lane);
}

/* Errors of a band; what another band left in the last block of pairs behind them is made 0. */
static void pack_band_errors(const insitu_gradient_band_t *b, const insitu_depthwise_map_t *from,
                             int16_t *e, int32_t *sum) {
  insitu_depthwise_pack_errors(from, b->first, b->lines, e, b->e_lane, sum);
  const int32_t pairs = b->lines * from->pairs, end = correlate_blocks(pairs) * INSITU_BLOCK;
  for (int32_t lane = 0; lane < INSITU_LANES; lane++)
    for (int32_t pair = pairs; pair < end; pair++)
      store_word_aligned(e + lane * b->e_lane + 2 * pair, 0);
}

uint32_t insitu_depthwise_grad_weight(const insitu_conv_groups_params_t *p, int32_t zero,
                                      const int8_t *dy, const int8_t *x, int32_t o, int16_t *planes,
                                      int32_t *gradient, int32_t *errors) {
  const insitu_conv_params_t *c = &p->conv;
  const int32_t pairs = gradient_pairs(c), phases = c->stride_height * c->stride_width;
  const int32_t down = div_up(c->kernel_height, c->stride_height) - 1;
  insitu_gradient_band_t b = {
      .c = c,
      .lanes = insitu_min(c->in_channels - o, INSITU_LANES),
      .zero = zero,
      .e_lane = 2 * INSITU_BLOCK * correlate_blocks(p->band * pairs),
      .x_lane = 2 * ((p->band + down) * pairs + INSITU_BEHIND),
  };
  const insitu_depthwise_map_t beside = {
      .map = dy + o,
      .height = c->out_height,
      .width = c->out_width,
      .down = c->out_width * c->out_channels,
      .right = c->out_channels,
      .lanes = b.lanes,
      .pairs = pairs,
  };
  int16_t *const e = planes + INSITU_LANES * b.x_lane;
  uint32_t nonzero = 0;
  int32_t sum[INSITU_LANES] = {0};
  if (o == 0)
    memset(e, 0, (size_t)(INSITU_LANES * b.e_lane) * sizeof *e);
  for (; b.first < c->out_height; b.first += p->band) {
    b.lines = insitu_min(p->band, c->out_height - b.first);
    b.nonzero = insitu_depthwise_error_bits(&beside, b.first, b.lines);
    if (!b.nonzero)
      continue;
    if (!nonzero)
      memset(gradient, 0, (size_t)(group_row(p) * INSITU_LANES) * sizeof *gradient);
    pack_band_errors(&b, &beside, e, sum);
    for (int32_t lane = 0; lane < b.lanes; lane++)
      nonzero |= (uint32_t)((b.nonzero >> (8 * lane) & 0xFFu) != 0) << lane;
    for (int32_t phase = 0; phase < phases; phase++)
      grad_weight_phase(&b, phase / c->stride_width, phase % c->stride_width, x + o, planes,
                        gradient);
  }
  memcpy(errors, sum, (size_t)b.lanes * sizeof *errors);
  return nonzero;
}
